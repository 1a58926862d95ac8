//! Intervals by drawing whole clusters again, such as patients with all their images: images of one patient are not independent, and an
//! interval that takes them for so is too narrow.

use rayon::prelude::*;

/// Ends of the 95 % percentile interval of a figure: `draws` times as many clusters as there are are drawn with replacement, and the figure
/// is taken of each draw (Efron's percentile method; Field and Welsh, 2007, for clusters). Follows from its arguments alone, whatever the
/// number of threads.
///
/// None for fewer than two clusters, or where more than half of the draws have no figure (the AUC of one class, say); other draws
/// without one are left out.
pub fn interval<T: Sync>(clusters: &[T], draws: u32, seed: u64, figure: impl Fn(&[&T]) -> Option<f64> + Sync) -> Option<(f64, f64)> {
    if clusters.len() < 2 || draws == 0 {
        return None;
    }
    let draw = |number: u32| {
        let mut random = Random::of(seed, number);
        let drawn: Vec<&T> = (0..clusters.len()).map(|_| &clusters[random.below(clusters.len())]).collect();
        figure(&drawn).filter(|value| value.is_finite())
    };
    ends((0..draws).into_par_iter().filter_map(draw).collect(), draws)
}

/// The same for several figures at once, by how often each of `clusters` is in a draw. `figures` pushes as many values each time, NaN where
/// there is none; they come back in that order.
pub(super) fn intervals(
    clusters: usize,
    draws: u32,
    seed: u64,
    figures: impl Fn(&[u32], &mut Vec<f64>) + Sync,
) -> impl Fn(usize) -> Option<(f64, f64)> {
    let draw = |counts: &mut Vec<u32>, number: u32| {
        let mut random = Random::of(seed, number);
        counts.fill(0);
        (0..clusters).for_each(|_| counts[random.below(clusters)] += 1);
        let mut values = Vec::new();
        figures(counts, &mut values);
        values
    };
    let draws = if clusters < 2 { 0 } else { draws };
    let drawn: Vec<Vec<f64>> = (0..draws).into_par_iter().map_init(|| vec![0; clusters], draw).collect();
    move |at| ends(drawn.iter().map(|values| values[at]).filter(|value| value.is_finite()).collect(), draws)
}

/// Ends of the interval, where at least half of the draws have a value.
fn ends(mut values: Vec<f64>, draws: u32) -> Option<(f64, f64)> {
    if draws == 0 || values.len() * 2 < draws as usize {
        return None;
    }
    values.sort_by(f64::total_cmp);
    Some((quantile(&values, 0.025), quantile(&values, 0.975)))
}

/// The value below which a share (0 to 1) of the sorted values lies, linear between neighbours (Hyndman and Fan's type 7, as numpy and R do
/// it). NaN for no values.
pub fn quantile(sorted: &[f64], share: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let place = share.clamp(0.0, 1.0) * last as f64;
    let below = place.floor() as usize;
    let above = (below + 1).min(last);
    sorted[below] + (place - below as f64) * (sorted[above] - sorted[below])
}

/// Random numbers that follow from a seed and the number of a draw: SplitMix64 (Steele, Lea and Flood, 2014).
pub(super) struct Random(u64);

impl Random {
    pub(super) fn of(seed: u64, draw: u32) -> Self {
        let mut seeded = Self(seed);
        let start = seeded.next();
        Self(start ^ u64::from(draw).wrapping_mul(0xd1b5_4a32_d192_ed03))
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// 0 to `count` - 1; uneven by less than `count` / 2^64.
    pub(super) fn below(&mut self, count: usize) -> usize {
        ((u128::from(self.next()) * count as u128) >> 64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mean(drawn: &[&Vec<f64>]) -> Option<f64> {
        let values: Vec<f64> = drawn.iter().flat_map(|cluster| cluster.iter().copied()).collect();
        (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
    }

    #[test]
    fn the_interval_of_a_mean_is_about_two_standard_errors_each_way() {
        let values: Vec<Vec<f64>> = (0..400).map(|at| vec![f64::from(at % 20)]).collect();
        let (low, high) = interval(&values, 2000, 1, mean).unwrap();
        // Standard deviation of 0 … 19 is 5.766; of the mean of 400 it is 0.288.
        assert!((low - (9.5 - 1.96 * 0.2883)).abs() < 0.06 && (high - (9.5 + 1.96 * 0.2883)).abs() < 0.06, "{low} {high}");
    }

    #[test]
    fn images_of_one_patient_count_together() {
        let patients: Vec<Vec<f64>> = (0..40).map(|at| vec![f64::from(at % 2); 10]).collect();
        let images: Vec<Vec<f64>> = patients.iter().flatten().map(|value| vec![*value]).collect();
        let width = |clusters: &[Vec<f64>]| interval(clusters, 1000, 1, mean).map(|(low, high)| high - low).unwrap();
        let ratio = width(&patients) / width(&images);
        assert!((2.8..3.6).contains(&ratio), "√10 times as wide, not {ratio}");
    }

    #[test]
    fn a_draw_follows_from_the_seed_alone() {
        let values: Vec<Vec<f64>> = (0..30).map(|at| vec![f64::from(at * at)]).collect();
        let one = interval(&values, 500, 7, mean);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        assert_eq!(one, pool.install(|| interval(&values, 500, 7, mean)));
        assert_ne!(one, interval(&values, 500, 8, mean));
    }

    #[test]
    fn figures_taken_together_are_those_taken_alone() {
        let clusters: Vec<Vec<f64>> = (0..30).map(|at| vec![f64::from(at * at); 1 + at as usize % 3]).collect();
        let together = intervals(clusters.len(), 500, 7, |counts, into| {
            let (mut sum, mut rows) = (0.0, 0.0);
            for (cluster, count) in clusters.iter().zip(counts) {
                sum += f64::from(*count) * cluster.iter().sum::<f64>();
                rows += f64::from(*count) * cluster.len() as f64;
            }
            into.extend([f64::NAN, sum / rows]);
        });
        let (alone, (low, high)) = (interval(&clusters, 500, 7, mean).unwrap(), together(1).unwrap());
        assert!((alone.0 - low).abs() < 1e-9 && (alone.1 - high).abs() < 1e-9, "{alone:?} {low} {high}");
        assert_eq!((together(0), intervals(1, 500, 7, |_, into| into.push(1.0))(0)), (None, None));
    }

    #[test]
    fn without_a_figure_there_is_no_interval() {
        let values = vec![vec![1.0], vec![2.0]];
        assert_eq!(interval(&values[..1], 100, 1, mean), None);
        assert_eq!(interval(&values, 100, 1, |_| None), None);
        // A quarter of the draws holds the first alone, three quarters hold it.
        let alone = |drawn: &[&Vec<f64>]| drawn.iter().all(|one| one[0] == 1.0).then_some(1.0);
        let among = |drawn: &[&Vec<f64>]| drawn.iter().any(|one| one[0] == 1.0).then_some(1.0);
        assert_eq!((interval(&values, 400, 3, alone), interval(&values, 400, 3, among)), (None, Some((1.0, 1.0))));
    }

    #[test]
    fn quantiles_are_those_of_numpy() {
        let values = [1.0, 2.0, 4.0, 8.0];
        for (share, wanted) in [(0.0, 1.0), (0.025, 1.075), (0.5, 3.0), (0.975, 7.7), (1.0, 8.0)] {
            assert!((quantile(&values, share) - wanted).abs() < 1e-12, "{share}");
        }
        assert!(quantile(&[], 0.5).is_nan());
    }
}
