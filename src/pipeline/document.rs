//! TOML text → declarations with their places: the syntax of a pipeline, before names are looked up.
//!
//! Problems are collected, never returned one by one: what can't be read is left out and the rest goes on.

use super::Overlay;
use super::axes::{Axis, axis};
use super::diagnostic::{Diagnostic, Problems};
use super::reference::{Reference, is_name};
use super::tables::{FileTable, NeedsTable, OverrideTable, PipelineTable, PolicyTable, SourceTable, StageTable};
use super::values::{Node, fields, from_toml, inside, no_name, not_a, refuse, scalar};
use crate::stage::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// At most so many messages about syntax: recovery after a mistake finds mistakes that are none.
const SYNTAX_MESSAGES: usize = 3;

/// More tasks than these are a mistake unless `max_tasks` says otherwise.
const MAX_TASKS: usize = 100_000;

/// A pipeline as written.
#[derive(Default)]
pub(crate) struct Document<'i> {
    pub name: String,
    pub about: BTreeMap<String, String>,
    /// How many tasks are meant, at most.
    pub max_tasks: usize,
    pub params: DeTable<'i>,
    /// Names of `[params]` whose values are wrong.
    pub faulty_params: BTreeSet<String>,
    /// Sorted by name.
    pub axes: Vec<Axis<'i>>,
    pub sources: Vec<SourceDecl>,
    pub stages: Vec<StageDecl<'i>>,
}

/// `[source.NAME]`
pub(crate) struct SourceDecl {
    pub name: String,
    pub span: Range<usize>,
    pub table: SourceTable,
    /// Keys with a mistake of their own: that they are missing is not another one.
    pub faulty: BTreeSet<String>,
}

/// `[stage.NAME]`
pub(crate) struct StageDecl<'i> {
    pub name: String,
    pub span: Range<usize>,
    pub table: StageTable,
    /// Keys with a mistake of their own: that they are missing is not another one.
    pub faulty: BTreeSet<String>,
    pub inputs: Vec<InputDecl>,
    pub params: Option<Spanned<DeTable<'i>>>,
    pub keep: Vec<Matcher>,
    pub skip: Vec<Matcher>,
    pub overrides: Vec<OverrideDecl<'i>>,
}

/// What is connected to an input port.
pub(crate) struct InputDecl {
    pub port: String,
    pub port_span: Range<usize>,
    /// Whether written as a table of labels.
    pub labelled: bool,
    /// Label, reference, and the reference's text and place.
    pub references: Vec<ReferenceDecl>,
}

/// A reference as written.
pub(crate) struct ReferenceDecl {
    pub label: Option<String>,
    pub reference: Reference,
    pub text: String,
    pub span: Range<usize>,
}

/// Axis → values: some cells of a stage.
#[derive(Clone)]
pub(crate) struct Matcher {
    pub span: Range<usize>,
    pub axes: Vec<(Spanned<String>, Vec<Spanned<Value>>)>,
}

/// An entry of `override`.
pub(crate) struct OverrideDecl<'i> {
    pub matcher: Matcher,
    pub params: Option<Spanned<DeTable<'i>>>,
    pub needs: NeedsTable,
    pub policy: PolicyTable,
}

/// The tree of a text; nothing after a syntax error.
pub(crate) fn parse<'i>(text: &'i str, problems: &mut Problems) -> Option<Node<'i>> {
    let (root, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        syntax(text, errors, problems);
        return None;
    }
    Some(Spanned::new(root.span(), DeValue::Table(root.into_inner())))
}

