//! Placeholders in strings: `{axis}`, `{axis.field}`, `{params.NAME}`, and in commands `{inputs.PORT}` and the like.
//!
//! Knows the grammar and how values are put in their place; which names exist is for its callers.

use crate::pipeline::model::Piece;
use crate::pipeline::values::{Node, move_to, scalar};
use std::borrow::Cow;
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

/// First names of placeholders that are no axes.
pub(crate) const RESERVED: &[&str] = &["inputs", "outputs", "params", "params_file", "device", "threads", "state"];

/// A stretch of a string.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fragment {
    Text(String),
    /// `{axis}` or `{axis.field}`.
    Axis {
        axis: String,
        field: Option<String>,
    },
    /// `{params.NAME}`, with further names for tables in it.
    Param(Vec<String>),
    /// What only a command may hold.
    Place(Piece),
}

/// A string that is no template: which bytes, and why.
#[derive(Debug)]
pub(crate) struct NoTemplate {
    pub at: Range<usize>,
    pub message: String,
}

/// Takes a string apart; each fragment with its bytes. `{{` and `}}` are braces.
pub(crate) fn parse(text: &str) -> Result<Vec<(Fragment, Range<usize>)>, NoTemplate> {
    let mut found: Vec<(Fragment, Range<usize>)> = Vec::new();
    let mut plain = String::new();
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        if rest.starts_with("{{") || rest.starts_with("}}") {
            plain.push_str(&rest[..1]);
            at += 2;
        } else if rest.starts_with('{') {
            let Some(length) = rest.find('}') else {
                return Err(NoTemplate { at: at..text.len(), message: "`{` without `}`; a brace is written `{{`".into() });
            };
            if !plain.is_empty() {
                found.push((Fragment::Text(std::mem::take(&mut plain)), at..at));
            }
            let place = at..at + length + 1;
            let fragment = fragment(&rest[1..length]).map_err(|message| NoTemplate { at: place.clone(), message })?;
            at = place.end;
            found.push((fragment, place));
        } else {
            let length = rest.chars().next().map_or(1, char::len_utf8);
            plain.push_str(&rest[..length]);
            at += length;
        }
    }
    if !plain.is_empty() {
        found.push((Fragment::Text(plain), at..at));
    }
    Ok(found)
}

fn fragment(inner: &str) -> Result<Fragment, String> {
    let mut names = inner.split('.').map(str::to_owned);
    let first = names.next().unwrap_or_default();
    let rest: Vec<String> = names.collect();
    if !crate::pipeline::reference::is_name(&first) || rest.iter().any(String::is_empty) {
        return Err(format!("`{{{inner}}}` is no placeholder; a brace is written `{{{{`"));
    }
    match (first.as_str(), rest.as_slice()) {
        ("params", []) => Err("`{params.NAME}` wants a name".into()),
        ("params", _) => Ok(Fragment::Param(rest)),
        ("inputs", [port]) => Ok(Fragment::Place(Piece::Input(port.clone()))),
        ("outputs", [port]) => Ok(Fragment::Place(Piece::Output(port.clone()))),
        ("inputs" | "outputs", _) => Err(format!("`{{{first}.PORT}}` wants one port")),
        ("params_file", []) => Ok(Fragment::Place(Piece::ParamsFile)),
        ("device", []) => Ok(Fragment::Place(Piece::Device)),
        ("threads", []) => Ok(Fragment::Place(Piece::Threads)),
        ("state", []) => Ok(Fragment::Place(Piece::State)),
        (_, []) => Ok(Fragment::Axis { axis: first, field: None }),
        (_, [field]) => Ok(Fragment::Axis { axis: first, field: Some(field.clone()) }),
        _ => Err(format!("`{{{inner}}}` is no placeholder")),
    }
}

/// Whether a value holds a string with a brace anywhere.
pub(crate) fn has_braces(value: &DeValue<'_>) -> bool {
    match value {
        DeValue::String(text) => text.contains(['{', '}']),
        DeValue::Array(values) => values.iter().any(|value| has_braces(value.get_ref())),
        DeValue::Table(table) => table.values().any(|value| has_braces(value.get_ref())),
        _ => false,
    }
}

