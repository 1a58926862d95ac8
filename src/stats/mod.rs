//! Figures from numbers. Knows nothing of images, networks or files.

mod bootstrap;
mod calibration;
mod classification;
mod delong;
mod difference;
mod durkalski;
mod figures;
mod holm;
mod mcnemar;
mod obuchowski;
mod overlap;
mod paired;
mod patient;
mod resampled;
mod sample;
mod threshold;
mod two;

pub use bootstrap::{interval, quantile};
pub use classification::{Confusion, auc};
pub use delong::delong;
pub use difference::Difference;
pub use durkalski::durkalski;
pub use figures::{ByRule, Clusters, Evaluation, Figure};
pub use holm::holm;
pub use mcnemar::mcnemar;
pub use obuchowski::obuchowski;
pub use overlap::{Overlap, dice_smoothed_rows};
pub use paired::{Answers, Comparison, Counts, Estimate, Measured, Paired};
pub use patient::{PerPatient, same_of_all};
pub use resampled::{mean_and_sd, resampled};
pub use sample::Sample;
pub use threshold::{Threshold, of_sensitivity, youden};