/// Reads a pipeline's tree with the command line's changes; `text` is what its places are in.
pub(crate) fn read<'i>(text: &'i str, mut root: Node<'i>, overlay: &'i Overlay, problems: &mut Problems) -> Option<Document<'i>> {
    super::overlay::set(text, &mut root, overlay, problems);
    refuse(&root, problems);
    let DeValue::Table(mut root) = root.into_inner() else { return None };
    // The names alone: an axis may have thousands of values.
    let names = root.iter().map(|(name, value)| (name.clone(), Spanned::new(value.span(), DeValue::Boolean(true))));
    let (FileTable { .. }, faulty) = fields(&Spanned::new(0..0, names.collect()), problems);

    let mut document = Document { max_tasks: MAX_TASKS, ..Document::default() };
    match section(&mut root, "pipeline", problems) {
        Some(table) => {
            let (PipelineTable { name, about, max_tasks, base: _ }, faulty) = fields(&table, problems);
            match name {
                Some(name) if is_name(name.get_ref()) => document.name = name.into_inner(),
                Some(name) => problems.push(no_name(name.span(), name.get_ref())),
                None if !faulty.contains("name") => {
                    problems.push(Diagnostic::error(table.span(), "`[pipeline]` has no `name`").help("add `name = \"…\"`"));
                }
                None => {}
            }
            document.about = about;
            document.max_tasks = max_tasks.map_or(MAX_TASKS, |most| most as usize);
        }
        None if faulty.contains("pipeline") => {}
        None => problems.push(Diagnostic::error(0..0, "there is no `[pipeline]` table").help("begin with `[pipeline]` and `name = \"…\"`")),
    }
    if let Some(params) = section(&mut root, "params", problems) {
        for (name, value) in params.get_ref() {
            super::template::each_string(value, &mut |string, span| {
                if string.contains('{') {
                    document.faulty_params.insert(name.get_ref().to_string());
                    problems.push(Diagnostic::error(span, "`[params]` holds plain values, no placeholders"));
                }
            });
        }
        document.params = params.into_inner();
    }
    if let Some(axes) = section(&mut root, "axes", problems) {
        document.axes = axes.into_inner().into_iter().filter_map(|(name, values)| axis(&name, values, problems)).collect();
        document.axes.sort_by(|a, b| a.name.cmp(&b.name));
    }
    super::overlay::axes(&mut document.axes, overlay, problems);
    for (name, table) in tables(&mut root, "source", problems) {
        let (table, faulty) = fields(&table, problems);
        document.sources.push(SourceDecl { name: name.get_ref().to_string(), span: name.span(), table, faulty });
    }
    for (name, table) in tables(&mut root, "stage", problems) {
        document.stages.push(stage(text, &name, &table, problems));
    }
    one_of_each(&document, problems);
    Some(document)
}

/// Names are shared by stages and sources.
fn one_of_each(document: &Document<'_>, problems: &mut Problems) {
    let sources: BTreeMap<&str, &SourceDecl> = document.sources.iter().map(|source| (source.name.as_str(), source)).collect();
    for stage in &document.stages {
        if let Some(source) = sources.get(stage.name.as_str()) {
            problems.push(
                Diagnostic::error(stage.span.clone(), format!("`{}` is already the name of a source", stage.name))
                    .also(source.span.clone(), "the source")
                    .help("stages and sources share their names: call one of them something else"),
            );
        }
    }
}

fn syntax(text: &str, mut errors: Vec<toml::de::Error>, problems: &mut Problems) {
    errors.sort_by_key(|error| error.span().map_or(0, |span| span.start));
    // One line, one message.
    errors.dedup_by_key(|error| error.span().map(|span| text[..span.start.min(text.len())].matches('\n').count()));
    for error in errors.iter().take(SYNTAX_MESSAGES) {
        problems.push(from_toml(error, 0..0));
    }
}

/// A top-level table.
fn section<'i>(root: &mut DeTable<'i>, name: &str, problems: &mut Problems) -> Option<Spanned<DeTable<'i>>> {
    let node = root.remove(name)?;
    table(node, &format!("`{name}` is a table"), problems)
}

fn table<'i>(node: Node<'i>, wanted: &str, problems: &mut Problems) -> Option<Spanned<DeTable<'i>>> {
    let span = node.span();
    match node.into_inner() {
        DeValue::Table(table) => Some(Spanned::new(span, table)),
        other => {
            problems.push(not_a(wanted, &Spanned::new(span, other)));
            None
        }
    }
}

type Named<'i> = (Spanned<std::borrow::Cow<'i, str>>, Spanned<DeTable<'i>>);

/// The tables `[kind.NAME]`.
fn tables<'i>(root: &mut DeTable<'i>, kind: &str, problems: &mut Problems) -> Vec<Named<'i>> {
    let mut found = Vec::new();
    for (name, node) in section(root, kind, problems).map(Spanned::into_inner).into_iter().flatten() {
        if !is_name(name.get_ref()) {
            problems.push(no_name(name.span(), name.get_ref()));
        }
        if let Some(table) = table(node, &format!("`{kind}.{}` is a table", name.get_ref()), problems) {
            found.push((name, table));
        }
    }
    found
}

