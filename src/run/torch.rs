//! Hands a torch kind to a child `tomograph-torch` and takes its outputs in.
//!
//! Does not link libtorch. GPU devices have not been tried: only `cpu` slots.

use super::children::{Children, end_group};
use super::devices::{self, Slot};
use super::failure::Failure;
use super::order::{BUILD, Reply, Sent, VERSION, WorkOrder};
use super::pool::take_outputs;
use super::task::{Deadline, Job, Made};
use crate::pipeline::Cause;
use crate::stage::{Configured, Each, Kind};
use anyhow::{Context as _, Result, anyhow, bail};
use std::collections::BTreeMap;
use std::io::{BufReader, ErrorKind};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Instant;

/// The child's program, and how it is run.
pub(super) struct Worker<'a> {
    /// `tomograph-torch`, if found.
    pub(super) program: Option<&'a Path>,
    pub(super) slot: &'a Slot,
    /// The engine's own environment.
    pub(super) environment: &'a BTreeMap<String, String>,
    /// Seconds between two writes of the state.
    pub(super) state_every: f64,
    pub(super) children: &'a Children,
}

/// Does the work of a torch kind in one child with one slot of the device pool.
pub(super) fn carry_out(job: &Job, kind: &Kind, params: &dyn Configured, worker: &Worker) -> Result<Made> {
    let scratch = job.store.scratch()?;
    let order = order(job, kind, params, worker, scratch.path())?;
    for port in kind.outputs {
        std::fs::create_dir_all(order.outputs.join(port.name)).context("cannot make a folder in the store")?;
    }
    converse(job, worker, &order, scratch.path(), &mut |_| bail!("tomograph-torch answered with an item where there are none"))?;
    (job.worked)();
    take_outputs(job, kind.outputs.iter().map(|port| port.name), &order.outputs, job.level)
}

/// The order for all of a task.
pub(super) fn order(job: &Job, kind: &Kind, params: &dyn Configured, worker: &Worker, scratch: &Path) -> Result<WorkOrder> {
    std::fs::create_dir_all(&job.state).context("cannot make the task's state folder in the store")?;
    Ok(WorkOrder {
        version: VERSION,
        build: BUILD.to_owned(),
        task: job.title.clone(),
        kind: kind.name.to_owned(),
        revision: kind.revision,
        params: params.params(),
        inputs: job.inputs.clone(),
        coordinates: job.coordinates.clone(),
        outputs: scratch.join("outputs"),
        state: job.state.clone(),
        state_every: worker.state_every,
        threads: job.threads,
        device: worker.slot.device.clone(),
        missing: None,
    })
}

/// An item as the child told of it.
pub(super) struct Told {
    /// Its place in the order.
    pub(super) at: usize,
    pub(super) each: Each,
    pub(super) files: Vec<Sent>,
}

