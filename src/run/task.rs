//! One task made ready to be carried out, and what comes of it.

use super::log::Log;
use crate::content::{Digest, FileRef, Level, Tree};
use crate::stage::{Coordinates, Inputs, Note};
use crate::store::Store;
use anyhow::{Result, ensure};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// All that carrying out a task needs to know of it.
pub(super) struct Job<'a> {
    pub(super) title: String,
    pub(super) store: &'a Store,
    /// Project root.
    pub(super) root: PathBuf,
    pub(super) inputs: Inputs,
    /// Of what it makes.
    pub(super) level: Level,
    pub(super) coordinates: Coordinates,
    /// Threads it may use.
    pub(super) threads: usize,
    /// This very program, for guarded children.
    pub(super) program: PathBuf,
    pub(super) log: &'a Log<'a>,
    /// Kept under the task's key until it succeeds.
    pub(super) state: PathBuf,
    pub(super) deadline: Option<Deadline>,
    pub(super) cancelled: &'a AtomicBool,
    /// Whether it is repeated for a comparison: no item counts as known.
    pub(super) anew: bool,
    /// Items that were treated now and kept.
    pub(super) kept: &'a AtomicU64,
    pub(super) notes: Box<dyn Fn(Note) + Send + Sync + 'a>,
    /// What a message says where one of these files, or the code, is not what it was when the task's key was made.
    pub(super) moved: Box<Moved<'a>>,
    /// To be called when only storing is left to do: another task may have the device then.
    pub(super) worked: Box<dyn Fn() + Send + Sync + 'a>,
}

/// See [`Job::moved`].
pub(super) type Moved<'a> = dyn Fn(&mut dyn Iterator<Item = &FileRef>) -> Result<Option<String>> + Send + Sync + 'a;

impl<'a> Job<'a> {
    /// A part of the task, with inputs and a state folder of its own. Others may follow, so the task goes on when it has worked.
    pub(super) fn with_inputs<'b>(&'b self, inputs: Inputs, state: PathBuf) -> Job<'b>
    where
        'a: 'b,
    {
        Job {
            title: self.title.clone(),
            store: self.store,
            root: self.root.clone(),
            inputs,
            level: self.level,
            coordinates: self.coordinates.clone(),
            threads: self.threads,
            program: self.program.clone(),
            log: self.log,
            state,
            deadline: self.deadline,
            cancelled: self.cancelled,
            anew: self.anew,
            kept: self.kept,
            notes: Box::new(|note| self.note(note)),
            moved: Box::new(|files| (self.moved)(files)),
            worked: Box::new(|| {}),
        }
    }

    pub(super) fn note(&self, note: Note) {
        (self.notes)(note);
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    /// An error where the run was interrupted or the task's time is over.
    pub(super) fn check(&self) -> Result<()> {
        ensure!(!self.is_cancelled(), "interrupted");
        match self.deadline {
            Some(deadline) if deadline.left().is_zero() => Err(deadline.over()),
            _ => Ok(()),
        }
    }
}

/// When a task must have ended, as `policy.timeout` says.
#[derive(Clone, Copy)]
pub(super) struct Deadline {
    at: Instant,
    /// Seconds that it had.
    limit: f64,
}

impl Deadline {
    /// So many seconds from now; none where they are past counting.
    pub(super) fn within(limit: f64) -> Option<Self> {
        let at = Instant::now().checked_add(Duration::try_from_secs_f64(limit).ok()?)?;
        Some(Self { at, limit })
    }

    pub(super) fn left(&self) -> Duration {
        self.at.saturating_duration_since(Instant::now())
    }

    pub(super) fn over(&self) -> anyhow::Error {
        super::failure::Late(self.limit).into()
    }
}

/// What a task made: a tree per output port.
#[derive(Debug, Default)]
pub(super) struct Made {
    pub(super) outputs: BTreeMap<String, Tree>,
    pub(super) items: u64,
    /// Of them, those not treated before.
    pub(super) items_ran: u64,
    pub(super) quarantined: u64,
    /// Keys of the parts of a chosen list.
    pub(super) parts: Vec<Digest>,
}
