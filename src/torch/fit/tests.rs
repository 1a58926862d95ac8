//! Trainings that are stopped, resumed, split in parts, or that break: the bits must be the same, or the message must say it.

use super::*;
use crate::classifier::Classifier;
use crate::pixels::Scaling;
use crate::recipe::{Recipe, Validation};
use crate::seeds::draw_alone;
use crate::weights::to_bytes;
use anyhow::bail;
use std::cell::{Cell, RefCell};
use tch::Kind;
use tomograph::stages::classifier_train::{Input, Normalise, Pooling, Task, Uncertain};
use tomograph::stages::training::Shape;

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
        task: Task::Classes,
        uncertain: Uncertain::Ignore,
        channels: Input::Repeat,
        pooling: Pooling::Average,
        features: None,
        epoch: 0,
        validation: Validation::default(),
        selected_on: None,
    };
    Classifier::new(recipe, 7, None, Device::Cpu).unwrap()
}

fn images() -> (Tensor, Tensor) {
    let count = IMAGES * 32 * 32;
    let values = Tensor::arange(count, (Kind::Float, Device::Cpu)) * 37.0;
    (values.fmod(251.0).view([IMAGES, 1, 32, 32]), Tensor::arange(IMAGES, (Kind::Int64, Device::Cpu)).remainder(2))
}

fn plan<'a>(state: &'a Path, schedule: &'a Schedule) -> Plan<'a> {
    Plan {
        of: Digest::of(b"params"),
        seed: 7,
        epochs: 2,
        patience: None,
        batch: 4,
        micro: 4,
        rows: IMAGES as usize,
        outputs: 2,
        rule: Rule::Adam { epsilon: 1e-7, weight_decay: 0.0 },
        rate: 1e-3,
        schedule,
        clip: None,
        scaled: false,
        device: Device::Cpu,
        feeders: 2,
        state,
        // Written after every step.
        state_every: Duration::ZERO,
    }
}

/// A training of 3 steps an epoch that fails at step `stop`. The scores tell each epoch's worth, from epoch `seen` on.
struct Trial<'a> {
    stop: usize,
    seen: usize,
    scores: &'a [f64],
    /// What the loss is multiplied by.
    loss: f64,
    notes: RefCell<Vec<Note>>,
}

impl Trial<'_> {
    fn of(scores: &[f64]) -> Trial<'_> {
        Trial { stop: usize::MAX, seen: 0, scores, loss: 1.0, notes: RefCell::default() }
    }

    fn run(&self, plan: &Plan) -> Result<(Vec<u8>, Fitted)> {
        let network = network();
        let prepare = |rows: &[usize]| {
            let (pixels, classes) = images();
            let rows = Tensor::from_slice(&rows.iter().map(|row| *row as i64).collect::<Vec<_>>());
            Ok((pixels.index_select(0, &rows), classes.index_select(0, &rows)))
        };
        let steps = Cell::new(0);
        let mut step = |(images, classes): &(Tensor, Tensor), moment: Moment| {
            if steps.get() == self.stop {
                bail!("stopped");
            }
            steps.set(steps.get() + 1);
            tch::manual_seed(moment.draw);
            let outputs = network.logits(images, true);
            Ok(Step { loss: outputs.cross_entropy_for_logits(classes) * self.loss, outputs })
        };
        let epoch = Cell::new(self.seen);
        let mut judge = |outputs: &Tensor| {
            let score = self.scores[epoch.get()];
            epoch.set(epoch.get() + 1);
            Ok(Judged { columns: vec![Some(score), Some(outputs.sum(Kind::Double).double_value(&[]))], score, text: String::new() })
        };
        let weight = |rows: &[usize]| rows.len() as f64;
        let item = |row: usize| format!("i{row}");
        let learner = Learner { prepare: &prepare, step: &mut step, weight: &weight, judge: &mut judge, item: &item };
        let fitted = fit(plan, &network.variables, &|note| self.notes.borrow_mut().push(note), learner)?;
        Ok((to_bytes(&network.variables, None)?, fitted))
    }
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

/// Every way in which a training can carry something from step to step, in one plan each.
fn ways<'a>(state: &'a Path, schedule: &'a Schedule) -> Vec<Plan<'a>> {
    let sgd = Rule::Sgd { momentum: 0.9, nesterov: true };
    vec![
        plan(state, schedule),
        Plan { clip: Some(0.1), micro: 2, patience: Some(5), ..plan(state, schedule) },
        Plan { rule: sgd, scaled: true, feeders: 1, ..plan(state, schedule) },
    ]
}

