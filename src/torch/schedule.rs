//! The learning rate of each step. Knows nothing of networks.

use serde::{Deserialize, Serialize};
use tomograph::stages::training::{Schedule, Shape};

/// The learning rate over a training of `steps` steps in all.
pub(crate) struct Rate<'a> {
    pub(crate) base: f64,
    pub(crate) schedule: &'a Schedule,
    pub(crate) steps: u64,
}

/// What a plateau needs to remember from epoch to epoch. Numbers with a fraction are kept as bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Plateau {
    /// What the rate is multiplied by.
    share: u64,
    /// Best score so far, and epochs without a better one.
    best: Option<u64>,
    waited: u64,
}

impl Plateau {
    pub(crate) fn new() -> Self {
        Self { share: 1f64.to_bits(), best: None, waited: 0 }
    }

    /// An epoch has ended.
    pub(crate) fn saw(&mut self, schedule: &Schedule, score: f64) {
        if schedule.shape != Shape::Plateau {
            return;
        }
        if self.best.is_none_or(|best| score > f64::from_bits(best)) {
            (self.best, self.waited) = (Some(score.to_bits()), 0);
            return;
        }
        self.waited += 1;
        if self.waited >= schedule.patience() {
            self.share = (f64::from_bits(self.share) * schedule.factor()).to_bits();
            self.waited = 0;
        }
    }
}

impl Rate<'_> {
    /// The rate of the step before which `done` were taken.
    pub(crate) fn at(&self, done: u64, plateau: &Plateau) -> f64 {
        let Schedule { shape, warmup, floor, .. } = *self.schedule;
        if done < warmup {
            return self.base * done as f64 / warmup as f64;
        }
        let share = match shape {
            Shape::Constant => 1.0,
            Shape::Cosine => {
                let past = (done - warmup) as f64 / (self.steps.saturating_sub(warmup)).max(1) as f64;
                floor + (1.0 - floor) * 0.5 * (1.0 + (std::f64::consts::PI * past.min(1.0)).cos())
            }
            Shape::Plateau => f64::from_bits(plateau.share).max(floor),
        };
        self.base * share
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `keras.optimizers.schedules.CosineDecay(0.0, 8, alpha=0.1, warmup_target=1.0, warmup_steps=2)` and without warmup.
    #[test]
    fn a_cosine_falls_as_keras_has_it() {
        let schedule = |warmup| Schedule { shape: Shape::Cosine, warmup, floor: 0.1, ..Schedule::default() };
        let (warm, cold) = (schedule(2), schedule(0));
        let rates = |schedule: &Schedule, steps| {
            let rate = Rate { base: 1.0, schedule, steps };
            (0..=steps).step_by(2).map(|done| (rate.at(done, &Plateau::new()) * 1e6).round() / 1e6).collect::<Vec<_>>()
        };
        assert_eq!(rates(&warm, 10), [0.0, 1.0, 0.868198, 0.55, 0.231802, 0.1]);
        assert_eq!(rates(&cold, 8), [1.0, 0.868198, 0.55, 0.231802, 0.1]);
        assert_eq!(Rate { base: 1.0, schedule: &warm, steps: 10 }.at(1, &Plateau::new()), 0.5);
    }

    #[test]
    fn a_plateau_lowers_the_rate_down_to_the_floor() {
        let schedule = Schedule { shape: Shape::Plateau, patience: Some(2), floor: 0.02, ..Schedule::default() };
        let rate = Rate { base: 1.0, schedule: &schedule, steps: 100 };
        let mut plateau = Plateau::new();
        let mut seen = Vec::new();
        for score in [0.5, 0.5, 0.6, 0.6, 0.6, 0.1, 0.6] {
            plateau.saw(&schedule, score);
            seen.push(rate.at(50, &plateau));
        }
        assert_eq!(seen, [1.0, 1.0, 1.0, 1.0, 0.1, 0.1, 0.02]);
    }
}
