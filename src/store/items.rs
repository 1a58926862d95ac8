//! What items gave, by item key: rows of map kinds, found again when the same item is met in any stage.
//!
//! Knows an item's result as bytes only; `run` says what is in them.

use super::Store;
use super::pack::{OpenPacks, Spot, Tag};
use super::packs::TRIES;
use crate::content::Digest;
use anyhow::Result;
use rayon::prelude::*;
use std::collections::HashMap;
use std::io;

/// So many results that lie side by side are read at once.
const TOGETHER: usize = 256;

impl Store {
    /// What items with these keys gave, where they did.
    pub fn items(&self, keys: &[Digest]) -> Result<HashMap<Digest, Vec<u8>>> {
        let mut tries = TRIES;
        loop {
            let found = self.packs.find_all(Tag::Item, keys).map_err(|error| self.trouble(error))?;
            let mut spots: Vec<(Digest, Spot)> =
                found.into_iter().filter_map(|(key, spots)| Some((key, spots.into_iter().next()?))).collect();
            spots.par_sort_unstable_by(|(_, one), (_, other)| (&*one.file, one.at).cmp(&(&*other.file, other.at)));
            let packs = OpenPacks::of(spots.iter().map(|(_, spot)| spot));
            let read = spots.par_chunks(TOGETHER).map(|spots| packs.read(spots)).collect::<io::Result<Vec<_>>>();
            let (all, read) = (spots.len(), read.map_err(|error| self.trouble(error))?);
            let read: HashMap<Digest, Vec<u8>> = read.into_iter().flatten().collect();
            tries -= 1;
            if read.len() == all || tries == 0 {
                return Ok(read);
            }
            // A pack is gone: what it held was moved to another.
            self.packs.refresh().map_err(|error| self.trouble(error))?;
        }
    }

    /// Keeps what an item gave, with the small blobs it gave, in one write. Large blobs must have been synced.
    pub fn put_item(&self, key: &Digest, result: &[u8]) -> Result<()> {
        self.check_writable()?;
        self.packs.append(&[(Tag::Item, *key, result)]).map(drop).map_err(|error| self.trouble(error))
    }
}
