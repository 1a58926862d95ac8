//! `tomograph doctor`: whether this machine has what a run needs, and what to do where it has not.

mod disk;

use super::exit::{Exit, print};
use super::grid::{count, wrap};
use super::project::{index_folder, worker};
use super::reading::{Local, Shared, root_of, settings};
use crate::run::order::BUILD;
use anyhow::{Context as _, Result};
use clap::Args;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Look whether this machine has what a run needs
///
/// Looks at the program that trains, at devices, codecs, the store's disk and file system, and the clock, and says of each thing
/// found wrong what to do. Ends with 1 where something essential is wrong.
#[derive(Args)]
pub(super) struct DoctorArgs {
    /// One JSON object a line: state, what, finding, remedy
    #[arg(long)]
    json: bool,
}

/// How bad a finding is.
#[derive(Clone, Copy, PartialEq)]
enum State {
    Fine,
    /// Works, but slower, or without something.
    Warning,
    /// Runs would fail.
    Wrong,
}

/// What was looked at.
struct Finding {
    state: State,
    what: &'static str,
    text: String,
    remedy: String,
}

impl Finding {
    fn fine(what: &'static str, text: impl Into<String>) -> Self {
        Self { state: State::Fine, what, text: text.into(), remedy: String::new() }
    }

    fn warning(what: &'static str, text: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { state: State::Warning, what, text: text.into(), remedy: remedy.into() }
    }

    fn wrong(what: &'static str, text: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { state: State::Wrong, ..Self::warning(what, text, remedy) }
    }

    fn word(&self) -> &'static str {
        match self.state {
            State::Fine => "ok",
            State::Warning => "warning",
            State::Wrong => "wrong",
        }
    }
}

pub(super) fn doctor(args: &DoctorArgs) -> Result<Exit> {
    let here = std::env::current_dir().context("cannot tell the current folder")?;
    let root = root_of(&here.join("any.toml"))?;
    let mut findings = vec![Finding::fine("program", format!("tomograph {BUILD}"))];
    let local = match settings_of(&root) {
        Ok(local) => {
            findings.push(project(&root));
            local
        }
        Err(error) => {
            findings.push(Finding::wrong("project", format!("{error:#}"), "mend the file"));
            Local::default()
        }
    };
    findings.push(trainer(worker().as_deref()));
    findings.push(devices(&local));
    findings.push(codecs());
    findings.extend(disk::look(&local.store_in(&root), &index_folder()));
    findings.push(clock(SystemTime::now()));
    print(&findings.iter().map(|finding| show(finding, args.json)).collect::<String>())?;
    Ok(if findings.iter().any(|finding| finding.state == State::Wrong) { Exit::Failed } else { Exit::Done })
}

fn show(finding: &Finding, json: bool) -> String {
    let Finding { what, text, remedy, .. } = finding;
    if json {
        let remedy = Some(remedy).filter(|remedy| !remedy.is_empty());
        return serde_json::json!({ "state": finding.word(), "what": what, "finding": text, "remedy": remedy }).to_string() + "\n";
    }
    let shown = format!("{:<8} {what:<12} {text}\n", finding.word());
    if remedy.is_empty() { shown } else { shown + &wrap(&format!("→ {remedy}"), &" ".repeat(22), 120) }
}

fn settings_of(root: &Path) -> Result<Local> {
    settings::<Shared>(&root.join("tomograph.toml"))?;
    settings(&root.join("tomograph.local.toml"))
}

fn project(root: &Path) -> Finding {
    let text = format!("{}", root.display());
    if root.join("tomograph.toml").is_file() {
        return Finding::fine("project", text);
    }
    let remedy = "`tomograph init NAME` makes one; until then paths begin where a command is started";
    Finding::warning("project", format!("there is no tomograph.toml in {text} or above it"), remedy)
}

/// The program that trains: there, of this build, and able to load libtorch.
fn trainer(program: Option<&Path>) -> Finding {
    const WHAT: &str = "training";
    let Some(program) = program else {
        let text = "tomograph-torch is neither beside tomograph nor on PATH: torch kinds cannot run";
        return Finding::warning(WHAT, text, "`make build` fetches libtorch and builds it; kinds that need no libtorch work without");
    };
    let output = Command::new(program).arg("--version").stdin(Stdio::null()).output();
    let shown = program.display();
    match output {
        Err(error) => Finding::wrong(WHAT, format!("{shown} cannot be started: {error}"), "`make build` makes it anew"),
        Ok(output) if !output.status.success() => {
            let said = String::from_utf8_lossy(&output.stderr);
            let first = said.lines().next().unwrap_or("it says nothing");
            let remedy = "`make build` fetches libtorch and builds against it again";
            Finding::wrong(WHAT, format!("{shown} cannot load libtorch: {first}"), remedy)
        }
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stdout);
            let build = said.split_whitespace().last().unwrap_or_default();
            match build == BUILD {
                true => Finding::fine(WHAT, format!("{shown}, of the same build, loads libtorch")),
                false => Finding::wrong(
                    WHAT,
                    format!("{shown} is of build {build}, and this program of {BUILD}"),
                    "`make build` makes both; they must be of one build",
                ),
            }
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "this is cli")]
fn devices(local: &Local) -> Finding {
    let mask = std::env::var("CUDA_VISIBLE_DEVICES").ok();
    let gpus = crate::run::gpus(mask.as_deref(), local.devices.gpus.as_deref());
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let text = format!("{}, {}", count(processors as u64, "processor"), count(gpus.len() as u64, "GPU"));
    if !gpus.is_empty() {
        return Finding::fine("devices", format!("{text} ({})", gpus.join(", ")));
    }
    let hidden = mask.map(|mask| format!(" (CUDA_VISIBLE_DEVICES is `{mask}`)")).unwrap_or_default();
    let remedy = "where there should be one: install NVIDIA's driver, and look with `nvidia-smi`; a small training also runs on the CPU";
    Finding::warning("devices", format!("{text}{hidden}: trainings run on the CPU"), remedy)
}

fn codecs() -> Finding {
    let (read, lacking): (Vec<_>, Vec<_>) = crate::stages::codecs().into_iter().partition(|(_, decodes)| *decodes);
    let names = |all: &[(&str, bool)]| all.iter().map(|(name, _)| *name).collect::<Vec<_>>().join("; ");
    match lacking.as_slice() {
        [] => Finding::fine("codecs", format!("reads {}", names(&read))),
        lacking => Finding::warning(
            "codecs",
            format!("does not read {}", names(lacking)),
            "files compressed so go into quarantine: convert them first, with DCMTK's or GDCM's programs",
        ),
    }
}

/// A clock that is far off puts journals in the wrong order.
fn clock(now: SystemTime) -> Finding {
    const WHAT: &str = "clock";
    let remedy = "set it: `timedatectl set-ntp true`, or `date`";
    let shown = crate::store::utc(now);
    // The first version of this program is of November 2026.
    if now < UNIX_EPOCH + Duration::from_secs(1_793_000_000) {
        return Finding::wrong(WHAT, format!("it says {shown}, which is past"), remedy);
    }
    let built = std::env::current_exe().ok().and_then(|program| program.metadata().ok()?.modified().ok());
    match built.filter(|built| *built > now + Duration::from_secs(60)) {
        Some(built) => {
            Finding::warning(WHAT, format!("it says {shown}, and this program was built later, {}", crate::store::utc(built)), remedy)
        }
        None => Finding::fine(WHAT, shown),
    }
}
