//! Params of a task: placeholders checked once, then replaced and read by the kind, once for all cells that agree.

use super::diagnostic::{Diagnostic, Problems, nearest};
use super::document::{Document, OverrideDecl, StageDecl};
use super::model::Piece;
use super::template::{Fragment, each_string, has_braces, parse, substitute};
use super::values::{Node, from_toml, inside, leave_out, scalar};
use super::wiring::reach;
use crate::stage::{Configured, Kind};
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Where placeholders stand, which decides what they may name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Params: a string that is nothing but one placeholder keeps the value's type.
    Params,
    /// An argument of a command.
    Argument,
    /// A path: the value becomes part of a text.
    Path,
}

/// Checks strings with placeholders against what one stage or source can see.
pub(crate) struct Checker<'a, 'i> {
    pub text: &'a str,
    pub document: &'a Document<'i>,
    /// `stage `x`` or `source `x``, for messages.
    pub whose: String,
    /// Axes it has.
    pub axes: &'a [usize],
    /// Input and output ports, for commands.
    pub ports: Option<(Vec<&'a str>, Vec<&'a str>)>,
    /// Axes that were named.
    pub seen_axes: BTreeSet<usize>,
    /// `[params]` that were named.
    pub seen_params: BTreeSet<String>,
    /// Output ports that were named.
    pub seen_outputs: BTreeSet<String>,
    /// Whether `axes` may lack some, after a mistake elsewhere.
    pub loose: bool,
}

/// What is wrong with a placeholder, once its place is known; nothing where that has been said elsewhere.
type Mistake = Option<Box<dyn FnOnce(Range<usize>) -> Diagnostic>>;

fn mistake(say: impl FnOnce(Range<usize>) -> Diagnostic + 'static) -> Mistake {
    Some(Box::new(say))
}

impl<'a, 'i> Checker<'a, 'i> {
    pub(crate) fn new(text: &'a str, document: &'a Document<'i>, whose: String, axes: &'a [usize]) -> Self {
        let (seen_axes, seen_params, seen_outputs) = Default::default();
        Self { text, document, whose, axes, ports: None, seen_axes, seen_params, seen_outputs, loose: false }
    }

    /// Checks one string; false where something is wrong.
    pub(crate) fn string(&mut self, string: &str, span: &Range<usize>, place: Place, problems: &mut Problems) -> bool {
        let fragments = match parse(string) {
            Ok(fragments) => fragments,
            Err(error) => {
                problems.push(Diagnostic::error(inside(self.text, span, string, &error.at), error.message));
                return false;
            }
        };
        let alone = place == Place::Params && fragments.len() == 1;
        let mut right = true;
        for (fragment, at) in &fragments {
            if let Err(mistake) = self.fragment(fragment, alone, place) {
                if let Some(say) = mistake {
                    problems.push(say(inside(self.text, span, string, at)));
                }
                right = false;
            }
        }
        right
    }

    /// Checks every string of a value.
    pub(crate) fn value(&mut self, node: &Node<'_>, problems: &mut Problems) -> bool {
        let mut right = true;
        each_string(node, &mut |string, span| right &= self.string(string, &span, Place::Params, problems));
        right
    }

