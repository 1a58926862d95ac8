//! The tables of a pipeline's text as Rust types: what is read, and what the JSON schema is made from.
//!
//! Values that may hold placeholders or are of several shapes are [`Anything`] here and are read from the tree by `document`.

use crate::pipeline::model::{Cause, Quarantine};
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::{self, Deserializer, IgnoredAny, Visitor};
use std::collections::BTreeMap;
use std::fmt;
use toml::Spanned;

/// A value that `document` reads from the tree.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Anything;

impl<'de> Deserialize<'de> for Anything {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Self)
    }
}

impl JsonSchema for Anything {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Anything".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({})
    }
}

/// The whole file.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct FileTable {
    /// Name and description of the pipeline.
    pub pipeline: Anything,
    /// Values used in more than one place, written `"{params.NAME}"`.
    pub params: Anything,
    /// Named lists of values to sweep: strings, numbers, true or false, or tables with an `id`.
    pub axes: Anything,
    /// Named sets of files outside the store.
    pub source: Anything,
    /// The stages, by name.
    pub stage: Anything,
}

/// `[pipeline]`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct PipelineTable {
    /// Name of the pipeline: small letters, digits, `_` and `-`.
    #[schemars(with = "Option<String>")]
    pub name: Option<Spanned<String>>,
    /// Another pipeline that this one is laid over, relative to the project root: leaves of this file win, arrays are replaced. A
    /// base has no base.
    pub base: Option<String>,
    /// How many tasks it may have, 100000 unless said: a sweep that is larger by mistake is refused.
    pub max_tasks: Option<u32>,
    /// Title, licence, ethics and whatever else readers should know. In no key.
    pub about: BTreeMap<String, String>,
}

/// `[source.NAME]`: a named set of files outside the store.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct SourceTable {
    /// Axes the source is swept over: each cell has its own path.
    #[schemars(with = "Vec<String>")]
    pub over: Vec<Spanned<String>>,
    /// A file, a folder or a glob, relative to the project root; may hold `{axis}` and `{params.NAME}`.
    #[schemars(with = "Option<String>")]
    pub path: Option<Spanned<String>>,
    /// Another pipeline of the project, relative to its root: the source is what the last successful run of one of its tasks left.
    /// That pipeline is never run from here.
    #[schemars(with = "Option<String>")]
    pub from: Option<Spanned<String>>,
    /// With `from`: the output that is taken, such as `"train.model[seed=1]"`; may hold `{axis}` and `{params.NAME}`.
    #[schemars(with = "Option<String>")]
    pub artifact: Option<Spanned<String>>,
    /// Whether it holds people's data. Every source with a `path` says so; where `NAME.tomograph.json` lies beside what was published or
    /// exported, that says it.
    #[schemars(with = "Option<bool>")]
    pub phi: Option<Spanned<bool>>,
    /// May be absent; what it feeds then counts as unconnected.
    pub optional: bool,
    /// The artifact that the folder holds, as `tomograph export` writes it; `files` unless given.
    #[schemars(with = "Option<String>")]
    pub r#type: Option<Spanned<String>>,
}

/// `[stage.NAME]`: a kind with its params, or a command.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct StageTable {
    /// What the stage does: `domain.verb`. `tomograph kinds` lists them.
    #[schemars(with = "Option<String>")]
    pub kind: Option<Spanned<String>>,
    /// A program and its arguments, instead of a kind; never a shell string.
    #[schemars(with = "Option<Vec<String>>")]
    pub command: Option<Spanned<Vec<Spanned<String>>>>,
    /// Axes the stage is swept over, beside those that arrive through its inputs.
    #[schemars(with = "Vec<String>")]
    pub over: Vec<Spanned<String>>,
    /// Input port → reference: `name[.port][[selector, …]]`, or a table of labelled references where the port takes many.
    pub inputs: Anything,
    /// Output port → artifact. For commands; a kind knows its own.
    #[schemars(with = "Option<BTreeMap<String, String>>")]
    pub outputs: Option<Spanned<BTreeMap<Spanned<String>, Spanned<String>>>>,
    /// Params of the kind. A string may hold `{axis}` and `{params.NAME}`.
    pub params: Anything,
    /// Cells to keep: a list of tables axis → value or values; any of them suffices.
    pub keep: Anything,
    /// Cells to leave out: a list of tables axis → value or values.
    pub skip: Anything,
    /// Other params, needs or policy for some cells: a list of `{ where, params, needs, policy }`, later ones win.
    pub r#override: Anything,
    /// For a command: the input port whose items (images, masks, studies) it treats one by one, a process each. `{inputs.PORT}` is
    /// then the item's file, and the one output, of images, masks, studies or a table, a file too; a table's rows get the item's columns.
    #[schemars(with = "Option<String>")]
    pub map: Option<Spanned<String>>,
    /// For a command: whether it acts on the world, such as by sending or fetching. `run` then leaves it out unless `--effects` is
    /// given or `--only` names it, and what follows it waits. In no key.
    #[schemars(with = "Option<bool>")]
    pub effect: Option<Spanned<bool>>,
    /// Globs of the files that are a command's code; in the key.
    #[schemars(with = "Option<Vec<String>>")]
    pub code: Option<Spanned<Vec<Spanned<String>>>>,
    /// Environment of a command; in the key.
    #[schemars(with = "Option<BTreeMap<String, String>>")]
    pub env: Option<Spanned<BTreeMap<String, String>>>,
    /// Output port → path relative to the project root; may hold `{axis}` and `{params.NAME}`.
    #[schemars(with = "BTreeMap<String, String>")]
    pub publish: BTreeMap<Spanned<String>, Spanned<String>>,
    /// What a task occupies while it runs. In no key.
    pub needs: NeedsTable,
    /// How a task is tried. In no key.
    pub policy: PolicyTable,
}

