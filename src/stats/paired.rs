//! Several models on the same rows: a figure of each, and of pairs the difference, with intervals by drawing clusters and a test.
//!
//! Knows nothing of what the models are called, or which of them is held against which.

use super::bootstrap::intervals;
use super::two::{Ranked, Row};
use super::{Clusters, delong, durkalski, mcnemar, obuchowski};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Measured {
    /// Area under the ROC curve.
    Auc,
    /// Share of decisions that are right.
    Accuracy,
    /// The same of the positives.
    Sensitivity,
    /// The same of the negatives.
    Specificity,
}

/// What a model says of each row.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answers {
    pub scores: Vec<f64>,
    /// Whether it decides for positive.
    pub decided: Vec<bool>,
}

/// Models on the same rows.
#[derive(Clone, Debug)]
pub struct Paired {
    pub clusters: Clusters,
    /// Of each row.
    pub positive: Vec<bool>,
    pub models: Vec<Answers>,
}

/// A value with its 95 % interval; none where it is undefined.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Estimate {
    pub value: Option<f64>,
    pub interval: Option<(f64, f64)>,
}

/// Two models held against each other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Comparison {
    pub difference: Estimate,
    pub test: &'static str,
    /// Two-sided. None where there are too few clusters, or no variance to hold a difference against.
    pub p: Option<f64>,
}

/// What a figure rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    pub rows: u64,
    pub clusters: u64,
    /// Clusters with a row on the side that has fewer, where both sides count.
    pub least: u64,
}

/// A figure of one model, ready to be taken of drawn clusters.
enum Taken {
    Ranked(Ranked),
    /// Share of right decisions, of each cluster that has a row.
    Shares(Vec<(u32, f64)>),
}

impl Paired {
    /// The figure of every model, and of each pair (first, second) the first less the second. Intervals are between percentiles of `draws`
    /// draws of clusters (see [`super::interval`]), one draw for all.
    ///
    /// Shares of decisions are those of each cluster, averaged over clusters: what the tests compare. Where every cluster has one row, the
    /// tests are DeLong's and McNemar's exact one, else Obuchowski's and Durkalski's.
    pub fn compare(&self, what: Measured, pairs: &[(usize, usize)], draws: u32, seed: u64) -> (Vec<Estimate>, Vec<Comparison>) {
        let taken: Vec<Taken> = self.models.iter().map(|model| self.take(what, model)).collect();
        let measure = |drawn: &[u32], into: &mut Vec<f64>| {
            into.extend(taken.iter().map(|model| model.of(drawn)));
            pairs.iter().for_each(|(first, second)| into.push(into[*first] - into[*second]));
        };
        let mut values = Vec::new();
        measure(&vec![1; self.clusters.count()], &mut values);
        let interval = intervals(self.clusters.count(), draws, seed, measure);
        let estimate = |at: usize| {
            let value = Some(values[at]).filter(|value| value.is_finite());
            Estimate { value, interval: value.and_then(|_| interval(at)) }
        };
        let comparison = |(at, (first, second)): (usize, &(usize, usize))| {
            let (test, p) = self.test(what, &self.models[*first], &self.models[*second]);
            Comparison { difference: estimate(taken.len() + at), test, p }
        };
        ((0..taken.len()).map(estimate).collect(), pairs.iter().enumerate().map(comparison).collect())
    }

    /// What the figure rests on, by who counts as one: our clusters, or others of the same rows.
    pub fn counts(&self, what: Measured, clusters: &Clusters) -> Counts {
        let mut there = vec![[false; 2]; clusters.count()];
        let mut rows = 0;
        for (cluster, positive) in clusters.of_rows().iter().zip(&self.positive).filter(|(_, positive)| what.counts(**positive)) {
            rows += 1;
            there[*cluster as usize][usize::from(*positive)] = true;
        }
        let with = |is: &dyn Fn(&[bool; 2]) -> bool| there.iter().filter(|own| is(own)).count() as u64;
        let clusters = with(&|own| own[0] || own[1]);
        let least = if what == Measured::Auc { with(&|own| own[0]).min(with(&|own| own[1])) } else { clusters };
        Counts { rows, clusters, least }
    }

    /// Whether every cluster has one row.
    pub fn independent(&self) -> bool {
        self.clusters.count() == self.positive.len()
    }

    fn take(&self, what: Measured, model: &Answers) -> Taken {
        let of = self.clusters.of_rows();
        if what == Measured::Auc {
            let row =
                |row: usize| Row { cluster: of[row], score: model.scores[row], decided: model.decided[row], positive: self.positive[row] };
            return Taken::Ranked(Ranked::of(&(0..of.len()).map(row).collect::<Vec<Row>>()));
        }
        let mut counts = vec![(0.0, 0.0); self.clusters.count()];
        for row in (0..of.len()).filter(|row| what.counts(self.positive[*row])) {
            let (right, rows) = &mut counts[of[row] as usize];
            *right += f64::from(model.decided[row] == self.positive[row]);
            *rows += 1.0;
        }
        let there = counts.iter().enumerate().filter(|(_, (_, rows))| *rows > 0.0);
        Taken::Shares(there.map(|(cluster, (right, rows))| (cluster as u32, right / rows)).collect())
    }

    fn test(&self, what: Measured, first: &Answers, second: &Answers) -> (&'static str, Option<f64>) {
        if what == Measured::Auc {
            return match self.independent() {
                true => ("DeLong", delong(&first.scores, &second.scores, &self.positive).and_then(|found| found.p())),
                false => {
                    let found = obuchowski(&first.scores, &second.scores, &self.positive, &self.clusters);
                    ("Obuchowski (clustered DeLong)", found.and_then(|found| found.p()))
                }
            };
        }
        let own = self.positive.iter().enumerate().filter(|(_, positive)| what.counts(**positive));
        let right = own.map(|(row, positive)| (row, [first.decided[row] == *positive, second.decided[row] == *positive]));
        if !self.independent() {
            let rows = right.map(|(row, right)| (self.clusters.of_rows()[row], right));
            return ("Durkalski (clustered McNemar)", durkalski(&self.clusters, rows));
        }
        let (mut rows, mut alone) = (0, [0, 0]);
        for (_, [first, second]) in right {
            rows += 1;
            alone[0] += u64::from(first && !second);
            alone[1] += u64::from(second && !first);
        }
        ("McNemar, exact", (rows > 0).then(|| mcnemar(alone[0], alone[1])))
    }
}

impl Measured {
    /// Whether a row of that side counts.
    fn counts(self, positive: bool) -> bool {
        match self {
            Self::Auc | Self::Accuracy => true,
            Self::Sensitivity => positive,
            Self::Specificity => !positive,
        }
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auc => "auc",
            Self::Accuracy => "accuracy",
            Self::Sensitivity => "sensitivity",
            Self::Specificity => "specificity",
        })
    }
}

impl Taken {
    fn of(&self, drawn: &[u32]) -> f64 {
        match self {
            Self::Ranked(ranked) => ranked.measure(drawn)[0],
            Self::Shares(shares) => {
                let weigh = |(sum, all): (f64, f64), (cluster, share): &(u32, f64)| {
                    let weight = f64::from(drawn[*cluster as usize]);
                    (sum + weight * share, all + weight)
                };
                let (sum, all) = shares.iter().fold((0.0, 0.0), weigh);
                sum / all
            }
        }
    }
}

#[cfg(test)]
mod tests;
