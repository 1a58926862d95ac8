//! The training loop: shuffled batches, Adam, the epoch with the best validation score, and a state to resume from.
//!
//! Knows nothing of networks or images: a closure gives the loss of a batch, another judges the validation set. Random
//! numbers follow from (seed, epoch, step), so that a training that was stopped and resumed gives the bits of one that
//! was not, given the same number of threads.

use crate::adam::{Adam, Rates};
use crate::seeds::{derive, shuffled};
use crate::state::{Stand, StateFolder, Tensors};
use crate::weights::{Named, assign, copies};
use anyhow::{Context as _, Result, ensure};
use std::path::Path;
use std::time::{Duration, Instant};
use tch::Tensor;
use tomograph::content::Digest;
use tomograph::stage::Note;

/// What to do, apart from the network.
pub(crate) struct Plan<'a> {
    /// Digest of params and inputs: a state of another training is not resumed.
    pub(crate) of: Digest,
    pub(crate) seed: u64,
    pub(crate) epochs: u64,
    /// Images per step; the last step of an epoch takes what is left.
    pub(crate) batch: usize,
    /// Images to train on.
    pub(crate) rows: usize,
    pub(crate) rates: Rates,
    /// Folder of the state, and how often it is written beside the end of each epoch.
    pub(crate) state: &'a Path,
    pub(crate) state_every: Duration,
}

/// What a step gives: the mean loss of its batch, with its graph, and the mean of the figure that the history shows.
pub(crate) struct Step {
    pub(crate) loss: Tensor,
    pub(crate) figure: f64,
}

/// What the validation set says of an epoch.
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
    /// A row per epoch: train loss and figure, then the columns of [`Judged`].
    pub(crate) history: Vec<Vec<Option<f64>>>,
}

/// Trains `variables` by `step`, judges every epoch by `judge`, and keeps the best.
pub(crate) fn fit(
    plan: &Plan,
    variables: &Named,
    note: &dyn Fn(Note),
    step: &mut dyn FnMut(&[usize]) -> Result<Step>,
    judge: &mut dyn FnMut() -> Result<Judged>,
) -> Result<Fitted> {
    let folder = StateFolder::lock(plan.state)?;
    let mut training = Training::new(plan, variables);
    match folder.read().and_then(|found| found.map(|found| training.resume(found)).transpose()) {
        Ok(None) => {}
        Ok(Some(())) => note(Note::Log(format!("resumed after step {} of {}", training.stand.steps, training.total()))),
        Err(error) => note(Note::Warning(format!("the state of an earlier attempt is ignored and the training starts anew: {error:#}"))),
    }
    let mut told = Told::new(training.stand.steps);
    let mut written = Instant::now();
    let mut scores = String::new();
    while training.stand.epochs < plan.epochs {
        let epoch = training.stand.epochs;
        let order = shuffled(plan.rows, &[plan.seed, epoch]);
        for rows in order.chunks(plan.batch).skip(training.stand.step as usize) {
            let loss = training.step(rows, step)?;
            if told.due() {
                let (done, of) = (training.stand.steps, training.total());
                let left = told.left(done, of);
                let text = format!("epoch {}/{} loss {loss:.3}{scores}{left}", epoch + 1, plan.epochs);
                note(Note::Progress { done, of, text });
            }
            if written.elapsed() >= plan.state_every {
                training.write(&folder)?;
                written = Instant::now();
            }
        }
        let judged = judge().with_context(|| format!("epoch {}", epoch + 1))?;
        scores = format!(" {}", judged.text);
        training.close_epoch(judged);
        training.write(&folder)?;
        written = Instant::now();
    }
    training.finish(note)
}

/// Variables, moments and where the training stands.
struct Training<'a> {
    plan: &'a Plan<'a>,
    variables: &'a Named,
    adam: Adam,
    best: Named,
    stand: Stand,
}

impl<'a> Training<'a> {
    fn new(plan: &'a Plan<'a>, variables: &'a Named) -> Self {
        let stand = Stand { of: plan.of, epochs: 0, step: 0, steps: 0, sums: [0; 2], seen: 0, kept: None, history: Vec::new() };
        Self { plan, variables, adam: Adam::new(plan.rates, variables), best: Named::new(), stand }
    }

    fn total(&self) -> u64 {
        self.plan.epochs * self.plan.rows.div_ceil(self.plan.batch) as u64
    }

