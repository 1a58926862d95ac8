//! Reasons: the difference between two key manifests, as people read it.
//!
//! Both are flattened to paths and leaves, so that two keys are equal exactly when there is no reason.

use super::key::KeyManifest;
use crate::content::{Digest, Level, Tree};
use serde_json::Value;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;

/// Why a task must run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Nothing like it has run.
    FirstRun,
    /// A leaf of the key manifest is another one; `None` where it was or is not there.
    Changed { path: String, old: Option<String>, new: Option<String> },
    /// An input is another one; what in it changed, as far as known.
    Input { path: String, details: Vec<String> },
    /// The result is known but its bytes are gone, and something needs them.
    Gone { needed_by: String },
    /// The difference is to another task's last record, since this one never ran.
    ComparedWith(String),
    /// The user wants it again although it is known.
    Again,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FirstRun => f.write_str("first run"),
            Self::Changed { path, old: Some(old), new: Some(new) } => write!(f, "{path}: {old} → {new}"),
            Self::Changed { path, old: None, new } => write!(f, "{path}: added {}", new.as_deref().unwrap_or_default()),
            Self::Changed { path, old: Some(old), new: None } => write!(f, "{path}: removed (was {old})"),
            Self::Input { path, details } if details.is_empty() => write!(f, "{path}: changed"),
            Self::Input { path, details } => write!(f, "{path}: {}", details.join("; ")),
            Self::Gone { needed_by } => write!(f, "its result is gone from the store and {needed_by} needs it"),
            Self::Again => f.write_str("asked for with --again"),
            Self::ComparedWith(task) => write!(f, "never ran; compared with {task}"),
        }
    }
}

/// Says what changed between two inputs, given the path of the part in the manifest and both digests.
pub type Describe<'d> = dyn Fn(&str, Option<Digest>, Option<Digest>) -> Vec<String> + 'd;

/// The differences of two manifests.
pub fn difference(old: &KeyManifest, new: &KeyManifest, describe: &Describe) -> Vec<Reason> {
    Leaves::of(old).difference(&Leaves::of(new), describe)
}

/// A manifest as paths and leaves; empty maps and lists are leaves.
pub(super) struct Leaves(BTreeMap<String, Value>);

/// A path, and its leaves before and after, of which one may be missing.
type Leaf<'l> = (&'l str, Option<&'l Value>, Option<&'l Value>);

impl Leaves {
    pub(super) fn of(manifest: &KeyManifest) -> Self {
        let mut leaves = BTreeMap::new();
        flatten(String::new(), serde_json::to_value(manifest).expect("a key manifest is JSON"), &mut leaves);
        Self(leaves)
    }

    /// How many reasons there are, but no more than `most`.
    pub(super) fn distance(&self, new: &Self, most: usize) -> usize {
        self.changed(new).take(most).count()
    }

    /// A reason for each leaf that is another one.
    pub(super) fn difference(&self, new: &Self, describe: &Describe) -> Vec<Reason> {
        let reason = |(path, before, after): Leaf| match path.strip_suffix(".digest").filter(|path| path.starts_with("inputs.")) {
            Some(part) => {
                let digest = |value: Option<&Value>| value.and_then(Value::as_str).and_then(|text| text.parse().ok());
                let details = describe(part, digest(before), digest(after));
                Reason::Input { path: part.strip_suffix("[0]").unwrap_or(part).to_owned(), details }
            }
            None => Reason::Changed { path: path.to_owned(), old: before.map(show), new: after.map(show) },
        };
        self.changed(new).map(reason).collect()
    }

    /// The leaves that are others, by path.
    fn changed<'l>(&'l self, new: &'l Self) -> impl Iterator<Item = Leaf<'l>> {
        let (mut old, mut new) = (self.0.iter().peekable(), new.0.iter().peekable());
        let both = std::iter::from_fn(move || {
            let order = match (old.peek(), new.peek()) {
                (Some((before, _)), Some((after, _))) => before.cmp(after),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => return None,
            };
            let before = if order.is_le() { old.next() } else { None };
            let after = if order.is_ge() { new.next() } else { None };
            let (path, _) = before.or(after)?;
            Some((path.as_str(), before.map(|(_, leaf)| leaf), after.map(|(_, leaf)| leaf)))
        });
        both.filter(|(_, before, after)| before != after)
    }
}

/// At most this many files are named in a reason.
const NAMED: usize = 3;

