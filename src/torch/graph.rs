//! A network as Keras' functional API writes it down: layers with names, classes, shapes of variables and inputs.
//!
//! Holds no tensor and knows no libtorch: [`crate::network`] gives it variables and runs it. A builder calls the methods of
//! [`Graph`] in the order in which the Keras function makes its layers, so that layers without a name of their own (`AUTO`)
//! get the numbers that a fresh Keras process gives them, and [`Graph::order`] is the order of `model.layers`, by which Keras
//! itself finds the weights in a file.

use std::collections::BTreeMap;

/// The name of a layer that Keras numbers: `conv2d_17`.
pub(crate) const AUTO: &str = "";

/// The output of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct X(pub(crate) usize);

/// What follows inside a layer: Keras' argument `activation`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Activation {
    Linear,
    Relu,
    Relu6,
    /// `swish`, x · sigmoid(x).
    Swish,
    Sigmoid,
}

/// Where zeros are put around the input of a convolution or pooling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Padding {
    /// `padding="valid"`.
    Valid,
    /// `padding="same"`: the output has `ceil(side / stride)` pixels; an odd pixel goes to the bottom and right.
    Same,
}

/// How a fresh kernel is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// `GlorotUniform`, Keras' default: uniform within ±√(6 / (fan in + fan out)).
    Glorot,
    /// `he_normal`: truncated normal of variance 2 / fan in.
    He,
    /// `VarianceScaling(2, "fan_out", "truncated_normal")`, of EfficientNet.
    FanOut,
}

/// A convolution: `Conv2D`, `DepthwiseConv2D`, `SeparableConv2D`. By default as in Keras: valid, stride 1, but without bias.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Conv {
    /// Channels out; a depthwise one has as many as its input.
    pub(crate) filters: i64,
    /// Height and width in pixels.
    pub(crate) kernel: [i64; 2],
    pub(crate) stride: i64,
    pub(crate) padding: Padding,
    pub(crate) bias: bool,
    pub(crate) then: Activation,
    pub(crate) start: Start,
}

impl Conv {
    /// A square kernel.
    pub(crate) const fn new(filters: i64, side: i64) -> Self {
        Self::of(filters, [side, side])
    }

    /// A kernel of any height and width.
    pub(crate) const fn of(filters: i64, kernel: [i64; 2]) -> Self {
        let padding = Padding::Valid;
        Self { filters, kernel, stride: 1, padding, bias: false, then: Activation::Linear, start: Start::Glorot }
    }

    pub(crate) const fn stride(self, stride: i64) -> Self {
        Self { stride, ..self }
    }

    pub(crate) const fn same(self) -> Self {
        Self { padding: Padding::Same, ..self }
    }

    pub(crate) const fn bias(self) -> Self {
        Self { bias: true, ..self }
    }

    pub(crate) const fn then(self, then: Activation) -> Self {
        Self { then, ..self }
    }

    pub(crate) const fn start(self, start: Start) -> Self {
        Self { start, ..self }
    }
}

/// What a layer does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Op {
    Input,
    Conv(Conv),
    Depthwise(Conv),
    /// A depthwise convolution, then one of 1×1.
    Separable(Conv),
    /// `Conv2DTranspose(filters, 2, strides=2)`: each pixel becomes 2×2.
    Double {
        filters: i64,
    },
    /// `scale`: whether it has a gamma.
    BatchNorm {
        epsilon: f64,
        momentum: f64,
        scale: bool,
    },
    Dense {
        units: i64,
        then: Activation,
    },
    /// `Normalization`: mean and variance of each channel, not trained.
    Normalization,
    Rescaling(f64),
    Activation(Activation),
    /// Zeros above, below, left, right.
    Pad([i64; 4]),
    /// Zeros by `imagenet_utils.correct_pad` for this kernel: half a kernel, one less above and left of an even side.
    CorrectPad(i64),
    /// Rows and columns taken off above, below, left, right.
    Crop([i64; 4]),
    MaxPool {
        side: i64,
        stride: i64,
        padding: Padding,
    },
    AveragePool {
        side: i64,
        stride: i64,
        padding: Padding,
    },
    /// `keep`: gives `[n, c, 1, 1]`, not `[n, c]`.
    GlobalAverage {
        keep: bool,
    },
    /// `whole`: drops whole images (`noise_shape=(None, 1, 1, 1)`).
    Dropout {
        rate: f64,
        whole: bool,
    },
    Add,
    /// The first, and a share of the second: `CustomScaleLayer` of Inception-ResNet.
    AddScaled(f64),
    Multiply,
    Concat,
    /// `Reshape((1, 1, c))`.
    ToMap,
    /// In Keras' order of the axes.
    Flatten,
}