    /// Takes over a state. Shapes are checked before anything is changed, but for the moments, which an error resets.
    fn resume(&mut self, (stand, tensors): (Stand, Tensors)) -> Result<()> {
        ensure!(stand.of == self.plan.of, "it belongs to another training");
        let kept = tensors.best.len() == if stand.kept.is_some() { self.variables.len() } else { 0 };
        ensure!(kept, "it is of another shape");
        let moments = assign(&self.adam.first, &tensors.first).and_then(|()| assign(&self.adam.second, &tensors.second));
        if let Err(error) = moments.and_then(|()| assign(self.variables, &tensors.variables)) {
            self.adam = Adam::new(self.plan.rates, self.variables);
            return Err(error);
        }
        self.adam.steps = stand.steps;
        self.best = tensors.best;
        self.stand = stand;
        Ok(())
    }

    fn step(&mut self, rows: &[usize], step: &mut dyn FnMut(&[usize]) -> Result<Step>) -> Result<f64> {
        let (epoch, number) = (self.stand.epochs, self.stand.step);
        tch::manual_seed(derive(&[self.plan.seed, epoch, number]));
        let Step { loss, figure } = step(rows)?;
        let value = loss.double_value(&[]);
        ensure!(value.is_finite(), "the loss is {value} at epoch {}, step {}: a lower `learning_rate` may help", epoch + 1, number + 1);
        loss.backward();
        self.adam.step(self.variables);
        let images = rows.len() as f64;
        for (sum, figure) in self.stand.sums.iter_mut().zip([value, figure]) {
            *sum = (f64::from_bits(*sum) + figure * images).to_bits();
        }
        self.stand.seen += rows.len() as u64;
        self.stand.step += 1;
        self.stand.steps += 1;
        Ok(value)
    }

    fn close_epoch(&mut self, judged: Judged) {
        let stand = &mut self.stand;
        let means = stand.sums.map(|sum| Some(f64::from_bits(sum) / stand.seen as f64));
        stand.history.push(means.into_iter().chain(judged.columns).map(|value| value.map(f64::to_bits)).collect());
        stand.epochs += 1;
        stand.step = 0;
        stand.sums = [0; 2];
        stand.seen = 0;
        if stand.kept.is_none_or(|(_, score)| judged.score > f64::from_bits(score)) {
            stand.kept = Some((stand.epochs, judged.score.to_bits()));
            self.best = copies(self.variables);
        }
    }

    fn write(&self, folder: &StateFolder) -> Result<()> {
        let (first, second) = (&self.adam.first, &self.adam.second);
        folder.write(&self.stand, &[("variable", self.variables), ("first", first), ("second", second), ("best", &self.best)])
    }

    fn finish(self, note: &dyn Fn(Note)) -> Result<Fitted> {
        let (epoch, _) = self.stand.kept.context("no epoch was trained")?;
        assign(self.variables, &self.best)?;
        let history: Vec<Vec<Option<f64>>> =
            self.stand.history.iter().map(|row| row.iter().map(|value| value.map(f64::from_bits)).collect()).collect();
        let total = self.total();
        note(Note::Progress { done: total, of: total, text: format!("epoch {epoch} of {} is kept", self.plan.epochs) });
        Ok(Fitted { epoch, history })
    }
}

/// When progress was told last, and how fast this process goes.
struct Told {
    begun: Instant,
    from: u64,
    last: Option<Instant>,
}

impl Told {
    fn new(from: u64) -> Self {
        Self { begun: Instant::now(), from, last: None }
    }

    /// Whether half a second has passed since the last time.
    fn due(&mut self) -> bool {
        let due = self.last.is_none_or(|last| last.elapsed() >= Duration::from_millis(500));
        if due {
            self.last = Some(Instant::now());
        }
        due
    }

