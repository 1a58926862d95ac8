//! InceptionV3 (Szegedy et al., 2015, arXiv:1512.00567), as `keras.applications.InceptionV3` builds it.
//!
//! Keras numbers its convolutions, so they are made here in the order in which Keras makes them.

use super::{Backbone, pooled_top};
use crate::graph::{AUTO, Conv, Graph, Op, Padding, X};
use crate::pixels::Scaling;

pub(super) const INCEPTION_V3: Backbone = Backbone {
    name: "inceptionv3",
    features: 2048,
    default_side: 299,
    scaling: Scaling::MinusOneToOne,
    trunk: inception_v3,
    top: |g, x| pooled_top(g, x, Some("avg_pool")),
};

fn inception_v3(g: &mut Graph) -> X {
    let mut x = stem(g);
    for (number, pooled) in [32, 64, 64].into_iter().enumerate() {
        let one = branch(g, x, &[square(64, 1)]);
        let five = branch(g, x, &[square(48, 1), square(64, 5)]);
        let double = branch(g, x, &[square(64, 1), square(96, 3), square(96, 3)]);
        let pool = pooled_branch(g, x, pooled);
        x = mixed(g, number, &[one, five, double, pool]);
    }
    let three = branch(g, x, &[halving(384)]);
    let double = branch(g, x, &[square(64, 1), square(96, 3), halving(96)]);
    let pool = g.max_pool(AUTO, x, 3, 2, Padding::Valid);
    x = mixed(g, 3, &[three, double, pool]);
    for (number, inner) in [(4, 128), (5, 160), (6, 160), (7, 192)] {
        let one = branch(g, x, &[square(192, 1)]);
        let seven = branch(g, x, &[square(inner, 1), row(inner, 7), column(192, 7)]);
        let double = branch(g, x, &[square(inner, 1), column(inner, 7), row(inner, 7), column(inner, 7), row(192, 7)]);
        let pool = pooled_branch(g, x, 192);
        x = mixed(g, number, &[one, seven, double, pool]);
    }
    let three = branch(g, x, &[square(192, 1), halving(320)]);
    let seven = branch(g, x, &[square(192, 1), row(192, 7), column(192, 7), halving(192)]);
    let pool = g.max_pool(AUTO, x, 3, 2, Padding::Valid);
    x = mixed(g, 8, &[three, seven, pool]);
    for number in 0..2 {
        let one = branch(g, x, &[square(320, 1)]);
        let three = branch(g, x, &[square(384, 1)]);
        let three = fork(g, three, &format!("mixed9_{number}"));
        let double = branch(g, x, &[square(448, 1), square(384, 3)]);
        let double = fork(g, double, AUTO);
        let pool = pooled_branch(g, x, 192);
        x = mixed(g, 9 + number, &[one, three, double, pool]);
    }
    x
}

/// From 299 pixels a side to 35.
fn stem(g: &mut Graph) -> X {
    let x = g.input();
    let x = branch(g, x, &[Conv::new(32, 3).stride(2), Conv::new(32, 3), square(64, 3)]);
    let x = g.max_pool(AUTO, x, 3, 2, Padding::Valid);
    let x = branch(g, x, &[Conv::new(80, 1), Conv::new(192, 3)]);
    let x = g.max_pool(AUTO, x, 3, 2, Padding::Valid);
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

/// Convolutions one after another, each with batch normalisation without gamma and a ReLU.
fn branch(g: &mut Graph, mut x: X, convolutions: &[Conv]) -> X {
    for conv in convolutions {
        x = g.conv(AUTO, x, *conv);
        x = g.same(AUTO, x, Op::BatchNorm { epsilon: 1e-3, momentum: 0.99, scale: false });
        x = g.relu(AUTO, x);
    }
    x
}

/// The mean of the surroundings, then a convolution of 1×1.
fn pooled_branch(g: &mut Graph, x: X, filters: i64) -> X {
    let x = g.average_pool(AUTO, x, 3, 1, Padding::Same);
    branch(g, x, &[square(filters, 1)])
}

/// A row and a column of three, side by side.
fn fork(g: &mut Graph, x: X, name: &str) -> X {
    let parts = [branch(g, x, &[row(384, 3)]), branch(g, x, &[column(384, 3)])];
    g.concat(name, &parts)
}

fn mixed(g: &mut Graph, number: usize, parts: &[X]) -> X {
    let x = g.concat(&format!("mixed{number}"), parts);
    g.block(x);
    x
}
