//! NASNet-A mobile (Zoph et al., 2017, arXiv:1707.07012), as `keras.applications.NASNetMobile` builds it.
//!
//! Each cell takes the outputs of the two before it. The older one is brought to the shape of the newer first.

use super::{Backbone, pooled_top};
use crate::graph::{AUTO, Conv, Graph, Op, Padding, Start, X};
use crate::pixels::Scaling;

pub(super) const NASNET_MOBILE: Backbone = Backbone {
    name: "nasnetmobile",
    features: 1056,
    default_side: 224,
    scaling: Scaling::MinusOneToOne,
    trunk: |g| nasnet(g, 32, 1056 / 24, 4),
    top: |g, x| pooled_top(g, x, None),
};

/// A cell's input, the cell's before, and how often each has been halved.
#[derive(Clone, Copy)]
struct Pair {
    new: (X, u32),
    old: Option<(X, u32)>,
}

fn nasnet(g: &mut Graph, stem: i64, filters: i64, cells: usize) -> X {
    let x = g.input();
    let x = g.conv("stem_conv1", x, Conv::new(stem, 3).stride(2).start(Start::He));
    let x = norm(g, "stem_bn1", x);
    g.block(x);
    let mut pair = Pair { new: (x, 1), old: None };
    pair = reduction(g, pair, filters / 4, "stem_1");
    pair = reduction(g, pair, filters / 2, "stem_2");
    for (stack, factor) in [1, 2, 4].into_iter().enumerate() {
        if stack > 0 {
            pair = reduction(g, pair, filters * factor, &format!("reduce_{}", stack * cells));
        }
        for cell in 0..cells {
            // Reductions take a number too.
            let number = stack * cells + cell + usize::from(stack > 0);
            pair = normal(g, pair, filters * factor, &number.to_string());
        }
    }
    let x = g.relu(AUTO, pair.new.0);
    g.block(x);
    x
}

fn normal(g: &mut Graph, pair: Pair, filters: i64, id: &str) -> Pair {
    let p = adjusted(g, pair, filters, id);
    let h = squeezed(g, pair.new.0, filters, "normal", id);
    let left = separable(g, h, filters, 5, 1, &format!("normal_left1_{id}"));
    let right = separable(g, p, filters, 3, 1, &format!("normal_right1_{id}"));
    let x1 = g.add(&format!("normal_add_1_{id}"), left, right);
    let left = separable(g, p, filters, 5, 1, &format!("normal_left2_{id}"));
    let right = separable(g, p, filters, 3, 1, &format!("normal_right2_{id}"));
    let x2 = g.add(&format!("normal_add_2_{id}"), left, right);
    let left = g.average_pool(&format!("normal_left3_{id}"), h, 3, 1, Padding::Same);
    let x3 = g.add(&format!("normal_add_3_{id}"), left, p);
    let left = g.average_pool(&format!("normal_left4_{id}"), p, 3, 1, Padding::Same);
    let right = g.average_pool(&format!("normal_right4_{id}"), p, 3, 1, Padding::Same);
    let x4 = g.add(&format!("normal_add_4_{id}"), left, right);
    let left = separable(g, h, filters, 3, 1, &format!("normal_left5_{id}"));
    let x5 = g.add(&format!("normal_add_5_{id}"), left, h);
    let x = g.concat(&format!("normal_concat_{id}"), &[p, x1, x2, x3, x4, x5]);
    g.block(x);
    Pair { new: (x, pair.new.1), old: Some(pair.new) }
}

