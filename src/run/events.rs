//! What a run tells the outside as it goes: events, and the summary at its end.
//!
//! Knows nothing of terminals; `cli` draws.

use crate::plan::Tested;
use crate::stage::Note;
use std::path::PathBuf;
use std::time::Duration;

/// How a task ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    Cached,
    Ran,
    Failed,
    Skipped,
    /// An effect that nobody asked for, or what follows one.
    Waiting,
}

impl Ended {
    /// The word for it in `--json`, in the journal and on the terminal.
    pub fn word(self) -> &'static str {
        match self {
            Self::Cached => "cached",
            Self::Ran => "ran",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::Waiting => "waiting",
        }
    }
}

/// Something that happened.
#[derive(Clone, Debug)]
pub enum Event {
    Started {
        task: String,
    },
    Noted {
        task: String,
        note: Note,
    },
    /// A try failed for a cause that its policy names; the task is tried again after a rest.
    Retried {
        task: String,
        message: String,
        /// Which retry comes, and how many there may be.
        number: u32,
        of: u32,
        rest: Duration,
    },
    /// A task that had ended as cached runs after all: its bytes are gone, and another task needs them.
    Revived,
    Ended {
        task: String,
        outcome: Ended,
        seconds: f64,
        /// Why it failed or was skipped, one line or a few.
        message: Option<String>,
        /// Where its log is, if it ran.
        log: Option<PathBuf>,
    },
    /// Something that concerns no single task, such as what other engines hold.
    Remark {
        text: String,
    },
    /// A published file was written; path relative to the project root.
    Published {
        path: String,
    },
    /// What a task made could not be put where it is published; its result stands.
    Unpublished {
        task: String,
        path: String,
        message: String,
    },
}

/// What a run came to.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Name of the run's journal.
    pub run: String,
    pub cached: u64,
    pub ran: u64,
    pub failed: u64,
    pub skipped: u64,
    /// Effects that nobody asked for, and what follows them.
    pub waiting: u64,
    /// Those effects.
    pub effects: Vec<String>,
    /// Tries that failed and were followed by another.
    pub retried: u64,
    /// Items set aside by the tasks of this run, cached ones too: those that nobody has accepted, and those that somebody has.
    pub quarantined: u64,
    pub accepted: u64,
    pub items_cached: u64,
    pub items_ran: u64,
    pub seconds: f64,
    /// Of these, in which no program or training was at work: what the engine took, and its CPU kinds.
    pub engine_seconds: f64,
    /// From the start of each `tomograph-torch` until it had read its order, sorted.
    pub starts: Vec<f64>,
    /// Publications that failed (exit code 1), of tasks that did not.
    pub unpublished: u64,
    /// What ended the whole run (exit code 1), such as a journal that cannot be written.
    pub trouble: Option<String>,
    /// Failed tasks and publications, with why and where the log is.
    pub failures: Vec<(String, String, Option<PathBuf>)>,
    /// Test data that tasks of this run met, cached ones too.
    pub tested: Vec<Tested>,
    pub interrupted: bool,
    /// The store turned out damaged (exit code 4).
    pub damaged: bool,
}
