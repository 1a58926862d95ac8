//! Two areas under ROC curves of the same rows, several of one patient: Obuchowski, Biometrics 53:567 (1997).

use super::Clusters;
use super::Difference;
use super::delong::Components;

/// AUC of the first scores less that of the second, over all pairs of rows. The components of a cluster's rows (see [`super::delong`]), less
/// the AUC, are summed before they are squared; with M positives and N negatives in I clusters, I10 of which have a positive and I01 a
/// negative row, the variance is S10 / M + S01 / N + 2 S11 / (M N), where S10 = I10 / ((I10 - 1) M) Σ x², S01 = I01 / ((I01 - 1) N) Σ y² and
/// S11 = I / (I - 1) Σ x y, x and y being a cluster's sums over its positives and its negatives. Clusters of one row give DeLong's.
///
/// None where fewer than two clusters have a positive row, or a negative one.
pub fn obuchowski(first: &[f64], second: &[f64], positive: &[bool], clusters: &Clusters) -> Option<Difference> {
    let (a, b) = (Components::of(first, positive)?, Components::of(second, positive)?);
    let value = a.auc - b.auc;
    let mut sums = vec![[0.0; 2]; clusters.count()];
    let mut rows = vec![[0.0; 2]; clusters.count()];
    for (row, cluster) in clusters.of_rows().iter().enumerate() {
        let side = usize::from(!positive[row]);
        sums[*cluster as usize][side] += a.of[row] - b.of[row] - value;
        rows[*cluster as usize][side] += 1.0;
    }
    let mut variance = 0.0;
    let all = rows.iter().fold([0.0; 2], |all, own| [all[0] + own[0], all[1] + own[1]]);
    for side in [0, 1] {
        let there = rows.iter().filter(|own| own[side] > 0.0).count() as f64;
        if there < 2.0 {
            return None;
        }
        let squares: f64 = sums.iter().map(|own| own[side] * own[side]).sum();
        variance += there / (there - 1.0) * squares / (all[side] * all[side]);
    }
    let count = clusters.count() as f64;
    let products: f64 = sums.iter().map(|own| own[0] * own[1]).sum();
    Some(Difference::of(value, variance + 2.0 * count / (count - 1.0) * products / (all[0] * all[1])))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::delong;

    const FIRST: [f64; 10] = [0.9, 0.7, 0.4, 0.8, 0.3, 0.5, 0.2, 0.1, 0.6, 0.4];
    const SECOND: [f64; 10] = [0.6, 0.7, 0.5, 0.4, 0.3, 0.6, 0.1, 0.3, 0.5, 0.5];
    const POSITIVE: [bool; 10] = [true, true, true, true, true, false, false, false, false, false];

    fn clusters(names: &[&str]) -> Clusters {
        Clusters::of(&names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn clusters_of_one_row_give_delong() {
        let (own, wanted) = (obuchowski(&FIRST, &SECOND, &POSITIVE, &clusters(&[""; 10])), delong(&FIRST, &SECOND, &POSITIVE));
        let (own, wanted) = (own.unwrap(), wanted.unwrap());
        assert!((own.value - wanted.value).abs() < 1e-15 && (own.se - wanted.se).abs() < 1e-15, "{own:?} {wanted:?}");
    }

    #[test]
    fn the_same_image_twice_tells_nothing_more() {
        let twice = |values: &[f64]| values.iter().flat_map(|value| [*value; 2]).collect::<Vec<f64>>();
        let names: Vec<String> = (0..20).map(|row| format!("p{}", row / 2)).collect();
        let positive: Vec<bool> = POSITIVE.iter().flat_map(|one| [*one; 2]).collect();
        let own = obuchowski(&twice(&FIRST), &twice(&SECOND), &positive, &Clusters::of(&names)).unwrap();
        let once = delong(&FIRST, &SECOND, &POSITIVE).unwrap();
        let naive = delong(&twice(&FIRST), &twice(&SECOND), &positive).unwrap();
        assert!((own.se - once.se).abs() < 1e-12 && naive.se < 0.75 * once.se, "{own:?} {once:?} {naive:?}");
    }

    #[test]
    fn one_patient_of_a_class_is_too_few() {
        let one = ["a", "a", "a", "a", "a", "b", "c", "d", "e", "f"];
        assert_eq!(obuchowski(&FIRST, &SECOND, &POSITIVE, &clusters(&one)), None);
        assert_eq!(obuchowski(&FIRST, &SECOND, &POSITIVE, &clusters(&["a"; 10])), None);
        assert_eq!(obuchowski(&FIRST, &SECOND, &[true; 10], &clusters(&[""; 10])), None);
    }
}
