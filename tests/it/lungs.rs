//! Masks of lungs: imported beside images, applied to them, held against others.

use crate::space::Space;
use crate::study::png;
use libtest_mimic::Trial;
use std::io::Cursor;

pub(crate) fn trials() -> Vec<Trial> {
    trials![masks_come_with_their_images, an_import_without_masks_says_so]
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
    assert_eq!(run(&space, ""), (4, 0));
    let index = text(&space, "import.masks", "index.tsv");
    let rows = "0.png\t0.png\tp0\t\t\t32\t32\n1.png\t1.png\tp0\t\t\t32\t32\n2.png\t2.png\tp1\t\t\t32\t32\n";
    assert_eq!(index, format!("item\tfile\tsubject\tsession\tview\twidth\theight\n{rows}"));
    let united = image::load_from_memory(&file(&space, "import.masks", "1.png")).unwrap().to_luma8();
    let inside: Vec<u32> = (0..32).filter(|x| united.get_pixel(*x, 9).0[0] == 255).collect();
    assert_eq!(inside, [4..12, 21..29].into_iter().flatten().collect::<Vec<u32>>());
    space.run("log masks.toml import").success().says(&["1 of 4 images have no mask"]);
    // One mask redrawn is one item; a mask that is bad takes its image aside.
    space.write("raw/masks/0-l.png", mask(32, 22..27));
    assert_eq!(run(&space, ""), (1, 3));
    space.write("raw/masks/0-l.png", mask(16, 5..9));
    space.run("run masks.toml").exits(1).says(&["1 mask (first: 0.png)"]);
    space.write("masks.toml", without);
    assert_eq!(run(&space, ""), (0, 0));
}

fn an_import_without_masks_says_so() {
    let space = space();
    let text = PIPELINE.replace("params = { mask = [\"mask_left\", \"mask_right\"] }\n", "");
    space.write("masks.toml", text + "\n[stage.copy]\ncommand = [\"cp\", \"-r\", \"{inputs.masks}/.\", \"{outputs.masks}\"]\ninputs = { masks = \"import.masks\" }\noutputs = { masks = \"masks\" }\n");
    space.run("run masks.toml").exits(1).says(&["import put nothing into its output `masks`", "tomograph kinds"]);
}
