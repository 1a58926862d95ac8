//! Shows the problems of a pipeline: file, line, column, the marked excerpt and the remedy, or a JSON object a line.

use super::exit::{harmless, say};
use crate::pipeline::{Diagnostic, Severity, Texts};
use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{Annotation, AnnotationKind, Group, Level, Renderer, Snippet};
use std::io::IsTerminal as _;
use std::ops::Range;

/// At most this many problems are drawn: who has more mends the first ones first.
const SHOWN: usize = 100;

/// Prints problems on standard error, errors and warnings as they come, and how many there are.
#[expect(clippy::disallowed_methods, reason = "problems of a pipeline are printed here, in colour where that is wanted")]
pub(super) fn show(file: &str, texts: &Texts, problems: &[Diagnostic]) {
    if problems.is_empty() {
        return;
    }
    let color = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let mut shown = String::new();
    for problem in problems.iter().take(SHOWN) {
        shown.push_str(&render(texts, problem, color));
        shown.push_str("\n\n");
    }
    if problems.len() > SHOWN {
        shown.push_str(&format!("… and {} more; `tomograph check --json` lists them all\n\n", problems.len() - SHOWN));
    }
    say(&format!("{shown}{file}: {}", counts(problems)));
}

/// `2 errors, 1 warning`.
fn counts(problems: &[Diagnostic]) -> String {
    let count = |severity: Severity, one: &str| match problems.iter().filter(|problem| problem.severity == severity).count() {
        0 => None,
        1 => Some(format!("1 {one}")),
        many => Some(format!("{many} {one}s")),
    };
    [count(Severity::Error, "error"), count(Severity::Warning, "warning")].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// One problem as people read it: `file:line:column`, the excerpt with the place marked, the remedy.
pub(super) fn render(texts: &Texts, problem: &Diagnostic, color: bool) -> String {
    let level = match problem.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let (message, help) = (harmless(&problem.message), problem.help.as_deref().map(harmless));
    let title = level.primary_title(message.as_ref());
    let mut main = match &problem.span {
        None => Group::with_title(title),
        Some(span) => {
            let marks = std::iter::once((AnnotationKind::Primary, span, problem.label.as_str()))
                .chain(problem.also.iter().map(|(span, label)| (AnnotationKind::Context, span, label.as_str())));
            // An excerpt a file, the file of the problem first.
            let mut excerpts: Vec<(&str, &str, Vec<Annotation<'_>>)> = Vec::new();
            for (kind, span, label) in marks {
                let (file, text, span) = texts.locate(span);
                let mark = kind.span(within(text, &span));
                let mark = if label.is_empty() { mark } else { mark.label(label) };
                match excerpts.iter_mut().find(|(name, ..)| *name == file) {
                    Some((.., marks)) => marks.push(mark),
                    None => excerpts.push((file, text, vec![mark])),
                }
            }
            title.elements(excerpts.into_iter().map(|(file, text, marks)| Snippet::source(text).path(file).annotations(marks)))
        }
    };
    if let Some(help) = &help {
        main = main.element(Level::HELP.message(help.as_ref()));
    }
    let renderer = if color { Renderer::styled() } else { Renderer::plain() };
    renderer.decor_style(DecorStyle::Ascii).term_width(120).render(&[main])
}

/// One problem as programs read it, without a line's end; lines and columns count from 1, columns in characters.
pub(super) fn json(file: &str, texts: &Texts, problem: &Diagnostic) -> String {
    let severity = match problem.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    let place = problem.span.as_ref().map(|span| texts.locate(span));
    let file = place.as_ref().map_or(file, |(file, ..)| file);
    let place = place.as_ref().map(|(_, text, span)| line_and_column(text, span.start));
    serde_json::json!({
        "severity": severity,
        "message": problem.message,
        "file": file,
        "line": place.map(|(line, _)| line),
        "column": place.map(|(_, column)| column),
        "label": if problem.label.is_empty() { None } else { Some(&problem.label) },
        "help": problem.help,
    })
    .to_string()
}

fn line_and_column(text: &str, at: usize) -> (usize, usize) {
    let before = &text[..within(text, &(at..at)).start];
    let start = before.rfind('\n').map_or(0, |end| end + 1);
    (before.matches('\n').count() + 1, before[start..].chars().count() + 1)
}

/// The span, kept inside the text and at the borders of characters.
fn within(text: &str, span: &Range<usize>) -> Range<usize> {
    let border = |at: usize| (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default();
    let (start, end) = (border(span.start), border(span.end));
    // An empty mark is drawn on the next character, where the line has one.
    let next = text[start..].chars().next().filter(|c| *c != '\n').map_or(0, char::len_utf8);
    start..end.max(start + next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_shows_its_place_and_remedy() {
        let text = "[pipeline]\nname = \"x\"\n[stage.ä]\nkind = \"no\"\n";
        let at = text.find("\"no\"").unwrap();
        let problem = Diagnostic::error(at..at + 4, "unknown kind `no`").help("did you mean `yes`?");
        let texts = Texts::of("p.toml", text);
        let shown = render(&texts, &problem, false);
        for wanted in ["error: unknown kind `no`", "p.toml:4:8", "kind = \"no\"", "^^^^", "help: did you mean `yes`?"] {
            assert!(shown.contains(wanted), "{wanted} is missing in\n{shown}");
        }
        let line: serde_json::Value = serde_json::from_str(&json("p.toml", &texts, &problem)).unwrap();
        assert_eq!((line["line"].as_u64(), line["column"].as_u64()), (Some(4), Some(8)));
        let far = Diagnostic::warning(text.len() + 9..text.len() + 10, "far");
        assert!(render(&texts, &far, true).contains("far"));
    }
}
