//! Pixels as networks want them: Keras' preprocessing, three channels, channels last in memory.

use serde::{Deserialize, Serialize};
use tch::Tensor;

/// How Keras' `preprocess_input` scales RGB of 0 to 255 for a backbone's weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Scaling {
    /// `mode="tf"`: x / 127.5 − 1.
    MinusOneToOne,
}

impl Scaling {
    /// Scales `[n, 1 or 3, h, w]` of 0 to 255. One channel (grey) becomes three equal ones, only after the arithmetic.
    pub(crate) fn apply(self, xs: &Tensor) -> Tensor {
        let scaled = match self {
            Self::MinusOneToOne => xs / 127.5 - 1.0,
        };
        let size = scaled.size();
        channels_last(&scaled.expand([size[0], 3, size[2], size[3]], false))
    }
}

/// The same values with channels last in memory: convolutions and everything after them then run faster on the CPU.
fn channels_last(xs: &Tensor) -> Tensor {
    xs.permute([0, 2, 3, 1]).contiguous().permute([0, 3, 1, 2])
}
