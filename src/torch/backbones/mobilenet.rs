//! MobileNet, width 1.0 (Howard et al., 2017, arXiv:1704.04861), as `keras.applications.MobileNet` builds it.

use super::Backbone;
use crate::graph::{Activation, Conv, Graph, Op, X};
use crate::pixels::Scaling;

pub(super) const MOBILENET: Backbone =
    Backbone { name: "mobilenet", features: 1024, default_side: 224, scaling: Scaling::MinusOneToOne, trunk: mobilenet, top };

/// Channels out and stride of each depthwise separable block.
const BLOCKS: [(i64, i64); 13] =
    [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), (512, 1), (512, 1), (512, 1), (512, 1), (512, 1), (1024, 2), (1024, 1)];

/// A full convolution to 32 channels, then the blocks.
fn mobilenet(g: &mut Graph) -> X {
    let x = g.input();
    let x = g.conv("conv1", x, Conv::new(32, 3).stride(2).same());
    let mut x = normalised(g, "conv1_bn", "conv1_relu", x);
    g.block(x);
    for (number, (outward, stride)) in (1..).zip(BLOCKS) {
        // Strided ones are padded below and to the right, whatever the side.
        let conv = if stride == 1 { Conv::new(0, 3).same() } else { Conv::new(0, 3).stride(2) };
        if stride == 2 {
            x = g.same(&format!("conv_pad_{number}"), x, Op::Pad([0, 1, 0, 1]));
        }
        x = g.depthwise(&format!("conv_dw_{number}"), x, conv);
        x = normalised(g, &format!("conv_dw_{number}_bn"), &format!("conv_dw_{number}_relu"), x);
        x = g.conv(&format!("conv_pw_{number}"), x, Conv::new(outward, 1).same());
        x = normalised(g, &format!("conv_pw_{number}_bn"), &format!("conv_pw_{number}_relu"), x);
        g.block(x);
    }
    x
}

/// Batch normalisation, ReLU6.
fn normalised(g: &mut Graph, bn: &str, relu: &str, x: X) -> X {
    let x = g.batch_norm(bn, x, 1e-3, 0.99);
    g.same(relu, x, Op::Activation(Activation::Relu6))
}

fn top(g: &mut Graph, x: X) -> X {
    let x = g.same("", x, Op::GlobalAverage { keep: true });
    let x = g.same("dropout", x, Op::Dropout { rate: 1e-3, whole: false });
    let x = g.conv("conv_preds", x, Conv::new(1000, 1).same().bias());
    g.layer("reshape_2", Op::Flatten, &[x], 1000)
}
