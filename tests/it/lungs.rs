//! Masks of lungs: imported beside images, applied to them, held against others.

use crate::space::Space;
use crate::study::png;
use libtest_mimic::Trial;
use std::io::Cursor;

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        masks_come_with_their_images,
        an_import_without_masks_says_so,
        other_masks_touch_only_what_reads_them,
        images_whose_masks_are_in_quarantine_are_too,
        masks_are_held_against_each_other,
        phantoms_have_their_masks,
    ]
}

const PIPELINE: &str = r#"[pipeline]
name = "masks"

[source.raw]
path = "raw"
phi  = false

[stage.import]
kind   = "images.import"
inputs = { files = "raw", table = "raw/labels.csv" }
params = { mask = ["mask_left", "mask_right"] }
"#;

/// Two patients with two pictures each of 32 by 32; all but the last have two masks: 8 columns of 32 pixels each, 4 and 20 from the left.
fn space() -> Space {
    let space = Space::new();
    space.write("masks.toml", PIPELINE);
    let mut table = "file,subject,mask_left,mask_right\n".to_owned();
    for at in 0..4 {
        space.write(format!("raw/{at}.png"), png(at < 2, at));
        space.write(format!("raw/masks/{at}-l.png"), mask(32, 20 + at..28 + at));
        space.write(format!("raw/masks/{at}-r.png"), mask(32, 4..12));
        table += &match at {
            3 => "3.png,p1,,\n".to_owned(),
            _ => format!("{at}.png,p{},masks/{at}-l.png,masks/{at}-r.png\n", at / 2),
        };
    }
    space.write("raw/labels.csv", table);
    space
}

