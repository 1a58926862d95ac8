//! `lungs.evaluate`: how well predicted masks agree with drawn ones.

use super::cohort_label::quarantine;
use super::cohort_split::split_table;
use crate::cohort::SETS;
use crate::image::{Grey, Mask, Outline, Tile, contact_sheet};
use crate::stage::{Artifact, Context, Params, Part, Port, Problem, Whole};
use crate::stats::{Overlap, dice_smoothed_rows, interval, quantile};
use crate::table::Table;
use anyhow::{Context as _, Result, bail, ensure};
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};

/// Holds predicted masks against drawn ones: Dice and IoU of each image, at its own size, and their mean with a 95 % interval.
///
/// `dice` and `iou` are means over images; the intervals draw whole patients again (percentile bootstrap), since images of one patient are
/// not independent. Two empty masks agree (1). Where a split is connected, only the images of one of its sets are looked at. An image
/// that has no drawn mask, or whose predicted one is in quarantine, is left out, with a warning that counts them; any other missing
/// prediction is an error, and so is one of another size.
///
/// The figure is a contact sheet of the worst, the median and the best images by Dice, and of every image whose predicted mask has
/// something in the column `flags`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LungsEvaluate {
    /// Whose images are looked at, where a split is connected: `train`, `validation`, `test` or `all`.
    #[serde(default = "set")]
    set: String,
    /// Whether the figures that the authors of the paper call Dice are added, only to compare with theirs: the mean of
    /// (2 · both + 1) / (sum + 1) over the rows of pixels (`dice_smoothed_rows`) and over the pixels (`dice_smoothed_pixels`), whichever
    /// the last axis of their arrays was. What holds no lung counts as right, so neither is Dice; the one over pixels is never below 0.5.
    #[serde(default)]
    smoothed: bool,
    /// Draws of the bootstrap, 100 to 100000.
    #[serde(default = "draws")]
    draws: u32,
    /// Seed of the draws.
    #[serde(default = "seed")]
    seed: u64,
    /// Images of each group of the contact sheet, 0 to 100.
    #[serde(default = "show")]
    show: usize,
}

fn set() -> String {
    "test".to_owned()
}

fn draws() -> u32 {
    2000
}

fn seed() -> u64 {
    1
}

fn show() -> usize {
    6
}

impl Params for LungsEvaluate {
    const KIND: &'static str = "lungs.evaluate";
    const REVISION: u32 = 1;
    const INPUTS: &'static [Port] = &[
        Port::one("masks", &[Artifact::Masks], "predicted masks"),
        Port::one("truth", &[Artifact::Masks], "drawn masks of the same items and sizes"),
        Port::one("split", &[Artifact::Split, Artifact::Table], "item, set: whose images are looked at").optional(),
        Port::one("images", &[Artifact::Images], "the images, for the contact sheet").optional(),
    ];
    const OUTPUTS: &'static [Port] = &[
        Port::one("metrics", &[Artifact::Metrics], "dice, iou (means), dice_median, dice_worst; with intervals by patient"),
        Port::one(
            "table",
            &[Artifact::Table],
            "overlap.tsv: a row per image, the worst first: item, subject, dice, iou, areas (pixels), flags",
        ),
        Port::one("figure", &[Artifact::Figure], "contact sheet: the worst, median and best images and those flagged, with both contours"),
    ];

    fn check(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.set != "all" && !SETS.contains(&self.set.as_str()) {
            problems.push(Problem::of("set", "must be train, validation, test or all"));
        }
        if !(100..=100_000).contains(&self.draws) {
            problems.push(Problem::of("draws", "must be from 100 to 100000"));
        }
        if self.show > 100 {
            problems.push(Problem::of("show", "must be from 0 to 100"));
        }
        problems
    }
}

/// An image with both masks, by the paths of their files.
struct Pair {
    item: String,
    subject: String,
    drawn: String,
    predicted: String,
    flags: String,
}

/// What came of a pair.
struct Score {
    overlap: Overlap,
    dice: f64,
    iou: f64,
    /// By rows and by pixels; only where asked for.
    smoothed: [f64; 2],
}

const SMOOTHED: [&str; 2] = ["dice_smoothed_rows", "dice_smoothed_pixels"];

