//! The work of `classifier.evaluate`.

use crate::arrays::Arrays;
use crate::classifier::Classifier;
use crate::job::Job;
use anyhow::{Context as _, Result, ensure};
use serde::Serialize;
use tomograph::stages::classifier_evaluate::ClassifierEvaluate;

/// The `metrics` artifact.
#[derive(Serialize)]
struct Metrics<'a> {
    role: &'a str,
    n: usize,
    classes: &'a [String],
    metrics: Vec<Metric>,
    /// `[truth][decision]`.
    confusion: Vec<Vec<u64>>,
}

#[derive(Serialize)]
struct Metric {
    name: &'static str,
    value: Option<f64>,
    n: usize,
}

/// Predicts every image, and writes `metrics` and `predictions`.
pub(crate) fn evaluate(params: &ClassifierEvaluate, job: &Job) -> Result<()> {
    let classifier = Classifier::load(job.cx.inputs.one("model")?, job.device).context("port `model`")?;
    let arrays = Arrays::open(job.cx.inputs.one("arrays")?, "arrays", &["test", "all"])?;
    let recipe = &classifier.recipe;
    ensure!(arrays.len() > 0, "there are no {} images to evaluate on: give the split a larger share for them", arrays.role);
    ensure!(recipe.classes == arrays.classes, "the model knows the classes {:?}, the images have {:?}", recipe.classes, arrays.classes);
    ensure!(
        recipe.input == arrays.size[1..],
        "the model takes images of {:?} pixels, these are {:?}: pack them at the same size",
        recipe.input,
        &arrays.size[1..]
    );
    let n = arrays.len();
    let tell = |done: usize| job.cx.progress(done as u64, n as u64, "images");
    let predicted = classifier.predict(&arrays, params.batch as usize, &tell)?;
    let confusion = predicted.confusion(&arrays);
    let figures = [
        ("accuracy", confusion.accuracy()),
        ("precision", confusion.precision()),
        ("recall", confusion.recall()),
        ("f1", confusion.f1()),
        ("sensitivity", confusion.sensitivity()),
        ("specificity", confusion.specificity()),
        ("auc", predicted.auc(&arrays)),
    ];
    for (name, _) in figures.iter().filter(|(_, value)| value.is_none()) {
        job.cx.warn(format!("{name} has no value on these {n} images: a class is absent, or never decided on"));
    }
    let metrics = figures.into_iter().map(|(name, value)| Metric { name, value, n }).collect();
    let metrics = Metrics { role: &arrays.role, n, classes: &arrays.classes, metrics, confusion: confusion.counts };
    let mut json = serde_json::to_vec(&metrics)?;
    json.push(b'\n');
    job.cx.write("metrics", "metrics.json", &json)?;
    job.cx.write("predictions", "predictions.tsv", &predicted.table(&arrays).to_tsv())
}
