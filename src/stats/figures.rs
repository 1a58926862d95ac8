//! The figures of a classifier by name, each with the interval that drawing its patients again gives.
//!
//! Knows nothing of where scores come from, or how figures are written.

use super::bootstrap::intervals;
use super::sample::{Sample, likelier};
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

    /// By a number of each row; and the number of each cluster.
    pub(super) fn of_numbers(numbers: &[u32]) -> (Self, Vec<u32>) {
        let (mut known, mut found) = (HashMap::new(), Vec::new());
        let mut place = |number: &u32| {
            *known.entry(*number).or_insert_with(|| {
                found.push(*number);
                found.len() as u32 - 1
            })
        };
        let of = numbers.iter().map(&mut place).collect();
        (Self { of, count: found.len(), named: true }, found)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The cluster of each row; they are numbered in the order of their first rows.
    pub fn of_rows(&self) -> &[u32] {
        &self.of
    }

    /// Whether any subject is known.
    pub fn are_subjects(&self) -> bool {
        self.named
    }

    /// What is drawn: `subject`, or `image` where no subject is known.
    pub fn by(&self) -> &'static str {
        if self.named { "subject" } else { "image" }
    }
}

/// How scores become decisions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// The likelier class; of a label, above one half.
    Likelier,
    /// At a threshold.
    Threshold,
}

/// A figure's name, how many rows it rests on, and the rule whose decisions it is of, if it is of decisions.
struct Named {
    name: String,
    n: u64,
    rule: Option<Rule>,
}

/// Figures of the same rows, by the rule that decides.
#[derive(Clone, Debug, Default)]
pub struct ByRule {
    /// At the likelier class, the first of equal ones; of labels, above one half.
    pub likelier: Vec<Figure>,
    /// At the threshold, the score of the positive class being at least that. Those that no decision enters are the same.
    pub at_threshold: Option<Vec<Figure>>,
}

/// What can be measured of drawn clusters.
trait Measure: Sync {
    fn names(&self) -> Vec<Named>;
    /// A value per name, NaN where there is none, by how often each cluster is drawn.
    fn measure(&self, drawn: &[u32], into: &mut Vec<f64>);
}

/// Figures to be taken of several samples of the same clusters.
pub struct Evaluation {
    clusters: usize,
    parts: Vec<Part>,
}

struct Part {
    figures: Box<dyn Measure>,
    /// How many clusters its rows are of.
    clusters: usize,
}

impl Evaluation {
    /// Of these clusters; nothing is measured yet.
    pub fn new(clusters: &Clusters) -> Self {
        Self { clusters: clusters.count(), parts: Vec::new() }
    }

    /// Figures of classes. Of two classes the positive one is the last, and all figures are its own; of more, precision, recall, F1,
    /// sensitivity, specificity and AUC are the mean over classes, each against the rest, there are no others but the accuracy, and no
    /// `threshold` counts.
    pub fn add_classes(&mut self, sample: &Sample<usize>, classes: usize, threshold: Option<f64>, prevalences: &[f64]) {
        let decisions: Vec<usize> = sample.scores.iter().map(|scores| likelier(scores)).collect();
        let class = |class: usize| -> Vec<Row> {
            let rows = (0..sample.rows()).map(|row| Row {
                cluster: sample.clusters[row],
                score: sample.scores[row][class],
                decided: decisions[row] == class,
                positive: sample.truth[row] == class,
            });
            rows.collect()
        };
        let figures: Box<dyn Measure> = if classes == 2 {
            Box::new(Two::of(&class(1), threshold, prevalences))
        } else {
            let decided = (0..sample.rows()).map(|row| (sample.clusters[row], sample.truth[row], decisions[row]));
            Box::new(Many { decided: decided.collect(), ranked: (0..classes).map(|at| Ranked::of(&class(at))).collect() })
        };
        self.parts.push(Part { figures, clusters: sample.clusters() });
    }

