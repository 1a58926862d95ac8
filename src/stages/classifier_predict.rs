//! `classifier.predict`: declared here, its images looked at by `tomograph-torch`.

use crate::stage::{Artifact, Inputs, Items, Needs, Params, Port, Problem, Row};
use crate::table::Table;
use anyhow::{Context as _, Result, bail, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Says what a trained classifier thinks of images that nobody has labelled.
///
/// Each image must have the size that the model takes, as `images.prepare` makes it. The result has a row per image: its item and
/// subject, an empty label, the likelier class (of labels: those above one half, with `|` between them), and a score from 0 to 1 per class.
/// An image is looked at once, whatever others come with it.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClassifierPredict {
    /// Images per step; the last step is filled up. Lower it where memory runs out.
    #[serde(default = "batch")]
    pub batch: u32,
}

fn batch() -> u32 {
    32
}

/// The file in which an item's scores are kept: float64, little-endian, in the order of the model's classes.
pub const SCORES: &str = "scores.f64";

/// What is read of `model.json` here.
#[derive(Deserialize)]
struct About {
    classes: Vec<String>,
    #[serde(default)]
    task: super::classifier_train::Task,
}

impl Params for ClassifierPredict {
    const KIND: &'static str = "classifier.predict";
    const REVISION: u32 = 1;
    const INPUTS: &'static [Port] = &[
        Port::one("images", &[Artifact::Images], "images of the model's size"),
        Port::one("model", &[Artifact::Model], "a trained classifier that takes images"),
    ];
    const OUTPUTS: &'static [Port] = &[Port::one("predictions", &[Artifact::Predictions], "a row per image, with a score per class")];
    const NEEDS: Needs = Needs { cpus: 2, memory: 0, gpu: 0.0 };

    fn check(&self) -> Vec<Problem> {
        match self.batch {
            1..=4096 => Vec::new(),
            _ => vec![Problem::of("batch", "must be 1 to 4096")],
        }
    }
}

impl Items for ClassifierPredict {
    const ITEMS: &'static [&'static str] = &["images"];
    const WRITES: &'static [&'static str] = &[];

    fn assemble(&self, inputs: &Inputs, rows: &[Row], output: &Path) -> Result<bool> {
        let model = &inputs.one("model")?.tree;
        let about: About = serde_json::from_slice(&model.read("model.json")?).context("port `model`: model.json")?;
        let fixed = ["item", "subject", "label", "predicted"].map(str::to_owned);
        let mut table = Table::new(fixed.into_iter().chain(about.classes.iter().map(|class| format!("score_{class}"))));
        let mut rows: Vec<&Row> = rows.iter().collect();
        rows.sort_by(|a, b| a.item.cmp(&b.item));
        for row in rows {
            let (_, file) = row.files.first().context("an item without scores")?;
            let bytes = file.read().context("cannot read an item's scores")?;
            let scores: Vec<f64> = bytes.as_chunks::<8>().0.iter().map(|value| f64::from_le_bytes(*value)).collect();
            ensure!(scores.len() == about.classes.len(), "an item has {} scores, the model {} classes", scores.len(), about.classes.len());
            let subject = row.values.get("subject").unwrap_or_default().to_owned();
            let fixed = [row.item.clone(), subject, String::new(), about.decided(&scores)?];
            table.rows.push(fixed.into_iter().chain(scores.iter().map(|score| format!("{score:?}"))).collect());
        }
        #[expect(clippy::disallowed_methods, reason = "outputs are written to scratch; the engine publishes them whole")]
        std::fs::write(output.join("predictions.tsv"), table.to_tsv()).context("cannot write predictions.tsv")?;
        Ok(true)
    }
}

impl About {
    /// The likelier class, the first of equal ones; or the labels that hold.
    fn decided(&self, scores: &[f64]) -> Result<String> {
        use super::classifier_train::Task;
        let named = self.classes.iter().zip(scores);
        Ok(match self.task {
            Task::Labels => named.filter(|(_, score)| **score > 0.5).map(|(name, _)| name.as_str()).collect::<Vec<_>>().join("|"),
            Task::Classes => match named.reduce(|best, next| if next.1 > best.1 { next } else { best }) {
                Some((name, _)) => name.clone(),
                None => bail!("the model knows no class"),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_likelier_class_or_every_label_above_one_half() {
        let about = |json: &str| serde_json::from_str::<About>(json).unwrap();
        let classes = about(r#"{"classes": ["well", "ill"]}"#);
        assert_eq!((classes.decided(&[0.5, 0.5]).unwrap(), classes.decided(&[0.4, 0.6]).unwrap()), ("well".to_owned(), "ill".to_owned()));
        let labels = about(r#"{"classes": ["a", "b", "c"], "task": "labels"}"#);
        assert_eq!((labels.decided(&[0.6, 0.5, 0.9]).unwrap(), labels.decided(&[0.0; 3]).unwrap()), ("a|c".to_owned(), String::new()));
    }
}
