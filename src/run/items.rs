//! The cache of map kinds: an item that was treated before, in whatever stage, is not treated again (DESIGN rule 4).
//!
//! An item's key is what `each` may see of it: kind, revision, params, whole ports, its files' digests, the columns that the
//! kind reads, and whether it comes from people's data. Not its name, its path or other columns: those are carried over here.
//! Knows nothing of how items are treated.

use super::pool::What;
use crate::content::{Digest, FileRef, Place};
use crate::stage::{Each, Inputs, Item, Row};
use crate::store::Store;
use anyhow::{Context as _, Result};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Raised when the engine itself changes what an item sees, or what is kept of it.
const FORMAT: u32 = 1;
/// So many results, or those of so long, wait for the sync of their large files; a kill takes them back.
const BATCH: usize = 64;
const PATIENCE: Duration = Duration::from_secs(1);

/// What became of an item.
pub(super) enum Treated {
    Rows(Vec<Row>),
    Aside { class: String, reason: String },
}

/// What is kept of an item.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Kept {
    Made(Vec<KeptRow>),
    Aside { class: String, reason: String },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeptRow {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    port: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    item: Option<String>,
    row: Vec<(String, String)>,
    /// Path, digest, bytes.
    files: Vec<(String, Digest, u64)>,
}

/// The files that what is kept of an item names, for who collects garbage; none where this version cannot read it.
pub fn files_of(kept: &[u8]) -> Option<Vec<Digest>> {
    match serde_json::from_slice(kept).ok()? {
        Kept::Made(rows) => Some(rows.into_iter().flat_map(|row| row.files).map(|(_, digest, _)| digest).collect()),
        Kept::Aside { .. } => Some(Vec::new()),
    }
}

/// The items of one task, and where what becomes of them is kept.
pub(super) struct Items<'s> {
    store: &'s Store,
    keys: Vec<Digest>,
    waiting: Mutex<Waiting>,
    /// Everything is treated again, and what is known stays as it is.
    anew: bool,
}

struct Waiting {
    results: Vec<(Digest, Vec<u8>)>,
    since: Instant,
}

impl<'s> Items<'s> {
    pub(super) fn new(store: &'s Store, what: &What, reads: &[String], items: &[Item], whole: &Inputs, anew: bool) -> Self {
        let prefix = prefix(what, whole);
        let keys = items.par_iter().with_min_len(64).map(|item| key(&prefix, reads, item)).collect();
        Self { store, keys, waiting: Mutex::new(Waiting { results: Vec::new(), since: Instant::now() }), anew }
    }

    /// What is known of each of these items, in their order; nothing where all are treated anew.
    pub(super) fn look(&self, items: &[Item]) -> Result<Vec<Option<Treated>>> {
        let kept = if self.anew { HashMap::new() } else { self.store.items(&self.keys)? };
        // What another version wrote is made anew. Read twice, so that the long form of all is never there at once.
        let read = |key: &Digest| serde_json::from_slice::<Kept>(kept.get(key)?).ok();
        let files: Vec<Option<Vec<(Digest, u64)>>> = self.keys.par_iter().map(|key| read(key).map(|kept| files(&kept))).collect();
        let places = self.store.kept_places(&files.iter().flatten().flatten().copied().collect::<Vec<_>>())?;
        let mut start = 0;
        let ranges: Vec<Option<Range<usize>>> = files
            .into_iter()
            .map(|files| {
                let range = start..start + files.as_ref()?.len();
                start = range.end;
                Some(range)
            })
            .collect();
        // One whose files are gone from the store is made anew too.
        let unfold = |((key, item), range): ((&Digest, &Item), Option<Range<usize>>)| {
            let here: Vec<Place> = places[range?].iter().cloned().collect::<Option<_>>()?;
            read(key).map(|kept| unfold(kept, here, item))
        };
        Ok(self.keys.par_iter().zip(items).zip(ranges).map(unfold).collect())
    }

    /// Keeps what `each` made of the item at `at`.
    pub(super) fn keep(&self, at: usize, item: &Item, each: Each) -> Result<Treated> {
        let (mut places, mut is_large) = (Vec::new(), false);
        let kept = match each {
            Each::Quarantined { class, reason } => Kept::Aside { class, reason },
            Each::Made(made) => {
                let mut rows = Vec::with_capacity(made.len());
                for one in made {
                    let mut files = Vec::with_capacity(one.files.len());
                    for (path, bytes) in one.files {
                        let file = self.store.put_bytes(&bytes)?;
                        is_large |= file.place.at.is_none();
                        files.push((path, file.digest, file.size));
                        places.push(file.place);
                    }
                    rows.push(KeptRow { port: one.port, item: one.item, row: one.row, files });
                }
                Kept::Made(rows)
            }
        };
        if self.anew {
            return Ok(unfold(kept, places, item));
        }
        let bytes = serde_json::to_vec(&kept).context("what an item gave")?;
        match is_large {
            false => self.store.put_item(&self.keys[at], &bytes)?,
            true => self.wait(self.keys[at], bytes)?,
        }
        Ok(unfold(kept, places, item))
    }

