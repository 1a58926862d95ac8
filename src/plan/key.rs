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
use crate::few::Few;
use crate::stage::Coordinates;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{BufWriter, Write as _};

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

/// The manifest of one task among many: what it shares with others stands in `common`, the rest is borrowed from where it lies. Its bytes are
/// those of the manifest.
#[derive(Serialize)]
pub(super) struct KeyView<'a> {
    #[serde(skip)]
    common: &'a KeyManifest,
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<CommandView<'a>>,
    format: u32,
    inputs: BTreeMap<&'a str, Vec<PartView<'a>>>,
    kind: &'a str,
    params: &'a serde_json::Value,
    revision: u32,
}

/// A [`PartKey`].
#[derive(Serialize)]
pub(super) struct PartView<'a> {
    #[serde(skip_serializing_if = "Few::is_empty")]
    pub(super) at: &'a Coordinates,
    pub(super) digest: Option<Digest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) hole: Option<&'a str>,
    pub(super) level: Level,
}

/// A [`CommandKey`].
#[derive(Serialize)]
struct CommandView<'a> {
    argv: &'a [String],
    code: &'a BTreeMap<String, Digest>,
    coordinates: &'a Coordinates,
    env: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    map: Option<&'a str>,
    outputs: &'a BTreeMap<String, String>,
}

/// One part of an input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartKey {
    /// The gathered axes; empty on a port that takes one.
    #[serde(default, skip_serializing_if = "Few::is_empty")]
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

impl<'a> KeyView<'a> {
    /// Of a task at `cell`; `common` is a manifest without inputs and coordinates.
    pub(super) fn new(common: &'a KeyManifest, cell: &'a Coordinates, inputs: BTreeMap<&'a str, Vec<PartView<'a>>>) -> Self {
        let KeyManifest { command, format, inputs: _, kind, params, revision } = common;
        let command = command.as_ref().map(|CommandKey { argv, code, coordinates: _, env, map, outputs }| CommandView {
            argv,
            code,
            coordinates: cell,
            env,
            map: map.as_deref(),
            outputs,
        });
        Self { common, command, format: *format, inputs, kind, params, revision: *revision }
    }

    /// The key.
    pub(super) fn key(&self) -> Digest {
        // In pieces: that of a gather may have megabytes.
        let mut hasher = blake3::Hasher::new();
        let mut bytes = BufWriter::with_capacity(16 << 10, &mut hasher);
        serde_json::to_writer(&mut bytes, self).expect("a key manifest is maps, lists, numbers and strings");
        bytes.flush().expect("what is hashed goes nowhere");
        drop(bytes);
        Digest(*hasher.finalize().as_bytes())
    }

    /// The manifest itself.
    pub(super) fn to_manifest(&self) -> KeyManifest {
        let part = |part: &PartView<'_>| PartKey {
            at: part.at.clone(),
            digest: part.digest,
            hole: part.hole.map(str::to_owned),
            level: part.level,
        };
        let mut manifest = self.common.clone();
        if let (Some(command), Some(view)) = (&mut manifest.command, &self.command) {
            command.coordinates.clone_from(view.coordinates);
        }
        manifest.inputs = self.inputs.iter().map(|(port, parts)| ((*port).to_owned(), parts.iter().map(part).collect())).collect();
        manifest
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

    #[test]
    fn a_view_has_the_key_of_its_manifest() {
        let mut common = KeyManifest::new("command", 1, json!({"a": 1.5}));
        let one = BTreeMap::from([("x".to_owned(), "y".to_owned())]);
        let code = BTreeMap::from([("p".to_owned(), Digest::of(b""))]);
        let cell = Coordinates::from([("seed".to_owned(), crate::stage::Value::Int(1))]);
        let (nowhere, argv) = (Coordinates::new(), vec!["cp".to_owned()]);
        for map in [None, Some("m".to_owned())] {
            let (coordinates, code) = (Coordinates::new(), code.clone());
            common.command = Some(CommandKey { argv: argv.clone(), code, coordinates, env: one.clone(), map, outputs: one.clone() });
            let found = PartView { at: &nowhere, digest: Some(Digest::of(b"x")), hole: None, level: Level::Identified };
            let hole = PartView { at: &cell, digest: None, hole: Some("failed"), level: Level::Released };
            let view = KeyView::new(&common, &cell, BTreeMap::from([("a", vec![]), ("z", vec![found, hole])]));
            let manifest = view.to_manifest();
            assert_eq!(String::from_utf8(manifest.bytes()).unwrap(), serde_json::to_string(&view).unwrap());
            assert_eq!((manifest.key(), manifest.command.unwrap().coordinates), (view.key(), cell.clone()));
        }
        common.command = None;
        let view = KeyView::new(&common, &cell, BTreeMap::new());
        assert_eq!(view.to_manifest().key(), view.key());
    }
}
