//! Garbage: what no run that is kept reaches, found, counted and removed (DESIGN rule 16).
//!
//! Roots are in the journals: the last runs of each pipeline, named runs, live runs, younger runs. From their keys go records, from
//! those manifests, from those blobs. What items gave is kept where its files are, or while it is young. A result that lost its record
//! or its bytes costs nothing until something needs it, so that any share of the garbage may be removed, in any order, and a kill in
//! between does no harm.
//!
//! While a run lives, packs stay as they are, and of files only those go that changed last before any live run began; see [`super::hold`]
//! for why none of them is one that the run has found meanwhile. Does not know what kinds and items are: [`Contents`] does.

mod list;
mod mark;
mod roots;
mod survey;
mod sweep;

pub use roots::LostRoots;
pub use sweep::Collected;

use super::Store;
use super::clock::utc;
use super::runs::files_of;
use super::size::{Amount, files_below};
use crate::content::Digest;
use anyhow::Result;
use mark::Mark;
use roots::{Journal, Roots};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use survey::Survey;

/// What is to be kept.
#[derive(Clone, Debug)]
pub struct GcOptions {
    /// Runs that ended later are kept.
    pub older_than: Duration,
    /// So many runs of each pipeline are kept however old, and as many that did all of it without a failure.
    pub keep_last: usize,
    /// Bytes that the store may have: younger runs go too, oldest first, until it has no more.
    pub max_size: Option<u64>,
    /// Whether results with a model go like any others.
    pub models: bool,
    /// What is younger is never taken.
    pub spare: Duration,
}

/// What only others can read.
pub trait Contents: Sync {
    /// What a key manifest says.
    fn said(&self, key_manifest: &[u8]) -> Said;
    /// The files that an item's result names; none where it cannot be read.
    fn files(&self, item: &[u8]) -> Option<Vec<Digest>>;
}

/// What a key manifest says.
#[derive(Clone, Debug, Default)]
pub struct Said {
    /// Manifests of the inputs.
    pub inputs: Vec<Digest>,
    /// Whether the result has a model, or it cannot be told.
    pub has_model: bool,
}

/// What would be freed, and what stays.
#[derive(Debug, Default, Serialize)]
pub struct Freed {
    /// Results whose record goes.
    pub results: u64,
    /// Files of large blobs.
    pub blobs: Amount,
    /// Entries of packs: small blobs, what items gave, records, second copies and torn ends.
    pub entries: Amount,
    pub state: Amount,
    pub logs: Amount,
    /// Journals.
    pub runs: Amount,
    /// Stage → its share of `results` and of the bytes of `blobs`; what no result reaches is under ``.
    pub stages: BTreeMap<String, Amount>,
}

impl Freed {
    /// Bytes of everything.
    pub fn total(&self) -> u64 {
        [self.blobs, self.entries, self.state, self.logs, self.runs].iter().map(|one| one.bytes).sum()
    }
}

/// What can go, found and not removed yet.
#[derive(Debug)]
pub struct Garbage {
    pub frees: Freed,
    /// Runs that are kept, and when the first of them ended, RFC 3339 in UTC.
    pub kept_runs: usize,
    pub oldest: Option<String>,
    /// Bytes of what stays.
    pub stays: u64,
    /// Whether a run goes on: packs stay as they are.
    pub live: bool,
    blobs: Vec<(Digest, PathBuf)>,
    /// Pack → where the payloads of the entries that go start.
    packs: Vec<(PathBuf, Vec<u64>)>,
    /// Logs, and folders of state.
    others: Vec<PathBuf>,
    journals: Vec<PathBuf>,
    /// A blob that changed at this moment or later stays.
    limit: i64,
    mark: Mark,
    roots: Roots,
    /// Keeps runs from beginning.
    _alone: Option<File>,
}

impl Store {
    /// What could be freed; locks nothing.
    pub fn garbage(&self, options: &GcOptions, contents: &dyn Contents) -> Result<Garbage> {
        self.find_garbage(options, contents, None, false)
    }

    /// Finds garbage, shows it to `before`, and removes it.
    pub fn collect(&self, options: &GcOptions, contents: &dyn Contents, before: &dyn Fn(&Garbage) -> Result<()>) -> Result<Collected> {
        self.check_writable()?;
        let alone = self.stop_runs().map_err(|error| self.trouble(error))?;
        let beside_runs = alone.is_none();
        let garbage = self.find_garbage(options, contents, alone, beside_runs)?;
        before(&garbage)?;
        self.sweep(garbage, contents)
    }