/// A layer of a network.
#[derive(Clone, Debug)]
pub(crate) struct Layer {
    pub(crate) name: String,
    /// Whether Keras numbered it.
    pub(crate) auto: bool,
    pub(crate) op: Op,
    pub(crate) inputs: Vec<usize>,
    /// Channels out.
    pub(crate) channels: i64,
    /// Whether it belongs to the classifier that Keras adds with `include_top=True`.
    pub(crate) top: bool,
}

/// A network in the making, and made.
#[derive(Clone, Debug, Default)]
pub(crate) struct Graph {
    /// In the order in which they were made; inputs come first.
    pub(crate) layers: Vec<Layer>,
    /// The last layer of each block, in the order in which they were made.
    pub(crate) blocks: Vec<usize>,
    counts: BTreeMap<&'static str, usize>,
    in_top: bool,
}

impl Graph {
    /// Images `[n, 3, h, w]`.
    pub(crate) fn input(&mut self) -> X {
        self.input_of(3)
    }

    /// Images `[n, channels, h, w]`.
    pub(crate) fn input_of(&mut self, channels: i64) -> X {
        self.layer("input", Op::Input, &[], channels)
    }

    pub(crate) fn conv(&mut self, name: &str, x: X, conv: Conv) -> X {
        self.layer(name, Op::Conv(conv), &[x], conv.filters)
    }

    /// `DepthwiseConv2D`; the filters of `conv` are those of the input.
    pub(crate) fn depthwise(&mut self, name: &str, x: X, conv: Conv) -> X {
        let filters = self.channels(x);
        self.layer(name, Op::Depthwise(Conv { filters, ..conv }), &[x], filters)
    }

    pub(crate) fn separable(&mut self, name: &str, x: X, conv: Conv) -> X {
        self.layer(name, Op::Separable(conv), &[x], conv.filters)
    }

    pub(crate) fn double(&mut self, name: &str, x: X, filters: i64) -> X {
        self.layer(name, Op::Double { filters }, &[x], filters)
    }

    pub(crate) fn batch_norm(&mut self, name: &str, x: X, epsilon: f64, momentum: f64) -> X {
        self.same(name, x, Op::BatchNorm { epsilon, momentum, scale: true })
    }

    pub(crate) fn dense(&mut self, name: &str, x: X, units: i64, then: Activation) -> X {
        self.layer(name, Op::Dense { units, then }, &[x], units)
    }

    pub(crate) fn relu(&mut self, name: &str, x: X) -> X {
        self.same(name, x, Op::Activation(Activation::Relu))
    }

    pub(crate) fn add(&mut self, name: &str, first: X, second: X) -> X {
        self.layer(name, Op::Add, &[first, second], self.channels(first))
    }

    pub(crate) fn concat(&mut self, name: &str, parts: &[X]) -> X {
        self.layer(name, Op::Concat, parts, parts.iter().map(|part| self.channels(*part)).sum())
    }

    pub(crate) fn max_pool(&mut self, name: &str, x: X, side: i64, stride: i64, padding: Padding) -> X {
        self.same(name, x, Op::MaxPool { side, stride, padding })
    }

