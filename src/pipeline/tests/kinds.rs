//! Kinds made for the tests of the language: they do nothing.

use crate::stage::{Artifact, Context, Kind, Params, Port, Problem, Role, Whole};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Files in, images out.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Import {
    /// A number that types can't bound.
    #[serde(default)]
    size: i64,
}

impl Params for Import {
    const KIND: &'static str = "t.import";
    const REVISION: u32 = 1;
    const INPUTS: &'static [Port] =
        &[Port::one("files", &[Artifact::Files], "what is read"), Port::one("table", &[Artifact::Table], "labels").optional()];
    const OUTPUTS: &'static [Port] = &[Port::one("images", &[Artifact::Images], "images")];

    fn check(&self) -> Vec<Problem> {
        if self.size < 0 { vec![Problem::of("size", "must be 0 or more")] } else { Vec::new() }
    }
}

/// Images in, arrays of two roles out.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Pack {
    /// Keep all, or what the masks leave.
    #[serde(default)]
    keep: Option<String>,
}

impl Params for Pack {
    const KIND: &'static str = "t.pack";
    const REVISION: u32 = 1;
    const INPUTS: &'static [Port] =
        &[Port::one("images", &[Artifact::Images], "images"), Port::one("masks", &[Artifact::Images], "masks").optional()];
    const OUTPUTS: &'static [Port] = &[
        Port::one("train", &[Artifact::Arrays], "train").with_roles(&[Role::Train]),
        Port::one("test", &[Artifact::Arrays], "test").with_roles(&[Role::Test]),
    ];

    fn unread(&self) -> Vec<&'static str> {
        if self.keep.as_deref() == Some("all") { vec!["masks"] } else { Vec::new() }
    }
}

/// Arrays in, a model out.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Train {
    /// Seed.
    seed: u64,
    /// Rows of a step.
    #[serde(default)]
    batch: u32,
    /// Whatever.
    #[serde(default)]
    name: String,
}

impl Params for Train {
    const KIND: &'static str = "t.train";
    const REVISION: u32 = 1;
    const INPUTS: &'static [Port] = &[
        Port::one("train", &[Artifact::Arrays], "arrays").with_roles(&[Role::Train]),
        Port::one("weights", &[Artifact::Files, Artifact::Model], "weights").optional(),
    ];
    const OUTPUTS: &'static [Port] =
        &[Port::one("model", &[Artifact::Model], "model"), Port::one("history", &[Artifact::History], "history")];
}

/// A model and arrays in, metrics out.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Test {}

impl Params for Test {
    const KIND: &'static str = "t.test";
    const REVISION: u32 = 1;
    const INPUTS: &'static [Port] =
        &[Port::one("model", &[Artifact::Model], "model"), Port::one("arrays", &[Artifact::Arrays], "arrays").with_roles(&[Role::Test])];
    const OUTPUTS: &'static [Port] = &[Port::one("metrics", &[Artifact::Metrics], "metrics")];
}

/// Chooses among models.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Select {}

impl Params for Select {
    const KIND: &'static str = "t.select";
    const REVISION: u32 = 1;
    const INPUTS: &'static [Port] = &[Port::one("models", &[Artifact::Model], "models").many()];
    const OUTPUTS: &'static [Port] = &[Port::one("models", &[Artifact::Models], "models")];
}

/// A table of all.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Report {}

impl Params for Report {
    const KIND: &'static str = "t.report";
    const REVISION: u32 = 1;
    const INPUTS: &'static [Port] = &[Port::one("runs", &[Artifact::Metrics, Artifact::History], "runs").many().with_holes()];
    const OUTPUTS: &'static [Port] = &[Port::one("table", &[Artifact::Table], "table")];
}

macro_rules! does_nothing {
    ($($kind:ty),*) => {$(
        impl Whole for $kind {
            fn run(&self, _: &Context) -> anyhow::Result<()> {
                Ok(())
            }
        }
    )*};
}

does_nothing!(Import, Pack, Train, Test, Select, Report);

pub(super) static KINDS: &[Kind] = &[
    Kind::whole::<Import>(),
    Kind::whole::<Pack>(),
    Kind::whole::<Train>(),
    Kind::whole::<Test>(),
    Kind::whole::<Select>(),
    Kind::whole::<Report>(),
];
