//! Rows to be measured: images, the patients they are of, or some of either.

use super::classification::Confusion;
use super::figures::Clusters;
use super::patient::{PerPatient, same_of_all};

/// Rows with their cluster, a score per class or label (0 to 1), and what is true of them.
#[derive(Clone, Debug)]
pub struct Sample<T> {
    pub(super) clusters: Vec<u32>,
    pub(super) scores: Vec<Vec<f64>>,
    pub(super) truth: Vec<T>,
}

impl<T: Clone> Sample<T> {
    /// All rows, in the order of `clusters`.
    pub fn of(clusters: &Clusters, scores: &[Vec<f64>], truth: &[T]) -> Self {
        Self { clusters: clusters.of_rows().to_vec(), scores: scores.to_vec(), truth: truth.to_vec() }
    }

    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.clusters.len()
    }

    /// How many clusters the rows are of.
    pub fn clusters(&self) -> usize {
        distinct(self.clusters.iter().copied())
    }

    /// The score of a class or label, by row.
    pub fn scores_of(&self, class: usize) -> Vec<f64> {
        column(&self.scores, class)
    }

    /// What is true of each row.
    pub fn truth(&self) -> &[T] {
        &self.truth
    }

    /// The rows for which `keep` has true.
    pub fn only(&self, keep: &[bool]) -> Self {
        let rows = || (0..self.rows()).filter(|row| keep[*row]);
        Self {
            clusters: rows().map(|row| self.clusters[row]).collect(),
            scores: rows().map(|row| self.scores[row].clone()).collect(),
            truth: rows().map(|row| self.truth[row].clone()).collect(),
        }
    }
}

impl Sample<usize> {
    /// Counts of decisions: at the likelier class, or, of two, at a threshold of the last one's score.
    pub fn confusion(&self, classes: usize, threshold: Option<f64>) -> Confusion {
        let decided = |scores: &Vec<f64>| threshold.map_or_else(|| likelier(scores), |least| usize::from(scores[1] >= least));
        Confusion::of(classes, self.truth.iter().copied().zip(self.scores.iter().map(decided)))
    }

    /// How many clusters have a row of each class.
    pub fn clusters_of_class(&self, classes: usize) -> Vec<u64> {
        let rows = || self.clusters.iter().zip(&self.truth);
        (0..classes).map(|class| distinct(rows().filter(|(_, truth)| **truth == class).map(|(cluster, _)| *cluster)) as u64).collect()
    }

    /// A row per cluster, with one score from those of its rows: of two classes the positive one's, and what is missing to 1; of more,
    /// each class's. Else how many clusters have rows of several classes.
    pub fn per_patient(&self, how: PerPatient) -> Result<Self, usize> {
        let (rows, clusters) = Clusters::of_numbers(&self.clusters);
        let truth = same_of_all(&rows, &self.truth)?;
        let scores = match self.scores.first() {
            Some(scores) if scores.len() == 2 => {
                let positive = how.of(&rows, &column(&self.scores, 1));
                positive.into_iter().map(|score| vec![1.0 - score, score]).collect()
            }
            _ => each(how, &rows, &self.scores),
        };
        Ok(Self { clusters, scores, truth })
    }
}

impl Sample<Vec<Option<bool>>> {
    /// A row per cluster, with one score of each label from those of its rows. A label holds where it holds for any of them, and is
    /// unknown where nobody knows it of any.
    pub fn per_patient(&self, how: PerPatient) -> Self {
        let (rows, clusters) = Clusters::of_numbers(&self.clusters);
        let mut truth = vec![vec![None; self.truth.first().map_or(0, Vec::len)]; clusters.len()];
        for (cluster, labels) in rows.of_rows().iter().zip(&self.truth) {
            for (own, label) in truth[*cluster as usize].iter_mut().zip(labels) {
                *own = (*own).max(*label);
            }
        }
        Self { clusters, scores: each(how, &rows, &self.scores), truth }
    }
}

fn column(scores: &[Vec<f64>], at: usize) -> Vec<f64> {
    scores.iter().map(|row| row[at]).collect()
}

/// Every score of each cluster.
fn each(how: PerPatient, rows: &Clusters, scores: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let columns: Vec<Vec<f64>> = (0..scores.first().map_or(0, Vec::len)).map(|at| how.of(rows, &column(scores, at))).collect();
    (0..rows.count()).map(|cluster| columns.iter().map(|column| column[cluster]).collect()).collect()
}

/// The likelier class, the first of equal ones.
pub(super) fn likelier(scores: &[f64]) -> usize {
    (1..scores.len()).fold(0, |best, class| if scores[class] > scores[best] { class } else { best })
}

fn distinct(numbers: impl Iterator<Item = u32>) -> usize {
    let mut numbers: Vec<u32> = numbers.collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers.len()
}
