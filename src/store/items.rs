//! What items gave, by item key: rows of map kinds, found again when the same item is met in any stage.
//!
//! Knows an item's result as bytes only; `run` says what is in them.

use super::Store;
use super::pack::{Spot, Tag, open_packs};
use super::packs::TRIES;
use crate::content::Digest;
use anyhow::Result;
use rayon::prelude::*;
use std::collections::HashMap;

impl Store {
    /// What items with these keys gave, where they did.
    pub fn items(&self, keys: &[Digest]) -> Result<HashMap<Digest, Vec<u8>>> {
        let mut tries = TRIES;
        loop {
            let found = self.packs.find_all(Tag::Item, keys).map_err(|error| self.trouble(error))?;
            let all = found.len();
            let files = open_packs(found.values().flatten());
            let read = |(key, spots): (Digest, Vec<Spot>)| {
                let from = |spot: &Spot| spot.read_from(files.get(&spot.file).and_then(Option::as_ref));
                let bytes = spots.first().map_or(Ok(None), from);
                bytes.map(|bytes| bytes.map(|bytes| (key, bytes))).map_err(|error| self.trouble(error)).transpose()
            };
            let read = found.into_par_iter().filter_map(read).collect::<Result<HashMap<Digest, Vec<u8>>>>()?;
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