fn stage<'i>(
    text: &str,
    name: &Spanned<std::borrow::Cow<'i, str>>,
    table: &Spanned<DeTable<'i>>,
    problems: &mut Problems,
) -> StageDecl<'i> {
    let raw = table.get_ref();
    let mut matchers = |key: &str| -> Vec<Matcher> {
        list(raw.get(key), &format!("`{key}` is a list of tables"), problems).iter().filter_map(|node| matcher(node, problems)).collect()
    };
    let (keep, skip) = (matchers("keep"), matchers("skip"));
    let overrides = list(raw.get("override"), "`override` is a list of tables", problems);
    let (read, faulty) = fields(table, problems);
    StageDecl {
        faulty,
        name: name.get_ref().to_string(),
        span: name.span(),
        table: read,
        inputs: inputs(text, raw.get("inputs"), problems),
        params: raw.get("params").cloned().and_then(|node| self::table(node, "`params` is a table", problems)),
        keep,
        skip,
        overrides: overrides.into_iter().filter_map(|node| override_entry(node, problems)).collect(),
    }
}

fn list<'a, 'i>(node: Option<&'a Node<'i>>, wanted: &str, problems: &mut Problems) -> Vec<&'a Node<'i>> {
    match node.map(|node| (node, node.get_ref())) {
        None => Vec::new(),
        Some((_, DeValue::Array(nodes))) => nodes.iter().collect(),
        Some((node, _)) => {
            problems.push(not_a(wanted, node));
            Vec::new()
        }
    }
}

fn matcher(node: &Node<'_>, problems: &mut Problems) -> Option<Matcher> {
    let DeValue::Table(table) = node.get_ref() else {
        problems.push(not_a("cells are a table of axis → value or values", node));
        return None;
    };
    let mut axes = Vec::new();
    for (axis, node) in table {
        let nodes: Vec<&Node<'_>> = match node.get_ref() {
            DeValue::Array(nodes) => nodes.iter().collect(),
            _ => vec![node],
        };
        let mut values = Vec::new();
        for node in nodes {
            match scalar(node) {
                Some(value) => values.push(Spanned::new(node.span(), value)),
                None => problems.push(not_a("a value of an axis is text, a number, true or false (of a table its `id`)", node)),
            }
        }
        axes.push((Spanned::new(axis.span(), axis.get_ref().to_string()), values));
    }
    Some(Matcher { span: node.span(), axes })
}

fn override_entry<'i>(node: &Node<'i>, problems: &mut Problems) -> Option<OverrideDecl<'i>> {
    let entry = table(node.clone(), "an override is a table `{ where, params, needs, policy }`", problems)?;
    let (OverrideTable { needs, policy, r#where: _, params: _ }, _) = fields(&entry, problems);
    let raw = entry.get_ref();
    let Some(cells) = raw.get("where") else {
        problems.push(
            Diagnostic::error(node.span(), "an override needs a `where`").help("what holds for every cell goes into the stage itself"),
        );
        return None;
    };
    let params = raw.get("params").cloned().and_then(|node| table(node, "`params` is a table", problems));
    Some(OverrideDecl { matcher: matcher(cells, problems)?, params, needs, policy })
}

fn inputs(text: &str, node: Option<&Node<'_>>, problems: &mut Problems) -> Vec<InputDecl> {
    let Some(node) = node else { return Vec::new() };
    let DeValue::Table(ports) = node.get_ref() else {
        problems.push(not_a("`inputs` is a table of port → reference", node));
        return Vec::new();
    };
    let mut found = Vec::new();
    for (port, node) in ports {
        let mut references = Vec::new();
        let labelled = node.get_ref().is_table();
        match node.get_ref() {
            DeValue::String(_) => references.extend(reference(text, None, node, problems)),
            DeValue::Table(labels) => {
                for (label, node) in labels {
                    if !is_name(label.get_ref()) {
                        problems.push(no_name(label.span(), label.get_ref()));
                    }
                    references.extend(reference(text, Some(label.get_ref().to_string()), node, problems));
                }
            }
            _ => problems.push(not_a("an input is a reference, or a table of labels and references", node)),
        }
        found.push(InputDecl { port: port.get_ref().to_string(), port_span: port.span(), labelled, references });
    }
    found
}

fn reference(text: &str, label: Option<String>, node: &Node<'_>, problems: &mut Problems) -> Option<ReferenceDecl> {
    let DeValue::String(string) = node.get_ref() else {
        problems.push(not_a("a reference is a string", node));
        return None;
    };
    match Reference::parse(string) {
        Ok(reference) => Some(ReferenceDecl { label, reference, text: string.to_string(), span: node.span() }),
        Err(error) => {
            problems.push(Diagnostic::error(inside(text, &node.span(), string, &error.at), error.message));
            None
        }
    }
}
