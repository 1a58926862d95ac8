//! VGG16 and VGG19 (Simonyan and Zisserman, 2014, arXiv:1409.1556), as `keras.applications` builds them.

use super::Backbone;
use crate::graph::{Activation, Conv, Graph, Op, Padding, X};
use crate::pixels::Scaling;

pub(super) const VGG16: Backbone =
    Backbone { name: "vgg16", features: 512, default_side: 224, scaling: Scaling::Caffe, trunk: |g| vgg(g, [2, 2, 3, 3, 3]), top };

pub(super) const VGG19: Backbone = Backbone { name: "vgg19", trunk: |g| vgg(g, [2, 2, 4, 4, 4]), ..VGG16 };

/// Five blocks of 3×3 convolutions with a ReLU each, halved by max pooling.
fn vgg(g: &mut Graph, convolutions: [usize; 5]) -> X {
    let mut x = g.input();
    for (block, (filters, count)) in (1..).zip([64, 128, 256, 512, 512].into_iter().zip(convolutions)) {
        for number in 1..=count {
            let conv = Conv::new(filters, 3).same().bias().then(Activation::Relu);
            x = g.conv(&format!("block{block}_conv{number}"), x, conv);
        }
        x = g.max_pool(&format!("block{block}_pool"), x, 2, 2, Padding::Valid);
        g.block(x);
    }
    x
}

/// Two wide layers over the map of 7×7 that images of the default side give.
fn top(g: &mut Graph, x: X) -> X {
    let x = g.layer("flatten", Op::Flatten, &[x], 7 * 7 * 512);
    let x = g.dense("fc1", x, 4096, Activation::Relu);
    let x = g.dense("fc2", x, 4096, Activation::Relu);
    g.dense("predictions", x, 1000, Activation::Linear)
}
