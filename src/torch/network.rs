//! A graph with variables: runs forward, whole or with its first layers frozen.
//!
//! Variables are called `LAYER.NAME` by the Keras layer that owns them. Knows nothing of files and of training.

use crate::graph::{Activation, Graph, Layer, Op, Padding, Start};
use crate::layers::{
    Norm, Pads, average_pool, convolve, correct_pads, depthwise_kernel, double, dropout, global_average, kernel, linear, max_pool,
    normalise, pad, pads, rescale,
};
use crate::pixels::Layout;
use std::collections::BTreeSet;
use tch::nn::{Init, Path};
use tch::{Kind, Tensor, no_grad};

/// How a network runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Every layer as in inference; gradients flow unless the caller forbids it.
    Infer,
    /// The first `frozen` layers of [`Network::names`] as in inference, and without gradient unless the input wants one; the
    /// others as in training.
    Train { frozen: usize },
}

/// A network that can be run.
pub(crate) struct Network {
    pub(crate) graph: Graph,
    /// What each layer needs to compute.
    parts: Vec<Part>,
    /// How many layers read each layer's output.
    readers: Vec<usize>,
    /// The layers in Keras' order, and each layer's place in it.
    order: Vec<usize>,
    rank: Vec<usize>,
    layout: Layout,
}

/// A layer's variables, and what it does of its neighbours' work.
enum Part {
    Free,
    /// A layer of zeros that the layer after it puts there itself.
    Passed,
    Kernel {
        weight: Tensor,
        bias: Option<Tensor>,
        before: Option<Op>,
    },
    Separable {
        depthwise: Tensor,
        pointwise: Tensor,
        bias: Option<Tensor>,
        before: Option<Op>,
    },
    Pool {
        before: Option<Op>,
    },
    Norm(Norm),
    Scale {
        mean: Tensor,
        variance: Tensor,
    },
}

impl Network {
    /// Creates the variables under `path`. `momentum`, where given, is that of every batch normalisation instead of its own.
    pub(crate) fn new(path: &Path, graph: Graph, momentum: Option<f64>) -> Self {
        let mut readers = vec![0; graph.layers.len()];
        for input in graph.layers.iter().flat_map(|layer| &layer.inputs) {
            readers[*input] += 1;
        }
        let mut parts: Vec<Part> = Vec::with_capacity(graph.layers.len());
        for layer in &graph.layers {
            let before = taken_over(&graph, layer, &readers);
            if before.is_some() {
                parts[layer.inputs[0]] = Part::Passed;
            }
            parts.push(part(path, &graph, layer, before, momentum));
        }
        let order = graph.order();
        let mut rank = vec![0; order.len()];
        for (place, at) in order.iter().enumerate() {
            rank[*at] = place;
        }
        let mut made = Self { graph, parts, readers, order, rank, layout: Layout::ChannelsLast };
        made.lay(Layout::ChannelsLast);
        made
    }

    /// Lays kernels, and from now on images, like this in memory: else every step copies each kernel three times.
    pub(crate) fn lay(&mut self, layout: Layout) {
        self.layout = layout;
        let kernels = self.parts.iter().flat_map(|part| match part {
            Part::Kernel { weight, .. } => vec![weight],
            Part::Separable { depthwise, pointwise, .. } => vec![depthwise, pointwise],
            _ => Vec::new(),
        });
        for kernel in kernels.filter(|kernel| kernel.dim() == 4) {
            no_grad(|| kernel.shallow_clone().set_data(&layout.lay(kernel)));
        }
    }

    /// The layers' names in the order of Keras' `model.layers`, the input first.
    pub(crate) fn names(&self) -> Vec<&str> {
        self.order.iter().map(|at| self.graph.layers[*at].name.as_str()).collect()
    }

    /// Each block's last layer, and how many layers are frozen when the blocks up to it are.
    pub(crate) fn blocks(&self) -> Vec<(&str, usize)> {
        self.graph.blocks.iter().map(|at| (self.graph.layers[*at].name.as_str(), self.rank[*at] + 1)).collect()
    }

    /// Names of the variables of the first `frozen` layers of [`Self::names`].
    pub(crate) fn frozen_variables(&self, frozen: usize) -> BTreeSet<String> {
        let of = |at: &usize| {
            let layer = &self.graph.layers[*at];
            self.graph.variables(layer).into_iter().map(move |variable| format!("{}.{}", layer.name, variable.ours))
        };
        self.order[..frozen.min(self.order.len())].iter().flat_map(of).collect()
    }

