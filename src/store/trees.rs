//! Trees by their manifests, and where the blobs of many digests lie.

use super::Store;
use super::blobs::{SMALL, has_size};
use super::files::Damaged;
use super::pack::{Spot, Tag};
use crate::content::{Digest, Level, Place, Tree};
use anyhow::{Result, bail};
use rayon::prelude::*;
use std::path::Path;

impl Store {
    /// Writes the tree's manifest as a blob; the answer is its digest. Durable after [`Store::sync`].
    pub fn put_tree(&self, tree: &Tree) -> Result<Digest> {
        Ok(self.put_bytes(&tree.manifest())?.digest)
    }

    /// The tree of a manifest, with places in this store; none where the manifest or one of its blobs is gone or cut short.
    pub fn tree(&self, manifest: &Digest, level: Level) -> Result<Option<Tree>> {
        self.tree_where(manifest, level, &has_size)
    }

    /// The same for a run that relies on it without naming the result it is of.
    pub fn kept_tree(&self, manifest: &Digest, level: Level) -> Result<Option<Tree>> {
        self.tree_where(manifest, level, &|place, size| self.hold.keep(place, size))
    }

    /// The tree of a manifest, whether or not its blobs are there, and so without places; none where the manifest is gone.
    pub fn listed_tree(&self, manifest: &Digest, level: Level) -> Result<Option<Tree>> {
        let Some(bytes) = self.read_blob(manifest)? else { return Ok(None) };
        match Tree::from_manifest(&bytes, level) {
            Some(tree) => Ok(Some(tree)),
            None => bail!(Damaged { path: self.blob(manifest), what: "is not a manifest".to_owned() }),
        }
    }

    fn tree_where(&self, manifest: &Digest, level: Level, is_there: &(dyn Fn(&Path, u64) -> bool + Sync)) -> Result<Option<Tree>> {
        let Some(mut tree) = self.listed_tree(manifest, level)? else { return Ok(None) };
        let wanted: Vec<(Digest, u64)> = tree.files.values().map(|file| (file.digest, file.size)).collect();
        for (file, place) in tree.files.values_mut().zip(self.places_where(&wanted, is_there)?) {
            let Some(place) = place else { return Ok(None) };
            file.place = place;
        }
        Ok(Some(tree))
    }

    /// Where blobs of these digests and lengths lie; none for one that is gone or cut short.
    pub fn places(&self, blobs: &[(Digest, u64)]) -> Result<Vec<Option<Place>>> {
        self.places_where(blobs, &has_size)
    }

    /// The same for a run that relies on them without naming the result they are of: they stay while it lives.
    pub fn kept_places(&self, blobs: &[(Digest, u64)]) -> Result<Vec<Option<Place>>> {
        self.places_where(blobs, &|place, size| self.hold.keep(place, size))
    }

    fn places_where(&self, blobs: &[(Digest, u64)], is_there: &(dyn Fn(&Path, u64) -> bool + Sync)) -> Result<Vec<Option<Place>>> {
        let small: Vec<Digest> = blobs.iter().filter(|(_, size)| *size < SMALL).map(|(digest, _)| *digest).collect();
        let mut packed = self.packs.find_each_there(Tag::Blob, &small).map_err(|error| self.trouble(error))?.into_iter();
        let spots = blobs.iter().map(|(_, size)| if *size < SMALL { packed.next().flatten() } else { None });
        let find = |((digest, size), spot): (&(Digest, u64), Option<Spot>)| {
            if let Some(spot) = spot {
                return Some(spot.place());
            }
            let place = self.blob(digest);
            is_there(&place, *size).then(|| place.into())
        };
        let wanted: Vec<_> = blobs.iter().zip(spots).collect();
        // Who has few does not wait for the pool.
        Ok(if wanted.len() < 64 { wanted.into_iter().map(find).collect() } else { wanted.into_par_iter().map(find).collect() })
    }
}
