//! The work of `classifier.evaluate`.

use crate::arrays::Arrays;
use crate::classifier::Classifier;
use crate::job::Job;
use crate::predicted::Predicted;
use anyhow::{Context as _, Result, ensure};
use serde::Serialize;
use tomograph::stages::classifier_evaluate::ClassifierEvaluate;
use tomograph::stages::classifier_train::Task;
use tomograph::stats::{Clusters, Evaluation, Figure};

/// The `metrics` artifact.
#[derive(Serialize)]
struct Metrics<'a> {
    role: &'a str,
    n: usize,
    /// `test` where test images picked the model's epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    selected_on: Option<&'a str>,
    classes: &'a [String],
    /// What was drawn for the intervals, how many of them there are, and how often.
    clustered_by: &'a str,
    clusters: usize,
    draws: u32,
    metrics: Vec<Figure>,
    /// `[truth][decision]`.
    confusion: Vec<Vec<u64>>,
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
    let clusters = Clusters::of(&arrays.subjects);
    let (clustered_by, drawn) = (clusters.by(), clusters.count());
    let figures = measure(params, job, &predicted, &arrays, clusters)?;
    let without: Vec<&str> = figures.iter().filter(|figure| figure.value.is_none()).map(|figure| figure.name.as_str()).collect();
    if !without.is_empty() {
        let names = if job.cx.inputs.identified() { format!("{} figures", without.len()) } else { without.join(", ") };
        job.cx.warn(format!("no value on these {n} images: {names}: a class is absent, never decided on, or told apart without fail"));
    }
    if drawn < 2 && params.draws > 0 {
        job.cx.warn(format!("no figure has an interval: these {n} images are of one {clustered_by}"));
    }
    let counts = if arrays.task() == Task::Classes { predicted.confusion(&arrays).counts } else { Vec::new() };
    let metrics = Metrics {
        role: &arrays.role,
        n,
        selected_on: recipe.selected_on.as_deref(),
        classes: &arrays.classes,
        clustered_by,
        clusters: drawn,
        draws: params.draws,
        metrics: figures,
        confusion: counts,
    };
    let mut json = serde_json::to_vec(&metrics)?;
    json.push(b'\n');
    job.cx.write("metrics", "metrics.json", &json)?;
    job.cx.write("predictions", "predictions.tsv", &predicted.table(&arrays).to_tsv())
}

/// Every figure with its interval, in as many threads as the task has.
fn measure(params: &ClassifierEvaluate, job: &Job, predicted: &Predicted, arrays: &Arrays, clusters: Clusters) -> Result<Vec<Figure>> {
    let mut evaluation = Evaluation::new(clusters);
    let (rows, classes) = (0..arrays.len(), arrays.classes.len());
    match arrays.task() {
        Task::Classes => {
            let truth: Option<Vec<usize>> = rows.map(|row| arrays.class(row)).collect();
            let truth = truth.context("port `arrays`: an image has no class")?;
            evaluation.add_classes(&predicted.scores, &truth, classes, &params.prevalences);
        }
        Task::Labels => {
            let truth: Vec<Vec<Option<bool>>> = rows.map(|row| (0..classes).map(|label| arrays.holds(row, label)).collect()).collect();
            evaluation.add_labels(&predicted.scores, &truth, &arrays.classes);
        }
    }
    let pool = rayon::ThreadPoolBuilder::new().num_threads(job.cx.threads).build().context("cannot start threads")?;
    Ok(pool.install(|| evaluation.figures(params.draws, params.bootstrap_seed)))
}
