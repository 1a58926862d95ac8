//! What is wrong in a pipeline, and where: messages with byte ranges into its text.
//!
//! Knows nothing of files, lines or terminals: `cli` renders.

use std::ops::Range;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The pipeline can't be used.
    Error,
    /// It can, but its author probably meant something else.
    Warning,
}

/// One problem of a pipeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    pub severity: Severity,
    /// A lower-case fragment that names the thing.
    pub message: String,
    /// Bytes of the text it is about; none where it comes from the command line.
    pub span: Option<Range<usize>>,
    /// What stands under the marked bytes; may be empty.
    pub label: String,
    /// The remedy, where there is one.
    pub help: Option<String>,
    /// Further places, each with its label.
    pub also: Vec<(Range<usize>, String)>,
}

impl Diagnostic {
    /// An error about these bytes.
    pub fn error(span: Range<usize>, message: impl Into<String>) -> Self {
        Self { span: Some(span), ..Self::plain(message) }
    }

    /// A warning about these bytes.
    pub fn warning(span: Range<usize>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(span, message) }
    }

    /// An error about nothing in the text.
    pub fn plain(message: impl Into<String>) -> Self {
        Self { severity: Severity::Error, message: message.into(), span: None, label: String::new(), help: None, also: Vec::new() }
    }

    /// Says something under the marked bytes.
    #[must_use]
    pub fn label(self, label: impl Into<String>) -> Self {
        Self { label: label.into(), ..self }
    }

    /// Adds the remedy.
    #[must_use]
    pub fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }

    /// Marks a further place.
    #[must_use]
    pub fn also(mut self, span: Range<usize>, label: impl Into<String>) -> Self {
        self.also.push((span, label.into()));
        self
    }

    /// Suggests the nearest of the names that would have been right, or lists them where they are few.
    #[must_use]
    pub fn suggest<'a>(self, name: &str, known: impl IntoIterator<Item = &'a str>) -> Self {
        match suggestion(name, known) {
            Some(help) => self.help(help),
            None => self,
        }
    }
}

/// Problems found so far; the same one is kept once.
#[derive(Debug, Default)]
pub(crate) struct Problems(Vec<Diagnostic>);

impl Problems {
    pub(crate) fn push(&mut self, diagnostic: Diagnostic) {
        let known = self.0.iter().any(|one| one.span == diagnostic.span && one.message == diagnostic.message);
        if !known {
            self.0.push(diagnostic);
        }
    }

    /// Keeps the first error of a place only: others are of other cells, or follow from it.
    pub(crate) fn push_first(&mut self, diagnostic: Diagnostic) {
        if !self.0.iter().any(|one| one.span == diagnostic.span && one.severity == Severity::Error) {
            self.0.push(diagnostic);
        }
    }

    pub(crate) fn errors(&self) -> usize {
        self.0.iter().filter(|one| one.severity == Severity::Error).count()
    }

    /// All of them by place in the text; those without a place come first.
    pub(crate) fn sorted(mut self) -> Vec<Diagnostic> {
        self.0.sort_by_key(|one| (one.span.as_ref().map(|span| (span.start, span.end)), one.severity));
        self.0
    }
}

/// "did you mean `train`?", or the list of what is known where nothing is near and the list is short.
fn suggestion<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let known: Vec<&str> = known.into_iter().collect();
    if let Some(near) = nearest(name, known.iter().copied()) {
        return Some(format!("did you mean `{near}`?"));
    }
    match known.len() {
        0 => None,
        1..=12 => Some(format!("known: {}", quoted(&known))),
        _ => None,
    }
}

/// The known name with the fewest typing mistakes between it and `name`, where they are few enough to be mistakes.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|one| {
            // A part left out or added (`train` for `classifier.train`) is one mistake.
            let part = name.len() > 2 && one.split(['.', '_', '-']).any(|part| part == name);
            (if part { 1 } else { strsim::damerau_levenshtein(name, one) }, one)
        })
        .filter(|(mistakes, one)| *mistakes <= name.len().max(one.len()) / 3)
        .min_by_key(|(mistakes, one)| (*mistakes, one.len()))
        .map(|(_, one)| one)
}

/// `` `a`, `b` and `c` ``.
pub(crate) fn quoted<S: AsRef<str>>(names: &[S]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("`{}`", name.as_ref())).collect();
    match names.as_slice() {
        [] => String::new(),
        [one] => one.clone(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_one_with_few_mistakes() {
        let known = ["classifier.train", "cohort.split", "seed", "size"];
        assert_eq!(nearest("clasifier.train", known), Some("classifier.train"));
        assert_eq!(nearest("train", known), Some("classifier.train"));
        assert_eq!(nearest("sede", known), Some("seed"));
        assert_eq!(nearest("backbone", known), None);
    }
}
