//! The work of `classifier.evaluate`.

use crate::arrays::Arrays;
use crate::classifier::Classifier;
use crate::job::Job;
use crate::predicted::Predicted;
use anyhow::{Context as _, Result, ensure};
use serde::Serialize;
use tomograph::stages::classifier_evaluate::ClassifierEvaluate;
use tomograph::stages::classifier_train::Task;

/// The `metrics` artifact.
#[derive(Serialize)]
struct Metrics<'a> {
    role: &'a str,
    n: usize,
    /// `test` where test images picked the model's epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    selected_on: Option<&'a str>,
    classes: &'a [String],
    metrics: Vec<Metric>,
    /// `[truth][decision]`.
    confusion: Vec<Vec<u64>>,
}

#[derive(Serialize)]
struct Metric {
    name: String,
    value: Option<f64>,
    n: u64,
}

/// Predicts every image, and writes `metrics` and `predictions`.
pub(crate) fn evaluate(params: &ClassifierEvaluate, job: &Job) -> Result<()> {
    let classifier = Classifier::load(job.cx.inputs.one("model")?, job.device).context("port `model`")?;
    let recipe = &classifier.recipe;
    let arrays = Arrays::open(job.cx.inputs.one("arrays")?, "arrays", &["test", "all"])?.settle(recipe.uncertain);
    ensure!(arrays.len() > 0, "there are no {} images to evaluate on: give the split a larger share for them", arrays.role);
    classifier.suits(&arrays).context("port `arrays`")?;
    let n = arrays.len();
    let tell = |done: usize| job.cx.progress(done as u64, n as u64, "images");
    let predicted = classifier.predict(&arrays, params.batch as usize, &tell)?;
    let figures = match arrays.task() {
        Task::Classes => of_classes(&predicted, &arrays),
        Task::Labels => of_labels(&predicted, &arrays),
    };
    for figure in figures.iter().filter(|figure| figure.value.is_none()) {
        let Metric { name, n, .. } = figure;
        job.cx.warn(format!("{name} has no value on these {n} images: a class is absent, or never decided on"));
    }
    let counts = if arrays.task() == Task::Classes { predicted.confusion(&arrays).counts } else { Vec::new() };
    let metrics = Metrics {
        role: &arrays.role,
        n,
        selected_on: recipe.selected_on.as_deref(),
        classes: &arrays.classes,
        metrics: figures,
        confusion: counts,
    };
    let mut json = serde_json::to_vec(&metrics)?;
    json.push(b'\n');
    job.cx.write("metrics", "metrics.json", &json)?;
    job.cx.write("predictions", "predictions.tsv", &predicted.table(&arrays).to_tsv())
}

fn of_classes(predicted: &Predicted, arrays: &Arrays) -> Vec<Metric> {
    let confusion = predicted.confusion(arrays);
    let figures = [
        ("accuracy", confusion.accuracy()),
        ("precision", confusion.precision()),
        ("recall", confusion.recall()),
        ("f1", confusion.f1()),
        ("sensitivity", confusion.sensitivity()),
        ("specificity", confusion.specificity()),
        ("auc", predicted.auc(arrays)),
    ];
    figures.into_iter().map(|(name, value)| Metric { name: name.to_owned(), value, n: arrays.len() as u64 }).collect()
}

/// Of all labels together, then of each, where it is known.
fn of_labels(predicted: &Predicted, arrays: &Arrays) -> Vec<Metric> {
    let n = arrays.len() as u64;
    let mut figures = vec![("accuracy".to_owned(), predicted.accuracy(arrays), n), ("auc".to_owned(), predicted.auc(arrays), n)];
    for (label, name) in arrays.classes.iter().enumerate() {
        let confusion = predicted.of_label(arrays, label);
        let own =
            [("auc", predicted.auc_of(arrays, label)), ("sensitivity", confusion.sensitivity()), ("specificity", confusion.specificity())];
        figures.extend(own.map(|(figure, value)| (format!("{figure}_{name}"), value, confusion.total())));
    }
    figures.into_iter().map(|(name, value, n)| Metric { name, value, n }).collect()
}
