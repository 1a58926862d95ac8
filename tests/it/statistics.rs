//! Figures and tests of statistics against SciPy, statsmodels and scikit-learn, as `scripts/statistics` installs them.
//!
//! `tests/parity/statistics.py` answers for them. The clustered forms, which none of them has, are simulated where they are.

use crate::Need;
use libtest_mimic::Trial;
use serde_json::{Value, json};
use std::io::Write as _;
use std::process::{Command, Stdio};
use tomograph::stats::{Answers, Clusters, Measured, Paired, delong, holm, mcnemar, obuchowski, resampled};

pub(crate) fn trials() -> Vec<Trial> {
    trials![comparisons_are_those_of_scipy_statsmodels_and_scikit_learn: [Need::Statistics]]
}

/// Numbers from 0 up to 1 that look drawn.
fn drawn(number: usize) -> f64 {
    let mut bits = (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    ((bits ^ (bits >> 27)) >> 40) as f64 / f64::from(1 << 24)
}

struct Case {
    first: Vec<f64>,
    second: Vec<f64>,
    positive: Vec<bool>,
    cluster: Vec<usize>,
}

/// Two models on rows of which up to `images` are of one patient; with few different scores where `coarse`.
fn case(number: usize, rows: usize, images: usize, coarse: bool) -> Case {
    let positive: Vec<bool> = (0..rows).map(|row| drawn(number * 7 + row / images) < 0.4).collect();
    let scores = |model: usize, skill: f64| {
        let score = |(row, positive): (usize, &bool)| {
            let score = skill * f64::from(*positive) + (1.0 - skill) * drawn(number * 1000 + model * 100_003 + row);
            if coarse { (score * 8.0).round() / 8.0 } else { score }
        };
        positive.iter().enumerate().map(score).collect()
    };
    Case { first: scores(1, 0.3), second: scores(2, 0.2), cluster: (0..rows).map(|row| row / images).collect(), positive }
}

fn ask(question: &Value) -> Value {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/parity/statistics.py");
    let mut command = Command::new("python3");
    command.arg(script).env("PYTHONPATH", crate::statistics_packages().unwrap()).env("PYTHONDONTWRITEBYTECODE", "1");
    let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    process.stdin.take().unwrap().write_all(question.to_string().as_bytes()).unwrap();
    let output = process.wait_with_output().unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

fn close(what: &str, found: f64, wanted: &Value) {
    let wanted = wanted.as_f64().unwrap();
    assert!((found - wanted).abs() < 1e-10, "{what}: {found}, not {wanted}");
}

fn comparisons_are_those_of_scipy_statsmodels_and_scikit_learn() {
    let cases: Vec<Case> = [(40, 1, false), (60, 1, true), (90, 3, false), (120, 5, true), (700, 4, false)]
        .into_iter()
        .enumerate()
        .map(|(number, (rows, images, coarse))| case(number, rows, images, coarse))
        .collect();
    let tables = [(0, 0), (0, 5), (1, 9), (12, 30), (3, 3), (700, 800)];
    let tests = [vec![0.01, 0.04, 0.03, 0.005], vec![0.9, 0.8], vec![0.02, 0.02, 0.5], vec![0.3]];
    let splits = [(vec![0.03, 0.05, 0.04], 0.2), (vec![-0.01, 0.02], 0.5), (vec![0.1, 0.2, 0.1, 0.05, 0.3, 0.2, 0.11], 0.19)];
    let answer = ask(&json!({
        "paired": cases.iter().map(|case| json!({
            "first": case.first, "second": case.second, "positive": case.positive, "cluster": case.cluster,
        })).collect::<Vec<_>>(),
        "mcnemar": tables,
        "holm": tests,
        "resampled": splits.iter().map(|(differences, share)| json!({ "differences": differences, "share": share })).collect::<Vec<_>>(),
    }));
    for (case, wanted) in cases.iter().zip(answer["paired"].as_array().unwrap()) {
        let found = delong(&case.first, &case.second, &case.positive).unwrap();
        let values = [found.value, found.se, found.p().unwrap()];
        values.into_iter().zip(wanted["delong"].as_array().unwrap()).for_each(|(found, wanted)| close("DeLong", found, wanted));
        let constant = vec![0.5; case.first.len()];
        close("AUC against one half", delong(&case.first, &constant, &case.positive).unwrap().p().unwrap(), &wanted["alone"]);
        let names: Vec<String> = case.cluster.iter().map(|cluster| format!("p{cluster}")).collect();
        let found = obuchowski(&case.first, &case.second, &case.positive, &Clusters::of(&names)).unwrap();
        close("Obuchowski", found.value, &wanted["obuchowski"][0]);
        close("Obuchowski, standard error", found.se, &wanted["obuchowski"][1]);
        let model = Answers { scores: case.first.clone(), decided: case.first.iter().map(|score| *score > 0.5).collect() };
        let clusters = Clusters::of(&vec![String::new(); names.len()]);
        let alone = Paired { clusters, positive: case.positive.clone(), models: vec![model] };
        for what in [Measured::Accuracy, Measured::Sensitivity, Measured::Specificity] {
            close(&what.to_string(), alone.compare(what, &[], 0, 1).0[0].value.unwrap(), &wanted[what.to_string()]);
        }
    }
    for ((first, second), wanted) in tables.into_iter().zip(answer["mcnemar"].as_array().unwrap()) {
        close("McNemar", mcnemar(first, second), wanted);
    }
    for (p, wanted) in tests.iter().zip(answer["holm"].as_array().unwrap()) {
        holm(p).into_iter().zip(wanted.as_array().unwrap()).for_each(|(found, wanted)| close("Holm", found, wanted));
    }
    for ((differences, share), wanted) in splits.iter().zip(answer["resampled"].as_array().unwrap()) {
        close("t", resampled(differences, 0.0).unwrap(), &wanted["plain"]);
        close("corrected t", resampled(differences, *share).unwrap(), &wanted["corrected"]);
    }
}
