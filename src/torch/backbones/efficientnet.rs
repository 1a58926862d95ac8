//! EfficientNetB0 to B7 (Tan and Le, 2019, arXiv:1905.11946), as `keras.applications` builds them.
//!
//! The scaling of pixels is part of the network: by 255, then by the mean and variance among its weights. With the published
//! weights Keras divides once more by the root of each channel's deviation, in a layer that has no weights; that is folded
//! into the variance when such weights are loaded (see [`crate::keras_load`]).

use super::Backbone;
use crate::graph::{AUTO, Activation, Conv, Graph, Op, Start, X};
use crate::pixels::Scaling;

pub(super) const B0: Backbone = row("efficientnetb0", 1280, 224, |g| efficientnet(g, 1.0, 1.0), |g, x| top(g, x, 0.2));
pub(super) const B1: Backbone = row("efficientnetb1", 1280, 240, |g| efficientnet(g, 1.0, 1.1), |g, x| top(g, x, 0.2));
pub(super) const B2: Backbone = row("efficientnetb2", 1408, 260, |g| efficientnet(g, 1.1, 1.2), |g, x| top(g, x, 0.3));
pub(super) const B3: Backbone = row("efficientnetb3", 1536, 300, |g| efficientnet(g, 1.2, 1.4), |g, x| top(g, x, 0.3));
pub(super) const B4: Backbone = row("efficientnetb4", 1792, 380, |g| efficientnet(g, 1.4, 1.8), |g, x| top(g, x, 0.4));
pub(super) const B5: Backbone = row("efficientnetb5", 2048, 456, |g| efficientnet(g, 1.6, 2.2), |g, x| top(g, x, 0.4));
pub(super) const B6: Backbone = row("efficientnetb6", 2304, 528, |g| efficientnet(g, 1.8, 2.6), |g, x| top(g, x, 0.5));
pub(super) const B7: Backbone = row("efficientnetb7", 2560, 600, |g| efficientnet(g, 2.0, 3.1), |g, x| top(g, x, 0.5));

const fn row(name: &'static str, features: i64, side: u32, trunk: fn(&mut Graph) -> X, top: fn(&mut Graph, X) -> X) -> Backbone {
    Backbone { name, features, default_side: side, scaling: Scaling::BuiltIn, trunk, top }
}

/// A stack of blocks before scaling: side of the kernel, blocks, channels out, expansion, stride of the first.
struct Stack {
    kernel: i64,
    repeats: f64,
    filters: f64,
    expansion: i64,
    stride: i64,
}

const fn stack(kernel: i64, repeats: f64, filters: f64, expansion: i64, stride: i64) -> Stack {
    Stack { kernel, repeats, filters, expansion, stride }
}

const STACKS: [Stack; 7] = [
    stack(3, 1.0, 16.0, 1, 1),
    stack(3, 2.0, 24.0, 6, 2),
    stack(5, 2.0, 40.0, 6, 2),
    stack(3, 3.0, 80.0, 6, 2),
    stack(5, 3.0, 112.0, 6, 1),
    stack(5, 4.0, 192.0, 6, 2),
    stack(3, 1.0, 320.0, 6, 1),
];

/// Share of blocks' outputs that the last block would drop in training; the first drops none.
const DROP_CONNECT: f64 = 0.2;

