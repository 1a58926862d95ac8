//! ResNet50, 101 and 152 (He et al., 2015, arXiv:1512.03385) and their second version (2016, arXiv:1603.05027), as
//! `keras.applications` builds them.
//!
//! Keras strides where neither paper does: in the first convolution of a block of the first version, and in the last block of
//! each stack of the second.

use super::{Backbone, pooled_top};
use crate::graph::{AUTO, Conv, Graph, Op, Padding, X};
use crate::pixels::Scaling;

pub(super) const RESNET50: Backbone = Backbone {
    name: "resnet50",
    features: 2048,
    default_side: 224,
    scaling: Scaling::Caffe,
    trunk: |g| resnet(g, [3, 4, 6, 3]),
    top: |g, x| pooled_top(g, x, Some("avg_pool")),
};

pub(super) const RESNET101: Backbone = Backbone { name: "resnet101", trunk: |g| resnet(g, [3, 4, 23, 3]), ..RESNET50 };

pub(super) const RESNET152: Backbone = Backbone { name: "resnet152", trunk: |g| resnet(g, [3, 8, 36, 3]), ..RESNET50 };

pub(super) const RESNET50_V2: Backbone =
    Backbone { name: "resnet50v2", scaling: Scaling::MinusOneToOne, trunk: |g| resnet_v2(g, [3, 4, 6, 3]), ..RESNET50 };

pub(super) const RESNET101_V2: Backbone = Backbone { name: "resnet101v2", trunk: |g| resnet_v2(g, [3, 4, 23, 3]), ..RESNET50_V2 };

pub(super) const RESNET152_V2: Backbone = Backbone { name: "resnet152v2", trunk: |g| resnet_v2(g, [3, 8, 36, 3]), ..RESNET50_V2 };

/// Filters of the stacks' inner convolutions.
const FILTERS: [i64; 4] = [64, 128, 256, 512];

fn resnet(g: &mut Graph, blocks: [usize; 4]) -> X {
    let x = first(g);
    let x = norm(g, "conv1_bn", x);
    let x = g.relu("conv1_relu", x);
    let mut x = pool(g, x);
    for (stack, (filters, count)) in (2..).zip(FILTERS.into_iter().zip(blocks)) {
        for number in 1..=count {
            let stride = if number == 1 && stack > 2 { 2 } else { 1 };
            x = block(g, x, &format!("conv{stack}_block{number}"), filters, stride, number == 1);
        }
    }
    x
}

fn resnet_v2(g: &mut Graph, blocks: [usize; 4]) -> X {
    let x = first(g);
    let mut x = pool(g, x);
    for (stack, (filters, count)) in (2..).zip(FILTERS.into_iter().zip(blocks)) {
        for number in 1..=count {
            let stride = if number == count && stack < 5 { 2 } else { 1 };
            x = block_v2(g, x, &format!("conv{stack}_block{number}"), filters, stride, number == 1);
        }
    }
    let x = norm(g, "post_bn", x);
    let x = g.relu("post_relu", x);
    g.block(x);
    x
}

fn first(g: &mut Graph) -> X {
    let x = g.input();
    let x = g.same("conv1_pad", x, Op::Pad([3; 4]));
    g.conv("conv1_conv", x, Conv::new(64, 7).stride(2).bias())
}

fn pool(g: &mut Graph, x: X) -> X {
    let x = g.same("pool1_pad", x, Op::Pad([1; 4]));
    let x = g.max_pool("pool1_pool", x, 3, 2, Padding::Valid);
    g.block(x);
    x
}

/// A bottleneck beside its input, or beside a convolution of 1×1 where the shape changes.
fn block(g: &mut Graph, x: X, name: &str, filters: i64, stride: i64, reshape: bool) -> X {
    let mut beside = x;
    if reshape {
        beside = g.conv(&format!("{name}_0_conv"), x, Conv::new(4 * filters, 1).stride(stride).bias());
        beside = norm(g, &format!("{name}_0_bn"), beside);
    }
    let inner = g.conv(&format!("{name}_1_conv"), x, Conv::new(filters, 1).stride(stride).bias());
    let inner = normalised(g, &format!("{name}_1"), inner);
    let inner = g.conv(&format!("{name}_2_conv"), inner, Conv::new(filters, 3).same().bias());
    let inner = normalised(g, &format!("{name}_2"), inner);
    let inner = g.conv(&format!("{name}_3_conv"), inner, Conv::new(4 * filters, 1).bias());
    let inner = norm(g, &format!("{name}_3_bn"), inner);
    let sum = g.add(&format!("{name}_add"), beside, inner);
    let sum = g.relu(&format!("{name}_out"), sum);
    g.block(sum);
    sum
}

/// The same with batch normalisation and ReLU before the convolutions.
fn block_v2(g: &mut Graph, x: X, name: &str, filters: i64, stride: i64, reshape: bool) -> X {
    let before = normalised(g, &format!("{name}_preact"), x);
    let beside = match (reshape, stride) {
        (true, _) => g.conv(&format!("{name}_0_conv"), before, Conv::new(4 * filters, 1).stride(stride).bias()),
        (false, 1) => x,
        (false, _) => g.max_pool(AUTO, x, 1, stride, Padding::Valid),
    };
    let inner = g.conv(&format!("{name}_1_conv"), before, Conv::new(filters, 1));
    let inner = normalised(g, &format!("{name}_1"), inner);
    let inner = g.same(&format!("{name}_2_pad"), inner, Op::Pad([1; 4]));
    let inner = g.conv(&format!("{name}_2_conv"), inner, Conv::new(filters, 3).stride(stride));
    let inner = normalised(g, &format!("{name}_2"), inner);
    let inner = g.conv(&format!("{name}_3_conv"), inner, Conv::new(4 * filters, 1).bias());
    let sum = g.add(&format!("{name}_out"), beside, inner);
    g.block(sum);
    sum
}

/// `NAME_bn`, then `NAME_relu`.
fn normalised(g: &mut Graph, name: &str, x: X) -> X {
    let x = norm(g, &format!("{name}_bn"), x);
    g.relu(&format!("{name}_relu"), x)
}

fn norm(g: &mut Graph, name: &str, x: X) -> X {
    g.batch_norm(name, x, 1.001e-5, 0.99)
}
