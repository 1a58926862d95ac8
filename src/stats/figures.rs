//! The figures of a classifier by name, each with the interval that drawing its patients again gives.
//!
//! Knows nothing of where scores come from, or how figures are written.

use super::bootstrap::intervals;
use super::two::{CLAIMED, Claimed, DECIDED, Decided, Fourfold, RANKED, Ranked, Row, share};
use serde::Serialize;
use std::collections::HashMap;

/// A figure, and the ends of its 95 % interval.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figure {
    pub name: String,
    /// None where it is undefined, such as the AUC of one class.
    pub value: Option<f64>,
    /// None where there is no value, one cluster, or a value in less than half of the draws.
    pub low: Option<f64>,
    pub high: Option<f64>,
    /// Rows it rests on.
    pub n: u64,
}

/// Which rows are drawn together: those of a subject; a row without one is drawn alone.
#[derive(Clone, Debug)]
pub struct Clusters {
    of: Vec<u32>,
    count: usize,
    named: bool,
}

impl Clusters {
    /// By the subject of each row, empty where unknown.
    pub fn of(subjects: &[String]) -> Self {
        let (mut known, mut count) = (HashMap::new(), 0);
        let mut next = || {
            count += 1;
            count - 1
        };
        let of = subjects.iter().map(|name| if name.is_empty() { next() } else { *known.entry(name).or_insert_with(&mut next) }).collect();
        Self { of, named: !known.is_empty(), count: count as usize }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The cluster of each row; they are numbered in the order of their first rows.
    pub fn of_rows(&self) -> &[u32] {
        &self.of
    }

    /// What is drawn: `subject`, or `image` where no subject is known.
    pub fn by(&self) -> &'static str {
        if self.named { "subject" } else { "image" }
    }
}

/// What can be measured of drawn clusters.
trait Measure: Sync {
    /// Names, and how many rows each rests on.
    fn names(&self) -> Vec<(String, u64)>;
    /// A value per name, NaN where there is none, by how often each cluster is drawn.
    fn measure(&self, drawn: &[u32], into: &mut Vec<f64>);
}

/// Figures to be taken of the same rows.
pub struct Evaluation {
    clusters: Clusters,
    parts: Vec<Box<dyn Measure>>,
}

impl Evaluation {
    /// Of rows in these clusters; nothing is measured yet.
    pub fn new(clusters: Clusters) -> Self {
        Self { clusters, parts: Vec::new() }
    }

    /// Figures of classes: `scores` and `truth` by row, the likelier class being decided, the first of equal ones. Of two classes the
    /// positive one is the last, and all figures are its own; of more, precision, recall, F1, sensitivity, specificity and AUC are the
    /// mean over classes, each against the rest, and there are no others but the accuracy.
    pub fn add_classes(&mut self, scores: &[Vec<f64>], truth: &[usize], classes: usize, prevalences: &[f64]) {
        let decisions: Vec<usize> = scores.iter().map(|scores| likelier(scores)).collect();
        let class = |class: usize| {
            let rows = scores.iter().zip(truth).zip(&decisions).zip(&self.clusters.of);
            let row = |(((scores, truth), decision), cluster): (((&Vec<f64>, &usize), &usize), &u32)| Row {
                cluster: *cluster,
                score: scores[class],
                decided: *decision == class,
                positive: *truth == class,
            };
            rows.map(row).collect::<Vec<Row>>()
        };
        if classes == 2 {
            self.parts.push(Box::new(Two::of(&class(1), prevalences)));
            return;
        }
        let decided = self.clusters.of.iter().zip(truth).zip(&decisions).map(|((cluster, truth), decision)| (*cluster, *truth, *decision));
        self.parts.push(Box::new(Many { decided: decided.collect(), ranked: (0..classes).map(|at| Ranked::of(&class(at))).collect() }));
    }

    /// Figures of labels, each of which may hold, decided above one half: of all together (`accuracy`, and `auc`, the mean of those that
    /// have one), then of each by its name. `truth` has an entry per label and row, none where nobody knows.
    pub fn add_labels(&mut self, scores: &[Vec<f64>], truth: &[Vec<Option<bool>>], names: &[String]) {
        let label = |at: usize| {
            let rows = scores.iter().zip(truth).zip(&self.clusters.of).filter_map(|((scores, truth), cluster)| {
                Some(Row { cluster: *cluster, score: scores[at], decided: scores[at] > 0.5, positive: truth[at]? })
            });
            let rows: Vec<Row> = rows.collect();
            (Decided::of(&rows, &[]), Ranked::of(&rows), rows.len() as u64)
        };
        let labels = (0..names.len()).map(label).collect();
        self.parts.push(Box::new(Labels { labels, names: names.to_vec(), rows: scores.len() as u64 }));
    }

