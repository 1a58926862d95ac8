//! Ends what engines started that were killed: their guardian does so at once, and the next run before it starts anything, should the
//! guardian have been killed too.
//!
//! A process is ended if it carries the name of the killed run in its environment, or is a recorded child that has not ended or of its process
//! group, by number and start time: numbers of processes are used again, but none that a group still has.

use crate::store::{Left, Process, Store, left_at};
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
    if name.parse::<u32>().is_err() {
        return false;
    }
    let Some(process) = Process::of(name).filter(|process| !process.has_ended) else { return false };
    // Its leader, the child, may be gone: then nobody has its number as long as there is one in its group.
    let is_in_group = || {
        let child = left.children.iter().find(|child| child.pid == process.group);
        child.is_some_and(|child| Process::of(&child.pid.to_string()).is_none_or(|leader| leader.start == child.at))
    };
    carries(name, &left.run) || is_in_group()
}

/// Whether a process was started with the name of this run in its environment.
fn carries(pid: &str, run: &str) -> bool {
    let wanted = format!("{RUN}={run}");
    let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    environment.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes())
}
