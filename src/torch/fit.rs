//! The training loop: shuffled batches prepared ahead, the epoch with the best validation score, and a state to resume from.
//!
//! Knows nothing of networks or images: closures prepare a batch, give its loss, and judge an epoch. Random numbers follow
//! from (seed, epoch, step), so that a training that was stopped and resumed gives the bits of one that was not, given the
//! same number of threads. On a GPU the loop does not wait for the device: losses are read when there is something to tell.

use crate::feed::Feed;
use crate::optimiser::Rule;
use crate::seeds::shuffled;
use crate::speed::Speed;
use crate::state::StateFolder;
use crate::training::{Broken, Training};
use crate::weights::Named;
use anyhow::{Context as _, Result, anyhow};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tch::{Device, Tensor};
use tomograph::content::Digest;
use tomograph::stage::Note;
use tomograph::stages::training::Schedule;

/// What to do, apart from the network.
pub(crate) struct Plan<'a> {
    /// Digest of params and inputs: a state of another training is not resumed.
    pub(crate) of: Digest,
    pub(crate) seed: u64,
    pub(crate) epochs: u64,
    /// Epochs without a better score after which it ends, if ever.
    pub(crate) patience: Option<u64>,
    /// Images per step; the last step of an epoch takes what is left.
    pub(crate) batch: usize,
    /// Images that go through the network at once.
    pub(crate) micro: usize,
    /// Images to train on, and outputs for each.
    pub(crate) rows: usize,
    pub(crate) outputs: usize,
    pub(crate) rule: Rule,
    pub(crate) rate: f64,
    pub(crate) schedule: &'a Schedule,
    /// Greatest norm of all gradients together.
    pub(crate) clip: Option<f64>,
    /// Whether the loss is scaled so that gradients in half precision survive.
    pub(crate) scaled: bool,
    pub(crate) device: Device,
    /// Threads that prepare batches: the result does not depend on them.
    pub(crate) feeders: usize,
    /// Folder of the state, and how often it is written beside the ends of epochs.
    pub(crate) state: &'a Path,
    pub(crate) state_every: Duration,
}

/// What is trained, as the loop sees it.
pub(crate) struct Learner<'a, B> {
    /// Images of some rows, and what is true of them. Called on another thread.
    pub(crate) prepare: &'a (dyn Fn(&[usize]) -> Result<B> + Sync),
    /// What the network makes of them.
    pub(crate) step: &'a mut dyn FnMut(&B, Moment) -> Result<Step>,
    /// How many figures the loss of some rows is a mean of.
    pub(crate) weight: &'a dyn Fn(&[usize]) -> f64,
    /// The end of an epoch; takes the outputs `[rows, outputs]` that its steps gave.
    pub(crate) judge: &'a mut dyn FnMut(&Tensor) -> Result<Judged>,
    /// The item of a row.
    pub(crate) item: &'a dyn Fn(usize) -> String,
}

/// When a step is, for what is drawn at random in it.
#[derive(Clone, Copy)]
pub(crate) struct Moment {
    pub(crate) epoch: u64,
    /// To seed libtorch's generator with, before the network draws.
    pub(crate) draw: i64,
}

/// What a step gives.
pub(crate) struct Step {
    /// The mean loss, with its graph.
    pub(crate) loss: Tensor,
    /// `[images, outputs]` in single precision.
    pub(crate) outputs: Tensor,
}

/// What is said of an epoch.
pub(crate) struct Judged {
    /// Figures for the history.
    pub(crate) columns: Vec<Option<f64>>,
    /// The epoch with the highest one is kept, the first of equals.
    pub(crate) score: f64,
    /// A few words for the progress line, such as `auc 0.93`.
    pub(crate) text: String,
}

/// The kept epoch and the rows of the history; the variables hold the kept epoch's values.
pub(crate) struct Fitted {
    /// Counted from 1.
    pub(crate) epoch: u64,
    /// A row per epoch: learning rate, training loss, then the columns of [`Judged`].
    pub(crate) history: Vec<Vec<Option<f64>>>,
}

/// At the end of an epoch the state is written too where at least this much would be lost: an epoch of a head alone takes less time than
/// its state.
const WORTH_A_STATE: Duration = Duration::from_secs(1);

/// A step's batches, with their rows.
type Batches<B> = Vec<(Vec<usize>, B)>;

