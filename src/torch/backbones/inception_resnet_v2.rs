//! Inception-ResNet-v2 (Szegedy et al., 2016, arXiv:1602.07261), as `keras.applications.InceptionResNetV2` builds it.
//!
//! Keras numbers most of its convolutions, so they are made here in the order in which Keras makes them.

use super::{Backbone, pooled_top};
use crate::graph::{AUTO, Conv, Graph, Op, Padding, X};
use crate::pixels::Scaling;

pub(super) const INCEPTION_RESNET_V2: Backbone = Backbone {
    name: "inceptionresnetv2",
    features: 1536,
    default_side: 299,
    scaling: Scaling::MinusOneToOne,
    trunk: inception_resnet_v2,
    top: |g, x| pooled_top(g, x, Some("avg_pool")),
};

fn inception_resnet_v2(g: &mut Graph) -> X {
    let x = g.input();
    let x = branch(g, x, &[Conv::new(32, 3).stride(2), Conv::new(32, 3), square(64, 3)]);
    let x = g.max_pool(AUTO, x, 3, 2, Padding::Valid);
    let x = branch(g, x, &[Conv::new(80, 1), Conv::new(192, 3)]);
    let x = g.max_pool(AUTO, x, 3, 2, Padding::Valid);
    g.block(x);

    let one = branch(g, x, &[square(96, 1)]);
    let five = branch(g, x, &[square(48, 1), square(64, 5)]);
    let double = branch(g, x, &[square(64, 1), square(96, 3), square(96, 3)]);
    let pool = g.average_pool(AUTO, x, 3, 1, Padding::Same);
    let pool = branch(g, pool, &[square(64, 1)]);
    let mut x = mixed(g, "mixed_5b", &[one, five, double, pool]);
    for number in 1..=10 {
        let branches: [&[Conv]; 3] = [&[square(32, 1)], &[square(32, 1), square(32, 3)], &[square(32, 1), square(48, 3), square(64, 3)]];
        x = residual(g, x, &format!("block35_{number}"), &branches, 0.17, true);
    }

    let three = branch(g, x, &[halving(384)]);
    let double = branch(g, x, &[square(256, 1), square(256, 3), halving(384)]);
    let pool = g.max_pool(AUTO, x, 3, 2, Padding::Valid);
    x = mixed(g, "mixed_6a", &[three, double, pool]);
    for number in 1..=20 {
        let branches: [&[Conv]; 2] = [&[square(192, 1)], &[square(128, 1), row(160, 7), column(192, 7)]];
        x = residual(g, x, &format!("block17_{number}"), &branches, 0.1, true);
    }

    let three = branch(g, x, &[square(256, 1), halving(384)]);
    let other = branch(g, x, &[square(256, 1), halving(288)]);
    let double = branch(g, x, &[square(256, 1), square(288, 3), halving(320)]);
    let pool = g.max_pool(AUTO, x, 3, 2, Padding::Valid);
    x = mixed(g, "mixed_7a", &[three, other, double, pool]);
    for number in 1..=10 {
        let branches: [&[Conv]; 2] = [&[square(192, 1)], &[square(192, 1), row(224, 3), column(256, 3)]];
        let last = number == 10;
        x = residual(g, x, &format!("block8_{number}"), &branches, if last { 1.0 } else { 0.2 }, !last);
    }
    let x = g.conv("conv_7b", x, square(1536, 1));
    let x = norm(g, "conv_7b_bn", x);
    let x = g.relu("conv_7b_ac", x);
    g.block(x);
    x
}

fn square(filters: i64, side: i64) -> Conv {
    Conv::new(filters, side).same()
}

fn row(filters: i64, side: i64) -> Conv {
    Conv::of(filters, [1, side]).same()
}

fn column(filters: i64, side: i64) -> Conv {
    Conv::of(filters, [side, 1]).same()
}

fn halving(filters: i64) -> Conv {
    Conv::new(filters, 3).stride(2)
}

fn norm(g: &mut Graph, name: &str, x: X) -> X {
    g.same(name, x, Op::BatchNorm { epsilon: 1e-3, momentum: 0.99, scale: false })
}

/// Convolutions one after another, each with batch normalisation without gamma and a ReLU.
fn branch(g: &mut Graph, mut x: X, convolutions: &[Conv]) -> X {
    for conv in convolutions {
        x = g.conv(AUTO, x, *conv);
        x = norm(g, AUTO, x);
        x = g.relu(AUTO, x);
    }
    x
}

/// The input plus a share of what the branches give.
fn residual(g: &mut Graph, x: X, name: &str, branches: &[&[Conv]], share: f64, relu: bool) -> X {
    let parts: Vec<X> = branches.iter().map(|convolutions| branch(g, x, convolutions)).collect();
    let inner = g.concat(&format!("{name}_mixed"), &parts);
    let channels = g.channels(x);
    let inner = g.conv(&format!("{name}_conv"), inner, square(channels, 1).bias());
    let mut sum = g.layer(AUTO, Op::AddScaled(share), &[x, inner], channels);
    if relu {
        sum = g.relu(&format!("{name}_ac"), sum);
    }
    g.block(sum);
    sum
}

fn mixed(g: &mut Graph, name: &str, parts: &[X]) -> X {
    let x = g.concat(name, parts);
    g.block(x);
    x
}
