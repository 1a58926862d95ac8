//! One task made ready to be carried out, and what comes of it.

use crate::content::Tree;
use crate::stage::{Coordinates, Inputs, Note};
use crate::store::Store;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

/// All that carrying out a task needs to know of it.
pub(super) struct Job<'a> {
    pub(super) title: String,
    pub(super) store: &'a Store,
    /// Project root.
    pub(super) root: PathBuf,
    pub(super) inputs: Inputs,
    pub(super) coordinates: Coordinates,
    /// Threads it may use.
    pub(super) threads: usize,
    /// This very program, for guarded children.
    pub(super) program: PathBuf,
    /// Where its log goes.
    pub(super) log: PathBuf,
    /// Kept under the task's key until it succeeds.
    pub(super) state: PathBuf,
    pub(super) cancelled: &'a AtomicBool,
    pub(super) notes: Box<dyn Fn(Note) + Send + Sync + 'a>,
}

impl<'a> Job<'a> {
    /// The same task with other inputs and a state folder of its own.
    pub(super) fn with_inputs<'b>(&'b self, inputs: Inputs, state: PathBuf) -> Job<'b>
    where
        'a: 'b,
    {
        Job {
            title: self.title.clone(),
            store: self.store,
            root: self.root.clone(),
            inputs,
            coordinates: self.coordinates.clone(),
            threads: self.threads,
            program: self.program.clone(),
            log: self.log.clone(),
            state,
            cancelled: self.cancelled,
            notes: Box::new(|note| self.note(note)),
        }
    }

    pub(super) fn note(&self, note: Note) {
        (self.notes)(note);
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    /// Whether what a kind makes of these inputs holds people's data. `report.*` shows sums only (DESIGN rule 13).
    pub(super) fn identified(&self, kind: &str) -> bool {
        self.inputs.identified() && !kind.starts_with("report.")
    }
}

/// What a task made: a tree per output port.
#[derive(Debug, Default)]
pub(super) struct Made {
    pub(super) outputs: BTreeMap<String, Tree>,
    pub(super) items: u64,
    pub(super) quarantined: u64,
}
