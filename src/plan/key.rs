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

use crate::content::{Digest, Level};
use crate::stage::Coordinates;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Raised when the engine itself changes what a stage sees.
const FORMAT: u32 = 2;

/// Everything a result depends on, and nothing else. Fields are in alphabetical order, here and below: so they are hashed.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyManifest {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<CommandKey>,
    pub format: u32,
    /// Port → parts in their order.
    pub inputs: BTreeMap<String, Vec<PartKey>>,
    /// The kind, or `command`.
    pub kind: String,
    /// Keys sorted.
    pub params: serde_json::Value,
    pub revision: u32,
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
    /// Class of the failure that left a hole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hole: Option<String>,
    /// How close the part is to people: what is made from it is as close.
    #[serde(alias = "identified")]
    pub level: Level,
}

/// What a command adds to a key.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommandKey {
    /// Arguments with placeholders as written.
    pub argv: Vec<String>,
    /// Path relative to the project root → digest, of every file that `code` names.
    pub code: BTreeMap<String, Digest>,
    /// The task's own coordinates: the program can read them.
    pub coordinates: Coordinates,
    pub env: BTreeMap<String, String>,
    /// The port whose items it treats one by one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub map: Option<String>,
    /// Output port → artifact.
    pub outputs: BTreeMap<String, String>,
}

impl KeyManifest {
    /// A manifest of the current format.
    pub fn new(kind: &str, revision: u32, mut params: serde_json::Value) -> Self {
        params.sort_all_objects();
        Self { format: FORMAT, kind: kind.to_owned(), revision, params, inputs: BTreeMap::new(), command: None }
    }

    /// Canonical JSON: keys sorted, no spaces.
    pub fn bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a key manifest is maps, lists, numbers and strings")
    }

    /// The key.
    pub fn key(&self) -> Digest {
        Digest::of(&self.bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_bytes_are_canonical_json() {
        let mut manifest = KeyManifest::new("command", 1, json!({"b": {"d": 1, "c": 2}, "a": []}));
        let at = Coordinates::from([("seed".to_owned(), crate::stage::Value::Int(1))]);
        let part = |hole: Option<&str>| PartKey { at: at.clone(), digest: None, hole: hole.map(str::to_owned), level: Level::Identified };
        manifest.inputs.insert("z".into(), vec![part(None), part(Some("failed"))]);
        manifest.inputs.insert("a".into(), vec![]);
        let one = BTreeMap::from([("x".to_owned(), "y".to_owned())]);
        let code = BTreeMap::from([("p".to_owned(), Digest::of(b""))]);
        let (outputs, coordinates) = (one.clone(), at.clone());
        manifest.command = Some(CommandKey { argv: vec!["cp".into()], code, coordinates, env: one, map: Some("m".into()), outputs });
        let mut sorted = serde_json::to_value(&manifest).unwrap();
        sorted.sort_all_objects();
        assert_eq!(String::from_utf8(manifest.bytes()).unwrap(), sorted.to_string());
    }
}
