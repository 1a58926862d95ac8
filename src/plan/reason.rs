//! Reasons: the difference between two key manifests, as people read it.
//!
//! Both are flattened to paths and leaves, gathered parts to their coordinates, so that two keys are equal exactly when there is no reason.

use super::key::{KeyManifest, PartKey};
use crate::content::{Digest, Level, Tree};
use crate::stage::{Coordinates, show_coordinates};
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
    /// Parts of a gather came, went or are others: the first, by its coordinates, and how many more.
    Parts { path: String, first: String, others: usize, became: Became },
    /// The result is known but its bytes are gone, and something needs them.
    Gone { needed_by: String },
    /// The result is known but its bytes are gone, and it is to be published.
    GoneToPublish,
    /// The difference is to another task's last record, since this one never ran.
    ComparedWith(String),
    /// The user wants it again although it is known.
    Again,
}

/// What became of the parts of a gather.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Became {
    Added,
    Removed,
    Changed,
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
            Self::Parts { path, first, others, became } => {
                let (be, more) = match others {
                    0 => ("is", String::new()),
                    1 => ("are", " and another".to_owned()),
                    others => ("are", format!(" and {others} others")),
                };
                match became {
                    Became::Added => write!(f, "{path}: {first}{more} {be} new among the parts"),
                    Became::Removed => write!(f, "{path}: {first}{more} {be} no longer among the parts"),
                    Became::Changed => write!(f, "{path}: {first}{more} changed"),
                }
            }
            Self::Gone { needed_by } => write!(f, "its result is gone from the store and {needed_by} needs it"),
            Self::GoneToPublish => f.write_str("its result is gone from the store and publishing needs it"),
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

/// A manifest as paths and leaves; empty maps and lists are leaves. Gathered parts stand apart, each under its coordinates: which number one
/// has among the others follows from those.
pub(super) struct Leaves {
    rest: BTreeMap<String, Value>,
    /// By port.
    parts: BTreeMap<String, Parts>,
}

type Parts = BTreeMap<Coordinates, PartKey>;

static NO_PARTS: Parts = Parts::new();

/// A key of two maps, and its values in both, of which one may be missing.
type Unlike<'l, K, V> = (&'l K, Option<&'l V>, Option<&'l V>);

impl Leaves {
    pub(super) fn of(manifest: &KeyManifest) -> Self {
        let (mut rest, mut parts) = (BTreeMap::new(), BTreeMap::new());
        let mut value = serde_json::to_value(manifest).expect("a key manifest is JSON");
        let ports = value.as_object_mut().and_then(|fields| fields.remove("inputs")).unwrap_or_default();
        for (port, keys) in &manifest.inputs {
            // By coordinates only where those tell them apart and say their order.
            match !keys.is_empty() && !keys[0].at.is_empty() && keys.is_sorted_by(|one, next| one.at < next.at) {
                true => drop(parts.insert(port.clone(), keys.iter().map(|part| (part.at.clone(), part.clone())).collect())),
                false => flatten(format!("inputs.{}", quoted(port)), ports[port].clone(), &mut rest),
            }
        }
        flatten(String::new(), value, &mut rest);
        Self { rest, parts }
    }

    /// How many reasons there are, but no more than `most`.
    pub(super) fn distance(&self, new: &Self, most: usize) -> usize {
        let of_part = |part: (&str, Unlike<Coordinates, PartKey>)| differences_of_part(part, &|_, _, _| Vec::new());
        unlike(&self.rest, &new.rest).map(|_| ()).chain(self.unlike_parts(new).flat_map(of_part).map(|_| ())).take(most).count()
    }

    /// A reason for each leaf that is another one, and for each part.
    pub(super) fn difference(&self, new: &Self, describe: &Describe) -> Vec<Reason> {
        let reason =
            |(path, before, after): Unlike<String, Value>| match path.strip_suffix(".digest").filter(|path| path.starts_with("inputs.")) {
                Some(part) => {
                    let digest = |value: Option<&Value>| value.and_then(Value::as_str).and_then(|text| text.parse().ok());
                    let details = describe(part, digest(before), digest(after));
                    Reason::Input { path: part.strip_suffix("[0]").unwrap_or(part).to_owned(), details }
                }
                None => {
                    let (mut old, mut new) = (before.map(show), after.map(show));
                    if old == new {
                        // Of another type only: as JSON writes them, text stands in quotes.
                        (old, new) = (before.map(Value::to_string), after.map(Value::to_string));
                    }
                    Reason::Changed { path: path.clone(), old, new }
                }
            };
        let parts = self.unlike_parts(new).flat_map(|part| differences_of_part(part, describe));
        unlike(&self.rest, &new.rest).map(reason).chain(parts).collect()
    }

