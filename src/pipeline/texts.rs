//! The texts of a pipeline: its own, and that of its base laid under it.
//!
//! Both stand one after the other in one text, so that a place in either is a range of bytes of the whole.

use super::diagnostic::{Diagnostic, Problems};
use super::values::Node;
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Where the text of a pipeline came from, and how further ones are read.
#[derive(Clone, Copy)]
pub struct Files<'a> {
    /// What messages call the file.
    pub name: &'a str,
    /// Its path relative to the project root.
    pub path: &'a str,
    /// Reads a text by its path relative to the project root. The error says why it cannot, in a fragment that names the file.
    pub read: &'a dyn Fn(&str) -> Result<String, String>,
}

/// The texts that the places of problems are in.
#[derive(Clone, Debug, Default)]
pub struct Texts {
    name: String,
    /// Path of the base.
    base: Option<String>,
    whole: String,
    /// Where the base begins in the whole.
    border: usize,
}

impl Texts {
    /// A text alone.
    pub fn of(name: &str, text: &str) -> Self {
        Self { name: name.to_owned(), base: None, whole: text.to_owned(), border: text.len() }
    }

    /// Puts a base's text behind the own one.
    pub(crate) fn lay_under(&mut self, name: &str, text: &str) {
        self.base = Some(name.to_owned());
        self.whole.push('\n');
        self.border = self.whole.len();
        self.whole.push_str(text);
    }

    /// All of it: what the spans of problems count in.
    pub(crate) fn whole(&self) -> &str {
        &self.whole
    }

    /// The base's text with so many line ends before it that its places are those in the whole.
    pub(crate) fn padded_base(&self) -> String {
        "\n".repeat(self.border) + &self.whole[self.border..]
    }

    /// Path of the base, relative to the project root.
    pub fn base(&self) -> Option<&str> {
        self.base.as_deref()
    }

    /// Name and text of the file that a span is in, and the span in that text.
    pub fn locate(&self, span: &Range<usize>) -> (&str, &str, Range<usize>) {
        match &self.base {
            Some(base) if span.start >= self.border => {
                (base, &self.whole[self.border..], span.start - self.border..span.end.max(span.start) - self.border)
            }
            Some(_) => (&self.name, &self.whole[..self.border - 1], span.clone()),
            None => (&self.name, &self.whole, span.clone()),
        }
    }
}

/// The base that a pipeline names.
pub(crate) fn base_of(root: &Node<'_>) -> Option<Spanned<String>> {
    let (_, node) = pipeline_key(root, "base")?;
    match node.get_ref() {
        DeValue::String(path) => Some(Spanned::new(node.span(), path.to_string())),
        _ => None,
    }
}

fn pipeline_key<'a, 'i>(root: &'a Node<'i>, name: &str) -> Option<(Range<usize>, &'a Node<'i>)> {
    let table = root.get_ref().as_table()?.get("pipeline")?.get_ref().as_table()?;
    table.get_key_value(name).map(|(key, node)| (key.span(), node))
}

/// Lays a pipeline over its base: leaves of the pipeline win, tables merge, arrays are replaced. What both have keeps the place
/// it has in the pipeline.
pub(crate) fn lay_over<'i>(own: Node<'i>, base: Node<'i>, problems: &mut Problems) -> Node<'i> {
    if let Some((span, _)) = pipeline_key(&base, "base") {
        let own_base = base_of(&own).map_or(0..0, |base| base.span());
        problems.push(
            Diagnostic::error(span, "a base has no base of its own")
                .also(own_base, "this is its base")
                .help("lay one file over another, no more"),
        );
    }
    merge(own, base)
}

fn merge<'i>(own: Node<'i>, base: Node<'i>) -> Node<'i> {
    let span = own.span();
    let (mut own, base) = match (own.into_inner(), base.into_inner()) {
        (DeValue::Table(own), DeValue::Table(base)) => (own, base),
        (own, _) => return Spanned::new(span, own),
    };
    let mut merged = DeTable::new();
    for (key, node) in base {
        match own.remove_entry(key.get_ref().as_ref()) {
            Some((own_key, own_node)) => merged.insert(own_key, merge(own_node, node)),
            None => merged.insert(key, node),
        };
    }
    merged.extend(own);
    Spanned::new(span, DeValue::Table(merged))
}