/// An entry of `override`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct OverrideTable {
    /// Axis → value or values: the cells it is for.
    pub r#where: Anything,
    /// Params that differ; tables merge by leaf, arrays are replaced.
    pub params: Anything,
    /// Needs that differ.
    pub needs: NeedsTable,
    /// Policy that differs.
    pub policy: PolicyTable,
}

/// What a task occupies while it runs.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct NeedsTable {
    /// Threads, 1 or more; a command is told by `{threads}`. With `map` each process is told 1, and as many run at once as `-j` says.
    pub cpus: Option<Cpus>,
    /// Memory: bytes, or text such as `"8GiB"`.
    pub memory: Option<Memory>,
    /// Share of a GPU it insists on; `1` for a whole one.
    pub gpu: Option<Gpu>,
}

/// How a task is tried.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct PolicyTable {
    /// Further tries where a task failed for a cause of `retry_on`, after a rest: 0.2 s, then four times as long each, up to a minute.
    pub retries: Option<u32>,
    /// Causes after which it is tried again: `"signal"` and `"oom"` unless set; `"exit"` is a command's exit code.
    pub retry_on: Option<Vec<Cause>>,
    /// Longest time for a task: seconds, or text such as `"6h"`, `"1h30m"`.
    pub timeout: Option<Timeout>,
    /// How many items may be in quarantine: a number, or text such as `"2%"`.
    pub max_quarantine: Option<MaxQuarantine>,
    /// Environment variables that a command also gets; for proxies and secrets.
    #[schemars(with = "Option<Vec<String>>")]
    pub env: Option<Spanned<Vec<String>>>,
}

impl NeedsTable {
    /// Leaves of `other` win.
    pub(crate) fn merge(&mut self, other: &Self) {
        let Self { cpus, memory, gpu } = other;
        self.cpus = cpus.or(self.cpus);
        self.memory = memory.or(self.memory);
        self.gpu = gpu.or(self.gpu);
    }
}

impl PolicyTable {
    /// Leaves of `other` win.
    pub(crate) fn merge(&mut self, other: &Self) {
        let Self { retries, retry_on, timeout, max_quarantine, env } = other;
        self.retries = retries.or(self.retries);
        if retry_on.is_some() {
            self.retry_on.clone_from(retry_on);
        }
        self.timeout = timeout.or(self.timeout);
        self.max_quarantine = max_quarantine.or(self.max_quarantine);
        if env.is_some() {
            self.env.clone_from(env);
        }
    }
}

