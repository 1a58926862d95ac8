//! What models are compared by, and that the clustered forms keep their promise where images of a patient are alike: simulated, since
//! nothing installs that computes them.

use super::*;
use crate::stats::Difference;
use crate::stats::bootstrap::Random;
use rayon::prelude::*;

/// Standard normal numbers (Box and Muller, 1958).
fn normal(random: &mut Random) -> f64 {
    let mut uniform = || (random.next() >> 11) as f64 / (1u64 << 53) as f64;
    (-2.0 * (1.0 - uniform()).ln()).sqrt() * (std::f64::consts::TAU * uniform()).cos()
}

/// Within-patient correlation of a model's scores.
const WITHIN: f64 = 0.6;
/// Correlation of the two models' scores of one image.
const BETWEEN: f64 = 0.5;
/// Images of a patient, 4.7 on average.
const IMAGES: [usize; 10] = [1, 2, 2, 3, 4, 5, 6, 7, 8, 9];

/// A study of `patients`, half of them ill, with one to nine images each. Scores of the ill lie higher by `effect` standard deviations; the
/// threshold is half way.
fn study(patients: usize, effect: [f64; 2], number: u32) -> Paired {
    let mut random = Random::of(11, number);
    let (mut subjects, mut positive, mut models) = (Vec::new(), Vec::new(), vec![Answers::default(); 2]);
    let both = |random: &mut Random| {
        let common = BETWEEN.sqrt() * normal(random);
        [(); 2].map(|()| common + (1.0 - BETWEEN).sqrt() * normal(random))
    };
    for patient in 0..patients {
        let ill = patient % 2 == 0;
        let own = both(&mut random);
        for _ in 0..IMAGES[random.below(IMAGES.len())] {
            subjects.push(format!("p{patient}"));
            positive.push(ill);
            let image = both(&mut random);
            for (at, model) in models.iter_mut().enumerate() {
                let score = f64::from(ill) * effect[at] + WITHIN.sqrt() * own[at] + (1.0 - WITHIN).sqrt() * image[at];
                model.decided.push(score > effect[at] / 2.0);
                model.scores.push(score);
            }
        }
    }
    Paired { clusters: Clusters::of(&subjects), positive, models }
}

/// The same images as if each were another patient.
fn apart(study: &Paired) -> Paired {
    Paired { clusters: Clusters::of(&vec![String::new(); study.positive.len()]), ..study.clone() }
}

/// Share of studies of which something holds.
fn share(studies: u32, effect: [f64; 2], holds: impl Fn(&Paired) -> bool + Sync) -> f64 {
    f64::from((0..studies).into_par_iter().map(|number| u32::from(holds(&study(120, effect, number)))).sum::<u32>()) / f64::from(studies)
}

fn covers((low, high): (f64, f64), value: f64) -> bool {
    low <= value && value <= high
}

fn areas(study: &Paired, own: &Clusters) -> Difference {
    obuchowski(&study.models[0].scores, &study.models[1].scores, &study.positive, own).unwrap()
}

#[test]
fn clustered_intervals_cover_as_often_as_they_say() {
    let effect = [1.4, 0.9];
    // AUC of two normal distributions with distance d: Φ(d / √2).
    let area = |effect: f64| 0.5 * libm::erfc(-effect / 2.0);
    let truth = area(effect[0]) - area(effect[1]);
    let clustered = share(2000, effect, |study| covers(areas(study, &study.clusters).interval(), truth));
    assert!((0.93..0.97).contains(&clustered), "{clustered}");
    let plain = share(2000, effect, |study| covers(areas(study, &apart(study).clusters).interval(), truth));
    println!("coverage of Obuchowski's interval {clustered}, of DeLong's {plain}");
    assert!((0.6..0.85).contains(&plain), "as if independent it covers too rarely: {plain}");
    let drawn = |what: Measured, truth: f64| {
        let holds = |study: &Paired| {
            let (_, pairs) = study.compare(what, &[(0, 1)], 250, 1);
            covers(pairs[0].difference.interval.unwrap(), truth)
        };
        let covered = share(800, effect, holds);
        println!("coverage of the interval of drawn patients, {what}: {covered}");
        assert!((0.93..0.97).contains(&covered), "{what}, drawn: {covered}");
    };
    drawn(Measured::Auc, truth);
    // Decisions half way are right with Φ(d / 2).
    let right = |effect: f64| 0.5 * libm::erfc(-effect / 2.0 / std::f64::consts::SQRT_2);
    drawn(Measured::Accuracy, right(effect[0]) - right(effect[1]));
}

