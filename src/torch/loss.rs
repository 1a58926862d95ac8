//! What a network is blamed for: cross-entropy of classes, binary cross-entropy of labels. Knows nothing of images.

use crate::arrays::{Arrays, Truth};
use anyhow::{Result, bail, ensure};
use tch::{Device, Kind, Tensor};
use tomograph::stages::classifier_train::{Task, Uncertain};
use tomograph::stages::training::ClassWeights;

/// A loss and its settings.
pub(crate) struct Loss {
    task: Task,
    /// Share of the target that is spread over all classes.
    smoothing: f64,
    /// Weight of each class, `[k]`; of labels `[2, k]`, of negatives and of positives.
    weights: Option<Tensor>,
}

impl Loss {
    /// The loss of a training on such arrays.
    pub(crate) fn new(task: Task, smoothing: f64, weights: &ClassWeights, learn: &Arrays, device: Device) -> Result<Self> {
        let weights = self::weights(weights, learn)?.map(|weights| weights.to_device(device));
        Ok(Self { task, smoothing, weights })
    }

    /// The mean loss of a batch: logits `[n, k]` in single precision, targets as [`targets`] gives them.
    pub(crate) fn of(&self, logits: &Tensor, targets: &Tensor) -> Tensor {
        match self.task {
            Task::Classes => self.of_classes(logits, targets),
            Task::Labels => self.of_labels(logits, targets),
        }
    }

    fn of_classes(&self, logits: &Tensor, targets: &Tensor) -> Tensor {
        if self.smoothing == 0.0 && self.weights.is_none() {
            return logits.cross_entropy_for_logits(targets);
        }
        let shares = logits.log_softmax(-1, None::<Kind>);
        let mut each = -shares.gather(1, &targets.unsqueeze(1), false).squeeze_dim(1) * (1.0 - self.smoothing);
        if self.smoothing > 0.0 {
            each -= shares.mean_dim(1i64, false, None::<Kind>) * self.smoothing;
        }
        if let Some(weights) = &self.weights {
            // As Keras weighs samples: the mean is over images, not over weights.
            each *= weights.index_select(0, targets);
        }
        each.mean(None::<Kind>)
    }

    fn of_labels(&self, logits: &Tensor, targets: &Tensor) -> Tensor {
        let known = targets.isnan().logical_not().to_kind(logits.kind());
        let truth = targets.nan_to_num(0.0, None, None);
        let smooth = &truth * (1.0 - self.smoothing) + self.smoothing / 2.0;
        // max(x, 0) - x t + log(1 + exp(-|x|)).
        let each = logits.relu() - logits * smooth + (-logits.abs()).exp().log1p();
        let count = known.sum(None::<Kind>).clamp_min(1.0);
        let counted = match &self.weights {
            Some(weights) => known * (weights.get(0) * (1.0 - &truth) + weights.get(1) * truth),
            None => known,
        };
        (each * counted).sum(None::<Kind>) / count
    }
}

/// Weights of the classes, if they are not all 1.
fn weights(wanted: &ClassWeights, learn: &Arrays) -> Result<Option<Tensor>> {
    let names = &learn.classes;
    let counts: Vec<[f64; 2]> = match &learn.truth {
        Truth::Classes(of) => {
            let count = |class: usize| of.iter().filter(|one| **one as usize == class).count() as f64;
            (0..names.len()).map(|class| [0.0, count(class)]).collect()
        }
        Truth::Labels(of) => {
            let count = |label: usize, value: f32| of.iter().skip(label).step_by(names.len()).filter(|one| **one == value).count() as f64;
            (0..names.len()).map(|label| [count(label, 0.0), count(label, 1.0)]).collect()
        }
    };
    let labels = matches!(learn.truth, Truth::Labels(_));
    let pairs: Vec<[f64; 2]> = match wanted {
        ClassWeights::None => return Ok(None),
        ClassWeights::Balanced if labels => {
            // A label that is never positive, or never negative, teaches nothing that a weight could mend.
            let half = |all: f64, own: f64| if own > 0.0 { all / (2.0 * own) } else { 1.0 };
            counts.iter().map(|[no, yes]| [half(no + yes, *no), half(no + yes, *yes)]).collect()
        }
        ClassWeights::Balanced => {
            let all: f64 = counts.iter().map(|[_, own]| own).sum();
            counts.iter().map(|[_, own]| [1.0, all / (names.len() as f64 * own)]).collect()
        }
        ClassWeights::Given(given) => {
            if let Some(name) = given.keys().find(|name| !names.contains(name)) {
                bail!("param `class_weights` names `{name}`, which is none of the {} classes", names.len());
            }
            let missing = names.iter().filter(|name| !given.contains_key(*name)).count();
            ensure!(missing == 0, "param `class_weights` has no weight for {missing} of the {} classes", names.len());
            names.iter().map(|name| [1.0, given[name]]).collect()
        }
    };
    let column = |at: usize| pairs.iter().map(|pair| pair[at] as f32).collect::<Vec<_>>();
    let positive = Tensor::from_slice(&column(1));
    Ok(Some(if labels { Tensor::stack(&[Tensor::from_slice(&column(0)), positive], 0) } else { positive }))
}

