//! Ends what engines started that were killed: the next run does so before it starts anything.
//!
//! Children end with their engine by themselves; what they in turn had started may not. A process is ended if it is in the group of a
//! recorded child, and is that child or carries the name of the killed run: numbers of processes are used again.

use crate::store::{Left, Started, Store, start_of};
use anyhow::{Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// The variable that names the run to all that it starts.
pub(super) const RUN: &str = "TOMOGRAPH_RUN";

/// How long a killed process may take to go.
const PATIENCE: Duration = Duration::from_secs(10);

/// Ends what killed engines left on this machine.
pub(super) fn end(store: &Store) -> Result<()> {
    for left in store.left_behind()? {
        let begun = Instant::now();
        // Looked at again until none is left: one may have started another meanwhile.
        loop {
            let survivors = survivors(&left);
            if survivors.is_empty() {
                break;
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
        left.forget();
    }
    Ok(())
}

fn survivors(left: &Left) -> Vec<i32> {
    let groups: BTreeSet<u32> = left.children.iter().map(|child| child.pid).collect();
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| is_of(left, &groups, name)).filter_map(|name| name.parse().ok()).collect()
}

fn is_of(left: &Left, groups: &BTreeSet<u32>, name: &str) -> bool {
    let Ok(pid) = name.parse::<u32>() else { return false };
    let Some((state, group)) = state_and_group(name) else { return false };
    let ended = matches!(state, 'Z' | 'X');
    let is_child = || start_of(name).is_some_and(|at| left.children.contains(&Started { pid, at }));
    !ended && groups.contains(&group) && (is_child() || carries(name, &left.run))
}

fn state_and_group(pid: &str) -> Option<(char, u32)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = text.rsplit(')').next()?.split_whitespace();
    Some((fields.next()?.chars().next()?, fields.nth(1)?.parse().ok()?))
}

/// Whether a process was started with the name of this run in its environment.
fn carries(pid: &str, run: &str) -> bool {
    let wanted = format!("{RUN}={run}");
    let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    environment.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes())
}
