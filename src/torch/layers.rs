//! Layers as Keras computes them.
//!
//! Owns every difference between the two libraries: where "same" padding puts the odd pixel, batch normalisation's
//! momentum, epsilon and biased variance, and how fresh kernels are drawn. [`crate::network`] contains none of it.
//!
//! Tensors are `[n, c, h, w]`; what they are laid out like in memory (see [`crate::pixels::Layout`]) carries through.
//! Everything is computed in the kind of its input, for which weights are cast at each call; batch normalisation alone keeps
//! its own variables as they are.

use crate::graph::{Activation, Padding, Start};
use crate::noise::kept;
use tch::nn::{Init, Path};
use tch::{Device, Kind, Tensor, no_grad};

/// A function of the input, for layers that belong to no network.
pub(crate) type Layer = Box<dyn Fn(&Tensor) -> Tensor>;

/// Zeros above, below, left and right.
pub(crate) type Pads = [i64; 4];

impl Activation {
    pub(crate) fn apply(self, xs: Tensor) -> Tensor {
        match self {
            Self::Linear => xs,
            Self::Relu => xs.relu(),
            Self::Relu6 => xs.relu6(),
            Self::Swish => xs.silu(),
            Self::Sigmoid => xs.sigmoid(),
        }
    }

    /// The same, over the input's own memory where that leaves gradients right: nothing else may read it afterwards.
    pub(crate) fn apply_in_place(self, mut xs: Tensor) -> Tensor {
        match self {
            // Their gradients need the output only; those of the others the input.
            Self::Relu => xs.relu_(),
            Self::Relu6 => xs.relu6_(),
            Self::Swish if !xs.requires_grad() => xs.silu_(),
            other => other.apply(xs),
        }
    }
}

/// The pads that Keras puts around `[.., h, w]`.
pub(crate) fn pads(padding: Padding, xs: &Tensor, kernel: [i64; 2], stride: i64) -> Pads {
    let size = xs.size();
    match padding {
        Padding::Valid => [0; 4],
        Padding::Same => {
            let [top, bottom] = same(size[2], kernel[0], stride);
            let [left, right] = same(size[3], kernel[1], stride);
            [top, bottom, left, right]
        }
    }
}

/// The pads of `imagenet_utils.correct_pad`.
pub(crate) fn correct_pads(xs: &Tensor, kernel: i64) -> Pads {
    let size = xs.size();
    let half = kernel / 2;
    [half - (1 - size[2] % 2), half, half - (1 - size[3] % 2), half]
}

/// Zeros before and after a side under Keras' `padding="same"`.
fn same(side: i64, kernel: i64, stride: i64) -> [i64; 2] {
    let outward = (side + stride - 1) / stride;
    let total = ((outward - 1) * stride + kernel - side).max(0);
    [total / 2, total - total / 2]
}

/// Zeros around the input.
pub(crate) fn pad(xs: &Tensor, [top, bottom, left, right]: Pads) -> Tensor {
    xs.constant_pad_nd([left, right, top, bottom])
}

/// A convolution; `weight` is `[out, in / groups, h, w]`.
pub(crate) fn convolve(xs: &Tensor, weight: &Tensor, bias: Option<&Tensor>, stride: i64, pads: Pads, groups: i64) -> Tensor {
    let kind = xs.kind();
    if groups > 1 && xs.device() == Device::Cpu && matches!(kind, Kind::BFloat16 | Kind::Half) {
        // Gradients of these are slow in oneDNN in half precision: of wide kernels two to six times as slow as single precision, of strides
        // thirteen times.
        let kernel = weight.size();
        if kernel[2].max(kernel[3]) > 3 {
            return convolve(&xs.to_kind(Kind::Float), weight, bias, stride, pads, groups).to_kind(kind);
        }
        if stride > 1 {
            return convolve_and_pick(xs, weight, bias, stride, pads, groups);
        }
    }
    let (weight, bias) = (weight.to_kind(kind), bias.map(|bias| bias.to_kind(kind)));
    let [top, bottom, left, right] = pads;
    if top == bottom && left == right {
        return xs.conv2d(&weight, bias.as_ref(), [stride, stride], [top, left], [1, 1], groups);
    }
    pad(xs, pads).conv2d(&weight, bias.as_ref(), [stride, stride], [0, 0], [1, 1], groups)
}

