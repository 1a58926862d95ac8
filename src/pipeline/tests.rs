//! The language on kinds made for these tests: axes, join, references, overrides, substitution.

mod across;
mod kinds;
mod laws;
mod mistakes;

use super::*;
use crate::stage::show_coordinates;
use kinds::KINDS;

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

/// A text that names no other.
fn load(text: &str, kinds: &'static [Kind], overlay: &Overlay) -> Loaded {
    super::load(text, &Files { name: "t.toml", path: "t.toml", read: &|_| Err("there is none".into()) }, kinds, overlay)
}

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

#[test]
fn selectors_gather_pick_narrow_and_follow() {
    let text = format!(
        "{HEAD}{STUDY}{}",
        r#"
[stage.test]
kind = "t.test"
inputs = { model = "train", arrays = "pack.test" }
[stage.one]
kind = "t.test"
inputs = { model = "train[backbone=a, seed=1|10]", arrays = "pack.test" }
[stage.cross]
kind = "t.test"
over = ["other"]
inputs = { model = "train[region=all]", arrays = "pack.test[region={other}]" }
[stage.report]
kind = "t.report"
inputs = { runs = { cnn = "test[seed=*]", across = "cross.metrics[*]" } }
[stage.history]
kind = "t.report"
inputs = { runs = "train.history[*]" }
"#
    )
    .replace("[axes]", "[axes]\nother = [\"all\", \"lungs\"]");
    let pipeline = loaded(&text, &Overlay::default());
    assert_eq!(titles(&pipeline, "test").len(), 12);
    assert_eq!(titles(&pipeline, "one"), ["region=all,seed=1", "region=all,seed=10", "region=lungs,seed=1", "region=lungs,seed=10"]);
    assert_eq!(parts(&pipeline, "one[region=lungs,seed=10]", "model"), ["train[backbone=a,region=lungs,seed=10].model @ "]);
    assert_eq!(titles(&pipeline, "cross").len(), 12);
    assert_eq!(parts(&pipeline, "cross[backbone=a,other=lungs,seed=2]", "model"), ["train[backbone=a,region=all,seed=2].model @ "]);
    assert_eq!(parts(&pipeline, "cross[backbone=a,other=lungs,seed=2]", "arrays"), ["pack[region=lungs,seed=2].test @ "]);
    assert_eq!(
        titles(&pipeline, "report"),
        ["backbone=a,region=all", "backbone=a,region=lungs", "backbone=b,region=all", "backbone=b,region=lungs"]
    );
    let gathered = parts(&pipeline, "report[backbone=a,region=all]", "runs");
    assert_eq!(gathered.len(), 3 + 12);
    assert_eq!(gathered[0], "cross[backbone=a,other=all,seed=1].metrics @ backbone=a,from=across,other=all,seed=1");
    assert_eq!(gathered[12..], [1, 2, 10].map(|seed| format!("test[backbone=a,region=all,seed={seed}].metrics @ from=cnn,seed={seed}")));
    assert_eq!(parts(&pipeline, "history", "runs").len(), 12);
}

