//! What goes, listed and counted, once it is known what stays.

use super::mark::Mark;
use super::roots::{Roots, age};
use super::{Freed, Garbage, State};
use crate::content::Digest;
use crate::store::Store;
use crate::store::hold::changed;
use crate::store::pack::Tag;
use crate::store::runs::{files_of, stem};
use anyhow::Result;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::{self, File};
use std::io;
use std::path::PathBuf;

/// What was found.
pub(super) struct Found {
    pub(super) mark: Mark,
    pub(super) roots: Roots,
    /// Runs that are kept.
    pub(super) kept: BTreeSet<usize>,
    /// State that goes.
    pub(super) states: Vec<State>,
    /// What is younger stays for its age, RFC 3339 in UTC.
    pub(super) since: String,
    pub(super) limit: i64,
    pub(super) live: bool,
}

impl Store {
    pub(super) fn list_garbage(&self, found: Found, alone: Option<File>) -> Result<Garbage> {
        let Found { mark, roots, kept, states, since, limit, live } = found;
        let mut frees = Freed::default();
        let (mut blobs, mut bytes_of) = (Vec::new(), HashMap::new());
        for (digest, large) in mark.survey.files.iter().filter(|(digest, large)| !large.fixed && !mark.has_blob(digest)) {
            frees.blobs.add(large.bytes);
            bytes_of.insert(*digest, large.bytes);
            blobs.push((*digest, large.path.clone()));
        }
        blobs.sort_unstable_by(|(_, one), (_, other)| one.cmp(other));
        let packs = dead_entries(&mark, &mut frees);
        by_stage(&mark, bytes_of, &mut frees)?;

        let mut others = Vec::new();
        for state in states {
            frees.state.count += 1;
            frees.state.bytes += state.bytes;
            others.push(state.path);
        }
        for (path, bytes) in self.old_logs(&mark, &since, limit)? {
            frees.logs.add(bytes);
            others.push(path);
        }
        let is_there = |key: &Digest| mark.has_key(key) && mark.survey.by_key.contains_key(key);
        let last_words = roots.last_words(&is_there);
        let mut journals = Vec::new();
        for (at, journal) in roots.journals.iter().enumerate() {
            if !kept.contains(&at) && !last_words.contains(&at) {
                frees.runs.add(journal.bytes);
                journals.push(journal.path.clone());
            }
        }
        let all = mark.survey.total() + self.below(&["runs", "logs", "damaged", "state"])?;
        Ok(Garbage {
            kept_runs: kept.len(),
            oldest: kept.iter().map(|at| roots.journals[*at].ended.clone()).min(),
            stays: all.saturating_sub(frees.total()),
            frees,
            live,
            blobs,
            packs,
            others,
            journals,
            limit,
            mark,
            roots,
            _alone: alone,
        })
    }

    /// Logs of tasks that no kept run names.
    fn old_logs(&self, mark: &Mark, since: &str, limit: i64) -> Result<Vec<(PathBuf, u64)>> {
        let find = || -> io::Result<Vec<(PathBuf, u64)>> {
            let mut old = Vec::new();
            for folder in files_of(&self.root.join("logs"))? {
                for path in files_of(&folder)? {
                    let is_named = stem(&path).parse().is_ok_and(|key: Digest| mark.has_key(&key));
                    if let Some(file) = fs::metadata(&path).ok().filter(|file| !is_named && changed(file) < limit)
                        && age(&path).as_str() < since
                    {
                        old.push((path, file.len()));
                    }
                }
            }
            Ok(old)
        };
        find().map_err(|error| self.trouble(error))
    }
}

/// Per pack, what goes: what is not reached, and second copies.
fn dead_entries(mark: &Mark, frees: &mut Freed) -> Vec<(PathBuf, Vec<u64>)> {
    let survey = &mark.survey;
    let mut seen: HashSet<(Tag, Digest)> = HashSet::new();
    let mut packs = Vec::new();
    // What stays anyway comes first, so that the copies beside it are the second ones.
    let (fixed, free): (Vec<_>, Vec<_>) = survey.packs.iter().partition(|pack| pack.fixed);
    for pack in fixed.into_iter().chain(free) {
        let mut dead = Vec::new();
        for slot in &pack.entries {
            let (is_reached, name) = match slot.tag {
                Tag::Blob => (mark.has_blob(&slot.key), slot.key),
                Tag::Item => (mark.has_item(slot.number), slot.key),
                Tag::Record => (mark.has_key(&slot.key), survey.records[slot.number].digest),
            };
            let stays = pack.fixed || is_reached;
            if stays && (seen.insert((slot.tag, name)) || pack.fixed) {
                continue;
            }
            frees.entries.add(slot.bytes());
            frees.results += u64::from(slot.tag == Tag::Record && !is_reached);
            dead.push(slot.at);
        }
        if !pack.fixed && pack.torn > 0 {
            frees.entries.add(pack.torn);
        }
        if !dead.is_empty() || (!pack.fixed && pack.torn > 0) {
            packs.push((pack.path.clone(), dead));
        }
    }
    packs
}

/// Divides what goes among the stages that made it.
fn by_stage(mark: &Mark, mut bytes_of: HashMap<Digest, u64>, frees: &mut Freed) -> Result<()> {
    for record in mark.survey.records.iter().filter(|record| !mark.has_key(&record.key)) {
        let stage = frees.stages.entry(record.stage.clone()).or_default();
        stage.count += 1;
        for manifest in &record.manifests {
            for blob in mark.survey.files_of(manifest)?.into_iter().chain([*manifest]) {
                stage.bytes += bytes_of.remove(&blob).unwrap_or_default();
            }
        }
    }
    let rest: u64 = bytes_of.into_values().sum();
    if rest > 0 {
        frees.stages.entry(String::new()).or_default().bytes = rest;
    }
    Ok(())
}
