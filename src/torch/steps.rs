//! Whether a training step is Keras': losses, gradients, statistics and optimisers by the answers that `tests/parity/steps.py` stored.

use crate::backbones::Backbone;
use crate::classifier::Classifier;
use crate::optimiser::{Optimiser, Rule, gradient_norm};
use crate::parity::{Answers, fill, noise, weight};
use crate::pixels::Scaling;
use crate::recipe::{Recipe, Validation};
use crate::seeds::draw_alone;
use crate::weights::Named;
use tch::{Device, Kind, Tensor, no_grad};
use tomograph::stages::classifier_train::{Input, Normalise, Pooling, Task, Uncertain};

const SIDE: i64 = 64;

/// Greatest difference of a loss or a norm, as a share of it.
const TOLERANCE: f32 = 1e-3;

fn answers() -> Answers {
    Answers::of(include_bytes!("../../tests/parity/steps.safetensors"))
}

/// A network in double precision (see steps.py) with the weights of the formula.
fn network(name: &str) -> Classifier {
    let backbone = Backbone::named(name).unwrap();
    let recipe = Recipe {
        architecture: "classifier".to_owned(),
        backbone: name.to_owned(),
        input: [SIDE as usize; 2],
        normalise: Normalise::FullRange,
        scaling: Scaling::MinusOneToOne,
        dense: vec![16],
        dropout: 0.0,
        // Keras' own of this network.
        bn_momentum: if name == "mobilenetv2" { 0.999 } else { 0.99 },
        classes: ["a", "b", "c"].map(str::to_owned).to_vec(),
        task: Task::Classes,
        uncertain: Uncertain::Ignore,
        channels: Input::Repeat,
        pooling: Pooling::Average,
        features: None,
        epoch: 0,
        validation: Validation::default(),
        selected_on: None,
    };
    let mut network = Classifier::new(recipe, 1, None, Device::Cpu).unwrap();
    network.kind = Kind::Double;
    for variable in network.variables.values() {
        no_grad(|| variable.shallow_clone().set_data(&variable.to_kind(Kind::Double)));
    }
    fill(&backbone.graph(false), &network.variables);
    for (layer, shape) in [("dense_1", [backbone.features, 16]), ("predictions", [16, 3])] {
        let values = Tensor::from_slice(&weight(layer, "kernel", &shape)).view(shape.as_slice());
        no_grad(|| network.variables[&format!("{layer}.weight")].shallow_clone().copy_(&values.tr()));
        let bias = Tensor::from_slice(&weight(layer, "bias", &shape[1..]));
        no_grad(|| network.variables[&format!("{layer}.bias")].shallow_clone().copy_(&bias));
    }
    network
}

#[test]
fn a_step_of_three_networks_gives_the_loss_and_every_gradient_of_keras() {
    let _alone = draw_alone();
    tch::set_num_threads(1);
    let answers = answers();
    for name in ["mobilenetv2", "resnet50", "densenet121"] {
        let network = network(name);
        let grey: Vec<f32> = noise(&format!("grey {SIDE}"), 4 * SIDE * SIDE).iter().map(|x| ((x + 1.0) * 128.0).floor()).collect();
        let images = Tensor::from_slice(&grey).view([4, 1, SIDE, SIDE]).to_kind(Kind::Double);
        let loss = network.logits(&images, true).cross_entropy_for_logits(&Tensor::from_slice(&[0i64, 2, 1, 2]));
        answers.assert(&format!("{name}/loss"), &[loss.double_value(&[]) as f32], TOLERANCE);
        loss.backward();
        let graph = Backbone::named(name).unwrap().graph(false);
        let trunk = graph
            .layers
            .iter()
            .flat_map(|layer| graph.variables(layer).into_iter().map(move |one| (layer.name.as_str(), one.ours, one.keras)));
        let head = ["dense_1", "predictions"].into_iter().flat_map(|layer| [(layer, "weight", "kernel"), (layer, "bias", "bias")]);
        let mut compared = 0;
        for (layer, ours, keras) in trunk.chain(head) {
            let variable = &network.variables[&format!("{layer}.{ours}")];
            let figure = match variable.requires_grad() {
                true => variable.grad().norm(),
                false => variable.mean(Kind::Double),
            };
            answers.assert(&format!("{name}/{layer}/{keras}"), &[figure.double_value(&[]) as f32], TOLERANCE);
            compared += 1;
        }
        assert_eq!(compared, network.variables.len());
    }
}

#[test]
fn ten_steps_of_each_optimiser_are_those_of_keras() {
    let answers = answers();
    let adam = |weight_decay| Rule::Adam { epsilon: 1e-7, weight_decay };
    let rules = [
        ("adam", adam(0.0), 1e-3, None),
        ("adamw", adam(0.1), 1e-3, None),
        ("sgd", Rule::Sgd { momentum: 0.9, nesterov: true }, 1e-2, None),
        ("clipped", adam(0.0), 1e-3, Some(0.5)),
    ];
    for (name, rule, rate, clip) in rules {
        let variable = Tensor::from_slice(&noise("adam", 16)).set_requires_grad(true);
        let named = Named::from([("x".to_owned(), variable.shallow_clone())]);
        let mut optimiser = Optimiser::new(rule, &named);
        let mut steps = Vec::new();
        for step in 0..10 {
            let gradient = Tensor::from_slice(&noise(&format!("gradient {step}"), 16)) * 10f64.powi(-(step - 4).max(0));
            // The gradient of a sum of products is the other factor.
            (&variable * gradient).sum(Kind::Float).backward();
            let factor = clip.map(|clip: f64| gradient_norm(&named).clamp_min(clip).reciprocal() * clip);
            optimiser.step(&named, rate, factor.as_ref());
            steps.extend(Vec::<f32>::try_from(&variable.detach()).unwrap());
        }
        answers.assert(&format!("steps/{name}"), &steps, 1e-6);
    }
}
