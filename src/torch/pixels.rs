//! Pixels as networks want them: Keras' preprocessing, three channels, and how they lie in memory.

use crate::graph::Graph;
use serde::{Deserialize, Serialize};
use tch::{Device, Tensor};

/// How Keras' `preprocess_input` scales RGB of 0 to 255 for a backbone's weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Scaling {
    /// `mode="tf"`: x / 127.5 − 1.
    MinusOneToOne,
    /// `mode="caffe"`: blue, green, red, each less its mean over ImageNet.
    Caffe,
    /// `mode="torch"`: x / 255, less the mean of ImageNet, by its deviation.
    Torch,
    /// The network scales for itself (EfficientNet).
    BuiltIn,
}

impl Scaling {
    /// Scales `[n, 1 or 3, h, w]` of 0 to 255. One channel (grey) becomes three equal ones, only after the arithmetic.
    pub(crate) fn apply(self, xs: &Tensor) -> Tensor {
        let scaled = match self {
            Self::MinusOneToOne => xs / 127.5 - 1.0,
            Self::Caffe if xs.size()[1] == 3 => xs.flip([1]) - channels(xs, [103.939, 116.779, 123.68]),
            Self::Caffe => xs - channels(xs, [103.939, 116.779, 123.68]),
            Self::Torch => (xs / 255.0 - channels(xs, [0.485, 0.456, 0.406])) / channels(xs, [0.229, 0.224, 0.225]),
            Self::BuiltIn => xs.shallow_clone(),
        };
        let size = scaled.size();
        scaled.expand([size[0], 3, size[2], size[3]], false)
    }
}

/// A number for each channel, where `xs` is and of its kind.
fn channels(xs: &Tensor, values: [f64; 3]) -> Tensor {
    Tensor::from_slice(&values).view([1, 3, 1, 1]).to_kind(xs.kind()).to_device(xs.device())
}

/// How the numbers of `[n, c, h, w]` lie in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// All channels of a pixel together: convolutions and what follows them are mostly quicker.
    ChannelsLast,
    /// All pixels of a channel together.
    ChannelsFirst,
}

impl Layout {
    /// The one in which a network learns faster.
    ///
    /// For the gradient of a kernel wider than a pixel, oneDNN 3.12 takes up to six times as long with channels last on a processor without
    /// AVX-512: where nearly all are so wide, that outweighs what the rest gains.
    pub(crate) fn to_learn(graph: &Graph, device: Device) -> Self {
        if device == Device::Cpu && !has_avx512() && graph.is_wide() { Self::ChannelsFirst } else { Self::ChannelsLast }
    }

    /// The same values, laid so.
    pub(crate) fn lay(self, xs: &Tensor) -> Tensor {
        match (self, &xs.size()[..]) {
            (Self::ChannelsLast, _) => channels_last(xs),
            // Of one channel both orders are the same bytes; libtorch tells them apart by the stride.
            (Self::ChannelsFirst, [n, 1, h, w]) => xs.contiguous().as_strided([*n, 1, *h, *w], [h * w, h * w, *w, 1], None),
            (Self::ChannelsFirst, _) => xs.contiguous(),
        }
    }
}

fn has_avx512() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("avx512f");
    #[cfg(not(target_arch = "x86_64"))]
    return false;
}

/// The same values with channels last in memory.
pub(crate) fn channels_last(xs: &Tensor) -> Tensor {
    match xs.size()[..] {
        // Of one channel both orders are the same bytes; libtorch tells them apart by the stride.
        [n, 1, h, w] => xs.contiguous().as_strided([n, 1, h, w], [h * w, 1, w, 1], None),
        _ => xs.permute([0, 2, 3, 1]).contiguous().permute([0, 3, 1, 2]),
    }
}
