//! Figures from numbers. Knows nothing of images, networks or files.

mod bootstrap;
mod calibration;
mod classification;
mod figures;
mod overlap;
mod threshold;
mod two;

pub use bootstrap::{interval, quantile};
pub use classification::{Confusion, auc};
pub use figures::{Clusters, Evaluation, Figure};
pub use overlap::{Overlap, dice_smoothed_rows};
pub use threshold::{Threshold, of_sensitivity, youden};