    /// The figures, with the percentile interval (see [`super::interval`]) of `draws` draws of all clusters.
    pub fn figures(&self, draws: u32, seed: u64) -> Vec<Figure> {
        let measure = |drawn: &[u32], into: &mut Vec<f64>| self.parts.iter().for_each(|part| part.measure(drawn, into));
        let mut values = Vec::new();
        measure(&vec![1; self.clusters.count], &mut values);
        let interval = intervals(self.clusters.count, draws, seed, measure);
        let names = self.parts.iter().flat_map(|part| part.names());
        let figures = names.zip(values).enumerate().map(|(at, ((name, n), value))| {
            let value = value.is_finite().then_some(value);
            let (low, high) = value.and_then(|_| interval(at)).unzip();
            Figure { name, value, low, high, n }
        });
        figures.collect()
    }
}

/// Place of the highest score, the first of equal ones.
fn likelier(scores: &[f64]) -> usize {
    (1..scores.len()).fold(0, |best, class| if scores[class] > scores[best] { class } else { best })
}

/// All figures of a positive class.
struct Two {
    decided: Decided,
    ranked: Ranked,
    claimed: Claimed,
    names: Vec<(String, u64)>,
}

impl Two {
    fn of(rows: &[Row], prevalences: &[f64]) -> Self {
        let fixed = RANKED.into_iter().chain(CLAIMED).map(str::to_owned);
        let names = DECIDED.into_iter().map(str::to_owned).chain(Decided::predictive(prevalences)).chain(fixed);
        Self {
            decided: Decided::of(rows, prevalences),
            ranked: Ranked::of(rows),
            claimed: Claimed::of(rows),
            names: names.map(|name| (name, rows.len() as u64)).collect(),
        }
    }
}

impl Measure for Two {
    fn names(&self) -> Vec<(String, u64)> {
        self.names.clone()
    }

    fn measure(&self, drawn: &[u32], into: &mut Vec<f64>) {
        self.decided.measure(drawn, into);
        into.extend(self.ranked.measure(drawn));
        self.claimed.measure(drawn, into);
    }
}

/// Figures of more than two classes.
struct Many {
    /// Cluster, truth and decision of each row.
    decided: Vec<(u32, usize, usize)>,
    /// By class, against the rest.
    ranked: Vec<Ranked>,
}

impl Measure for Many {
    fn names(&self) -> Vec<(String, u64)> {
        let names = ["accuracy", "precision", "recall", "f1", "sensitivity", "specificity", "auc"];
        names.into_iter().map(|name| (name.to_owned(), self.decided.len() as u64)).collect()
    }

    fn measure(&self, drawn: &[u32], into: &mut Vec<f64>) {
        let classes = self.ranked.len();
        let mut counts = vec![Fourfold::default(); classes];
        let (mut all, mut right) = (0, 0);
        for (cluster, truth, decision) in &self.decided {
            let weight = u64::from(drawn[*cluster as usize]);
            all += weight;
            if truth == decision {
                right += weight;
                counts[*truth].true_positive += weight;
            } else {
                counts[*truth].false_negative += weight;
                counts[*decision].false_positive += weight;
            }
        }
        for class in &mut counts {
            class.true_negative = all - class.true_positive - class.false_positive - class.false_negative;
        }
        let mean = |figure: fn(&Fourfold) -> f64| counts.iter().map(figure).sum::<f64>() / classes as f64;
        let recall = mean(Fourfold::recall);
        into.extend([share(right, all), mean(Fourfold::precision), recall, mean(Fourfold::f1), recall, mean(Fourfold::specificity)]);
        into.push(self.ranked.iter().map(|class| class.measure(drawn)[0]).sum::<f64>() / classes as f64);
    }
}

/// Figures of labels.
struct Labels {
    /// Of each, where it is known; and how many rows those are.
    labels: Vec<(Decided, Ranked, u64)>,
    names: Vec<String>,
    rows: u64,
}

impl Measure for Labels {
    fn names(&self) -> Vec<(String, u64)> {
        let all = ["accuracy", "auc"].map(|name| (name.to_owned(), self.rows));
        let own = self
            .names
            .iter()
            .zip(&self.labels)
            .flat_map(|(label, (.., known))| ["auc", "sensitivity", "specificity"].map(|figure| (format!("{figure}_{label}"), *known)));
        all.into_iter().chain(own).collect()
    }

    fn measure(&self, drawn: &[u32], into: &mut Vec<f64>) {
        let (mut right, mut known, mut areas) = (0, 0, Vec::with_capacity(self.labels.len()));
        let start = into.len();
        into.extend([0.0; 2]);
        for (decided, ranked, _) in &self.labels {
            let (counts, [area, _]) = (decided.counts(drawn), ranked.measure(drawn));
            right += counts.right();
            known += counts.total();
            areas.extend(Some(area).filter(|area| area.is_finite()));
            into.extend([area, counts.recall(), counts.specificity()]);
        }
        into[start] = share(right, known);
        into[start + 1] = areas.iter().sum::<f64>() / areas.len() as f64;
    }
}

#[cfg(test)]
mod tests;