/// The same by a convolution of stride 1, whose other pixels are left out. Channels are last in memory.
fn convolve_and_pick(xs: &Tensor, weight: &Tensor, bias: Option<&Tensor>, stride: i64, pads: Pads, groups: i64) -> Tensor {
    let [top, bottom, left, right] = pads;
    let (rows, columns) = (top.max(bottom), left.max(right));
    let all = convolve(xs, weight, bias, 1, [rows, rows, columns, columns], groups).permute([0, 2, 3, 1]);
    let pick = |xs: &Tensor, dim: i64, around: i64, before: i64, after: i64| {
        let windows = xs.size()[dim as usize] - 2 * around + before + after;
        let first = around - before;
        xs.slice(dim, first, first + (windows - 1) / stride * stride + 1, stride)
    };
    pick(&pick(&all, 1, rows, top, bottom), 2, columns, left, right).contiguous().permute([0, 3, 1, 2])
}

/// Keras `Conv2DTranspose` of kernel 2 and stride 2; `weight` is `[in, out, 2, 2]`.
pub(crate) fn double(xs: &Tensor, weight: &Tensor, bias: &Tensor) -> Tensor {
    let kind = xs.kind();
    xs.conv_transpose2d(&weight.to_kind(kind), Some(&bias.to_kind(kind)), [2, 2], [0, 0], [0, 0], 1, [1, 1])
}

/// The greatest of each window; what is padded counts as nothing.
pub(crate) fn max_pool(xs: &Tensor, side: i64, stride: i64, [top, bottom, left, right]: Pads) -> Tensor {
    if top == bottom && left == right {
        return xs.max_pool2d([side, side], [stride, stride], [top, left], [1, 1], false);
    }
    let padded = xs.pad([left, right, top, bottom], "constant", f64::NEG_INFINITY);
    padded.max_pool2d([side, side], [stride, stride], [0, 0], [1, 1], false)
}

/// The mean of each window over what is no padding. Only even pads: Keras' networks have no others here.
pub(crate) fn average_pool(xs: &Tensor, side: i64, stride: i64, [top, _, left, _]: Pads) -> Tensor {
    xs.avg_pool2d([side, side], [stride, stride], [top, left], false, false, None::<i64>)
}

/// Variables of batch normalisation, all `[c]`; `weight` is all ones where Keras has no gamma.
pub(crate) struct Norm {
    pub(crate) weight: Tensor,
    pub(crate) bias: Tensor,
    pub(crate) mean: Tensor,
    pub(crate) variance: Tensor,
    pub(crate) epsilon: f64,
    /// The share of the old running figure that stays (0.99 in Keras; libtorch counts the other way round).
    pub(crate) momentum: f64,
}

impl Norm {
    /// Keras `BatchNormalization`.
    ///
    /// As in Keras 3 the running variance takes the biased variance of the batch; libtorch alone would take the unbiased one.
    pub(crate) fn apply(&self, xs: &Tensor, train: bool) -> Tensor {
        let Self { weight, bias, mean, variance, epsilon, momentum } = self;
        if !train {
            return xs.batch_norm(Some(weight), Some(bias), Some(mean), Some(variance), false, 0.0, *epsilon, false);
        }
        let none: Option<&Tensor> = None;
        let (ys, batch_mean, inverse) = xs.native_batch_norm(Some(weight), Some(bias), none, none, true, 0.0, *epsilon);
        no_grad(|| {
            let kind = mean.kind();
            let batch_variance = (inverse.to_kind(kind).square().reciprocal() - *epsilon).clamp_min(0.0);
            let _ = mean.shallow_clone().lerp_(&batch_mean.to_kind(kind), 1.0 - momentum);
            let _ = variance.shallow_clone().lerp_(&batch_variance, 1.0 - momentum);
        });
        ys
    }
}

