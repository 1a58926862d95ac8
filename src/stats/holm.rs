//! Several tests together: Holm, Scandinavian Journal of Statistics 6:65 (1979).

/// The p of each test such that, of all those whose p is below a level, any is false with at most that probability: the smallest times
/// their number, the next times one less, and so on, none below the one before it, and at most 1.
pub fn holm(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|a, b| p[*a].total_cmp(&p[*b]));
    let (mut found, mut least) = (vec![0.0; p.len()], 0.0f64);
    for (place, test) in order.into_iter().enumerate() {
        least = least.max((p.len() - place) as f64 * p[test]).min(1.0);
        found[test] = least;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_step_has_one_test_less() {
        let found = holm(&[0.03, 0.01, 0.02, 0.9]);
        assert!(found.iter().zip([0.06, 0.04, 0.06, 0.9]).all(|(found, wanted)| (found - wanted).abs() < 1e-12), "{found:?}");
        assert_eq!((holm(&[]), holm(&[0.7, 0.8])), (vec![], vec![1.0, 1.0]));
    }
}
