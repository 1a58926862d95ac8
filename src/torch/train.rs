//! The work of `classifier.train`.

use crate::arrays::Arrays;
use crate::augment::augment;
use crate::classifier::Classifier;
use crate::fit::{Judged, Learner, Moment, Plan, Step, fit};
use crate::job::Job;
use crate::loss::Loss;
use crate::optimiser::Rule;
use crate::precision;
use crate::predicted::Predicted;
use crate::recipe::{Recipe, Validation};
use anyhow::{Context as _, Result, bail, ensure};
use tch::Tensor;
use tomograph::content::Digest;
use tomograph::stage::{Inputs, Params, Part};
use tomograph::stages::classifier_features::Origin;
use tomograph::stages::classifier_train::{ClassifierTrain, Input, Pooling, Score, Task};
use tomograph::stages::training::{Augment, OptimiserName, Precision, Trains};
use tomograph::table::Table;

/// Columns of the history behind `epoch`.
const COLUMNS: [&str; 7] =
    ["learning_rate", "train_loss", "train_accuracy", "train_auc", "validation_loss", "validation_accuracy", "validation_auc"];

/// Keras' `weight_decay` of AdamW.
const WEIGHT_DECAY: f64 = 0.004;

/// Images of a step as the network is to get them, and what is true of them, on the CPU.
struct Batch {
    rows: Vec<usize>,
    images: Tensor,
    targets: Tensor,
}

/// Trains, and writes `model`, `history` and `predictions`.
pub(crate) fn train(params: &ClassifierTrain, job: &Job) -> Result<()> {
    let inputs = job.cx.inputs;
    let open = |port: &str| -> Result<Arrays> { Ok(Arrays::open(inputs.one(port)?, port, &[port])?.settle(params.uncertain)) };
    let (learn, check) = (open("train")?, open("validation")?);
    suit(params, &learn, &check)?;
    let peek =
        inputs.optional("peek")?.map(|part| anyhow::Ok(Arrays::open(part, "peek", &["test"])?.settle(params.uncertain))).transpose()?;
    if let Some(peek) = &peek {
        suit(params, &learn, peek).context("port `peek`")?;
        job.cx.warn("test images pick the epoch (port `peek`): every test figure that follows is selected on test, and says so");
    }
    let weights = inputs.optional("weights")?;
    if let Some(origin) = &learn.origin {
        suit_features(params, origin, weights)?;
    }
    precision::prepare(job.device, params.deterministic)?;
    let kind = precision::kind(params.precision, job.device)?;
    let recipe = Recipe::of(params, &learn, weights.is_some())?;
    let weights = weights.map(|part| (part, params.load));
    let mut classifier = Classifier::new(recipe, params.seed, weights, job.device).context("building the network")?;
    classifier.kind = kind;
    classifier.freeze(if learn.origin.is_some() { &Trains::Head } else { &params.trains })?;
    classifier.lay_to_learn();
    warn(params, &learn, &classifier, job);

    let loss = Loss::new(params.task, params.label_smoothing, &params.class_weights, &learn, job.device)?;
    let prepare = |rows: &[usize]| {
        let (images, targets) = (learn.batch(rows, params.normalise)?, learn.targets(rows));
        // So that the copy to a GPU need not wait for what it computes.
        let pinned = |tensor: Tensor| if job.device.is_cuda() { tensor.pin_memory(job.device) } else { tensor };
        Ok(Batch { rows: rows.to_vec(), images: pinned(images), targets: pinned(targets) })
    };
    let mut step = |batch: &Batch, moment: Moment| {
        let there = |tensor: &Tensor| match job.device.is_cuda() {
            true => tensor.internal_to_copy((tensor.kind(), job.device), true),
            false => tensor.shallow_clone(),
        };
        let items: Vec<&str> = batch.rows.iter().map(|row| learn.items[*row].as_str()).collect();
        let images = augment(&there(&batch.images), &items, &params.augment, params.seed, moment.epoch);
        tch::manual_seed(moment.draw);
        let outputs = classifier.logits(&images, true);
        Ok(Step { loss: loss.of(&outputs, &there(&batch.targets)), outputs })
    };
    let micro = params.micro_batch.unwrap_or(params.batch) as usize;
    let mut judge = |outputs: &Tensor| {
        let predict = |arrays: &Arrays| classifier.predict(arrays, micro, &|_| {});
        let peeked = peek.as_ref().map(|peek| anyhow::Ok((predict(peek)?, peek))).transpose()?;
        judge(params.score, (&Predicted::of(outputs, &learn)?, &learn), (&predict(&check)?, &check), peeked.as_ref().map(|(a, b)| (a, *b)))
    };
    let plan = Plan {
        of: of(params, inputs)?,
        seed: params.seed,
        epochs: params.epochs,
        patience: params.patience,
        batch: params.batch as usize,
        micro,
        rows: learn.len(),
        outputs: learn.classes.len(),
        rule: rule(params),
        rate: params.learning_rate,
        schedule: &params.schedule,
        clip: params.clip,
        scaled: params.precision == Precision::F16,
        device: job.device,
        feeders: if job.device.is_cuda() { job.cx.threads.clamp(1, 4) } else { 1 },
        state: &job.state,
        state_every: job.state_every,
    };
    let item = |row: usize| learn.items[row].clone();
    let weight = |rows: &[usize]| learn.weight(rows);
    let learner = Learner { prepare: &prepare, step: &mut step, weight: &weight, judge: &mut judge, item: &item };
    let fitted = fit(&plan, &classifier.moving(), job.cx.note, learner)?;

    let kept = &fitted.history[fitted.epoch as usize - 1];
    classifier.recipe.epoch = fitted.epoch;
    classifier.recipe.selected_on = peek.map(|_| "test".to_owned());
    classifier.recipe.validation = Validation { loss: kept[4], accuracy: kept[5], auc: kept[6] };
    classifier.save(job, "model")?;
    job.cx.write("history", "history.tsv", &history(&fitted.history).to_tsv())?;
    let predicted = classifier.predict(&check, micro, &|_| {})?;
    job.cx.write("predictions", "predictions.tsv", &predicted.table(&check).to_tsv())
}

