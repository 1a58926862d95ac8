//! Two areas under ROC curves of the same rows, all rows being independent: DeLong, DeLong and Clarke-Pearson, Biometrics 44:837 (1988).

use super::Difference;

/// What each row adds to an AUC: of a positive the share of negatives below it (V10, their eq. 6), of a negative the share of positives above
/// it (V01, eq. 7), equal scores counting half.
pub(super) struct Components {
    pub(super) auc: f64,
    /// By row.
    pub(super) of: Vec<f64>,
}

impl Components {
    /// None where a side is absent. Sorts once, instead of comparing all pairs (Sun and Xu, IEEE Signal Processing Letters 21:1389, 2014).
    pub(super) fn of(scores: &[f64], positive: &[bool]) -> Option<Self> {
        let mut order: Vec<usize> = (0..scores.len()).collect();
        order.sort_by(|a, b| scores[*a].total_cmp(&scores[*b]));
        let positives = positive.iter().filter(|one| **one).count() as f64;
        let negatives = positive.len() as f64 - positives;
        if positives == 0.0 || negatives == 0.0 {
            return None;
        }
        let (mut of, mut sum) = (vec![0.0; scores.len()], 0.0);
        let (mut positives_below, mut negatives_below) = (0.0, 0.0);
        for ties in order.chunk_by(|a, b| scores[*a] == scores[*b]) {
            let up = ties.iter().filter(|row| positive[**row]).count() as f64;
            let down = ties.len() as f64 - up;
            for row in ties {
                of[*row] = match positive[*row] {
                    true => (negatives_below + down / 2.0) / negatives,
                    false => (positives - positives_below - up / 2.0) / positives,
                };
            }
            sum += up * (negatives_below + down / 2.0);
            (positives_below, negatives_below) = (positives_below + up, negatives_below + down);
        }
        Some(Self { auc: sum / (positives * negatives), of })
    }
}

/// AUC of the first scores less that of the second. Its variance is that of the components' differences over the positives plus that over the
/// negatives, each over their number (eq. 9 with the contrast 1, -1). None where a side has fewer than two rows.
pub fn delong(first: &[f64], second: &[f64], positive: &[bool]) -> Option<Difference> {
    let (a, b) = (Components::of(first, positive)?, Components::of(second, positive)?);
    let value = a.auc - b.auc;
    let mut variance = 0.0;
    for side in [true, false] {
        let own = positive.iter().zip(a.of.iter().zip(&b.of)).filter(|(positive, _)| **positive == side);
        let (mut count, mut squares) = (0.0, 0.0);
        for (_, (a, b)) in own {
            count += 1.0;
            squares += (a - b - value).powi(2);
        }
        if count < 2.0 {
            return None;
        }
        variance += squares / (count - 1.0) / count;
    }
    Some(Difference::of(value, variance))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::auc;

    #[test]
    fn components_count_pairs_and_halve_ties() {
        let (scores, positive) = ([0.1, 0.4, 0.35, 0.8, 0.35], [false, false, true, true, false]);
        let found = Components::of(&scores, &positive).unwrap();
        // By hand: 0.35 is above one of three, and ties with one; 0.8 above all; both are above 0.1, one above 0.4.
        assert_eq!(found.of, [1.0, 0.5, 0.5, 1.0, 0.75]);
        assert_eq!(Some(found.auc), auc(&scores, &positive));
    }

    #[test]
    fn what_has_no_variance_has_no_test() {
        let positive = [true, true, false, false];
        let (perfect, turned, constant) = ([0.9, 0.8, 0.2, 0.1], [0.1, 0.2, 0.8, 0.9], [0.5; 4]);
        assert_eq!(delong(&perfect, &perfect, &positive).unwrap().p(), Some(1.0));
        for (other, difference) in [(constant, 0.5), (turned, 1.0)] {
            let found = delong(&perfect, &other, &positive).unwrap();
            assert_eq!((found.value, found.p()), (difference, None));
        }
        assert_eq!(delong(&perfect, &constant, &[true, false, false, false]), None);
        assert_eq!(delong(&perfect, &constant, &[true; 4]), None);
    }
}
