//! Adam by Keras' formula (`keras.optimizers.Adam`; Kingma and Ba, 2014, arXiv:1412.6980), in place.
//!
//! Ours because tch can neither read nor set its optimiser's state, without which no training can be resumed.

use crate::weights::Named;
use tch::{Tensor, no_grad};

/// Settings, named as in Keras. The betas are its defaults, 0.9 and 0.999.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rates {
    pub(crate) learning_rate: f64,
    /// Added to √v, as Keras does (its default is 1e-7).
    pub(crate) epsilon: f64,
}

const BETA_1: f64 = 0.9;
const BETA_2: f64 = 0.999;

/// The moments of the variables that are trained.
pub(crate) struct Adam {
    rates: Rates,
    /// Steps taken.
    pub(crate) steps: u64,
    /// Running mean of the gradients, by variable.
    pub(crate) first: Named,
    /// Running mean of their squares, by variable.
    pub(crate) second: Named,
}

impl Adam {
    /// Moments of 0 for every variable that wants a gradient.
    pub(crate) fn new(rates: Rates, variables: &Named) -> Self {
        let trained = || variables.iter().filter(|(_, variable)| variable.requires_grad());
        let zeros = || trained().map(|(name, variable)| (name.clone(), variable.detach().zeros_like())).collect();
        Self { rates, steps: 0, first: zeros(), second: zeros() }
    }

    /// Moves every variable that has a gradient, and clears the gradient.
    pub(crate) fn step(&mut self, variables: &Named) {
        self.steps += 1;
        let steps = self.steps as f64;
        let rate = self.rates.learning_rate * (1.0 - BETA_2.powf(steps)).sqrt() / (1.0 - BETA_1.powf(steps));
        no_grad(|| {
            for ((name, first), second) in self.first.iter_mut().zip(self.second.values_mut()) {
                let Some(variable) = variables.get(name) else { continue };
                let gradient = variable.grad();
                if !gradient.defined() {
                    continue;
                }
                let _ = first.lerp_(&gradient, 1.0 - BETA_1);
                let _ = second.lerp_(&gradient.square(), 1.0 - BETA_2);
                let move_by: Tensor = &*first / (second.sqrt() + self.rates.epsilon) * rate;
                let mut variable = variable.shallow_clone();
                let _ = variable.g_sub_(&move_by);
                variable.zero_grad();
            }
        });
    }
}