    /// Gathered parts that came, went or are others, with their ports.
    fn unlike_parts<'l>(&'l self, new: &'l Self) -> impl Iterator<Item = (&'l str, Unlike<'l, Coordinates, PartKey>)> {
        unlike(&self.parts, &new.parts)
            .flat_map(|(port, old, new)| unlike(old.unwrap_or(&NO_PARTS), new.unwrap_or(&NO_PARTS)).map(|part| (port.as_str(), part)))
    }
}

fn differences_of_part((port, (at, old, new)): (&str, Unlike<Coordinates, PartKey>), describe: &Describe) -> Vec<Reason> {
    let (port, at) = (format!("inputs.{}", quoted(port)), show_coordinates(at));
    let (Some(old), Some(new)) = (old, new) else {
        let became = if new.is_some() { Became::Added } else { Became::Removed };
        return vec![Reason::Parts { path: port, first: at, others: 0, became }];
    };
    let path = format!("{port}[{at}]");
    let mut reasons = Vec::new();
    if old.digest != new.digest {
        reasons.push(Reason::Input { details: describe(&path, old.digest, new.digest), path: path.clone() });
    }
    if old.hole != new.hole {
        reasons.push(Reason::Changed { path: format!("{path}.hole"), old: old.hole.clone(), new: new.hole.clone() });
    }
    if old.level != new.level {
        let level = |level: Level| serde_json::to_value(level).ok().as_ref().map(show);
        reasons.push(Reason::Changed { path: format!("{path}.level"), old: level(old.level), new: level(new.level) });
    }
    reasons
}

/// What two maps do not have in common, by key.
fn unlike<'l, K: Ord, V: PartialEq>(old: &'l BTreeMap<K, V>, new: &'l BTreeMap<K, V>) -> impl Iterator<Item = Unlike<'l, K, V>> {
    let (mut old, mut new) = (old.iter().peekable(), new.iter().peekable());
    let both = std::iter::from_fn(move || {
        let order = match (old.peek(), new.peek()) {
            (Some((before, _)), Some((after, _))) => before.cmp(after),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => return None,
        };
        let before = if order.is_le() { old.next() } else { None };
        let after = if order.is_ge() { new.next() } else { None };
        let (key, _) = before.or(after)?;
        Some((key, before.map(|(_, value)| value), after.map(|(_, value)| value)))
    });
    both.filter(|(_, before, after)| before != after)
}

/// Reasons as people read them: of many gathered parts of one port to which the same happened only the first are named.
pub fn sum_up(reasons: Vec<Reason>) -> Vec<Reason> {
    let port_of =
        |path: &str| path.split_once('[').map(|(port, part)| (port.to_owned(), part.strip_suffix(']').unwrap_or(part).to_owned()));
    let mut left: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for reason in &reasons {
        if let Reason::Input { path, .. } = reason
            && let Some((port, _)) = port_of(path)
        {
            left.entry(port).or_default().0 += 1;
        }
    }
    let mut summed: Vec<Reason> = Vec::new();
    for reason in reasons {
        let reason = match reason {
            Reason::Input { path, details } => match port_of(&path) {
                Some((port, part))
                    if left.get_mut(&port).is_some_and(|(all, told)| {
                        *all > NAMED && {
                            *told += 1;
                            *told >= NAMED
                        }
                    }) =>
                {
                    Reason::Parts { path: port, first: part, others: 0, became: Became::Changed }
                }
                _ => Reason::Input { path, details },
            },
            other => other,
        };
        match (summed.last_mut(), &reason) {
            (Some(Reason::Parts { path, became, others, .. }), Reason::Parts { path: port, became: too, .. })
                if path == port && became == too =>
            {
                *others += 1;
            }
            _ => summed.push(reason),
        }
    }
    summed
}

/// At most this many files are named in a reason, and changed parts of a port.
const NAMED: usize = 3;

/// What changed between two trees, given by their manifests: the first files, and how many more; nothing where one is no manifest.
pub fn tree_difference(old: &[u8], new: &[u8], level: Level) -> Vec<String> {
    let (old, new) = unlike_lines(old, new);
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
fn unlike_lines<'t>(old: &'t [u8], new: &'t [u8]) -> (&'t [u8], &'t [u8]) {
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

/// The name of a field as a step of a path.
fn quoted(name: &str) -> String {
    if name.contains(['.', '[', '"']) || name.is_empty() { format!("{name:?}") } else { name.to_owned() }
}

fn flatten(path: String, value: Value, leaves: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (name, value) in fields {
                let name = quoted(&name);
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
mod tests;