/// Starts a child with the order, and listens until it is through. `item` takes the items that it tells of.
pub(super) fn converse(
    job: &Job,
    worker: &Worker,
    order: &WorkOrder,
    scratch: &Path,
    item: &mut dyn FnMut(Told) -> Result<()>,
) -> Result<()> {
    let missing = "the program tomograph-torch is missing: it is neither beside tomograph nor on PATH; `make build` makes both";
    let Worker { program, slot, environment, children, .. } = *worker;
    let program = program.context(missing)?;
    let path = scratch.join("order.json");
    #[expect(clippy::disallowed_methods, reason = "the order is scratch: it is gone with the task")]
    std::fs::write(&path, serde_json::to_vec(order)?).context("cannot write the work order")?;

    let stderr = job.log.file()?;
    let mut command = Command::new(program);
    command.arg("work").arg(&path).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(stderr);
    command.envs(devices::environment(slot, environment));
    // OpenMP's threads spin while they wait for each other. Where somebody else has a core too, its default (milliseconds) made a step
    // of 0.1 s take 10 s. With the policy MobileNetV2 learnt a fifth quicker in bf16, a tenth in f32: libgomp then spins ten times as long
    // (some ten microseconds) where it counts more threads than cores. Why it counts so many here was not looked into.
    command.env("GOMP_SPINCOUNT", "10000").env("OMP_WAIT_POLICY", "active");
    // Memory of a step is kept for the next: given back to the system and taken again, it took a quarter of the time of a step.
    command.env("MALLOC_MMAP_MAX_", "0").env("MALLOC_TRIM_THRESHOLD_", "1099511627776");
    // Single precision means single precision; tch cannot say so. No variable of the user's decides what a result is.
    command.env("NVIDIA_TF32_OVERRIDE", "0");
    job.check()?;
    let begun = Instant::now();
    let mut child = children.start(command).map_err(|error| match error.kind() {
        ErrorKind::NotFound => anyhow!("the program {} is missing; `make build` makes it", program.display()),
        _ => anyhow!(error).context(format!("cannot start {}", program.display())),
    })?;
    let pid = child.id();
    children.note(pid);
    if job.is_cancelled() {
        // All children may have been ended just before this one was among them.
        end_group(pid);
    }
    let stdout = child.stdout.take().context("the child has no output")?;
    let stdin = child.stdin.take();
    let (verdict, timed_out) = within(job.deadline, pid, || listen(job, BufReader::new(stdout), &|| children.ready(begun.elapsed()), item));
    if verdict.is_err() {
        end_group(pid);
    }
    // The child kills itself when its input closes: so not while it ends in order after its last word.
    let last_word = matches!(verdict, Ok(Some(_))).then_some(stdin);
    let status = child.wait().context("cannot wait for tomograph-torch")?;
    drop(last_word);
    children.ended(pid);
    if timed_out {
        job.check().context("its state is kept, and the next run goes on from there")?;
    }
    match verdict? {
        Some(Reply::Done) if status.success() => Ok(()),
        Some(Reply::Failed { message, oom: true }) => Err(Failure::of(Cause::Oom, message)),
        Some(Reply::Failed { message, .. }) => bail!("{message}"),
        _ => Err(death(job, program, status)),
    }
}

/// Does `work`, ending the process group `pid` at the deadline; says whether it did.
fn within<T>(deadline: Option<Deadline>, pid: u32, work: impl FnOnce() -> T) -> (T, bool) {
    let Some(deadline) = deadline else { return (work(), false) };
    let (done, waiting) = channel::<()>();
    std::thread::scope(|scope| {
        let watchdog = scope.spawn(move || {
            let late = waiting.recv_timeout(deadline.left()) == Err(RecvTimeoutError::Timeout);
            if late {
                end_group(pid);
            }
            late
        });
        let result = work();
        drop(done);
        (result, watchdog.join().unwrap_or(false))
    })
}

/// Passes notes and items on until the child says how it ended, or closes its output without a word.
fn listen(job: &Job, stdout: impl std::io::BufRead, ready: &dyn Fn(), item: &mut dyn FnMut(Told) -> Result<()>) -> Result<Option<Reply>> {
    for line in stdout.lines() {
        let Ok(line) = line else { return Ok(None) };
        match serde_json::from_str(&line).context("tomograph-torch answered something that is no reply")? {
            Reply::Ready => ready(),
            Reply::Note(note) => job.note(note),
            Reply::Item { at, each, files } => item(Told { at, each, files })?,
            last => return Ok(Some(last)),
        }
    }
    Ok(None)
}

fn death(job: &Job, program: &Path, status: ExitStatus) -> anyhow::Error {
    if job.is_cancelled() {
        return anyhow!("interrupted; its state is kept and the next run goes on from there");
    }
    match (status.signal(), status.code()) {
        (Some(9), _) => Failure::of(
            Cause::Signal,
            "tomograph-torch was killed (signal 9): by a person, or because memory ran out; the next try goes on from the last state",
        ),
        (Some(signal), _) => {
            Failure::of(Cause::Signal, format!("tomograph-torch was ended by signal {signal}; the next try goes on from the last state"))
        }
        (None, Some(127)) => anyhow!("{} cannot load libtorch: `make build` fetches it and builds against it again", program.display()),
        (None, code) => {
            let code = code.unwrap_or(-1);
            Failure::of(Cause::Exit, format!("tomograph-torch ended with exit code {code} and no word; its log may say more"))
        }
    }
}
