//! Choices of a training as users write them: head first, layers that learn, labels, augmentation, what is refused.

use crate::Need;
use crate::space::{Output, Space};
use crate::study::{PIPELINE, space};
use libtest_mimic::Trial;
use tomograph::table::Table;

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        a_head_is_trained_first_and_then_everything,
        several_labels_are_learnt_and_blanks_do_not_count,
        every_choice_trains_and_the_same_twice,
        what_makes_no_sense_is_said_before_anything_runs,
        a_training_that_cannot_be_is_an_error_that_says_what_to_do,
        batches_of_one_class_teach_something,
        weights_that_do_not_fit_are_named_and_nothing_is_lost,
        what_the_device_lacks_is_an_error_and_nothing_is_lost,
        tensorboard_reads_a_history: [Need::Keras]
    ]
}

/// The study with other params of its training, for one seed.
fn study(params: &str) -> Space {
    let space = space();
    space.replace(PIPELINE, "seed = [1, 2]", "seed = [1]");
    with(&space, params);
    space
}

fn with(space: &Space, params: &str) {
    let text = space.read(PIPELINE);
    let line = text.lines().find(|line| line.starts_with("params = { backbone")).unwrap().to_owned();
    let base = "backbone = \"mobilenet\", seed = \"{seed}\", epochs = 1, batch = 8, dense = [8], bn_momentum = 0.5";
    space.replace(PIPELINE, &line, &format!("params = {{ {base}, {params} }}"));
}

fn run(space: &Space, only: &str) -> Output {
    space.run_args(&["run", PIPELINE, "--only", only])
}

fn exported(space: &Space, what: &str, file: &str) -> Vec<u8> {
    space.run_args(&["export", PIPELINE, what, "out"]).success();
    let bytes = std::fs::read(space.path("out").join(file)).unwrap();
    std::fs::remove_dir_all(space.path("out")).unwrap();
    bytes
}

fn tensors(bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    let at = |value: &serde_json::Value, end: usize| 8 + length + value["data_offsets"][end].as_u64().unwrap() as usize;
    let named = header.iter().filter(|(name, _)| *name != "__metadata__");
    named.map(|(name, value)| (name.clone(), bytes[at(value, 0)..at(value, 1)].to_vec())).collect()
}

/// Names of the variables in which two models differ.
fn moved(before: &[u8], after: &[u8]) -> Vec<String> {
    let (before, after) = (tensors(before), tensors(after));
    assert_eq!(before.len(), after.len());
    before.into_iter().zip(after).filter(|(a, b)| a.1 != b.1).map(|(a, _)| a.0).collect()
}

const SECOND: &str = r#"
[stage.second]
kind   = "classifier.train"
inputs = { train = "pack.train", validation = "pack.validation", weights = "train.model" }

[stage.second.params]
backbone      = "mobilenet"
seed          = "{seed}"
epochs        = 1
batch         = 8
dense         = [8]
learning_rate = 1e-5
load          = "all"
trains        = { last = 1 }
"#;

fn a_head_is_trained_first_and_then_everything() {
    let space = study("trains = \"head\"");
    let text = space.read(PIPELINE);
    space.write(PIPELINE, format!("{text}{SECOND}"));
    run(&space, "second").success();
    let (first, second) = (exported(&space, "train.model", "model.safetensors"), exported(&space, "second.model", "model.safetensors"));
    let moved_then = moved(&first, &second);
    assert!(moved_then.contains(&"conv_pw_13.weight".to_owned()) && moved_then.contains(&"conv_pw_13_bn.running_mean".to_owned()));
    let learnt = |name: &String| ["predictions.", "dense_1.", "conv_pw_13", "conv_dw_13"].iter().any(|start| name.starts_with(start));
    assert!(moved_then.iter().all(learnt), "frozen layers moved: {moved_then:?}");

    // The head alone, from another seed: nothing of the backbone moves, statistics neither.
    space.replace(PIPELINE, "trains        = { last = 1 }", "trains        = \"head\"");
    run(&space, "second").success();
    let third = exported(&space, "second.model", "model.safetensors");
    assert!(moved(&first, &third).iter().all(|name| name.starts_with("predictions.") || name.starts_with("dense_1.")));

    space.replace(PIPELINE, "dense         = [8]\nlearning_rate = 1e-5", "dense         = [4]\nlearning_rate = 1e-5");
    run(&space, "second").exits(1).says(&["port `weights`: set `load` to \"trunk\"", "dense_1.bias is [8] where [4] is wanted"]);
    space.replace(PIPELINE, "load          = \"all\"\n", "");
    run(&space, "second").success();
    space.replace(PIPELINE, "trains        = \"head\"\n", "trains        = { from = \"conv_99\" }\n");
    run(&space, "second")
        .exits(1)
        .says(&["param `trains`: mobilenet has no layer `conv_99`; the nearest name is `conv", "and blocks end with conv"]);
}

