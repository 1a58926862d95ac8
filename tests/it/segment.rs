//! A U-Net that is trained, finds lungs, and is asked again only about images it has not seen.

use crate::space::{Output, Space, TOMOGRAPH};
use crate::study::png;
use libtest_mimic::Trial;
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use tomograph::table::Table;

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        the_lungs_of_phantoms_are_found_and_a_new_image_is_one_item,
        a_kill_in_the_middle_changes_no_bit_of_the_network,
        masks_that_fit_no_image_are_refused,
        images_without_a_mask_are_left_out_and_counted,
        models_that_are_no_network_for_lungs_are_refused,
    ]
}

/// Phantoms, and a network for them.
const PIPELINE: &str = r#"[pipeline]
name = "lungs"

[stage.phantom]
kind   = "demo.phantom"
params = { patients = 24, side = 64 }

[stage.studies]
kind   = "dicom.import"
inputs = { files = "phantom.files" }

[stage.images]
kind   = "dicom.render"
inputs = { studies = "studies" }

[stage.split]
kind   = "cohort.split"
inputs = { cohort = "images" }
params = { stratify = [] }

[stage.train]
kind   = "lungs.train"
inputs = { images = "images", masks = "phantom.masks", split = "split" }

[stage.train.params]
seed          = 1
side          = 48
filters       = 8
dropout       = [0.0, 0.1, 0.1]
epochs        = 25
batch         = 8
learning_rate = 3e-3
"#;

const USE: &str = r#"
[stage.segment]
kind   = "lungs.segment"
inputs = { images = "images", model = "train.model" }

[stage.evaluate]
kind    = "lungs.evaluate"
inputs  = { masks = "segment", truth = "phantom.masks", split = "split", images = "images" }
publish = { table = "overlap.tsv", figure = "sheet.svg" }
"#;

/// A pipeline that asks a network that is there about pictures.
const ASK: &str = r#"[pipeline]
name = "ask"

[source.pictures]
path = "pictures"
phi  = false

[source.net]
path = "net"
type = "model"
phi  = false

[stage.import]
kind   = "images.import"
inputs = { files = "pictures", table = "pictures/manifest.csv" }

[stage.segment]
kind   = "lungs.segment"
inputs = { images = "import", model = "net" }
"#;

fn export(space: &Space, pipeline: &str, reference: &str, folder: &str) {
    space.run_args(&["export", pipeline, reference, folder]).success();
}

fn items(output: &Output) -> (u64, u64) {
    let summary = output.summary();
    (summary["items_ran"].as_u64().unwrap(), summary["items_cached"].as_u64().unwrap())
}

fn the_lungs_of_phantoms_are_found_and_a_new_image_is_one_item() {
    let space = Space::new();
    space.write("lungs.toml", PIPELINE.to_owned() + USE);
    space.run("run lungs.toml").success();
    let overlap = Table::from_tsv(space.read("overlap.tsv").as_bytes()).unwrap();
    let dice: Vec<f64> = overlap.rows.iter().map(|row| row[overlap.column("dice").unwrap()].parse().unwrap()).collect();
    let mean = dice.iter().sum::<f64>() / dice.len() as f64;
    assert!(dice.len() > 4 && mean > 0.95, "a mean Dice of {mean}: {dice:?}");
    export(&space, "lungs.toml", "segment", "masks");
    let index = Table::from_tsv(space.read("masks/index.tsv").as_bytes()).unwrap();
    let columns = ["file", "width", "height", "confidence", "area", "components", "flags"].map(|name| index.column(name).unwrap());
    for row in &index.rows {
        let [file, width, height, confidence, area, parts, flags] = columns.map(|at| row[at].as_str());
        let mask = image::open(space.path("masks").join(file)).unwrap().to_luma8();
        assert_eq!((mask.width().to_string(), mask.height().to_string()), (width.to_owned(), height.to_owned()));
        let share = mask.pixels().filter(|pixel| pixel.0[0] == 255).count() as f64 / mask.pixels().len() as f64;
        assert!((share - area.parse::<f64>().unwrap()).abs() < 1e-4, "{file}: {share}, {area}");
        assert!((0.5..=1.0).contains(&confidence.parse::<f64>().unwrap()) && (parts == "2" || !flags.is_empty()), "{row:?}");
    }

    // The network meets pictures, one of them smaller than what its pooling leaves; one more picture is one item.
    export(&space, "lungs.toml", "train.model", "net");
    space.write("ask.toml", ASK);
    space.write("pictures/manifest.csv", "file\na.png\nb.png\ntiny.png\n");
    space.write("pictures/a.png", png(true, 1));
    space.write("pictures/b.png", png(true, 2));
    let mut tiny = std::io::Cursor::new(Vec::new());
    let picture = image::GrayImage::from_fn(3, 2, |x, y| image::Luma([(x + y) as u8]));
    picture.write_to(&mut tiny, image::ImageFormat::Png).unwrap();
    space.write("pictures/tiny.png", tiny.into_inner());
    assert_eq!(items(&space.run("run ask.toml --json").success()), (6, 0));
    export(&space, "ask.toml", "segment", "before");
    space.write("pictures/manifest.csv", "file\na.png\nb.png\nnew.png\ntiny.png\n");
    space.write("pictures/new.png", png(false, 3));
    assert_eq!(items(&space.run("run ask.toml --json").success()), (2, 6));
    export(&space, "ask.toml", "segment", "after");
    assert_eq!(std::fs::read(space.path("before/b.png")).unwrap(), std::fs::read(space.path("after/b.png")).unwrap());
}

