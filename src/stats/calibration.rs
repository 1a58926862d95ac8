//! Whether scores that claim to be probabilities are: by logistic recalibration (Cox, Biometrika 45:562, 1958).

/// One of the rows, `weight` times there.
#[derive(Clone, Copy)]
pub(super) struct Point {
    pub(super) weight: f64,
    /// Logarithm of the odds that the score claims; see [`log_odds`].
    pub(super) claimed: f64,
    pub(super) positive: bool,
}

/// Logarithm of the odds of a probability; of 0 and 1 those of 1e-12 from them, which are finite.
pub(super) fn log_odds(score: f64) -> f64 {
    let score = score.clamp(1e-12, 1.0 - 1e-12);
    (score / (1.0 - score)).ln()
}

/// What has to be added to the claimed log odds so that as many positives are expected as there are: 0 is right, above it there are more
/// than claimed ("calibration in the large"). None where one side is absent. `start` is where to begin, 0 if nothing better is known.
pub(super) fn intercept(points: &[Point], start: f64) -> Option<f64> {
    Spread::of(points).both().then(|| newton(points, [start, 1.0], false).map(|[intercept, _]| intercept))?
}

/// Intercept and slope by which the claimed log odds become the likeliest; a slope below 1 says that scores are too sure of themselves. None
/// where there is no likeliest one: one side is absent, or a cut of the scores tells the sides apart (all scores being equal included).
pub(super) fn line(points: &[Point], start: [f64; 2]) -> Option<[f64; 2]> {
    Spread::of(points).overlap().then(|| newton(points, start, true))?
}

/// Least and greatest claim of the negatives and of the positives.
struct Spread([(f64, f64); 2]);

impl Spread {
    fn of(points: &[Point]) -> Self {
        let mut sides = [(f64::INFINITY, f64::NEG_INFINITY); 2];
        for point in points.iter().filter(|point| point.weight > 0.0) {
            let side = &mut sides[usize::from(point.positive)];
            *side = (side.0.min(point.claimed), side.1.max(point.claimed));
        }
        Self(sides)
    }

    fn both(&self) -> bool {
        self.0.iter().all(|(low, high)| low <= high)
    }

    /// Exactly then a likeliest line exists (Albert and Anderson, Biometrika 71:1, 1984).
    fn overlap(&self) -> bool {
        let [no, yes] = self.0;
        self.both() && yes.0 < no.1 && no.0 < yes.1
    }
}

/// Greatest likelihood of intercept and, where it is `free`, slope. A step is shortened to ln(1 + m) / m, m being the greatest change of
/// a row's log odds, which never overshoots (Sun and Tran-Dinh, Mathematical Programming 178:145, 2019) and needs no likelihood.
fn newton(points: &[Point], start: [f64; 2], free: bool) -> Option<[f64; 2]> {
    let [mut intercept, mut slope] = start;
    let (low, high) = points.iter().fold((0.0f64, 0.0f64), |(low, high), one| (low.min(one.claimed), high.max(one.claimed)));
    for _ in 0..100 {
        let (mut gradient, mut curve) = ([0.0; 2], [0.0; 3]);
        for Point { weight, claimed, positive } in points.iter().filter(|point| point.weight > 0.0) {
            let share = 1.0 / (1.0 + (-(intercept + slope * claimed)).exp());
            let (pull, bend) = (weight * (f64::from(*positive) - share), weight * share * (1.0 - share));
            gradient = [gradient[0] + pull, gradient[1] + pull * claimed];
            curve = [curve[0] + bend, curve[1] + bend * claimed, curve[2] + bend * claimed * claimed];
        }
        let (up, turn) = if free {
            let area = curve[0] * curve[2] - curve[1] * curve[1];
            ((curve[2] * gradient[0] - curve[1] * gradient[1]) / area, (curve[0] * gradient[1] - curve[1] * gradient[0]) / area)
        } else {
            (gradient[0] / curve[0], 0.0)
        };
        let most = (up + turn * low).abs().max((up + turn * high).abs());
        if !most.is_finite() {
            return None;
        }
        let part = if most > 0.0 { most.ln_1p() / most } else { 1.0 };
        (intercept, slope) = (intercept + part * up, slope + part * turn);
        if most < 1e-8 {
            return Some([intercept, slope]);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(rows: &[(f64, bool)]) -> Vec<Point> {
        rows.iter().map(|(score, positive)| Point { weight: 1.0, claimed: log_odds(*score), positive: *positive }).collect()
    }

    #[test]
    fn scores_that_are_right_need_no_correction() {
        // Of ten that are said to be ill with 0.2, 0.5 and 0.8, so many are.
        let mut rows = Vec::new();
        for (score, ill) in [(0.2, 2), (0.5, 5), (0.8, 8)] {
            rows.extend((0..10).map(|at| (score, at < ill)));
        }
        let [intercept, slope] = line(&points(&rows), [3.0, -2.0]).unwrap();
        assert!(intercept.abs() < 1e-9 && (slope - 1.0).abs() < 1e-9, "{intercept} {slope}");
        assert!(super::intercept(&points(&rows), 9.0).unwrap().abs() < 1e-9);
        // Twice too sure, and one and a half too high.
        let sure: Vec<Point> = points(&rows).into_iter().map(|one| Point { claimed: 2.0 * one.claimed + 1.5, ..one }).collect();
        let [intercept, slope] = line(&sure, [0.0, 1.0]).unwrap();
        assert!((slope - 0.5).abs() < 1e-9 && (intercept + 0.75).abs() < 1e-9, "{intercept} {slope}");
    }

    #[test]
    fn sides_that_a_cut_tells_apart_have_no_line() {
        let apart = points(&[(0.1, false), (0.4, false), (0.4, true), (0.9, true)]);
        assert!(line(&apart, [0.0, 1.0]).is_none() && super::intercept(&apart, 0.0).is_some());
        let constant = points(&[(0.5, false), (0.5, true), (0.5, true)]);
        assert!(line(&constant, [0.0, 1.0]).is_none());
        assert!((super::intercept(&constant, 0.0).unwrap() - 2f64.ln()).abs() < 1e-9);
        let alone = points(&[(0.2, true), (0.8, true)]);
        assert!(line(&alone, [0.0, 1.0]).is_none() && super::intercept(&alone, 0.0).is_none() && super::intercept(&[], 0.0).is_none());
    }

    #[test]
    fn certain_scores_that_are_wrong_have_a_line_all_the_same() {
        let wrong = points(&[(1.0, false), (0.0, true), (1.0, true), (0.9, true), (0.0, false), (0.0, false)]);
        let [intercept, slope] = line(&wrong, [0.0, 1.0]).unwrap();
        assert!(intercept.is_finite() && slope > 0.0 && slope < 0.1, "{intercept} {slope}");
    }
}
