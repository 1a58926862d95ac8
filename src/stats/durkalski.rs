//! Right and wrong decisions of two models on the same rows, several of one patient: Durkalski, Palesch, Lipsitz and Rust, Statistics in
//! Medicine 22:2417 (2003).

use super::Clusters;
use super::Difference;

/// The two-sided p of (Σ d)² / Σ d², a χ² of one degree of freedom, where d = (b - c) / n for each cluster: of its n rows the first model
/// alone has b right, the second alone c. Every patient counts once, however many images there are. 1 where d is 0 for every cluster; none for
/// fewer than two clusters. `rows` has the cluster of each row and which of the models is right.
pub fn durkalski(clusters: &Clusters, rows: impl IntoIterator<Item = (u32, [bool; 2])>) -> Option<f64> {
    let mut counts = vec![(0.0, 0.0); clusters.count()];
    for (cluster, [first, second]) in rows {
        let (difference, rows) = &mut counts[cluster as usize];
        *difference += f64::from(first) - f64::from(second);
        *rows += 1.0;
    }
    let shares: Vec<f64> = counts.iter().filter(|(_, rows)| *rows > 0.0).map(|(difference, rows)| difference / rows).collect();
    let (sum, squares) = shares.iter().fold((0.0, 0.0), |(sum, squares), share| (sum + share, squares + share * share));
    (shares.len() > 1).then(|| Difference::of(sum, squares).p())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn p(rows: &[(u32, [bool; 2])]) -> Option<f64> {
        let count = rows.iter().map(|(cluster, _)| cluster + 1).max().unwrap_or(0);
        let names: Vec<String> = (0..count).map(|cluster| format!("p{cluster}")).collect();
        durkalski(&Clusters::of(&names), rows.iter().copied())
    }

    #[test]
    fn the_statistic_is_that_of_the_paper() {
        // Shares 1/2, 1, -1/3, 0: (7/6)² / (1/4 + 1 + 1/9) = 1, of which the p is 0.3173.
        let (only, other, both) = ([true, false], [false, true], [true, true]);
        let rows = [(0, only), (0, both), (1, only), (2, other), (2, both), (2, both), (3, both), (3, only), (3, other)];
        let found = p(&rows).unwrap();
        assert!((found - 0.317_310_507_862_914_1).abs() < 1e-9, "{found}");
    }

    #[test]
    fn nothing_to_hold_apart_is_no_difference() {
        assert_eq!(p(&[(0, [true, true]), (1, [false, false])]), Some(1.0));
        assert_eq!(p(&[(0, [true, false]), (0, [true, false])]), None);
        assert_eq!(p(&[]), None);
    }
}
