//! A kind as the engine sees it: what it declares, with its params' type forgotten.

use super::{Aside, Context, Each, Inputs, Item, Items, Map, Needs, Params, Port, Problem, Row, Whole};
use crate::content::Level;
use anyhow::{Result, bail};
use schemars::Schema;
use std::path::Path;

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
    Torch {
        /// What its items are, where it works item by item: see [`Items`].
        map: Option<TorchItems>,
    },
}

/// Items that `tomograph-torch` treats, in batches on a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TorchItems {
    /// Item ports, the leading one first.
    pub items: &'static [&'static str],
    /// Columns written.
    pub writes: &'static [&'static str],
}

impl Work {
    /// Whether `tomograph-torch` does it.
    pub fn is_torch(self) -> bool {
        matches!(self, Self::Torch { .. })
    }
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
    /// See [`Params::EFFECT`].
    pub effect: bool,
    /// See [`Params::AT_MOST`].
    pub at_most: Level,
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
        Self::declare::<T>(Work::Torch { map: None }, configure::<TorchKind<T>, T>, from_json::<TorchKind<T>, T>)
    }

    /// Declares a kind whose items `tomograph-torch` treats.
    pub const fn torch_map<T: Items>() -> Self {
        let map = Some(TorchItems { items: T::ITEMS, writes: T::WRITES });
        Self::declare::<T>(Work::Torch { map }, configure::<TorchMapKind<T>, T>, from_json::<TorchMapKind<T>, T>)
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
            effect: T::EFFECT,
            at_most: T::AT_MOST,
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
    /// See [`Params::unfilled`].
    fn unfilled(&self) -> Vec<&'static str>;
    /// Does the work of a [`Whole`] kind.
    fn run(&self, cx: &Context) -> Result<()>;
    /// The face of a kind that works item by item.
    fn as_map(&self) -> Option<&dyn MapWork>;
}

/// The object-safe face of [`Items`] and [`Map`].
pub trait MapWork: Send + Sync {
    /// See [`Items::reads`].
    fn reads(&self) -> Vec<String>;
    /// See [`Items::items`].
    fn items(&self, inputs: &Inputs) -> Result<Vec<Item>>;
    /// See [`Map::each`].
    fn each(&self, item: &Item, whole: &Inputs) -> Result<Each>;
    /// See [`Items::finish`].
    fn finish(&self, rows: &mut Vec<Row>, aside: &mut Vec<Aside>) -> Result<()>;
    /// See [`Items::remarks`].
    fn remarks(&self, rows: &[Row]) -> Vec<String> {
        let _ = rows;
        Vec::new()
    }
    /// See [`Items::assemble`].
    fn assemble(&self, inputs: &Inputs, rows: &[Row], output: &Path) -> Result<bool>;
}

struct WholeKind<T>(T);
struct MapKind<T>(T);
struct TorchKind<T>(T);
struct TorchMapKind<T>(T);

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

/// What is the same for params of every way to work.
macro_rules! configured {
    ($face:ident: $bound:ident, $run:expr, $map:expr) => {
        impl<T> From<T> for $face<T> {
            fn from(params: T) -> Self {
                Self(params)
            }
        }

        impl<T: $bound> Configured for $face<T> {
            fn params(&self) -> serde_json::Value {
                serde_json::to_value(&self.0).expect("params are maps, lists, numbers and strings")
            }

            fn check(&self) -> Vec<Problem> {
                self.0.check()
            }

            fn unread(&self) -> Vec<&'static str> {
                self.0.unread()
            }

            fn unfilled(&self) -> Vec<&'static str> {
                self.0.unfilled()
            }

            fn run(&self, cx: &Context) -> Result<()> {
                $run(self, cx)
            }

            fn as_map(&self) -> Option<&dyn MapWork> {
                $map(self)
            }
        }
    };
}

configured!(WholeKind: Whole, |kind: &Self, cx| kind.0.run(cx), |_| None);
configured!(MapKind: Map, |_, _| bail!("{} works item by item", T::KIND), Some);
configured!(TorchKind: Params, |_, _| bail!("{} works in tomograph-torch", T::KIND), |_| None);
configured!(TorchMapKind: Items, |_, _| bail!("{} works in tomograph-torch", T::KIND), Some);

/// What [`Items`] says, and how an item is treated here.
macro_rules! map_work {
    ($face:ident: $bound:ident, $each:expr) => {
        impl<T: $bound> MapWork for $face<T> {
            fn reads(&self) -> Vec<String> {
                self.0.reads()
            }

            fn items(&self, inputs: &Inputs) -> Result<Vec<Item>> {
                self.0.items(inputs)
            }

            fn each(&self, item: &Item, whole: &Inputs) -> Result<Each> {
                $each(self, item, whole)
            }

            fn finish(&self, rows: &mut Vec<Row>, aside: &mut Vec<Aside>) -> Result<()> {
                self.0.finish(rows, aside)
            }

            fn remarks(&self, rows: &[Row]) -> Vec<String> {
                self.0.remarks(rows)
            }

            fn assemble(&self, inputs: &Inputs, rows: &[Row], output: &Path) -> Result<bool> {
                self.0.assemble(inputs, rows, output)
            }
        }
    };
}

map_work!(MapKind: Map, |kind: &Self, item, whole| kind.0.each(item, whole));
map_work!(TorchMapKind: Items, |_, _, _| bail!("{} works in tomograph-torch", T::KIND));
