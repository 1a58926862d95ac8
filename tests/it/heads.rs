//! Heads that are trained on features: what they learn is what they would learn behind a frozen backbone, for a fraction of the work.

use crate::features::with_features;
use crate::space::{Output, Space};
use crate::study::PIPELINE;
use libtest_mimic::Trial;
use tomograph::table::Table;

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        a_head_learns_from_features_what_it_would_from_images,
        seeds_and_heads_share_one_pass_over_the_images,
        features_that_do_not_fit_a_training_are_refused
    ]
}

const STAGES: &str = r#"
[stage.learn]
kind   = "classifier.features"
inputs = { arrays = "pack.train", weights = "start" }
params = { backbone = "mobilenet", batch = 8 }

[stage.judge]
kind   = "classifier.features"
inputs = { arrays = "pack.validation", weights = "start" }
params = { backbone = "mobilenet", batch = 8 }

[stage.unseen]
kind   = "classifier.features"
inputs = { arrays = "pack.test", weights = "start" }
params = { backbone = "mobilenet", batch = 8 }

[stage.head]
kind   = "classifier.train"
inputs = { train = "learn", validation = "judge" }
params = { backbone = "mobilenet", seed = "{seed}", epochs = 3, batch = 8, dense = [8], dropout = 0.2 }

[stage.whole]
kind   = "classifier.train"
inputs = { train = "learn", validation = "judge", weights = "start" }
params = { backbone = "mobilenet", seed = "{seed}", epochs = 3, batch = 8, dense = [8], dropout = 0.2 }

[stage.frozen]
kind   = "classifier.train"
inputs = { train = "pack.train", validation = "pack.validation", weights = "start" }
params = { backbone = "mobilenet", seed = "{seed}", epochs = 3, batch = 8, dense = [8], dropout = 0.2, trains = "head" }

[stage.unfrozen]
kind   = "classifier.train"
inputs = { train = "pack.train", validation = "pack.validation", weights = "whole.model" }
params = { backbone = "mobilenet", seed = "{seed}", epochs = 1, batch = 8, dense = [8], load = "all", learning_rate = 1e-5 }

[stage.of_head]
kind   = "classifier.evaluate"
inputs = { model = "head", arrays = "unseen" }

[stage.of_whole]
kind   = "classifier.evaluate"
inputs = { model = "whole", arrays = "pack.test" }

[stage.of_frozen]
kind   = "classifier.evaluate"
inputs = { model = "frozen", arrays = "pack.test" }
"#;

/// The study of one seed, with heads.
fn study() -> Space {
    let space = with_features();
    let text = space.read(PIPELINE);
    let text = text.split("[stage.features]").next().unwrap().replace("seed = [1, 2]", "seed = [1]");
    space.write(PIPELINE, text + STAGES);
    space
}

fn run(space: &Space, only: &str) -> Output {
    space.run_args(&["run", PIPELINE, "--only", only, "--json"])
}

/// The numbers of some columns of a table that a task gave.
fn numbers(space: &Space, what: &str, file: &str, columns: &[&str]) -> Vec<f64> {
    space.run_args(&["export", PIPELINE, what, "out"]).success();
    let table = Table::from_tsv(&std::fs::read(space.path("out").join(file)).unwrap()).unwrap();
    std::fs::remove_dir_all(space.path("out")).unwrap();
    let columns: Vec<usize> = columns.iter().map(|column| table.column(column).unwrap()).collect();
    table.rows.iter().flat_map(|row| columns.iter().map(|column| row[*column].parse().unwrap())).collect()
}

fn size(space: &Space, what: &str) -> u64 {
    space.run_args(&["export", PIPELINE, what, "out"]).success();
    let size = std::fs::metadata(space.path("out/model.safetensors")).unwrap().len();
    std::fs::remove_dir_all(space.path("out")).unwrap();
    size
}

fn near(one: &[f64], other: &[f64]) -> bool {
    one.len() == other.len() && one.iter().zip(other).all(|(a, b)| (a - b).abs() < 1e-4)
}

fn a_head_learns_from_features_what_it_would_from_images() {
    let space = study();
    space.run("run study.toml").success();
    let history = |task: &str| numbers(&space, &format!("{task}.history"), "history.tsv", &["train_loss", "validation_loss"]);
    let scores = |task: &str| numbers(&space, &format!("{task}.predictions"), "predictions.tsv", &["score_ill", "score_well"]);
    let losses = history("frozen");
    assert!(losses.len() == 6 && losses[0] != losses[2], "{losses:?}");
    for task in ["head", "whole"] {
        assert!(near(&history(task), &losses), "{task}: {:?}, where images gave {losses:?}", history(task));
        assert!(near(&scores(&format!("of_{task}")), &scores("of_frozen")), "{task}");
    }
    // 1024 × 8 and 8 × 2 numbers, and no backbone.
    let (head, whole) = (size(&space, "head.model"), size(&space, "whole.model"));
    assert!(head < 40_000 && whole > 12_000_000, "{head} {whole}");

    // Then everything learns, from where the head stands.
    let first = history("unfrozen")[1];
    assert!((first - losses[5]).abs() < 0.2 * losses[5], "the first loss after the head's last one, {}, is {first}", losses[5]);
}