/// Threads.
#[derive(Clone, Copy, Debug, JsonSchema)]
#[schemars(transparent)]
pub(crate) struct Cpus(#[schemars(range(min = 1))] pub u32);

/// A share of a GPU.
#[derive(Clone, Copy, Debug, JsonSchema)]
#[schemars(transparent)]
pub(crate) struct Gpu(#[schemars(range(min = 0))] pub f64);

/// Bytes.
#[derive(Clone, Copy, Debug)]
pub struct Memory(pub u64);

/// Seconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timeout(pub f64);

/// A bound on quarantined items.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MaxQuarantine(pub Quarantine);

/// A number, or text that stands for one.
struct NumberOrText<T> {
    expected: &'static str,
    number: fn(f64) -> Option<T>,
    text: fn(&str) -> Option<T>,
}

impl<T> Visitor<'_> for NumberOrText<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
        (self.number)(number as f64).ok_or_else(|| E::invalid_value(de::Unexpected::Signed(number), &self))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
        (self.number)(number as f64).ok_or_else(|| E::invalid_value(de::Unexpected::Unsigned(number), &self))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<T, E> {
        (self.number)(number).ok_or_else(|| E::invalid_value(de::Unexpected::Float(number), &self))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        (self.text)(text).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
    }
}

impl<'de> Deserialize<'de> for Cpus {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = |number: f64| (number >= 1.0 && number.fract() == 0.0 && number <= 65_536.0).then_some(Self(number as u32));
        deserializer.deserialize_any(NumberOrText { expected: "a whole number of threads, 1 or more", number, text: |_| None })
    }
}

impl<'de> Deserialize<'de> for Gpu {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = |number: f64| (0.0..=64.0).contains(&number).then_some(Self(number));
        deserializer.deserialize_any(NumberOrText { expected: "a share of a gpu, such as 1 or 0.5", number, text: |_| None })
    }
}

impl<'de> Deserialize<'de> for Memory {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = |number: f64| (number >= 0.0 && number.fract() == 0.0).then_some(Self(number as u64));
        deserializer.deserialize_any(NumberOrText { expected: "bytes, or text such as \"8GiB\"", number, text: memory })
    }
}

impl<'de> Deserialize<'de> for Timeout {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = |number: f64| (number > 0.0).then_some(Self(number));
        deserializer.deserialize_any(NumberOrText { expected: "seconds, or text such as \"6h\" or \"1h30m\"", number, text: timeout })
    }
}

impl<'de> Deserialize<'de> for MaxQuarantine {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = |number: f64| (number >= 0.0 && number.fract() == 0.0).then_some(Self(Quarantine::Count(number as u64)));
        deserializer.deserialize_any(NumberOrText { expected: "a number of items, or a share such as \"2%\"", number, text: quarantine })
    }
}

fn memory(text: &str) -> Option<Memory> {
    const UNITS: &[(&str, u64)] = &[
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("TiB", 1 << 40),
        ("kB", 1_000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("TB", 1_000_000_000_000),
        ("B", 1),
    ];
    let (unit, factor) = UNITS.iter().find(|(unit, _)| text.ends_with(unit))?;
    let number = positive(text.strip_suffix(unit)?.trim_end())?;
    Some(Memory((number * *factor as f64) as u64))
}

fn timeout(text: &str) -> Option<Timeout> {
    let mut seconds = 0.0;
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let factor = match rest[end..].chars().next()? {
            's' => 1.0,
            'm' => 60.0,
            'h' => 3_600.0,
            'd' => 86_400.0,
            _ => return None,
        };
        seconds += positive(&rest[..end])? * factor;
        rest = rest[end + 1..].trim_start();
    }
    (seconds > 0.0).then_some(Timeout(seconds))
}

fn quarantine(text: &str) -> Option<MaxQuarantine> {
    let percent = positive(text.strip_suffix('%')?.trim_end())?;
    (percent <= 100.0).then_some(MaxQuarantine(Quarantine::Percent(percent)))
}

/// A plain decimal number: no sign, no exponent.
fn positive(text: &str) -> Option<f64> {
    let plain = !text.is_empty() && text.chars().all(|c| c.is_ascii_digit() || c == '.');
    if plain { text.parse().ok() } else { None }
}

macro_rules! number_or_string_schema {
    ($($type:ident),*) => {$(
        impl JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": ["number", "string"] })
            }
        }
    )*};
}

number_or_string_schema!(Memory, Timeout, MaxQuarantine);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_times_and_shares_are_read() {
        assert_eq!(memory("8GiB").map(|memory| memory.0), Some(8 << 30));
        assert_eq!(memory("1.5 kB").map(|memory| memory.0), Some(1_500));
        assert!(memory("8").is_none() && memory("GiB").is_none() && memory("-1GiB").is_none());
        assert_eq!(timeout("1h30m").map(|timeout| timeout.0), Some(5_400.0));
        assert!(timeout("").is_none() && timeout("6").is_none() && timeout("6 hours").is_none() && timeout("0s").is_none());
        assert_eq!(quarantine("2%").map(|bound| bound.0), Some(Quarantine::Percent(2.0)));
        assert!(quarantine("101%").is_none() && quarantine("2").is_none());
    }
}