fn a_kill_in_the_middle_changes_no_bit_of_the_network() {
    let space = || {
        let space = Space::new();
        let short = PIPELINE.replace("patients = 24", "patients = 8").replace("epochs        = 25", "epochs = 12");
        space.write("lungs.toml", short.replace("seed          = 1", "seed = 1\naugment = { rotate = 10, shift = 0.1 }"));
        space.write("tomograph.local.toml", "state_every = 0\n");
        space.run("run lungs.toml --only split").success();
        space
    };
    let network = |space: &Space| {
        export(space, "lungs.toml", "train.model", "net");
        export(space, "lungs.toml", "train.history", "history");
        ["net/model.safetensors", "net/model.json", "history/history.tsv"].map(|path| std::fs::read(space.path(path)).unwrap())
    };
    let undisturbed = space();
    undisturbed.run("run lungs.toml").success();
    let expected = network(&undisturbed);

    let again = space();
    let mut engine = again.command(TOMOGRAPH);
    engine.args(["run", "lungs.toml", "--json"]).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut engine = engine.spawn().unwrap();
    let lines = BufReader::new(engine.stdout.take().unwrap()).lines().map_while(Result::ok);
    let later = |line: &String| line.contains("\"train\"") && line.contains("/12 loss") && !line.contains("\"done\":1,");
    let in_the_middle = lines.into_iter().any(|line| later(&line));
    engine.kill().unwrap();
    engine.wait().unwrap();
    assert!(in_the_middle, "the training ended before it could be killed");
    assert_eq!(again.run("run lungs.toml --json").success().tasks("ran"), ["train"]);
    assert!(network(&again) == expected, "the network is not that of an undisturbed training");
}

/// A picture and the mask that a table names beside it, and a training on them that must fail.
fn refused(mask: &[u8], says: &[&str]) {
    let space = Space::new();
    let text = r#"[pipeline]
name = "bad"

[source.images]
path = "images"
type = "images"
phi  = false

[source.masks]
path = "masks"
type = "masks"
phi  = false

[source.split]
path = "split.csv"
phi  = false

[stage.train]
kind   = "lungs.train"
inputs = { images = "images", masks = "masks", split = "split" }
params = { seed = 1, side = 16, filters = 2, epochs = 1 }
"#;
    space.write("bad.toml", text);
    for (folder, bytes) in [("images", png(true, 1)), ("masks", mask.to_vec())] {
        space.write(format!("{folder}/index.tsv"), "item\tfile\tsubject\np1\tp1.png\tp1\n");
        space.write(format!("{folder}/p1.png"), bytes);
    }
    space.write("split.csv", "item,set\np1,train\n");
    space.run("run bad.toml").exits(1).says(says);
}

