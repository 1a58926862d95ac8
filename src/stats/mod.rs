//! Figures from numbers. Knows nothing of images, networks or files.

mod classification;

pub use classification::{Confusion, auc};
