//! How well two masks of one image agree.

/// Counts of pixels of two masks of one size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overlap {
    /// Inside the one, inside the other, and inside both.
    pub one: u64,
    pub other: u64,
    pub both: u64,
}

impl Overlap {
    /// Counts. Both have the same length.
    pub fn of(one: &[bool], other: &[bool]) -> Self {
        let count = |mask: &[bool]| mask.iter().filter(|inside| **inside).count() as u64;
        let both = one.iter().zip(other).filter(|(one, other)| **one && **other).count() as u64;
        Self { one: count(one), other: count(other), both }
    }

    /// Twice what both have, by what each has (Dice, 1945), 0 to 1. Two empty masks agree: 1.
    pub fn dice(&self) -> f64 {
        match self.one + self.other {
            0 => 1.0,
            sum => 2.0 * self.both as f64 / sum as f64,
        }
    }

    /// What both have, by what any has (Jaccard, 1901), 0 to 1. Two empty masks agree: 1.
    pub fn iou(&self) -> f64 {
        match self.one + self.other - self.both {
            0 => 1.0,
            union => self.both as f64 / union as f64,
        }
    }
}

/// The mean over the rows of an image, `width` pixels each, of (2 · both + 1) / (one + other + 1): what the authors of the paper call Dice,
/// which sums over the last axis of an array and adds 1 above and below. Rows in which both are empty count as 1, however many they are.
/// With a `width` of 1 it is the figure of arrays with a last axis for the one channel: every pixel that agrees counts as 1, every other
/// as a half. 0 to 1; both masks have the same length, a multiple of `width`.
pub fn dice_smoothed_rows(one: &[bool], other: &[bool], width: usize) -> f64 {
    let rows = one.chunks_exact(width.max(1)).zip(other.chunks_exact(width.max(1)));
    let dice = rows.map(|(one, other)| {
        let Overlap { one, other, both } = Overlap::of(one, other);
        (2 * both + 1) as f64 / (one + other + 1) as f64
    });
    let (sum, count) = dice.fold((0.0, 0_u64), |(sum, count), dice| (sum + dice, count + 1));
    if count == 0 { 1.0 } else { sum / count as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: [bool; 6] = [true, true, false, false, false, false];
    const OTHER: [bool; 6] = [false, true, true, true, false, false];

    #[test]
    fn dice_and_iou_by_hand() {
        let overlap = Overlap::of(&ONE, &OTHER);
        assert_eq!(overlap, Overlap { one: 2, other: 3, both: 1 });
        assert_eq!((overlap.dice(), overlap.iou()), (0.4, 0.25));
        let empty = Overlap::of(&[false; 4], &[false; 4]);
        assert_eq!((empty.dice(), empty.iou()), (1.0, 1.0));
        let lost = Overlap::of(&[false; 2], &[true; 2]);
        assert_eq!((lost.dice(), lost.iou()), (0.0, 0.0));
    }

    #[test]
    fn the_smoothed_figure_counts_empty_rows_as_right() {
        // Rows of two: (2·1+1)/(2+1+1), (0+1)/(0+2+1), 1.
        assert_eq!(dice_smoothed_rows(&ONE, &OTHER, 2), (0.75 + 1.0 / 3.0 + 1.0) / 3.0);
        assert_eq!(dice_smoothed_rows(&ONE, &OTHER, 1), (3.0 + 3.0 * 0.5) / 6.0);
        assert_eq!(dice_smoothed_rows(&[true; 2], &[false; 2], 1), 0.5, "nothing is right, and half is counted");
    }
}
