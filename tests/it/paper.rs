//! The pipelines that people are given, each run on made-up data of the layout it asks for.

use crate::space::{Output, Space};
use crate::sweep::{chest, drawn};
use libtest_mimic::Trial;
use ndarray::Array3;

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        the_small_sweep_goes_from_made_up_patients_to_the_tables,
        the_published_arrays_become_the_tables,
        pictures_and_labels_become_a_table
    ]
}

fn pipeline(space: &Space, name: &str) -> String {
    let path = format!("pipelines/{name}");
    space.write(&path, std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/").to_owned() + &path).unwrap());
    path
}

/// How many tasks of a stage ran.
fn ran(output: &Output, stage: &str) -> usize {
    output.tasks("ran").iter().filter(|task| task.split('[').next() == Some(stage)).count()
}

fn the_small_sweep_goes_from_made_up_patients_to_the_tables() {
    let space = Space::new();
    pipeline(&space, "base/sweep.toml");
    let small = pipeline(&space, "sweep-small.toml");
    let output = space.run_args(&["run", &small, "--json"]).success();
    assert_eq!((ran(&output, "train"), ran(&output, "test"), ran(&output, "control")), (66, 6, 6), "{}", output.text());
    let paper = space.read("results/sweep-small/tables/paper.md");
    for region in ["Region all: measured on the validation set", "Region lungs: measured on the validation set"] {
        let (_, table) = paper.split_once(region).unwrap();
        let rows = table.lines().skip_while(|line| !line.starts_with("|---")).skip(1).take_while(|line| line.starts_with('|'));
        assert_eq!(rows.count(), 10, "{paper}");
    }
    let page = space.read("results/sweep-small/report/report.html");
    assert!(page.contains("inceptionresnetv2") && page.contains("shortcut control"), "the page lacks a network or what controls say");
    assert!(space.run_args(&["run", &small, "--json"]).success().tasks("ran").is_empty());
}

/// Pictures of 32 by 32 with masks for the network for lungs, and the six arrays of a seed.
fn published() -> Space {
    let space = Space::new();
    for name in ["base/sweep.toml", "lungs.toml", "cov-caldas-npy.toml", "cov-caldas-as-published.toml"] {
        pipeline(&space, name);
    }
    let mut table = "file,mask,subject,view\n".to_owned();
    for other in 0..16 {
        table += &format!("{other}.png,m{other}.png,o{other},PA\n");
        space.write(format!("data/lungs/{other}.png"), chest(100 + other, false));
        space.write(format!("data/lungs/m{other}.png"), drawn(100 + other, |lung, _| if lung { 255 } else { 0 }));
    }
    space.write("data/lungs/manifest.csv", table);
    for (class, ill) in [("Neg", false), ("Pos", true)] {
        for (set, first) in [("Train", 0), ("Dev", 20), ("Test", 40)] {
            let images: Vec<image::GrayImage> =
                (first..first + 8).map(|number| image::load_from_memory(&chest(number, ill)).unwrap().to_luma8()).collect();
            let array = Array3::from_shape_fn((8, 32, 32), |(n, y, x)| u16::from(images[n].get_pixel(x as u32, y as u32).0[0]) * 257);
            let path = format!("data/cov-caldas/Seed1/X_{class}_{set}_224_Seed1.npy");
            space.write(&path, []);
            ndarray_npy::write_npy(space.path(path), &array).unwrap();
        }
    }
    let set = ["--set", "params.side=32", "--set", "params.filters=4", "--set", "stage.train.params.epochs=20"];
    let more = ["--set", "stage.train.params.learning_rate=0.01", "--set", "stage.train.params.dropout=[0.0,0.0]"];
    let run = [&["run", "pipelines/lungs.toml"][..], &set, &more, &["--publish"]].concat();
    space.run_args(&run).success();
    assert!(space.read("results/lungs.csv").starts_with("from,role,"));
    space
}

fn the_published_arrays_become_the_tables() {
    let space = published();
    let short =
        ["--axis", "seed=1", "--axis", "backbone=mobilenet,vgg16", "--set", "params.size=32", "--set", "stage.train.params.epochs=1"];
    let run = |pipeline: &str| {
        let pipeline = format!("pipelines/{pipeline}.toml");
        space.run_args(&[&["run", &pipeline][..], &short, &["--publish", "--json"]].concat()).success()
    };
    let honest = run("cov-caldas-npy");
    assert_eq!((ran(&honest, "train"), ran(&honest, "test")), (4, 2), "{}", honest.text());
    let table = space.read("results/cov-caldas-npy/table.csv");
    assert!(table.contains("vgg16,chosen,all,1,test,1,16,") && !table.contains("selected"), "{table}");
    let honest = space.read("results/cov-caldas-npy/tables/table.md");
    assert!(!honest.contains("selected on test"), "{honest}");

    // Other trainings, and marked for what they are.
    let published = run("cov-caldas-as-published");
    assert_eq!((ran(&published, "train"), ran(&published, "test_all")), (4, 4), "{}", published.text());
    assert!(published.text().contains("test images pick the epoch"));
    let told = space.read("results/cov-caldas-as-published/tables/table.md");
    assert!(told.contains("selected on test"), "{told}");
}

fn pictures_and_labels_become_a_table() {
    let space = Space::new();
    let own = pipeline(&space, "own-data.toml");
    let text = space.read(&own);
    let shown = include_str!("../../README.md").contains(text[text.find("[axes]").unwrap()..].trim_end());
    assert!(shown, "README.md shows another text than {own}");
    let mut table = "file,subject,label\n".to_owned();
    for patient in 0..20 {
        let ill = patient % 2 == 0;
        table += &format!("{patient}.png,p{patient},{}\n", if ill { "ill" } else { "well" });
        space.write(format!("data/pictures/{patient}.png"), chest(patient, ill));
    }
    space.write("data/pictures/labels.csv", table);
    let short = ["--axis", "seed=1", "--set", "stage.prepare.params.size=32", "--set", "stage.train.params.epochs=1", "--publish"];
    space.run_args(&[&["run", &own][..], &short].concat()).success();
    assert!(space.read("results/table.csv").lines().any(|line| line.starts_with("mobilenet,1,test,1,")));
    assert!(space.read("results/tables/table.md").contains("By image and by patient."));
}
