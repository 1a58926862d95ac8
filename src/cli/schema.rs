//! `tomograph schema`: the JSON schema of pipelines, for editors.

use super::exit::{Exit, print};
use crate::pipeline::schema_text;
use crate::stage::Kind;
use anyhow::Result;
use clap::Args;

/// Print the JSON schema of pipelines, for editors
///
/// Kinds, ports and params are completed and explained by an editor whose TOML extension (Even Better TOML, or another that knows
/// JSON schemas of draft 4) finds it: `tomograph schema > pipeline.schema.json`, and as the first line of a pipeline
/// `#:schema ./pipeline.schema.json`.
#[derive(Args)]
pub(super) struct SchemaArgs {}

pub(super) fn schema(_: &SchemaArgs, kinds: &'static [Kind]) -> Result<Exit> {
    print(&schema_text(kinds))?;
    Ok(Exit::Done)
}