    /// Figures of labels, each of which may hold, decided above one half: of all together (`accuracy`, and `auc`, the mean of those that
    /// have one), then of each by its name. The truth has an entry per label, none where nobody knows.
    pub fn add_labels(&mut self, sample: &Sample<Vec<Option<bool>>>, names: &[String]) {
        let label = |at: usize| {
            let rows = (0..sample.rows()).filter_map(|row| {
                let score = sample.scores[row][at];
                Some(Row { cluster: sample.clusters[row], score, decided: score > 0.5, positive: sample.truth[row][at]? })
            });
            let rows: Vec<Row> = rows.collect();
            (Decided::of(&rows, &[]), Ranked::of(&rows), rows.len() as u64)
        };
        let labels = (0..names.len()).map(label).collect();
        let figures = Box::new(Labels { labels, names: names.to_vec(), rows: sample.rows() as u64 });
        self.parts.push(Part { figures, clusters: sample.clusters() });
    }

    /// The figures of each sample, with the percentile interval (see [`super::interval`]) of `draws` draws of all clusters.
    pub fn figures(&self, draws: u32, seed: u64) -> Vec<ByRule> {
        let measure = |drawn: &[u32], into: &mut Vec<f64>| self.parts.iter().for_each(|part| part.figures.measure(drawn, into));
        let mut values = Vec::new();
        measure(&vec![1; self.clusters], &mut values);
        let interval = intervals(self.clusters, draws, seed, measure);
        let mut values = values.into_iter().enumerate();
        let of = |part: &Part| {
            let (mut likelier, mut at_threshold, mut both) = (Vec::new(), Vec::new(), Vec::new());
            for (Named { name, n, rule }, (at, value)) in part.figures.names().into_iter().zip(values.by_ref()) {
                let value = value.is_finite().then_some(value);
                let (low, high) = value.filter(|_| part.clusters > 1).and_then(|_| interval(at)).unzip();
                let figures = match rule {
                    Some(Rule::Likelier) => &mut likelier,
                    Some(Rule::Threshold) => &mut at_threshold,
                    None => &mut both,
                };
                figures.push(Figure { name, value, low, high, n });
            }
            let at_threshold = (!at_threshold.is_empty()).then(|| [at_threshold, both.clone()].concat());
            ByRule { likelier: [likelier, both].concat(), at_threshold }
        };
        self.parts.iter().map(of).collect()
    }
}

/// All figures of a positive class.
struct Two {
    /// At the likelier class, then at the threshold if there is one.
    decided: Vec<(Rule, Decided)>,
    ranked: Ranked,
    claimed: Claimed,
    prevalences: Vec<f64>,
    rows: u64,
}

impl Two {
    fn of(rows: &[Row], threshold: Option<f64>, prevalences: &[f64]) -> Self {
        let mut decided = vec![(Rule::Likelier, Decided::of(rows, prevalences))];
        decided.extend(threshold.map(|least| {
            let rows: Vec<Row> = rows.iter().map(|row| Row { decided: row.score >= least, ..*row }).collect();
            (Rule::Threshold, Decided::of(&rows, prevalences))
        }));
        Self { decided, ranked: Ranked::of(rows), claimed: Claimed::of(rows), prevalences: prevalences.to_vec(), rows: rows.len() as u64 }
    }
}

impl Measure for Two {
    fn names(&self) -> Vec<Named> {
        let named = |name: String, rule| Named { name, n: self.rows, rule };
        let decided = self.decided.iter().flat_map(|(rule, _)| {
            let names = DECIDED.into_iter().map(str::to_owned).chain(Decided::predictive(&self.prevalences));
            names.map(|name| named(name, Some(*rule)))
        });
        decided.chain(RANKED.into_iter().chain(CLAIMED).map(|name| named(name.to_owned(), None))).collect()
    }

    fn measure(&self, drawn: &[u32], into: &mut Vec<f64>) {
        self.decided.iter().for_each(|(_, decided)| decided.measure(drawn, into));
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
    fn names(&self) -> Vec<Named> {
        let names = ["accuracy", "precision", "recall", "f1", "sensitivity", "specificity", "auc"];
        names.into_iter().map(|name| Named { name: name.to_owned(), n: self.decided.len() as u64, rule: Some(Rule::Likelier) }).collect()
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
    fn names(&self) -> Vec<Named> {
        let named = |name, n| Named { name, n, rule: Some(Rule::Likelier) };
        let all = ["accuracy", "auc"].map(|name| named(name.to_owned(), self.rows));
        let of_label = |(label, (.., known)): (&String, &(Decided, Ranked, u64))| {
            ["auc", "sensitivity", "specificity"].map(|figure| named(format!("{figure}_{label}"), *known))
        };
        all.into_iter().chain(self.names.iter().zip(&self.labels).flat_map(of_label)).collect()
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