/// What changed between two trees, given by their manifests: the first files, and how many more; nothing where one is no manifest.
pub fn tree_difference(old: &[u8], new: &[u8], level: Level) -> Vec<String> {
    let (old, new) = unlike(old, new);
    let (Some(old), Some(new)) = (Tree::from_manifest(old, level), Tree::from_manifest(new, level)) else { return Vec::new() };
    let mut changes = Vec::new();
    for (path, file) in &new.files {
        match old.files.get(path) {
            None => changes.push(format!("added {}", new.shown(path))),
            Some(before) if before.digest != file.digest => changes.push(format!("changed {}", new.shown(path))),
            Some(_) => {}
        }
    }
    changes.extend(old.files.keys().filter(|path| !new.files.contains_key(*path)).map(|path| format!("removed {}", old.shown(path))));
    if changes.len() > NAMED {
        let more = changes.len() - NAMED;
        changes.truncate(NAMED);
        changes.push(format!("and {more} more"));
    }
    changes
}

/// Two texts without the lines that both begin with and those that both end with: of 100,000 files mostly few are others.
fn unlike<'t>(old: &'t [u8], new: &'t [u8]) -> (&'t [u8], &'t [u8]) {
    let is_end = |byte: &u8| *byte == b'\n';
    let same = old.iter().zip(new).take_while(|(one, other)| one == other).count();
    let start = old[..same].iter().rposition(is_end).map_or(0, |at| at + 1);
    let (old, new) = (&old[start..], &new[start..]);
    let same = old.iter().rev().zip(new.iter().rev()).take_while(|(one, other)| one == other).count();
    // The first line of what both end with may be the end of two longer ones.
    let rest = &old[old.len() - same..];
    let tail = rest.iter().position(is_end).map_or(0, |at| rest.len() - at - 1);
    (&old[..old.len() - tail], &new[..new.len() - tail])
}

/// Adds to a changed revision what the later revisions changed, as the kind says it.
pub fn tell_revisions(reasons: &mut [Reason], revisions: &[(u32, &str)]) {
    for reason in reasons {
        let Reason::Changed { path, old: Some(old), new: Some(new) } = reason else { continue };
        let (Ok(before), Ok(after)) = (old.parse::<u32>(), new.parse::<u32>()) else { continue };
        let told: Vec<&str> = revisions.iter().filter(|(at, _)| before < *at && *at <= after).map(|(_, what)| *what).collect();
        if path == "revision" && !told.is_empty() {
            *new = format!("{after} ({})", told.join("; "));
        }
    }
}

