//! Values of the text: read as Rust types, checked, moved; and what is wrong with them in plain words.

use super::diagnostic::{Diagnostic, Problems, nearest};
use crate::stage::Value;
use serde::de::DeserializeOwned;
use std::collections::BTreeSet;
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

/// A value of the text, with its place.
pub(crate) type Node<'i> = Spanned<DeValue<'i>>;

/// An error of serde or of the TOML parser, with the nearest of the names it expected.
pub(crate) fn from_toml(error: &toml::de::Error, otherwise: Range<usize>) -> Diagnostic {
    let message = error.message();
    let span = error.span().unwrap_or(otherwise);
    if let Some(name) = message.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`')) {
        return Diagnostic::error(span, format!("`{name}` is missing"));
    }
    match unknown(message) {
        Some((what, name, known)) => Diagnostic::error(span, format!("unknown {what} `{name}`")).suggest(name, known),
        None => Diagnostic::error(span, plainly(message)),
    }
}

/// Of serde's "unknown field …, expected one of …": what it is, its name, and the names that would have been right.
fn unknown(message: &str) -> Option<(&'static str, &str, Vec<&str>)> {
    [("unknown field `", "key"), ("unknown variant `", "value")].into_iter().find_map(|(prefix, what)| {
        let (name, rest) = message.strip_prefix(prefix)?.split_once('`')?;
        Some((what, name, rest.split('`').skip(1).step_by(2).collect()))
    })
}

/// Serde's names of types in plain words.
fn plainly(message: &str) -> String {
    let Some((found, expected)) = message.rsplit_once(", expected ") else { return message.replace('\n', ": ") };
    let wanted = match expected {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, 0 or more",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        "a boolean" => "true or false",
        "a sequence" => "a list",
        "a map" => "a table",
        _ if expected.starts_with("struct ") => "a table",
        other => other,
    };
    format!("{found}, expected {wanted}")
}

/// Reads a table as `T`, whose fields are all optional: what is wrong is reported and left out, one key after the other. Also gives
/// the keys that were left out, and those that were probably meant by them.
pub(crate) fn fields<T: DeserializeOwned + Default>(table: &Spanned<DeTable<'_>>, problems: &mut Problems) -> (T, BTreeSet<String>) {
    let mut rest = table.get_ref().clone();
    let mut faulty = BTreeSet::new();
    loop {
        let error = match T::deserialize(ValueDeserializer::from(Spanned::new(table.span(), DeValue::Table(rest.clone())))) {
            Ok(read) => return (read, faulty),
            Err(error) => error,
        };
        problems.push(from_toml(&error, table.span()));
        if let Some((_, name, known)) = unknown(error.message()) {
            faulty.extend(nearest(name, known).map(str::to_owned));
        }
        match error.span().and_then(|span| leave_out(&mut rest, &span)) {
            Some(key) => faulty.insert(key),
            None => return (T::default(), faulty),
        };
    }
}

/// Removes the innermost key that has these bytes in its name or value, and gives its name. What a table holds may stand
/// elsewhere than the table: under another header, or in a base.
pub(crate) fn leave_out(table: &mut DeTable<'_>, span: &Range<usize>) -> Option<String> {
    let key =
        table.iter().find(|(key, value)| within(&key.span(), span) || holds(value, span)).map(|(key, _)| key.get_ref().to_string())?;
    if let Some(DeValue::Table(inner)) = table.get_mut(key.as_str()).map(Spanned::get_mut)
        && let Some(inner) = leave_out(inner, span)
    {
        return Some(inner);
    }
    table.remove(key.as_str());
    Some(key)
}

fn within(outer: &Range<usize>, span: &Range<usize>) -> bool {
    outer.start <= span.start && span.end <= outer.end
}

fn holds(node: &Node<'_>, span: &Range<usize>) -> bool {
    let below = |table: &DeTable<'_>| table.iter().any(|(key, value)| within(&key.span(), span) || holds(value, span));
    within(&node.span(), span) || node.get_ref().as_table().is_some_and(below)
}

/// Values that a pipeline can't hold, anywhere: JSON, and so the key, has no such numbers; a date is text.
pub(crate) fn refuse(node: &Node<'_>, problems: &mut Problems) {
    match node.get_ref() {
        DeValue::Float(number) if !number.as_str().parse::<f64>().is_ok_and(f64::is_finite) => {
            problems.push(Diagnostic::error(node.span(), format!("`{number}` is not a number that a key can hold")));
        }
        DeValue::Integer(number) if i64::from_str_radix(number.as_str(), number.radix()).is_err() => {
            problems.push(Diagnostic::error(node.span(), format!("`{number}` is too large")));
        }
        DeValue::Datetime(date) => {
            problems.push(Diagnostic::error(node.span(), "a date is text here").help(format!("write `\"{date}\"`")));
        }
        DeValue::Array(values) => values.iter().for_each(|value| refuse(value, problems)),
        DeValue::Table(table) => table.values().for_each(|value| refuse(value, problems)),
        _ => {}
    }
}

/// Puts a value and all in it at another place.
pub(crate) fn move_to(node: &mut Node<'_>, span: &Range<usize>) {
    let value = std::mem::replace(node.get_mut(), DeValue::Boolean(false));
    *node = Spanned::new(span.clone(), value);
    match node.get_mut() {
        DeValue::Array(values) => values.iter_mut().for_each(|value| move_to(value, span)),
        DeValue::Table(table) => table.iter_mut().for_each(|(_, value)| move_to(value, span)),
        _ => {}
    }
}

/// A string, number or truth as an axis value.
pub(crate) fn scalar(node: &Node<'_>) -> Option<Value> {
    match node.get_ref() {
        DeValue::String(text) => Some(Value::Text(text.to_string())),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix()).ok().map(Value::Int),
        DeValue::Float(number) => number.as_str().parse().ok().filter(|number: &f64| number.is_finite()).map(Value::Float),
        DeValue::Boolean(truth) => Some(Value::Bool(*truth)),
        _ => None,
    }
}

pub(crate) fn no_name(span: Range<usize>, name: &str) -> Diagnostic {
    Diagnostic::error(span, format!("`{name}` is no name")).help("names are made of small letters, digits, `_` and `-`")
}

pub(crate) fn not_a(what: &str, node: &Node<'_>) -> Diagnostic {
    Diagnostic::error(node.span(), format!("{what}, not {}", node.get_ref().type_str()))
}

/// The bytes of the text that hold the bytes `at` of a string; the whole string where it is written with escapes.
pub(crate) fn inside(text: &str, span: &Range<usize>, string: &str, at: &Range<usize>) -> Range<usize> {
    let plain = span.len() == string.len() + 2 && text.get(span.start + 1..span.end - 1) == Some(string);
    if plain { span.start + 1 + at.start..span.start + 1 + at.end } else { span.clone() }
}