    pub(crate) fn average_pool(&mut self, name: &str, x: X, side: i64, stride: i64, padding: Padding) -> X {
        self.same(name, x, Op::AveragePool { side, stride, padding })
    }

    /// A layer of one input whose output has as many channels.
    pub(crate) fn same(&mut self, name: &str, x: X, op: Op) -> X {
        self.layer(name, op, &[x], self.channels(x))
    }

    pub(crate) fn layer(&mut self, name: &str, op: Op, inputs: &[X], channels: i64) -> X {
        let auto = name.is_empty();
        let name = if auto { self.numbered(op.class()) } else { name.to_owned() };
        let inputs = inputs.iter().map(|x| x.0).collect();
        self.layers.push(Layer { name, auto, op, inputs, channels, top: self.in_top });
        X(self.layers.len() - 1)
    }

    /// Says that a block of layers ends here.
    pub(crate) fn block(&mut self, x: X) {
        self.blocks.push(x.0);
    }

    /// What follows belongs to the classifier.
    pub(crate) fn begin_top(&mut self) {
        self.in_top = true;
    }

    pub(crate) fn channels(&self, x: X) -> i64 {
        self.layers[x.0].channels
    }

    /// Whether nearly all of its convolutions are dense and wider than a pixel, as in VGG and U-Net.
    pub(crate) fn is_wide(&self) -> bool {
        let wide = |op: &Op| match op {
            Op::Conv(conv) => Some(conv.kernel != [1, 1]),
            Op::Double { .. } => Some(true),
            Op::Depthwise(_) | Op::Separable(_) => Some(false),
            _ => None,
        };
        let all: Vec<bool> = self.layers.iter().filter_map(|layer| wide(&layer.op)).collect();
        all.iter().filter(|wide| **wide).count() * 10 >= all.len() * 9
    }

    fn numbered(&mut self, class: &'static str) -> String {
        let count = self.counts.entry(class).or_default();
        *count += 1;
        if *count == 1 { class.to_owned() } else { format!("{class}_{}", *count - 1) }
    }

    /// The layers in the order of `model.layers`: those farthest from the output first; of equally far ones, first those
    /// that a walk from the output, first inputs first, meets first.
    pub(crate) fn order(&self) -> Vec<usize> {
        let mut depth = vec![0usize; self.layers.len()];
        for (at, layer) in self.layers.iter().enumerate().rev() {
            for input in &layer.inputs {
                depth[*input] = depth[*input].max(depth[at] + 1);
            }
        }
        let mut met = vec![usize::MAX; self.layers.len()];
        let mut count = 0;
        let mut ahead: Vec<usize> = self.layers.len().checked_sub(1).into_iter().collect();
        while let Some(at) = ahead.pop() {
            if met[at] == usize::MAX {
                met[at] = count;
                count += 1;
                ahead.extend(self.layers[at].inputs.iter().rev());
            }
        }
        let mut order: Vec<usize> = (0..self.layers.len()).collect();
        order.sort_by_key(|at| (usize::MAX - depth[*at], met[*at]));
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_numbered_as_made_and_ordered_by_their_distance_from_the_output() {
        let mut graph = Graph::default();
        let x = graph.input();
        let short = graph.conv(AUTO, x, Conv::new(4, 1));
        let long = graph.conv(AUTO, x, Conv::new(4, 1));
        let long = graph.relu(AUTO, long);
        let long = graph.conv("named", long, Conv::new(4, 1));
        let sum = graph.add(AUTO, short, long);
        graph.conv(AUTO, sum, Conv::new(4, 1));
        let names: Vec<&str> = graph.order().into_iter().map(|at| graph.layers[at].name.as_str()).collect();
        assert_eq!(names, ["input", "conv2d_1", "activation", "conv2d", "named", "add", "conv2d_2"]);
    }
}
