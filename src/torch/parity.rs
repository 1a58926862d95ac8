//! Whether we compute what Keras computes, by the answers that `tests/parity/gen.py` stored.

use crate::backbones::{BACKBONES, Backbone};
use crate::graph::{Activation, Graph, Layer, Op};
use crate::layers::{dense, global_average};
use crate::network::{Mode, Network};
use crate::optimiser::{Optimiser, Rule};
use crate::seeds::draw_alone;
use crate::weights::{Named, from_bytes, variables};
use tch::{Device, Kind, Tensor, nn, no_grad};

/// What `noise` of gen.py gives: numbers in [-1, 1) that follow from a name.
pub(crate) fn noise(name: &str, count: i64) -> Vec<f32> {
    let seed = name.bytes().fold(0x811c_9dc5u32, |seed, byte| (seed ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    let number = |at: u32| {
        let x = at.wrapping_mul(0x9e37_79b1).wrapping_add(seed);
        let x = (x ^ (x >> 16)).wrapping_mul(0x85eb_ca6b);
        let x = (x ^ (x >> 13)).wrapping_mul(0xc2b2_ae35);
        let x = x ^ (x >> 16);
        (f64::from(x >> 8) / f64::from(1u32 << 23) - 1.0) as f32
    };
    (0..count as u32).map(number).collect()
}

/// What `weight` of gen.py gives.
pub(crate) fn weight(layer: &str, leaf: &str, shape: &[i64]) -> Vec<f32> {
    let mut values = noise(&format!("{layer}/{leaf}"), shape.iter().product());
    let root = |fan: i64| (6.0 / fan as f64).sqrt() as f32;
    let ceiling = if layer == "conv1" { 3.0 } else { 1.0 };
    for x in &mut values {
        *x = match leaf {
            "kernel" => *x * root(shape[..shape.len() - 1].iter().product()) * ceiling,
            "depthwise_kernel" => *x * root(shape[0] * shape[1]),
            "gamma" => 1.0 + 0.1 * *x,
            "moving_variance" => 1.0 + 0.3 * *x,
            _ => 0.1 * *x,
        };
    }
    values
}

/// What `images` of gen.py gives, as `[n, 3, h, w]`.
fn images(n: i64, side: i64) -> Tensor {
    let values: Vec<f32> = noise(&format!("images {side}"), n * side * side * 3).iter().map(|x| ((x + 1.0) * 128.0).floor()).collect();
    Tensor::from_slice(&values).view([n, side, side, 3]).permute([0, 3, 1, 2])
}

/// What `some` of gen.py keeps of a tensor whose axes are in Keras' order.
fn some(x: &Tensor) -> Vec<f32> {
    let flat = Vec::<f32>::try_from(&x.detach().to_kind(Kind::Float).contiguous().view(-1)).unwrap();
    flat.iter().step_by(flat.len().div_ceil(256).max(1)).copied().collect()
}

/// Keras' answers, by name.
pub(crate) struct Answers(Named);

impl Answers {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self(from_bytes(bytes).unwrap().0)
    }

    /// Asserts that values agree within `tolerance` of the greatest one.
    pub(crate) fn assert(&self, name: &str, ours: &[f32], tolerance: f32) {
        let keras = Vec::<f32>::try_from(&self.0[name].view(-1)).unwrap();
        assert_eq!(ours.len(), keras.len(), "{name}");
        let scale = keras.iter().fold(1e-6f32, |most, x| most.max(x.abs()));
        let apart = ours.iter().zip(&keras).fold(0f32, |most, (a, b)| most.max((a - b).abs()));
        assert!(apart <= tolerance * scale, "{name}: {apart} apart, where the greatest value is {scale}");
    }
}

fn stored() -> Answers {
    Answers::of(include_bytes!("../../tests/parity/mobilenet.safetensors"))
}

fn mobilenet(kind: Kind) -> (nn::VarStore, Network) {
    tch::set_num_threads(1);
    let mut store = nn::VarStore::new(Device::Cpu);
    let backbone = Backbone::named("mobilenet").unwrap();
    let trunk = backbone.build(&store.root(), None);
    store.set_kind(kind);
    fill(&trunk.graph, &variables(&store));
    (store, trunk)
}

/// Gives the variables of a graph the values of `weight`.
pub(crate) fn fill(graph: &Graph, named: &Named) {
    for layer in &graph.layers {
        for variable in graph.variables(layer) {
            let shape = variable.keras_shape();
            let values = Tensor::from_slice(&weight(&layer.name, variable.keras, &shape)).view(shape.as_slice());
            let own = &named[&format!("{}.{}", layer.name, variable.ours)];
            no_grad(|| own.shallow_clone().copy_(&values.permute(variable.back())));
        }
    }
}

/// Float32 sums in another order differ in the last bits; 27 layers leave some 1e-6 of the greatest value.
#[test]
fn a_forward_pass_gives_the_activations_of_keras() {
    let answers = stored();
    let _alone = draw_alone();
    let (_store, trunk) = mobilenet(Kind::Float);
    let scaling = Backbone::named("mobilenet").unwrap().scaling;
    for side in [32, 75] {
        let xs = no_grad(|| trunk.forward(&scaling.apply(&images(2, side)), Mode::Infer));
        answers.assert(&format!("{side}/pooled"), &some(&global_average(&xs)), 1e-5);
    }
}

/// In double precision on both sides: see gen.py. The answers are stored in float32.
#[test]
fn a_training_step_gives_the_loss_gradients_and_statistics_of_keras() {
    let answers = stored();
    let _alone = draw_alone();
    let (store, trunk) = mobilenet(Kind::Double);
    let scaling = Backbone::named("mobilenet").unwrap().scaling;
    let head = dense(&(store.root() / "predictions"), 1024, 2);
    let mut named = variables(&store);
    let mut only_head = Graph::default();
    let x = only_head.input();
    only_head.layers[x.0].channels = 1024;
    only_head.dense("predictions", x, 2, Activation::Linear);
    fill(&only_head, &named);
    let logits = head(&global_average(&trunk.forward(&scaling.apply(&images(4, 64).to_kind(Kind::Double)), Mode::Train { frozen: 0 })));
    let loss = logits.log_softmax(-1, Kind::Double).nll_loss(&Tensor::from_slice(&[0i64, 1, 1, 0]));
    answers.assert("step/loss", &some(&loss), 1e-6);
    loss.backward();

    let mut gradient = |name: &str| named.remove(name).unwrap().grad();
    let spatial = |x: &Tensor, order: [i64; 4]| some(&x.permute(order));
    answers.assert("step/gradient/conv1/kernel", &spatial(&gradient("conv1.weight"), [2, 3, 1, 0]), 1e-6);
    answers.assert("step/gradient/conv_dw_2/depthwise_kernel", &spatial(&gradient("conv_dw_2.weight"), [2, 3, 0, 1]), 1e-6);
    answers.assert("step/gradient/conv_pw_13/kernel", &spatial(&gradient("conv_pw_13.weight"), [2, 3, 1, 0]), 1e-6);
    answers.assert("step/gradient/conv_pw_7_bn/gamma", &some(&gradient("conv_pw_7_bn.weight")), 1e-6);
    answers.assert("step/gradient/conv_pw_13_bn/beta", &some(&gradient("conv_pw_13_bn.bias")), 1e-6);
    for layer in ["conv1_bn", "conv_dw_5_bn", "conv_pw_13_bn"] {
        for (ours, keras) in [("running_mean", "moving_mean"), ("running_var", "moving_variance")] {
            answers.assert(&format!("step/{layer}/{keras}"), &some(&named[&format!("{layer}.{ours}")]), 1e-6);
        }
    }
}

/// From the third step on the gradients are tiny, so that epsilon tells.
#[test]
fn adam_takes_the_steps_of_keras() {
    let answers = Answers::of(include_bytes!("../../tests/parity/adam.safetensors"));
    let variable = Tensor::from_slice(&noise("adam", 16)).set_requires_grad(true);
    let named = Named::from([("x".to_owned(), variable.shallow_clone())]);
    let mut adam = Optimiser::new(Rule::Adam { epsilon: 1e-7, weight_decay: 0.0 }, &named);
    let mut steps = Vec::new();
    for step in 0..5 {
        let gradient = Tensor::from_slice(&noise(&format!("gradient {step}"), 16)) * 10f64.powi(-2 * step);
        // The gradient of a sum of products is the other factor.
        (&variable * gradient).sum(Kind::Float).backward();
        adam.step(&named, 1e-3, None);
        steps.extend(some(&variable));
    }
    answers.assert("steps", &steps, 1e-6);
}

/// Numbers in all variables, as `model.count_params()` counts them.
pub(crate) fn parameters(graph: &Graph) -> i64 {
    let of = |layer: &Layer| -> i64 {
        let own: i64 = graph.variables(layer).iter().map(|variable| variable.shape.iter().product::<i64>()).sum();
        // `Normalization` counts its images.
        own + i64::from(matches!(layer.op, Op::Normalization))
    };
    graph.layers.iter().map(of).sum()
}

/// What `check` knows is what the networks have. Keras' own word on both is asked for in tests/it/parity.rs.
#[test]
fn the_registry_agrees_with_what_check_knows() {
    let facts = tomograph::stages::backbones::BACKBONES;
    assert_eq!(BACKBONES.iter().map(|one| one.name).collect::<Vec<_>>(), facts.iter().map(|one| one.name).collect::<Vec<_>>());
    for (backbone, facts) in BACKBONES.iter().zip(facts) {
        let graph = backbone.graph(false);
        let features = graph.layers.last().map(|layer| layer.channels);
        assert_eq!((features, parameters(&graph)), (Some(i64::from(facts.features)), facts.parameters as i64), "{}", facts.name);
        let whole = backbone.graph(true);
        assert_eq!(whole.layers.last().map(|layer| layer.channels), Some(1000));
        // A classifier changes neither the names of the trunk's layers nor their order.
        let names = |graph: &Graph| -> Vec<String> {
            graph.order().iter().map(|at| &graph.layers[*at]).filter(|layer| !layer.top).map(|layer| layer.name.clone()).collect()
        };
        assert_eq!(names(&graph), names(&whole));
    }
}