fn several_labels_are_learnt_and_blanks_do_not_count() {
    let space = study("task = \"labels\", class_weights = \"balanced\", uncertain = \"positive\"");
    // Of every patient: ill or not, mostly known; and a label that is uncertain or blank for some.
    let manifest = space.read("pictures/manifest.csv");
    let mut rows = manifest.lines();
    let mut text = format!("{},edema,mass\n", rows.next().unwrap());
    for (at, row) in rows.enumerate() {
        let ill = row.ends_with("ill");
        let edema = if at % 7 == 0 {
            ""
        } else if ill {
            "1"
        } else {
            "0"
        };
        let mass = ["0", "1", "-1", ""][at % 4];
        text += &format!("{row},{edema},{mass}\n");
    }
    space.write("pictures/manifest.csv", text);
    let pack = "inputs = { images = \"prepare\", split = \"split\" }";
    space.replace(PIPELINE, pack, &format!("{pack}\nparams = {{ labels = [\"edema\", \"mass\"] }}"));
    space.run("run study.toml").success();
    let predictions = Table::from_tsv(&exported(&space, "evaluate.predictions", "predictions.tsv")).unwrap();
    let expected = ["item", "subject", "label", "predicted", "score_edema", "score_mass", "truth_edema", "truth_mass"];
    assert_eq!(predictions.columns, expected);
    let truths: Vec<&str> = predictions.rows.iter().map(|row| row[7].as_str()).collect();
    assert!(truths.contains(&"") && truths.contains(&"1") && truths.contains(&"0"), "{truths:?}");
    let metrics: serde_json::Value = serde_json::from_slice(&exported(&space, "evaluate.metrics", "metrics.json")).unwrap();
    let named = |name: &str| metrics["metrics"].as_array().unwrap().iter().find(|one| one["name"] == name).unwrap().clone();
    let known = predictions.rows.iter().filter(|row| !row[6].is_empty()).count();
    assert_eq!(named("auc_edema")["n"], known, "{metrics}");
    assert!(named("auc")["value"].is_number());
    assert!(named("accuracy")["low"].as_f64() <= named("accuracy")["value"].as_f64() && named("accuracy")["high"].is_number(), "{metrics}");
    assert_eq!((&metrics["clustered_by"], &metrics["draws"]), (&"subject".into(), &2000.into()), "{metrics}");

    with(&space, "task = \"classes\"");
    run(&space, "train").exits(1).says(&["the arrays on port `train` have labels, not classes: set `task` to \"labels\""]);
}

fn every_choice_trains_and_the_same_twice() {
    let everything = "optimiser = \"adamw\", weight_decay = 0.01, clip = 1.0, label_smoothing = 0.1, class_weights = { given = { ill = 2.0, \
        well = 1 } }, pooling = \"max\", input = \"learned\", micro_batch = 4, augment = { flip = true, rotate = 5, shift = 0.05, scale = 0.1, \
        brightness = 0.1, noise = 0.02 }, schedule = { shape = \"cosine\", warmup = 2 }, dropout = 0.2, deterministic = true";
    let space = study(everything);
    let said = run(&space, "train").success();
    said.says(&["`micro_batch` is 4: batch normalisation sees 4 images at once, not 8"]);
    let first = exported(&space, "train.model", "model.safetensors");
    assert!(tensors(&first).iter().any(|(name, _)| name == "input_mix.weight"));
    // Made again in the same store: other bytes would be an error.
    space.run_args(&["run", PIPELINE, "--only", "train", "--again", "train"]).success();
    assert!(exported(&space, "train.model", "model.safetensors") == first);
    let history = Table::from_tsv(&exported(&space, "train.history", "history.tsv")).unwrap();
    let columns =
        ["epoch", "learning_rate", "train_loss", "train_accuracy", "train_auc", "validation_loss", "validation_accuracy", "validation_auc"];
    assert_eq!(history.columns, columns);
    assert!(history.rows[0][4].parse::<f64>().unwrap() <= 1.0, "{history:?}");
    let log = space.run_args(&["log", PIPELINE, "train", "--json"]).success().objects().pop().unwrap();
    let log = std::fs::read_to_string(space.path(log["log"].as_str().unwrap())).unwrap();
    assert!(log.contains("images/s") && log.contains("waiting for batches") && log.contains("MB of memory"), "{log}");

    // The model is as good elsewhere: evaluation builds it from its own description.
    run(&space, "evaluate").success();
    with(&space, "optimiser = \"sgd\", momentum = 0.9, nesterov = true, schedule = { shape = \"plateau\", patience = 1 }, patience = 1");
    run(&space, "train").success();
}

