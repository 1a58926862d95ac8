//! Where a training stands, and one step of it: loss, gradients, the optimiser. The loop is in [`crate::fit`].

use crate::fit::{Fitted, Judged, Moment, Plan, Step};
use crate::optimiser::{Optimiser, forget, gradient_norm};
use crate::schedule::{Plateau, Rate};
use crate::seeds::derive;
use crate::state::{Stand, StateFolder, Tensors};
use crate::weights::{Named, assign, copies};
use anyhow::{Context as _, Result, ensure};
use tch::{Device, Kind, Tensor, no_grad};
use thiserror::Error;
use tomograph::stage::Note;

/// A mean loss above this is an explosion: the cross-entropy of a network that knows nothing is below 10.
const MOST: f64 = 1e6;

/// Steps on a GPU after which losses are read at the latest.
const UNREAD: usize = 256;

/// What half precision begins with, the steps after which it is doubled, and what is too little.
const SCALE: f64 = 65536.0;
const GROWS_AFTER: u64 = 2000;
const LEAST_SCALE: f64 = 1e-6;

/// A loss that is no number, or too large a one.
#[derive(Debug, Error)]
#[error("the loss is {value}")]
pub(crate) struct Broken {
    pub(crate) value: f64,
    /// Counted from 0, from the first of the training.
    pub(crate) step: u64,
}

/// Variables, what the optimiser remembers, and where the training stands.
pub(crate) struct Training<'a> {
    plan: &'a Plan<'a>,
    variables: &'a Named,
    optimiser: Optimiser,
    best: Named,
    /// Outputs of this epoch in the order of its steps.
    outputs: Tensor,
    pub(crate) stand: Stand,
    /// Losses that nobody has read, with their images.
    unread: Vec<(Tensor, usize)>,
    pub(crate) last_loss: f64,
}

impl<'a> Training<'a> {
    pub(crate) fn new(plan: &'a Plan<'a>, variables: &'a Named) -> Self {
        let stand = Stand {
            of: plan.of,
            epochs: 0,
            step: 0,
            steps: 0,
            loss: 0,
            seen: 0,
            plateau: Plateau::new(),
            scale: (SCALE.to_bits(), 0),
            kept: None,
            history: Vec::new(),
        };
        let outputs = Tensor::zeros([plan.rows as i64, plan.outputs as i64], (Kind::Float, plan.device));
        let optimiser = Optimiser::new(plan.rule, variables);
        Self { plan, variables, optimiser, best: Named::new(), outputs, stand, unread: Vec::new(), last_loss: 0.0 }
    }

    /// Takes over a state. Shapes are checked before anything is changed, but for the optimiser's, which an error resets.
    pub(crate) fn resume(&mut self, (stand, mut tensors): (Stand, Tensors)) -> Result<()> {
        ensure!(stand.of == self.plan.of, "it belongs to another training");
        let best = tensors.remove("best").unwrap_or_default();
        ensure!(best.len() == if stand.kept.is_some() { self.variables.len() } else { 0 }, "it is of another shape");
        let mut part = |name: &str| tensors.remove(name).with_context(|| format!("it has no {name}"));
        let (variables, outputs) = (part("variable")?, part("outputs")?);
        let outputs = outputs.get("all").filter(|tensor| tensor.size() == self.outputs.size()).context("it is of another shape")?;
        let recalled = self.optimiser.recall(stand.steps, &tensors);
        if let Err(error) = recalled.and_then(|()| assign(self.variables, &variables)) {
            self.optimiser = Optimiser::new(self.plan.rule, self.variables);
            return Err(error);
        }
        self.outputs.copy_(outputs);
        self.best = best;
        self.stand = stand;
        Ok(())
    }

    /// Whether too many epochs have brought no better score.
    pub(crate) fn is_stopped(&self) -> bool {
        let kept = self.stand.kept.map_or(self.stand.epochs, |(epoch, _)| epoch);
        self.plan.patience.is_some_and(|patience| self.stand.epochs - kept >= patience)
    }

    /// One step over the parts of a batch.
    pub(crate) fn step<B>(
        &mut self,
        batches: &[(Vec<usize>, B)],
        step: &mut dyn FnMut(&B, Moment) -> Result<Step>,
        weight: &dyn Fn(&[usize]) -> f64,
    ) -> Result<()> {
        let (epoch, number) = (self.stand.epochs, self.stand.step);
        let weights: Vec<f64> = batches.iter().map(|(rows, _)| weight(rows)).collect();
        let whole: f64 = weights.iter().sum();
        let scale = if self.plan.scaled { f64::from_bits(self.stand.scale.0) } else { 1.0 };
        let mut losses = Vec::with_capacity(batches.len());
        let mut seen = self.stand.seen as i64;
        for (part, ((_, batch), weight)) in (0..).zip(batches.iter().zip(&weights)) {
            let draw = if part == 0 { derive(&[self.plan.seed, epoch, number]) } else { derive(&[self.plan.seed, epoch, number, part]) };
            let Step { loss, outputs } = step(batch, Moment { epoch, draw })?;
            let share = if whole > 0.0 { weight / whole } else { 0.0 };
            let scaled = if share * scale == 1.0 { loss.shallow_clone() } else { &loss * (share * scale) };
            scaled.backward();
            losses.push(loss.detach() * share);
            no_grad(|| {
                let count = outputs.size()[0];
                self.outputs.narrow(0, seen, count).copy_(&outputs.detach());
                seen += count;
            });
        }
        let images = seen as usize - self.stand.seen as usize;
        self.unread.push((losses.into_iter().reduce(|sum, loss| sum + loss).context("a step without images")?, images));
        if self.plan.device == Device::Cpu || self.unread.len() >= UNREAD {
            // Before the weights move: what is broken has not reached them.
            self.look()?;
        }
        self.move_weights(scale)?;
        self.stand.seen += images as u64;
        self.stand.step += 1;
        self.stand.steps += 1;
        Ok(())
    }

