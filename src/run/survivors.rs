//! Ends what engines started that were killed: their guardian does so at once, and the next run before it starts anything, should the
//! guardian have been killed too.
//!
//! A process is ended if it carries the name of the killed run in its environment, or is a recorded child, by number and start time:
//! numbers of processes are used again.

use crate::store::{Left, Started, Store, left_at, start_of};
use anyhow::{Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use std::io::Read as _;
use std::path::Path;
use std::time::{Duration, Instant};

/// The variable that names the run to all that it starts.
pub(super) const RUN: &str = "TOMOGRAPH_RUN";

/// How long a killed process may take to go.
const PATIENCE: Duration = Duration::from_secs(10);

/// Ends what killed engines left on this machine.
pub(super) fn end(store: &Store) -> Result<()> {
    for left in store.left_behind()? {
        end_all(&left)?;
        left.forget();
    }
    Ok(())
}

/// The guardian: waits until standard input closes, and ends what the run noted in `live`. A run that ended well has no such file.
pub fn end_after(live: &Path) -> Result<()> {
    let mut bytes = [0; 64];
    while matches!(std::io::stdin().read(&mut bytes), Ok(1..)) {}
    left_at(live).map_or(Ok(()), |left| end_all(&left))
}

fn end_all(left: &Left) -> Result<()> {
    let begun = Instant::now();
    // Looked at again until none is left: one may have started another meanwhile.
    loop {
        let survivors = survivors(left);
        if survivors.is_empty() {
            return Ok(());
        }
        let list = survivors.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        ensure!(begun.elapsed() < PATIENCE, "processes of a run that was killed do not end: {list}; end them and run again");
        for pid in survivors {
            if let Some(pid) = Pid::from_raw(pid) {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn survivors(left: &Left) -> Vec<i32> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| is_of(left, name)).filter_map(|name| name.parse().ok()).collect()
}

fn is_of(left: &Left, name: &str) -> bool {
    let Ok(pid) = name.parse::<u32>() else { return false };
    let is_child = || start_of(name).is_some_and(|at| left.children.contains(&Started { pid, at }));
    (carries(name, &left.run) || is_child()) && !has_ended(name)
}

/// A zombie only waits to be taken note of.
fn has_ended(pid: &str) -> bool {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    text.rsplit(')').next().is_none_or(|rest| rest.trim_start().is_empty() || rest.trim_start().starts_with(['Z', 'X']))
}

/// Whether a process was started with the name of this run in its environment.
fn carries(pid: &str, run: &str) -> bool {
    let wanted = format!("{RUN}={run}");
    let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    environment.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes())
}