/// Drops numbers, or with `whole` whole images, and scales the rest up, as Keras does in training.
pub(crate) fn dropout(xs: &Tensor, rate: f64, whole: bool) -> Tensor {
    if whole {
        let keep = 1.0 - rate;
        let kept = Tensor::empty([xs.size()[0], 1, 1, 1], (xs.kind(), xs.device())).bernoulli_float_(keep);
        return xs * (kept / keep);
    }
    match xs.device() {
        Device::Cpu => xs * kept(xs, rate).to_kind(xs.kind()),
        _ => xs.dropout(rate, true),
    }
}

/// Keras `GlobalAveragePooling2D`: `[n, c, h, w]` → `[n, c]`.
pub(crate) fn global_average(xs: &Tensor) -> Tensor {
    xs.mean_dim([2i64, 3].as_slice(), false, xs.kind())
}

/// Keras `Dense` on `[n, in]`; `weight` is `[out, in]`.
pub(crate) fn linear(xs: &Tensor, weight: &Tensor, bias: &Tensor) -> Tensor {
    let kind = xs.kind();
    xs.linear(&weight.to_kind(kind), Some(&bias.to_kind(kind)))
}

/// Keras `Dense` with variables of its own: `weight` and `bias`.
pub(crate) fn dense(path: &Path, inward: i64, outward: i64) -> Layer {
    let weight = kernel(path, "weight", &[outward, inward], Start::Glorot);
    let bias = path.var("bias", &[outward], Init::Const(0.0));
    Box::new(move |xs| linear(xs, &weight, &bias))
}

/// A fresh kernel `[out, in]` or `[out, in, h, w]`, drawn as Keras draws it.
pub(crate) fn kernel(path: &Path, name: &str, shape: &[i64], start: Start) -> Tensor {
    let area: i64 = shape[2..].iter().product();
    drawn(path, name, shape, start, [shape[1] * area, shape[0] * area])
}

/// A fresh depthwise kernel `[c, 1, h, w]`. Keras counts the fans of `[h, w, c, 1]`, where c stands for the channels in.
pub(crate) fn depthwise_kernel(path: &Path, name: &str, shape: &[i64], start: Start) -> Tensor {
    let area: i64 = shape[2..].iter().product();
    drawn(path, name, shape, start, [shape[0] * area, area])
}

fn drawn(path: &Path, name: &str, shape: &[i64], start: Start, [inward, outward]: [i64; 2]) -> Tensor {
    let deviation = match start {
        Start::Glorot => {
            let limit = (6.0 / (inward + outward) as f64).sqrt();
            return path.var(name, shape, Init::Uniform { lo: -limit, up: limit });
        }
        Start::He => (2.0 / inward as f64).sqrt(),
        Start::FanOut => (2.0 / outward as f64).sqrt(),
    };
    // A normal distribution cut at two deviations has 0.8796 of its deviation; 0.9545 of the whole is within.
    let drawn = path.var(name, shape, Init::Uniform { lo: -WITHIN, up: WITHIN });
    no_grad(|| {
        let mut values = drawn.shallow_clone();
        let _ = values.erfinv_().g_mul_scalar_(deviation / LEFT * std::f64::consts::SQRT_2);
    });
    drawn
}

/// Share of a normal distribution within two deviations.
const WITHIN: f64 = 0.954_499_736_103_641_6;

/// Deviation of a standard normal distribution cut at two.
const LEFT: f64 = 0.879_625_661_034_239_8;

/// Keras `Normalization` after `Rescaling`, in single precision whatever the kind of the images.
pub(crate) fn normalise(xs: &Tensor, mean: &Tensor, variance: &Tensor) -> Tensor {
    let along = [1i64, -1, 1, 1];
    let deviation = variance.sqrt().clamp_min(1e-7);
    ((xs.to_kind(mean.kind()) - mean.view(along)) / deviation.view(along)).to_kind(xs.kind())
}