    /// The output of the last layer for `[n, 3, h, w]`, in the kind of the input.
    pub(crate) fn forward(&self, xs: &Tensor, mode: Mode) -> Tensor {
        let mut left = self.readers.clone();
        let mut made: Vec<Option<Made>> = Vec::with_capacity(self.parts.len());
        for (at, layer) in self.graph.layers.iter().enumerate() {
            let train = matches!(mode, Mode::Train { frozen } if self.rank[at] >= frozen);
            let inputs: Vec<Made> = match layer.op {
                // The caller's tensor is not ours to change.
                Op::Input => vec![Made { xs: self.layout.lay(xs), ours: false }],
                _ => layer.inputs.iter().map(|input| self.take(&mut made, &mut left, *input)).collect(),
            };
            // What learns before the network needs its gradient.
            let frozen = matches!(mode, Mode::Train { .. }) && !train && !xs.requires_grad();
            let run = || compute(layer, &self.parts[at], inputs, train);
            made.push(Some(if frozen { no_grad(run) } else { run() }));
        }
        // The output is read by nobody in the network, so it is still there; an empty network gives its input.
        made.pop().flatten().map_or_else(|| xs.shallow_clone(), |made| made.xs)
    }

    /// A layer's output for one of its readers. The last one may write over it, unless a gradient will need what is there.
    fn take(&self, made: &mut [Option<Made>], left: &mut [usize], at: usize) -> Made {
        left[at] -= 1;
        let last = left[at] == 0;
        match made[at].take() {
            Some(Made { xs, ours }) if last => {
                let kept = xs.requires_grad() && (self.readers[at] > 1 || keeps_its_output(&self.graph.layers[at].op));
                Made { xs, ours: ours && !kept }
            }
            Some(own) => {
                let given = Made { xs: own.xs.shallow_clone(), ours: false };
                made[at] = Some(own);
                given
            }
            // Counted above: nobody takes what was taken.
            None => Made { xs: Tensor::new(), ours: false },
        }
    }
}

/// Whether a layer's gradient is computed from its output.
fn keeps_its_output(op: &Op) -> bool {
    match op {
        Op::Activation(_) => true,
        Op::Conv(conv) | Op::Depthwise(conv) | Op::Separable(conv) => conv.then != Activation::Linear,
        Op::Dense { then, .. } => *then != Activation::Linear,
        _ => false,
    }
}

/// An output, and whether the layer that reads it may write over it.
struct Made {
    xs: Tensor,
    ours: bool,
}

/// The layer of zeros before a convolution or pooling whose work that can do itself.
fn taken_over(graph: &Graph, layer: &Layer, readers: &[usize]) -> Option<Op> {
    let before = *layer.inputs.first()?;
    let zeros = &graph.layers[before];
    if readers[before] != 1 || !matches!(zeros.op, Op::Pad(_) | Op::CorrectPad(_)) {
        return None;
    }
    let fits = match layer.op {
        Op::Conv(conv) | Op::Depthwise(conv) | Op::Separable(conv) => conv.padding == Padding::Valid,
        // After a ReLU nothing is less than the zeros.
        Op::MaxPool { padding, .. } => {
            padding == Padding::Valid && matches!(graph.layers[zeros.inputs[0]].op, Op::Activation(Activation::Relu))
        }
        _ => false,
    };
    fits.then_some(zeros.op)
}

fn part(path: &Path, graph: &Graph, layer: &Layer, before: Option<Op>, momentum: Option<f64>) -> Part {
    let path = path / layer.name.as_str();
    let shape = |name: &str| -> Vec<i64> {
        graph.variables(layer).into_iter().find(|variable| variable.ours == name).map(|variable| variable.shape).unwrap_or_default()
    };
    let fresh = |name: &str, start: Start| kernel(&path, name, &shape(name), start);
    let spatial = |name: &str, start: Start| depthwise_kernel(&path, name, &shape(name), start);
    let constant = |name: &str, value: f64| path.var(name, &shape(name), Init::Const(value));
    let bias = |wanted: bool| wanted.then(|| constant("bias", 0.0));
    match layer.op {
        Op::Conv(conv) => Part::Kernel { weight: fresh("weight", conv.start), bias: bias(conv.bias), before },
        Op::Depthwise(conv) => Part::Kernel { weight: spatial("weight", conv.start), bias: bias(conv.bias), before },
        Op::Double { .. } => Part::Kernel { weight: fresh("weight", Start::Glorot), bias: bias(true), before: None },
        Op::Separable(conv) => Part::Separable {
            depthwise: spatial("depthwise", conv.start),
            pointwise: fresh("pointwise", conv.start),
            bias: bias(conv.bias),
            before,
        },
        Op::Dense { .. } => Part::Kernel { weight: fresh("weight", Start::Glorot), bias: bias(true), before: None },
        Op::BatchNorm { epsilon, momentum: own, scale } => {
            let ones = || Tensor::ones([layer.channels], (Kind::Float, path.device()));
            Part::Norm(Norm {
                weight: if scale { constant("weight", 1.0) } else { ones() },
                bias: constant("bias", 0.0),
                mean: path.zeros_no_train("running_mean", &shape("running_mean")),
                variance: path.ones_no_train("running_var", &shape("running_var")),
                epsilon,
                momentum: momentum.unwrap_or(own),
            })
        }
        Op::Normalization => {
            Part::Scale { mean: path.zeros_no_train("mean", &shape("mean")), variance: path.ones_no_train("variance", &shape("variance")) }
        }
        Op::MaxPool { .. } => Part::Pool { before },
        _ => Part::Free,
    }
}

