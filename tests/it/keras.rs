//! Every backbone against Keras itself: random weights in both of its layouts, features within 1e-4 of their scale.
//!
//! `tests/parity/keras_models.py` builds the networks, one at a time; while this compares one, the next is being built.

use crate::Need;
use crate::space::Space;
use libtest_mimic::Trial;
use ndarray::Array2;
use ndarray_npy::read_npy;
use serde::Deserialize;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use tomograph::stages::backbones::{BACKBONES, BackboneFacts};

pub(crate) fn trials() -> Vec<Trial> {
    trials![every_backbone_gives_the_features_of_keras: [Need::Keras]]
}

/// Greatest difference, as a share of the greatest value.
const TOLERANCE: f32 = 1e-4;

/// Files beyond the two layouts, for backbones where they can go wrong in their own way.
const EXTRA: &[(&str, &[&str])] = &[
    ("mobilenet", &["top", "keras", "old"]),
    ("xception", &["top", "keras", "old"]),
    ("inceptionv3", &["top", "old"]),
    ("nasnetmobile", &["top"]),
    ("efficientnetb0", &["top", "imagenet", "old"]),
];

/// A Python process that builds networks.
struct Keras {
    process: Child,
    ask: ChildStdin,
    answers: BufReader<ChildStdout>,
    log: PathBuf,
}

#[derive(Deserialize)]
struct Answer {
    parameters: u64,
    features: u32,
    /// Whether Keras refuses images a pixel smaller than the least we allow.
    least: bool,
}

impl Keras {
    /// `log` takes what it says.
    fn start(log: PathBuf) -> Self {
        let packages = crate::keras_packages().unwrap();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/parity/keras_models.py");
        let mut command = Command::new("python3");
        command.arg(script).env("PYTHONPATH", packages).env("PYTHONDONTWRITEBYTECODE", "1");
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(File::create(&log).unwrap()).spawn().unwrap();
        let (ask, answers) = (process.stdin.take().unwrap(), BufReader::new(process.stdout.take().unwrap()));
        Self { process, ask, answers, log }
    }

    fn ask(&mut self, facts: &BackboneFacts, folder: &Path) {
        std::fs::create_dir(folder).unwrap();
        let least = facts.min_side;
        let extra = EXTRA.iter().find(|(name, _)| *name == facts.name).map_or(&[][..], |(_, extra)| *extra);
        // The smallest, and neither square nor even.
        let sides = [[least, least], [least + 43, least + 10]];
        let request = serde_json::json!({ "name": facts.name, "least": least, "sides": sides, "folder": folder, "extra": extra });
        writeln!(self.ask, "{request}").unwrap();
    }

    fn answer(&mut self) -> Answer {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        assert!(!line.is_empty(), "Keras ended before its answer:\n{}", std::fs::read_to_string(&self.log).unwrap());
        serde_json::from_str(&line).unwrap()
    }
}

impl Drop for Keras {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn every_backbone_gives_the_features_of_keras() {
    let space = Space::new();
    let mut keras = Keras::start(space.path("keras.log"));
    let folder = |facts: &BackboneFacts| space.path(facts.name);
    keras.ask(&BACKBONES[0], &folder(&BACKBONES[0]));
    let mut wrong = Vec::new();
    for (place, facts) in BACKBONES.iter().enumerate() {
        let answer = keras.answer();
        if let Some(next) = BACKBONES.get(place + 1) {
            keras.ask(next, &folder(next));
        }
        let name = facts.name;
        if (answer.parameters, answer.features, answer.least) != (facts.parameters, facts.features, true) {
            wrong.push(format!("{name}: Keras has {} parameters and {} features", answer.parameters, answer.features));
        }
        let mut compare = |weights: &str, images: &str, expected: &str, more: &[&str]| {
            if folder(facts).join(expected).exists() && folder(facts).join(weights).exists() {
                wrong.extend(differs(&space, name, [weights, images, expected], more));
            }
        };
        for weights in ["legacy.h5", "v3.weights.h5"] {
            compare(weights, "x0.npy", "f0.npy", &[]);
            compare(weights, "x1.npy", "f1.npy", &[]);
        }
        for weights in ["old.h5", "model.keras"] {
            compare(weights, "x0.npy", "f0.npy", &[]);
        }
        compare("top.h5", "x0.npy", "p0.npy", &["--top"]);
        compare("imagenet.h5", "x0.npy", "i0.npy", &[]);
        std::fs::remove_dir_all(folder(facts)).unwrap();
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

/// What `tomograph features` gives, where it is not what Keras gave.
fn differs(space: &Space, name: &str, [weights, images, expected]: [&str; 3], more: &[&str]) -> Option<String> {
    let file = |file: &str| format!("{name}/{file}");
    let (weights, images) = (file(weights), file(images));
    let mut arguments = vec!["features", name, "--weights", &weights, "--input", &images, "--output", "found.npy"];
    arguments.extend(more);
    space.run_args(&arguments).success();
    let found: Array2<f32> = read_npy(space.path("found.npy")).unwrap();
    let keras: Array2<f32> = read_npy(space.path(file(expected))).unwrap();
    let scale = keras.iter().fold(0f32, |most, value| most.max(value.abs()));
    let apart = match found.dim() == keras.dim() {
        true => found.iter().zip(&keras).fold(0f32, |most, (a, b)| most.max((a - b).abs())),
        false => f32::INFINITY,
    };
    // Neither may be all zeros, nor may one be no number.
    let same = scale > 1e-4 && found.iter().all(|value| value.is_finite()) && apart <= TOLERANCE * scale;
    (!same)
        .then(|| format!("{weights} on {images}: {apart} apart, where the greatest value is {scale}; {:?}, {:?}", found.dim(), keras.dim()))
}
