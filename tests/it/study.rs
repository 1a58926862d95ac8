//! A small study with a training in it: 24 made-up patients with two pictures each, split over two seeds.
//!
//! Pictures are 32 by 32, bright on the left of those who are well and on the right of those who are ill, with noise, so
//! that a few steps learn something.

use crate::space::Space;
use std::io::Cursor;

/// The pipeline's file.
pub(crate) const PIPELINE: &str = "study.toml";

const TEXT: &str = r#"[pipeline]
name = "study"

[axes]
seed = [1, 2]

[source.pictures]
path = "pictures"
phi  = false

[stage.import]
kind   = "images.import"
inputs = { files = "pictures", table = "pictures/manifest.csv" }

[stage.prepare]
kind   = "images.prepare"
inputs = { images = "import" }
params = { size = 32 }

[stage.cohort]
kind   = "cohort.label"
inputs = { index = "import" }

[stage.split]
kind   = "cohort.split"
over   = ["seed"]
inputs = { cohort = "cohort" }
params = { seed = "{seed}", train = 0.5, validation = 0.25, test = 0.25 }

[stage.pack]
kind   = "dataset.pack"
inputs = { images = "prepare", split = "split" }

[stage.train]
kind   = "classifier.train"
inputs = { train = "pack.train", validation = "pack.validation" }
params = { backbone = "mobilenet", seed = "{seed}", epochs = 3, batch = 8, learning_rate = 1e-4, dense = [8], bn_momentum = 0.5 }

[stage.evaluate]
kind   = "classifier.evaluate"
inputs = { model = "train", arrays = "pack.test" }

[stage.table]
kind    = "report.table"
inputs  = { runs = { cnn = "evaluate.metrics[*]" } }
publish = { table = "results/table.csv" }
"#;

/// A project with the pipeline, the pictures and their manifest.
pub(crate) fn space() -> Space {
    let space = Space::new();
    space.write(PIPELINE, TEXT);
    let mut manifest = "file,subject,view,label\n".to_owned();
    for patient in 0..24 {
        for picture in 0..2 {
            let (name, label) = (format!("p{patient:02}-{picture}.png"), if patient % 2 == 0 { "ill" } else { "well" });
            manifest += &format!("{name},p{patient:02},PA,{label}\n");
            space.write(format!("pictures/{name}"), png(patient % 2 == 0, patient * 2 + picture));
        }
    }
    space.write("pictures/manifest.csv", manifest);
    space
}

/// The same up to the packed arrays: no libtorch needed.
pub(crate) fn without_training() -> Space {
    let space = space();
    let text = space.read(PIPELINE);
    space.write(PIPELINE, text.split("[stage.train]").next().unwrap());
    space
}

/// A picture of somebody ill or well; another number, another noise.
pub(crate) fn png(ill: bool, number: u32) -> Vec<u8> {
    let mut state = number.wrapping_mul(2_654_435_761).wrapping_add(12345);
    let picture = image::GrayImage::from_fn(32, 32, |x, _| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let noise = (state >> 26) as u8;
        image::Luma([if (x >= 16) == ill { 160 + noise } else { 40 + noise }])
    });
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}
