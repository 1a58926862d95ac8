//! What items gave, by item key: rows of map kinds, found again when the same item is met in any stage.
//!
//! Knows an item's result as bytes only; `run` says what is in them.

use super::Store;
use super::pack::Tag;
use crate::content::Digest;
use anyhow::Result;
use rayon::prelude::*;
use std::collections::HashMap;

impl Store {
    /// What items with these keys gave, where they did.
    pub fn items(&self, keys: &[Digest]) -> Result<HashMap<Digest, Vec<u8>>> {
        let found = self.packs.find_all(Tag::Item, keys).map_err(|error| self.trouble(error))?;
        let read = |(key, spots): (Digest, Vec<super::pack::Spot>)| {
            let bytes = spots.first().map_or(Ok(None), super::pack::Spot::read);
            bytes.map(|bytes| bytes.map(|bytes| (key, bytes))).map_err(|error| self.trouble(error)).transpose()
        };
        found.into_par_iter().filter_map(read).collect()
    }

    /// Keeps what an item gave, with the small blobs it gave, in one write. Large blobs must have been synced.
    pub fn put_item(&self, key: &Digest, result: &[u8]) -> Result<()> {
        self.check_writable()?;
        self.packs.append(&[(Tag::Item, *key, result)]).map(drop).map_err(|error| self.trouble(error))
    }
}
