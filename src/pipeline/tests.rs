//! The language on kinds made for these tests: axes, join, references, overrides, substitution.

use super::*;
use crate::stage::{Artifact, Context, Params, Port, Problem, Role, Whole, show_coordinates};
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

static KINDS: &[Kind] = &[
    Kind::whole::<Import>(),
    Kind::whole::<Pack>(),
    Kind::whole::<Train>(),
    Kind::whole::<Test>(),
    Kind::whole::<Select>(),
    Kind::whole::<Report>(),
];

const HEAD: &str = r#"
[pipeline]
name = "t"
[axes]
backbone = ["b", "a"]
seed = [1, 2, 10]
region = ["all", "lungs"]
[source.raw]
path = "raw"
phi = false
[stage.import]
kind = "t.import"
inputs = { files = "raw" }
"#;

/// `[stage.pack]` over seed and region, `[stage.train]` over backbone, and what is added.
const STUDY: &str = r#"
[stage.pack]
kind = "t.pack"
over = ["seed", "region"]
inputs = { images = "import" }
[stage.train]
kind = "t.train"
over = ["backbone"]
inputs = { train = "pack" }
params = { seed = "{seed}", name = "{backbone}-{region}" }
"#;

fn loaded(text: &str, overlay: &Overlay) -> Pipeline {
    let loaded = load(text, KINDS, overlay);
    loaded.pipeline.unwrap_or_else(|| panic!("{:#?}", loaded.problems))
}

fn study(rest: &str) -> Pipeline {
    loaded(&format!("{HEAD}{STUDY}{rest}"), &Overlay::default())
}

/// Messages of the errors.
fn errors(text: &str) -> Vec<String> {
    load(text, KINDS, &Overlay::default())
        .problems
        .into_iter()
        .filter(|problem| problem.severity == Severity::Error)
        .map(|problem| problem.message)
        .collect()
}

fn titles(pipeline: &Pipeline, stage: &str) -> Vec<String> {
    pipeline.tasks.iter().filter(|task| task.stage == stage).map(|task| show_coordinates(&task.cell)).collect()
}

/// `origin.port @ coordinates` of the parts on a port of the first task of that title.
fn parts(pipeline: &Pipeline, title: &str, port: &str) -> Vec<String> {
    let task = pipeline.tasks.iter().find(|task| task.title() == title).unwrap();
    let show = |edge: &Edge| {
        let origin = match &edge.origin {
            Origin::Source { source, inside } => format!("{}{}", pipeline.sources[source.0].title(), inside.as_deref().unwrap_or("")),
            Origin::Task { task, port } => format!("{}.{port}", pipeline.tasks[task.0].title()),
        };
        format!("{origin} @ {}", show_coordinates(&edge.coordinates))
    };
    task.inputs.get(port).into_iter().flatten().map(show).collect()
}

fn params(pipeline: &Pipeline, title: &str) -> String {
    let task = pipeline.tasks.iter().find(|task| task.title() == title).unwrap();
    match &task.action {
        Action::Kind { params, .. } => params.params().to_string(),
        Action::Command(command) => command.params.to_string(),
    }
}

#[test]
fn axes_arrive_through_inputs_and_multiply() {
    let pipeline = study("");
    assert_eq!(titles(&pipeline, "import"), [""]);
    assert_eq!(titles(&pipeline, "pack").len(), 6);
    assert_eq!(
        titles(&pipeline, "train")[..3],
        ["backbone=a,region=all,seed=1", "backbone=a,region=all,seed=2", "backbone=a,region=all,seed=10"]
    );
    assert_eq!(params(&pipeline, "train[backbone=b,region=lungs,seed=10]"), r#"{"seed":10,"batch":0,"name":"b-lungs"}"#);
    assert_eq!(parts(&pipeline, "train[backbone=b,region=lungs,seed=10]", "train"), ["pack[region=lungs,seed=10].train @ "]);
    for (number, task) in pipeline.tasks.iter().enumerate() {
        for edge in task.inputs.values().flatten() {
            assert!(!matches!(edge.origin, Origin::Task { task, .. } if task.0 >= number), "{} comes before what it needs", task.title());
        }
    }
}

#[test]
fn tasks_are_found_by_reference() {
    let pipeline = study("");
    let found =
        |reference: &str| pipeline.find(reference).map(|(tasks, port)| (tasks.len(), port)).map_err(|error| (error.message, error.help));
    assert_eq!(found("train"), Ok((12, None)));
    assert_eq!(found("train.model[seed=1|2,region=all]"), Ok((4, Some("model".into()))));
    assert_eq!(found("trian").unwrap_err().1.as_deref(), Some("did you mean `train`?"));
    assert_eq!(found("train[seed=3]").unwrap_err().0, "train[seed=3]: axis `seed` has no value `3`");
    assert_eq!(found("train.modle").unwrap_err().1.as_deref(), Some("did you mean `model`?"));
    assert!(found("raw").is_err() && found("train[sede=1]").is_err() && found("import/x").is_err());
}

#[test]
fn a_file_that_is_wrong_gives_all_its_problems() {
    let text =
        HEAD.replace("phi = false", "").replace("t.import", "t.imprt") + "[stage.x]\nkind = \"t.test\"\ninputs = { model = \"imprt\" }\n";
    let found = errors(&text);
    assert!(found.len() >= 3, "{found:?}");
}