    fn fragment(&mut self, fragment: &Fragment, alone: bool, place: Place) -> Result<(), Mistake> {
        let value = match fragment {
            Fragment::Text(_) => return Ok(()),
            Fragment::Place(piece) => return self.piece(piece, place),
            Fragment::Axis { axis, field } => {
                let names: Vec<String> = match self.loose {
                    true => self.document.axes.iter().map(|axis| axis.name.clone()).collect(),
                    false => self.axes.iter().map(|axis| self.document.axes[*axis].name.clone()).collect(),
                };
                let here: Vec<&str> = names.iter().map(String::as_str).collect();
                let Some(number) = self.document.axes.iter().position(|one| one.name == *axis) else {
                    let (pieces, in_params) = (self.pieces(place), self.document.params.contains_key(axis.as_str()));
                    // `{input.x}` looks like a field of an axis.
                    let whole = field.as_ref().map(|field| format!("{axis}.{field}"));
                    let is_piece = |whole: &String| nearest(whole, pieces.iter().map(String::as_str)).is_some();
                    let axis = whole.filter(is_piece).unwrap_or_else(|| axis.clone());
                    return Err(mistake(move |span| {
                        let unknown = Diagnostic::error(span, format!("unknown placeholder `{{{axis}}}`"));
                        let here = names.iter().chain(&pieces).map(String::as_str);
                        if in_params {
                            unknown.help(format!("a value of `[params]` is written `{{params.{axis}}}`"))
                        } else {
                            unknown.suggest(&axis, here)
                        }
                    }));
                };
                self.seen_axes.insert(number);
                if self.loose {
                    return Ok(());
                }
                if !self.axes.contains(&number) {
                    let (message, help) = (format!("axis `{axis}` does not arrive at {}", self.whose), reach(axis, &here));
                    return Err(mistake(move |span| Diagnostic::error(span, message).help(help)));
                }
                let values = &self.document.axes[number].values;
                match field {
                    None => return Ok(()),
                    Some(field) => {
                        if let Some(lacking) = values.iter().find(|value| !value.fields.contains_key(field)) {
                            let known: Vec<String> = lacking.fields.keys().cloned().collect();
                            let (field, message) =
                                (field.clone(), format!("the value `{}` of axis `{axis}` has no field `{field}`", lacking.value));
                            return Err(mistake(move |span| {
                                Diagnostic::error(span, message).suggest(&field, known.iter().map(String::as_str))
                            }));
                        }
                        values.iter().find_map(|value| value.fields.get(field).filter(|value| scalar(value).is_none()))
                    }
                }
            }
            Fragment::Param(path) => {
                self.seen_params.insert(path[0].clone());
                if self.document.faulty_params.contains(&path[0]) {
                    return Err(None);
                }
                match param(&self.document.params, path) {
                    Ok(value) => Some(value),
                    Err(known) => {
                        let (name, last) = (path.join("."), path.last().cloned().unwrap_or_default());
                        return Err(mistake(move |span| {
                            let unknown = Diagnostic::error(span, format!("`[params]` has no `{name}`"));
                            unknown.suggest(&last, known.iter().map(String::as_str))
                        }));
                    }
                }
            }
        };
        match value {
            Some(value) if !alone && scalar(value).is_none() => {
                let kind = value.get_ref().type_str();
                Err(mistake(move |span| Diagnostic::error(span, format!("a value of type {kind} can't be part of a text"))))
            }
            _ => Ok(()),
        }
    }

    /// What placeholders may name here beside axes and params.
    fn pieces(&self, place: Place) -> Vec<String> {
        let Some((inputs, outputs)) = self.ports.as_ref().filter(|_| place == Place::Argument) else { return Vec::new() };
        let own = ["params_file", "threads", "device", "state"].map(str::to_owned).into_iter();
        let ports = |what: &str, ports: &[&str]| ports.iter().map(|port| format!("{what}.{port}")).collect::<Vec<_>>();
        own.chain(ports("inputs", inputs)).chain(ports("outputs", outputs)).collect()
    }

    fn piece(&mut self, piece: &Piece, place: Place) -> Result<(), Mistake> {
        let Some((inputs, outputs)) = self.ports.as_ref().filter(|_| place == Place::Argument) else {
            return Err(mistake(|span| Diagnostic::error(span, "this placeholder is for arguments of a `command`")));
        };
        let (what, port, known) = match piece {
            Piece::Input(port) => ("input", port, inputs),
            Piece::Output(port) => ("output", port, outputs),
            _ => return Ok(()),
        };
        if known.contains(&port.as_str()) {
            if what == "output" {
                self.seen_outputs.insert(port.clone());
            }
            return Ok(());
        }
        let (port, known): (String, Vec<String>) = (port.clone(), known.iter().map(|&port| port.to_owned()).collect());
        Err(mistake(move |span| {
            Diagnostic::error(span, format!("the stage has no {what} `{port}`")).suggest(&port, known.iter().map(String::as_str))
        }))
    }
}

fn param<'a, 'i>(params: &'a DeTable<'i>, path: &[String]) -> Result<&'a Node<'i>, Vec<String>> {
    let mut table = params;
    let names = |table: &DeTable<'_>| table.keys().map(|key| key.get_ref().to_string()).collect();
    for (depth, name) in path.iter().enumerate() {
        match table.get(name.as_str()) {
            Some(value) if depth + 1 == path.len() => return Ok(value),
            Some(value) => match value.get_ref() {
                DeValue::Table(inner) => table = inner,
                _ => return Err(Vec::new()),
            },
            None => return Err(names(table)),
        }
    }
    Err(Vec::new())
}

/// The value a placeholder has in a cell of these axes.
pub(crate) fn look_up<'i>(document: &Document<'i>, axes: &[usize], cell: &[u32], fragment: &Fragment) -> Option<Node<'i>> {
    match fragment {
        Fragment::Axis { axis, field } => {
            let place = axes.iter().position(|number| document.axes[*number].name == *axis)?;
            let value = &document.axes[axes[place]].values[cell[place] as usize];
            match field {
                None => Some(value.node.clone()),
                Some(field) => value.fields.get(field).cloned(),
            }
        }
        Fragment::Param(path) => param(&document.params, path).ok().cloned(),
        Fragment::Text(_) | Fragment::Place(_) => None,
    }
}

