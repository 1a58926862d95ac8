//! MobileNet, width 1.0 (Howard et al., 2017, arXiv:1704.04861), as `keras.applications.MobileNet` builds it.

use super::Backbone;
use crate::layers::{Chain, Conv, Layer, Padding, batch_norm, conv, depthwise, global_average, relu6};
use crate::pixels::Scaling;
use tch::nn::Path;

pub(super) const MOBILENET: Backbone = Backbone {
    name: "mobilenet",
    features: 1024,
    default_side: 224,
    scaling: Scaling::MinusOneToOne,
    build: |path, momentum| mobilenet(path, momentum, &BLOCKS),
    top_layers: &["conv_preds"],
    top: |path| {
        let predict =
            conv(&(path / "conv_preds"), Conv { channels: [1024, 1000], kernel: 1, stride: 1, padding: Padding::Same, bias: true });
        Box::new(move |xs, train| {
            let pooled = global_average(xs).unsqueeze(-1).unsqueeze(-1);
            predict(&pooled, train).flatten(1, -1)
        })
    },
};

/// Channels out and stride of each depthwise separable block.
const BLOCKS: [(i64, i64); 13] =
    [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), (512, 1), (512, 1), (512, 1), (512, 1), (512, 1), (1024, 2), (1024, 1)];

/// Epsilon of every batch normalisation: Keras' default.
const EPSILON: f64 = 1e-3;

/// A full convolution to 32 channels, then the blocks.
fn mobilenet(path: &Path, momentum: f64, blocks: &[(i64, i64)]) -> Chain {
    let first = conv(&(path / "conv1"), Conv { channels: [3, 32], kernel: 3, stride: 2, padding: Padding::Same, bias: false });
    let mut chain = vec![("conv1_relu".to_owned(), normalised(path, "conv1_bn", first, 32, momentum))];
    let mut channels = 32;
    for (number, (outward, stride)) in (1..).zip(blocks) {
        let padding = if *stride == 1 { Padding::Same } else { Padding::BottomRight };
        let spatial = depthwise(&(path / format!("conv_dw_{number}")), channels, 3, *stride, padding);
        let spatial = normalised(path, &format!("conv_dw_{number}_bn"), spatial, channels, momentum);
        let shape = Conv { channels: [channels, *outward], kernel: 1, stride: 1, padding: Padding::Same, bias: false };
        let pointwise = conv(&(path / format!("conv_pw_{number}")), shape);
        let pointwise = normalised(path, &format!("conv_pw_{number}_bn"), pointwise, *outward, momentum);
        chain.push((format!("conv_dw_{number}_relu"), spatial));
        chain.push((format!("conv_pw_{number}_relu"), pointwise));
        channels = *outward;
    }
    Chain(chain)
}

/// A convolution, batch normalisation, ReLU6.
fn normalised(path: &Path, name: &str, convolution: Layer, channels: i64, momentum: f64) -> Layer {
    let norm = batch_norm(&(path / name), channels, EPSILON, momentum);
    Box::new(move |xs, train| relu6(&norm(&convolution(xs, train), train)))
}
