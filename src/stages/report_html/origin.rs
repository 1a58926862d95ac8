//! Where a report comes from: the pipeline's picture, and what ran where with which data, keys and versions.

use crate::report::flow::{Node, flow};
use crate::report::page::{Section, heading, note, wide};
use crate::report::svg::escape;
use crate::report::tables::{Column, digest, raw_table};
use crate::stage::Context;
use anyhow::{Context as _, Result};
use serde_json::Value;

/// What port `lineage` says.
pub(super) struct Lineage {
    lineage: Value,
    /// By key: when, where, how long, with which program. In no digest.
    records: Value,
}

/// The pipeline's picture, and its section.
pub(super) struct Drawing {
    pub(super) picture: Option<(String, String)>,
    pub(super) section: Section,
}

impl Lineage {
    pub(super) fn read(cx: &Context) -> Result<Self> {
        let Some(part) = cx.inputs.optional("lineage")? else { return Ok(Self { lineage: Value::Null, records: Value::Null }) };
        let lineage = serde_json::from_slice(&part.tree.read("lineage.json")?).context("lineage.json")?;
        let records = match part.tree.files.contains_key("records.json") {
            true => serde_json::from_slice(&part.tree.read("records.json")?).context("records.json")?,
            false => Value::Null,
        };
        Ok(Self { lineage, records })
    }

    /// The title that the pipeline has, else its name.
    pub(super) fn title(&self) -> String {
        let title = self.lineage["about"]["title"].as_str().or(self.lineage["pipeline"].as_str());
        title.unwrap_or("Results").to_owned()
    }

    /// What the pipeline says of itself.
    pub(super) fn about(&self) -> Vec<(String, String)> {
        let named = self.lineage["about"].as_object().into_iter().flatten().filter(|(name, _)| *name != "title");
        let mut about: Vec<(String, String)> = named.map(|(name, value)| (name.clone(), text(value))).collect();
        about.extend(self.lineage["pipeline"].as_str().map(|name| ("pipeline".to_owned(), name.to_owned())));
        about
    }

    pub(super) fn sections(&self) -> (Drawing, Section) {
        let (drawn, origin) = (("pipeline", "Pipeline"), ("origin", "What ran where"));
        if self.lineage.is_null() {
            let why = "the engine brought no lineage";
            let section = Section::left_out(drawn.0, drawn.1, why);
            return (Drawing { picture: None, section }, Section::left_out(origin.0, origin.1, why));
        }
        let svg = flow(&self.nodes());
        let body = wide(&svg) + &note("Each box is a stage, with its kind and how many tasks it has.");
        let section = Section { id: drawn.0, title: drawn.1, body };
        let body = heading("Data") + &self.data() + &heading("Tasks") + &self.tasks();
        (Drawing { picture: Some(("pipeline".to_owned(), svg)), section }, Section { id: origin.0, title: origin.1, body })
    }

    fn nodes(&self) -> Vec<Node> {
        let mut nodes: Vec<Node> = Vec::new();
        for source in self.lineage["sources"].as_object().into_iter().flat_map(|sources| sources.values()) {
            let name = text(&source["name"]);
            if !nodes.iter().any(|node| node.name == name) {
                let about = if source["phi"] == true { "source, people's data" } else { "source" };
                nodes.push(Node { name, about: about.to_owned(), ..Node::default() });
            }
        }
        for stage in list(&self.lineage["stages"]) {
            let tasks = list(&stage["tasks"]);
            let failed = tasks.iter().filter(|task| !task["failed"].is_null()).count();
            let plural = if tasks.len() == 1 { "1 task".to_owned() } else { format!("{} tasks", tasks.len()) };
            nodes.push(Node {
                name: text(&stage["name"]),
                about: text(&stage["kind"]),
                count: if failed > 0 { format!("{plural}, {failed} failed") } else { plural },
                after: list(&stage["after"]).iter().map(text).collect(),
                failed: failed > 0,
            });
        }
        nodes
    }

    fn data(&self) -> String {
        let columns: Vec<Column> = ["source", "people's data", "digest"].iter().map(|&name| (name.to_owned(), true)).collect();
        let sources = self.lineage["sources"].as_object().into_iter().flatten();
        let rows: Vec<Vec<(String, String)>> = sources
            .map(|(name, source)| {
                let people = if source["phi"] == true { "yes" } else { "no" };
                let whole = source["digest"].as_str().unwrap_or_default();
                vec![(escape(name), name.clone()), (people.to_owned(), people.to_owned()), (digest(whole), whole.to_owned())]
            })
            .collect();
        raw_table("A digest names the files' content (BLAKE3); the pointer shows the whole of it.", &columns, &rows)
    }

    fn tasks(&self) -> String {
        let columns = [
            ("task", true),
            ("kind", true),
            ("key", true),
            ("started (UTC)", true),
            ("seconds", false),
            ("on", true),
            ("device", true),
            ("threads", false),
            ("tomograph", true),
        ];
        let columns: Vec<Column> = columns.iter().map(|(name, words)| ((*name).to_owned(), *words)).collect();
        let mut rows = Vec::new();
        for stage in list(&self.lineage["stages"]) {
            for task in list(&stage["tasks"]) {
                let key = task["key"].as_str().unwrap_or_default();
                let record = &self.records[key];
                let started = text(&record["started"]);
                let moment = started.split('.').next().unwrap_or_default().trim_end_matches('Z').replace('T', " ");
                let seconds = record["seconds"].as_f64().map(|seconds| format!("{seconds:.1}")).unwrap_or_default();
                let same = |value: String| (escape(&value), value);
                let shown = match task["failed"].as_str() {
                    Some(class) => same(format!("failed: {class}")),
                    None => (digest(key), key.to_owned()),
                };
                rows.push(vec![
                    same(text(&task["task"])),
                    same(text(&stage["kind"])),
                    shown,
                    same(moment),
                    (seconds.clone(), seconds),
                    same(text(&record["host"])),
                    same(text(&record["device"])),
                    same(text(&record["threads"])),
                    same(text(&record["build"])),
                ]);
            }
        }
        raw_table(
            "`tomograph whence` on the published file says the same with params and the command that makes it again.",
            &columns,
            &rows,
        )
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A value as people read it.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}