/// A square mask with these columns inside.
fn mask(side: u32, inside: std::ops::Range<u32>) -> Vec<u8> {
    let image = image::GrayImage::from_fn(side, side, |x, _| image::Luma([if inside.contains(&x) { 255 } else { 0 }]));
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

/// Items that ran, items that were cached.
fn run(space: &Space, what: &str) -> (u64, u64) {
    let summary = space.run(&format!("run masks.toml {what} --json")).success().summary();
    (summary["items_ran"].as_u64().unwrap(), summary["items_cached"].as_u64().unwrap())
}

/// A file of an output.
fn file(space: &Space, reference: &str, name: &str) -> Vec<u8> {
    let to = space.path("out");
    let _ = std::fs::remove_dir_all(&to);
    space.run(&format!("export masks.toml {reference} out")).success();
    std::fs::read(to.join(name)).unwrap()
}

fn text(space: &Space, reference: &str, name: &str) -> String {
    String::from_utf8(file(space, reference, name)).unwrap()
}

fn masks_come_with_their_images() {
    let space = space();
    let without = PIPELINE.replace("params = { mask = [\"mask_left\", \"mask_right\"] }\n", "");
    space.write("masks.toml", &without);
    assert_eq!(run(&space, ""), (4, 0));
    space.write("masks.toml", PIPELINE);
    space.run("run masks.toml").success().says(&["warning: import: 1 of 4 images have no mask", "1 ran"]);
    let index = text(&space, "import.masks", "index.tsv");
    let rows = "0.png\t0.png\tp0\t\t\t32\t32\n1.png\t1.png\tp0\t\t\t32\t32\n2.png\t2.png\tp1\t\t\t32\t32\n";
    assert_eq!(index, format!("item\tfile\tsubject\tsession\tview\twidth\theight\n{rows}"));
    let united = image::load_from_memory(&file(&space, "import.masks", "1.png")).unwrap().to_luma8();
    let inside: Vec<u32> = (0..32).filter(|x| united.get_pixel(*x, 9).0[0] == 255).collect();
    assert_eq!(inside, [4..12, 21..29].into_iter().flatten().collect::<Vec<u32>>());
    // One mask redrawn is one item; a mask that is bad takes its image aside.
    space.write("raw/masks/0-l.png", mask(32, 22..27));
    assert_eq!(run(&space, ""), (1, 3));
    space.write("raw/masks/0-l.png", mask(16, 5..9));
    space.run("run masks.toml").exits(1).says(&["1 mask (first: 0.png)"]);
    space.write("masks.toml", without);
    assert_eq!(run(&space, ""), (0, 4));
}

fn an_import_without_masks_says_so() {
    let space = space();
    let text = PIPELINE.replace("params = { mask = [\"mask_left\", \"mask_right\"] }\n", "");
    space.write("masks.toml", text + "\n[stage.copy]\ncommand = [\"cp\", \"-r\", \"{inputs.masks}/.\", \"{outputs.masks}\"]\ninputs = { masks = \"import.masks\" }\noutputs = { masks = \"masks\" }\n");
    space.run("run masks.toml").exits(2).says(&["stage `import` puts nothing into its output `masks`", "tomograph kinds images.import"]);
}

/// All of the image, and its lungs, by masks that a program stands in for.
const SWEEP: &str = r#"
[axes]
region = ["all", "lungs", "frame"]

[stage.segment]
command = ["sh", "-c", "cp -r $0/. $1; : $2", "{inputs.masks}", "{outputs.masks}", "x"]
inputs  = { masks = "import.masks" }
outputs = { masks = "masks" }

[stage.masked]
kind   = "images.mask"
over   = ["region"]
inputs = { images = "import.images", masks = "segment.masks" }
params = { keep = "{region}" }
policy = { max_quarantine = 1 }
"#;

fn other_masks_touch_only_what_reads_them() {
    let space = space();
    space.write("masks.toml", PIPELINE.to_owned() + SWEEP);
    // One of four images has no mask.
    let summary = space.run("run masks.toml --json").exits(3).summary();
    assert_eq!((summary["ran"].as_u64(), summary["items_ran"].as_u64()), (Some(5), Some(4 + 3 * 4)));
    space.run("quarantine masks.toml").success().says(&["3.png", "no-mask", "there is no mask for it"]);
    assert_eq!(file(&space, "masked[region=all]", "2.png"), file(&space, "import.images", "2.png"));
    assert!(text(&space, "masked[region=lungs]", "index.tsv").contains("\tlungs 50.0 %"));
    assert!(text(&space, "masked[region=frame]", "index.tsv").contains("3.png\t32\t32\tframe 3,3"));
    // Another segmentation: what keeps the whole image, or its frame, is cached in the plan, not later.
    space.replace("masks.toml", "\"x\"", "\"y\"");
    let objects = space.run("plan masks.toml --json").success().objects();
    let states: Vec<(&str, &str)> =
        objects.iter().filter_map(|object| Some((object["task"].as_str()?, object["state"].as_str()?))).collect();
    let wanted =
        [("masked[region=all]", "cached"), ("masked[region=frame]", "cached"), ("masked[region=lungs]", "later"), ("segment", "run")];
    assert!(wanted.iter().all(|one| states.contains(one)), "{states:?}");
    // It gave the same masks.
    assert_eq!(space.run("run masks.toml --json").exits(3).tasks("ran"), ["segment"]);
}

fn images_whose_masks_are_in_quarantine_are_too() {
    let space = space();
    let import = PIPELINE.replace("params = { mask", "policy = { max_quarantine = 1 }\nparams = { mask");
    let plain = "[stage.plain]\nkind = \"images.import\"\ninputs = { files = \"raw\", table = \"raw/labels.csv\" }\n";
    let masked = SWEEP.replace("import.images", "plain").replace("\"all\", \"lungs\", \"frame\"", "\"lungs\"");
    let masked = masked.replace("segment.masks", "import.masks");
    let (before, after) = masked.split_once("[stage.masked]").unwrap();
    let axes = before.split("[stage.segment]").next().unwrap();
    space.write("masks.toml", format!("{import}\n{plain}{axes}[stage.masked]{after}"));
    space.write("raw/masks/1-l.png", mask(16, 5..9));
    space.run("run masks.toml").exits(3);
    let index = text(&space, "masked[region=lungs]", "index.tsv");
    assert_eq!(index.lines().map(|line| line.split('\t').next().unwrap()).collect::<Vec<_>>(), ["item", "0.png", "2.png"]);
    let quarantine = text(&space, "masked[region=lungs]", "quarantine.tsv");
    assert!(quarantine.contains("1.png\timages.import\tmask\t") && quarantine.contains("3.png\timages.mask\tno-mask\t"), "{quarantine}");
}

fn masks_are_held_against_each_other() {
    let space = space();
    let stages = r#"
[source.other]
path = "other"
phi  = false

[stage.redrawn]
kind   = "images.import"
inputs = { files = "other", table = "other/labels.csv" }
params = { mask = ["mask"] }

[stage.overlap]
kind    = "lungs.evaluate"
inputs  = { masks = "redrawn.masks", truth = "import.masks", images = "import.images" }
publish = { figure = "results/sheet.svg", table = "results/overlap.tsv" }

[stage.table]
kind    = "report.table"
inputs  = { runs = { unet = "overlap.metrics" } }
publish = { table = "results/table.csv" }
"#;
    space.write("masks.toml", PIPELINE.to_owned() + stages);
    let mut table = "item,file,mask\n".to_owned();
    for at in 0..3 {
        space.write(format!("other/{at}.png"), png(true, 50 + at));
        space.write(format!("other/m{at}.png"), mask(32, 4..12 + 8 * (at + 1)));
        table += &format!("{at}.png,{at}.png,m{at}.png\n");
    }
    space.write("other/labels.csv", table);
    space.run("run masks.toml").success();
    // Drawn: 4–11 and 20–27 (0), 21–28 (1), 22–29 (2); predicted 4–19, 4–27, 4–35 (cut at 31).
    let rows: Vec<String> =
        space.read("results/overlap.tsv").lines().skip(1).map(|line| line.split('\t').take(3).collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(rows, ["0.png p0 0.500000", "2.png p1 0.727273", "1.png p0 0.750000"]);
    assert!(
        space.read("results/table.csv").contains("unet,all,1,3,0.659091,0.625000,0.727273,0.501587,"),
        "{}",
        space.read("results/table.csv")
    );
    assert!(space.read("results/sheet.svg").starts_with("<svg "));
}

fn phantoms_have_their_masks() {
    let space = Space::new();
    let pipeline = |patients: u32| {
        format!(
            r#"[pipeline]
name = "masks"

[stage.phantom]
kind   = "demo.phantom"
params = {{ patients = {patients}, side = 48 }}

[stage.studies]
kind   = "dicom.import"
inputs = {{ files = "phantom.files" }}

[stage.images]
kind   = "dicom.render"
inputs = {{ studies = "studies" }}

[stage.masked]
kind   = "images.mask"
inputs = {{ images = "images", masks = "phantom.masks" }}
params = {{ keep = "lungs" }}
"#
        )
    };
    space.write("masks.toml", pipeline(3));
    space.run("run masks.toml").success();
    let more = text(&space, "masked", "index.tsv");
    // A patient less changes nobody else, and no item runs.
    space.write("masks.toml", pipeline(2));
    let summary = space.run("run masks.toml --json").success().summary();
    assert_eq!(summary["items_ran"].as_u64(), Some(0));
    let fewer = text(&space, "masked", "index.tsv");
    assert!(fewer.lines().count() < more.lines().count() && fewer.lines().all(|line| more.lines().any(|other| other == line)));
}
