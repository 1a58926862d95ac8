//! One file over another, and what one pipeline takes from another.

use super::*;

/// Loads `text` as `t.toml` beside these files.
fn load_among(text: &str, others: &[(&str, &str)]) -> Loaded {
    let read = |path: &str| {
        let found = others.iter().find(|(name, _)| *name == path);
        found.map(|(_, text)| (*text).to_owned()).ok_or_else(|| format!("there is no `{path}`"))
    };
    super::super::load(text, &Files { name: "t.toml", path: "t.toml", read: &read }, KINDS, &Overlay::default())
}

fn good(text: &str, others: &[(&str, &str)]) -> Pipeline {
    let loaded = load_among(text, others);
    loaded.pipeline.unwrap_or_else(|| panic!("{:#?}", loaded.problems))
}

/// `file: message` of every error.
fn wrong(text: &str, others: &[(&str, &str)]) -> Vec<String> {
    let loaded = load_among(text, others);
    assert!(loaded.pipeline.is_none());
    let say = |problem: &Diagnostic| {
        let (file, text, span) = loaded.texts.locate(&problem.span.clone().unwrap_or_default());
        format!("{file}: {} @ {}", problem.message, text.get(span).unwrap_or("outside"))
    };
    loaded.problems.iter().filter(|problem| problem.severity == Severity::Error).map(say).collect()
}

fn study_file() -> String {
    format!("{HEAD}{STUDY}")
}

