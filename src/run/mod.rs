//! Runs a plan.
//!
//! One thread owns all state and everybody else sends messages: a task is judged when its inputs are known, queued when the
//! store has no record of its key, started when there is room, and recorded when it ends. CPU kinds work in one rayon
//! pool, torch kinds in a child each, commands in a process each; a plain thread waits for every running task. Early cutoff
//! comes of itself: a task that ran and gave the same bytes leaves the keys after it as they were.
//!
//! Knows nothing of terminals (it sends [`Event`]s) and nothing of how a kind does its work.

mod again;
mod children;
mod chosen;
mod command;
mod devices;
mod each;
mod events;
mod failure;
mod foresee;
pub mod guard;
pub mod items;
mod judging;
mod lend;
mod log;
mod machine;
mod moves;
pub mod order;
mod pool;
pub mod publish;
mod quarantine;
mod queue;
mod resources;
mod retry;
mod said;
mod sandbox;
mod settle;
mod sidecar;
mod start;
mod stop;
mod survivors;
mod task;
mod threads;
mod torch;
mod torch_items;
mod turns;
mod valid;
mod whole;

pub use devices::gpus;
pub use events::{Ended, Event, Summary};
pub use failure::told;
pub use foresee::{items_of, plan, untreated};
pub use quarantine::{DECISIONS, Decision, Decisions, set_aside};
pub use survivors::end_after;

use crate::content::Digest;
use crate::pipeline::TaskId;
use crate::plan::reason::Reason;
use crate::plan::{Known, Outcome, Planner};
use crate::stage::Note;
use crate::store::{Record, RunLog};
use anyhow::{Context as _, Result};
use children::Children;
use queue::{Queue, Queued};
use resources::{Resources, Room};
use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// How to run; nothing here is in a key.
pub struct Options {
    /// Threads of the pool, and processors for CPU kinds and commands.
    pub jobs: usize,
    /// Bytes that running tasks may claim together; nine tenths of what the machine has unless set.
    pub memory: Option<u64>,
    /// Indices or UUIDs of the GPUs there are, in place of those found here.
    pub gpus: Option<Vec<String>>,
    /// Torch tasks at once where there is no GPU.
    pub cpu_slots: usize,
    /// Where engines of this machine share devices and memory out among them; none where this one shares with nobody.
    pub locks: Option<PathBuf>,
    /// Who runs this, for others who wait.
    pub user: String,
    /// Tasks that run although their result is known.
    pub again: BTreeSet<TaskId>,
    /// Effects that may run; others are left out, and what follows them waits.
    pub effects: BTreeSet<TaskId>,
    /// Stop at the first failure.
    pub fail_fast: bool,
    /// Use no GPU even where there is one.
    pub cpu: bool,
    /// Whether to publish, and whether to overwrite files that we did not publish.
    pub publish: bool,
    pub overwrite: bool,
    /// This very program, for guarded children and commands.
    pub program: PathBuf,
    /// `tomograph-torch`, if found.
    pub worker: Option<PathBuf>,
    /// Seconds between two writes of a training's state.
    pub state_every: f64,
    /// What is accepted in quarantine.
    pub decisions: Decisions,
    /// The environment the engine was started with.
    pub environment: BTreeMap<String, String>,
    /// Names the pipeline in the store.
    pub pipeline_id: String,
    /// What the command line said, for the journal.
    pub about: serde_json::Value,
}

/// A message to the loop.
enum Message {
    Noted(TaskId, Note),
    /// The work is done; what it gave is still to be stored, which needs no room.
    Worked(TaskId),
    Ended(TaskId, Box<End>),
}

/// How a started task ended.
struct End {
    result: Result<Record>,
    /// Items of a map kind that were treated now.
    items_ran: u64,
    seconds: f64,
    /// Where its log is, if it said something.
    log: Option<PathBuf>,
    queued: Queued,
}

/// A task goes down this list; only a result whose bytes are gone goes back to `Wanted`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Some input is not there yet, so the key is not known.
    Wanted,
    /// Not in the store; waits for room in its lane.
    Queued,
    Running,
    /// Its record is in the store, found or just made.
    Done,
    Failed,
    /// Something it needs failed, or the run was stopped.
    Skipped,
    /// It acts on the world and nobody asked for that, or it follows what does.
    Waiting,
}