/// Trains `variables`, judges every epoch, and keeps the best.
pub(crate) fn fit<B: Send>(plan: &Plan, variables: &Named, note: &dyn Fn(Note), learner: Learner<B>) -> Result<Fitted> {
    let Learner { prepare, step, weight, judge, item } = learner;
    let folder = StateFolder::lock(plan.state)?;
    let mut training = Training::new(plan, variables);
    match folder.read().and_then(|found| found.map(|found| training.resume(found)).transpose()) {
        Ok(None) => {}
        Ok(Some(())) => note(Note::Log(format!("resumed after step {} of {}", training.stand.steps, plan.steps()))),
        Err(error) => note(Note::Warning(format!("the state of an earlier attempt is ignored and the training starts anew: {error:#}"))),
    }
    let prepare_all =
        |rows: Vec<usize>| -> Result<Batches<B>> { rows.chunks(plan.micro).map(|rows| Ok((rows.to_vec(), prepare(rows)?))).collect() };
    let order = Mutex::new((u64::MAX, Vec::new()));
    let job = |step| plan.rows_of(step, &order);
    let feed = Feed { job: &job, prepare: &prepare_all, threads: plan.feeders };
    let outcome = feed.run(training.stand.steps, |ahead| {
        let mut speed = Speed::new(training.stand.steps);
        let mut written = Instant::now();
        let mut scores = String::new();
        while training.stand.epochs < plan.epochs && !training.is_stopped() {
            let epoch = training.stand.epochs;
            speed.begin_epoch();
            ahead.waited = Duration::ZERO;
            for _ in training.stand.step..plan.steps_an_epoch() {
                let batches = ahead.next()?;
                let rows: usize = batches.iter().map(|(rows, _)| rows.len()).sum();
                training.step(&batches, &mut *step, weight)?;
                speed.did(rows);
                if speed.due() {
                    training.look()?;
                    let (done, of) = (training.stand.steps, plan.steps());
                    let loss = training.last_loss;
                    let text = format!("epoch {}/{} loss {loss:.3}{scores}{}", epoch + 1, plan.epochs, speed.left(done, of));
                    note(Note::Progress { done, of, text });
                }
                if written.elapsed() >= plan.state_every {
                    training.write(&folder)?;
                    written = Instant::now();
                }
            }
            training.look()?;
            note(Note::Log(speed.line(epoch + 1, ahead.waited)));
            let judged = judge(&training.epoch_outputs()).with_context(|| format!("epoch {}", epoch + 1))?;
            scores = format!(" {}", judged.text);
            training.close_epoch(judged);
            if written.elapsed() >= plan.state_every.min(WORTH_A_STATE) {
                training.write(&folder)?;
                written = Instant::now();
            }
        }
        Ok(())
    });
    if let Err(error) = outcome {
        return Err(match error.downcast::<Broken>() {
            Ok(broken) => explain(&broken, plan, &mut training, &folder, item, note),
            Err(other) => other,
        });
    }
    if training.stand.epochs < plan.epochs {
        note(Note::Log(format!("ended after epoch {}: {} without a better score", training.stand.epochs, plan.patience.unwrap_or(0))));
    }
    training.finish(note)
}

impl Plan<'_> {
    pub(crate) fn steps_an_epoch(&self) -> u64 {
        self.rows.div_ceil(self.batch) as u64
    }

    /// Steps of all epochs.
    pub(crate) fn steps(&self) -> u64 {
        self.epochs * self.steps_an_epoch()
    }

    /// The rows in the order of an epoch.
    pub(crate) fn order(&self, epoch: u64) -> Vec<usize> {
        shuffled(self.rows, &[self.seed, epoch])
    }

    /// The rows of a step, counted from the first of the training. `last` is the order that was asked for last, with its epoch.
    fn rows_of(&self, step: u64, last: &Mutex<(u64, Vec<usize>)>) -> Option<Vec<usize>> {
        let (epoch, within) = (step / self.steps_an_epoch(), (step % self.steps_an_epoch()) as usize);
        if epoch >= self.epochs {
            return None;
        }
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.0 != epoch {
            *last = (epoch, self.order(epoch));
        }
        Some(last.1.iter().skip(within * self.batch).take(self.batch).copied().collect())
    }
}

/// Items that a message names; the log has all.
const NAMED: usize = 4;

/// Says where a training broke and on which items, and keeps the last state that is sound.
fn explain(
    broken: &Broken,
    plan: &Plan,
    training: &mut Training,
    folder: &StateFolder,
    item: &dyn Fn(usize) -> String,
    note: &dyn Fn(Note),
) -> anyhow::Error {
    let (epoch, step) = (broken.step / plan.steps_an_epoch() + 1, broken.step % plan.steps_an_epoch() + 1);
    let rows = plan.rows_of(broken.step, &Mutex::new((u64::MAX, Vec::new()))).unwrap_or_default();
    let items: Vec<String> = rows.into_iter().map(item).collect();
    note(Note::Log(format!("items of epoch {epoch}, step {step}: {}", items.join(" "))));
    let more = if items.len() > NAMED { format!(" and {} more", items.len() - NAMED) } else { String::new() };
    let named = items.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    // Where losses are read late, the weights have moved on from the sound ones: then the last state on disk is theirs.
    let kept = training.stand.steps == broken.step && training.is_finite() && training.write(folder).is_ok();
    let kept = if kept { format!("; the state after step {} of the training is kept", broken.step) } else { String::new() };
    let what = if broken.value.is_finite() { format!("has exploded to {:.1e}", broken.value) } else { format!("is {}", broken.value) };
    anyhow!("the loss {what} at epoch {epoch}, step {step} (items {named}{more}): a lower `learning_rate` or `clip` may help{kept}")
}

#[cfg(test)]
mod tests;
