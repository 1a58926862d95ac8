//! Runs a `command` stage: any program, with its inputs laid out as folders and files.
//!
//! Knows nothing of what the program does; success is exit code 0 with every output there and valid as its artifact.

use super::children::{Children, Watch, end_families, end_group, has_ended};
use super::devices::{self, Slot};
use super::failure::{Failure, is_memory};
use super::lend::Lent;
use super::pool::take_outputs;
use super::said::{Progress, Said};
use super::sandbox::{Sandbox, Sandboxes};
use super::survivors::end_carriers;
use super::task::{Job, Made};
use super::valid;
use crate::pipeline::{Cause, Command as Stage, Output, Piece, Policy};
use crate::store::ensure_plain;
use anyhow::{Context as _, Result, anyhow, ensure};
use std::collections::BTreeMap;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How often it is looked at what a program says.
const SHORTEST_LOOK: Duration = Duration::from_millis(2);
const LONGEST_LOOK: Duration = Duration::from_millis(100);
/// The variable that names the file of a program's progress, another for each, to all that the program starts.
const PROGRESS: &str = "TOMOGRAPH_PROGRESS";
/// A program that runs no longer is not noted in the store.
const SHORT: Duration = Duration::from_millis(20);

/// What a command gets from the world beside its own stage.
pub(super) struct Surroundings<'a> {
    pub(super) slot: &'a Slot,
    /// The engine's own environment, of which a command sees what DESIGN section 3 lists.
    pub(super) environment: &'a BTreeMap<String, String>,
    pub(super) children: &'a Children,
    pub(super) sandboxes: &'a Sandboxes,
}

/// Runs the program once.
pub(super) fn carry_out(job: &Job, stage: &Stage, outputs: &[Output], policy: &Policy, around: &Surroundings) -> Result<Made> {
    run_once(job, stage, outputs, policy, around, &|folder, program| {
        for output in outputs {
            valid::check(output.artifact, &output.port, &folder.join(&output.port)).with_context(|| misfit(output, program))?;
        }
        let made = take_outputs(job, outputs.iter().map(|output| output.port.as_str()), folder, job.level)?;
        (job.worked)();
        Ok(made)
    })
}

/// Runs the program, and gives what `take` takes from the folder of its outputs (the program's name is for its messages).
pub(super) fn run_once<T>(
    job: &Job,
    stage: &Stage,
    outputs: &[Output],
    policy: &Policy,
    around: &Surroundings,
    take: &dyn Fn(&Path, &str) -> Result<T>,
) -> Result<T> {
    around.sandboxes.lend(job.store, |sandbox| {
        let mut lent = Lent::default();
        let layout = Layout::new(job, stage, outputs, sandbox, &mut lent)?;
        let argv: Vec<String> = stage.argv.iter().map(|pieces| layout.fill(pieces, job, around.slot)).collect::<Result<_>>()?;
        let program = argv.first().context("`command` is empty")?;
        let ended = execute(job, stage, &argv, &layout, policy, around);
        lent.give_back(job, program)?;
        ended?;
        for output in outputs {
            let folder = layout.outputs.join(&output.port);
            ensure_plain(&folder, job.level).with_context(|| format!("output `{}`", output.port))?;
        }
        take(&layout.outputs, program)
    })
}

/// That an output is not what was declared.
pub(super) fn misfit(output: &Output, program: &str) -> String {
    format!("{program} ended well, but output `{}` is not `{}` (`tomograph kinds --types`)", output.port, output.artifact)
}