#[test]
fn a_training_that_was_stopped_ends_in_the_bits_of_one_that_was_not() {
    let _alone = draw_alone();
    let plateau = Schedule { shape: Shape::Plateau, patience: Some(1), ..Schedule::default() };
    let cosine = Schedule { shape: Shape::Cosine, warmup: 2, ..Schedule::default() };
    for (number, schedule) in [(0, &cosine), (1, &plateau), (2, &cosine)] {
        let scores = [0.2, 0.1];
        let whole = folder();
        let plan = &ways(whole.path(), schedule)[number];
        let parts = plan.batch / plan.micro;
        let (expected, fitted) = Trial::of(&scores).run(plan).unwrap();
        // Stopped in the first epoch, and in the second, where the judge has already seen one.
        for (first, seen) in [(2, 0), (4, 1)] {
            let state = folder();
            let plan = &ways(state.path(), schedule)[number];
            // The last step of an epoch has two images.
            let micros = if parts == 1 { first } else { [4, 7][seen] };
            let stopped = Trial { stop: micros, ..Trial::of(&scores) }.run(plan);
            assert_eq!(stopped.err().unwrap().to_string(), "stopped");
            let again = Trial { seen, ..Trial::of(&scores) };
            let (resumed, then) = again.run(plan).unwrap();
            let told = format!("resumed after step {first} of 6");
            let notes = again.notes.borrow();
            assert!(notes.iter().any(|note| matches!(note, Note::Log(text) if *text == told)), "{notes:?}");
            assert!(resumed == expected, "other bits after {first} steps of plan {number}");
            assert_eq!(then.history, fitted.history);
        }
    }
}

#[test]
fn the_best_epoch_is_kept_and_an_early_end_says_so() {
    let _alone = draw_alone();
    let (state, constant) = (folder(), Schedule::default());
    let trial = Trial::of(&[0.2, 0.2, 0.1]);
    let (_, fitted) = trial.run(&Plan { epochs: 9, patience: Some(2), ..plan(state.path(), &constant) }).unwrap();
    assert_eq!((fitted.epoch, fitted.history.len()), (1, 3));
    let said = |text: &str| trial.notes.borrow().iter().any(|note| matches!(note, Note::Log(one) if one.contains(text)));
    assert!(said("ended after epoch 3: 2 without a better score") && said("images/s"), "{:?}", trial.notes.borrow());
    let rates: Vec<Option<f64>> = fitted.history.iter().map(|row| row[0]).collect();
    assert_eq!(rates, [Some(1e-3); 3]);
}

#[test]
fn a_loss_that_is_no_number_or_explodes_names_step_and_items_and_keeps_the_state() {
    let _alone = draw_alone();
    let constant = Schedule::default();
    let state = folder();
    let error = Trial { loss: f64::NAN, ..Trial::of(&[0.2; 2]) }.run(&plan(state.path(), &constant)).err().unwrap().to_string();
    assert!(error.starts_with("the loss is NaN at epoch 1, step 1 (items i"), "{error}");
    assert!(error.ends_with("a lower `learning_rate` or `clip` may help; the state after step 0 of the training is kept"), "{error}");
    assert!(state.path().join("state").is_file());
    let error = Trial { loss: 1e8, ..Trial::of(&[0.2; 2]) }.run(&plan(folder().path(), &constant)).err().unwrap().to_string();
    assert!(error.contains("has exploded to ") && error.contains(" at epoch 1, step 1 ("), "{error}");
    // A rate that no network survives: sooner or later one of the two.
    let wild = Plan { rate: 1e6, epochs: 4, ..plan(state.path(), &constant) };
    let error = Trial::of(&[0.2; 4]).run(&wild).err().unwrap().to_string();
    assert!(error.starts_with("the loss ") && !error.contains("step 1 (") && error.contains("is kept"), "{error}");
}

#[test]
fn parts_of_a_batch_give_its_gradient_and_threads_change_nothing() {
    let _alone = draw_alone();
    let constant = Schedule::default();
    let run = |feeders: usize, batch: usize| {
        let state = folder();
        Trial::of(&[0.1, 0.2]).run(&Plan { feeders, batch, ..plan(state.path(), &constant) }).unwrap().0
    };
    assert!(run(1, 4) == run(5, 4), "the number of threads changes the result");

    // Without anything that looks at the whole batch, two parts of two images are one of four.
    let x = Tensor::from_slice(&[0.5f32, -0.25]).set_requires_grad(true);
    let named = Named::from([("x".to_owned(), x.shallow_clone())]);
    let moved = |micro: usize| {
        let state = folder();
        x.shallow_clone().set_data(&Tensor::from_slice(&[0.5f32, -0.25]));
        let mut step = |rows: &Vec<f32>, _: Moment| {
            let images = Tensor::from_slice(rows).view([-1, 1]);
            let outputs = images * &x;
            Ok(Step { loss: outputs.square().mean(Kind::Float), outputs })
        };
        let mut judge = |_: &Tensor| Ok(Judged { columns: Vec::new(), score: 0.0, text: String::new() });
        let prepare = |rows: &[usize]| Ok(rows.iter().map(|row| *row as f32).collect::<Vec<_>>());
        let (weight, item) = (|rows: &[usize]| rows.len() as f64, |row: usize| row.to_string());
        let learner = Learner { prepare: &prepare, step: &mut step, weight: &weight, judge: &mut judge, item: &item };
        let sgd = Rule::Sgd { momentum: 0.0, nesterov: false };
        fit(&Plan { micro, rule: sgd, ..plan(state.path(), &constant) }, &named, &|_| {}, learner).unwrap();
        Vec::<f32>::try_from(&x.detach()).unwrap()
    };
    let (whole, parts) = (moved(4), moved(3));
    assert!(whole.iter().zip(&parts).all(|(a, b)| (a - b).abs() < 1e-6 * a.abs()) && whole[0] < 0.5, "{whole:?} {parts:?}");
}
