//! Images with their masks at the network's size, in memory.

use anyhow::{Context as _, Result};
use rayon::prelude::*;
use std::collections::BTreeMap;
use tch::{Device, Tensor};
use tomograph::content::FileRef;
use tomograph::image::{Filter, Grey, Mask, resize};
use tomograph::stage::{Inputs, Item, rows_of_index};
use tomograph::table::Table;

/// The pairs of one set.
pub(crate) struct Pairs {
    side: usize,
    /// Item of each pair, sorted.
    pub(crate) items: Vec<String>,
    /// 0 to 65535, each image from its least to its greatest value.
    images: Vec<u16>,
    /// 1 where there is lung.
    masks: Vec<u8>,
}

/// Where the pairs of a set lie.
pub(crate) struct Found {
    pairs: Vec<(String, FileRef, FileRef)>,
    /// Images of the set without a mask.
    pub(crate) without: usize,
}

/// The pairs of each set that the split names, by set.
pub(crate) fn find(inputs: &Inputs) -> Result<BTreeMap<String, Found>> {
    let items = |port: &str| -> Result<BTreeMap<String, FileRef>> {
        let file = |item: Item| Some((item.item, item.files.into_iter().next()?.file));
        Ok(rows_of_index(inputs, &[port])?.into_iter().filter_map(file).collect())
    };
    let (images, masks) = (items("images")?, items("masks")?);
    let part = inputs.one("split")?;
    let split = match part.tree.files.contains_key("split.tsv") {
        true => Table::from_tsv(&part.tree.read("split.tsv")?).context("split.tsv")?,
        false => part.table()?,
    };
    let (item, set) = (split.column("item").context("port `split`")?, split.column("set").context("port `split`")?);
    let mut sets: BTreeMap<String, Found> = BTreeMap::new();
    for row in &split.rows {
        let found = sets.entry(row[set].clone()).or_insert(Found { pairs: Vec::new(), without: 0 });
        match (images.get(&row[item]), masks.get(&row[item])) {
            (Some(image), Some(mask)) => found.pairs.push((row[item].clone(), image.clone(), mask.clone())),
            _ => found.without += 1,
        }
    }
    sets.values_mut().for_each(|found| found.pairs.sort_by(|a, b| a.0.cmp(&b.0)));
    Ok(sets)
}

impl Pairs {
    /// Reads all pairs of a set, with so many threads.
    pub(crate) fn read(found: &Found, side: u32, threads: usize) -> Result<Self> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().context("cannot start threads")?;
        let read = |(item, image, mask): &(String, FileRef, FileRef)| pair(image, mask, side).with_context(|| format!("item {item}"));
        let read: Vec<(Vec<u16>, Vec<u8>)> = pool.install(|| found.pairs.par_iter().map(read).collect::<Result<_>>())?;
        let items = found.pairs.iter().map(|(item, ..)| item.clone()).collect();
        let (images, masks): (Vec<_>, Vec<_>) = read.into_iter().unzip();
        Ok(Self { side: side as usize, items, images: images.concat(), masks: masks.concat() })
    }

    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    /// The images of `rows`, 0 to 255, and their masks, 0 or 1: both `[rows, 1, side, side]` float32.
    pub(crate) fn batch(&self, rows: &[usize], device: Device) -> (Tensor, Tensor) {
        let area = self.side * self.side;
        let (mut images, mut masks) = (Vec::with_capacity(rows.len() * area), Vec::with_capacity(rows.len() * area));
        for row in rows {
            images.extend(self.images[row * area..(row + 1) * area].iter().map(|value| f32::from(*value) / 257.0));
            masks.extend(self.masks[row * area..(row + 1) * area].iter().map(|value| f32::from(*value)));
        }
        let shape = [rows.len() as i64, 1, self.side as i64, self.side as i64];
        let tensor = |values: &[f32]| Tensor::from_slice(values).view(shape).to_device(device);
        (tensor(&images), tensor(&masks))
    }
}

/// A 16-bit image as the network takes it: stretched to `side` × `side`, from 0 to 65535.
pub(crate) fn input(image: &Grey, side: u32) -> Result<Vec<u16>> {
    let mut pixels = resize(image, side, side, Filter::Bilinear)?.pixels;
    let (low, high) = pixels.iter().fold((u16::MAX, 0), |(low, high), value| (low.min(*value), high.max(*value)));
    let span = u32::from(high.saturating_sub(low)).max(1);
    pixels.iter_mut().for_each(|value| *value = ((u32::from(*value - low) * 65_535 + span / 2) / span) as u16);
    Ok(pixels)
}

fn pair(image: &FileRef, mask: &FileRef, side: u32) -> Result<(Vec<u16>, Vec<u8>)> {
    let image = Grey::decode(&image.read().context("cannot read the image")?).context("its image")?;
    let mask = Mask::decode(&mask.read().context("cannot read the mask")?, None)?;
    mask.check(image.width, image.height)?;
    let inside = mask.resize(side, side).inside;
    Ok((input(&image.into_deep(), side)?, inside.into_iter().map(u8::from).collect()))
}