fn show(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn flatten(path: String, value: Value, leaves: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (name, value) in fields {
                let name = if name.contains(['.', '[', '"']) || name.is_empty() { format!("{name:?}") } else { name };
                flatten(if path.is_empty() { name } else { format!("{path}.{name}") }, value, leaves);
            }
        }
        Value::Array(values) if !values.is_empty() => {
            for (at, value) in values.into_iter().enumerate() {
                flatten(format!("{path}[{at}]"), value, leaves);
            }
        }
        leaf => {
            leaves.insert(path, leaf);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::{FileRef, Place};
    use crate::plan::key::{CommandKey, PartKey};
    use crate::stage::Coordinates;
    use proptest::prelude::*;
    use serde_json::json;

    fn manifest(params: Value) -> KeyManifest {
        KeyManifest::new("classifier.train", 1, params)
    }

    fn reasons(old: &KeyManifest, new: &KeyManifest) -> Vec<String> {
        difference(old, new, &|_, _, _| Vec::new()).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_changed_param_reads_as_users_write_it() {
        let (old, new) =
            (manifest(json!({"learning_rate": 1e-4, "dense": [1, 2]})), manifest(json!({"learning_rate": 1e-3, "dense": [1]})));
        assert_eq!(reasons(&old, &new), ["params.dense[1]: removed (was 2)", "params.learning_rate: 0.0001 → 0.001"]);
    }

    #[test]
    fn a_changed_revision_says_what_it_changed() {
        let revisions = [(2, "opacities are denser"), (3, "noise is grey"), (4, "not yet")];
        let mut changed = difference(&manifest(json!({})), &KeyManifest::new("classifier.train", 3, json!({})), &|_, _, _| Vec::new());
        tell_revisions(&mut changed, &revisions);
        assert_eq!(changed[0].to_string(), "revision: 1 → 3 (opacities are denser; noise is grey)");
        // A param of that name is not the kind's revision.
        let mut changed = difference(&manifest(json!({"revision": 1})), &manifest(json!({"revision": 2})), &|_, _, _| Vec::new());
        tell_revisions(&mut changed, &revisions);
        assert_eq!(changed[0].to_string(), "params.revision: 1 → 2");
    }

    #[test]
    fn a_changed_input_is_named_by_its_port() {
        let mut old = manifest(json!({}));
        let part = |text: &str| {
            vec![PartKey { at: Default::default(), digest: Some(Digest::of(text.as_bytes())), level: Level::Released, hole: None }]
        };
        old.inputs.insert("train".into(), part("a"));
        let mut new = old.clone();
        new.inputs.insert("train".into(), part("b"));
        assert_eq!(reasons(&old, &new), ["inputs.train: changed"]);
    }

    fn tree() -> impl Strategy<Value = Tree> {
        let file = |content: u8| FileRef { digest: Digest::of(&[content]), size: 1, place: Place::default() };
        let files = prop::collection::btree_map("[ab/]{1,2}", (0..3_u8).prop_map(file), 0..6);
        files.prop_map(|files| Tree { files, level: Level::Released })
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (0..3i64).prop_map(Value::from),
            "[a.\\[\"]{0,2}".prop_map(Value::from)
        ];
        leaf.prop_recursive(3, 12, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                prop::collection::btree_map("[ab.\\[\"0]{0,2}", inner, 0..3).prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    fn coordinates() -> impl Strategy<Value = Coordinates> {
        let value = prop_oneof![
            (0..2_i64).prop_map(crate::stage::Value::Int),
            any::<bool>().prop_map(crate::stage::Value::Bool),
            "[01a]".prop_map(crate::stage::Value::Text)
        ];
        prop::collection::btree_map("[ab]", value, 0..2).prop_map(|map| map.into_iter().collect())
    }

    fn part() -> impl Strategy<Value = PartKey> {
        let level = prop_oneof![Just(Level::Released), Just(Level::Pseudonymous), Just(Level::Identified)];
        let digest = prop::option::of((0..3_u8).prop_map(|number| Digest::of(&[number])));
        (coordinates(), digest, prop::option::of("[ab]?"), level).prop_map(|(at, digest, hole, level)| PartKey { at, digest, hole, level })
    }

    fn command() -> impl Strategy<Value = CommandKey> {
        let texts = || prop::collection::btree_map("[ab.]", "[ab]?", 0..2);
        let code = prop::collection::btree_map("[ab./]", (0..2_u8).prop_map(|number| Digest::of(&[number])), 0..2);
        let words = prop::collection::vec("[ab]?", 0..3);
        (words, code, coordinates(), texts(), prop::option::of("[ab]"), texts())
            .prop_map(|(argv, code, coordinates, env, map, outputs)| CommandKey { argv, code, coordinates, env, map, outputs })
    }

    fn whole() -> impl Strategy<Value = KeyManifest> {
        let inputs = prop::collection::btree_map("[ab.]|digest", prop::collection::vec(part(), 0..3), 0..3);
        ("[kl]", 0..2_u32, value(), inputs, prop::option::of(command())).prop_map(|(kind, revision, params, inputs, command)| KeyManifest {
            inputs,
            command,
            ..KeyManifest::new(&kind, revision, params)
        })
    }

    /// A manifest, and another that has one of its fields.
    fn pair() -> impl Strategy<Value = (KeyManifest, KeyManifest)> {
        (whole(), whole(), 0..6_u8).prop_map(|(one, other, what)| {
            let mut near = one.clone();
            match what {
                0 => near.kind.clone_from(&other.kind),
                1 => near.revision = other.revision,
                2 => near.params.clone_from(&other.params),
                3 => near.inputs.clone_from(&other.inputs),
                4 => near.command.clone_from(&other.command),
                _ => near = other,
            }
            (one, near)
        })
    }

    proptest! {
        #![proptest_config(crate::law::cases(4000))]

        /// DESIGN rule 7: two keys are equal exactly when there is no reason.
        #[test]
        fn keys_are_equal_exactly_when_there_is_no_reason((old, new) in pair()) {
            let found = reasons(&old, &new);
            prop_assert_eq!(old.key() == new.key(), found.is_empty());
            prop_assert!(reasons(&old, &old).is_empty());
            let distance = |most| Leaves::of(&old).distance(&Leaves::of(&new), most);
            prop_assert_eq!((distance(usize::MAX), distance(2)), (found.len(), found.len().min(2)));
            let stored: KeyManifest = serde_json::from_slice(&old.bytes()).unwrap();
            prop_assert_eq!(stored.key(), old.key(), "what was stored and read is the same");
        }

        #[test]
        fn what_changed_in_a_tree_is_told_file_by_file(old in tree(), new in tree()) {
            let of = |tree: &Tree, path: &String| tree.files.get(path).map(|file| file.digest);
            let both = new.files.keys().chain(old.files.keys().filter(|path| !new.files.contains_key(*path)));
            let mut told: Vec<String> = both
                .filter_map(|path| match (of(&old, path), of(&new, path)) {
                    (None, _) => Some(format!("added {path}")),
                    (_, None) => Some(format!("removed {path}")),
                    (before, after) => (before != after).then(|| format!("changed {path}")),
                })
                .collect();
            if told.len() > NAMED {
                let more = told.split_off(NAMED).len();
                told.push(format!("and {more} more"));
            }
            prop_assert_eq!(tree_difference(&old.manifest(), &new.manifest(), Level::Released), told);
        }

        #[test]
        fn params_are_equal_exactly_when_there_is_no_reason(a in value(), b in value()) {
            let (old, new) = (manifest(a), manifest(b));
            prop_assert_eq!(old.key() == new.key(), reasons(&old, &new).is_empty());
        }
    }
}
