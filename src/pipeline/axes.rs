//! Axes as written: their names and values.

use super::diagnostic::{Diagnostic, Problems};
use super::reference::is_name;
use super::template::RESERVED;
use super::values::{Node, no_name, not_a, scalar};
use crate::stage::Value;
use std::borrow::Cow;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use toml::Spanned;
use toml::de::DeValue;

/// An axis; its values sorted.
pub(crate) struct Axis<'i> {
    pub name: String,
    pub span: Range<usize>,
    pub values: Vec<AxisValue<'i>>,
}

/// One value of an axis.
pub(crate) struct AxisValue<'i> {
    pub value: Value,
    /// The value as written; for a table its `id`.
    pub node: Node<'i>,
    /// The fields of a table.
    pub fields: BTreeMap<String, Node<'i>>,
    /// Whether the file has it.
    pub written: bool,
    /// Whether `--axis` leaves it.
    pub wanted: bool,
}

/// Reads `NAME = [value, …]` of `[axes]`.
pub(crate) fn axis<'i>(name: &Spanned<Cow<'i, str>>, node: Node<'i>, problems: &mut Problems) -> Option<Axis<'i>> {
    let (text, span) = (name.get_ref(), name.span());
    if !is_name(text) {
        problems.push(no_name(span.clone(), text));
    } else if RESERVED.contains(&text.as_ref()) || text == "from" {
        let why = if text == "from" { "the coordinate of a label" } else { "a placeholder" };
        problems.push(Diagnostic::error(span.clone(), format!("an axis may not be called `{text}`: that is {why}")));
    }
    let DeValue::Array(nodes) = node.get_ref() else {
        problems.push(not_a("an axis is a list of values", &node));
        return None;
    };
    if nodes.is_empty() {
        problems.push(Diagnostic::error(node.span(), format!("axis `{text}` has no values")));
    }
    let mut read: Vec<AxisValue<'i>> = Vec::with_capacity(nodes.len());
    read.extend(nodes.iter().filter_map(|node| axis_value(node, problems)));
    let mut twice = |value: &AxisValue<'_>, first: &Range<usize>| {
        let twice = Diagnostic::error(value.node.span(), format!("axis `{text}` has the value `{}` twice", value.value));
        problems.push(twice.also(first.clone(), "first here"));
    };
    // Values that print alike can't be told apart in a task's name. Those of one type that do are equal.
    let of_one_type = read.windows(2).all(|pair| std::mem::discriminant(&pair[0].value) == std::mem::discriminant(&pair[1].value));
    let (mut values, read) = if of_one_type { (read, Vec::new()) } else { (Vec::with_capacity(read.len()), read) };
    let mut alike: HashMap<String, Range<usize>> = HashMap::with_capacity(read.len());
    for value in read {
        match alike.entry(value.value.to_string()) {
            Entry::Occupied(first) => twice(&value, first.get()),
            Entry::Vacant(new) => {
                new.insert(value.node.span());
                values.push(value);
            }
        }
    }
    values.sort_by(|a, b| a.value.cmp(&b.value));
    values.dedup_by(|next, first| {
        let equal = next.value == first.value;
        if equal {
            twice(next, &first.node.span());
        }
        equal
    });
    Some(Axis { name: text.to_string(), span, values })
}

fn axis_value<'i>(node: &Node<'i>, problems: &mut Problems) -> Option<AxisValue<'i>> {
    let (value, node, fields) = match node.get_ref() {
        DeValue::Table(table) => {
            let Some(id) = table.get("id") else {
                problems.push(Diagnostic::error(node.span(), "a table on an axis needs an `id`"));
                return None;
            };
            let Some(value) = scalar(id) else {
                problems.push(not_a("an `id` is text or a number", id));
                return None;
            };
            let fields = table.iter().map(|(name, value)| (name.get_ref().to_string(), value.clone())).collect();
            (value, id.clone(), fields)
        }
        _ => match scalar(node) {
            Some(value) => (value, node.clone(), BTreeMap::new()),
            None => {
                // Dates and numbers out of range were refused already.
                if node.get_ref().is_array() {
                    problems.push(not_a("an axis value is text, a number, true or false, or a table with an `id`", node));
                }
                return None;
            }
        },
    };
    if let Some(odd) = odd(&value) {
        problems.push(Diagnostic { span: Some(node.span()), ..odd });
    }
    Some(AxisValue { value, node, fields, written: true, wanted: true })
}

/// What is wrong with a value that could not be told from its surroundings in `stage[axis=value]`.
pub(crate) fn odd(value: &Value) -> Option<Diagnostic> {
    let Value::Text(text) = value else { return None };
    let odd = text.trim() != text || text.is_empty() || text.contains(|c: char| c.is_control() || ",|=*[]{}".contains(c));
    odd.then(|| {
        Diagnostic::plain(format!("`{}` can't be a value of an axis", text.escape_debug()))
            .help("values have no blanks around them and none of `, | = * [ ] { }`; text of any kind goes into a table with an `id`")
    })
}
