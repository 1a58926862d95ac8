//! Optimisers by Keras' formulas (`keras.optimizers`), in place: Adam (Kingma and Ba, 2014, arXiv:1412.6980), AdamW, SGD.
//!
//! Ours because tch can neither read nor set its optimisers' state, without which no training can be resumed.

use crate::weights::{Named, assign};
use anyhow::{Result, ensure};
use std::collections::BTreeMap;
use tch::{Kind, Tensor, no_grad};

/// Which formula, and its settings, named as in Keras.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Rule {
    /// The betas are Keras' defaults, 0.9 and 0.999. `epsilon` is added to √v (Keras: 1e-7); `weight_decay` is 0 but for AdamW.
    Adam { epsilon: f64, weight_decay: f64 },
    /// `momentum` 0 is plain gradient descent.
    Sgd { momentum: f64, nesterov: bool },
}

const BETA_1: f64 = 0.9;
const BETA_2: f64 = 0.999;

/// A rule and what it remembers of each variable that is trained.
pub(crate) struct Optimiser {
    rule: Rule,
    /// Steps taken.
    pub(crate) steps: u64,
    /// By name (`first`, `second`, `velocity`), then by variable.
    pub(crate) memory: BTreeMap<&'static str, Named>,
}

impl Optimiser {
    /// Remembers nothing (zeros) of every variable that wants a gradient.
    pub(crate) fn new(rule: Rule, variables: &Named) -> Self {
        let names: &[&'static str] = match rule {
            Rule::Adam { .. } => &["first", "second"],
            Rule::Sgd { momentum, .. } if momentum > 0.0 => &["velocity"],
            Rule::Sgd { .. } => &[],
        };
        let trained = || variables.iter().filter(|(_, variable)| variable.requires_grad());
        let zeros = || trained().map(|(name, variable)| (name.clone(), no_grad(|| variable.detach().zeros_like()))).collect();
        Self { rule, steps: 0, memory: names.iter().map(|name| (*name, zeros())).collect() }
    }

    /// Takes over what another process remembered. On an error only some of it may have been.
    pub(crate) fn recall(&mut self, steps: u64, memory: &BTreeMap<String, Named>) -> Result<()> {
        for (name, own) in &self.memory {
            ensure!(memory.contains_key(*name) || own.is_empty(), "it has no {name} moments");
            if let Some(values) = memory.get(*name) {
                assign(own, values)?;
            }
        }
        self.steps = steps;
        Ok(())
    }

    /// Moves every variable that has a gradient, and clears the gradient. `factor` (no dimension) multiplies the gradients first.
    pub(crate) fn step(&mut self, variables: &Named, rate: f64, factor: Option<&Tensor>) {
        self.steps += 1;
        no_grad(|| {
            for (name, variable) in variables {
                let gradient = variable.grad();
                if !variable.requires_grad() || !gradient.defined() {
                    continue;
                }
                match factor {
                    Some(factor) => self.apply(name, variable, &(&gradient * factor), rate),
                    None => self.apply(name, variable, &gradient, rate),
                }
            }
        });
        forget(variables);
    }

    fn apply(&mut self, name: &str, variable: &Tensor, gradient: &Tensor, rate: f64) {
        let mut variable = variable.shallow_clone();
        let mut memory = |of: &str| self.memory.get_mut(of).and_then(|named| named.get_mut(name)).map(|tensor| tensor.shallow_clone());
        match self.rule {
            Rule::Adam { epsilon, weight_decay } => {
                let (Some(mut first), Some(mut second)) = (memory("first"), memory("second")) else { return };
                if weight_decay > 0.0 {
                    let _ = variable.g_mul_scalar_(1.0 - weight_decay * rate);
                }
                let steps = self.steps as f64;
                let rate = rate * (1.0 - BETA_2.powf(steps)).sqrt() / (1.0 - BETA_1.powf(steps));
                let _ = first.lerp_(gradient, 1.0 - BETA_1);
                let _ = second.lerp_(&gradient.square(), 1.0 - BETA_2);
                let mut root = second.sqrt();
                let _ = root.g_add_scalar_(epsilon);
                let _ = variable.addcdiv_(&(first * -rate), &root);
            }
            Rule::Sgd { momentum, nesterov } => match memory("velocity") {
                Some(mut velocity) => {
                    let _ = velocity.g_mul_scalar_(momentum).g_sub_(&(gradient * rate));
                    if nesterov {
                        let _ = variable.g_add_(&(velocity * momentum - gradient * rate));
                    } else {
                        let _ = variable.g_add_(&velocity);
                    }
                }
                None => {
                    let _ = variable.g_sub_(&(gradient * rate));
                }
            },
        }
    }
}

