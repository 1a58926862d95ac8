//! The work of `lungs.train`.

use super::loss::{hard_dice, loss};
use super::model::{Recipe, Unet};
use super::net::Shape;
use super::pairs::{Found, Pairs, find};
use crate::augment::{move_about, tone};
use crate::fit::{Judged, Learner, Moment, Plan, Step, fit};
use crate::job::Job;
use crate::network::Mode;
use crate::optimiser::Rule;
use crate::precision;
use anyhow::{Context as _, Result, ensure};
use std::collections::BTreeMap;
use tch::{Kind, Tensor, no_grad};
use tomograph::content::Digest;
use tomograph::stage::{Inputs, Params};
use tomograph::stages::lungs_train::LungsTrain;
use tomograph::stages::training::Schedule;
use tomograph::table::Table;

/// Columns of the history behind `epoch`.
const COLUMNS: [&str; 5] = ["learning_rate", "train_loss", "train_dice", "validation_loss", "validation_dice"];

/// Keras' epsilon of Adam.
const EPSILON: f64 = 1e-7;

/// Trains, and writes `model` and `history`.
pub(crate) fn train(params: &LungsTrain, job: &Job) -> Result<()> {
    let mut sets = find(job.cx.inputs)?;
    let (learn, check) = (read(&mut sets, "train", params, job)?, read(&mut sets, "validation", params, job)?);
    precision::prepare(job.device, false)?;
    let down = params.dropout.clone();
    let up = down.iter().rev().skip(1).copied().collect();
    let shape = Shape { filters: params.filters, down, up, batch_norm: params.batch_norm };
    let recipe = Recipe { architecture: "unet".to_owned(), shape, side: params.side, epoch: 0, validation_dice: None };
    let mut unet = Unet::new(recipe, params.seed, job.device);
    unet.lay_to_learn();
    unet.kind = precision::kind(params.precision, job.device)?;
    if params.batch as usize > learn.len() {
        job.cx.warn(format!("`batch` is {}, but there are {} training images: every step takes all of them", params.batch, learn.len()));
    }

    let prepare = |rows: &[usize]| Ok((rows.to_vec(), learn.batch(rows, tch::Device::Cpu)));
    let mut step = |(rows, (images, masks)): &(Vec<usize>, (Tensor, Tensor)), moment: Moment| {
        let items: Vec<&str> = rows.iter().map(|row| learn.items[*row].as_str()).collect();
        let there = Tensor::cat(&[images, masks], 1).to_device(job.device);
        let moved = move_about(&there, &items, &params.augment, params.seed, moment.epoch);
        let images = tone(&moved.narrow(1, 0, 1), &items, &params.augment, params.seed, moment.epoch);
        let masks = moved.narrow(1, 1, 1).ge(0.5).to_kind(Kind::Float);
        tch::manual_seed(moment.draw);
        let logits = unet.logits(&images, Mode::Train { frozen: 0 });
        let outputs = no_grad(|| hard_dice(&logits, &masks).unsqueeze(1));
        Ok(Step { loss: loss(params.loss, &logits, &masks), outputs })
    };
    let mut judge = |outputs: &Tensor| -> Result<Judged> {
        let (mut lost, mut dice) = (0.0, 0.0);
        let rows: Vec<usize> = (0..check.len()).collect();
        for rows in rows.chunks(params.batch as usize) {
            let (images, masks) = check.batch(rows, job.device);
            let logits = no_grad(|| unet.logits(&images, Mode::Infer));
            lost += loss(params.loss, &logits, &masks).double_value(&[]) * rows.len() as f64;
            dice += hard_dice(&logits, &masks).sum(Kind::Double).double_value(&[]);
        }
        let (lost, dice) = (lost / check.len() as f64, dice / check.len() as f64);
        ensure!(lost.is_finite(), "the validation loss is {lost}: a lower `learning_rate` may help");
        let learnt = outputs.mean(Kind::Double).double_value(&[]);
        Ok(Judged { columns: vec![Some(learnt), Some(lost), Some(dice)], score: dice, text: format!("dice {dice:.3}") })
    };
    let item = |row: usize| learn.items[row].clone();
    let weight = |rows: &[usize]| rows.len() as f64;
    let schedule = Schedule::default();
    let plan = Plan {
        of: of(params, job.cx.inputs)?,
        seed: params.seed,
        epochs: params.epochs,
        patience: params.patience,
        batch: params.batch as usize,
        micro: params.batch as usize,
        rows: learn.len(),
        outputs: 1,
        rule: Rule::Adam { epsilon: EPSILON, weight_decay: 0.0 },
        rate: params.learning_rate,
        schedule: &schedule,
        clip: None,
        scaled: unet.kind == Kind::Half,
        device: job.device,
        feeders: 1,
        state: &job.state,
        state_every: job.state_every,
    };
    let learner = Learner { prepare: &prepare, step: &mut step, weight: &weight, judge: &mut judge, item: &item };
    let fitted = fit(&plan, &unet.variables, job.cx.note, learner)?;

    unet.recipe.epoch = fitted.epoch;
    unet.recipe.validation_dice = fitted.history[fitted.epoch as usize - 1][4];
    unet.save(job, "model")?;
    let mut history = Table::new(std::iter::once("epoch").chain(COLUMNS));
    for (epoch, row) in (1..).zip(&fitted.history) {
        let values = row.iter().map(|value| value.map_or_else(String::new, |value| format!("{value:?}")));
        history.rows.push(std::iter::once(format!("{epoch}")).chain(values).collect());
    }
    job.cx.write("history", "history.tsv", &history.to_tsv())
}

/// The pairs of a set; there must be some.
fn read(sets: &mut BTreeMap<String, Found>, set: &str, params: &LungsTrain, job: &Job) -> Result<Pairs> {
    let remedy = "the split's column `set` says which rows they are, and each needs an image and a mask of the same item";
    let found = sets.remove(set).with_context(|| format!("the split has no row of the set `{set}`: {remedy}"))?;
    if found.without > 0 {
        job.cx.warn(format!("{} rows of the set `{set}` have no image or no mask and are left out", found.without));
    }
    let pairs = Pairs::read(&found, params.side, job.cx.threads)?;
    ensure!(pairs.len() > 0, "no row of the set `{set}` has an image and a mask: {remedy}");
    Ok(pairs)
}

/// Digest of params and inputs.
fn of(params: &LungsTrain, inputs: &Inputs) -> Result<Digest> {
    let mut text = format!("{} {}\n{}\n", LungsTrain::KIND, LungsTrain::REVISION, serde_json::to_string(params)?);
    for (port, parts) in &inputs.0 {
        for part in parts {
            text.push_str(&format!("{port} {}\n", part.tree.digest()));
        }
    }
    Ok(Digest::of(text.as_bytes()))
}
