//! Starts child processes and ends them.
//!
//! One long-lived thread starts all children, because a parent-death signal is sent when the *thread* that started a child
//! ends. Each child leads its own process group, so that ending it ends what it started. Knows nothing of tasks.

use super::survivors::RUN;
use crate::store::{Live, Store};
use anyhow::{Context as _, Result};
use std::collections::BTreeSet;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

type Request = (Command, Sender<io::Result<Child>>);

/// Starts children and remembers which are alive.
#[derive(Clone)]
pub(super) struct Children {
    requests: Sender<Request>,
    alive: Arc<Mutex<BTreeSet<u32>>>,
    /// Name of the run, and where its children are noted.
    run: Arc<OnceLock<(String, Option<Live>)>>,
}

impl Children {
    /// Starts the thread that starts children; it ends when the last clone is dropped.
    pub(super) fn new() -> Result<Self> {
        let (requests, inbox) = channel::<Request>();
        let start = move || {
            for (mut command, answer) in inbox {
                // A receiver that is gone no longer wants the child: it is ended at once.
                if let Err(unwanted) = answer.send(command.process_group(0).spawn())
                    && let Ok(mut child) = unwanted.0
                {
                    let _ = child.kill();
                    let _ = child.wait();
                }
            }
        };
        std::thread::Builder::new().name("children".into()).spawn(start).context("cannot start a thread")?;
        Ok(Self { requests, alive: Arc::default(), run: Arc::default() })
    }

    /// Says that the run `name` lives, so that what it starts can be found if it is killed.
    pub(super) fn begin(&self, store: &Store, name: &str) -> Result<()> {
        let live = store.begin_live(name)?;
        let _ = self.run.set((name.to_owned(), live));
        Ok(())
    }

    /// Starts a child in a process group of its own, and remembers it until [`Children::ended`].
    pub(super) fn start(&self, mut command: Command) -> io::Result<Child> {
        if let Some((name, _)) = self.run.get() {
            command.env(RUN, name);
        }
        let child = self.start_unlisted(command)?;
        if let Some((_, Some(live))) = self.run.get() {
            live.note(child.id());
        }
        self.lock().insert(child.id());
        Ok(child)
    }

    /// Starts a child that the caller ends: `end_all` does not.
    pub(super) fn start_unlisted(&self, command: Command) -> io::Result<Child> {
        let (answer, result) = channel();
        let gone = |_| io::Error::other("the thread that starts children has ended");
        self.requests.send((command, answer)).map_err(|_| io::Error::other("the thread that starts children has ended"))?;
        result.recv().map_err(gone)?
    }

    /// To be told when a child has been waited for: its number may then belong to another process.
    pub(super) fn ended(&self, pid: u32) {
        self.lock().remove(&pid);
    }

    /// Ends every child's process group.
    pub(super) fn end_all(&self) {
        for pid in self.lock().iter() {
            end_group(*pid);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeSet<u32>> {
        self.alive.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a child has ended; it is still to be waited for, and its number is nobody else's until then.
pub(super) fn has_ended(child: &Child) -> bool {
    use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    // An error is for the caller's own wait to tell.
    waitid(WaitId::Pid(Pid::from_child(child)), options).map_or(true, |status| status.is_some())
}

/// Ends a process group at once.
pub(super) fn end_group(pid: u32) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw) {
        let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
    }
}

/// What a child does first: asks to be ended when its parent ends, and ends if that has already happened.
pub fn die_with_parent(parent: u32) -> Result<()> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
        .context("cannot ask for the parent-death signal")?;
    let now = rustix::process::getppid().map_or(0, |pid| pid.as_raw_nonzero().get());
    anyhow::ensure!(i64::from(now) == i64::from(parent), "the program that started this one has ended");
    Ok(())
}