/// The stage's params with those of the overrides laid over, placeholders replaced.
pub(crate) fn filled<'i>(
    document: &Document<'i>,
    decl: &StageDecl<'i>,
    overrides: &[&OverrideDecl<'i>],
    axes: &[usize],
    cell: &[u32],
) -> Node<'i> {
    let (span, mut table) = match &decl.params {
        Some(params) => (params.span(), params.get_ref().clone()),
        None => (decl.span.clone(), DeTable::new()),
    };
    for params in overrides.iter().filter_map(|entry| entry.params.as_ref()) {
        merge(&mut table, params.get_ref());
    }
    let node = Spanned::new(span, DeValue::Table(table));
    if has_braces(node.get_ref()) { substitute(&node, &|fragment| look_up(document, axes, cell, fragment)) } else { node }
}

/// Leaves of `over` win; tables merge, arrays are replaced.
fn merge<'i>(table: &mut DeTable<'i>, over: &DeTable<'i>) {
    for (key, value) in over {
        let merged = match (table.get_mut(key.get_ref().as_ref()).map(Spanned::get_mut), value.get_ref()) {
            (Some(DeValue::Table(inner)), DeValue::Table(over)) => {
                merge(inner, over);
                true
            }
            _ => false,
        };
        if !merged {
            // Removed first, so that the key's place is the override's.
            table.remove(key.get_ref().as_ref());
            table.insert(key.clone(), value.clone());
        }
    }
}

/// Params that a kind has read, with the ports it does not read under them.
#[derive(Clone)]
pub(crate) struct Read {
    pub params: Arc<dyn Configured>,
    pub unread: Vec<&'static str>,
}

/// Lets a kind read params; none where anything is wrong in them.
pub(crate) fn read_right(kind: &'static Kind, params: Node<'_>) -> Option<Read> {
    let configured = (kind.configure)(params).ok().filter(|configured| configured.check().is_empty())?;
    let unread = configured.unread();
    Some(Read { params: Arc::from(configured), unread })
}

/// Lets a kind read params, reporting everything wrong in them, not the first mistake only.
pub(crate) fn configure(kind: &'static Kind, params: &Node<'_>, whose: &str, problems: &mut Problems) -> Option<Read> {
    let mut rest = params.clone();
    let mut left_out: Vec<String> = Vec::new();
    let mut wrong = false;
    let configured = loop {
        let error = match (kind.configure)(rest.clone()) {
            Ok(configured) => break configured,
            Err(error) => error,
        };
        wrong = true;
        if left_out.iter().any(|name| error.message() == format!("missing field `{name}`")) {
            return None;
        }
        let mut diagnostic = from_toml(&error, params.span());
        if let Some(name) = error.message().strip_prefix("missing field `").and_then(|name| name.strip_suffix('`')) {
            diagnostic.message = format!("`{}` needs the param `{name}`", kind.name);
        } else if let Some(rest) = diagnostic.message.strip_prefix("unknown key ") {
            diagnostic.message = format!("`{}` has no param {rest}", kind.name);
        }
        if !whose.is_empty() {
            diagnostic.label = format!("in {whose}");
        }
        if error.message().starts_with("missing field") {
            problems.push(diagnostic);
        } else {
            problems.push_first(diagnostic);
        }
        let DeValue::Table(table) = rest.get_mut() else { return None };
        let span = error.span()?;
        left_out.push(leave_out(table, &span)?);
    };
    for problem in configured.check() {
        let table = params.get_ref().as_table();
        let span = table.and_then(|table| table.get(problem.param)).map_or(params.span(), Spanned::span);
        if left_out.iter().any(|name| name == problem.param) {
            continue;
        }
        let message = if problem.param.is_empty() { problem.message } else { format!("`{}`: {}", problem.param, problem.message) };
        let diagnostic = Diagnostic::error(span, message);
        problems.push_first(if whose.is_empty() { diagnostic } else { diagnostic.label(format!("in {whose}")) });
        wrong = true;
    }
    let unread = configured.unread();
    (!wrong).then(|| Read { params: Arc::from(configured), unread })
}

/// A value of the text as JSON; equal numbers give equal JSON, and keys are sorted.
pub(crate) fn json(node: &Node<'_>) -> serde_json::Value {
    match node.get_ref() {
        DeValue::Array(values) => values.iter().map(json).collect(),
        DeValue::Table(table) => {
            let sorted: std::collections::BTreeMap<String, serde_json::Value> =
                table.iter().map(|(key, value)| (key.get_ref().to_string(), json(value))).collect();
            sorted.into_iter().collect()
        }
        _ => scalar(node).and_then(|value| serde_json::to_value(value).ok()).unwrap_or_default(),
    }
}