fn seeds_and_heads_share_one_pass_over_the_images() {
    let space = study();
    let treated = |output: &Output| output.summary()["items_ran"].as_u64().unwrap();
    let first = treated(&run(&space, "head").success());
    space.replace(PIPELINE, "seed = [1]", "seed = [1, 2]\nunits = [4, 8]");
    let head = "inputs = { train = \"learn\", validation = \"judge\" }\nparams = { backbone = \"mobilenet\", seed = \"{seed}\", epochs = 3, \
                batch = 8, dense = [8]";
    let text = space.read(PIPELINE);
    space.write(PIPELINE, text.replacen(head, &format!("over = [\"units\"]\n{}", head.replace("[8]", "[\"{units}\"]")), 1));

    // The plan says what is there, and what a head will cost by what the first one cost.
    let plan = space.run("plan study.toml --only head --json").success();
    let task = |name: &str| plan.objects().into_iter().find(|one| one["task"] == name).unwrap_or_else(|| panic!("{}", plan.text()));
    assert_eq!((&task("learn[seed=1]")["state"], &task("judge[seed=1]")["state"]), (&"cached".into(), &"cached".into()));
    assert_eq!(task("head[seed=1,units=8]")["state"], "cached");
    let head = task("head[seed=1,units=4]");
    assert!(head["state"] == "run" && head["seconds"].is_number(), "{head}");

    let sweep = run(&space, "head").success();
    assert_eq!(sweep.tasks("ran").iter().filter(|task| task.starts_with("head")).count(), 3, "{}", sweep.text());
    let rest = run(&space, "unseen").success();
    // 48 pictures are imported, prepared, and met by the backbone, each once.
    assert_eq!(first + treated(&sweep) + treated(&rest), 3 * 48);
}

fn features_that_do_not_fit_a_training_are_refused() {
    let space = study();
    run(&space, "head").success();
    let params = "dense = [8], dropout = 0.2 }\n\n[stage.whole]";
    for (more, said) in [
        ("augment = { flip = true }", "param `augment` has no meaning here: of features only the head is trained"),
        ("trains = { last = 1 }", "param `trains` has no meaning here"),
        ("pooling = \"max\"", "param `pooling` has no meaning here"),
        ("input = \"learned\"", "param `input` has no meaning here"),
        ("precision = \"bf16\"", "param `precision` has no meaning here"),
        ("normalise = \"full-range\"", "param `normalise` is FullRange, but the features on port `train` were computed with MinMax"),
    ] {
        space.replace(PIPELINE, params, &params.replace(" }\n", &format!(", {more} }}\n")));
        run(&space, "head").exits(1).says(&[said]);
        space.replace(PIPELINE, &params.replace(" }\n", &format!(", {more} }}\n")), params);
    }
    let head = "[stage.head]\nkind   = \"classifier.train\"\ninputs = { train = \"learn\", validation = \"judge\" }\nparams = { backbone = \"mobilenet\"";
    let with = |from: &str, to: &str, said: &str| {
        space.replace(PIPELINE, head, &head.replace(from, to));
        run(&space, "head").exits(1).says(&[said]);
        space.replace(PIPELINE, &head.replace(from, to), head);
    };
    with("\"mobilenet\"", "\"vgg16\"", "param `backbone` is vgg16, but the features on port `train` are of mobilenet");
    with("\"judge\"", "\"pack.validation\"", "training and validation images are not of one kind");
    with("\"judge\"", "\"judge\", weights = \"frozen.model\"", "port `weights`: the features on port `train` come from other weights");

    let unfrozen = "weights = \"whole.model\"";
    space.replace(PIPELINE, unfrozen, "weights = \"head.model\"");
    run(&space, "unfrozen")
        .exits(1)
        .says(&["port `weights`: the model is a head without its backbone: connect `weights` where it is trained"]);
    space.replace(PIPELINE, "model = \"head\", arrays = \"unseen\"", "model = \"head\", arrays = \"pack.test\"");
    run(&space, "of_head").exits(1).says(&["port `arrays`: the model is a head alone, which learnt from features"]);
    space.replace(PIPELINE, "model = \"frozen\", arrays = \"pack.test\"", "model = \"frozen\", arrays = \"unseen\"");
    run(&space, "of_frozen").exits(1).says(&["port `arrays`: these are features, but the model's backbone learnt with its head"]);
}