fn rule(params: &ClassifierTrain) -> Rule {
    match params.optimiser {
        OptimiserName::Adam => Rule::Adam { epsilon: params.epsilon, weight_decay: 0.0 },
        OptimiserName::Adamw => Rule::Adam { epsilon: params.epsilon, weight_decay: params.weight_decay.unwrap_or(WEIGHT_DECAY) },
        OptimiserName::Sgd => Rule::Sgd { momentum: params.momentum, nesterov: params.nesterov },
    }
}

/// What may surprise, but is no mistake.
fn warn(params: &ClassifierTrain, learn: &Arrays, classifier: &Classifier, job: &Job) {
    let batch = params.batch as usize;
    if batch > learn.len() {
        job.cx.warn(format!("`batch` is {batch}, but there are {} training images: every step takes all of them", learn.len()));
    }
    let micro = params.micro_batch.map_or(batch, |micro| micro as usize);
    if micro < batch.min(learn.len()) && classifier.has_statistics() {
        job.cx.warn(format!(
            "`micro_batch` is {micro}: batch normalisation sees {micro} images at once, not {batch}, and learns other statistics"
        ));
    }
}

/// The columns of [`COLUMNS`] behind the first two, and the figure that picks the epoch.
fn judge(
    score: Score,
    (learnt, learn): (&Predicted, &Arrays),
    (predicted, check): (&Predicted, &Arrays),
    peeked: Option<(&Predicted, &Arrays)>,
) -> Result<Judged> {
    let (loss, accuracy, auc) = (predicted.loss, predicted.accuracy(check), predicted.auc(check));
    ensure!(loss.is_finite(), "the validation loss is {loss}: a lower `learning_rate` may help");
    let (picks, of) = peeked.unwrap_or((predicted, check));
    let (figure, text) = match score {
        Score::Auc => (picks.auc(of), "auc"),
        Score::Accuracy => (picks.accuracy(of), "accuracy"),
        Score::Loss => (Some(-picks.loss), "validation loss"),
    };
    let score = figure.context("the validation figure has no value")?;
    let columns = vec![learnt.accuracy(learn), learnt.auc(learn), Some(loss), accuracy, auc];
    Ok(Judged { columns, score, text: format!("{text} {:.3}", score.abs()) })
}

