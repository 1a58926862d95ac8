//! `tomograph schema`: the JSON schema of pipelines, for editors; of one pipeline also with the references that fit each port.

use super::exit::{Exit, Wrong, print};
use super::reading::load_pipeline;
use crate::pipeline::{Overlay, Pipeline, schema_text};
use crate::stage::{Artifact, Kind, Port};
use anyhow::Result;
use clap::Args;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::PathBuf;

/// Print the JSON schema of pipelines, for editors
///
/// Kinds, ports and params are completed and explained by an editor whose TOML extension (Even Better TOML, or another that knows
/// JSON schemas of draft 4) finds it: `tomograph schema > pipeline.schema.json`, and as the first line of a pipeline
/// `#:schema ./pipeline.schema.json`. With PIPELINE, also the outputs and sources of that pipeline, at the ports that they fit.
#[derive(Args)]
pub(super) struct SchemaArgs {
    /// A pipeline whose references shall be completed too
    #[arg(value_name = "PIPELINE")]
    pipeline: Option<PathBuf>,
}

pub(super) fn schema(args: &SchemaArgs, kinds: &'static [Kind]) -> Result<Exit> {
    let text = schema_text(kinds);
    let Some(path) = &args.pipeline else {
        print(&text)?;
        return Ok(Exit::Done);
    };
    let Some(pipeline) = load_pipeline(path, kinds, &Overlay::default())?.loaded.pipeline else {
        return Err(Wrong(format!("{} has mistakes: `tomograph check` shows them", path.display())).into());
    };
    let mut schema: Value = serde_json::from_str(&text)?;
    for kind in kinds {
        for port in kind.inputs {
            let place = &mut schema["definitions"][kind.name]["properties"]["inputs"]["properties"][port.name];
            let fitting: BTreeSet<String> = fitting(&pipeline, port);
            if !fitting.is_empty() && place.is_object() {
                // Selectors and files inside sources are written by hand: any other text is right, too.
                *place = json!({ "description": place["description"], "anyOf": choices(place, fitting) });
            }
        }
    }
    print(&format!("{schema:#}\n"))?;
    Ok(Exit::Done)
}

fn choices(place: &Value, fitting: BTreeSet<String>) -> Vec<Value> {
    let others = place["anyOf"].as_array().cloned().unwrap_or_else(|| vec![json!({ "type": "string" })]);
    std::iter::once(json!({ "enum": fitting })).chain(others).collect()
}

/// Outputs and sources that a port takes; the main output also by its stage's name alone.
fn fitting(pipeline: &Pipeline, port: &Port) -> BTreeSet<String> {
    let tables = port.holds.iter().any(|artifact| [Artifact::Table, Artifact::Cohort].contains(artifact));
    let fits = |artifact: Artifact| port.holds.contains(&artifact);
    let mut found = BTreeSet::new();
    for task in &pipeline.tasks {
        for (number, output) in task.outputs.iter().enumerate().filter(|(_, output)| fits(output.artifact)) {
            found.insert(format!("{}.{}", task.stage, output.port));
            if number == 0 {
                found.insert(task.stage.clone());
            }
        }
    }
    let sources = pipeline.sources.iter().filter(|source| fits(source.artifact) || tables && source.artifact == Artifact::Files);
    found.extend(sources.map(|source| source.name.clone()));
    found
}
