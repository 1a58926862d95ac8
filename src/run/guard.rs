//! Guarded children: foreign bytes are parsed in processes with limits, so that a file that makes a decoder take all memory, loop or
//! crash costs that file alone.
//!
//! Children are `program work --items KIND`, reused from item to item; one runs one item at a time, and there are as many as there are
//! callers at once. Each leads its own process group. Knows nothing of stores, keys or plans.

mod child;
mod frames;
mod worker;

pub use child::serve;

use crate::stage::{Each, Inputs, Item};
use anyhow::{Context as _, Result};
use frames::{Hello, frame};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use worker::{End, Worker};

/// What one child may take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Bytes of address space.
    pub memory: u64,
    /// Bytes of stack of the thread that works.
    pub stack: usize,
    /// Seconds an item may take, by the clock.
    pub seconds: f64,
}

impl Default for Limits {
    /// Room for radiographs of 20 million pixels (measured: 350 MiB); two children at work stay under 1 GiB.
    fn default() -> Self {
        Self { memory: 480 << 20, stack: 16 << 20, seconds: 30.0 }
    }
}

/// Starts a child; called on behalf of all tasks by one long-lived thread, as parent-death signals want.
pub type Spawn = dyn Fn(Command) -> std::io::Result<Child> + Send + Sync;

/// A pool of guarded children for the items of one task.
pub struct Guard {
    program: PathBuf,
    kind: String,
    hello: Hello,
    limits: Limits,
    spawn: Arc<Spawn>,
    free: Mutex<Vec<Worker>>,
}

impl Guard {
    /// Children will be `program work --items KIND`; `params` and `whole` (the whole ports) are the first they read.
    pub fn new(program: PathBuf, kind: &str, params: &serde_json::Value, whole: &Inputs, limits: Limits, spawn: Arc<Spawn>) -> Self {
        let hello = Hello { params: params.clone(), whole: whole.clone(), memory: limits.memory, stack: limits.stack };
        Self { program, kind: kind.to_owned(), hello, limits, spawn, free: Mutex::default() }
    }

    /// Runs one item in a free child, started when none is free. Where a child dies or is ended, the item is tried once more in a
    /// fresh one; after the second time it is quarantined with class `crash`, `memory` or `time`. An error means that no child works
    /// at all, or that the kind itself failed.
    /// An error of `check`, which is asked all the time, ends the child.
    pub fn each(&self, item: &Item, check: &dyn Fn() -> Result<()>) -> Result<Each> {
        let question = frame(item)?;
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut last = None;
        for _ in 0..2 {
            let mut worker = match free.take() {
                Some(worker) => worker,
                None => self.start()?,
            };
            match worker.ask(&question, Duration::from_secs_f64(self.limits.seconds.max(0.0)), check)? {
                Ok(answer) => {
                    self.free.lock().unwrap_or_else(PoisonError::into_inner).push(worker);
                    return answer;
                }
                Err(end) => last = Some(end),
            }
        }
        let (class, reason) = match last.unwrap_or(End::Crash) {
            End::Memory => ("memory", format!("takes more than {} MiB to read", self.limits.memory >> 20)),
            End::Time => ("time", format!("takes longer than {} s to read", self.limits.seconds)),
            End::Stack => ("crash", "overflows the stack of the program that reads it".to_owned()),
            End::Crash => ("crash", "crashes the program that reads it".to_owned()),
        };
        Ok(Each::Quarantined { class: class.to_owned(), reason })
    }

    fn start(&self) -> Result<Worker> {
        let mut command = Command::new(&self.program);
        // The allocator would set address space aside, a gigabyte at a time, of which a child has less.
        command.args(["work", "--items", &self.kind]).env("MIMALLOC_ARENA_RESERVE", "0");
        Worker::start(command, &frame(&self.hello)?, self.spawn.as_ref())
            .with_context(|| format!("cannot start a guarded child for {} ({})", self.kind, self.program.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::Level;
    use crate::run::order::BUILD;
    use std::os::unix::process::CommandExt as _;
    use std::process::Stdio;

    /// A guard whose children say that they are ready and then do as `script` says.
    fn guard(folder: &std::path::Path, script: &str) -> Guard {
        let ready = serde_json::json!({ "ready": BUILD }).to_string();
        let text = format!("cd '{}'; printf '\\{:03o}\\000\\000\\000%s' '{ready}'; {script}", folder.display(), ready.len());
        // The shell stands in for the program, with the pipes that the program would have.
        let spawn: Arc<Spawn> = Arc::new(move |_| {
            let mut command = Command::new("/bin/sh");
            command.args(["-c", &text]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).spawn()
        });
        let limits = Limits { seconds: 0.3, ..Limits::default() };
        Guard::new("tomograph".into(), "dicom.import", &serde_json::json!({}), &Inputs::default(), limits, spawn)
    }

    fn item() -> Item {
        Item { item: "1".into(), files: Vec::new(), row: Default::default(), level: Level::Identified }
    }

    fn class(each: Each) -> String {
        match each {
            Each::Quarantined { class, .. } => class,
            Each::Made(_) => "made".to_owned(),
        }
    }

    #[test]
    fn two_deaths_are_a_verdict_and_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let dies = "echo x >> starts; head -c 8 >/dev/null;";
        assert_eq!(class(guard(folder.path(), &format!("{dies} kill -SEGV $$")).each(&item(), &|| Ok(())).unwrap()), "crash");
        assert_eq!(std::fs::read_to_string(folder.path().join("starts")).unwrap(), "x\nx\n");
        let memory = format!("{dies} echo 'memory allocation of 99 bytes failed' >&2; kill -ABRT $$");
        assert_eq!(class(guard(folder.path(), &memory).each(&item(), &|| Ok(())).unwrap()), "memory");
        assert_eq!(class(guard(folder.path(), "sleep 9").each(&item(), &|| Ok(())).unwrap()), "time");
        // The first child dies, the second answers.
        let answer = r#"{"made":[],"files":[]}"#;
        let second = format!("if mkdir once; then kill -SEGV $$; fi; printf '\\{:03o}\\000\\000\\000%s' '{answer}'; sleep 9", answer.len());
        assert_eq!(class(guard(folder.path(), &second).each(&item(), &|| Ok(())).unwrap()), "made");
    }

    #[test]
    fn a_task_whose_time_is_over_fails_and_sets_nothing_aside() {
        let folder = tempfile::tempdir().unwrap();
        let guard = guard(folder.path(), "sleep 9");
        assert_eq!(guard.each(&item(), &|| anyhow::bail!("too late")).unwrap_err().to_string(), "too late");
    }

    #[test]
    fn a_program_that_is_no_child_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let mut broken = guard(folder.path(), "");
        broken.spawn = Arc::new(|_| {
            let mut command = Command::new("/bin/true");
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()
        });
        let error = format!("{:#}", broken.each(&item(), &|| Ok(())).unwrap_err());
        assert!(error.contains("cannot start a guarded child for dicom.import"), "{error}");
    }
}