struct Loop<'a> {
    planner: &'a Planner<'a>,
    options: &'a Options,
    watch: &'a mut dyn FnMut(Event),
    journal: RunLog,
    states: Vec<State>,
    outcomes: Vec<Outcome>,
    /// What a wanted task still waits for.
    waiting: Vec<BTreeSet<TaskId>>,
    followers: Vec<Vec<TaskId>>,
    queue: Queue,
    /// Key → the task that is making it.
    making: HashMap<Digest, TaskId>,
    /// Cached results whose bytes are gone and needed, with what for.
    revived: BTreeMap<TaskId, Reason>,
    /// What stood for tasks that run again, and what the comparison came to.
    again: again::Again,
    /// Key and reasons of a task that has just ended, for the journal.
    told: BTreeMap<TaskId, (Digest, Vec<String>)>,
    resources: Resources,
    /// What was said last of what other engines hold.
    said: Option<String>,
    /// Tasks whose inputs have all arrived, to be judged.
    ready: VecDeque<TaskId>,
    running: usize,
    /// What running tasks have.
    rooms: BTreeMap<TaskId, Room>,
    /// Failed tasks that wait for their next try.
    resting: Vec<retry::Resting>,
    /// Why nothing more is started, where that is so.
    stopped: Option<&'static str>,
    summary: Summary,
    /// Test data that was met, by digest, and its name.
    met: BTreeMap<Digest, String>,
    /// Threads that publish while tasks are at work; none where the system gives none.
    apart: OnceCell<Option<rayon::ThreadPool>>,
}

/// More processors than these are a slip of the finger.
pub const MOST_JOBS: usize = 1024;

/// Makes the one pool for the items of all tasks as large as `-j` says, and no larger than is of use. To be called before anything
/// else uses the pool.
pub fn size_pool(jobs: usize) -> Result<()> {
    match rayon::ThreadPoolBuilder::new().num_threads(threads_of_pool(jobs)).build_global() {
        // The system refused. A pool that is there already, as in tests, has no source and keeps its size.
        Err(error) if std::error::Error::source(&error).is_some() => Err(error).context(start::NO_THREAD),
        _ => Ok(()),
    }
}

/// Threads that look for work cost the more the more there are. Some wait for the program of an item, hence more than processors.
fn threads_of_pool(jobs: usize) -> usize {
    jobs.min(64.max(2 * std::thread::available_parallelism().map_or(1, usize::from)))
}

/// Runs every wanted task of `planner`, telling `watch`; a raised `interrupted` stops it.
pub fn run<'a>(
    planner: &'a Planner<'a>,
    options: &'a Options,
    interrupted: &AtomicBool,
    watch: &'a mut dyn FnMut(Event),
) -> Result<Summary> {
    let started = Instant::now();
    let children = Children::new()?;
    let journal = planner.store.begin_run(&options.pipeline_id, &options.about)?;
    journal.reach(planner.taken())?;
    journal.reserve(planner.wanted.len());
    let count = planner.pipeline.tasks.len();
    let mut run = Loop {
        planner,
        options,
        watch,
        journal,
        states: vec![State::Wanted; count],
        outcomes: vec![Outcome::Open; count],
        waiting: vec![BTreeSet::new(); count],
        followers: vec![Vec::new(); count],
        queue: Queue::new(planner.wanted.iter().copied().filter(|id| resources::wants_device(&planner.pipeline.tasks[id.0])).collect()),
        making: HashMap::new(),
        revived: BTreeMap::new(),
        again: again::Again::default(),
        told: BTreeMap::new(),
        resources: Resources::new(options),
        said: None,
        ready: VecDeque::new(),
        running: 0,
        rooms: BTreeMap::new(),
        resting: Vec::new(),
        stopped: None,
        summary: Summary::default(),
        met: BTreeMap::new(),
        apart: OnceCell::new(),
    };
    run.summary.run = run.journal.id().to_owned();
    let (sender, inbox) = channel();
    let (cancelled, sandboxes) = (AtomicBool::new(false), sandbox::Sandboxes::default());
    std::thread::scope(|scope| -> Result<()> {
        let start = start::Starter {
            threads: threads::Threads::new(scope),
            children: &children,
            sandboxes: &sandboxes,
            cancelled: &cancelled,
            sender,
        };
        run.judge_all()?;
        run.refuse_unmet_needs()?;
        if !run.queue.is_empty() {
            survivors::end(planner.store)?;
            children.begin(planner.store, run.journal.id(), &options.program)?;
        }
        run.drive(&start, &inbox, interrupted);
        Ok(())
    })?;
    Ok(run.finish(started, &children.spent()))
}

