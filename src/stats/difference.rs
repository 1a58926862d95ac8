//! A difference with its standard error: the two-sided p and the 95 % interval of a normal approximation.

use libm::erfc;

/// Figures lie between 0 and 1: a standard error below this is what rounding left of none.
const NONE: f64 = 1e-12;

/// The 97.5th percentile of the normal distribution.
const TWO_SIDED: f64 = 1.959_963_984_540_054;

/// An estimated difference.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Difference {
    pub value: f64,
    /// Standard error.
    pub se: f64,
}

impl Difference {
    pub(super) fn of(value: f64, variance: f64) -> Self {
        Self { value, se: variance.max(0.0).sqrt() }
    }

    /// How often a difference as large as this one, or larger, of either sign, comes by chance where there is none. 1 where there is neither
    /// difference nor variance; none where there is a difference and no variance to hold it against.
    pub fn p(&self) -> Option<f64> {
        match self.se > NONE {
            true => Some(erfc((self.value / self.se).abs() / std::f64::consts::SQRT_2)),
            false => (self.value.abs() < NONE).then_some(1.0),
        }
    }

    /// Ends of the 95 % interval.
    pub fn interval(&self) -> (f64, f64) {
        (self.value - TWO_SIDED * self.se, self.value + TWO_SIDED * self.se)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p_and_interval_are_those_of_the_normal_distribution() {
        let one = Difference::of(-TWO_SIDED * 0.1, 0.01);
        let (low, high) = one.interval();
        assert!((one.p().unwrap() - 0.05).abs() < 1e-12 && high.abs() < 1e-12 && (low + 0.392).abs() < 1e-4, "{one:?} {low} {high}");
        assert_eq!((Difference::of(0.0, 0.0).p(), Difference::of(0.5, 1e-33).p()), (Some(1.0), None));
    }
}
