//! The work of `classifier.evaluate`.

use crate::arrays::Arrays;
use crate::classifier::Classifier;
use crate::job::Job;
use anyhow::{Context as _, Result, ensure};
use serde::Serialize;
use tomograph::stages::classifier_evaluate::{ClassifierEvaluate, Scored, Truth, View, Views};
use tomograph::stages::classifier_train::Task;
use tomograph::stats::Figure;
use tomograph::table::Table;

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
    /// At other thresholds, of patients, of subgroups.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    views: Vec<View>,
}

/// Predicts every image, and writes `metrics` and `predictions`.
pub(crate) fn evaluate(params: &ClassifierEvaluate, job: &Job) -> Result<()> {
    let (inputs, model) = (job.cx.inputs, job.cx.inputs.one("model")?);
    let classifier = Classifier::load(model, job.device).context("port `model`")?;
    let recipe = &classifier.recipe;
    let part = inputs.one("arrays")?;
    let arrays = Arrays::open(part, "arrays", &["test", "all"])?.settle(recipe.uncertain);
    ensure!(arrays.len() > 0, "there are no {} images to evaluate on: give the split a larger share for them", arrays.role);
    classifier.suits(&arrays).context("port `arrays`")?;
    // Before the images, so that what does not fit costs nothing.
    let threshold = inputs.optional("threshold")?;
    let thresholds = params.thresholds(threshold, &model.tree.digest()).context("port `threshold`")?;
    if threshold.is_some() && thresholds.image.is_none() {
        job.cx.warn("no threshold arrives: validation gave none, so there are no decisions at it");
    }
    if thresholds.image.is_some() && params.patient.is_some() && thresholds.patient.is_none() && arrays.has_subjects() {
        job.cx.warn("no threshold of patients arrives: `classifier.select` gives one where its param `patient` is set, too");
    }
    let rows = Table::from_tsv(&part.tree.read("rows.tsv")?).context("rows.tsv")?;
    let groups = params.groups(inputs.optional("groups")?, &rows)?;

    let n = arrays.len();
    let tell = |done: usize| job.cx.progress(done as u64, n as u64, "images");
    let predicted = classifier.predict(&arrays, params.batch as usize, &tell)?;
    let scored = Scored { scores: &predicted.scores, truth: truth(&arrays)?, subjects: &arrays.subjects, classes: &arrays.classes };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(job.cx.threads).build().context("cannot start threads")?;
    let Views { clustered_by, clusters, whole, rest } = pool.install(|| params.measure(&scored, &thresholds, &groups))?;
    let without: Vec<&str> = whole.metrics.iter().filter(|figure| figure.value.is_none()).map(|figure| figure.name.as_str()).collect();
    if !without.is_empty() {
        let names = if job.cx.inputs.identified() { format!("{} figures", without.len()) } else { without.join(", ") };
        job.cx.warn(format!("no value on these {n} images: {names}: a class is absent, never decided on, or told apart without fail"));
    }
    if clusters < 2 && params.draws > 0 {
        job.cx.warn(format!("no figure has an interval: these {n} images are of one {clustered_by}"));
    }
    let metrics = Metrics {
        role: &arrays.role,
        n,
        selected_on: recipe.selected_on.as_deref(),
        classes: &arrays.classes,
        clustered_by,
        clusters,
        draws: params.draws,
        metrics: whole.metrics,
        confusion: whole.confusion,
        views: rest,
    };
    let mut json = serde_json::to_vec(&metrics)?;
    json.push(b'\n');
    job.cx.write("metrics", "metrics.json", &json)?;
    job.cx.write("predictions", "predictions.tsv", &predicted.table(&arrays).to_tsv())
}

fn truth(arrays: &Arrays) -> Result<Truth> {
    let (rows, labels) = (0..arrays.len(), 0..arrays.classes.len());
    Ok(match arrays.task() {
        Task::Classes => {
            let classes: Option<Vec<usize>> = rows.map(|row| arrays.class(row)).collect();
            Truth::Classes(classes.context("port `arrays`: an image has no class")?)
        }
        Task::Labels => Truth::Labels(rows.map(|row| labels.clone().map(|label| arrays.holds(row, label)).collect()).collect()),
    })
}