fn efficientnet(g: &mut Graph, width: f64, depth: f64) -> X {
    let repeats = |stack: &Stack| (depth * stack.repeats).ceil() as usize;
    let x = g.input();
    let x = g.same(AUTO, x, Op::Rescaling(1.0 / 255.0));
    let x = g.same(AUTO, x, Op::Normalization);
    let x = g.same("stem_conv_pad", x, Op::CorrectPad(3));
    let x = g.conv("stem_conv", x, Conv::new(rounded(32.0, width), 3).stride(2).start(Start::FanOut));
    let mut x = normalised(g, "stem_bn", "stem_activation", x);
    g.block(x);
    let total: usize = STACKS.iter().map(repeats).sum();
    let mut done = 0;
    for (number, stack) in (1..).zip(&STACKS) {
        for (letter, repeat) in ('a'..='z').zip(0..repeats(stack)) {
            let filters = rounded(stack.filters, width);
            let stride = if repeat == 0 { stack.stride } else { 1 };
            let drop = DROP_CONNECT * done as f64 / total as f64;
            x = block(g, x, &format!("block{number}{letter}_"), stack, filters, stride, drop);
            g.block(x);
            done += 1;
        }
    }
    let x = g.conv("top_conv", x, Conv::new(rounded(1280.0, width), 1).same().start(Start::FanOut));
    let x = normalised(g, "top_bn", "top_activation", x);
    g.block(x);
    x
}

/// Channels of a wider network: a multiple of 8 that is at most a tenth too few.
fn rounded(filters: f64, width: f64) -> i64 {
    let filters = filters * width;
    let near = (((filters + 4.0) as i64) / 8 * 8).max(8);
    if (near as f64) < 0.9 * filters { near + 8 } else { near }
}

/// Wider, depthwise, each channel weighted by what all of them see, narrow again; beside its input where the shape stays.
fn block(g: &mut Graph, x: X, name: &str, stack: &Stack, filters: i64, stride: i64, drop: f64) -> X {
    let inward = g.channels(x);
    let mut inner = x;
    if stack.expansion != 1 {
        let expand = Conv::new(inward * stack.expansion, 1).same().start(Start::FanOut);
        inner = g.conv(&format!("{name}expand_conv"), inner, expand);
        inner = normalised(g, &format!("{name}expand_bn"), &format!("{name}expand_activation"), inner);
    }
    let mut depthwise = Conv::new(0, stack.kernel).stride(stride).start(Start::FanOut);
    if stride == 2 {
        inner = g.same(&format!("{name}dwconv_pad"), inner, Op::CorrectPad(stack.kernel));
    } else {
        depthwise = depthwise.same();
    }
    inner = g.depthwise(&format!("{name}dwconv"), inner, depthwise);
    inner = normalised(g, &format!("{name}bn"), &format!("{name}activation"), inner);

    let wide = g.channels(inner);
    let small = Conv::new((inward / 4).max(1), 1).same().bias().then(Activation::Swish).start(Start::FanOut);
    let weights = g.same(&format!("{name}se_squeeze"), inner, Op::GlobalAverage { keep: false });
    let weights = g.same(&format!("{name}se_reshape"), weights, Op::ToMap);
    let weights = g.conv(&format!("{name}se_reduce"), weights, small);
    let back = Conv::new(wide, 1).same().bias().then(Activation::Sigmoid).start(Start::FanOut);
    let weights = g.conv(&format!("{name}se_expand"), weights, back);
    inner = g.layer(&format!("{name}se_excite"), Op::Multiply, &[inner, weights], wide);

    inner = g.conv(&format!("{name}project_conv"), inner, Conv::new(filters, 1).same().start(Start::FanOut));
    inner = norm(g, &format!("{name}project_bn"), inner);
    if stride == 1 && inward == filters {
        if drop > 0.0 {
            inner = g.same(&format!("{name}drop"), inner, Op::Dropout { rate: drop, whole: true });
        }
        inner = g.add(&format!("{name}add"), inner, x);
    }
    inner
}

fn normalised(g: &mut Graph, bn: &str, activation: &str, x: X) -> X {
    let x = norm(g, bn, x);
    g.same(activation, x, Op::Activation(Activation::Swish))
}

fn norm(g: &mut Graph, name: &str, x: X) -> X {
    g.batch_norm(name, x, 1e-3, 0.99)
}

fn top(g: &mut Graph, x: X, dropout: f64) -> X {
    let x = g.same("avg_pool", x, Op::GlobalAverage { keep: false });
    let x = g.same("top_dropout", x, Op::Dropout { rate: dropout, whole: false });
    g.dense("predictions", x, 1000, Activation::Linear)
}