#[test]
fn keep_then_skip_then_override() {
    let stage = r#"
[stage.more]
kind = "t.train"
over = ["backbone"]
inputs = { train = "pack.train" }
params = { seed = "{seed}", batch = 1 }
needs = { cpus = 2, memory = "1GiB" }
keep = [{ seed = [1, 2] }, { backbone = "b", region = "all" }]
skip = [{ backbone = "a", seed = 2 }, { region = "lungs" }]
override = [
    { where = { backbone = "a" }, params = { batch = 2, name = "first" }, needs = { memory = "2GiB" } },
    { where = { seed = [1, 10] }, params = { name = "s{seed}" }, policy = { retries = 3, timeout = "1m", max_quarantine = "2%" } },
]
"#;
    let pipeline = study(stage);
    let cells =
        ["backbone=a,region=all,seed=1", "backbone=b,region=all,seed=1", "backbone=b,region=all,seed=2", "backbone=b,region=all,seed=10"];
    assert_eq!(titles(&pipeline, "more"), cells);
    assert_eq!(params(&pipeline, "more[backbone=a,region=all,seed=1]"), r#"{"seed":1,"batch":2,"name":"s1"}"#);
    assert_eq!(params(&pipeline, "more[backbone=b,region=all,seed=2]"), r#"{"seed":2,"batch":1,"name":""}"#);
    let task = pipeline.tasks.iter().find(|task| task.title() == "more[backbone=a,region=all,seed=1]").unwrap();
    assert_eq!((task.needs.cpus, task.needs.memory), (2, 2 << 30));
    assert_eq!((task.policy.retries, task.policy.timeout, task.policy.max_quarantine), (3, Some(60.0), Quarantine::Percent(2.0)));
}

#[test]
fn an_axis_of_tables_goes_in_step() {
    let text = HEAD
        .replace("region =", "variant = [{ id = \"small\", size = 64, at = [1, 2] }, { id = \"large\", size = 128, at = [3] }]\nregion =")
        + r#"
[stage.sized]
kind = "t.import"
over = ["variant"]
inputs = { files = "raw" }
params = { size = "{variant.size}" }
skip = [{ variant = "small" }]
[stage.mine]
command = ["do", "{variant}", "--at={variant.size}", "{{}}", "{inputs.images}", "{outputs.table}.tmp"]
over = ["variant"]
inputs = { images = "import" }
outputs = { table = "table" }
params = { at = "{variant.at}", text = "{variant}-{variant.size}", one = 1.0 }
env = { LC_ALL = "C" }
"#;
    let pipeline = loaded(&text, &Overlay::default());
    assert_eq!(titles(&pipeline, "sized"), ["variant=large"]);
    assert_eq!(params(&pipeline, "sized[variant=large]"), r#"{"size":128}"#);
    assert_eq!(params(&pipeline, "mine[variant=small]"), r#"{"at":[1,2],"one":1,"text":"small-64"}"#);
    let task = pipeline.tasks.iter().find(|task| task.title() == "mine[variant=small]").unwrap();
    let Action::Command(command) = &task.action else { panic!("a command is wanted") };
    let shown: Vec<String> = command.argv.iter().map(|pieces| show_pieces(pieces)).collect();
    assert_eq!(shown, ["do", "small", "--at=64", "{{}}", "{inputs.images}", "{outputs.table}.tmp"]);
    assert_eq!(command.argv[5], [Piece::Output("table".into()), Piece::Text(".tmp".into())]);
}

#[test]
fn sources_are_swept_typed_and_looked_into() {
    let text = HEAD
        .replace(
            "[stage.import]",
            r#"
[source.weights]
over = ["backbone"]
path = "weights/{backbone}.h5"
phi = false
optional = true
[source.masks]
path = "masks"
phi = true
type = "images"
[stage.import]"#,
        )
        .replace(r#"inputs = { files = "raw" }"#, r#"inputs = { files = "raw", table = "raw/deep/labels.csv" }"#)
        + &STUDY
            .replace(r#"inputs = { images = "import" }"#, r#"inputs = { images = "import", masks = "masks" }"#)
            .replace(r#"train = "pack" }"#, r#"train = "pack", weights = "weights" }"#)
            .replace(r#"over = ["backbone"]"#, "");
    let pipeline = loaded(&text, &Overlay::default());
    let shown: Vec<String> =
        pipeline.sources.iter().map(|source| format!("{} {} {}", source.title(), source.path, source.artifact)).collect();
    assert_eq!(
        shown,
        ["raw raw files", "weights[backbone=a] weights/a.h5 files", "weights[backbone=b] weights/b.h5 files", "masks masks images"]
    );
    assert_eq!(parts(&pipeline, "import", "table"), ["rawdeep/labels.csv @ "]);
    assert_eq!(parts(&pipeline, "train[backbone=b,region=all,seed=1]", "weights"), ["weights[backbone=b] @ "]);
    assert!(pipeline.sources[1].optional && pipeline.sources[3].phi);
}

#[test]
fn an_unread_input_has_no_edge() {
    let stage = r#"
[stage.masked]
kind = "t.pack"
over = ["region"]
inputs = { images = "import", masks = "import" }
params = { keep = "{region}" }
"#;
    let pipeline = study(stage);
    assert!(parts(&pipeline, "masked[region=all]", "masks").is_empty());
    assert_eq!(parts(&pipeline, "masked[region=lungs]", "masks"), ["import.images @ "]);
}

#[test]
fn a_chosen_list_goes_where_one_is_taken() {
    let stages = r#"
[stage.best]
kind = "t.select"
inputs = { models = "train[backbone=*]" }
[stage.test]
kind = "t.test"
inputs = { model = "best", arrays = "pack" }
"#;
    let pipeline = study(stages);
    let task = pipeline.tasks.iter().find(|task| task.title() == "test[region=all,seed=1]").unwrap();
    assert!(task.inputs["model"][0].chosen && !task.inputs["arrays"][0].chosen);
    assert_eq!(parts(&pipeline, "test[region=all,seed=1]", "arrays"), ["pack[region=all,seed=1].test @ "]);
}

#[test]
fn the_command_line_lays_values_over_the_file() {
    let text = format!("{HEAD}{STUDY}skip = [{{ seed = 2 }}]\n");
    let overlay = |set: &[(&str, &str)], axis: &[(&str, &[&str])]| Overlay {
        set: set.iter().map(|(path, value)| ((*path).to_owned(), (*value).to_owned())).collect(),
        axis: axis.iter().map(|(name, values)| ((*name).to_owned(), values.iter().map(|&value| value.to_owned()).collect())).collect(),
    };
    let pipeline = loaded(&text, &overlay(&[("stage.train.params.batch", "8"), ("stage.import.params.size", "3")], &[]));
    assert_eq!(params(&pipeline, "train[backbone=a,region=all,seed=1]"), r#"{"seed":1,"batch":8,"name":"a-all"}"#);
    assert_eq!(params(&pipeline, "import"), r#"{"size":3}"#);
    let pipeline = loaded(&text, &overlay(&[], &[("seed", &["1", "7"]), ("region", &["all"])]));
    assert_eq!(titles(&pipeline, "pack"), ["region=all,seed=1", "region=all,seed=7"]);
    let wrong = |overlay: &Overlay| load(&text, KINDS, overlay).problems.into_iter().map(|problem| problem.message).collect::<Vec<_>>();
    assert_eq!(
        wrong(&overlay(&[("stage.train.params.batch", "many"), ("stage.trian.params.batch", "1")], &[("sed", &["1"])])),
        [
            "--set stage.trian.params.batch: there is no `stage.trian`",
            "--axis sed: there is no axis `sed`",
            "--set stage.train.params.batch=many: invalid type: string \"many\", expected a whole number, 0 or more",
        ]
    );
}

#[test]
fn roles_and_params_of_a_kind_are_checked_together() {
    let text = HEAD.replace("kind = \"t.import\"", "kind = \"t.import\"\nparams = { size = -1 }")
        + &STUDY.replace(r#"train = "pack" }"#, r#"train = "pack.test" }"#).replace("{backbone}-{region}", "{nothing}");
    let mut found = errors(&text);
    found.sort();
    assert_eq!(
        found,
        [
            "`pack.test` gives arrays of role `test`, port `train` takes `train`",
            "`size`: must be 0 or more",
            "unknown placeholder `{nothing}`"
        ]
    );
}

#[test]
fn ten_thousand_tasks_are_one_sweep() {
    let numbers: Vec<String> = (0..100).map(|number| number.to_string()).collect();
    let text = format!("{HEAD}{STUDY}")
        .replace("[1, 2, 10]", &format!("[{}]", numbers.join(", ")))
        .replace("\"all\", \"lungs\"", &numbers.join(", "));
    let pipeline = loaded(&text, &Overlay::default());
    assert_eq!(pipeline.tasks.len(), 1 + 10_000 + 20_000);
}

#[test]
fn what_is_unused_is_a_warning() {
    let more = "skip = [{ seed = [1, 4] }]\n[params]\nunused = 1\n[source.spare]\nover = [\"weight\"]\npath = \"spare\"\nphi = true\n";
    let text = format!("{HEAD}{STUDY}{more}").replace("[axes]", "[axes]\nidle = [1]\nweight = [1, 2]");
    let found = load(&text, KINDS, &Overlay::default());
    assert!(found.pipeline.is_some(), "{:?}", found.problems);
    let mut messages: Vec<String> = found.problems.into_iter().map(|problem| problem.message).collect();
    messages.sort();
    assert_eq!(
        messages,
        [
            "axis `seed` has no value `4`",
            "nothing uses axis `idle`",
            "nothing uses param `unused`",
            "nothing uses source `spare`",
            "the path is the same for every value of axis `weight`",
        ]
    );
}

#[test]
fn params_of_many_cells_are_read_as_those_of_few() {
    let many: Vec<String> = (0..100).map(|seed| seed.to_string()).collect();
    let text = format!("{HEAD}{STUDY}").replace("seed = [1, 2, 10]", &format!("seed = [{}]", many.join(", ")));
    let pipeline = loaded(&text, &Overlay::default());
    assert_eq!(pipeline.tasks.iter().filter(|task| task.stage == "train").count(), 400);
    let few = study("");
    for title in ["train[backbone=a,region=all,seed=2]", "train[backbone=b,region=lungs,seed=10]"] {
        assert_eq!(params(&pipeline, title), params(&few, title));
    }
    // What is wrong in one cell is told, and told of that cell.
    let wrong = text.replace("seed = [0, ", "seed = [-7, ");
    let problem = load(&wrong, KINDS, &Overlay::default()).problems.remove(0);
    assert!(problem.label.contains("seed=-7"), "{problem:#?}");
}
