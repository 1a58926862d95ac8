//! Figures from numbers. Knows nothing of images, networks or files.

mod bootstrap;
mod classification;
mod overlap;
mod threshold;

pub use bootstrap::{interval, quantile};
pub use classification::{Confusion, auc};
pub use overlap::{Overlap, dice_smoothed_rows};
pub use threshold::{Threshold, of_sensitivity, youden};
