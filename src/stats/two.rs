//! Figures of a score that says how likely something holds, where each row counts as often as its cluster was drawn.

use super::calibration::{Point, intercept, line, log_odds};

/// One row, as it is given.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub(super) cluster: u32,
    /// 0 to 1.
    pub(super) score: f64,
    /// What was decided from it.
    pub(super) decided: bool,
    pub(super) positive: bool,
}

/// Counts of decisions by truth.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Fourfold {
    pub(super) true_positive: u64,
    pub(super) false_positive: u64,
    pub(super) false_negative: u64,
    pub(super) true_negative: u64,
}

impl Fourfold {
    fn of(rows: &[Row], drawn: &[u32]) -> Self {
        let mut counts = Self::default();
        for row in rows {
            let place = match (row.positive, row.decided) {
                (true, true) => &mut counts.true_positive,
                (true, false) => &mut counts.false_negative,
                (false, true) => &mut counts.false_positive,
                (false, false) => &mut counts.true_negative,
            };
            *place += u64::from(drawn[row.cluster as usize]);
        }
        counts
    }

    pub(super) fn precision(&self) -> f64 {
        share(self.true_positive, self.true_positive + self.false_positive)
    }

    pub(super) fn recall(&self) -> f64 {
        share(self.true_positive, self.true_positive + self.false_negative)
    }

    pub(super) fn f1(&self) -> f64 {
        share(2 * self.true_positive, 2 * self.true_positive + self.false_positive + self.false_negative)
    }

    pub(super) fn specificity(&self) -> f64 {
        share(self.true_negative, self.true_negative + self.false_positive)
    }

    pub(super) fn right(&self) -> u64 {
        self.true_positive + self.true_negative
    }

    pub(super) fn total(&self) -> u64 {
        self.right() + self.false_positive + self.false_negative
    }
}

/// NaN for a part of nothing.
pub(super) fn share(part: u64, whole: u64) -> f64 {
    if whole > 0 { part as f64 / whole as f64 } else { f64::NAN }
}

/// Names of what [`Decided::measure`] pushes.
pub(super) const DECIDED: [&str; 7] = ["accuracy", "precision", "recall", "f1", "sensitivity", "specificity", "balanced_accuracy"];
/// Names of what [`Ranked::measure`] pushes.
pub(super) const RANKED: [&str; 2] = ["auc", "average_precision"];
/// Names of what [`Claimed::measure`] pushes.
pub(super) const CLAIMED: [&str; 4] = ["brier", "calibration_intercept", "calibration_slope", "ece"];

/// Figures of decisions.
pub(super) struct Decided {
    rows: Vec<Row>,
    prevalences: Vec<f64>,
}

impl Decided {
    pub(super) fn of(rows: &[Row], prevalences: &[f64]) -> Self {
        Self { rows: rows.to_vec(), prevalences: prevalences.to_vec() }
    }

    /// Names of what follows [`DECIDED`]: the values of a decision where so many of those who come are positive.
    pub(super) fn predictive(prevalences: &[f64]) -> impl Iterator<Item = String> {
        let each = |value: &f64| [format!("ppv_prevalence_{value}"), format!("npv_prevalence_{value}")];
        prevalences.iter().flat_map(each).collect::<Vec<_>>().into_iter()
    }

    pub(super) fn counts(&self, drawn: &[u32]) -> Fourfold {
        Fourfold::of(&self.rows, drawn)
    }

    pub(super) fn measure(&self, drawn: &[u32], into: &mut Vec<f64>) {
        let counts = self.counts(drawn);
        let (sensitivity, specificity) = (counts.recall(), counts.specificity());
        into.extend([share(counts.right(), counts.total()), counts.precision(), sensitivity, counts.f1(), sensitivity, specificity]);
        into.push((sensitivity + specificity) / 2.0);
        for prevalence in &self.prevalences {
            let (ill, well) = (*prevalence, 1.0 - prevalence);
            let (found, alarms) = (sensitivity * ill, (1.0 - specificity) * well);
            let (cleared, missed) = (specificity * well, (1.0 - sensitivity) * ill);
            into.extend([found / (found + alarms), cleared / (cleared + missed)]);
        }
    }
}