#[test]
fn leaves_of_the_file_win_and_arrays_are_replaced() {
    let own = r#"
[pipeline]
base = "study.toml"
[axes]
seed = [7]
[stage.train.params]
batch = 4
"#;
    let pipeline = good(own, &[("study.toml", &study_file())]);
    assert_eq!(pipeline.name, "t");
    assert_eq!(titles(&pipeline, "pack"), ["region=all,seed=7", "region=lungs,seed=7"]);
    assert_eq!(params(&pipeline, "train[backbone=a,region=all,seed=7]"), r#"{"seed":7,"batch":4,"name":"a-all"}"#);
    let named = good(&own.replace("base =", "name = \"mine\"\nbase ="), &[("study.toml", &study_file())]);
    assert_eq!(named.name, "mine");
    let more = format!("{own}[stage.again]\nkind = \"t.import\"\ninputs = {{ files = \"raw\" }}\n");
    assert_eq!(titles(&good(&more, &[("study.toml", &study_file())]), "again"), [""]);
}

#[test]
fn a_mistake_is_in_the_file_that_has_it() {
    let own = "[pipeline]\nbase = \"study.toml\"\n[stage.train.params]\nbatch = \"many\"\n[stage.pack]\nneeds = { memory = \"1GiB\" }\n";
    let base = study_file().replace("kind = \"t.pack\"", "kind = \"t.pack\"\nneeds = { cpus = \"two\" }").replace("t.import", "t.imprt");
    let found = wrong(own, &[("study.toml", &base)]);
    assert_eq!(
        found,
        [
            "study.toml: unknown kind `t.imprt` @ \"t.imprt\"",
            "study.toml: invalid value: string \"two\", expected a whole number of threads, 1 or more @ \"two\"",
        ]
    );
    let base = study_file();
    let typed = "t.toml: invalid type: string \"many\", expected a whole number, 0 or more @ \"many\"";
    assert_eq!(wrong(own, &[("study.toml", &base)]), [typed]);
    assert_eq!(wrong(own, &[("study.toml", "[stage\n")]).len(), 1);
    assert!(wrong(own, &[("study.toml", "[stage\n")])[0].starts_with("study.toml: "));
    assert_eq!(wrong(own, &[]), ["t.toml: cannot read the base: there is no `study.toml` @ \"study.toml\""]);
    let below = base.replace("name = \"t\"", "name = \"t\"\nbase = \"deeper.toml\"");
    assert_eq!(
        wrong("[pipeline]\nbase = \"study.toml\"\n", &[("study.toml", &below)]),
        ["study.toml: a base has no base of its own @ base"]
    );
}

const TAKER: &str = r#"
[pipeline]
name = "taker"
[axes]
seed = [1, 10]
[source.raw]
path = "raw"
phi = false
[source.model]
over = ["seed"]
from = "t2.toml"
artifact = "train.model[backbone=a,region=all,seed={seed}]"
[stage.import]
kind = "t.import"
inputs = { files = "raw" }
[stage.pack]
kind = "t.pack"
inputs = { images = "import" }
[stage.test]
kind = "t.test"
inputs = { model = "model", arrays = "pack.test" }
"#;

#[test]
fn a_source_takes_a_task_of_another_pipeline() {
    let others = [("t2.toml", study_file())];
    let others = [(others[0].0, others[0].1.as_str())];
    let pipeline = good(TAKER, &others);
    let taken: Vec<String> = pipeline.sources.iter().filter_map(|source| source.taken.as_deref().map(Taken::title)).collect();
    assert_eq!(taken, ["train.model[backbone=a,region=all,seed=1] of t2.toml", "train.model[backbone=a,region=all,seed=10] of t2.toml"]);
    assert_eq!(parts(&pipeline, "test[seed=10]", "model"), ["model[seed=10] @ "]);
    assert_eq!(pipeline.sources[1].artifact.name(), "model");
    assert_eq!(pipeline.sources[1].taken.as_ref().unwrap().remedy(), "tomograph run t2.toml --only 'train[backbone=a,region=all,seed=1]'");
    assert_eq!(pipeline.others.keys().collect::<Vec<_>>(), ["t2.toml"]);
}

#[test]
fn what_is_taken_has_its_type_and_its_role() {
    let study = study_file();
    let others = [("t2.toml", study.as_str())];
    let misfit = TAKER.replace("train.model[backbone=a", "train.history[backbone=a");
    assert_eq!(wrong(&misfit, &others), ["t.toml: `model` gives `history`, port `model` takes `model` @ \"model\""]);
    let trains = TAKER.replace("train.model[backbone=a,region=all,seed={seed}]", "pack.test[region=all,seed={seed}]").replace(
        "kind = \"t.test\"\ninputs = { model = \"model\", arrays = \"pack.test\" }",
        "kind = \"t.train\"\ninputs = { train = \"model\" }\nparams = { seed = 1 }",
    );
    assert_eq!(wrong(&trains, &others), ["t.toml: `model` gives arrays of role `test`, port `train` takes `train` @ \"model\""]);
}

#[test]
fn what_cannot_be_taken_says_why() {
    let study = study_file();
    let others = [("t2.toml", study.as_str()), ("round.toml", TAKER), ("broken.toml", "[pipeline]\n")];
    let first = |text: &str| wrong(text, &others).remove(0);
    let with = |from: &str, to: &str| first(&TAKER.replace(from, to));
    assert!(with("train.model[backbone=a,region=all", "train.model[region=all").contains("names 2 tasks of `t2.toml`"));
    assert!(with("train.model", "trian.model").contains("in `t2.toml`, trian.model"));
    assert!(with("train.model", "train.modle").contains("`train` has no output `modle`"));
    assert!(with("[1, 10]", "[1, 11]").contains("axis `seed` has no value `11`"));
    assert!(with("\"t2.toml\"", "\"t.toml\"").contains("takes nothing from itself"));
    assert!(with("\"t2.toml\"", "\"../t2.toml\"").contains("no path inside the project"));
    assert!(with("\"t2.toml\"", "\"t3.toml\"").contains("there is no `t3.toml`"));
    assert!(with("\"t2.toml\"", "\"broken.toml\"").contains("`broken.toml` cannot be used: `[pipeline]` has no `name`"));
    assert!(with("from = \"t2.toml\"", "from = \"t2.toml\"\nphi = true").contains("has no `phi`"));
    assert!(with("from = \"t2.toml\"", "from = \"t2.toml\"\npath = \"x\"").contains("has no `path`"));
    assert!(with("from = \"t2.toml\"\n", "").contains("has an `artifact` and no `from`"));
    let circle = TAKER.replace("t2.toml", "t.toml");
    let round = [("t2.toml", circle.as_str())];
    assert!(
        wrong(TAKER, &round)[0].contains("`t2.toml` cannot be used: pipelines take from each other in a circle: t.toml → t2.toml → t.toml")
    );
}