    /// `, 3 min left`, from the speed so far.
    fn left(&self, done: u64, of: u64) -> String {
        let own = done.saturating_sub(self.from);
        if own < 3 {
            return String::new();
        }
        let seconds = self.begun.elapsed().as_secs_f64() / own as f64 * (of - done) as f64;
        match seconds {
            ..90.0 => format!(", {seconds:.0} s left"),
            ..5400.0 => format!(", {:.0} min left", seconds / 60.0),
            _ => format!(", {:.1} h left", seconds / 3600.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classifier::{Classifier, Recipe, Validation};
    use crate::pixels::Scaling;
    use crate::seeds::draw_alone;
    use crate::weights::to_bytes;
    use anyhow::bail;
    use std::cell::{Cell, RefCell};
    use tch::{Device, Kind};
    use tomograph::stages::classifier_train::Normalise;

    const IMAGES: i64 = 10;

    fn network() -> Classifier {
        tch::set_num_threads(1);
        let recipe = Recipe {
            architecture: "classifier".to_owned(),
            backbone: "mobilenet".to_owned(),
            input: [32, 32],
            normalise: Normalise::MinMax,
            scaling: Scaling::MinusOneToOne,
            dense: vec![8],
            dropout: 0.5,
            bn_momentum: 0.9,
            classes: vec!["negative".to_owned(), "positive".to_owned()],
            epoch: 0,
            validation: Validation::default(),
        };
        Classifier::new(recipe, 7, None, Device::Cpu).unwrap()
    }

    fn images() -> (Tensor, Tensor) {
        let count = IMAGES * 32 * 32;
        let values = Tensor::arange(count, (Kind::Float, Device::Cpu)) * 37.0;
        (values.fmod(251.0).view([IMAGES, 1, 32, 32]), Tensor::arange(IMAGES, (Kind::Int64, Device::Cpu)).remainder(2))
    }

    /// Trains 2 epochs of 3 steps, but fails at step `stop`. The scores tell each epoch's worth.
    fn training(state: &Path, stop: usize, scores: [f64; 2], loss: f64, notes: &RefCell<Vec<Note>>) -> Result<(Vec<u8>, Fitted)> {
        let network = network();
        let (pixels, classes) = images();
        let rates = Rates { learning_rate: 1e-3, epsilon: 1e-7 };
        let of = Digest::of(b"params");
        // Written after every step.
        let plan = Plan { of, seed: 7, epochs: 2, batch: 4, rows: IMAGES as usize, rates, state, state_every: Duration::ZERO };
        let steps = Cell::new(0);
        let mut step = |rows: &[usize]| {
            if steps.get() == stop {
                bail!("stopped");
            }
            steps.set(steps.get() + 1);
            let rows = Tensor::from_slice(&rows.iter().map(|row| *row as i64).collect::<Vec<_>>());
            let logits = network.logits(&pixels.index_select(0, &rows), true);
            Ok(Step { loss: logits.cross_entropy_for_logits(&classes.index_select(0, &rows)) * loss, figure: 0.5 })
        };
        let epoch = Cell::new(usize::from(stop == usize::MAX - 1));
        let mut judge = || {
            let score = scores[epoch.replace(1)];
            Ok(Judged { columns: vec![Some(score), None], score, text: String::new() })
        };
        let fitted = fit(&plan, &network.variables, &|note| notes.borrow_mut().push(note), &mut step, &mut judge)?;
        Ok((to_bytes(&network.variables, None)?, fitted))
    }

    #[test]
    fn a_training_that_was_stopped_ends_in_the_bits_of_one_that_was_not() {
        let _alone = draw_alone();
        let notes = RefCell::new(Vec::new());
        let folder = || tempfile::tempdir().unwrap();
        let (whole, fitted) = training(folder().path(), usize::MAX, [0.1, 0.2], 1.0, &notes).unwrap();
        assert_eq!(fitted.epoch, 2);

        // Stopped in the first epoch, and in the second, where the judge has already seen one.
        for (first, then) in [(2, usize::MAX), (4, usize::MAX - 1)] {
            let state = folder();
            let stopped = training(state.path(), first, [0.1, 0.2], 1.0, &notes);
            assert_eq!(stopped.err().unwrap().to_string(), "stopped");
            notes.borrow_mut().clear();
            let (resumed, again) = training(state.path(), then, [0.1, 0.2], 1.0, &notes).unwrap();
            let told = format!("resumed after step {first} of 6");
            assert!(notes.borrow().iter().any(|note| matches!(note, Note::Log(text) if *text == told)), "{:?}", notes.borrow());
            assert!(resumed == whole, "other bits after {first} steps");
            assert_eq!(again.history, fitted.history);
        }
    }

    #[test]
    fn the_best_epoch_is_kept_and_a_loss_that_is_no_number_is_named() {
        let _alone = draw_alone();
        let notes = RefCell::new(Vec::new());
        let folder = || tempfile::tempdir().unwrap();
        let (_, fitted) = training(folder().path(), usize::MAX, [0.2, 0.2], 1.0, &notes).unwrap();
        assert_eq!(fitted.epoch, 1);
        let error = training(folder().path(), usize::MAX, [0.2, 0.2], f64::NAN, &notes).err().unwrap();
        assert_eq!(error.to_string(), "the loss is NaN at epoch 1, step 1: a lower `learning_rate` may help");
    }
}