impl Whole for LungsEvaluate {
    fn run(&self, cx: &Context) -> Result<()> {
        let pairs = self.pairs(cx)?;
        let done = AtomicU64::new(0);
        let scored = pairs.par_iter().map(|pair| {
            let (drawn, predicted) = masks(cx, pair).with_context(|| format!("item {}", pair.item))?;
            let overlap = Overlap::of(&predicted.inside, &drawn.inside);
            let smoothed = |width: usize| dice_smoothed_rows(&predicted.inside, &drawn.inside, width);
            let smoothed = if self.smoothed { [drawn.width as usize, 1].map(smoothed) } else { [f64::NAN; 2] };
            cx.progress(done.fetch_add(1, Ordering::Relaxed) + 1, pairs.len() as u64, "images");
            Ok(Score { overlap, dice: overlap.dice(), iou: overlap.iou(), smoothed })
        });
        let scores: Vec<Score> = scored.collect::<Result<_>>()?;
        let mut order: Vec<(&Pair, &Score)> = pairs.iter().zip(&scores).collect();
        order.sort_by(|a, b| a.1.dice.total_cmp(&b.1.dice).then_with(|| a.0.item.cmp(&b.0.item)));

        let role = if cx.inputs.optional("split")?.is_some() { self.set.as_str() } else { "all" };
        let mut json = serde_json::to_vec(&self.metrics(role, &order))?;
        json.push(b'\n');
        cx.write("metrics", "metrics.json", &json)?;
        cx.write("table", "overlap.tsv", &self.table(&order).to_tsv())?;
        cx.write("figure", "figure.svg", self.figure(cx, &order)?.as_bytes())
    }
}

impl LungsEvaluate {
    /// The images to look at, sorted by item.
    fn pairs(&self, cx: &Context) -> Result<Vec<Pair>> {
        let (truth, predicted) = (cx.inputs.one("truth")?, cx.inputs.one("masks")?);
        let drawn = rows(truth).context("port `truth`")?;
        let masks = rows(predicted).context("port `masks`")?;
        let aside = quarantine(predicted).context("port `masks`")?;
        let wanted: BTreeSet<String> = match cx.inputs.optional("split")? {
            Some(split) => self.of_set(split).context("port `split`")?,
            None => drawn.keys().cloned().collect(),
        };
        let (mut pairs, mut undrawn, mut quarantined) = (Vec::new(), 0, 0);
        for item in &wanted {
            let Some(truth) = drawn.get(item) else {
                undrawn += 1;
                continue;
            };
            let Some(mask) = masks.get(item) else {
                ensure!(aside.contains_key(item), "port `masks` has nothing for item {item}, in quarantine neither");
                quarantined += 1;
                continue;
            };
            let value = |row: &BTreeMap<String, String>, column: &str| row.get(column).cloned().unwrap_or_default();
            let subject = [value(truth, "subject"), value(mask, "subject"), item.clone()].into_iter().find(|one| !one.is_empty());
            pairs.push(Pair {
                item: item.clone(),
                subject: subject.unwrap_or_default(),
                drawn: value(truth, "file"),
                predicted: value(mask, "file"),
                flags: value(mask, "flags"),
            });
        }
        let all = wanted.len();
        if undrawn > 0 {
            cx.warn(format!("{undrawn} of {all} images are left out: nobody has drawn their masks"));
        }
        if quarantined > 0 {
            cx.warn(format!(
                "{quarantined} of {all} images are left out, and would lower the figures: their predicted masks are in quarantine"
            ));
        }
        ensure!(!pairs.is_empty(), "there is no image with a drawn and a predicted mask to look at");
        Ok(pairs)
    }

    /// Items of the set.
    fn of_set(&self, split: &Part) -> Result<BTreeSet<String>> {
        let split = split_table(split)?;
        let (item, set) = (split.column("item")?, split.column("set")?);
        let rows = split.rows.iter().filter(|row| self.set == "all" || row[set] == self.set);
        let items: BTreeSet<String> = rows.map(|row| row[item].clone()).collect();
        ensure!(!items.is_empty(), "the set `{}` has no images", self.set);
        Ok(items)
    }

    fn metrics(&self, role: &str, order: &[(&Pair, &Score)]) -> Value {
        let mut patients: BTreeMap<&str, Vec<&Score>> = BTreeMap::new();
        for (pair, score) in order {
            patients.entry(&pair.subject).or_default().push(score);
        }
        let patients: Vec<Vec<&Score>> = patients.into_values().collect();
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let median = |values: &[f64]| {
            let mut sorted = values.to_vec();
            sorted.sort_by(f64::total_cmp);
            quantile(&sorted, 0.5)
        };
        let metric = |name: &str, of: &(dyn Fn(&Score) -> f64 + Sync), sum: &(dyn Fn(&[f64]) -> f64 + Sync)| {
            let all: Vec<f64> = order.iter().map(|(_, score)| of(score)).collect();
            let figure = |drawn: &[&Vec<&Score>]| {
                let values: Vec<f64> = drawn.iter().flat_map(|patient| patient.iter().map(|score| of(score))).collect();
                Some(sum(&values))
            };
            let ends = interval(&patients, self.draws, self.seed, figure);
            json!({ "name": name, "value": sum(&all), "low": ends.map(|ends| ends.0), "high": ends.map(|ends| ends.1), "n": all.len() })
        };
        let dice = |score: &Score| score.dice;
        let mut metrics =
            vec![metric("dice", &dice, &mean), metric("iou", &|score| score.iou, &mean), metric("dice_median", &dice, &median)];
        metrics.push(json!({ "name": "dice_worst", "value": order[0].1.dice, "n": order.len() }));
        for (at, name) in self.smoothed_names().iter().enumerate() {
            metrics.push(metric(name, &|score| score.smoothed[at], &mean));
        }
        json!({ "role": role, "n": order.len(), "subjects": patients.len(), "metrics": metrics })
    }

