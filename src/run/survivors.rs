//! Ends what engines started that were killed: their guardian does so at once, and the next run before it starts anything, should the
//! guardian have been killed too.
//!
//! A process is ended if it carries the name of the killed run in its environment, or is a recorded child that has not ended or of its process
//! group, by number and start time: numbers of processes are used again, but none that a group still has. Also ends what one command has
//! started, where its time is over.

use crate::store::{Left, Process, Store, left_at};
use anyhow::{Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use std::ffi::OsStr;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
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
    let survivors = end_those(|pid| is_of(left, pid));
    let list = survivors.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    ensure!(survivors.is_empty(), "processes of a run that was killed do not end: {list}; end them and run again");
    Ok(())
}

/// Ends all that was started with this variable in its environment, also what has left its group and whose parents have ended.
pub(super) fn end_carriers(name: &str, value: &OsStr) {
    let variable = [name.as_bytes(), b"=", value.as_bytes()].concat();
    end_those(|pid| carries(pid, &variable) && Process::of(pid).is_some_and(|process| !process.has_ended));
}

/// Ends the processes that are so; the answer is those that do not go. Looked at again until none is left: one may have started another
/// meanwhile.
fn end_those(are: impl Fn(&str) -> bool) -> Vec<i32> {
    let begun = Instant::now();
    loop {
        let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let found: Vec<i32> = names.filter_map(|name| name.parse().ok().filter(|_| are(&name))).collect();
        if found.is_empty() || begun.elapsed() >= PATIENCE {
            return found;
        }
        for pid in found.into_iter().filter_map(Pid::from_raw) {
            let _ = kill_process(pid, Signal::KILL);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn is_of(left: &Left, name: &str) -> bool {
    let Some(process) = Process::of(name).filter(|process| !process.has_ended) else { return false };
    // Its leader, the child, may be gone: then nobody has its number as long as there is one in its group.
    let is_in_group = || {
        let child = left.children.iter().find(|child| child.pid == process.group);
        child.is_some_and(|child| Process::of(&child.pid.to_string()).is_none_or(|leader| leader.start == child.at))
    };
    carries(name, format!("{RUN}={}", left.run).as_bytes()) || is_in_group()
}

/// Whether a process was started with this in its environment.
fn carries(pid: &str, variable: &[u8]) -> bool {
    let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    environment.split(|byte| *byte == 0).any(|one| one == variable)
}
