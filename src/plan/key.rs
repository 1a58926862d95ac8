//! Keys: everything a result depends on, as a manifest that is hashed, stored and compared.
//!
//! | in the key | not in it |
//! |---|---|
//! | kind and revision, or the command's argv, env, code digests, outputs and coordinates | stage name, comments, order |
//! | params with every default filled in | needs, policy, publish, `about` |
//! | digest and level of every part, by port | paths of sources, mtimes |
//! | coordinates of gathered parts | host, threads, device, store |
//! | names inside folders (they are in a tree's manifest) | library versions |
//!
//! Knows nothing of the store or of TOML.

use crate::content::Digest;
use crate::stage::Coordinates;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Raised when the engine itself changes what a stage sees.
const FORMAT: u32 = 1;

/// Everything a result depends on, and nothing else.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyManifest {
    pub format: u32,
    /// The kind, or `command`.
    pub kind: String,
    pub revision: u32,
    pub params: serde_json::Value,
    /// Port → parts in their order.
    pub inputs: BTreeMap<String, Vec<PartKey>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<CommandKey>,
}

/// One part of an input.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartKey {
    /// The gathered axes; empty on a port that takes one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub at: Coordinates,
    /// Digest of the part's manifest; none for a hole.
    pub digest: Option<Digest>,
    /// Whether the part holds people's data: what is made from it does too.
    pub identified: bool,
    /// Class of the failure that left a hole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hole: Option<String>,
}

/// What a command adds to a key.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommandKey {
    /// Arguments with placeholders as written.
    pub argv: Vec<String>,
    pub env: BTreeMap<String, String>,
    /// Path relative to the project root → digest, of every file that `code` names.
    pub code: BTreeMap<String, Digest>,
    /// Output port → artifact.
    pub outputs: BTreeMap<String, String>,
    /// The port whose items it treats one by one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub map: Option<String>,
    /// The task's own coordinates: the program can read them.
    pub coordinates: Coordinates,
}

impl KeyManifest {
    /// A manifest of the current format.
    pub fn new(kind: &str, revision: u32, params: serde_json::Value) -> Self {
        Self { format: FORMAT, kind: kind.to_owned(), revision, params, inputs: BTreeMap::new(), command: None }
    }

    /// Canonical JSON: keys sorted, no spaces.
    pub fn bytes(&self) -> Vec<u8> {
        let mut value = serde_json::to_value(self).expect("a key manifest is maps, lists, numbers and strings");
        value.sort_all_objects();
        value.to_string().into_bytes()
    }

    /// The key.
    pub fn key(&self) -> Digest {
        Digest::of(&self.bytes())
    }
}
