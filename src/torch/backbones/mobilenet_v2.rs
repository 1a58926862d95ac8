//! MobileNetV2, width 1.0 (Sandler et al., 2018, arXiv:1801.04381), as `keras.applications.MobileNetV2` builds it.

use super::{Backbone, pooled_top};
use crate::graph::{Activation, Conv, Graph, Op, X};
use crate::pixels::Scaling;

pub(super) const MOBILENET_V2: Backbone = Backbone {
    name: "mobilenetv2",
    features: 1280,
    default_side: 224,
    scaling: Scaling::MinusOneToOne,
    trunk: mobilenet_v2,
    top: |g, x| pooled_top(g, x, None),
};

/// Channels out, stride of the first block, blocks.
const STACKS: [(i64, i64, usize); 7] = [(16, 1, 1), (24, 2, 2), (32, 2, 3), (64, 2, 4), (96, 1, 3), (160, 2, 3), (320, 1, 1)];

/// How many times as many channels a block has inside.
const EXPANSION: i64 = 6;

fn mobilenet_v2(g: &mut Graph) -> X {
    let x = g.input();
    let x = g.conv("Conv1", x, Conv::new(32, 3).stride(2).same());
    let mut x = normalised(g, "bn_Conv1", "Conv1_relu", x);
    g.block(x);
    let blocks =
        STACKS.iter().flat_map(|(filters, stride, count)| (0..*count).map(move |number| (*filters, if number == 0 { *stride } else { 1 })));
    for (number, (filters, stride)) in blocks.enumerate() {
        x = block(g, x, number, filters, stride);
        g.block(x);
    }
    let x = g.conv("Conv_1", x, Conv::new(1280, 1));
    let x = normalised(g, "Conv_1_bn", "out_relu", x);
    g.block(x);
    x
}

/// Wider, depthwise, narrow again; beside its input where the shape stays.
fn block(g: &mut Graph, x: X, number: usize, filters: i64, stride: i64) -> X {
    let inward = g.channels(x);
    let prefix = if number == 0 { "expanded_conv".to_owned() } else { format!("block_{number}") };
    let mut inner = x;
    if number > 0 {
        inner = g.conv(&format!("{prefix}_expand"), inner, Conv::new(EXPANSION * inward, 1).same());
        inner = normalised(g, &format!("{prefix}_expand_BN"), &format!("{prefix}_expand_relu"), inner);
    }
    let mut depthwise = Conv::new(0, 3).stride(stride);
    if stride == 2 {
        inner = g.same(&format!("{prefix}_pad"), inner, Op::CorrectPad(3));
    } else {
        depthwise = depthwise.same();
    }
    inner = g.depthwise(&format!("{prefix}_depthwise"), inner, depthwise);
    inner = normalised(g, &format!("{prefix}_depthwise_BN"), &format!("{prefix}_depthwise_relu"), inner);
    inner = g.conv(&format!("{prefix}_project"), inner, Conv::new(filters, 1).same());
    inner = norm(g, &format!("{prefix}_project_BN"), inner);
    if inward == filters && stride == 1 {
        inner = g.add(&format!("{prefix}_add"), x, inner);
    }
    inner
}

fn normalised(g: &mut Graph, bn: &str, relu: &str, x: X) -> X {
    let x = norm(g, bn, x);
    g.same(relu, x, Op::Activation(Activation::Relu6))
}

fn norm(g: &mut Graph, name: &str, x: X) -> X {
    g.batch_norm(name, x, 1e-3, 0.999)
}
