//! U-Net (Ronneberger et al., 2015, arXiv:1505.04597) as Arias-Garzón et al. configure it (Machine Learning with Applications
//! 6:100138, 2021): same padding, dropout between the two convolutions of a block, no batch normalisation.

use crate::graph::{AUTO, Activation, Conv, Graph, Op, Padding, Start, X};
use serde::{Deserialize, Serialize};

/// What a U-Net is built from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Shape {
    /// Filters of the first block; each further one has twice as many.
    pub(crate) filters: u32,
    /// Dropout of each contraction block, the deepest last: as many blocks as numbers.
    pub(crate) down: Vec<f64>,
    /// Dropout of each expansion block, the deepest first: one fewer.
    pub(crate) up: Vec<f64>,
    pub(crate) batch_norm: bool,
}

impl Shape {
    /// Grey images `[n, 1, h, w]` → logits `[n, 1, h, w]`; sides must be multiples of [`Self::stride`].
    pub(crate) fn graph(&self) -> Graph {
        let mut graph = Graph::default();
        let g = &mut graph;
        let mut x = g.input_of(1);
        let mut skips = Vec::new();
        for (block, rate) in self.down.iter().enumerate() {
            if block > 0 {
                x = g.max_pool(AUTO, x, 2, 2, Padding::Valid);
            }
            x = self.convolutions(g, x, block, *rate);
            skips.push(x);
        }
        skips.pop();
        for (rate, (block, skip)) in self.up.iter().zip(skips.into_iter().enumerate().rev()) {
            x = g.double(AUTO, x, self.filters_of(block));
            x = g.concat(AUTO, &[x, skip]);
            x = self.convolutions(g, x, block, *rate);
        }
        g.conv(AUTO, x, Conv::new(1, 1).bias());
        graph
    }

    /// What a side must be a multiple of, in pixels.
    pub(crate) fn stride(&self) -> u32 {
        1 << self.down.len().saturating_sub(1)
    }

    fn filters_of(&self, block: usize) -> i64 {
        i64::from(self.filters) << block
    }

    fn convolutions(&self, g: &mut Graph, x: X, block: usize, rate: f64) -> X {
        let x = self.convolution(g, x, block);
        let x = if rate > 0.0 { g.same(AUTO, x, Op::Dropout { rate, whole: false }) } else { x };
        self.convolution(g, x, block)
    }

    fn convolution(&self, g: &mut Graph, x: X, block: usize) -> X {
        let conv = Conv::new(self.filters_of(block), 3).same().bias().start(Start::He);
        if !self.batch_norm {
            return g.conv(AUTO, x, conv.then(Activation::Relu));
        }
        let x = g.conv(AUTO, x, conv);
        let x = g.batch_norm(AUTO, x, 1e-3, 0.99);
        g.relu(AUTO, x)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::network::{Mode, Network};
    use crate::parity::parameters;
    use crate::seeds::draw_alone;
    use tch::{Device, Kind, Tensor, nn};

    pub(in super::super) fn paper(filters: u32) -> Shape {
        Shape { filters, down: vec![0.1, 0.1, 0.2, 0.2, 0.3], up: vec![0.2, 0.2, 0.1, 0.1], batch_norm: false }
    }

    #[test]
    fn there_are_as_many_parameters_as_in_keras() {
        // What `model.count_params()` of Keras 3 says of the authors' network, with 64 and with 16 filters in the first block.
        assert_eq!([64, 16].map(|filters| parameters(&paper(filters).graph())), [31_030_593, 1_940_817]);
        assert!(paper(16).stride() == 16 && paper(16).graph().is_wide());
    }

    #[test]
    fn a_map_is_as_large_as_its_image() {
        let _alone = draw_alone();
        for shape in [paper(4), Shape { filters: 4, down: vec![0.0, 0.0], up: vec![0.0], batch_norm: true }] {
            let store = nn::VarStore::new(Device::Cpu);
            let network = Network::new(&store.root(), shape.graph(), None);
            let images = Tensor::rand([2, 1, 32, 48], (Kind::Float, Device::Cpu));
            assert_eq!(network.forward(&images, Mode::Infer).size(), [2, 1, 32, 48]);
            network.forward(&images, Mode::Train { frozen: 0 }).sum(Kind::Float).backward();
        }
    }
}