fn masks_that_fit_no_image_are_refused() {
    let mask = |side: u32, value: fn(u32) -> u8| {
        let mut bytes = std::io::Cursor::new(Vec::new());
        let picture = image::GrayImage::from_fn(side, side, |x, _| image::Luma([value(x)]));
        picture.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
        bytes.into_inner()
    };
    refused(&mask(16, |x| if x < 8 { 255 } else { 0 }), &["item p1", "the mask has 16 x 16 pixels, its image 32 x 32"]);
    refused(&mask(32, |_| 0), &["item p1", "the mask is empty"]);
    refused(&mask(32, |_| 255), &["item p1", "the mask is full"]);
    refused(&mask(32, |x| x as u8), &["item p1", "pixels of the mask are neither 0 nor 255"]);
    refused(&mask(32, |x| if x < 8 { 255 } else { 0 }), &["the split has no row of the set `validation`"]);
}

fn images_without_a_mask_are_left_out_and_counted() {
    let space = Space::new();
    let text = PIPELINE.split("[stage.phantom]").next().unwrap().to_owned()
        + r#"[source.pairs]
path = "pairs"
phi  = false

[stage.import]
kind   = "images.import"
inputs = { files = "pairs", table = "pairs/table.csv" }
params = { mask = ["mask"] }

[source.split]
path = "split.csv"
phi  = false

[stage.train]
kind   = "lungs.train"
inputs = { images = "import.images", masks = "import.masks", split = "split" }
params = { seed = 1, side = 16, filters = 2, dropout = [0.0, 0.0], epochs = 1, batch = 2 }
"#;
    space.write("lungs.toml", text);
    let (mut table, mut split) = ("item,file,mask\n".to_owned(), "item,set\n".to_owned());
    for at in 0..6 {
        space.write(format!("pairs/{at}.png"), crate::sweep::chest(at, false));
        space.write(format!("pairs/m{at}.png"), crate::sweep::drawn(at, |lung, _| if lung { 255 } else { 0 }));
        table += &format!("{at},{at}.png,{}\n", if at == 1 { String::new() } else { format!("m{at}.png") });
        split += &format!("{at},{}\n", if at < 4 { "train" } else { "validation" });
    }
    space.write("pairs/table.csv", &table);
    space.write("split.csv", split);
    space.run("run lungs.toml").success().says(&["1 rows of the set `train` have no image or no mask and are left out"]);
    // A name that is another image's: the same mask for two.
    space.write("pairs/table.csv", table.replace("m2.png", "m3.png"));
    space.run("run lungs.toml").exits(1).says(&["rows 3 and 4 name the same mask"]);
}

fn models_that_are_no_network_for_lungs_are_refused() {
    let space = Space::new();
    space.write("ask.toml", ASK);
    space.write("pictures/manifest.csv", "file\na.png\n");
    space.write("pictures/a.png", png(true, 1));
    let shape = r#"{"filters": 2, "down": [0.0, 0.0], "up": [0.0], "batch_norm": false}"#;
    let model = |architecture: &str, side: u32| {
        space.write(
            "net/model.json",
            format!(r#"{{"architecture": "{architecture}", "shape": {shape}, "side": {side}, "epoch": 1, "validation_dice": null}}"#),
        );
        space.run("run ask.toml").exits(1)
    };
    space.write("net/model.safetensors", "no tensors");
    model("classifier", 16).says(&["the model is a classifier, where a U-Net (of lungs.train) is wanted"]);
    model("unet", 15).says(&["a side of 15 is no multiple of 2"]);
    model("unet", 16).says(&["port `model`", "model.safetensors"]);
    // Numbers of a network for colour images: its first kernel is [2, 3, 3, 3], where one channel is wanted.
    let values = vec![0u8; (2 + 2 * 3 * 3 * 3) * 4];
    let header = r#"{"conv2d.bias":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},
        "conv2d.weight":{"dtype":"F32","shape":[2,3,3,3],"data_offsets":[8,224]}}"#;
    let file = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &values].concat();
    space.write("net/model.safetensors", file);
    model("unet", 16).says(&["port `model`: model.safetensors", "conv2d.weight", "[2, 3, 3, 3]", "[2, 1, 3, 3]"]);
    space.write("net/model.json", "{}");
    space.run("run ask.toml").exits(1).says(&["port `model`", "model.json"]);
}
