//! Where to cut a score into yes and no.

/// A score from which on the answer is yes, and what it does on the scores it was taken from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Threshold {
    /// At least this is positive; one of the scores.
    pub at: f64,
    pub sensitivity: f64,
    pub specificity: f64,
}

/// The threshold with the greatest sensitivity + specificity - 1 (Youden, Cancer 3:32, 1950); of equal ones the highest.
/// None where one side is absent or a score is not a number.
pub fn youden(scores: &[f64], positive: &[bool]) -> Option<Threshold> {
    let index = |one: &Threshold| one.sensitivity + one.specificity;
    // Sums of two fractions: what differs by less is equal.
    cuts(scores, positive)?.into_iter().reduce(|best, next| if index(&next) > index(&best) + 1e-12 { next } else { best })
}

/// The highest threshold whose sensitivity is at least `least` (0 to 1). None where one side is absent or a score is not a number.
pub fn of_sensitivity(scores: &[f64], positive: &[bool], least: f64) -> Option<Threshold> {
    cuts(scores, positive)?.into_iter().find(|one| one.sensitivity >= least - 1e-12)
}

/// Every cut between different scores, the highest first.
fn cuts(scores: &[f64], positive: &[bool]) -> Option<Vec<Threshold>> {
    let all = positive.iter().filter(|one| **one).count();
    if all == 0 || all == positive.len() || scores.iter().any(|score| score.is_nan()) {
        return None;
    }
    let mut order: Vec<(f64, bool)> = scores.iter().copied().zip(positive.iter().copied()).collect();
    order.sort_by(|a, b| b.0.total_cmp(&a.0));
    let (mut hits, mut alarms, mut found) = (0, 0, Vec::new());
    for (at, (score, truth)) in order.iter().enumerate() {
        if *truth {
            hits += 1;
        } else {
            alarms += 1;
        }
        if order.get(at + 1).is_none_or(|next| next.0 != *score) {
            let (sensitivity, specificity) = (hits as f64 / all as f64, 1.0 - alarms as f64 / (positive.len() - all) as f64);
            found.push(Threshold { at: *score, sensitivity, specificity });
        }
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCORES: [f64; 6] = [0.9, 0.8, 0.8, 0.4, 0.3, 0.1];
    const TRUTH: [bool; 6] = [true, true, false, true, false, false];

    #[test]
    fn the_best_cut_is_found_among_those_between_different_scores() {
        // At 0.9: 1/3 + 1; at 0.8: 2/3 + 2/3; at 0.4: 1 + 2/3.
        let best = youden(&SCORES, &TRUTH).unwrap();
        assert_eq!((best.at, best.sensitivity), (0.4, 1.0));
        assert!((best.specificity - 2.0 / 3.0).abs() < 1e-12);
        // Of equal ones the highest.
        assert_eq!(youden(&[0.9, 0.5, 0.4, 0.1], &[true, false, true, false]).unwrap().at, 0.9);
        assert_eq!(of_sensitivity(&SCORES, &TRUTH, 0.6).unwrap().at, 0.8);
        assert_eq!(of_sensitivity(&SCORES, &TRUTH, 0.7).unwrap().at, 0.4);
        assert_eq!(youden(&[0.5; 4], &[true, false, true, false]).unwrap().at, 0.5);
    }

    #[test]
    fn one_side_alone_or_no_number_has_none() {
        assert!(youden(&[0.1, 0.2], &[true, true]).is_none() && youden(&[], &[]).is_none());
        assert!(youden(&[f64::NAN, 0.2], &[true, false]).is_none());
    }
}
