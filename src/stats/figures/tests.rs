//! Figures by name against those of scikit-learn, and what is undefined.

use super::*;

const SCORES: [f64; 20] =
    [0.03, 0.11, 0.11, 0.19, 0.27, 0.34, 0.42, 0.42, 0.48, 0.5, 0.55, 0.61, 0.61, 0.68, 0.73, 0.81, 0.81, 0.86, 0.93, 0.97];
const TRUTH: [usize; 20] = [0, 0, 0, 1, 0, 0, 0, 1, 0, 1, 0, 1, 0, 1, 1, 0, 1, 1, 1, 1];

fn subjects(count: usize, images: usize) -> Vec<String> {
    (0..count).map(|row| format!("p{}", row / images)).collect()
}

fn two(scores: &[f64], truth: &[usize], subjects: &[String], prevalences: &[f64]) -> Evaluation {
    let clusters = Clusters::of(subjects);
    let mut made = Evaluation::new(&clusters);
    let scores: Vec<Vec<f64>> = scores.iter().map(|score| vec![1.0 - score, *score]).collect();
    made.add_classes(&Sample::of(&clusters, &scores, truth), 2, None, prevalences);
    made
}

fn figures(made: &Evaluation, draws: u32) -> Vec<Figure> {
    made.figures(draws, 1).remove(0).likelier
}

fn named<'f>(figures: &'f [Figure], name: &str) -> &'f Figure {
    figures.iter().find(|one| one.name == name).unwrap_or_else(|| panic!("{name} in {figures:?}"))
}

fn close(figures: &[Figure], wanted: &[(&str, f64)]) {
    for (name, wanted) in wanted {
        let found = named(figures, name).value.unwrap();
        assert!((found - wanted).abs() < 1e-7, "{name}: {found}, not {wanted}");
    }
}

#[test]
fn two_classes_are_those_of_scikit_learn() {
    // scikit-learn 1.9.1, with s = np.array(SCORES), y = np.array(TRUTH), d = s > 0.5, l = np.log(s / (1 - s)):
    // roc_auc_score(y, s); average_precision_score(y, s); brier_score_loss(y, s); f1_score(y, d); balanced_accuracy_score(y, d);
    // accuracy_score(y, d); precision_score(y, d); recall_score(y, d); recall_score(y, d, pos_label=0);
    // LogisticRegression(C=np.inf, tol=1e-12, solver="newton-cholesky").fit(l.reshape(-1, 1), y).coef_;
    // scipy.optimize.brentq(lambda a: (1 / (1 + np.exp(-l - a))).sum() - y.sum(), -10, 10, xtol=1e-14);
    // b = np.minimum(s * 10, 9).astype(int); sum(abs((y - s)[b == k].sum()) for k in range(10)) / 20;
    // se = sp = 0.7; p = 0.05; se * p / (se * p + (1 - sp) * (1 - p)); sp * (1 - p) / (sp * (1 - p) + (1 - se) * p)
    let wanted = [
        ("auc", 0.815),
        ("average_precision", 0.8226619132501486),
        ("brier", 0.17912500000000003),
        ("f1", 0.7),
        ("balanced_accuracy", 0.7),
        ("accuracy", 0.7),
        ("precision", 0.7),
        ("recall", 0.7),
        ("sensitivity", 0.7),
        ("specificity", 0.7),
        ("calibration_slope", 0.96712101),
        ("calibration_intercept", -0.1245010382729228),
        ("ece", 0.1275),
        ("ppv_prevalence_0.05", 0.109375),
        ("npv_prevalence_0.05", 0.9779411764705882),
    ];
    let figures = figures(&two(&SCORES, &TRUTH, &subjects(20, 2), &[0.05]), 400);
    close(&figures, &wanted);
    assert_eq!(figures.len(), wanted.len());
    for figure in &figures {
        let (low, high) = figure.low.zip(figure.high).unwrap();
        assert!(low < high && figure.n == 20, "{figure:?}");
    }
}

#[test]
fn more_classes_are_those_of_scikit_learn() {
    // S = np.array(scores), Y = np.array(truth), D = S.argmax(1): accuracy_score(Y, D); precision_score, recall_score and f1_score with
    // (Y, D, average="macro"); roc_auc_score(Y, S, multi_class="ovr").
    let scores = [
        [0.6, 0.3, 0.1],
        [0.2, 0.5, 0.3],
        [0.1, 0.2, 0.7],
        [0.4, 0.35, 0.25],
        [0.3, 0.3, 0.4],
        [0.5, 0.2, 0.3],
        [0.15, 0.65, 0.2],
        [0.2, 0.2, 0.6],
    ];
    let clusters = Clusters::of(&subjects(8, 1));
    let mut made = Evaluation::new(&clusters);
    made.add_classes(&Sample::of(&clusters, &scores.map(Vec::from), &[0, 1, 2, 1, 2, 0, 1, 0]), 3, Some(0.5), &[]);
    assert!(made.figures(0, 1)[0].at_threshold.is_none());
    let figures = figures(&made, 200);
    let wanted = [
        ("accuracy", 0.75),
        ("precision", 0.7777777777777777),
        ("recall", 0.7777777777777777),
        ("f1", 0.7555555555555555),
        ("auc", 0.9166666666666666),
    ];
    close(&figures, &wanted);
}