/// Clears the gradients of all variables.
pub(crate) fn forget(variables: &Named) {
    for variable in variables.values() {
        variable.shallow_clone().zero_grad();
    }
}

/// The norm of all gradients together, a tensor without dimension, in single precision.
pub(crate) fn gradient_norm(variables: &Named) -> Tensor {
    no_grad(|| {
        let gradients = variables.values().map(|variable| variable.grad()).filter(|gradient| gradient.defined());
        let norms: Vec<Tensor> = gradients.map(|gradient| gradient.norm().to_kind(Kind::Float)).collect();
        if norms.is_empty() { Tensor::from(0f32) } else { Tensor::stack(&norms, 0).norm() }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two steps with gradients 0.5 and -1 from 1, by the formulas written out in `keras.optimizers`.
    #[test]
    fn sgd_and_adamw_take_the_steps_of_keras() {
        let steps = |rule: Rule| {
            let x = Tensor::from_slice(&[1f64]).set_requires_grad(true);
            let named = Named::from([("x".to_owned(), x.shallow_clone())]);
            let mut optimiser = Optimiser::new(rule, &named);
            for gradient in [0.5, -1.0] {
                (&x * gradient).sum(Kind::Double).backward();
                optimiser.step(&named, 0.1, None);
            }
            x.double_value(&[0])
        };
        let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} {b}");
        near(steps(Rule::Sgd { momentum: 0.0, nesterov: false }), 1.0 - 0.05 + 0.1);
        // v = -0.05, then -0.045 + 0.1.
        near(steps(Rule::Sgd { momentum: 0.9, nesterov: false }), 1.0 - 0.05 + 0.055);
        // Nesterov adds 0.9 v - 0.1 g instead.
        near(steps(Rule::Sgd { momentum: 0.9, nesterov: true }), 1.0 + (-0.045 - 0.05) + (0.0495 + 0.1));
        let plain = steps(Rule::Adam { epsilon: 1e-7, weight_decay: 0.0 });
        // The first step of Adam is the rate; decay takes 0.1 * 0.5 of the weight before each.
        let first = 1.0 - 0.1 * 0.5 / (0.5 + 1e-7 / 0.001f64.sqrt());
        let second = plain - first;
        let decayed = (1.0 * 0.95 - 1.0 + first) * 0.95 + second;
        near(steps(Rule::Adam { epsilon: 1e-7, weight_decay: 0.5 }), decayed);
    }

    #[test]
    fn a_variable_without_a_gradient_stays() {
        let (x, y) = (Tensor::from_slice(&[1f32]).set_requires_grad(true), Tensor::from_slice(&[1f32]).set_requires_grad(true));
        let named = Named::from([("x".to_owned(), x.shallow_clone()), ("y".to_owned(), y.shallow_clone())]);
        (&x * 3.0).sum(Kind::Float).backward();
        assert_eq!(gradient_norm(&named).double_value(&[]), 3.0);
        Optimiser::new(Rule::Adam { epsilon: 1e-7, weight_decay: 0.1 }, &named).step(&named, 0.1, Some(&Tensor::from(0.5f32)));
        assert!(x.double_value(&[0]) < 1.0 && y.double_value(&[0]) == 1.0);
    }
}
