//! `tomograph kinds`: the manual of the kinds and artifacts, from their declarations and doc comments.

use super::exit::{Exit, Wrong, print};
use super::grid::{grid, wrap};
use crate::pipeline::Diagnostic;
use crate::stage::{Artifact, Count, Kind, Port, Work};
use anyhow::Result;
use clap::Args;
use serde_json::{Value, json};
use std::fmt::Write as _;

/// Width of the manual, in characters.
const WIDTH: usize = 100;

/// Show what kinds of stages there are, and how each is used
///
/// Without NAME, one line per kind. With NAME, its manual: what it does, its input and output ports, and every param with its type,
/// default and meaning.
#[derive(Args)]
pub(super) struct KindsArgs {
    /// A kind, such as `classifier.train`
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// Show the artifacts that ports carry: their files, columns and units
    #[arg(long, conflicts_with = "name")]
    types: bool,
    /// One JSON object a line; params as a JSON schema
    #[arg(long)]
    json: bool,
}

pub(super) fn kinds(args: &KindsArgs, kinds: &'static [Kind]) -> Result<Exit> {
    let text = match (&args.name, args.types) {
        (_, true) if args.json => {
            Artifact::ALL.iter().map(|(_, name, about)| json!({ "artifact": name, "about": about }).to_string() + "\n").collect()
        }
        (_, true) => types(),
        (None, _) if args.json => kinds.iter().map(|kind| describe(kind).to_string() + "\n").collect(),
        (None, _) => list(kinds),
        (Some(name), _) => {
            let Some(kind) = kinds.iter().find(|kind| kind.name == name) else {
                let problem = Diagnostic::plain(format!("there is no kind `{name}`")).suggest(name, kinds.iter().map(|kind| kind.name));
                let help = problem.help.map(|help| format!("; {help}")).unwrap_or_default();
                return Err(Wrong(format!("{}{help}", problem.message)).into());
            };
            if args.json { describe(kind).to_string() + "\n" } else { manual(kind) }
        }
    };
    print(&text)?;
    Ok(Exit::Done)
}

fn types() -> String {
    let mut text = String::new();
    for (_, name, about) in Artifact::ALL {
        let _ = write!(text, "{name}\n{}", wrap(about, "    ", WIDTH));
    }
    text
}

fn list(kinds: &[Kind]) -> String {
    let rows: Vec<Vec<String>> = kinds.iter().map(|kind| vec![kind.name.to_owned(), flow(kind)]).collect();
    let mut text = String::new();
    for (line, kind) in grid(&rows, "").lines().zip(kinds) {
        let schema = (kind.schema)().to_value();
        let first = about(&schema).split("\n\n").next().unwrap_or_default();
        let _ = write!(text, "{line}\n{}", wrap(first, "    ", WIDTH));
    }
    text.push_str("\n`tomograph kinds NAME` explains one, `tomograph kinds --types` the artifacts.\nA stage may also have a `command` instead of a kind.\n");
    text
}

/// `images, split → train, validation, test, all`.
fn flow(kind: &Kind) -> String {
    let names = |ports: &[Port]| ports.iter().map(|port| port.name).collect::<Vec<_>>().join(", ");
    let inputs = if kind.inputs.is_empty() { "—".to_owned() } else { names(kind.inputs) };
    format!("{inputs} → {}", names(kind.outputs))
}

fn manual(kind: &Kind) -> String {
    let schema = (kind.schema)().to_value();
    let work = match kind.work {
        Work::Whole => "all at once, on the CPU",
        Work::Map { guarded: true, .. } => "item by item, on the CPU, each in a guarded child process",
        Work::Map { .. } => "item by item, on the CPU",
        Work::Torch { map: None } => "in tomograph-torch, on one slot of the device pool",
        Work::Torch { map: Some(_) } => "item by item, in tomograph-torch, on one slot of the device pool",
    };
    let mut text = format!("{}\n\n", kind.name);
    text.push_str(&wrap(about(&schema), "  ", WIDTH));
    let told: String = kind.revisions.iter().map(|(revision, what)| format!(" {revision}: {what}.")).collect();
    let _ = write!(text, "\n  Works {work}. Revision {}.{told}\n", kind.revision);
    for (title, ports, is_input) in [("inputs", kind.inputs, true), ("outputs", kind.outputs, false)] {
        if !ports.is_empty() {
            let _ = write!(text, "\n{title}\n");
        }
        for (at, port) in ports.iter().enumerate() {
            let main = if !is_input && at == 0 && ports.len() > 1 { ", the main one" } else { "" };
            let _ = write!(text, "  {}: {}{main}\n{}", port.name, carries(port), wrap(port.about, "      ", WIDTH));
        }
    }
    text.push_str(&params(&schema));
    text
}

