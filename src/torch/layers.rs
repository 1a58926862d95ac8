//! Layers as Keras computes them, under the names that Keras gives their variables' owners.
//!
//! Owns every difference between the two libraries: where "same" padding puts the odd pixel, batch normalisation's
//! momentum, epsilon and biased variance, and how fresh kernels are drawn. Models contain none of it.
//!
//! Tensors are `[n, c, h, w]`; what they are laid out like in memory (channels last, see [`crate::pixels`]) carries through.

use tch::nn::{Init, Path};
use tch::{Tensor, no_grad};

/// What a model is made of: input and whether it trains → output.
pub(crate) type Layer = Box<dyn Fn(&Tensor, bool) -> Tensor>;

/// Layers one after another, each under the name of the Keras layer whose output it gives.
pub(crate) struct Chain(pub(crate) Vec<(String, Layer)>);

impl Chain {
    /// The output of the last layer.
    pub(crate) fn forward(&self, xs: &Tensor, train: bool) -> Tensor {
        self.0.iter().fold(xs.shallow_clone(), |xs, (_, layer)| layer(&xs, train))
    }
}

/// Where zeros are put around the input of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Padding {
    /// Keras `padding="same"`: the output has `ceil(size / stride)` pixels; an odd pixel goes to the bottom and right.
    Same,
    /// Keras `ZeroPadding2D(((0, 1), (0, 1)))` before `padding="valid"`: one row below, one column to the right.
    BottomRight,
}

/// The shape of a convolution.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Conv {
    /// Channels in and out.
    pub(crate) channels: [i64; 2],
    /// Side of the square kernel, in pixels.
    pub(crate) kernel: i64,
    pub(crate) stride: i64,
    pub(crate) padding: Padding,
    pub(crate) bias: bool,
}

/// Keras `Conv2D`: variables `weight` `[out, in, k, k]` and, where asked for, `bias` `[out]`.
pub(crate) fn conv(path: &Path, shape: Conv) -> Layer {
    let [inward, outward] = shape.channels;
    let area = shape.kernel * shape.kernel;
    let weight = path.var("weight", &[outward, inward, shape.kernel, shape.kernel], glorot(inward * area, outward * area));
    let bias = shape.bias.then(|| path.var("bias", &[outward], Init::Const(0.0)));
    Box::new(move |xs, _| convolve(xs, &weight, bias.as_ref(), shape, 1))
}

/// Keras `DepthwiseConv2D` without bias: variable `weight` `[c, 1, k, k]`.
pub(crate) fn depthwise(path: &Path, channels: i64, kernel: i64, stride: i64, padding: Padding) -> Layer {
    let shape = Conv { channels: [channels, channels], kernel, stride, padding, bias: false };
    // Keras counts the fans of the kernel [k, k, c, 1].
    let weight = path.var("weight", &[channels, 1, kernel, kernel], glorot(channels * kernel * kernel, kernel * kernel));
    Box::new(move |xs, _| convolve(xs, &weight, None, shape, channels))
}

fn convolve(xs: &Tensor, weight: &Tensor, bias: Option<&Tensor>, shape: Conv, groups: i64) -> Tensor {
    let size = xs.size();
    let [height, width] = [size[2], size[3]].map(|side| match shape.padding {
        Padding::Same => same(side, shape.kernel, shape.stride),
        Padding::BottomRight => [0, 1],
    });
    let stride = [shape.stride, shape.stride];
    if height[0] == height[1] && width[0] == width[1] {
        return xs.conv2d(weight, bias, stride, [height[0], width[0]], [1, 1], groups);
    }
    xs.constant_pad_nd([width[0], width[1], height[0], height[1]]).conv2d(weight, bias, stride, [0, 0], [1, 1], groups)
}

/// Zeros before and after a side under Keras' `padding="same"`.
fn same(side: i64, kernel: i64, stride: i64) -> [i64; 2] {
    let outward = (side + stride - 1) / stride;
    let total = ((outward - 1) * stride + kernel - side).max(0);
    [total / 2, total - total / 2]
}

/// Keras `BatchNormalization(epsilon, momentum)`: variables `weight`, `bias`, `running_mean`, `running_var`, all `[c]`.
///
/// `momentum` is the share of the old running figure that stays (0.99 in Keras; libtorch counts the other way round).
/// As in Keras 3 the running variance takes the biased variance of the batch; libtorch alone would take the unbiased one.
pub(crate) fn batch_norm(path: &Path, channels: i64, epsilon: f64, momentum: f64) -> Layer {
    let weight = path.var("weight", &[channels], Init::Const(1.0));
    let bias = path.var("bias", &[channels], Init::Const(0.0));
    let mean = path.zeros_no_train("running_mean", &[channels]);
    let variance = path.ones_no_train("running_var", &[channels]);
    Box::new(move |xs, train| {
        if !train {
            return xs.batch_norm(Some(&weight), Some(&bias), Some(&mean), Some(&variance), false, 0.0, epsilon, false);
        }
        let none: Option<&Tensor> = None;
        let (ys, batch_mean, inverse) = xs.native_batch_norm(Some(&weight), Some(&bias), none, none, true, 0.0, epsilon);
        no_grad(|| {
            let batch_variance = (inverse.square().reciprocal() - epsilon).clamp_min(0.0);
            let _ = mean.shallow_clone().lerp_(&batch_mean, 1.0 - momentum);
            let _ = variance.shallow_clone().lerp_(&batch_variance, 1.0 - momentum);
        });
        ys
    })
}

/// Keras `ReLU(max_value=6)`.
pub(crate) fn relu6(xs: &Tensor) -> Tensor {
    xs.clamp(0.0, 6.0)
}

/// Keras `GlobalAveragePooling2D`: `[n, c, h, w]` → `[n, c]`.
pub(crate) fn global_average(xs: &Tensor) -> Tensor {
    xs.mean_dim([2i64, 3].as_slice(), false, xs.kind())
}

/// Keras `Dense`: variables `weight` `[out, in]` and `bias` `[out]`.
pub(crate) fn dense(path: &Path, inward: i64, outward: i64) -> Layer {
    let weight = path.var("weight", &[outward, inward], glorot(inward, outward));
    let bias = path.var("bias", &[outward], Init::Const(0.0));
    Box::new(move |xs, _| xs.linear(&weight, Some(&bias)))
}

/// Keras `GlorotUniform`: uniform within ±√(6 / (fan in + fan out)).
fn glorot(inward: i64, outward: i64) -> Init {
    let limit = (6.0 / (inward + outward) as f64).sqrt();
    Init::Uniform { lo: -limit, up: limit }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_puts_the_odd_pixel_last() {
        assert_eq!(same(224, 3, 2), [0, 1]);
        assert_eq!(same(75, 3, 2), [1, 1]);
        assert_eq!(same(7, 3, 1), [1, 1]);
        assert_eq!(same(8, 1, 2), [0, 0]);
    }
}