/// Runs the program to its end.
fn execute(job: &Job, stage: &Stage, argv: &[String], layout: &Layout, policy: &Policy, around: &Surroundings) -> Result<()> {
    let program = &argv[0];
    let path = stage.env.get("PATH").or_else(|| around.environment.get("PATH"));
    // Looked up here: the standard library forks where the child's own PATH decides, and what the engine holds is copied each time.
    let mut command = Command::new(on_path(program, path).unwrap_or_else(|| program.into()));
    command.arg0(program).args(&argv[1..]).current_dir(&job.root);
    command.env_clear();
    let passed = ["PATH", "HOME", "LANG"].into_iter().chain(policy.env.iter().map(String::as_str));
    command.envs(passed.filter_map(|name| Some((name, around.environment.get(name)?))));
    command.envs(devices::environment(around.slot, around.environment)).env(PROGRESS, &layout.progress).envs(&stage.env);
    let (mut said, theirs) = Said::new()?;
    command.stdin(Stdio::null()).stdout(theirs.try_clone().context("cannot copy a pipe")?).stderr(theirs);

    let mut child = around.children.start(command).with_context(|| format!("cannot start {program}"))?;
    let (pid, started, mut progress) = (child.id(), Instant::now(), Progress::default());
    let (watch, mut in_time, mut noted) = (Watch::of(&child), Ok(()), false);
    while in_time.is_ok() && !has_ended(&child) {
        if !noted && started.elapsed() > SHORT {
            around.children.note(pid);
            noted = true;
        }
        progress.pass_on(&layout.progress, job);
        // How far it is, is passed on a tenth too late at most, and what it says a moment: a program that says it bit by bit is not asked
        // for each.
        match said.pass_on(job.log) {
            true => watch.rest(SHORTEST_LOOK, None),
            false => watch.rest((started.elapsed() / 10).clamp(SHORTEST_LOOK, LONGEST_LOOK), said.waiting()),
        }
        in_time = job.check();
    }
    // What the program left running in its group is ended with it, before its number can be another's; in time it may leave others.
    match in_time {
        Ok(_) => end_group(pid),
        Err(_) => {
            end_families(&[pid]);
            end_carriers(PROGRESS, layout.progress.as_os_str());
        }
    }
    let status = child.wait().context("cannot wait for the program")?;
    around.children.ended(pid);
    // More than it has said by now comes from what it has left running.
    let _ = (0..16).all(|_| said.pass_on(job.log));
    in_time.with_context(|| program.clone())?;
    progress.pass_on(&layout.progress, job);
    if !status.success() {
        ensure!(!job.is_cancelled(), "interrupted");
        let said = said.last_lines();
        let cause = match status.signal() {
            Some(_) => Cause::Signal,
            None if is_memory(&said) => Cause::Oom,
            None => Cause::Exit,
        };
        // Showing the lines would give people's data away.
        let shown = if job.inputs.identified() { "" } else { said.as_str() };
        return Err(Failure::of(cause, format!("{program} ended with {status}; its output is in the log{shown}")));
    }
    Ok(())
}

/// The file that a bare name means on a PATH; none where there is no such file, or a folder of the PATH depends on where one stands.
fn on_path(program: &str, path: Option<&String>) -> Option<PathBuf> {
    let folders = std::env::split_paths(path.filter(|_| !program.is_empty() && !program.contains('/'))?);
    let is_program = |file: &Path| rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_ok() && file.is_file();
    folders.take_while(|folder| folder.is_absolute()).map(|folder| folder.join(program)).find(|file| is_program(file))
}

/// Where a command finds and leaves things.
struct Layout {
    inputs: BTreeMap<String, PathBuf>,
    files: BTreeMap<String, PathBuf>,
    outputs: PathBuf,
    params: PathBuf,
    progress: PathBuf,
}

impl Layout {
    fn new(job: &Job, stage: &Stage, outputs: &[Output], sandbox: &Sandbox, lent: &mut Lent) -> Result<Self> {
        // An output's folder is called as its port, an input's the same after a point.
        let mut inputs = BTreeMap::new();
        for (port, parts) in &job.inputs.0 {
            let folder = sandbox.folder(&format!(".{port}"))?;
            inputs.insert(port.clone(), lent.lay_out(job, parts, &folder).with_context(|| format!("input `{port}`"))?);
        }
        let mut files = BTreeMap::new();
        for output in outputs {
            let place = sandbox.folder(&output.port)?;
            files.insert(
                output.port.clone(),
                valid::file_name(output.artifact, &output.port, stage.map.is_some()).map_or(place.clone(), |name| place.join(name)),
            );
        }
        let folder = sandbox.path().to_owned();
        let params = folder.join(".params.json");
        if stage.argv.iter().flatten().any(|piece| *piece == Piece::ParamsFile) {
            let seed = job.coordinates.get("seed");
            let text = serde_json::json!({"params": stage.params, "coordinates": job.coordinates, "seed": seed});
            #[expect(clippy::disallowed_methods, reason = "scratch: gone with the task")]
            std::fs::write(&params, serde_json::to_vec_pretty(&text)?).context("cannot write the params file")?;
        }
        Ok(Self { inputs, files, params, progress: folder.join(".progress.jsonl"), outputs: folder })
    }

    fn fill(&self, pieces: &[Piece], job: &Job, slot: &Slot) -> Result<String> {
        let mut text = String::new();
        for piece in pieces {
            let path = match piece {
                Piece::Text(part) => {
                    text.push_str(part);
                    continue;
                }
                Piece::Device => {
                    text.push_str(&slot.device);
                    continue;
                }
                Piece::Threads => {
                    text.push_str(&job.threads.to_string());
                    continue;
                }
                Piece::Input(port) => {
                    self.inputs.get(port).with_context(|| format!("nothing is connected to `{{inputs.{port}}}`"))?.clone()
                }
                Piece::Output(port) => self.files.get(port).with_context(|| format!("there is no output `{port}`"))?.clone(),
                Piece::ParamsFile => self.params.clone(),
                Piece::State => {
                    std::fs::create_dir_all(&job.state).context("cannot make the task's state folder in the store")?;
                    job.state.clone()
                }
            };
            text.push_str(path.to_str().ok_or_else(|| {
                anyhow!("the store's path is not UTF-8, so no program can be told of it: name another place in tomograph.local.toml")
            })?);
        }
        Ok(text)
    }
}