/// Keras `Rescaling`, in single precision whatever the kind of the images.
pub(crate) fn rescale(xs: &Tensor, scale: f64) -> Tensor {
    match xs.kind() {
        Kind::Double => xs * scale,
        kind => (xs.to_kind(Kind::Float) * scale).to_kind(kind),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::nn;

    #[test]
    fn same_puts_the_odd_pixel_last() {
        assert_eq!(same(224, 3, 2), [0, 1]);
        assert_eq!(same(75, 3, 2), [1, 1]);
        assert_eq!(same(7, 3, 1), [1, 1]);
        assert_eq!(same(8, 1, 2), [0, 0]);
    }

    #[test]
    fn a_pooled_corner_ignores_its_padding() {
        let xs = Tensor::from_slice(&[-3f32, -2.0, -4.0, -1.0]).view([1, 1, 2, 2]);
        let pooled = |pads| Vec::<f32>::try_from(&max_pool(&xs, 3, 2, pads).view(-1)).unwrap();
        assert_eq!(pooled(pads(Padding::Same, &xs, [3, 3], 2)), [-1.0]);
        let means = average_pool(&xs, 3, 1, [1; 4]);
        assert_eq!(Vec::<f32>::try_from(&means.view(-1)).unwrap(), [-2.5; 4]);
    }

    /// Output and both gradients of a depthwise convolution of 4 channels, in single precision.
    fn depthwise(xs: &Tensor, weight: &Tensor, stride: i64, pads: Pads) -> [Tensor; 3] {
        let (xs, weight) = (xs.detach().set_requires_grad(true), weight.detach().set_requires_grad(true));
        let found = convolve(&xs, &weight, None, stride, pads, 4);
        assert_eq!(found.kind(), xs.kind());
        found.to_kind(Kind::Float).square().sum(Kind::Float).backward();
        [found, xs.grad(), weight.grad()].map(|one| one.detach().to_kind(Kind::Float))
    }

    #[test]
    fn depthwise_convolutions_in_half_precision_are_those_in_single() {
        let _alone = crate::seeds::draw_alone();
        tch::manual_seed(5);
        for (side, kernel, stride, pads) in [
            (7, 3, 1, [1; 4]),
            (7, 3, 2, [1; 4]),
            (8, 3, 2, [0, 1, 0, 1]),
            (9, 3, 2, [0, 1, 1, 0]),
            (8, 3, 2, [0; 4]),
            (9, 3, 3, [0, 2, 1, 1]),
            (8, 5, 2, [1, 2, 1, 2]),
            (7, 5, 1, [2; 4]),
        ] {
            let whole = |shape: &[i64]| Tensor::rand(shape, (Kind::Float, Device::Cpu)).to_kind(Kind::BFloat16);
            let (xs, weight) = (whole(&[2, 4, side, side]), whole(&[4, 1, kernel, kernel]));
            let single = depthwise(&xs.to_kind(Kind::Float), &weight.to_kind(Kind::Float), stride, pads);
            for (found, single) in depthwise(&xs, &weight.to_kind(Kind::Float), stride, pads).iter().zip(&single) {
                assert_eq!(found.size(), single.size());
                let most = single.abs().max().double_value(&[]);
                let error = (found - single).abs().max().double_value(&[]);
                assert!(error < 0.02 * most, "{side} {kernel} {stride} {pads:?}: {error} of {most}");
            }
        }
    }

    #[test]
    fn a_truncated_normal_has_the_deviation_asked_for_and_an_end() {
        let _alone = crate::seeds::draw_alone();
        tch::manual_seed(1);
        let store = nn::VarStore::new(Device::Cpu);
        let drawn = kernel(&store.root(), "weight", &[64, 32, 3, 3], Start::He);
        let deviation = (2.0 / 288.0f64).sqrt();
        let found = drawn.std(true).double_value(&[]);
        assert!((found / deviation - 1.0).abs() < 0.02, "{found}, not {deviation}");
        assert!(drawn.abs().max().double_value(&[]) <= 2.0 * deviation / LEFT + 1e-6);
    }
}