    fn move_weights(&mut self, scale: f64) -> Result<()> {
        let rate = Rate { base: self.plan.rate, schedule: self.plan.schedule, steps: self.plan.steps() };
        let rate = rate.at(self.stand.steps, &self.stand.plateau);
        let mut factor = None;
        if self.plan.scaled || self.plan.clip.is_some() {
            let norm = gradient_norm(self.variables) / scale;
            if self.plan.scaled {
                // The one wait for the device in half precision: whether to move at all.
                let good = norm.double_value(&[]).is_finite();
                self.rescale(good, scale)?;
                if !good {
                    forget(self.variables);
                    return Ok(());
                }
            }
            // As Keras' `global_clipnorm`: a norm below the limit stays.
            factor = Some(self.plan.clip.map_or_else(|| norm.ones_like(), |clip| norm.clamp_min(clip).reciprocal() * clip) / scale);
        }
        self.optimiser.step(self.variables, rate, factor.as_ref());
        Ok(())
    }

    /// Half precision: gradients that overflow halve the scale, many steps without double it.
    fn rescale(&mut self, good: bool, scale: f64) -> Result<()> {
        let (bits, steps) = self.stand.scale;
        self.stand.scale = match (good, steps + 1) {
            (false, _) => ((scale / 2.0).to_bits(), 0),
            (true, GROWS_AFTER) => ((scale * 2.0).to_bits(), 0),
            (true, steps) => (bits, steps),
        };
        ensure!(scale > LEAST_SCALE, "gradients overflow in half precision however small the loss is made: use `precision = \"bf16\"`");
        Ok(())
    }

    /// Reads the losses that nobody has read. An error is a [`Broken`].
    pub(crate) fn look(&mut self) -> Result<()> {
        if self.unread.is_empty() {
            return Ok(());
        }
        let unread = std::mem::take(&mut self.unread);
        let losses = Tensor::stack(&unread.iter().map(|(loss, _)| loss).collect::<Vec<_>>(), 0);
        let losses = Vec::<f64>::try_from(&losses.to_device(Device::Cpu).to_kind(Kind::Double)).context("cannot read the loss")?;
        // On the CPU the last one's step is not counted yet.
        let counted = if self.plan.device == Device::Cpu { 1 } else { 0 };
        let first = self.stand.steps + counted - unread.len() as u64;
        for (at, (value, (_, images))) in losses.iter().zip(&unread).enumerate() {
            if !(value.is_finite() && *value < MOST) {
                return Err(Broken { value: *value, step: first + at as u64 }.into());
            }
            self.stand.loss = (f64::from_bits(self.stand.loss) + value * *images as f64).to_bits();
            self.last_loss = *value;
        }
        Ok(())
    }

    /// Outputs `[rows, outputs]` of this epoch's steps, by row, on the CPU.
    pub(crate) fn epoch_outputs(&self) -> Tensor {
        let order: Vec<i64> = self.plan.order(self.stand.epochs).into_iter().map(|row| row as i64).collect();
        let outputs = self.outputs.to_device(Device::Cpu);
        no_grad(|| outputs.zeros_like().index_copy(0, &Tensor::from_slice(&order), &outputs))
    }

    pub(crate) fn close_epoch(&mut self, judged: Judged) {
        let rate = Rate { base: self.plan.rate, schedule: self.plan.schedule, steps: self.plan.steps() };
        let stand = &mut self.stand;
        let rate = rate.at(stand.steps.saturating_sub(1), &stand.plateau);
        let loss = f64::from_bits(stand.loss) / stand.seen as f64;
        let row = [Some(rate), Some(loss)].into_iter().chain(judged.columns);
        stand.history.push(row.map(|value| value.map(f64::to_bits)).collect());
        stand.epochs += 1;
        (stand.step, stand.loss, stand.seen) = (0, 0, 0);
        stand.plateau.saw(self.plan.schedule, judged.score);
        if stand.kept.is_none_or(|(_, score)| judged.score > f64::from_bits(score)) {
            stand.kept = Some((stand.epochs, judged.score.to_bits()));
            self.best = copies(self.variables);
        }
    }

    /// Whether every variable is a number: a state worth keeping.
    pub(crate) fn is_finite(&self) -> bool {
        no_grad(|| self.variables.values().all(|variable| variable.isfinite().all().int64_value(&[]) == 1))
    }

    /// Writes the state, once all that led to it is known to be sound.
    pub(crate) fn write(&mut self, folder: &StateFolder) -> Result<()> {
        self.look()?;
        let outputs = Named::from([("all".to_owned(), self.outputs.shallow_clone())]);
        let mut parts = vec![("variable", self.variables), ("best", &self.best), ("outputs", &outputs)];
        parts.extend(self.optimiser.memory.iter().map(|(name, named)| (*name, named)));
        folder.write(&self.stand, &parts)
    }

    pub(crate) fn finish(&self, note: &dyn Fn(Note)) -> Result<Fitted> {
        let (epoch, _) = self.stand.kept.context("no epoch was trained")?;
        assign(self.variables, &self.best)?;
        let history: Vec<Vec<Option<f64>>> =
            self.stand.history.iter().map(|row| row.iter().map(|value| value.map(f64::from_bits)).collect()).collect();
        let total = self.plan.steps();
        note(Note::Progress { done: total, of: total, text: format!("epoch {epoch} of {} is kept", history.len()) });
        Ok(Fitted { epoch, history })
    }
}