/// What a label's entry counts as: 1, 0, or NaN where it does not count. Entries are 1, 0, -1 (uncertain) or NaN (blank).
pub(crate) fn settled(entry: f32, uncertain: Uncertain) -> f32 {
    match (entry, uncertain) {
        (-1.0, Uncertain::Ignore) => f32::NAN,
        (-1.0, Uncertain::Positive) => 1.0,
        (-1.0, Uncertain::Negative) => 0.0,
        _ => entry,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(ours: &Tensor, keras: f64) {
        let ours = ours.double_value(&[]);
        assert!((ours - keras).abs() < 1e-6, "{ours} {keras}");
    }

    fn loss(task: Task, smoothing: f64, weights: Option<Tensor>) -> Loss {
        Loss { task, smoothing, weights }
    }

    /// `keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1)` and with `sample_weight`.
    #[test]
    fn classes_are_smoothed_and_weighed_as_keras_does() {
        let logits = Tensor::from_slice2(&[[1f32, -1.0, 0.5], [0.0, 2.0, -2.0]]);
        let targets = Tensor::from_slice(&[0i64, 2]);
        let log = |row: [f64; 3]| {
            let sum: f64 = row.iter().map(|x| x.exp()).sum();
            row.map(|x| x - sum.ln())
        };
        let (a, b) = (log([1.0, -1.0, 0.5]), log([0.0, 2.0, -2.0]));
        near(&loss(Task::Classes, 0.0, None).of(&logits, &targets), -(a[0] + b[2]) / 2.0);
        let smooth = |row: [f64; 3], at: usize| -(0.9 * row[at] + 0.1 / 3.0 * row.iter().sum::<f64>());
        near(&loss(Task::Classes, 0.1, None).of(&logits, &targets), (smooth(a, 0) + smooth(b, 2)) / 2.0);
        let weights = Some(Tensor::from_slice(&[2f32, 1.0, 0.5]));
        near(&loss(Task::Classes, 0.0, weights).of(&logits, &targets), -(2.0 * a[0] + 0.5 * b[2]) / 2.0);
    }

    #[test]
    fn blank_labels_do_not_count() {
        let logits = Tensor::from_slice2(&[[1f32, -3.0], [100.0, 0.5]]).set_requires_grad(true);
        let targets = Tensor::from_slice2(&[[1f32, f32::NAN], [f32::NAN, 0.0]]);
        let bce = |x: f64, t: f64| -(t * (1.0 / (1.0 + (-x).exp())).ln() + (1.0 - t) * (1.0 / (1.0 + x.exp())).ln());
        let found = loss(Task::Labels, 0.0, None).of(&logits, &targets);
        near(&found, (bce(1.0, 1.0) + bce(0.5, 0.0)) / 2.0);
        found.backward();
        let gradient = Vec::<f32>::try_from(&logits.grad().view(-1)).unwrap();
        assert!(gradient[1] == 0.0 && gradient[2] == 0.0 && gradient[0] < 0.0 && gradient[3] > 0.0, "{gradient:?}");
        let weights = Some(Tensor::from_slice2(&[[1f32, 3.0], [2.0, 1.0]]));
        near(&loss(Task::Labels, 0.0, weights).of(&logits, &targets), (2.0 * bce(1.0, 1.0) + 3.0 * bce(0.5, 0.0)) / 2.0);
        near(&loss(Task::Labels, 0.2, None).of(&logits, &targets), (bce(1.0, 0.9) + bce(0.5, 0.1)) / 2.0);
        let blank = Tensor::from_slice2(&[[f32::NAN; 2]; 2]);
        near(&loss(Task::Labels, 0.0, None).of(&logits, &blank), 0.0);
        assert!(
            settled(-1.0, Uncertain::Ignore).is_nan()
                && settled(-1.0, Uncertain::Positive) == 1.0
                && settled(0.0, Uncertain::Positive) == 0.0
        );
    }
}