/// Figures of the order of scores.
pub(super) struct Ranked {
    /// The highest score first: cluster, whether positive, and whether the next score is another.
    rows: Vec<(u32, bool, bool)>,
}

impl Ranked {
    pub(super) fn of(rows: &[Row]) -> Self {
        let mut order: Vec<&Row> = rows.iter().collect();
        order.sort_by(|a, b| b.score.total_cmp(&a.score));
        let ends = |at: usize| order.get(at + 1).is_none_or(|next| next.score != order[at].score);
        Self { rows: order.iter().enumerate().map(|(at, row)| (row.cluster, row.positive, ends(at))).collect() }
    }

    /// Area under the ROC curve (see [`super::auc`]), and under the precision–recall curve by steps (average precision; equal scores are one
    /// step). NaN where a side is absent, of the second where the positive one is.
    pub(super) fn measure(&self, drawn: &[u32]) -> [f64; 2] {
        // Twice the number of pairs won, so that ties stay whole numbers.
        let (mut above, mut alarms, mut up, mut down, mut won, mut steps) = (0u64, 0u64, 0u64, 0u64, 0u64, 0.0);
        for (cluster, positive, last) in &self.rows {
            let weight = u64::from(drawn[*cluster as usize]);
            if *positive {
                up += weight;
            } else {
                down += weight;
            }
            if *last && up + down > 0 {
                won += down * (2 * above + up);
                (above, alarms) = (above + up, alarms + down);
                steps += up as f64 * (above as f64 / (above + alarms) as f64);
                (up, down) = (0, 0);
            }
        }
        [won as f64 / (2.0 * above as f64 * alarms as f64), steps / above as f64]
    }
}

/// Figures of what scores claim to be: probabilities.
pub(super) struct Claimed {
    rows: Vec<Row>,
    claimed: Vec<f64>,
    /// Where the fits begin: the answers of all rows.
    start: (f64, [f64; 2]),
}

/// Bins of the expected calibration error, of equal width.
const BINS: usize = 10;

impl Claimed {
    pub(super) fn of(rows: &[Row]) -> Self {
        let mut made =
            Self { rows: rows.to_vec(), claimed: rows.iter().map(|row| log_odds(row.score)).collect(), start: (0.0, [0.0, 1.0]) };
        let points: Vec<Point> = made.points(|_| 1.0).collect();
        made.start = (intercept(&points, 0.0).unwrap_or(0.0), line(&points, [0.0, 1.0]).unwrap_or([0.0, 1.0]));
        made
    }

    fn points(&self, weight: impl Fn(&Row) -> f64) -> impl Iterator<Item = Point> {
        let each = move |(row, claimed): (&Row, &f64)| Point { weight: weight(row), claimed: *claimed, positive: row.positive };
        self.rows.iter().zip(&self.claimed).map(each)
    }

    pub(super) fn measure(&self, drawn: &[u32], into: &mut Vec<f64>) {
        let weight = |row: &Row| f64::from(drawn[row.cluster as usize]);
        let (mut all, mut squares, mut bins) = (0.0, 0.0, [0.0; BINS]);
        for row in &self.rows {
            let (weight, missing) = (weight(row), f64::from(row.positive) - row.score);
            all += weight;
            squares += weight * missing * missing;
            bins[((row.score * BINS as f64) as usize).min(BINS - 1)] += weight * missing;
        }
        let points: Vec<Point> = self.points(weight).filter(|point| point.weight > 0.0).collect();
        let intercept = intercept(&points, self.start.0).unwrap_or(f64::NAN);
        let slope = line(&points, self.start.1).map_or(f64::NAN, |[_, slope]| slope);
        into.extend([squares / all, intercept, slope, bins.iter().map(|missing| missing.abs()).sum::<f64>() / all]);
    }
}
