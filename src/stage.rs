//! The contract between the engine and the kinds: what a kind declares and what it may see while it works.
//!
//! A kind is a params struct: its fields are what users write, its doc comments are the manual, its serialised
//! form is in the key. It is declared by [`Params`] and does its work by [`Whole`] (all at once, in the pool), by
//! [`Map`] (item by item, in the pool or in guarded children), or in the child program `tomograph-torch`.
//! Nothing here knows how tasks are planned, stored or scheduled.

mod context;
mod item;
mod port;
mod value;

pub use context::{Context, Inputs, Note, Part};
pub use item::{Aside, Each, Item, ItemFile, Made, Row, item_name, rows_of_index};
pub use port::{Artifact, Count, Port, Role};
pub use value::{Coordinates, Value, show_coordinates};

use anyhow::Result;
use schemars::{JsonSchema, Schema};
use serde::{Serialize, de::DeserializeOwned};

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
}

/// A kind that does its work at once, on one thread of the pool (rayon inside is welcome).
pub trait Whole: Params {
    /// Fills every folder `cx.output(PORT)`. Touches nothing else; writes no clock, host or path.
    fn run(&self, cx: &Context) -> Result<()>;
}

/// A kind that treats each item alone. Caching, quarantine, progress and gathering are the engine's.
pub trait Map: Params {
    /// The item ports, the leading one first; several are matched by `item`. Other ports are whole ports.
    const ITEMS: &'static [&'static str];
    /// Columns that [`Map::each`] writes in the rows it makes. `index.tsv` of the output has `item`, these, then
    /// every other column of the leading port's index, carried over.
    const WRITES: &'static [&'static str];
    /// Whether items are run in guarded children (foreign bytes are parsed).
    const GUARDED: bool = false;

    /// Columns of the item's row that [`Map::each`] reads: these are in the item's key, no others.
    fn reads(&self) -> Vec<String> {
        Vec::new()
    }

    /// The items, in an order of no importance. The default takes the rows of the leading port's `index.tsv`.
    fn items(&self, inputs: &Inputs) -> Result<Vec<Item>> {
        rows_of_index(inputs, Self::ITEMS)
    }

    /// Treats one item. An `Err` fails the task and is never stored; a verdict on the item's bytes is [`Each::Quarantined`].
    /// `whole` holds the whole ports.
    fn each(&self, item: &Item, whole: &Inputs) -> Result<Each>;

    /// Sees all rows together, sorted by item: may drop rows (their files go too), change values, or set rows aside. Cheap.
    fn finish(&self, rows: &mut Vec<Row>, aside: &mut Vec<Aside>) -> Result<()> {
        let _ = (rows, aside);
        Ok(())
    }
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

/// Reads params from TOML.
pub type Configure = fn(toml::Spanned<toml::de::DeValue<'_>>) -> Result<Box<dyn Configured>, toml::de::Error>;

/// How a kind does its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// [`Whole`], in the pool.
    Whole,
    /// [`Map`], items in the pool, or in guarded children.
    Map {
        /// Item ports, the leading one first.
        items: &'static [&'static str],
        /// Columns written.
        writes: &'static [&'static str],
        /// Run in guarded children.
        guarded: bool,
    },
    /// In a child `tomograph-torch`, with one slot of the device pool.
    Torch,
}

/// A kind as the engine sees it.
pub struct Kind {
    /// `domain.verb`.
    pub name: &'static str,
    /// In every key.
    pub revision: u32,
    /// See [`Params::REVISIONS`].
    pub revisions: &'static [(u32, &'static str)],
    /// Input ports.
    pub inputs: &'static [Port],
    /// Output ports, the main one first.
    pub outputs: &'static [Port],
    /// Default needs.
    pub needs: Needs,
    /// How it works.
    pub work: Work,
    /// The JSON schema of its params; titles and descriptions are the manual.
    pub schema: fn() -> Schema,
    /// Reads params from a `params` table whose placeholders are already replaced. Errors carry spans into the file.
    pub configure: Configure,
    /// Reads params from a work order.
    pub from_json: fn(serde_json::Value) -> Result<Box<dyn Configured>, serde_json::Error>,
}

impl Kind {
    /// Declares a [`Whole`] kind.
    pub const fn whole<T: Whole>() -> Self {
        Self::declare::<T>(Work::Whole, configure::<WholeKind<T>, T>, from_json::<WholeKind<T>, T>)
    }

    /// Declares a [`Map`] kind.
    pub const fn map<T: Map>() -> Self {
        let work = Work::Map { items: T::ITEMS, writes: T::WRITES, guarded: T::GUARDED };
        Self::declare::<T>(work, configure::<MapKind<T>, T>, from_json::<MapKind<T>, T>)
    }

    /// Declares a kind whose work `tomograph-torch` does.
    pub const fn torch<T: Params>() -> Self {
        Self::declare::<T>(Work::Torch, configure::<TorchKind<T>, T>, from_json::<TorchKind<T>, T>)
    }

