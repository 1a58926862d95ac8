//! Whether the U-Net computes what it computes in Keras, by the answers that `tests/parity/unet.py` stored.

use super::loss::loss;
use super::model::{Recipe, Unet};
use super::net::tests::paper;
use crate::network::Mode;
use crate::parity::{Answers, fill, noise, parameters};
use crate::seeds::draw_alone;
use tch::{Device, Kind, Tensor, no_grad};
use tomograph::stages::lungs_train::Loss;

const SIDE: i64 = 48;

fn answers() -> Answers {
    Answers::of(include_bytes!("../../../tests/parity/unet.safetensors"))
}

/// The network with the weights of the formula, in `kind`, and with dropout where said.
fn network(kind: Kind, dropout: bool) -> Unet {
    let mut shape = paper(4);
    if !dropout {
        shape.down.iter_mut().chain(&mut shape.up).for_each(|rate| *rate = 0.0);
    }
    let recipe = Recipe { architecture: "unet".to_owned(), shape, side: SIDE as u32, epoch: 0, validation_dice: None };
    let mut unet = Unet::new(recipe, 1, Device::Cpu);
    unet.kind = kind;
    for variable in unet.variables.values() {
        no_grad(|| variable.shallow_clone().set_data(&variable.to_kind(kind)));
    }
    fill(&unet.recipe.shape.graph(), &unet.variables);
    unet
}

/// `[2, 1, SIDE, SIDE]`: pictures of 0 to 255 and masks of 0 or 1.
fn pair() -> (Tensor, Tensor) {
    let of = |name: &str, value: fn(f32) -> f32| {
        let values: Vec<f32> = noise(name, 2 * SIDE * SIDE).into_iter().map(value).collect();
        Tensor::from_slice(&values).view([2, 1, SIDE, SIDE])
    };
    (of("lungs", |x| ((x + 1.0) * 128.0).floor()), of("masks", |x| if x > 0.0 { 1.0 } else { 0.0 }))
}

#[test]
fn probabilities_are_those_of_keras() {
    let _alone = draw_alone();
    tch::set_num_threads(1);
    let shares = Vec::<f32>::try_from(&network(Kind::Float, true).shares(&pair().0).view(-1)).unwrap();
    let some: Vec<f32> = shares.iter().step_by(shares.len().div_ceil(256)).copied().collect();
    answers().assert("probabilities", &some, 1e-5);
}

/// In double precision on both sides.
#[test]
fn a_step_gives_the_loss_and_every_gradient_of_keras() {
    let _alone = draw_alone();
    tch::set_num_threads(1);
    let (answers, unet) = (answers(), network(Kind::Double, false));
    let (images, masks) = pair();
    let logits = unet.network.forward(&(images.to_kind(Kind::Double) / 255.0), Mode::Train { frozen: 0 });
    let lost = loss(Loss::BceDice, &logits, &masks.to_kind(Kind::Double));
    answers.assert("loss", &[lost.double_value(&[]) as f32], 1e-5);
    lost.backward();
    let graph = unet.recipe.shape.graph();
    let mut compared = 0;
    for layer in &graph.layers {
        for variable in graph.variables(layer) {
            let norm = unet.variables[&format!("{}.{}", layer.name, variable.ours)].grad().norm().double_value(&[]);
            answers.assert(&format!("gradient/{}/{}", layer.name, variable.keras), &[norm as f32], 1e-4);
            compared += 1;
        }
    }
    assert_eq!(compared, 46);
    for filters in [16, 64] {
        answers.assert(&format!("parameters/{filters}"), &[parameters(&paper(filters).graph()) as f32], 1e-7);
    }
}
