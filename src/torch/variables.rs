//! The variables of a layer: what Keras calls them, what we call them, their shapes in both libraries.

use crate::graph::{Graph, Layer, Op};

/// A variable of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Variable {
    /// In our files: `weight`, `running_mean`, …
    pub(crate) ours: &'static str,
    /// In Keras': `kernel`, `moving_mean`, …
    pub(crate) keras: &'static str,
    /// In our order of the axes.
    pub(crate) shape: Vec<i64>,
    /// Our axis for each of Keras'.
    pub(crate) axes: &'static [usize],
    /// Whether training changes it by its gradient.
    pub(crate) trained: bool,
}

impl Variable {
    /// The shape in Keras' order of the axes.
    pub(crate) fn keras_shape(&self) -> Vec<i64> {
        self.axes.iter().map(|axis| self.shape[*axis]).collect()
    }

    /// Keras' axis for each of ours.
    pub(crate) fn back(&self) -> Vec<i64> {
        let mut back = vec![0; self.axes.len()];
        for (keras, ours) in (0..).zip(self.axes) {
            back[*ours] = keras;
        }
        back
    }
}

impl Op {
    /// The Keras class in snake case, by which Keras 3 numbers the groups of its files.
    pub(crate) fn class(&self) -> &'static str {
        match self {
            Self::Input => "input_layer",
            Self::Conv(_) => "conv2d",
            Self::Depthwise(_) => "depthwise_conv2d",
            Self::Separable(_) => "separable_conv2d",
            Self::Double { .. } => "conv2d_transpose",
            Self::BatchNorm { .. } => "batch_normalization",
            Self::Dense { .. } => "dense",
            Self::Normalization => "normalization",
            Self::Rescaling(_) => "rescaling",
            Self::Activation(crate::graph::Activation::Relu6) => "re_lu",
            Self::Activation(_) => "activation",
            Self::Pad(_) | Self::CorrectPad(_) => "zero_padding2d",
            Self::Crop(_) => "cropping2d",
            Self::MaxPool { .. } => "max_pooling2d",
            Self::AveragePool { .. } => "average_pooling2d",
            Self::GlobalAverage { .. } => "global_average_pooling2d",
            Self::Dropout { .. } => "dropout",
            Self::Add => "add",
            Self::AddScaled(_) => "custom_scale_layer",
            Self::Multiply => "multiply",
            Self::Concat => "concatenate",
            Self::ToMap => "reshape",
            Self::Flatten => "flatten",
        }
    }
}

impl Graph {
    /// The variables of a layer in Keras' order, without `Normalization`'s `count`, which nothing reads.
    pub(crate) fn variables(&self, layer: &Layer) -> Vec<Variable> {
        let inward = layer.inputs.first().map_or(0, |input| self.layers[*input].channels);
        let outward = layer.channels;
        let kernel = |ours, keras, shape: [i64; 4], axes| Variable { ours, keras, shape: shape.to_vec(), axes, trained: true };
        let vector = |ours, keras, size, trained| Variable { ours, keras, shape: vec![size], axes: &[0], trained };
        let mut found = Vec::new();
        match layer.op {
            Op::Conv(conv) => {
                let [height, width] = conv.kernel;
                found.push(kernel("weight", "kernel", [outward, inward, height, width], &[2, 3, 1, 0]));
                found.extend(conv.bias.then(|| vector("bias", "bias", outward, true)));
            }
            Op::Depthwise(conv) => {
                let [height, width] = conv.kernel;
                found.push(kernel("weight", "depthwise_kernel", [inward, 1, height, width], &[2, 3, 0, 1]));
                found.extend(conv.bias.then(|| vector("bias", "bias", outward, true)));
            }
            Op::Separable(conv) => {
                let [height, width] = conv.kernel;
                found.push(kernel("depthwise", "depthwise_kernel", [inward, 1, height, width], &[2, 3, 0, 1]));
                found.push(kernel("pointwise", "pointwise_kernel", [outward, inward, 1, 1], &[2, 3, 1, 0]));
                found.extend(conv.bias.then(|| vector("bias", "bias", outward, true)));
            }
            Op::Double { filters } => {
                found.push(kernel("weight", "kernel", [inward, filters, 2, 2], &[2, 3, 1, 0]));
                found.push(vector("bias", "bias", filters, true));
            }
            Op::BatchNorm { scale, .. } => {
                found.extend(scale.then(|| vector("weight", "gamma", outward, true)));
                found.push(vector("bias", "beta", outward, true));
                found.push(vector("running_mean", "moving_mean", outward, false));
                found.push(vector("running_var", "moving_variance", outward, false));
            }
            Op::Dense { units, .. } => {
                found.push(Variable { ours: "weight", keras: "kernel", shape: vec![units, inward], axes: &[1, 0], trained: true });
                found.push(vector("bias", "bias", units, true));
            }
            Op::Normalization => {
                found.push(vector("mean", "mean", outward, false));
                found.push(vector("variance", "variance", outward, false));
            }
            _ => {}
        }
        found
    }
}
