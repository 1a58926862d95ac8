//! What items gave, by item key: rows of map kinds, found again when the same item is met in any stage.
//!
//! Knows an item's result as bytes only; `run` says what is in them.

use super::Store;
use super::pack::{OpenPacks, Spot, Tag};
use super::packs::TRIES;
use crate::content::{Digest, Place};
use anyhow::Result;
use rayon::prelude::*;
use std::io;

/// So many results that lie side by side are read at once.
const TOGETHER: usize = 256;

impl Store {
    /// What `read` makes of what items with these keys gave, in the order of the keys; nothing where they gave nothing. `read` is told the
    /// place of the key, and has a state that `start` makes now and then.
    pub fn items<S, T: Send>(
        &self,
        keys: &[Digest],
        start: impl Fn() -> S + Sync,
        read: impl Fn(&mut S, usize, &[u8]) -> Option<T> + Sync,
    ) -> Result<Vec<Option<T>>> {
        let mut tries = TRIES;
        loop {
            let found = self.packs.find_each(Tag::Item, keys).map_err(|error| self.trouble(error))?;
            let mut spots: Vec<(usize, Spot)> = found.into_iter().enumerate().filter_map(|(at, spot)| Some((at, spot?))).collect();
            spots.par_sort_unstable_by_key(|(_, spot)| spot.order());
            let packs = OpenPacks::of(spots.iter().map(|(_, spot)| spot));
            tries -= 1;
            if packs.is_any_gone() && tries > 0 {
                // What it held was moved to another.
                self.packs.refresh().map_err(|error| self.trouble(error))?;
                continue;
            }
            let read_some = |spots: &[(usize, Spot)]| {
                let (mut made, mut state) = (Vec::with_capacity(spots.len()), start());
                packs.show(spots, &mut |at, bytes| made.push((*at, read(&mut state, *at, bytes))))?;
                Ok(made)
            };
            let read = spots.par_chunks(TOGETHER).map(read_some).collect::<io::Result<Vec<_>>>().map_err(|error| self.trouble(error))?;
            let mut all: Vec<Option<T>> = keys.iter().map(|_| None).collect();
            read.into_iter().flatten().for_each(|(at, made)| all[at] = made);
            return Ok(all);
        }
    }

    /// Keeps what an item gave. Its blobs must have been kept, large ones synced.
    pub fn put_item(&self, key: &Digest, result: &[u8]) -> Result<()> {
        self.put_with_item(&[], Some((key, result))).map(drop)
    }

    /// Keeps small blobs, and behind them, in the same write, what the item gave that they are of; the answer is where they lie.
    pub fn put_with_item(&self, blobs: &[(Digest, &[u8])], item: Option<(&Digest, &[u8])>) -> Result<Vec<Place>> {
        self.put_small_and(blobs, item.map(|(key, result)| (Tag::Item, *key, result)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::new_store;
    use super::*;
    use std::collections::HashMap;

    impl Store {
        /// The bytes of what items gave, by key.
        pub(in crate::store) fn items_given(&self, keys: &[Digest]) -> HashMap<Digest, Vec<u8>> {
            let found = self.items(keys, || (), |_, _, bytes| Some(bytes.to_vec())).unwrap();
            keys.iter().copied().zip(found).filter_map(|(key, bytes)| Some((key, bytes?))).collect()
        }
    }

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
            let found = store.items(&keys, || (), |_, _, bytes| Some(bytes.to_vec())).unwrap();
            let expected: Vec<_> = (0..2 * TOGETHER).map(|number| Some(result(number))).chain([None]).collect();
            assert_eq!(found, expected);
        }
    }
}