fn what_makes_no_sense_is_said_before_anything_runs() {
    let space = study("learning_rate = 0");
    for (params, said) in [
        ("learning_rate = 0", "must be a number above 0"),
        ("momentum = 0.9", "say something only with `optimiser = \"sgd\"`"),
        ("micro_batch = 9", "must be above 0 and at most `batch`"),
        ("augment = { rotate = 400 }", "`rotate` must be 0 to 180"),
        ("schedule = { shape = \"steps\" }", "steps"),
        ("augment = { flipp = true }", "flipp"),
        ("trains = { last = 0 }", "must be at least one block"),
        ("backbone = \"mobilnet\"", "backbone"),
    ] {
        with(&space, params);
        space.run("check study.toml").exits(2).says(&[said]);
    }
}

fn a_training_that_cannot_be_is_an_error_that_says_what_to_do() {
    let space = study("learning_rate = 1e6");
    run(&space, "train").exits(1).says(&["the loss ", "a lower `learning_rate` or `clip` may help"]);
    assert!(std::fs::read_dir(space.path("cache/state")).unwrap().next().is_some(), "the last sound state is kept");

    with(&space, "learning_rate = 1e-4");
    let size = "params = { size = 32 }";
    space.replace(PIPELINE, size, "params = { size = 16 }");
    run(&space, "train").exits(1).says(&["the images are 16 × 16 pixels, but mobilenet needs at least 32: set `size` of images.prepare"]);
    space.replace(PIPELINE, "params = { size = 16 }", size);

    // A batch larger than the set is no error, but worth saying.
    with(&space, "micro_batch = 8");
    space.replace(PIPELINE, "batch = 8, dense", "batch = 64, dense");
    run(&space, "train").success().says(&["`batch` is 64, but there are 24 training images: every step takes all of them"]);
    space.replace(PIPELINE, "batch = 64, dense", "batch = 8, dense");

    with(&space, "score = \"loss\"");
    space.replace(PIPELINE, "train = 0.5, validation = 0.25, test = 0.25", "train = 0.75, validation = 0.0, test = 0.25");
    run(&space, "train").exits(1).says(&["there are no validation images, and they pick the epoch: give the split a larger share for it"]);
}

fn batches_of_one_class_teach_something() {
    let space = study("score = \"loss\", bn_momentum = 0.9");
    // An image at a time: one class, and statistics of one picture.
    space.replace(PIPELINE, "batch = 8, dense", "batch = 1, dense");
    space.replace(PIPELINE, ", bn_momentum = 0.5, score", ", score");
    run(&space, "train").success();
    let history = Table::from_tsv(&exported(&space, "train.history", "history.tsv")).unwrap();
    let losses = ["train_loss", "validation_loss"].map(|column| history.rows[0][history.column(column).unwrap()].parse::<f64>().unwrap());
    assert!(losses.iter().all(|loss| loss.is_finite()), "{losses:?}");

    // A class without images teaches nothing, nor do images of one class.
    let pack = "inputs = { images = \"prepare\", split = \"split\" }";
    space.replace(PIPELINE, pack, &format!("{pack}\nparams = {{ classes = [\"ill\", \"odd\", \"well\"] }}"));
    run(&space, "train").exits(1).says(&["no training image has the label odd: a classifier needs images of every class"]);
    let manifest = space.read("pictures/manifest.csv");
    space.write("pictures/manifest.csv", manifest.replace(",well\n", ",ill\n"));
    run(&space, "train").exits(1).says(&["all 48 labelled rows have the same label, `ill`: at least two classes are needed"]);
}

