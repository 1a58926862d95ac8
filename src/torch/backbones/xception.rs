//! Xception (Chollet, 2016, arXiv:1610.02357), as `keras.applications.Xception` builds it.

use super::{Backbone, pooled_top};
use crate::graph::{AUTO, Conv, Graph, Padding, X};
use crate::pixels::Scaling;

pub(super) const XCEPTION: Backbone = Backbone {
    name: "xception",
    features: 2048,
    default_side: 299,
    scaling: Scaling::MinusOneToOne,
    trunk: xception,
    top: |g, x| pooled_top(g, x, None),
};

fn xception(g: &mut Graph) -> X {
    let mut x = g.input();
    for (name, conv) in [("block1_conv1", Conv::new(32, 3).stride(2)), ("block1_conv2", Conv::new(64, 3))] {
        x = g.conv(name, x, conv);
        x = norm(g, &format!("{name}_bn"), x);
        x = g.relu(&format!("{name}_act"), x);
    }
    g.block(x);
    for (block, filters) in [(2, 128), (3, 256), (4, 728)] {
        x = halving(g, block, x, [filters, filters]);
    }
    for block in 5..13 {
        let mut inner = x;
        for number in 1..=3 {
            inner = g.relu(&format!("block{block}_sepconv{number}_act"), inner);
            inner = separable(g, block, number, inner, 728);
        }
        x = g.add(AUTO, inner, x);
        g.block(x);
    }
    x = halving(g, 13, x, [728, 1024]);
    for (number, filters) in [(1, 1536), (2, 2048)] {
        x = separable(g, 14, number, x, filters);
        x = g.relu(&format!("block14_sepconv{number}_act"), x);
    }
    g.block(x);
    x
}

/// Two separable convolutions halved by max pooling, beside a strided convolution of 1×1.
fn halving(g: &mut Graph, block: u32, x: X, filters: [i64; 2]) -> X {
    let beside = g.conv(AUTO, x, Conv::new(filters[1], 1).stride(2).same());
    let beside = norm(g, AUTO, beside);
    let mut inner = x;
    // The second block's input is behind a ReLU already.
    if block > 2 {
        inner = g.relu(&format!("block{block}_sepconv1_act"), inner);
    }
    inner = separable(g, block, 1, inner, filters[0]);
    inner = g.relu(&format!("block{block}_sepconv2_act"), inner);
    inner = separable(g, block, 2, inner, filters[1]);
    inner = g.max_pool(&format!("block{block}_pool"), inner, 3, 2, Padding::Same);
    let sum = g.add(AUTO, inner, beside);
    g.block(sum);
    sum
}

fn separable(g: &mut Graph, block: u32, number: u32, x: X, filters: i64) -> X {
    let name = format!("block{block}_sepconv{number}");
    let x = g.separable(&name, x, Conv::new(filters, 3).same());
    norm(g, &format!("{name}_bn"), x)
}

fn norm(g: &mut Graph, name: &str, x: X) -> X {
    g.batch_norm(name, x, 1e-3, 0.99)
}
