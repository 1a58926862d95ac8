//! The work of `classifier.train`.

use crate::adam::Rates;
use crate::arrays::Arrays;
use crate::classifier::{Classifier, Recipe, Validation};
use crate::fit::{Judged, Plan, Step, fit};
use crate::job::Job;
use crate::keras_h5::Layers;
use anyhow::{Context as _, Result, bail, ensure};
use tch::{Kind, no_grad};
use tomograph::content::Digest;
use tomograph::stage::{Inputs, Params};
use tomograph::stages::classifier_train::{ClassifierTrain, Score};
use tomograph::table::Table;

/// Trains, and writes `model`, `history` and `predictions`.
pub(crate) fn train(params: &ClassifierTrain, job: &Job) -> Result<()> {
    let inputs = job.cx.inputs;
    let learn = Arrays::open(inputs.one("train")?, "train", &["train"])?;
    let check = Arrays::open(inputs.one("validation")?, "validation", &["validation"])?;
    suit(&learn, &check, params.score)?;
    let weights = inputs.optional("weights")?.map(|part| -> Result<Layers> {
        let name = part.tree.only_file().context("port `weights`")?;
        Layers::read_blob(part.tree.file(name)?).with_context(|| format!("port `weights`: {}", part.tree.shown(name)))
    });
    let recipe = Recipe::of(params, &learn)?;
    let mut classifier = Classifier::new(recipe, params.seed, weights.transpose()?, job.device).context("building the network")?;
    let batch = params.batch as usize;
    let plan = Plan {
        of: of(params, inputs)?,
        seed: params.seed,
        epochs: params.epochs,
        batch,
        rows: learn.len(),
        rates: Rates { learning_rate: params.learning_rate, epsilon: params.epsilon },
        state: &job.state,
        state_every: job.state_every,
    };
    let mut step = |rows: &[usize]| {
        let images = learn.batch(rows, params.normalise, job.device)?;
        let targets = learn.targets(rows, job.device);
        let logits = classifier.logits(&images, true);
        let right = no_grad(|| logits.argmax(-1, false).eq_tensor(&targets).to_kind(Kind::Double).mean(Kind::Double).double_value(&[]));
        Ok(Step { loss: logits.cross_entropy_for_logits(&targets), figure: right })
    };
    let mut judge = || {
        let predicted = classifier.predict(&check, batch, &|_| {})?;
        let (loss, accuracy, auc) = (predicted.loss, predicted.confusion(&check).accuracy(), predicted.auc(&check));
        ensure!(loss.is_finite(), "the validation loss is {loss}: a lower `learning_rate` may help");
        let (score, text) = match params.score {
            Score::Auc => (auc, "auc"),
            Score::Accuracy => (accuracy, "accuracy"),
            Score::Loss => (Some(-loss), "validation loss"),
        };
        let score = score.context("the validation figure has no value")?;
        Ok(Judged { columns: vec![Some(loss), accuracy, auc], score, text: format!("{text} {:.3}", score.abs()) })
    };
    let fitted = fit(&plan, &classifier.variables, job.cx.note, &mut step, &mut judge)?;

    let kept = &fitted.history[fitted.epoch as usize - 1];
    classifier.recipe.epoch = fitted.epoch;
    classifier.recipe.validation = Validation { loss: kept[2], accuracy: kept[3], auc: kept[4] };
    classifier.save(job, "model")?;
    let mut history = Table::new(["epoch", "train_loss", "train_accuracy", "validation_loss", "validation_accuracy", "validation_auc"]);
    for (epoch, row) in (1..).zip(&fitted.history) {
        let values = row.iter().map(|value| value.map_or_else(String::new, |value| format!("{value:?}")));
        history.rows.push(std::iter::once(format!("{epoch}")).chain(values).collect());
    }
    job.cx.write("history", "history.tsv", &history.to_tsv())?;
    let predicted = classifier.predict(&check, batch, &|_| {})?;
    job.cx.write("predictions", "predictions.tsv", &predicted.table(&check).to_tsv())
}

/// Whether one can be learnt from and the other can judge.
fn suit(learn: &Arrays, check: &Arrays, score: Score) -> Result<()> {
    let remedy = "give the split a larger share for it";
    ensure!(learn.len() > 0, "there are no training images: {remedy}");
    ensure!(check.len() > 0, "there are no validation images, and they pick the epoch: {remedy}");
    ensure!(
        learn.size[1..] == check.size[1..],
        "training images are {:?} pixels, validation images {:?}",
        &learn.size[1..],
        &check.size[1..]
    );
    ensure!(learn.classes == check.classes, "training and validation images have other classes: {:?}, {:?}", learn.classes, check.classes);
    let present = |arrays: &Arrays, class: usize| arrays.classes_of.contains(&(class as i64));
    for (class, name) in learn.classes.iter().enumerate() {
        ensure!(present(learn, class), "no training image has the label {name}: a classifier needs images of every class");
        if score == Score::Auc && !present(check, class) {
            bail!(
                "no validation image has the label {name}, so there is no AUC to pick the epoch by: {remedy}, or set `score` to \"loss\""
            );
        }
    }
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