/// `one of cohort, table; optional`.
fn carries(port: &Port) -> String {
    let mut text = port.holds.iter().map(|artifact| artifact.name()).collect::<Vec<_>>().join(" or ");
    if !port.roles.is_empty() {
        let roles: Vec<String> = port.roles.iter().map(ToString::to_string).collect();
        let _ = write!(text, " ({})", roles.join(" or "));
    }
    match port.count {
        Count::One => {}
        Count::Optional => text.push_str(", optional"),
        Count::Many => text.push_str(", one or many"),
    }
    if port.filled {
        text.push_str(", filled by the engine");
    }
    if port.holes {
        text.push_str(", missing cells allowed");
    }
    text
}

fn params(schema: &Value) -> String {
    let Some(fields) = schema.get("properties").and_then(Value::as_object).filter(|fields| !fields.is_empty()) else {
        return "\nno params\n".to_owned();
    };
    let required: Vec<&str> = schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    let mut text = "\nparams\n".to_owned();
    for (name, field) in fields {
        let default = match field.get("default") {
            _ if required.contains(&name.as_str()) => ", required".to_owned(),
            Some(Value::Null) | None => ", optional".to_owned(),
            Some(value) => format!(", default {value}"),
        };
        let _ = writeln!(text, "  {name}: {}{default}", type_of(field, schema));
        text.push_str(&wrap(about(field), "      ", WIDTH));
        for (value, about) in variants(field, schema) {
            text.push_str(&wrap(&format!("{value}: {about}"), "        ", WIDTH));
        }
    }
    text
}

fn about(schema: &Value) -> &str {
    schema.get("description").and_then(Value::as_str).unwrap_or_default()
}

/// The definition that a schema refers to, or itself.
fn resolve<'a>(schema: &'a Value, root: &'a Value) -> &'a Value {
    let target = schema.get("$ref").and_then(Value::as_str).and_then(|path| root.pointer(path.strip_prefix('#')?));
    target.unwrap_or(schema)
}

/// A type in TOML's words: `integer`, `array of string`, `"mean" or "none"`.
fn type_of(schema: &Value, root: &Value) -> String {
    let schema = resolve(schema, root);
    let either = |parts: Vec<String>| {
        let mut parts: Vec<String> = parts.into_iter().filter(|part| part != "null").collect();
        parts.dedup();
        parts.join(" or ")
    };
    if let Some(value) = schema.get("const") {
        return value.to_string();
    }
    if let Some(values) = schema.get("enum").and_then(Value::as_array) {
        return either(values.iter().map(ToString::to_string).collect());
    }
    if let Some(parts) = ["oneOf", "anyOf"].iter().find_map(|name| schema.get(name)?.as_array()) {
        return either(parts.iter().map(|part| type_of(part, root)).collect());
    }
    if let Some([only]) = schema.get("allOf").and_then(Value::as_array).map(Vec::as_slice) {
        return type_of(only, root);
    }
    match schema.get("type") {
        Some(Value::Array(names)) => either(names.iter().filter_map(Value::as_str).map(|name| named(name, schema, root)).collect()),
        Some(Value::String(name)) => named(name, schema, root),
        _ => "any value".to_owned(),
    }
}

fn named(name: &str, schema: &Value, root: &Value) -> String {
    match name {
        "number" => "float".to_owned(),
        "array" => match schema.get("items") {
            Some(items) => format!("array of {}", type_of(items, root)),
            None => "array".to_owned(),
        },
        "object" => match schema.get("additionalProperties") {
            Some(values @ Value::Object(_)) => format!("table of {}", type_of(values, root)),
            _ => "table".to_owned(),
        },
        other => other.to_owned(),
    }
}

/// The values of an enumeration that have a meaning of their own.
fn variants<'a>(schema: &'a Value, root: &'a Value) -> Vec<(String, &'a str)> {
    let schema = resolve(schema, root);
    let parts = ["oneOf", "anyOf"].iter().find_map(|name| schema.get(name)?.as_array());
    let mut found = Vec::new();
    for part in parts.into_iter().flatten() {
        match part.get("const") {
            Some(value) if !about(part).is_empty() => found.push((value.to_string(), about(part))),
            Some(_) => {}
            None if part.get("$ref").is_some() => found.extend(variants(part, root)),
            None => {}
        }
    }
    found
}

fn describe(kind: &Kind) -> Value {
    let port = |port: &Port| {
        json!({
            "port": port.name,
            "holds": port.holds.iter().map(|artifact| artifact.name()).collect::<Vec<_>>(),
            "roles": port.roles.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "count": match port.count { Count::One => "one", Count::Optional => "optional", Count::Many => "many" },
            "holes": port.holes,
            "filled": port.filled,
            "about": port.about,
        })
    };
    let schema = (kind.schema)().to_value();
    json!({
        "kind": kind.name,
        "revision": kind.revision,
        "work": match kind.work { Work::Whole => "whole", Work::Map { .. } => "map", Work::Torch { .. } => "torch" },
        "about": about(&schema),
        "inputs": kind.inputs.iter().map(port).collect::<Vec<_>>(),
        "outputs": kind.outputs.iter().map(port).collect::<Vec<_>>(),
        "params": schema,
    })
}