/// Calls `visit` with every string in a value.
pub(crate) fn each_string<'a>(node: &'a Node<'_>, visit: &mut dyn FnMut(&'a str, Range<usize>)) {
    match node.get_ref() {
        DeValue::String(text) => visit(text, node.span()),
        DeValue::Array(values) => values.iter().for_each(|value| each_string(value, visit)),
        DeValue::Table(table) => table.values().for_each(|value| each_string(value, visit)),
        _ => {}
    }
}

/// The value with every placeholder replaced; a string that is nothing but one keeps the value's type. Every part
/// keeps its place in the text, so that errors point at what the user wrote. `look_up` knows every name: it was checked.
pub(crate) fn substitute<'i>(node: &Node<'i>, look_up: &dyn Fn(&Fragment) -> Option<Node<'i>>) -> Node<'i> {
    if !has_braces(node.get_ref()) {
        return node.clone();
    }
    match node.get_ref() {
        DeValue::String(text) => {
            let mut filled = Spanned::new(node.span(), string(text, look_up));
            move_to(&mut filled, &node.span());
            filled
        }
        DeValue::Array(values) => {
            let mut filled = DeArray::new();
            values.iter().for_each(|value| filled.push(substitute(value, look_up)));
            Spanned::new(node.span(), DeValue::Array(filled))
        }
        DeValue::Table(table) => {
            let filled = table.iter().map(|(key, value)| (key.clone(), substitute(value, look_up)));
            Spanned::new(node.span(), DeValue::Table(filled.collect::<DeTable<'_>>()))
        }
        _ => node.clone(),
    }
}

fn string<'i>(text: &str, look_up: &dyn Fn(&Fragment) -> Option<Node<'i>>) -> DeValue<'i> {
    let Ok(fragments) = parse(text) else { return DeValue::String(Cow::Owned(text.to_owned())) };
    if let [(fragment @ (Fragment::Axis { .. } | Fragment::Param(_)), _)] = fragments.as_slice()
        && let Some(value) = look_up(fragment)
    {
        return value.into_inner();
    }
    DeValue::String(Cow::Owned(joined(&fragments, look_up)))
}

/// The text with every placeholder replaced by its printed value.
pub(crate) fn joined<'i>(fragments: &[(Fragment, Range<usize>)], look_up: &dyn Fn(&Fragment) -> Option<Node<'i>>) -> String {
    let mut text = String::new();
    for (fragment, _) in fragments {
        match fragment {
            Fragment::Text(plain) => text.push_str(plain),
            _ => text.push_str(&look_up(fragment).and_then(|value| scalar(&value)).map(|value| value.to_string()).unwrap_or_default()),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seed(fragment: &Fragment) -> Option<Node<'static>> {
        match fragment {
            Fragment::Axis { axis, field: None } if axis == "seed" => DeValue::parse("7").ok(),
            Fragment::Param(path) if path.join(".") == "list" => DeValue::parse("[1, 2]").ok(),
            _ => None,
        }
    }

    fn filled(text: &'static str) -> String {
        let node = Spanned::new(0..text.len(), DeValue::String(text.into()));
        match substitute(&node, &seed).into_inner() {
            DeValue::Integer(number) => format!("number {number}"),
            DeValue::String(text) => format!("text {text}"),
            DeValue::Array(values) => format!("{} values", values.len()),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn a_string_that_is_one_placeholder_keeps_the_type() {
        assert_eq!(filled("{seed}"), "number 7");
        assert_eq!(filled("{params.list}"), "2 values");
        assert_eq!(filled("split-{seed}.tsv"), "text split-7.tsv");
        assert_eq!(filled("{{seed}}"), "text {seed}");
        assert_eq!(filled("{{{seed}}}"), "text {7}");
    }

    #[test]
    fn what_is_no_placeholder_says_so() {
        assert!(parse("a{seed").is_err_and(|error| error.at == (1..6)));
        assert!(parse("{Seed}").is_err() && parse("{}").is_err() && parse("{params}").is_err() && parse("{a.b.c}").is_err());
        assert!(parse("a}b").is_ok_and(|fragments| fragments.len() == 1));
    }
}