fn reduction(g: &mut Graph, pair: Pair, filters: i64, id: &str) -> Pair {
    let p = adjusted(g, pair, filters, id);
    let h = squeezed(g, pair.new.0, filters, "reduction", id);
    let padded = g.same(&format!("reduction_pad_1_{id}"), h, Op::CorrectPad(3));
    let left = separable(g, h, filters, 5, 2, &format!("reduction_left1_{id}"));
    let right = separable(g, p, filters, 7, 2, &format!("reduction_right1_{id}"));
    let x1 = g.add(&format!("reduction_add_1_{id}"), left, right);
    let left = g.max_pool(&format!("reduction_left2_{id}"), padded, 3, 2, Padding::Valid);
    let right = separable(g, p, filters, 7, 2, &format!("reduction_right2_{id}"));
    let x2 = g.add(&format!("reduction_add_2_{id}"), left, right);
    let left = g.average_pool(&format!("reduction_left3_{id}"), padded, 3, 2, Padding::Valid);
    let right = separable(g, p, filters, 5, 2, &format!("reduction_right3_{id}"));
    let x3 = g.add(&format!("reduction_add3_{id}"), left, right);
    let left = g.average_pool(&format!("reduction_left4_{id}"), x1, 3, 1, Padding::Same);
    let x4 = g.add(AUTO, x2, left);
    let left = separable(g, x1, filters, 3, 1, &format!("reduction_left4_{id}"));
    let right = g.max_pool(&format!("reduction_right5_{id}"), padded, 3, 2, Padding::Valid);
    let x5 = g.add(&format!("reduction_add4_{id}"), left, right);
    let x = g.concat(&format!("reduction_concat_{id}"), &[x2, x3, x4, x5]);
    g.block(x);
    Pair { new: (x, pair.new.1 + 1), old: Some(pair.new) }
}

/// The older input in the shape of the newer, with `filters` channels. Two halves of it, one a pixel further on, where it
/// is twice as large.
fn adjusted(g: &mut Graph, pair: Pair, filters: i64, id: &str) -> X {
    let Some((p, halved)) = pair.old else { return pair.new.0 };
    if halved != pair.new.1 {
        let p = g.relu(&format!("adjust_relu_1_{id}"), p);
        let half = Conv::new(filters / 2, 1).same().start(Start::He);
        let first = g.average_pool(&format!("adjust_avg_pool_1_{id}"), p, 1, 2, Padding::Valid);
        let first = g.conv(&format!("adjust_conv_1_{id}"), first, half);
        let second = g.same(AUTO, p, Op::Pad([0, 1, 0, 1]));
        let second = g.same(AUTO, second, Op::Crop([1, 0, 1, 0]));
        let second = g.average_pool(&format!("adjust_avg_pool_2_{id}"), second, 1, 2, Padding::Valid);
        let second = g.conv(&format!("adjust_conv_2_{id}"), second, half);
        let p = g.concat(AUTO, &[first, second]);
        return norm(g, &format!("adjust_bn_{id}"), p);
    }
    if g.channels(p) == filters {
        return p;
    }
    let p = g.relu(AUTO, p);
    let p = g.conv(&format!("adjust_conv_projection_{id}"), p, Conv::new(filters, 1).same().start(Start::He));
    norm(g, &format!("adjust_bn_{id}"), p)
}

/// The newer input with `filters` channels.
fn squeezed(g: &mut Graph, x: X, filters: i64, cell: &str, id: &str) -> X {
    let x = g.relu(AUTO, x);
    let x = g.conv(&format!("{cell}_conv_1_{id}"), x, Conv::new(filters, 1).same().start(Start::He));
    norm(g, &format!("{cell}_bn_1_{id}"), x)
}

/// Twice ReLU, separable convolution, batch normalisation; the first may be strided.
fn separable(g: &mut Graph, x: X, filters: i64, side: i64, stride: i64, id: &str) -> X {
    let mut x = g.relu(AUTO, x);
    let mut first = Conv::new(filters, side).stride(stride);
    if stride == 2 {
        x = g.same(&format!("separable_conv_1_pad_{id}"), x, Op::CorrectPad(side));
    } else {
        first = first.same();
    }
    let x = g.separable(&format!("separable_conv_1_{id}"), x, first);
    let x = norm(g, &format!("separable_conv_1_bn_{id}"), x);
    let x = g.relu(AUTO, x);
    let x = g.separable(&format!("separable_conv_2_{id}"), x, Conv::new(filters, side).same());
    norm(g, &format!("separable_conv_2_bn_{id}"), x)
}

fn norm(g: &mut Graph, name: &str, x: X) -> X {
    g.batch_norm(name, x, 1e-3, 0.9997)
}