/// The pads around an input: those of the layer itself, or of the layer of zeros before it.
fn around(before: Option<Op>, padding: Padding, xs: &Tensor, kernel: [i64; 2], stride: i64) -> Pads {
    match before {
        Some(Op::Pad(pads)) => pads,
        Some(Op::CorrectPad(side)) => correct_pads(xs, side),
        _ => pads(padding, xs, kernel, stride),
    }
}

fn compute(layer: &Layer, part: &Part, mut inputs: Vec<Made>, train: bool) -> Made {
    let second = if inputs.len() == 2 { inputs.pop() } else { None };
    let rest = if inputs.len() > 1 { inputs.split_off(1) } else { Vec::new() };
    let Some(Made { xs, ours }) = inputs.pop() else { return Made { xs: Tensor::new(), ours: false } };
    let own = |xs: Tensor| Made { xs, ours: true };
    match (layer.op, part) {
        (Op::Input, _) | (_, Part::Passed) => Made { xs, ours },
        (Op::Conv(conv) | Op::Depthwise(conv), Part::Kernel { weight, bias, before }) => {
            let groups = if matches!(layer.op, Op::Depthwise(_)) { conv.filters } else { 1 };
            let pads = around(*before, conv.padding, &xs, conv.kernel, conv.stride);
            own(conv.then.apply_in_place(convolve(&xs, weight, bias.as_ref(), conv.stride, pads, groups)))
        }
        (Op::Separable(conv), Part::Separable { depthwise, pointwise, bias, before }) => {
            let pads = around(*before, conv.padding, &xs, conv.kernel, conv.stride);
            let spatial = convolve(&xs, depthwise, None, conv.stride, pads, depthwise.size()[0]);
            own(conv.then.apply_in_place(convolve(&spatial, pointwise, bias.as_ref(), 1, [0; 4], 1)))
        }
        (Op::Double { .. }, Part::Kernel { weight, bias: Some(bias), .. }) => own(double(&xs, weight, bias)),
        (Op::Dense { then, .. }, Part::Kernel { weight, bias: Some(bias), .. }) => own(then.apply(linear(&xs, weight, bias))),
        (Op::BatchNorm { .. }, Part::Norm(norm)) => own(norm.apply(&xs, train)),
        (Op::Normalization, Part::Scale { mean, variance }) => own(normalise(&xs, mean, variance)),
        (Op::Rescaling(scale), _) => own(rescale(&xs, scale)),
        (Op::Activation(activation), _) if ours => own(activation.apply_in_place(xs)),
        (Op::Activation(activation), _) => own(activation.apply(xs)),
        (Op::Pad(pads), _) => own(pad(&xs, pads)),
        (Op::CorrectPad(side), _) => own(pad(&xs, correct_pads(&xs, side))),
        (Op::Crop([top, bottom, left, right]), _) => {
            let size = xs.size();
            // A view: what it shows may be somebody else's.
            Made { xs: xs.narrow(2, top, size[2] - top - bottom).narrow(3, left, size[3] - left - right), ours: false }
        }
        (Op::MaxPool { side, stride, padding }, Part::Pool { before }) => {
            own(max_pool(&xs, side, stride, around(*before, padding, &xs, [side, side], stride)))
        }
        (Op::AveragePool { side, stride, padding }, _) => own(average_pool(&xs, side, stride, pads(padding, &xs, [side, side], stride))),
        (Op::GlobalAverage { keep }, _) => {
            let pooled = global_average(&xs);
            own(if keep { pooled.unsqueeze(-1).unsqueeze(-1) } else { pooled })
        }
        (Op::Dropout { rate, whole }, _) if train && rate > 0.0 => own(dropout(&xs, rate, whole)),
        (Op::ToMap, _) => own(xs.unsqueeze(-1).unsqueeze(-1)),
        (Op::Flatten, _) => own(xs.permute([0, 2, 3, 1]).flatten(1, -1)),
        (Op::Concat, _) => {
            let mut all = vec![xs];
            all.extend(rest.into_iter().chain(second).map(|made| made.xs));
            own(Tensor::cat(&all, 1))
        }
        (op, _) => match (op, second) {
            (Op::Add, Some(other)) if ours => own({
                let mut xs = xs;
                xs.g_add_(&other.xs)
            }),
            (Op::Add, Some(mut other)) if other.ours => own(other.xs.g_add_(&xs)),
            (Op::Add, Some(other)) => own(xs + other.xs),
            (Op::AddScaled(scale), Some(other)) => own(xs + other.xs * scale),
            (Op::Multiply, Some(other)) => own(xs * other.xs),
            // What is left does nothing at this time: dropout in inference.
            _ => Made { xs, ours },
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backbones::Backbone;
    use crate::seeds::draw_alone;
    use crate::weights::{copies, variables};
    use tch::{Device, nn};

    fn images() -> Tensor {
        (Tensor::arange(2 * 3 * 32 * 32, (Kind::Float, Device::Cpu)) * 37.0).fmod(251.0).view([2, 3, 32, 32]) / 127.5 - 1.0
    }

    #[test]
    fn frozen_layers_keep_their_variables_and_get_no_gradient() {
        let _alone = draw_alone();
        tch::manual_seed(3);
        let store = nn::VarStore::new(Device::Cpu);
        let network = Backbone::named("mobilenet").unwrap().build(&store.root(), None);
        let (name, frozen) = network.blocks()[12];
        assert_eq!((name, network.names()[frozen - 1]), ("conv_pw_12_relu", "conv_pw_12_relu"));
        let before = copies(&variables(&store));
        network.forward(&images(), Mode::Train { frozen }).sum(Kind::Float).backward();
        let still = network.frozen_variables(frozen);
        for (name, variable) in variables(&store) {
            let (first, moved) = (still.contains(&name), variable.ne_tensor(&before[&name]).any().int64_value(&[]) == 1);
            assert_eq!(variable.grad().defined(), variable.requires_grad() && !first, "{name}");
            assert_eq!(moved, name.contains("running") && !first, "{name}");
        }
    }

    /// A network of VGG's kind, laid so, with its kernels and one gradient.
    fn learnt(layout: Layout) -> (Tensor, Vec<i64>, Tensor) {
        tch::manual_seed(5);
        let store = nn::VarStore::new(Device::Cpu);
        let mut network = Backbone::named("vgg16").unwrap().build(&store.root(), None);
        network.lay(layout);
        let found = network.forward(&images(), Mode::Train { frozen: 0 });
        found.square().sum(Kind::Float).backward();
        let kernel = &variables(&store)["block2_conv1.weight"];
        assert_eq!(kernel.grad().stride(), kernel.stride(), "the gradient of a kernel lies as the kernel does");
        (found.contiguous(), kernel.stride(), kernel.grad().contiguous())
    }

    #[test]
    fn a_network_says_and_learns_the_same_however_it_lies_in_memory() {
        let _alone = draw_alone();
        let ((last, last_lies, last_learnt), (first, first_lies, first_learnt)) =
            (learnt(Layout::ChannelsLast), learnt(Layout::ChannelsFirst));
        assert_eq!((last_lies, first_lies), (vec![576, 1, 192, 64], vec![576, 9, 3, 1]));
        let apart = |one: &Tensor, other: &Tensor| (one - other).norm().double_value(&[]) / one.norm().double_value(&[]);
        assert!(apart(&last, &first) < 1e-5 && apart(&last_learnt, &first_learnt) < 1e-4);
    }

    #[test]
    fn only_networks_of_wide_convolutions_are_laid_channels_first() {
        let wide = |name: &str| Backbone::named(name).unwrap().graph(false).is_wide();
        assert_eq!(
            ["vgg16", "vgg19", "resnet50", "densenet201", "mobilenetv2", "inceptionv3"].map(wide),
            [true, true, false, false, false, false]
        );
        let on_gpu = Layout::to_learn(&Backbone::named("vgg16").unwrap().graph(false), Device::Cuda(0));
        assert_eq!(on_gpu, Layout::ChannelsLast, "tensor cores want it");
    }

    #[test]
    fn images_in_half_precision_give_nearly_the_same() {
        let _alone = draw_alone();
        tch::manual_seed(4);
        let store = nn::VarStore::new(Device::Cpu);
        let network = Backbone::named("mobilenet").unwrap().build(&store.root(), None);
        let (whole, half) = (network.forward(&images(), Mode::Infer), network.forward(&images().to_kind(Kind::BFloat16), Mode::Infer));
        let apart = (&whole - half.to_kind(Kind::Float)).norm().double_value(&[]) / whole.norm().double_value(&[]);
        assert!(half.kind() == Kind::BFloat16 && apart < 0.05, "{apart}");
        // In training two images say too little for the same numbers, but everything runs.
        let half = network.forward(&images().to_kind(Kind::BFloat16), Mode::Train { frozen: 20 });
        assert_eq!(half.kind(), Kind::BFloat16);
        half.sum(Kind::Float).backward();
        assert!(variables(&store).values().all(|variable| variable.kind() == Kind::Float));
    }
}
