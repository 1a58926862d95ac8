//! Two models over several splits of the same data: Nadeau and Bengio, Machine Learning 52:239 (2003).

/// Mean and sample standard deviation of values, the latter none for fewer than two; none of no values.
pub fn mean_and_sd(values: &[f64]) -> Option<(f64, Option<f64>)> {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (count > 0.0).then(|| (mean, (count > 1.0).then(|| (squares / (count - 1.0)).sqrt())))
}

/// The two-sided p of the corrected resampled t test of differences on J splits: their mean over the root of (1/J + n2/n1) s², by Student's t
/// with J - 1 degrees of freedom. The splits share most of their training rows, so that the differences are not independent and 1/J alone
/// would be far too little. `test_per_train` is n2/n1, test rows over training rows.
///
/// None for fewer than two splits, or where the differences are all the same and not 0; 1 where all are 0.
pub fn resampled(differences: &[f64], test_per_train: f64) -> Option<f64> {
    let (mean, Some(sd)) = mean_and_sd(differences)? else { return None };
    if sd < 1e-12 {
        return (mean.abs() < 1e-12).then_some(1.0);
    }
    let t = mean / (sd * (1.0 / differences.len() as f64 + test_per_train).sqrt());
    Some(two_sided(t, differences.len() - 1))
}

/// How often Student's t with so many degrees of freedom is at least as far from 0 (Abramowitz and Stegun, 1964, 26.7.3 and 26.7.4).
fn two_sided(t: f64, free: usize) -> f64 {
    let angle = (t.abs() / (free as f64).sqrt()).atan();
    let (sine, cosine) = angle.sin_cos();
    let (mut term, mut sum) = if free % 2 == 1 { (cosine, 0.0) } else { (1.0, 0.0) };
    for power in (free % 2 + 2..=free).step_by(2) {
        sum += term;
        term *= (power - 1) as f64 / power as f64 * cosine * cosine;
    }
    let inside = if free % 2 == 1 { std::f64::consts::FRAC_2_PI * (angle + sine * sum) } else { sine * sum };
    (1.0 - inside).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_correction_makes_three_splits_say_little() {
        let differences = [0.03, 0.05, 0.04];
        // t = 0.04 / (0.01 √(1/3)) = 6.928 without, and 0.04 / (0.01 √(1/3 + 1/4)) = 5.237 with it; two degrees of freedom.
        let (plain, corrected) = (resampled(&differences, 0.0).unwrap(), resampled(&differences, 0.25).unwrap());
        assert!((plain - 0.020_204_102_886_728_8).abs() < 1e-9, "{plain}");
        assert!((corrected - 0.034_578_415_949_045).abs() < 1e-9, "{corrected}");
    }

    #[test]
    fn what_does_not_vary_has_no_test() {
        assert_eq!((resampled(&[0.1], 0.2), resampled(&[], 0.2)), (None, None));
        assert_eq!((resampled(&[0.1, 0.1], 0.2), resampled(&[0.0, 0.0], 0.2)), (None, Some(1.0)));
        assert_eq!(mean_and_sd(&[2.0, 4.0]), Some((3.0, Some(2f64.sqrt()))));
        assert_eq!((mean_and_sd(&[2.0]), mean_and_sd(&[])), (Some((2.0, None)), None));
    }
}