fn weights_that_do_not_fit_are_named_and_nothing_is_lost() {
    let space = study("learning_rate = 1e-4");
    run(&space, "train").success();
    space.run_args(&["export", PIPELINE, "train.model", "model"]).success();
    let whole = std::fs::read(space.path("model/model.safetensors")).unwrap();
    let source = "[source.given]\npath = \"given\"\nphi  = false\n\n[stage.import]";
    space.replace(PIPELINE, "[stage.import]", source);
    let ports = "validation = \"pack.validation\" }\nparams";
    space.replace(PIPELINE, ports, &ports.replace(" }", ", weights = \"given\" }"));
    let refused = |bytes: &[u8], said: &str| {
        space.write("given/some.safetensors", bytes);
        run(&space, "train").exits(1).says(&["port `weights`: ", said]);
    };
    refused(b"", "some.safetensors: the file is empty");
    refused(b"<html>not found</html>", "some.safetensors: not a weights file (Keras HDF5, .keras or .safetensors), or cut short");
    refused(&whole[..whole.len() / 2], "some.safetensors: not a whole safetensors file");
    space.write("given/other.h5", "something");
    refused(&whole, "there are 2 files where one is wanted");
    std::fs::remove_file(space.path("given/other.h5")).unwrap();

    space.replace(PIPELINE, "backbone = \"mobilenet\"", "backbone = \"mobilenetv2\"");
    refused(&whole, "which mobilenetv2 has: it is of another network, or not whole");
    space.replace(PIPELINE, "path = \"given\"", "path = \"model\"\ntype = \"model\"");
    run(&space, "train").exits(1).says(&["port `weights`: the model's backbone is mobilenet, where mobilenetv2 is wanted"]);
    space.replace(PIPELINE, "path = \"model\"\ntype = \"model\"", "path = \"given\"");

    // What was done before these errors still stands, and a file that fits begins the training.
    space.replace(PIPELINE, "backbone = \"mobilenetv2\"", "backbone = \"mobilenet\"");
    let output = space.run_args(&["run", PIPELINE, "--only", "train", "--json"]).success();
    assert_eq!(output.tasks("ran"), ["train[seed=1]"]);
}

fn what_the_device_lacks_is_an_error_and_nothing_is_lost() {
    let space = study("precision = \"bf16\"");
    // As many processors have it as have not.
    let flags = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    for (precision, flag) in [("bf16", "avx512_bf16"), ("f16", "avx512_fp16")] {
        with(&space, &format!("precision = \"{precision}\", clip = 1.0"));
        let there = !cfg!(target_arch = "x86_64") || flags.contains(flag);
        let output = run(&space, "train");
        if output.code == Some(0) && there {
            // The weights are in single precision whatever the network computed in.
            run(&space, "evaluate").success();
        } else {
            output.exits(1).says(&[&format!("this processor has no instructions for {precision}: set `precision` to \"f32\"")]);
        }
    }

    // More memory than any machine has: four terabytes.
    with(&space, "learning_rate = 1e-4");
    space.replace(PIPELINE, "dense = [8], bn", "dense = [1000000, 1000000], bn");
    run(&space, "train").exits(1).says(&["out of memory"]);
    space.replace(PIPELINE, "dense = [1000000, 1000000], bn", "dense = [8], bn");

    // A GPU that the machine's settings name and that is not there.
    space.write("tomograph.local.toml", "[devices]\ngpus = [\"7\"]\n");
    run(&space, "train").exits(1).says(&["there is no device `cuda:0`: this libtorch sees 0 CUDA devices"]);
    let output = space.run_args(&["run", PIPELINE, "--only", "train", "--cpu", "--json"]).success();
    assert_eq!(output.tasks("ran"), ["train[seed=1]"], "what came before is kept");
}

/// TensorBoard's own reader, which checks the checksums.
const READER: &str = r#"
import json, sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
found = {}
for name in ("train", "validation"):
    events = EventAccumulator(sys.argv[1] + "/" + name)
    events.Reload()
    found[name] = {tag: [[event.step, event.value] for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
print(json.dumps(found))
"#;

fn tensorboard_reads_a_history() {
    let space = study("learning_rate = 1e-4");
    run(&space, "train").success();
    space.run_args(&["export", PIPELINE, "train", "board", "--as", "tensorboard"]).success().says(&["board: 2 files"]);
    let mut reader = space.command("python3");
    reader.args(["-c", READER, "board"]).env("PYTHONPATH", crate::keras_packages().unwrap()).env("TF_CPP_MIN_LOG_LEVEL", "3");
    let read: serde_json::Value = serde_json::from_str(space.finish(&mut reader).success().stdout.trim()).unwrap();
    let history = Table::from_tsv(&exported(&space, "train.history", "history.tsv")).unwrap();
    for (column, text) in history.columns.iter().zip(&history.rows[0]).skip(1) {
        let (set, tag) = column.split_once('_').filter(|(set, _)| ["train", "validation"].contains(set)).unwrap_or(("train", column));
        let (value, expected) = (read[set][tag][0][1].as_f64().unwrap(), text.parse::<f64>().unwrap());
        assert!(read[set][tag][0][0] == 1 && (value - expected).abs() < 1e-6, "{column}: {read}");
    }
    assert!(read["train"]["images_per_second"][0][1].as_f64().unwrap() > 0.0, "{read}");
    let sidecar: serde_json::Value = serde_json::from_str(&space.read("board.tomograph.json")).unwrap();
    assert!(sidecar["files"].get("board/train/events.out.tfevents.tomograph").is_some(), "{sidecar}");
    space.run_args(&["export", PIPELINE, "train.model", "other", "--as", "tensorboard"]).exits(1).says(&["a history is one table"]);
}
