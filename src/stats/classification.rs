//! How well scores and decisions agree with the truth.

/// Area under the ROC curve: the share of (positive, negative) pairs in which the positive has the higher score, equal ones
/// counting half (Mann and Whitney, 1947). None where one of the two is absent.
///
/// `scores` and `positive` go together; scores may be on any scale.
pub fn auc(scores: &[f64], positive: &[bool]) -> Option<f64> {
    let mut order: Vec<usize> = (0..scores.len().min(positive.len())).collect();
    order.sort_by(|a, b| scores[*a].total_cmp(&scores[*b]));
    let positives = order.iter().filter(|at| positive[**at]).count() as u64;
    let negatives = order.len() as u64 - positives;
    if positives == 0 || negatives == 0 {
        return None;
    }
    // Twice the number of pairs won, so that ties stay whole numbers.
    let (mut won, mut below) = (0u64, 0u64);
    for ties in order.chunk_by(|a, b| scores[*a] == scores[*b]) {
        let up = ties.iter().filter(|at| positive[**at]).count() as u64;
        let down = ties.len() as u64 - up;
        won += up * (2 * below + down);
        below += down;
    }
    Some(won as f64 / (2.0 * positives as f64 * negatives as f64))
}

/// Counts of decisions by truth.
///
/// For two classes the positive one is the last, and precision, recall, F1, sensitivity and specificity are its own; for
/// more they are the mean over classes, each against the rest. A figure whose denominator is 0 is None, and so is a mean
/// over one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confusion {
    /// `[truth][decision]`, classes in their order: `[[tn, fp], [fn, tp]]` for two.
    pub counts: Vec<Vec<u64>>,
}

/// The four counts of one class against the rest.
struct Fourfold {
    true_positive: u64,
    false_positive: u64,
    false_negative: u64,
    true_negative: u64,
}

impl Confusion {
    /// Counts pairs of (truth, decision), both below `classes`.
    pub fn of(classes: usize, pairs: impl IntoIterator<Item = (usize, usize)>) -> Self {
        let mut counts = vec![vec![0; classes]; classes];
        for (truth, decision) in pairs {
            counts[truth][decision] += 1;
        }
        Self { counts }
    }

    /// How many were counted.
    pub fn total(&self) -> u64 {
        self.counts.iter().flatten().sum()
    }

    /// Share of decisions that are right.
    pub fn accuracy(&self) -> Option<f64> {
        let right = (0..self.counts.len()).map(|class| self.counts[class][class]).sum();
        share(right, self.total())
    }

    /// Of those decided positive, the share that is.
    pub fn precision(&self) -> Option<f64> {
        self.mean(|class| share(class.true_positive, class.true_positive + class.false_positive))
    }

    /// Of the positives, the share found.
    pub fn recall(&self) -> Option<f64> {
        self.mean(|class| share(class.true_positive, class.true_positive + class.false_negative))
    }

    /// Harmonic mean of precision and recall.
    pub fn f1(&self) -> Option<f64> {
        self.mean(|class| share(2 * class.true_positive, 2 * class.true_positive + class.false_positive + class.false_negative))
    }

    /// The same as [`Confusion::recall`], by the name that medicine uses.
    pub fn sensitivity(&self) -> Option<f64> {
        self.recall()
    }

    /// Of the negatives, the share left alone.
    pub fn specificity(&self) -> Option<f64> {
        self.mean(|class| share(class.true_negative, class.true_negative + class.false_positive))
    }

    fn mean(&self, figure: impl Fn(&Fourfold) -> Option<f64>) -> Option<f64> {
        let classes = self.counts.len();
        let first = if classes == 2 { 1 } else { 0 };
        let figures: Option<Vec<f64>> = (first..classes).map(|class| figure(&self.against_rest(class))).collect();
        let figures = figures?;
        (!figures.is_empty()).then(|| figures.iter().sum::<f64>() / figures.len() as f64)
    }

    fn against_rest(&self, class: usize) -> Fourfold {
        let true_positive = self.counts[class][class];
        let false_negative = self.counts[class].iter().sum::<u64>() - true_positive;
        let false_positive = self.counts.iter().map(|row| row[class]).sum::<u64>() - true_positive;
        let true_negative = self.total() - true_positive - false_negative - false_positive;
        Fourfold { true_positive, false_positive, false_negative, true_negative }
    }
}

fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auc_counts_pairs_and_halves_ties() {
        // By hand: of 6 pairs 4 are won and 1 is tied.
        let scores = [0.1, 0.4, 0.35, 0.8, 0.35];
        let positive = [false, false, true, true, false];
        assert_eq!(auc(&scores, &positive), Some(4.5 / 6.0));
        let turned: Vec<f64> = scores.iter().map(|score| -score).collect();
        assert_eq!(auc(&turned, &positive), Some(1.5 / 6.0));
        assert_eq!(auc(&[0.5, 0.6], &[true, true]), None);
        assert_eq!(auc(&[], &[]), None);
    }

    #[test]
    fn figures_follow_from_the_counts() {
        // tn 5, fp 1, fn 2, tp 4.
        let pairs = [(0, 0); 5].into_iter().chain([(0, 1)]).chain([(1, 0); 2]).chain([(1, 1); 4]);
        let two = Confusion::of(2, pairs);
        assert_eq!(two.counts, [[5, 1], [2, 4]]);
        assert_eq!((two.accuracy(), two.precision(), two.recall()), (Some(0.75), Some(0.8), Some(4.0 / 6.0)));
        assert_eq!((two.f1(), two.sensitivity(), two.specificity()), (Some(8.0 / 11.0), Some(4.0 / 6.0), Some(5.0 / 6.0)));
        let silent = Confusion::of(2, [(0, 0), (1, 0)]);
        assert_eq!((silent.precision(), silent.recall(), silent.f1()), (None, Some(0.0), Some(0.0)));
        assert_eq!(Confusion::of(2, []).accuracy(), None);
    }

    #[test]
    fn more_than_two_classes_are_averaged() {
        let three = Confusion::of(3, [(0, 0), (0, 1), (1, 1), (2, 2)]);
        assert_eq!(three.recall(), Some((0.5 + 1.0 + 1.0) / 3.0));
        assert_eq!(three.precision(), Some((1.0 + 0.5 + 1.0) / 3.0));
    }
}