    /// A result may be found only when its files can be: large ones are synced in batches first.
    fn wait(&self, key: Digest, bytes: Vec<u8>) -> Result<()> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.results.push((key, bytes));
        if waiting.results.len() < BATCH && waiting.since.elapsed() < PATIENCE {
            return Ok(());
        }
        let results = std::mem::take(&mut waiting.results);
        waiting.since = Instant::now();
        drop(waiting);
        self.flush(&results)
    }

    fn flush(&self, results: &[(Digest, Vec<u8>)]) -> Result<()> {
        if results.is_empty() {
            return Ok(());
        }
        self.store.sync_large()?;
        results.iter().try_for_each(|(key, bytes)| self.store.put_item(key, bytes))
    }

    /// Keeps what still waits: after the last item, and after a failure, so that the next run need not treat those again.
    pub(super) fn finish(&self) -> Result<()> {
        let results = std::mem::take(&mut self.waiting.lock().unwrap_or_else(PoisonError::into_inner).results);
        self.flush(&results)
    }
}

/// What all items of a task have in common.
fn prefix(what: &What, whole: &Inputs) -> blake3::Hasher {
    let whole: Vec<_> = whole
        .0
        .iter()
        .map(|(port, parts)| {
            let parts: Vec<_> = parts.iter().map(|part| (&part.coordinates, part.tree.digest(), part.tree.level, &part.hole)).collect();
            (port, parts)
        })
        .collect();
    let mut text = serde_json::json!([FORMAT, what.name, what.revision, what.params, whole]);
    text.sort_all_objects();
    let mut hasher = blake3::Hasher::new_derive_key("tomograph item key 1");
    field(&mut hasher, text.to_string().as_bytes());
    hasher
}

fn key(prefix: &blake3::Hasher, reads: &[String], item: &Item) -> Digest {
    let mut hasher = prefix.clone();
    hasher.update(&[item.level as u8]);
    for file in &item.files {
        field(&mut hasher, file.port.as_bytes());
        hasher.update(&file.file.digest.0);
    }
    for column in reads {
        field(&mut hasher, column.as_bytes());
        field(&mut hasher, item.value(column).as_bytes());
    }
    Digest(*hasher.finalize().as_bytes())
}

/// With its length, so that no two lists of fields give the same bytes.
fn field(hasher: &mut blake3::Hasher, bytes: &[u8]) {
    hasher.update(&(bytes.len() as u64).to_le_bytes());
    hasher.update(bytes);
}

/// Digests and sizes.
fn files(kept: &Kept) -> Vec<(Digest, u64)> {
    match kept {
        Kept::Made(rows) => rows.iter().flat_map(|row| row.files.iter().map(|(_, digest, size)| (*digest, *size))).collect(),
        Kept::Aside { .. } => Vec::new(),
    }
}

/// Overlays what was kept on what the item carries.
fn unfold(kept: Kept, places: Vec<Place>, item: &Item) -> Treated {
    let rows = match kept {
        Kept::Aside { class, reason } => return Treated::Aside { class, reason },
        Kept::Made(rows) => rows,
    };
    let mut places = places.into_iter();
    let row = |one: KeptRow| {
        let mut values = item.row.clone();
        values.extend(one.row);
        let files = one.files.into_iter().zip(places.by_ref()).map(|((path, digest, size), place)| (path, FileRef { digest, size, place }));
        Row { port: one.port, item: one.item.unwrap_or_else(|| item.item.clone()), values, files: files.collect() }
    };
    Treated::Rows(rows.into_iter().map(row).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::Level;
    use crate::stage::ItemFile;

    fn item(name: &str, content: &str, row: &[(&str, &str)]) -> Item {
        let file = FileRef { digest: Digest::of(content.as_bytes()), size: 1, place: Place::default() };
        Item {
            item: name.to_owned(),
            files: vec![ItemFile { port: "images".into(), path: format!("{name}.png"), file }],
            row: row.iter().copied().collect(),
            level: Level::Released,
        }
    }

    #[test]
    fn a_key_is_what_each_may_see() {
        let prefix = blake3::Hasher::new();
        let reads = ["view".to_owned()];
        let of = |item: &Item| key(&prefix, &reads, item);
        let one = item("a", "1", &[("view", "PA"), ("label", "x")]);
        assert_eq!(of(&one), of(&item("b", "1", &[("view", "PA"), ("label", "y")])), "neither name nor other columns");
        assert_ne!(of(&one), of(&item("a", "2", &[("view", "PA")])));
        assert_ne!(of(&one), of(&item("a", "1", &[("view", "AP")])));
        assert_ne!(of(&one), of(&Item { level: Level::Identified, ..one.clone() }));
    }

    #[test]
    fn what_is_kept_comes_back_under_another_name() {
        let kept = Kept::Made(vec![KeptRow {
            port: None,
            item: None,
            row: vec![("width".into(), "2".into())],
            files: vec![("x.png".into(), Digest::of(b"x"), 1)],
        }]);
        let again: Kept = serde_json::from_slice(&serde_json::to_vec(&kept).unwrap()).unwrap();
        assert_eq!(again, kept);
        let place = Place { file: std::path::Path::new("pack").into(), at: Some(7) };
        let Treated::Rows(rows) = unfold(again, vec![place.clone()], &item("b", "1", &[("label", "y")])) else { panic!("rows") };
        assert_eq!((rows[0].item.as_str(), &rows[0].values["label"], &rows[0].values["width"]), ("b", "y", "2"));
        assert_eq!(rows[0].files[0].1.place, place);
    }

    #[test]
    fn what_was_kept_before_rows_had_ports_is_still_found() {
        let of = |row: &KeptRow| serde_json::to_string(&Kept::Made(vec![row.clone()])).unwrap();
        let mut row = KeptRow { port: None, item: None, row: Vec::new(), files: Vec::new() };
        assert_eq!(of(&row), r#"{"made":[{"row":[],"files":[]}]}"#);
        row.port = Some("masks".into());
        assert_eq!(serde_json::from_str::<Kept>(&of(&row)).unwrap(), Kept::Made(vec![row]));
    }
}