#[test]
fn labels_are_measured_where_they_are_known() {
    let clusters = Clusters::of(&vec![String::new(); 4]);
    let mut made = Evaluation::new(&clusters);
    let (yes, no) = (Some(true), Some(false));
    let truth = [vec![yes, None], vec![no, yes], vec![no, None], vec![yes, yes]];
    let scores = [vec![0.9, 0.1], vec![0.2, 0.9], vec![0.6, 0.4], vec![0.55, 0.3]];
    made.add_labels(&Sample::of(&clusters, &scores, &truth), &["edema".to_owned(), "mass".to_owned()]);
    let figures = figures(&made, 200);
    close(&figures, &[("accuracy", 4.0 / 6.0), ("auc", 0.75), ("auc_edema", 0.75), ("sensitivity_mass", 0.5)]);
    assert_eq!((named(&figures, "auc_mass").value, named(&figures, "auc_mass").n, named(&figures, "auc_edema").n), (None, 2, 4));
}

#[test]
fn images_of_one_patient_are_drawn_together() {
    let (scores, truth) = (SCORES.repeat(10), TRUTH.repeat(10));
    let width = |subjects: Vec<String>| {
        let figures = figures(&two(&scores, &truth, &subjects, &[]), 2000);
        let auc = named(&figures, "auc");
        auc.high.unwrap() - auc.low.unwrap()
    };
    // Patient n has the same image ten times over.
    let patients = (0..200).map(|row| format!("p{}", row % 20)).collect();
    let ratio = width(patients) / width(vec![String::new(); 200]);
    assert!((2.5..3.8).contains(&ratio), "about √10 times as wide, not {ratio}");
    let by = |subjects: &[&str]| {
        let made = Clusters::of(&subjects.iter().map(|&one| one.to_owned()).collect::<Vec<_>>());
        (made.count(), made.by())
    };
    assert_eq!((by(&["a", "", "a", ""]), by(&["", ""]), by(&[])), ((3, "subject"), (2, "image"), (0, "image")));
}

#[test]
fn one_class_a_constant_score_one_patient_and_nothing_are_no_panic() {
    let all = |scores: &[f64], truth: &[usize], subjects: &[String]| {
        let figures = figures(&two(scores, truth, subjects, &[0.1]), 200);
        let text = serde_json::to_string(&figures).unwrap();
        assert!(!text.contains("NaN"), "{text}");
        for one in &figures {
            assert!(one.value.is_some() || one.low.is_none(), "{one:?}");
            assert_eq!(one.low.is_some(), one.high.is_some());
        }
        figures
    };
    let none = |figures: &[Figure], names: &[&str]| {
        let found: Vec<&str> = figures.iter().filter(|one| one.value.is_none()).map(|one| one.name.as_str()).collect();
        assert_eq!(found, names);
    };
    let alone = all(&SCORES, &[1; 20], &subjects(20, 1));
    let undefined = ["specificity", "balanced_accuracy", "ppv_prevalence_0.1", "npv_prevalence_0.1", "auc"];
    none(&alone, &[&undefined[..], &["calibration_intercept", "calibration_slope"]].concat());
    let constant = all(&[0.5; 20], &TRUTH, &subjects(20, 1));
    none(&constant, &["precision", "ppv_prevalence_0.1", "calibration_slope"]);
    assert_eq!((named(&constant, "auc").value, named(&constant, "auc").low), (Some(0.5), Some(0.5)));
    let patient = all(&SCORES, &TRUTH, &subjects(20, 20));
    none(&patient, &[]);
    assert!(patient.iter().all(|one| one.low.is_none()));
    assert!(all(&[], &[], &[]).iter().all(|one| one.value.is_none()));
    // A perfect order has no line of calibration, but an AUC.
    let perfect = all(&[0.1, 0.2, 0.8, 0.9], &[0, 0, 1, 1], &subjects(4, 1));
    none(&perfect, &["calibration_slope"]);
    // Certain scores, as of a network that is sure.
    none(&all(&[0.0, 1.0, 0.0, 1.0, 1.0], &[0, 1, 1, 0, 1], &subjects(5, 1)), &[]);
}

#[test]
fn decisions_at_a_threshold_stand_beside_those_at_the_likelier_class() {
    let clusters = Clusters::of(&subjects(20, 2));
    let scores: Vec<Vec<f64>> = SCORES.iter().map(|score| vec![1.0 - score, *score]).collect();
    let mut made = Evaluation::new(&clusters);
    made.add_classes(&Sample::of(&clusters, &scores, &TRUTH), 2, Some(0.42), &[0.1]);
    let found = made.figures(200, 1).remove(0);
    let (usual, at) = (found.likelier, found.at_threshold.unwrap());
    let names = |figures: &[Figure]| figures.iter().map(|one| one.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&usual), names(&at));
    // At least 0.42 have nine of the ten ill, and five of the ten well.
    close(&at, &[("sensitivity", 0.9), ("specificity", 0.5), ("accuracy", 0.7)]);
    assert_eq!((named(&usual, "auc"), named(&usual, "brier")), (named(&at, "auc"), named(&at, "brier")));
    let again = two(&SCORES, &TRUTH, &subjects(20, 2), &[0.1]);
    assert_eq!(usual, figures(&again, 200), "the draws are the same");
}
