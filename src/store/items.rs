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

#[cfg(test)]
mod tests {
    use super::super::tests::new_store;
    use super::*;

    #[test]
    fn what_items_gave_is_read_side_by_side_and_one_by_one() {
        let (folder, store) = new_store();
        let key = |number: usize| Digest::of(&number.to_le_bytes());
        let result = |number: usize| format!("item {number}").into_bytes();
        for number in 0..2 * TOGETHER {
            store.put_item(&key(number), &result(number)).unwrap();
            if number >= TOGETHER {
                // Between these lies more than one would read for their sake.
                store.put_bytes(&vec![(number % 251) as u8; 8000 + number]).unwrap();
            }
        }
        store.sync().unwrap();
        let other = Store::open(store.root(), &folder.path().join("elsewhere")).unwrap();
        let keys: Vec<Digest> = (0..2 * TOGETHER + 1).map(key).collect();
        for store in [&store, &other] {
            let found = store.items(&keys).unwrap();
            assert_eq!(found.len(), 2 * TOGETHER);
            assert!((0..2 * TOGETHER).all(|number| found[&key(number)] == result(number)));
        }
    }
}
