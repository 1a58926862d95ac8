//! `pipelines/demo.toml`, as `make demo` runs it: from made-up DICOM to a table, with a network that has learnt something.

use crate::space::Space;
use libtest_mimic::Trial;
use std::time::Instant;
use tomograph::table::Table;

pub(crate) fn trials() -> Vec<Trial> {
    trials![the_demo_learns_and_then_has_nothing_to_do]
}

fn the_demo_learns_and_then_has_nothing_to_do() {
    let space = Space::new();
    space.write("pipelines/demo.toml", include_str!("../../pipelines/demo.toml"));
    let start = Instant::now();
    let output = space.run("run pipelines/demo.toml --json").success();
    assert_eq!(output.summary()["failed"], 0, "{}", output.text());
    println!("the demo took {:.0} s", start.elapsed().as_secs_f64());

    let table = Table::from_delimited(space.read("results/demo.csv").as_bytes()).unwrap();
    let aucs = column(&table, "auc");
    assert_eq!(aucs.len(), 2, "a row per seed: {table:?}");
    assert!(aucs.iter().all(|auc| *auc > 0.9 && *auc <= 1.0), "the demo must learn: AUC {aucs:?}");

    let again = space.run("run pipelines/demo.toml --json").success();
    assert_eq!((again.summary()["ran"].as_u64(), again.summary()["cached"].as_u64()), (Some(0), Some(15)), "{}", again.text());
}

/// A column's figures in the rows of single runs; mean and deviation follow these.
fn column(table: &Table, name: &str) -> Vec<f64> {
    let (at, seed) = (table.column(name).unwrap(), table.column("seed").unwrap());
    table
        .rows
        .iter()
        .filter(|row| row[seed].parse::<u64>().is_ok())
        .map(|row| row[at].parse().unwrap_or_else(|error| panic!("{name} {:?}: {error}", row[at])))
        .collect()
}