    /// Names of the authors' figures, where they are asked for.
    fn smoothed_names(&self) -> &'static [&'static str] {
        if self.smoothed { &SMOOTHED } else { &[] }
    }

    fn table(&self, order: &[(&Pair, &Score)]) -> Table {
        let smoothed = self.smoothed_names();
        let columns = ["item", "subject", "dice", "iou"].iter().chain(smoothed).chain(&["predicted_area", "drawn_area", "flags"]).copied();
        let mut table = Table::new(columns);
        for (pair, score) in order {
            let mut row = vec![pair.item.clone(), pair.subject.clone(), format!("{:.6}", score.dice), format!("{:.6}", score.iou)];
            row.extend(score.smoothed.iter().take(smoothed.len()).map(|value| format!("{value:.6}")));
            row.extend([score.overlap.one.to_string(), score.overlap.other.to_string(), pair.flags.clone()]);
            table.rows.push(row);
        }
        table
    }

    fn figure(&self, cx: &Context, order: &[(&Pair, &Score)]) -> Result<String> {
        let images = cx.inputs.optional("images")?.map(|part| rows(part).context("port `images`").map(|rows| (part, rows))).transpose()?;
        let tile = |(pair, score): &(&Pair, &Score)| -> Result<Tile> {
            let (drawn, predicted) = masks(cx, pair)?;
            let picture = match images.as_ref().and_then(|(part, rows)| Some((part, rows.get(&pair.item)?.get("file")?))) {
                Some((part, file)) => Some(Grey::decode(&part.tree.read(file)?).with_context(|| format!("item {}", pair.item))?),
                None => None,
            };
            let mut caption = vec![format!("Dice {:.3}", score.dice), pair.item.clone()];
            caption.extend((!pair.flags.is_empty()).then(|| pair.flags.clone()));
            Ok(Tile { picture, outlines: vec![Outline { mask: drawn, name: 0 }, Outline { mask: predicted, name: 1 }], caption })
        };
        let tiles = |part: &[(&Pair, &Score)]| part.par_iter().map(tile).collect::<Result<Vec<Tile>>>();
        let show = self.show.min(order.len());
        let middle = (order.len() - show) / 2;
        let flagged: Vec<(&Pair, &Score)> = order.iter().filter(|(pair, _)| !pair.flags.is_empty()).copied().collect();
        let groups = [
            ("worst".to_owned(), tiles(&order[..show])?),
            ("median".to_owned(), tiles(&order[middle..middle + show])?),
            ("best".to_owned(), tiles(&order[order.len() - show..])?),
            ("flagged".to_owned(), tiles(&flagged)?),
        ];
        contact_sheet(["drawn", "predicted"], &groups, 200)
    }
}

/// Item → its row of the part's index.
fn rows(part: &Part) -> Result<BTreeMap<String, BTreeMap<String, String>>> {
    let index = part.table()?;
    let at = index.column("item")?;
    index.column("file")?;
    index.index_by("item")?;
    let row = |values: &Vec<String>| (values[at].clone(), index.columns.iter().cloned().zip(values.iter().cloned()).collect());
    Ok(index.rows.iter().map(row).collect())
}

/// The drawn and the predicted mask, of one size.
fn masks(cx: &Context, pair: &Pair) -> Result<(Mask, Mask)> {
    let read = |port: &str, path: &str| -> Result<Mask> {
        Mask::decode(&cx.inputs.one(port)?.tree.read(path)?, None).with_context(|| format!("port `{port}`"))
    };
    let (drawn, predicted) = (read("truth", &pair.drawn)?, read("masks", &pair.predicted)?);
    if (drawn.width, drawn.height) != (predicted.width, predicted.height) {
        bail!(
            "the predicted mask has {} x {} pixels, the drawn one {} x {}: segment the images that the masks were drawn on",
            predicted.width,
            predicted.height,
            drawn.width,
            drawn.height
        );
    }
    Ok((drawn, predicted))
}

#[cfg(test)]
mod tests;
