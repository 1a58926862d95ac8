//! Starts child processes and ends them.
//!
//! One long-lived thread starts all children, because a parent-death signal is sent when the *thread* that started a child
//! ends. Each child leads its own process group, so that ending it ends what it started. Programs know nothing of such signals: with
//! the first child a guardian is started, which ends them all when the engine is gone. Knows nothing of tasks.

use super::survivors::RUN;
use crate::store::{Live, Process, Store};
use anyhow::{Context as _, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// How long a look at a child that cannot be watched waits for the next.
const SHORT: Duration = Duration::from_millis(1);

type Request = (Command, Sender<io::Result<Child>>);

/// Starts children and remembers which are alive.
#[derive(Clone)]
pub(super) struct Children {
    requests: Sender<Request>,
    alive: Arc<Mutex<Alive>>,
    run: Arc<OnceLock<Run>>,
}

/// Children that nobody has waited for yet, and how the run's time was spent on them.
#[derive(Default)]
struct Alive {
    pids: BTreeSet<u32>,
    /// Since when there is one.
    since: Option<Instant>,
    spent: Spent,
}

/// Time that children took.
#[derive(Clone, Debug, Default)]
pub(super) struct Spent {
    /// In which at least one was there.
    pub(super) working: Duration,
    /// From the start of each `tomograph-torch` until it had read its order.
    pub(super) starts: Vec<Duration>,
}

/// The run that children belong to. Dropped in this order: the guardian finds nothing to do after a run that ended well.
struct Run {
    name: String,
    /// Where its children are noted.
    live: Option<Live>,
    /// Ends what is noted when its standard input closes.
    guardian: Mutex<Option<Child>>,
    /// This very program, which is also the guardian.
    program: PathBuf,
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
    pub(super) fn begin(&self, store: &Store, name: &str, program: &Path) -> Result<()> {
        let live = store.begin_live(name)?;
        let _ = self.run.set(Run { name: name.to_owned(), live, guardian: Mutex::default(), program: program.to_owned() });
        Ok(())
    }

    /// Starts a child in a process group of its own, and remembers it until [`Children::ended`].
    pub(super) fn start(&self, mut command: Command) -> io::Result<Child> {
        if let Some(run) = self.run.get() {
            command.env(RUN, &run.name);
            self.start_guardian(run)?;
        }
        let child = self.start_unlisted(command)?;
        let mut alive = self.lock();
        alive.since.get_or_insert_with(Instant::now);
        alive.pids.insert(child.id());
        drop(alive);
        Ok(child)
    }

    /// Notes a child in the store, by which it is found after a kill though it hides its environment. One that ends at once needs no note.
    pub(super) fn note(&self, pid: u32) {
        if let Some(live) = self.run.get().and_then(|run| run.live.as_ref()) {
            live.note(pid);
        }
    }

    fn start_guardian(&self, run: &Run) -> io::Result<()> {
        let mut guardian = run.guardian.lock().unwrap_or_else(PoisonError::into_inner);
        if let (None, Some(live)) = (&*guardian, &run.live) {
            let mut command = Command::new(&run.program);
            command.arg("end-after").arg(live.path()).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
            *guardian = Some(self.start_unlisted(command)?);
        }
        Ok(())
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
        if let Some(live) = self.run.get().and_then(|run| run.live.as_ref()) {
            live.ended(pid);
        }
        let mut alive = self.lock();
        alive.pids.remove(&pid);
        if alive.pids.is_empty()
            && let Some(since) = alive.since.take()
        {
            alive.spent.working += since.elapsed();
        }
    }

    /// To be told how long a child took to get ready.
    pub(super) fn ready(&self, after: Duration) {
        self.lock().spent.starts.push(after);
    }

    /// What children took of the run's time, once all have ended.
    pub(super) fn spent(&self) -> Spent {
        self.lock().spent.clone()
    }

    /// Ends every child, and what descends from it.
    pub(super) fn end_all(&self) {
        let alive = self.lock();
        end_families(&alive.pids.iter().copied().collect::<Vec<_>>());
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Alive> {
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

/// Tells when a child has ended. A kernel or a sandbox without process descriptors makes who waits look again and again.
pub(super) struct Watch(Option<OwnedFd>);

impl Watch {
    pub(super) fn of(child: &Child) -> Self {
        use rustix::process::{Pid, PidfdFlags, pidfd_open};
        Self(pidfd_open(Pid::from_child(child), PidfdFlags::empty()).ok())
    }

    /// Returns when the child has ended, there is something to read from `also`, or so much time is over.
    pub(super) fn rest(&self, most: Duration, also: Option<BorrowedFd<'_>>) {
        let waited = self.0.as_ref().map(|child| {
            let timeout = PollTimeout::try_from(most).unwrap_or(PollTimeout::MAX);
            let mut watched: Vec<PollFd<'_>> =
                std::iter::once(child.as_fd()).chain(also).map(|one| PollFd::new(one, PollFlags::POLLIN)).collect();
            poll(&mut watched, timeout)
        });
        if !matches!(waited, Some(Ok(_))) {
            std::thread::sleep(most.min(SHORT));
        }
    }
}

/// Ends process groups at once, and all that descends from their leaders, though it leads groups of its own (as `timeout` and `setsid` do).
pub(super) fn end_families(leaders: &[u32]) {
    let descendants = descendants(leaders);
    leaders.iter().for_each(|leader| end_group(*leader));
    for pid in descendants.into_iter().filter_map(|pid| rustix::process::Pid::from_raw(i32::try_from(pid).ok()?)) {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
}

fn descendants(of: &[u32]) -> BTreeSet<u32> {
    if of.is_empty() {
        return BTreeSet::new();
    }
    let names = std::fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let parent = |name: String| Some((name.parse().ok()?, Process::of(&name)?.parent));
    let processes: Vec<(u32, u32)> = names.filter_map(parent).collect();
    let mut found: BTreeSet<u32> = of.iter().copied().collect();
    // A child may have a smaller number than its parent: again until nothing is new.
    while processes.iter().fold(false, |new, (pid, parent)| new | (found.contains(parent) && found.insert(*pid))) {}
    found.retain(|pid| !of.contains(pid));
    found
}

/// Ends a process group at once.
pub(super) fn end_group(pid: u32) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw) {
        let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
    }
}
