//! DenseNet121, 169 and 201 (Huang et al., 2016, arXiv:1608.06993), as `keras.applications` builds them.

use super::{Backbone, pooled_top};
use crate::graph::{AUTO, Conv, Graph, Op, Padding, X};
use crate::pixels::Scaling;

pub(super) const DENSENET121: Backbone = Backbone {
    name: "densenet121",
    features: 1024,
    default_side: 224,
    scaling: Scaling::Torch,
    trunk: |g| densenet(g, [6, 12, 24, 16]),
    top: |g, x| pooled_top(g, x, Some("avg_pool")),
};

pub(super) const DENSENET169: Backbone =
    Backbone { name: "densenet169", features: 1664, trunk: |g| densenet(g, [6, 12, 32, 32]), ..DENSENET121 };

pub(super) const DENSENET201: Backbone =
    Backbone { name: "densenet201", features: 1920, trunk: |g| densenet(g, [6, 12, 48, 32]), ..DENSENET121 };

/// Channels that each layer adds.
const GROWTH: i64 = 32;

fn densenet(g: &mut Graph, blocks: [usize; 4]) -> X {
    let x = g.input();
    let x = g.same(AUTO, x, Op::Pad([3; 4]));
    let x = g.conv("conv1_conv", x, Conv::new(64, 7).stride(2));
    let x = normalised(g, "conv1", x);
    let x = g.same(AUTO, x, Op::Pad([1; 4]));
    let mut x = g.max_pool("pool1", x, 3, 2, Padding::Valid);
    g.block(x);
    for (stage, layers) in (2..).zip(blocks) {
        for number in 1..=layers {
            let name = format!("conv{stage}_block{number}");
            let inner = normalised(g, &format!("{name}_0"), x);
            let inner = g.conv(&format!("{name}_1_conv"), inner, Conv::new(4 * GROWTH, 1));
            let inner = normalised(g, &format!("{name}_1"), inner);
            let inner = g.conv(&format!("{name}_2_conv"), inner, Conv::new(GROWTH, 3).same());
            x = g.concat(&format!("{name}_concat"), &[x, inner]);
            g.block(x);
        }
        if stage < 5 {
            let name = format!("pool{stage}");
            x = normalised(g, &name, x);
            let half = g.channels(x) / 2;
            x = g.conv(&format!("{name}_conv"), x, Conv::new(half, 1));
            x = g.average_pool(&format!("{name}_pool"), x, 2, 2, Padding::Valid);
            g.block(x);
        }
    }
    let x = norm(g, "bn", x);
    let x = g.relu("relu", x);
    g.block(x);
    x
}

/// `NAME_bn`, then `NAME_relu`.
fn normalised(g: &mut Graph, name: &str, x: X) -> X {
    let x = norm(g, &format!("{name}_bn"), x);
    g.relu(&format!("{name}_relu"), x)
}

fn norm(g: &mut Graph, name: &str, x: X) -> X {
    g.batch_norm(name, x, 1.001e-5, 0.99)
}