    fn find_garbage(&self, options: &GcOptions, contents: &dyn Contents, alone: Option<File>, beside_runs: bool) -> Result<Garbage> {
        let now = SystemTime::now();
        let spared = utc(before(now, options.spare));
        let horizon = utc(before(now, options.older_than.max(options.spare)));
        let roots = Roots::read(self)?;
        let live = beside_runs || roots.journals.iter().any(|journal| journal.live);
        let began = roots.journals.iter().filter(|journal| journal.live).map(|journal| journal.began);
        let limit = began.fold(nanoseconds(before(now, options.spare)), i64::min);
        let mut survey = Survey::of(self, contents)?;
        survey.fix(|pack| live || pack.modified >= spared, |large| large.changed >= limit);

        let mut mark = Mark::new(survey);
        let mut kept = roots.last(options.keep_last);
        kept.extend((0..roots.journals.len()).filter(|at| roots.journals[*at].must_stay(&spared)));
        kept.iter().try_for_each(|at| mark.run(&roots.journals[*at], contents))?;
        mark.keys(&roots.pinned, contents)?;
        mark.records_since(&spared, contents)?;
        if !options.models {
            mark.models(contents)?;
        }
        mark.items_since(&spared);
        let states = self.states(live)?;
        mark.add(states.iter().filter(|state| state.age >= spared).map(|state| state.bytes).sum::<u64>());
        mark.add(mark.survey.fixed() + self.below(&["runs", "logs", "damaged"])?);

        // The rest is kept for its age, youngest first, as long as there is room.
        let mut aged: Vec<Aged> =
            (0..roots.journals.len()).filter(|at| !kept.contains(at)).map(|at| Aged::Run(at, &roots.journals[at])).collect();
        aged.extend(states.iter().filter(|state| state.age < spared).map(Aged::State));
        aged.retain(|one| one.age() >= horizon.as_str());
        aged.sort_by(|one, other| other.age().cmp(one.age()));
        let room = options.max_size.unwrap_or(u64::MAX);
        let mut since = spared;
        let mut fits = true;
        for one in aged {
            mark.begin_trial();
            match one {
                Aged::Run(_, journal) => mark.run(journal, contents)?,
                Aged::State(state) => mark.add(state.bytes),
            }
            if options.max_size.is_some() {
                mark.items_since(one.age());
            }
            fits = mark.bytes() <= room;
            if !fits {
                mark.undo();
                break;
            }
            if let Aged::Run(at, _) = one {
                kept.insert(at);
            }
            one.age().clone_into(&mut since);
        }
        if fits {
            mark.begin_trial();
            mark.items_since(&horizon);
            if mark.bytes() <= room {
                since = horizon;
            } else {
                mark.undo();
            }
        }
        let states = states.into_iter().filter(|state| state.age < since).collect();
        self.list_garbage(list::Found { mark, roots, kept, states, since, limit, live }, alone)
    }

    /// Folders of unfinished tasks; none while a run goes on, which may be using them.
    fn states(&self, live: bool) -> Result<Vec<State>> {
        if live {
            return Ok(Vec::new());
        }
        let state = |path: PathBuf| -> io::Result<State> {
            let (bytes, age) = (files_below(&path)?.bytes, youngest(&path));
            Ok(State { path, bytes, age })
        };
        let paths = files_of(&self.root.join("state"));
        paths.and_then(|paths| paths.into_iter().map(state).collect()).map_err(|error| self.trouble(error))
    }

    /// Bytes below folders of the store.
    fn below(&self, folders: &[&str]) -> Result<u64> {
        let sum = || folders.iter().map(|folder| files_below(&self.root.join(folder)).map(|amount| amount.bytes)).sum::<io::Result<u64>>();
        sum().map_err(|error| self.trouble(error))
    }
}

/// The folder that an unfinished task resumes from.
#[derive(Debug)]
struct State {
    path: PathBuf,
    bytes: u64,
    age: String,
}

/// What is kept as long as it is young.
#[derive(Clone, Copy)]
enum Aged<'a> {
    Run(usize, &'a Journal),
    State(&'a State),
}

impl Aged<'_> {
    fn age(&self) -> &str {
        match self {
            Self::Run(_, journal) => &journal.ended,
            Self::State(state) => &state.age,
        }
    }
}

/// When a folder, or anything in it, last changed.
fn youngest(folder: &Path) -> String {
    let below = files_of(folder).unwrap_or_default();
    below.iter().map(|path| youngest(path)).fold(roots::age(folder), String::max)
}

fn before(now: SystemTime, age: Duration) -> SystemTime {
    now.checked_sub(age).unwrap_or(UNIX_EPOCH)
}

fn nanoseconds(moment: SystemTime) -> i64 {
    moment.duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests;
