//! `cohort.split`: patients go into train, validation and test.

use crate::cohort::{SETS, place, proof};
use crate::stage::{Artifact, Context, Params, Part, Port, Problem, Whole};
use crate::table::Table;
use anyhow::{Context as _, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Splits a cohort by patient: nobody is in two sets.
///
/// A patient's place follows from a keyed hash of the patient's id, so neither file names nor row order change it, and when somebody leaves
/// only few others move (nobody, where the previous split is connected). The images come as close to the fractions as whole patients
/// allow, in each stratum. Every set whose fraction is above 0 gets every class, or the stage fails and says what is missing.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CohortSplit {
    /// Another seed, another split.
    #[serde(default = "seed")]
    seed: u64,
    /// Share of the images in the training set, 0 to 1. The three shares sum to 1; a set with 0 stays empty.
    #[serde(default = "train")]
    train: f64,
    /// Share of the images in the validation set.
    #[serde(default = "rest")]
    validation: f64,
    /// Share of the images in the test set; 1 makes the whole cohort an external test set.
    #[serde(default = "rest")]
    test: f64,
    /// Columns of the cohort whose values are spread evenly over the sets. Combinations with fewer patients than sets are put together with
    /// others of the same label. `[]` where there are no labels, such as for pictures with masks.
    #[serde(default = "stratify")]
    stratify: Vec<String>,
}

fn seed() -> u64 {
    1
}

fn train() -> f64 {
    0.7
}

fn rest() -> f64 {
    0.15
}

fn stratify() -> Vec<String> {
    vec!["label".to_owned()]
}

impl Params for CohortSplit {
    const KIND: &'static str = "cohort.split";
    const REVISION: u32 = 1;
    const INPUTS: &'static [Port] = &[
        Port::one("cohort", &[Artifact::Cohort, Artifact::Images, Artifact::Table], "item, subject, label and covariates"),
        Port::one("previous", &[Artifact::Split, Artifact::Table], "subject (or item) and set: everybody in it stays where they are")
            .optional(),
    ];
    const OUTPUTS: &'static [Port] =
        &[Port::one("split", &[Artifact::Split], "the cohort with the column set, and counts that prove it is patient-disjoint")];

    fn check(&self) -> Vec<Problem> {
        let shares = [self.train, self.validation, self.test];
        let mut problems = Vec::new();
        for (name, share) in SETS.into_iter().zip(shares) {
            if !(0.0..=1.0).contains(&share) {
                problems.push(Problem::of(name, format!("must be 0 to 1, not {share}")));
            }
        }
        let sum: f64 = shares.iter().sum();
        if problems.is_empty() && (sum - 1.0).abs() > 1e-6 {
            problems.push(Problem::of("", format!("train, validation and test must sum to 1, not {}", (sum * 1e6).round() / 1e6)));
        }
        problems
    }
}

impl Whole for CohortSplit {
    fn run(&self, cx: &Context) -> Result<()> {
        let cohort = cx.inputs.one("cohort")?.table().context("port `cohort`")?;
        let previous = cx.inputs.optional("previous")?.map(|part| split_table(part).context("port `previous`")).transpose()?;
        let shares = [self.train, self.validation, self.test];
        let placed = place(&cohort, previous.as_ref(), self.seed, shares, &self.stratify)?;
        if previous.is_some() && placed.kept == 0 {
            cx.warn("nobody of the cohort is in the previous split");
        }
        let mut counts = serde_json::to_string_pretty(&proof(&placed.split)?)?;
        counts.push('\n');
        cx.write("split", "split.tsv", &placed.split.to_tsv())?;
        cx.write("split", "proof.json", counts.as_bytes())
    }
}

/// The table of a split, or of a plain table with the same columns.
pub(super) fn split_table(part: &Part) -> Result<Table> {
    match part.tree.files.contains_key("split.tsv") {
        true => Table::from_tsv(&part.tree.read("split.tsv")?).context("split.tsv"),
        false => part.table(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stages::testing::{World, params};

    #[test]
    fn a_split_is_read_back_as_the_previous_one() {
        let mut rows = String::from("item\tsubject\tsession\tlabel\n");
        for at in 0..20 {
            rows.push_str(&format!("i{at}\tp{at}\t\t{}\n", at % 2));
        }
        let mut world = World::new();
        world.connect("cohort", &[("cohort.tsv", rows.as_bytes())]);
        let first = world.run(&params::<CohortSplit>("seed = 4")).unwrap();
        let proof: serde_json::Value = serde_json::from_slice(&first.read("split", "proof.json")).unwrap();
        assert_eq!((&proof["subjects_in_two_sets"], &proof["sets"]["train"]["images"]), (&0.into(), &14.into()));
        world.connect_tree("previous", first.tree("split"));
        let second = world.run(&params::<CohortSplit>("seed = 5")).unwrap();
        assert_eq!(first.read("split", "split.tsv"), second.read("split", "split.tsv"));
    }

    #[test]
    fn images_without_labels_are_split_too() {
        let rows: String = (0..20).map(|at| format!("i{at}\ti{at}.png\tp{}\n", at / 2)).collect();
        let mut world = World::new();
        world.connect("cohort", &[("index.tsv", format!("item\tfile\tsubject\n{rows}").as_bytes())]);
        let split = world.run(&params::<CohortSplit>("stratify = []\ntrain = 0.6\nvalidation = 0.2\ntest = 0.2")).unwrap();
        let proof: serde_json::Value = serde_json::from_slice(&split.read("split", "proof.json")).unwrap();
        assert_eq!((&proof["sets"]["train"]["images"], &proof["sets"]["test"]["images"]), (&12.into(), &4.into()));
        assert!(world.run(&params::<CohortSplit>("")).is_err_and(|error| format!("{error:#}").contains("param `stratify`")));
    }

    #[test]
    fn fractions_sum_to_one() {
        let problems = |toml: &str| params::<CohortSplit>(toml).check().into_iter().map(|one| one.message).collect::<Vec<_>>();
        assert!(problems("").is_empty() && problems("train = 0\nvalidation = 0\ntest = 1").is_empty());
        assert_eq!(problems("train = 0.8"), ["train, validation and test must sum to 1, not 1.1"]);
        assert_eq!(problems("test = -1"), ["must be 0 to 1, not -1"]);
    }
}