impl<'a> Loop<'a> {
    fn title(&self, id: TaskId) -> String {
        self.planner.pipeline.tasks[id.0].title()
    }

    fn kind(&self, id: TaskId) -> &'a str {
        match &self.planner.pipeline.tasks[id.0].action {
            crate::pipeline::Action::Kind { kind, .. } => kind.name,
            crate::pipeline::Action::Command(_) => "command",
        }
    }

    /// Lets those that waited for `id` go on.
    fn release(&mut self, id: TaskId) {
        for follower in &self.followers[id.0] {
            let waiting = &mut self.waiting[follower.0];
            if waiting.remove(&id) && waiting.is_empty() {
                self.ready.push_back(*follower);
            }
        }
    }

    fn drive<'scope>(&mut self, start: &start::Starter<'scope, '_, 'a>, inbox: &Receiver<Message>, interrupted: &AtomicBool)
    where
        'a: 'scope,
    {
        loop {
            if interrupted.load(Ordering::Relaxed) && !self.summary.interrupted {
                self.stop(start, stop::INTERRUPTED);
                self.summary.interrupted = true;
            }
            if self.summary.trouble.is_some() && !start.is_cancelled() {
                self.stop(start, "the run cannot go on");
            }
            if self.options.fail_fast && self.summary.failed > 0 && !start.is_cancelled() {
                self.stop(start, "another task failed (--fail-fast)");
            }
            let sleep = self.wake_rested(Duration::from_millis(100));
            if let Err(error) = self.go_on(start) {
                self.trouble(&error);
            }
            let may_start = self.resources.waits_for_others() && !self.queue.is_empty() && !start.is_cancelled();
            if self.running == 0 && self.ready.is_empty() && self.resting.is_empty() && !may_start {
                return;
            }
            match inbox.recv_timeout(sleep) {
                Ok(Message::Noted(id, note)) => {
                    let task = self.title(id);
                    (self.watch)(Event::Noted { task, note });
                }
                Ok(Message::Worked(id)) => self.leave(id),
                Ok(Message::Ended(id, end)) => self.ended(id, *end),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Judges and starts what can be.
    fn go_on<'scope>(&mut self, start: &start::Starter<'scope, '_, 'a>) -> Result<()>
    where
        'a: 'scope,
    {
        self.judge_ready()?;
        // Before anything reads what this run has found: whoever collects garbage beside it sees what to leave.
        self.journal.flush()?;
        if start.is_cancelled() { Ok(()) } else { self.start_what_fits(start) }
    }

    /// Gives back what a task has, if it still has it.
    fn leave(&mut self, id: TaskId) {
        if let Some(room) = self.rooms.remove(&id) {
            self.resources.leave(&room);
        }
    }

    fn ended(&mut self, id: TaskId, mut end: End) {
        self.running -= 1;
        self.told.insert(id, (end.queued.key, end.queued.reasons.iter().map(ToString::to_string).collect()));
        self.leave(id);
        self.planner.store.release(&end.queued.key);
        end.queued.treated += end.items_ran;
        let treated = end.queued.treated;
        match end.result {
            Ok(record) => {
                self.summary.items_ran += treated;
                self.summary.items_cached += record.items.saturating_sub(treated);
                self.revived.remove(&id);
                let known = self.compare(id, Known { key: record.key, record: Arc::new(record) });
                self.settle(id, known, Ended::Ran, end.seconds, end.log);
            }
            Err(error) => {
                self.summary.damaged |= is_damage(&error);
                match self.stopped {
                    Some(because) if failure::is_interrupted(&error) => self.interrupt(id, because),
                    None if self.may_try_again(id, &error, &end.queued) => {
                        return self.try_again(id, end.queued, retry::Failed { error, seconds: end.seconds, log: end.log });
                    }
                    _ => self.fail(id, &error, end.seconds, end.log),
                }
                self.summary.items_ran += treated;
            }
        }
    }
}

/// Needs that no setting of this machine meets: nothing has started (exit code 2).
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unmet(String);

/// Whether the store itself is damaged (exit code 4).
fn is_damage(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| cause.is::<crate::store::Damaged>() || cause.is::<crate::content::Altered>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pool_has_no_more_threads_than_are_of_use() {
        assert_eq!((threads_of_pool(1), threads_of_pool(7)), (1, 7));
        assert!(threads_of_pool(4000) < 4000);
    }
}
