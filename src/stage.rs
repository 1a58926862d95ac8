//! The contract between the engine and the kinds: what a kind declares and what it may see while it works.
//!
//! A kind is a params struct: its fields are what users write, its doc comments are the manual, its serialised
//! form is in the key. It is declared by [`Params`] and does its work by [`Whole`] (all at once, in the pool), by
//! [`Map`] (item by item, in the pool or in guarded children), or in the child program `tomograph-torch`: at once, or item by
//! item where it says by [`Items`] what its items are.
//! Nothing here knows how tasks are planned, stored or scheduled.

mod context;
mod item;
mod kind;
mod port;
mod value;
mod values;

pub use context::{Context, Inputs, Note, Part};
pub use item::{Aside, Each, Item, ItemFile, Made, QUARANTINE, Row, item_name, rows_of_index, rows_with_files};
pub use kind::{Configure, Configured, Kind, MapWork, TorchItems, Work};
pub use port::{Artifact, Count, Port, Role};
pub use value::{Coordinates, Value, show_coordinates, write_coordinates};
pub use values::{Packer, Picker, Values, columns_of};

use crate::content::Level;
use anyhow::Result;
use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};
use std::path::Path;

/// What a kind declares: its params (the struct itself), name, revision and ports.
pub trait Params: Serialize + DeserializeOwned + JsonSchema + Send + Sync + 'static {
    /// Name written in `kind = "…"`: `domain.verb`. Never reused for something else.
    const KIND: &'static str;
    /// In every key. Raised when equal inputs and params would give other bytes.
    const REVISION: u32;
    /// What each later revision changed, in a few words: `plan` and `why` give them as the reason.
    const REVISIONS: &'static [(u32, &'static str)] = &[];
    /// Ports the stage connects.
    const INPUTS: &'static [Port];
    /// Ports it fills; the first is the main one.
    const OUTPUTS: &'static [Port];
    /// Whether it acts on the world beyond its outputs (sends, fetches): it then runs only when asked to (DESIGN rule 15).
    const EFFECT: bool = false;
    /// The level that what it gives has at most: lower than what comes in only where the kind proved, or hid, what tells of people.
    const AT_MOST: Level = Level::Identified;
    /// What a task occupies unless its stage says otherwise. Never in the key.
    const NEEDS: Needs = Needs { cpus: 1, memory: 0, gpu: 0.0 };

    /// What types cannot say, such as fractions that must sum to one.
    fn check(&self) -> Vec<Problem> {
        Vec::new()
    }

    /// Input ports not read under these params: no edge, no key part, no wait.
    fn unread(&self) -> Vec<&'static str> {
        Vec::new()
    }

    /// Output ports that stay empty under these params: a reference to one is a mistake.
    fn unfilled(&self) -> Vec<&'static str> {
        Vec::new()
    }
}

/// A kind that does its work at once, on one thread of the pool (rayon inside is welcome).
pub trait Whole: Params {
    /// Fills every folder `cx.output(PORT)`. Touches nothing else; writes no clock, host or path.
    fn run(&self, cx: &Context) -> Result<()>;
}

/// A kind that treats each item alone: what its items are, and how their rows become the outputs. Caching, quarantine, progress and
/// gathering are the engine's. A row says to which output it belongs ([`Made::port`]); an output other than the main one is there only
/// where a row belongs to it.
pub trait Items: Params {
    /// The item ports, the leading one first; several are matched by `item`, and what any of them has in quarantine is in quarantine.
    /// Other ports are whole ports.
    const ITEMS: &'static [&'static str];
    /// Columns written in the rows that an item gives. `index.tsv` of the output has `item`, these, then
    /// every other column of the leading port's index, carried over.
    const WRITES: &'static [&'static str];

    /// Columns of the item's row that the work on it reads: these are in the item's key, no others.
    fn reads(&self) -> Vec<String> {
        Vec::new()
    }

    /// The items, in an order of no importance. The default takes the rows of the leading port's `index.tsv`.
    fn items(&self, inputs: &Inputs) -> Result<Vec<Item>> {
        rows_of_index(inputs, Self::ITEMS)
    }

    /// Sees all rows together, sorted by item: may drop rows (their files go too), change values, or set rows aside. Cheap.
    fn finish(&self, rows: &mut Vec<Row>, aside: &mut Vec<Aside>) -> Result<()> {
        let _ = (rows, aside);
        Ok(())
    }

    /// What a person should know of the rows that [`Items::finish`] left, such as how many lack something: warnings in the log.
    fn remarks(&self, rows: &[Row]) -> Vec<String> {
        let _ = rows;
        Vec::new()
    }

    /// Writes the main output into the folder, where it is not `index.tsv` and the rows' own files; says whether it did.
    /// `rows` are those of the main output that [`Items::finish`] left. Cheap: nothing of it is cached.
    fn assemble(&self, inputs: &Inputs, rows: &[Row], output: &Path) -> Result<bool> {
        let _ = (inputs, rows, output);
        Ok(false)
    }
}

/// A kind whose items are treated on the CPU, one at a time.
pub trait Map: Items {
    /// Whether items are run in guarded children (foreign bytes are parsed).
    const GUARDED: bool = false;

    /// Treats one item. An `Err` fails the task and is never stored; a verdict on the item's bytes is [`Each::Quarantined`].
    /// `whole` holds the whole ports.
    fn each(&self, item: &Item, whole: &Inputs) -> Result<Each>;
}

/// What a task occupies while it runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Needs {
    /// Threads.
    pub cpus: u32,
    /// Memory in bytes; 0 when unknown.
    pub memory: u64,
    /// Share of a device it insists on; 0 for none.
    pub gpu: f64,
}

/// A param whose value makes no sense, found by [`Params::check`].
#[derive(Clone, Debug)]
pub struct Problem {
    /// Name of the param, or empty for the params together.
    pub param: &'static str,
    /// A lower-case fragment, such as "must be above 0".
    pub message: String,
}

impl Problem {
    /// A problem of one param.
    pub fn of(param: &'static str, message: impl Into<String>) -> Self {
        Self { param, message: message.into() }
    }
}
