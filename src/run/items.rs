//! The cache of map kinds: an item that was treated before, in whatever stage, is not treated again (DESIGN rule 4).
//!
//! An item's key is what `each` may see of it: kind, revision, params, whole ports, its files' digests, the columns that the
//! kind reads, and whether it comes from people's data. Not its name, its path or other columns: those are carried over here.
//! Knows nothing of how items are treated.

use super::pool::What;
use crate::content::{Digest, FileRef, Place};
use crate::stage::{Each, Inputs, Item, Packer, Row};
use crate::store::{SMALL, Store};
use anyhow::{Context as _, Result};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
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

/// What is kept of an item. `S` is text: owned, or as it stands in the bytes that are read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Kept<S> {
    Made(Vec<KeptRow<S>>),
    Aside { class: String, reason: String },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeptRow<S> {
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    port: Option<S>,
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    item: Option<S>,
    row: Vec<(S, S)>,
    /// Path, digest, bytes.
    files: Vec<(S, Digest, u64)>,
}

fn none<S>() -> Option<S> {
    None
}

/// Text that is not copied where it stands in the bytes as it is.
#[derive(Deserialize)]
struct Text<'b>(#[serde(borrow)] Cow<'b, str>);

impl AsRef<str> for Text<'_> {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

/// The files that what is kept of an item names, for who collects garbage; none where this version cannot read it.
pub fn files_of(kept: &[u8]) -> Option<Vec<Digest>> {
    match serde_json::from_slice::<Kept<Text>>(kept).ok()? {
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
        if self.anew {
            return Ok(items.iter().map(|_| None).collect());
        }
        // What another version wrote is made anew.
        let read = |packer: &mut Packer, at: usize, bytes: &[u8]| {
            serde_json::from_slice::<Kept<Text>>(bytes).ok().map(|kept| unfold(kept, &items[at], packer))
        };
        let mut treated = self.store.items(&self.keys, Packer::default, read)?;
        let files: Vec<(Digest, u64)> = treated.iter().flatten().flat_map(Treated::files).map(|file| (file.digest, file.size)).collect();
        let mut places = self.store.kept_places(&files)?.into_iter();
        for one in &mut treated {
            let mut all_here = true;
            for file in one.iter_mut().flat_map(Treated::files_mut) {
                match places.next().flatten() {
                    Some(place) => file.place = place,
                    None => all_here = false,
                }
            }
            if !all_here {
                // One whose files are gone from the store is made anew too.
                *one = None;
            }
        }
        Ok(treated)
    }

    /// Keeps what `each` made of the item at `at`.
    pub(super) fn keep(&self, at: usize, item: &Item, each: Each) -> Result<Treated> {
        // Small files are kept together with the result; large ones have places already.
        let (mut small, mut places) = (Vec::new(), Vec::new());
        let kept: Kept<String> = match each {
            Each::Quarantined { class, reason } => Kept::Aside { class, reason },
            Each::Made(made) => {
                let mut rows = Vec::with_capacity(made.len());
                for one in made {
                    let mut files = Vec::with_capacity(one.files.len());
                    for (path, bytes) in one.files {
                        let size = bytes.len() as u64;
                        let (digest, place) = match size < SMALL {
                            true => (Digest::of(&bytes), None),
                            false => self.store.put_bytes(&bytes).map(|file| (file.digest, Some(file.place)))?,
                        };
                        if place.is_none() {
                            small.push((digest, bytes));
                        }
                        files.push((path, digest, size));
                        places.push(place);
                    }
                    rows.push(KeptRow { port: one.port, item: one.item, row: one.row, files });
                }
                Kept::Made(rows)
            }
        };
        let small: Vec<(Digest, &[u8])> = small.iter().map(|(digest, bytes)| (*digest, bytes.as_slice())).collect();
        let bytes = serde_json::to_vec(&kept).context("what an item gave")?;
        let all_small = small.len() == places.len();
        let together = (all_small && !self.anew).then_some((&self.keys[at], bytes.as_slice()));
        let mut packed = self.store.put_with_item(&small, together)?.into_iter();
        if !all_small && !self.anew {
            self.wait(self.keys[at], bytes)?;
        }
        let mut treated = unfold(kept, item, &mut Packer::default());
        for (file, place) in treated.files_mut().zip(places) {
            file.place = place.or_else(|| packed.next()).context("a file of an item that was not kept")?;
        }
        Ok(treated)
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

/// Overlays what was kept on what the item carries; the places of its files are left empty.
fn unfold<S: AsRef<str>>(kept: Kept<S>, item: &Item, packer: &mut Packer) -> Treated {
    let rows = match kept {
        Kept::Aside { class, reason } => return Treated::Aside { class, reason },
        Kept::Made(rows) => rows,
    };
    let file = |(path, digest, size): (S, Digest, u64)| (path.as_ref().to_owned(), FileRef { digest, size, place: Place::default() });
    let row = |one: KeptRow<S>| Row {
        port: one.port.map(|port| port.as_ref().to_owned()),
        item: one.item.map_or_else(|| item.item.clone(), |item| item.as_ref().to_owned()),
        values: packer.pack(&item.row, &one.row),
        files: one.files.into_iter().map(file).collect(),
    };
    Treated::Rows(rows.into_iter().map(row).collect())
}

impl Treated {
    fn files(&self) -> impl Iterator<Item = &FileRef> {
        let rows = if let Self::Rows(rows) = self { rows.as_slice() } else { &[] };
        rows.iter().flat_map(|row| &row.files).map(|(_, file)| file)
    }

    fn files_mut(&mut self) -> impl Iterator<Item = &mut FileRef> {
        let rows = if let Self::Rows(rows) = self { rows.as_mut_slice() } else { &mut [] };
        rows.iter_mut().flat_map(|row| &mut row.files).map(|(_, file)| file)
    }
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
        let bytes = serde_json::to_vec(&kept).unwrap();
        assert_eq!(serde_json::from_slice::<Kept<String>>(&bytes).unwrap(), kept);
        let again: Kept<Text> = serde_json::from_slice(&bytes).unwrap();
        let Treated::Rows(rows) = unfold(again, &item("b", "1", &[("label", "y")]), &mut Packer::default()) else { panic!("rows") };
        assert_eq!((rows[0].item.as_str(), &rows[0].values["label"], &rows[0].values["width"]), ("b", "y", "2"));
        assert_eq!((rows[0].files[0].0.as_str(), rows[0].files[0].1.digest), ("x.png", Digest::of(b"x")));
    }

    #[test]
    fn what_was_kept_before_rows_had_ports_is_still_found() {
        let of = |row: &KeptRow<String>| serde_json::to_string(&Kept::Made(vec![row.clone()])).unwrap();
        let mut row = KeptRow { port: None, item: None, row: Vec::new(), files: Vec::new() };
        assert_eq!(of(&row), r#"{"made":[{"row":[],"files":[]}]}"#);
        row.port = Some("masks".into());
        assert_eq!(serde_json::from_str::<Kept<String>>(&of(&row)).unwrap(), Kept::Made(vec![row]));
    }
}