fn history(rows: &[Vec<Option<f64>>]) -> Table {
    let mut history = Table::new(std::iter::once("epoch").chain(COLUMNS));
    for (epoch, row) in (1..).zip(rows) {
        let values = row.iter().map(|value| value.map_or_else(String::new, |value| format!("{value:?}")));
        history.rows.push(std::iter::once(format!("{epoch}")).chain(values).collect());
    }
    history
}

/// Whether one can be learnt from and the other can judge.
fn suit(params: &ClassifierTrain, learn: &Arrays, check: &Arrays) -> Result<()> {
    let remedy = "give the split a larger share for it";
    ensure!(learn.len() > 0, "there are no training images: {remedy}");
    ensure!(check.len() > 0, "there are no validation images, and they pick the epoch: {remedy}");
    for (port, arrays) in [("train", learn), ("validation", check)] {
        match (params.task, arrays.task()) {
            (Task::Classes, Task::Labels) => bail!("the arrays on port `{port}` have labels, not classes: set `task` to \"labels\""),
            (Task::Labels, Task::Classes) => {
                bail!("the arrays on port `{port}` have one class an image: name the columns in the param `labels` of dataset.pack")
            }
            _ => {}
        }
    }
    ensure!(
        learn.size[1..] == check.size[1..],
        "training images are {:?} pixels, validation images {:?}",
        &learn.size[1..],
        &check.size[1..]
    );
    ensure!(
        learn.origin == check.origin,
        "training and validation images are not of one kind: both must be images, or features by the same backbone and weights"
    );
    ensure!(learn.classes == check.classes, "training and validation images have other classes: {:?}, {:?}", learn.classes, check.classes);
    let sides = |arrays: &Arrays, class: usize| {
        let has = |wanted: bool| (0..arrays.len()).any(|row| arrays.holds(row, class) == Some(wanted));
        (has(true), has(false))
    };
    let auc = "there is no AUC to pick the epoch by";
    let mut judged = false;
    for (class, name) in learn.classes.iter().enumerate() {
        let (learnt, (yes, no)) = (sides(learn, class), sides(check, class));
        judged |= yes && no;
        if params.task == Task::Labels {
            ensure!(learnt.0 || learnt.1, "no training image says anything about the label {name}: leave it out of `labels`");
            continue;
        }
        ensure!(learnt.0, "no training image has the label {name}: a classifier needs images of every class");
        ensure!(
            params.score != Score::Auc || yes,
            "no validation image has the label {name}, so {auc}: {remedy}, or set `score` to \"loss\""
        );
    }
    ensure!(
        params.score != Score::Auc || judged,
        "no label is both there and absent among the validation images, so {auc}: {remedy}, or set `score` to \"loss\""
    );
    Ok(())
}

/// Whether a head can be trained on features as the params say.
fn suit_features(params: &ClassifierTrain, origin: &Origin, weights: Option<&Part>) -> Result<()> {
    let Origin { backbone, normalise, .. } = origin;
    ensure!(*backbone == params.backbone, "param `backbone` is {}, but the features on port `train` are of {backbone}", params.backbone);
    ensure!(
        *normalise == params.normalise,
        "param `normalise` is {:?}, but the features on port `train` were computed with {normalise:?}",
        params.normalise
    );
    let images = "of features only the head is trained: leave it out, or train on the images themselves";
    for (param, unsaid) in [
        ("trains", matches!(params.trains, Trains::All | Trains::Head)),
        ("augment", params.augment == Augment::default()),
        ("pooling", params.pooling == Pooling::default()),
        ("input", params.input == Input::default()),
        ("precision", params.precision == Precision::default()),
    ] {
        ensure!(unsaid, "param `{param}` has no meaning here: {images}");
    }
    ensure!(
        weights.is_none_or(|part| part.tree.digest() == origin.weights),
        "port `weights`: the features on port `train` come from other weights; connect the same to both, or none here"
    );
    Ok(())
}

/// Digest of params and inputs.
fn of(params: &ClassifierTrain, inputs: &Inputs) -> Result<Digest> {
    let mut text = format!("{} {}\n{}\n", ClassifierTrain::KIND, ClassifierTrain::REVISION, serde_json::to_string(params)?);
    for (port, parts) in &inputs.0 {
        for part in parts {
            text.push_str(&format!("{port} {}\n", part.tree.digest()));
        }
    }
    Ok(Digest::of(text.as_bytes()))
}