    const fn declare<T: Params>(
        work: Work,
        configure: Configure,
        from_json: fn(serde_json::Value) -> Result<Box<dyn Configured>, serde_json::Error>,
    ) -> Self {
        Self {
            name: T::KIND,
            revision: T::REVISION,
            revisions: T::REVISIONS,
            inputs: T::INPUTS,
            outputs: T::OUTPUTS,
            needs: T::NEEDS,
            work,
            schema: || schemars::schema_for!(T),
            configure,
            from_json,
        }
    }

    /// The input port of that name.
    pub fn input(&self, name: &str) -> Option<&'static Port> {
        self.inputs.iter().find(|port| port.name == name)
    }

    /// The output port of that name.
    pub fn output(&self, name: &str) -> Option<&'static Port> {
        self.outputs.iter().find(|port| port.name == name)
    }
}

/// A kind whose params have been read.
pub trait Configured: Send + Sync {
    /// Every param with defaults filled in: goes into the key.
    fn params(&self) -> serde_json::Value;
    /// See [`Params::check`].
    fn check(&self) -> Vec<Problem>;
    /// See [`Params::unread`].
    fn unread(&self) -> Vec<&'static str>;
    /// Does the work of a [`Whole`] kind.
    fn run(&self, cx: &Context) -> Result<()>;
    /// The face of a [`Map`] kind.
    fn as_map(&self) -> Option<&dyn MapWork>;
}

/// The object-safe face of [`Map`].
pub trait MapWork: Send + Sync {
    /// See [`Map::reads`].
    fn reads(&self) -> Vec<String>;
    /// See [`Map::items`].
    fn items(&self, inputs: &Inputs) -> Result<Vec<Item>>;
    /// See [`Map::each`].
    fn each(&self, item: &Item, whole: &Inputs) -> Result<Each>;
    /// See [`Map::finish`].
    fn finish(&self, rows: &mut Vec<Row>, aside: &mut Vec<Aside>) -> Result<()>;
}

struct WholeKind<T>(T);
struct MapKind<T>(T);
struct TorchKind<T>(T);

impl<T> From<T> for WholeKind<T> {
    fn from(params: T) -> Self {
        Self(params)
    }
}

impl<T> From<T> for MapKind<T> {
    fn from(params: T) -> Self {
        Self(params)
    }
}

impl<T> From<T> for TorchKind<T> {
    fn from(params: T) -> Self {
        Self(params)
    }
}

fn configure<K: From<T> + Configured + 'static, T: Params>(
    value: toml::Spanned<toml::de::DeValue<'_>>,
) -> Result<Box<dyn Configured>, toml::de::Error> {
    let params = T::deserialize(toml::de::ValueDeserializer::from(value))?;
    Ok(Box::new(K::from(params)))
}

fn from_json<K: From<T> + Configured + 'static, T: Params>(value: serde_json::Value) -> Result<Box<dyn Configured>, serde_json::Error> {
    let params: T = serde_json::from_value(value)?;
    Ok(Box::new(K::from(params)))
}

fn params_json<T: Params>(params: &T) -> serde_json::Value {
    serde_json::to_value(params).expect("params are maps, lists, numbers and strings")
}

impl<T: Whole> Configured for WholeKind<T> {
    fn params(&self) -> serde_json::Value {
        params_json(&self.0)
    }

    fn check(&self) -> Vec<Problem> {
        self.0.check()
    }

    fn unread(&self) -> Vec<&'static str> {
        self.0.unread()
    }

    fn run(&self, cx: &Context) -> Result<()> {
        self.0.run(cx)
    }

    fn as_map(&self) -> Option<&dyn MapWork> {
        None
    }
}

impl<T: Map> Configured for MapKind<T> {
    fn params(&self) -> serde_json::Value {
        params_json(&self.0)
    }

    fn check(&self) -> Vec<Problem> {
        self.0.check()
    }

    fn unread(&self) -> Vec<&'static str> {
        self.0.unread()
    }

    fn run(&self, _: &Context) -> Result<()> {
        anyhow::bail!("{} works item by item", T::KIND)
    }

    fn as_map(&self) -> Option<&dyn MapWork> {
        Some(self)
    }
}

impl<T: Map> MapWork for MapKind<T> {
    fn reads(&self) -> Vec<String> {
        self.0.reads()
    }

    fn items(&self, inputs: &Inputs) -> Result<Vec<Item>> {
        self.0.items(inputs)
    }

    fn each(&self, item: &Item, whole: &Inputs) -> Result<Each> {
        self.0.each(item, whole)
    }

    fn finish(&self, rows: &mut Vec<Row>, aside: &mut Vec<Aside>) -> Result<()> {
        self.0.finish(rows, aside)
    }
}

impl<T: Params> Configured for TorchKind<T> {
    fn params(&self) -> serde_json::Value {
        params_json(&self.0)
    }

    fn check(&self) -> Vec<Problem> {
        self.0.check()
    }

    fn unread(&self) -> Vec<&'static str> {
        self.0.unread()
    }

    fn run(&self, _: &Context) -> Result<()> {
        anyhow::bail!("{} works in tomograph-torch", T::KIND)
    }

    fn as_map(&self) -> Option<&dyn MapWork> {
        None
    }
}
