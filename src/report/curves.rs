//! Points of the curves that a classifier's scores draw: ROC, precision and recall, reliability. Knows nothing of pictures.

/// More points than this are not drawn.
const POINTS: usize = 200;

/// Bins of the reliability curve, equally wide.
const BINS: usize = 10;

/// Counts of positives and negatives at or above each score, the highest first, equal scores together; starts with none.
fn steps(scores: &[f64], positive: &[bool]) -> Vec<(f64, f64)> {
    let mut order: Vec<usize> = (0..scores.len().min(positive.len())).collect();
    order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
    let (mut counts, mut steps) = ((0.0, 0.0), vec![(0.0, 0.0)]);
    for ties in order.chunk_by(|a, b| scores[*a] == scores[*b]) {
        let up = ties.iter().filter(|at| positive[**at]).count();
        counts = (counts.0 + up as f64, counts.1 + (ties.len() - up) as f64);
        steps.push(counts);
    }
    steps
}

/// False positive rate and sensitivity at every threshold. None where a class is absent.
pub fn roc(scores: &[f64], positive: &[bool]) -> Option<Vec<(f64, f64)>> {
    let steps = steps(scores, positive);
    let (positives, negatives) = *steps.last()?;
    (positives > 0.0 && negatives > 0.0).then(|| thinned(steps.iter().map(|(up, down)| (down / negatives, up / positives)).collect()))
}

/// Recall and precision at every threshold. None without positives.
pub fn precision_recall(scores: &[f64], positive: &[bool]) -> Option<Vec<(f64, f64)>> {
    let steps = steps(scores, positive);
    let (positives, _) = *steps.last()?;
    (positives > 0.0).then(|| thinned(steps[1..].iter().map(|(up, down)| (up / positives, up / (up + down))).collect()))
}

/// Mean score and share of positives, in bins of equal width that hold at least `least` rows.
pub fn reliability(scores: &[f64], positive: &[bool], least: u64) -> Vec<(f64, f64)> {
    let mut bins = [(0u64, 0.0, 0u64); BINS];
    for (score, positive) in scores.iter().zip(positive) {
        let bin = &mut bins[((score * BINS as f64) as usize).min(BINS - 1)];
        *bin = (bin.0 + 1, bin.1 + score, bin.2 + u64::from(*positive));
    }
    let full = bins.iter().filter(|(count, ..)| *count >= least.max(1));
    full.map(|(count, sum, positives)| (sum / *count as f64, *positives as f64 / *count as f64)).collect()
}

/// At most [`POINTS`] points, the first and the last among them; inner ones of a straight line go first.
fn thinned(points: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    let mut kept: Vec<(f64, f64)> = Vec::with_capacity(points.len());
    for point in points {
        if let [.., (x0, y0), (x1, y1)] = kept[..]
            && ((x0 == x1 && x1 == point.0) || (y0 == y1 && y1 == point.1))
        {
            kept.pop();
        }
        kept.push(point);
    }
    if kept.len() <= POINTS {
        return kept;
    }
    let last = kept.len() - 1;
    (0..POINTS).map(|at| kept[at * last / (POINTS - 1)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_go_through_every_threshold_with_ties_together() {
        let (scores, positive) = ([0.9, 0.8, 0.8, 0.1], [true, false, true, false]);
        assert_eq!(roc(&scores, &positive).unwrap(), [(0.0, 0.0), (0.0, 0.5), (0.5, 1.0), (1.0, 1.0)]);
        assert_eq!(precision_recall(&scores, &positive).unwrap(), [(0.5, 1.0), (1.0, 2.0 / 3.0), (1.0, 0.5)]);
        assert_eq!(reliability(&scores, &positive, 1), [(0.1, 0.0), (0.8, 0.5), (0.9, 1.0)]);
        assert_eq!(reliability(&scores, &positive, 2), [(0.8, 0.5)]);
    }

    #[test]
    fn a_set_of_one_class_has_no_curve() {
        assert_eq!((roc(&[0.1], &[true]), precision_recall(&[0.1], &[false]), roc(&[], &[])), (None, None, None));
        assert_eq!(precision_recall(&[0.1], &[true]), Some(vec![(1.0, 1.0)]));
    }

    #[test]
    fn long_curves_are_thinned_and_keep_their_ends() {
        let scores: Vec<f64> = (0..5000).map(|at| f64::from(at) / 5000.0).collect();
        let positive: Vec<bool> = (0..5000).map(|at| at % 7 < 3).collect();
        let curve = roc(&scores, &positive).unwrap();
        assert_eq!((curve.len(), curve[0], curve[POINTS - 1]), (POINTS, (0.0, 0.0), (1.0, 1.0)));
    }
}
