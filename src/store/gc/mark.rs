//! What keys reach: records, from those manifests, from those blobs; and what items gave.

use super::roots::Journal;
use super::survey::Survey;
use super::{Contents, Said};
use crate::content::{Digest, Level, Tree};
use anyhow::Result;
use std::collections::HashSet;

/// What is reached so far.
#[derive(Debug)]
pub(super) struct Mark {
    pub(super) survey: Survey,
    keys: HashSet<Digest>,
    /// Manifests whose files are reached too; one that is only an input's is a blob like others.
    trees: HashSet<Digest>,
    blobs: HashSet<Digest>,
    items: Vec<bool>,
    /// Of what is reached, bytes that could be freed otherwise.
    bytes: u64,
    /// Since when what is reached may be taken back.
    trial: Option<(u64, Vec<Added>)>,
}

#[derive(Debug)]
enum Added {
    Key(Digest),
    Tree(Digest),
    Blob(Digest),
    Item(usize),
}

impl Mark {
    pub(super) fn new(survey: Survey) -> Self {
        let items = vec![false; survey.items.len()];
        Self { survey, keys: HashSet::new(), trees: HashSet::new(), blobs: HashSet::new(), items, bytes: 0, trial: None }
    }

    /// Of what is reached, bytes that could be freed otherwise.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Counts something that is kept and not found by reaching.
    pub(super) fn add(&mut self, bytes: u64) {
        self.bytes += bytes;
    }

    pub(super) fn has_key(&self, key: &Digest) -> bool {
        self.keys.contains(key)
    }

    pub(super) fn has_blob(&self, blob: &Digest) -> bool {
        self.blobs.contains(blob)
    }

    pub(super) fn has_item(&self, number: usize) -> bool {
        self.items[number]
    }

    /// What is reached from now on may be taken back.
    pub(super) fn begin_trial(&mut self) {
        self.trial = Some((self.bytes, Vec::new()));
    }

    /// Takes back what was reached since the trial began.
    pub(super) fn undo(&mut self) {
        let Some((bytes, added)) = self.trial.take() else { return };
        self.bytes = bytes;
        for one in added {
            match one {
                Added::Key(key) => drop(self.keys.remove(&key)),
                Added::Tree(tree) => drop(self.trees.remove(&tree)),
                Added::Blob(blob) => drop(self.blobs.remove(&blob)),
                Added::Item(number) => self.items[number] = false,
            }
        }
    }

    /// Reaches the records of these keys, and all that they need.
    pub(super) fn keys<'k>(&mut self, keys: impl IntoIterator<Item = &'k Digest>, contents: &dyn Contents) -> Result<()> {
        let mut open: Vec<Digest> = keys.into_iter().copied().collect();
        while let Some(key) = open.pop() {
            if !self.keys.insert(key) {
                continue;
            }
            self.note(Added::Key(key));
            for number in self.survey.by_key.get(&key).cloned().unwrap_or_default() {
                let record = &self.survey.records[number];
                if !self.survey.packs[record.pack].fixed {
                    self.bytes += record.bytes;
                }
                open.extend(&record.parts);
                let (manifests, key_manifest) = (record.manifests.clone(), record.key_manifest);
                // `why` compares with the inputs of then: their lists of files, not the files.
                self.said(&key_manifest, contents)?.inputs.into_iter().chain([key_manifest]).for_each(|blob| self.blob(blob));
                manifests.into_iter().try_for_each(|manifest| self.tree(manifest))?;
            }
        }
        Ok(())
    }

    /// Reaches the records that began at `moment` or later, and those of effects.
    pub(super) fn records_since(&mut self, moment: &str, contents: &dyn Contents) -> Result<()> {
        let stays = self.survey.records.iter().filter(|one| one.effect || one.started.as_str() >= moment);
        let stays: Vec<Digest> = stays.map(|one| one.key).collect();
        self.keys(&stays, contents)
    }

    /// Reaches every result that has a model.
    pub(super) fn models(&mut self, contents: &dyn Contents) -> Result<()> {
        let rest: Vec<(Digest, Digest)> =
            self.survey.records.iter().filter(|one| !self.keys.contains(&one.key)).map(|one| (one.key, one.key_manifest)).collect();
        for (key, key_manifest) in rest {
            if self.said(&key_manifest, contents)?.has_model {
                self.keys(&[key], contents)?;
            }
        }
        Ok(())
    }

    /// Reaches what items gave whose files are reached, and, with its files, what they gave in packs as young as `moment`.
    pub(super) fn items_since(&mut self, moment: &str) {
        for number in 0..self.items.len() {
            let item = &self.survey.items[number];
            let pack = &self.survey.packs[item.pack];
            let Some(files) = item.files.as_ref().filter(|_| !self.items[number]) else { continue };
            let is_young = pack.modified.as_str() >= moment;
            if !is_young && (files.is_empty() || !files.iter().all(|file| self.blobs.contains(file))) {
                continue;
            }
            let files = if is_young { files.clone() } else { Vec::new() };
            if !pack.fixed {
                self.bytes += item.bytes;
            }
            self.items[number] = true;
            self.note(Added::Item(number));
            files.into_iter().for_each(|file| self.blob(file));
        }
    }

    fn said(&self, key_manifest: &Digest, contents: &dyn Contents) -> Result<Said> {
        let bytes = self.survey.read(key_manifest)?;
        Ok(bytes.map_or_else(|| Said { has_model: true, ..Said::default() }, |bytes| contents.said(&bytes)))
    }

    fn tree(&mut self, manifest: Digest) -> Result<()> {
        if !self.trees.insert(manifest) {
            return Ok(());
        }
        self.note(Added::Tree(manifest));
        self.blob(manifest);
        self.survey.files_of(&manifest)?.into_iter().for_each(|file| self.blob(file));
        Ok(())
    }

    /// Reaches all that a run relied on.
    pub(super) fn run(&mut self, journal: &Journal, contents: &dyn Contents) -> Result<()> {
        journal.texts.iter().for_each(|text| self.blob(*text));
        self.keys(&journal.keys, contents)
    }

    fn blob(&mut self, blob: Digest) {
        if self.blobs.insert(blob) {
            self.bytes += self.survey.bytes_of(&blob);
            self.note(Added::Blob(blob));
        }
    }

    fn note(&mut self, added: Added) {
        if let Some((_, list)) = &mut self.trial {
            list.push(added);
        }
    }
}

impl Survey {
    /// The files that a manifest lists; none where it is gone.
    pub(super) fn files_of(&self, manifest: &Digest) -> Result<Vec<Digest>> {
        let tree = self.read(manifest)?.and_then(|bytes| Tree::from_manifest(&bytes, Level::Released));
        Ok(tree.map(|tree| tree.files.into_values().map(|file| file.digest).collect()).unwrap_or_default())
    }
}
