//! `tomograph-torch work ORDER`: does one work order and answers in JSON lines.

use crate::failure;
use crate::items::Asked;
use crate::job::{Job, device, set_threads};
use crate::{evaluate, image_features, lungs, predict, train};
use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Signal, getpid, kill_process, set_parent_process_death_signal};
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::time::Duration;
use tomograph::run::order::{BUILD, Reply, VERSION, WorkOrder};
use tomograph::stage::{Context, Note, Params};
use tomograph::stages::classifier_evaluate::ClassifierEvaluate;
use tomograph::stages::classifier_features::ClassifierFeatures;
use tomograph::stages::classifier_predict::ClassifierPredict;
use tomograph::stages::classifier_train::ClassifierTrain;
use tomograph::stages::lungs_segment::LungsSegment;
use tomograph::stages::lungs_train::LungsTrain;

/// Does the order; true when it is done. Says so, or why not, on standard output.
pub(crate) fn work(order: &Path) -> bool {
    die_with_the_engine();
    let mut batch = None;
    let outcome = failure::guarded(|| {
        let order = read(order)?;
        batch = order.params.get("batch").and_then(serde_json::Value::as_u64);
        carry_out(&order)
    });
    let reply = match &outcome {
        Ok(()) => Reply::Done,
        Err(error) => Reply::Failed { message: failure::line(error, batch), oom: failure::is_memory(error) },
    };
    answer(&reply);
    outcome.is_ok()
}

/// Reads an order, and refuses one of another build or version.
fn read(place: &Path) -> Result<WorkOrder> {
    let bytes = std::fs::read(place).with_context(|| format!("cannot read the work order {}", place.display()))?;
    parse(&bytes)
}

fn parse(bytes: &[u8]) -> Result<WorkOrder> {
    let rough: serde_json::Value = serde_json::from_slice(bytes).context("the work order is not JSON")?;
    // Looked at first: an order of another version need not have our fields.
    let version = rough.get("version").and_then(serde_json::Value::as_u64);
    ensure!(
        version == Some(u64::from(VERSION)),
        "the work order is not of version {VERSION}: build tomograph and tomograph-torch together"
    );
    let build = rough.get("build").and_then(serde_json::Value::as_str).unwrap_or_default();
    ensure!(build == BUILD, "this is tomograph-torch {BUILD}, the order comes from tomograph {build}: build both together");
    serde_json::from_value(rough).context("the work order has another shape")
}

fn carry_out(order: &WorkOrder) -> Result<()> {
    set_threads(order.threads);
    let note = |note: Note| answer(&Reply::Note(note));
    let job = Job {
        cx: Context {
            inputs: &order.inputs,
            coordinates: &order.coordinates,
            threads: order.threads,
            outputs: &order.outputs,
            note: &note,
        },
        device: device(&order.device)?,
        state: order.state.clone(),
        state_every: Duration::try_from_secs_f64(order.state_every).context("state_every")?,
    };
    answer(&Reply::Ready);
    let all = |reply: Reply| answer(&reply);
    let asked = order.missing.as_ref().map(|missing| Asked::of(missing, &all)).transpose()?;
    let asked = || asked.as_ref().context("the order names no items");
    match order.kind.as_str() {
        ClassifierFeatures::KIND => image_features::features(&params(order)?, &job, asked()?),
        LungsSegment::KIND => lungs::segment(&params(order)?, &job, asked()?),
        LungsTrain::KIND => lungs::train(&params(order)?, &job),
        ClassifierPredict::KIND => predict::predict(&params(order)?, &job, asked()?),
        ClassifierTrain::KIND => train::train(&params(order)?, &job),
        ClassifierEvaluate::KIND => evaluate::evaluate(&params(order)?, &job),
        other => bail!("tomograph-torch does not know the kind {other}"),
    }
}

fn params<P: Params>(order: &WorkOrder) -> Result<P> {
    ensure!(order.revision == P::REVISION, "the order is for revision {} of {}, this is {}", order.revision, P::KIND, P::REVISION);
    let params: P = serde_json::from_value(order.params.clone()).context("the params of the order")?;
    if let Some(problem) = params.check().first() {
        bail!("param `{}` {}", problem.param, problem.message);
    }
    Ok(params)
}

/// Prints a line. Where nobody reads any more there is nobody to tell: the watch on standard input ends this process.
fn answer(reply: &Reply) {
    if let Ok(line) = serde_json::to_string(reply) {
        let mut out = std::io::stdout().lock();
        let _ = writeln!(out, "{line}").and_then(|()| out.flush());
    }
}

/// Ends this process when the engine dies: by the kernel's signal, and when standard input closes, if it is a pipe.
fn die_with_the_engine() {
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
    let pipe = rustix::fs::fstat(std::io::stdin()).is_ok_and(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode).is_fifo());
    if pipe {
        std::thread::spawn(|| {
            let mut bytes = [0; 64];
            while matches!(std::io::stdin().read(&mut bytes), Ok(1..)) {}
            // The engine is gone: nobody wants the rest, and the state on disk is whole. A plain exit would run libtorch's
            // destructors under the feet of the thread that computes.
            let _ = kill_process(getpid(), Signal::KILL);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tomograph::stage::{Coordinates, Inputs};

    #[test]
    fn an_order_of_another_build_or_version_is_refused() {
        let order = WorkOrder {
            version: VERSION,
            build: BUILD.to_owned(),
            task: "train".to_owned(),
            kind: "classifier.train".to_owned(),
            revision: 1,
            params: serde_json::json!({}),
            inputs: Inputs::default(),
            coordinates: Coordinates::new(),
            outputs: "outputs".into(),
            state: "state".into(),
            state_every: 120.0,
            threads: 1,
            device: "cpu".to_owned(),
            missing: None,
        };
        let bytes = |order: &WorkOrder| serde_json::to_vec(order).unwrap();
        assert!(parse(&bytes(&order)).is_ok());
        let other = WorkOrder { build: "0.0.0-other".to_owned(), ..order.clone() };
        assert!(parse(&bytes(&other)).unwrap_err().to_string().contains("comes from tomograph 0.0.0-other"));
        let newer = WorkOrder { version: VERSION + 1, ..order };
        assert!(parse(&bytes(&newer)).unwrap_err().to_string().contains(&format!("not of version {VERSION}")));
    }
}
