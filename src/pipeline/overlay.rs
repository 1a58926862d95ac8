//! What the command line lays over a file: `--set PATH=VALUE` and `--axis NAME=V,V`.
//!
//! Values set so have places behind the end of the text, by which their problems are told from the file's.

use super::Overlay;
use super::axes::{Axis, AxisValue, odd};
use super::diagnostic::{Diagnostic, Problems};
use super::values::{Node, move_to, scalar};
use crate::stage::Value;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Puts the values of `--set` into the tree.
pub(crate) fn set<'i>(text: &str, root: &mut Node<'i>, overlay: &'i Overlay, problems: &mut Problems) {
    for (number, (path, value)) in overlay.set.iter().enumerate() {
        let place = place(text, number);
        let names: Vec<&str> = path.split('.').collect();
        if path == "pipeline.base" {
            problems
                .push(Diagnostic::plain(format!("--set {path}: the base is read before anything is laid over it: write it in the file")));
            continue;
        }
        if let Err(diagnostic) = value_of(value, &place).and_then(|value| put(root, &names, &place, value)) {
            problems.push(Diagnostic { message: format!("--set {path}: {}", diagnostic.message), ..diagnostic });
        }
    }
}

/// Where the values of one `--set` stand.
fn place(text: &str, number: usize) -> Range<usize> {
    let start = text.len() + 1 + number;
    start..start
}

/// A problem at a place behind the text is one of the command line.
pub(crate) fn relocate(text: &str, overlay: &Overlay, diagnostic: Diagnostic) -> Diagnostic {
    let behind = diagnostic.span.as_ref().and_then(|span| span.start.checked_sub(text.len() + 1));
    match behind.and_then(|number| overlay.set.get(number)) {
        Some((path, value)) => Diagnostic { span: None, message: format!("--set {path}={value}: {}", diagnostic.message), ..diagnostic },
        None => diagnostic,
    }
}

/// A TOML value, else the bare string; but what begins as a list, a table or a string in quotes was not meant as bare.
fn value_of<'i>(text: &'i str, place: &Range<usize>) -> Result<Node<'i>, Diagnostic> {
    let bare = DeValue::String(Cow::Borrowed(text));
    let value = match DeValue::parse(text) {
        Ok(value) if value.get_ref().is_datetime() => bare,
        Ok(value) => value.into_inner(),
        Err(error) if text.trim_start().starts_with(['[', '{', '"', '\'']) => {
            let broken = Diagnostic::plain(format!("`{}` is no TOML value: {}", text.escape_debug(), error.message().replace('\n', ": ")));
            return Err(broken.help("text that begins with a bracket, a brace or a quote is written in quotes of its own"));
        }
        Err(_) => bare,
    };
    let mut node = Spanned::new(place.clone(), value);
    move_to(&mut node, place);
    Ok(node)
}

fn put<'i>(node: &mut Node<'i>, names: &[&'i str], place: &Range<usize>, value: Node<'i>) -> Result<(), Diagnostic> {
    put_at(node, names, 0, place, value)
}

fn put_at<'i>(node: &mut Node<'i>, names: &[&'i str], depth: usize, place: &Range<usize>, value: Node<'i>) -> Result<(), Diagnostic> {
    let Some(name) = names.get(depth).filter(|name| !name.is_empty()) else { return Err(Diagnostic::plain("a name is missing")) };
    let DeValue::Table(table) = node.get_mut() else {
        return Err(Diagnostic::plain(format!("`{}` is no table", names[..depth].join("."))));
    };
    if depth + 1 == names.len() {
        // The key keeps its place, so that tables still begin where they are written.
        match table.get_mut(*name) {
            Some(old) => *old = value,
            None => {
                table.insert(Spanned::new(place.clone(), Cow::Borrowed(*name)), value);
            }
        }
        return Ok(());
    }
    if !table.contains_key(*name) {
        // A new stage or source can't be meant; a table such as `params` in one that exists can.
        let known = ["stage", "source"].contains(&names[0]) && depth < 2;
        if known || depth == 0 && !["params", "axes", "pipeline"].contains(name) {
            let candidates: Vec<String> = table.keys().map(|key| key.get_ref().to_string()).collect();
            return Err(Diagnostic::plain(format!("there is no `{}`", names[..=depth].join(".")))
                .suggest(name, candidates.iter().map(String::as_str)));
        }
        table.insert(Spanned::new(place.clone(), Cow::Borrowed(*name)), Spanned::new(place.clone(), DeValue::Table(DeTable::new())));
    }
    match table.get_mut(*name) {
        Some(inner) => put_at(inner, names, depth + 1, place, value),
        None => Ok(()),
    }
}

/// Narrows and widens axes as `--axis` says.
pub(crate) fn axes<'i>(axes: &mut [Axis<'i>], overlay: &'i Overlay, problems: &mut Problems) {
    for (name, texts) in &overlay.axis {
        let known: Vec<String> = axes.iter().map(|axis| axis.name.clone()).collect();
        let Some(axis) = axes.iter_mut().find(|axis| axis.name == *name) else {
            let unknown = Diagnostic::plain(format!("--axis {name}: there is no axis `{name}`"));
            problems.push(unknown.suggest(name, known.iter().map(String::as_str)));
            continue;
        };
        if texts.iter().all(String::is_empty) {
            problems.push(Diagnostic::plain(format!("--axis {name}: no value is given")));
            continue;
        }
        let wrong = |problem: Diagnostic| Diagnostic { message: format!("--axis {name}: {}", problem.message), ..problem };
        let twice = |value: &Value| wrong(Diagnostic::plain(format!("the value `{value}` is given twice")));
        for value in &mut axis.values {
            value.wanted = false;
        }
        for text in texts {
            if let Some(value) = axis.values.iter_mut().find(|value| is_value(&value.value, text)) {
                if std::mem::replace(&mut value.wanted, true) {
                    problems.push(twice(&value.value));
                }
                continue;
            }
            if axis.values.iter().any(|value| !value.fields.is_empty()) {
                let known: Vec<String> = axis.values.iter().map(|value| value.value.to_string()).collect();
                let unknown = Diagnostic::plain(format!("--axis {name}: the axis has tables, and none has the id `{text}`"));
                problems.push(unknown.suggest(text, known.iter().map(String::as_str)));
                continue;
            }
            let node = match value_of(text, &(0..0)) {
                Ok(node) => node,
                Err(broken) => {
                    problems.push(wrong(broken));
                    continue;
                }
            };
            match scalar(&node) {
                Some(value) => {
                    if let Some(odd) = odd(&value) {
                        problems.push(wrong(odd));
                    } else if let Some(alike) = axis.values.iter().find(|one| one.value.to_string() == value.to_string()) {
                        // Values that print alike can't be told apart in a task's name.
                        problems.push(twice(&alike.value));
                    }
                    axis.values.push(AxisValue { value, node, fields: BTreeMap::new(), written: false, wanted: true });
                }
                None => problems.push(wrong(Diagnostic::plain(format!("`{text}` is no value of an axis")))),
            }
        }
        axis.values.sort_by(|a, b| a.value.cmp(&b.value));
    }
}

/// Whether a text on the command line or in a selector means this value.
pub(crate) fn is_value(value: &Value, text: &str) -> bool {
    match value {
        Value::Int(_) | Value::Float(_) => {
            value.to_string() == text || text.parse::<f64>().is_ok_and(|number| *value == Value::Float(number))
        }
        Value::Bool(_) | Value::Text(_) => value.to_string() == text,
    }
}