#[test]
fn clustered_tests_are_wrong_as_rarely_as_they_say() {
    for what in [Measured::Auc, Measured::Accuracy, Measured::Sensitivity] {
        let found = |study: &Paired| study.test(what, &study.models[0], &study.models[1]).1.is_some_and(|p| p < 0.05);
        let clustered = share(2000, [1.2; 2], found);
        assert!((0.03..0.07).contains(&clustered), "{what}: {clustered}");
        let plain = share(2000, [1.2; 2], |study| found(&apart(study)));
        println!("size, {what}: {clustered}, as if independent {plain}");
        assert!(plain > 0.12, "{what}, as if independent, finds too often what is not there: {plain}");
    }
}

fn small() -> Paired {
    let names = ["a", "a", "b", "b", "b", "c", "d"].map(str::to_owned);
    let answers = |scores: [f64; 7]| Answers { scores: scores.to_vec(), decided: scores.iter().map(|score| *score > 0.5).collect() };
    Paired {
        clusters: Clusters::of(&names),
        positive: vec![true, true, false, false, false, true, false],
        models: vec![answers([0.9, 0.4, 0.1, 0.6, 0.2, 0.8, 0.3]), answers([0.7, 0.8, 0.6, 0.7, 0.2, 0.3, 0.1]), answers([0.5; 7])],
    }
}

#[test]
fn every_patient_counts_once_in_shares_of_decisions() {
    let (values, pairs) = small().compare(Measured::Accuracy, &[(1, 0)], 200, 1);
    // Of a, b, c, d the first has right 1/2, 2/3, 1, 1, the second 1, 1/3, 0, 1.
    assert!((values[0].value.unwrap() - (0.5 + 2.0 / 3.0 + 2.0) / 4.0).abs() < 1e-12, "{values:?}");
    assert!((pairs[0].difference.value.unwrap() + (-0.5 + 1.0 / 3.0 + 1.0) / 4.0).abs() < 1e-12, "{pairs:?}");
    assert_eq!(pairs[0].test, "Durkalski (clustered McNemar)");
    let (low, high) = pairs[0].difference.interval.unwrap();
    assert!(low < high && low <= pairs[0].difference.value.unwrap());
    assert_eq!(apart(&small()).compare(Measured::Accuracy, &[(1, 0)], 0, 1).1[0].test, "McNemar, exact");
    assert_eq!(small().counts(Measured::Auc, &small().clusters), Counts { rows: 7, clusters: 4, least: 2 });
    assert_eq!(small().counts(Measured::Sensitivity, &small().clusters), Counts { rows: 3, clusters: 2, least: 2 });
}

#[test]
fn what_is_undefined_is_none() {
    let one = |positive: bool| Paired { positive: vec![positive; 7], ..small() };
    let (values, pairs) = one(true).compare(Measured::Auc, &[(0, 1)], 100, 1);
    assert_eq!((values[0], pairs[0].difference, pairs[0].p), (Estimate::default(), Estimate::default(), None));
    assert_eq!(one(true).compare(Measured::Specificity, &[(0, 1)], 100, 1).1[0].p, None);
    assert!(one(true).compare(Measured::Sensitivity, &[(0, 1)], 100, 1).1[0].p.is_some());
    // A constant model has an AUC of one half, and can be compared.
    let (values, pairs) = small().compare(Measured::Auc, &[(0, 2)], 100, 1);
    assert!(values[2].value == Some(0.5) && pairs[0].p.is_some(), "{values:?} {pairs:?}");
    let alone = Paired { clusters: Clusters::of(&vec!["a".to_owned(); 7]), ..small() };
    let (values, pairs) = alone.compare(Measured::Auc, &[(0, 1)], 100, 1);
    assert!(values[0].value.is_some() && values[0].interval.is_none() && pairs[0].p.is_none(), "{values:?} {pairs:?}");
}
