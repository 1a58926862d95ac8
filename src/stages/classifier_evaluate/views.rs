//! What is measured of scores beside all images at the likelier class: patients, another threshold, subgroups.
//!
//! Knows nothing of networks or files.

use super::{ClassifierEvaluate, Group, Thresholds};
use crate::stats::{Clusters, Evaluation, Figure, PerPatient, Sample};
use anyhow::{Context as _, Result, anyhow};
use serde::Serialize;

/// Images with a score per class or label, by row.
pub struct Scored<'s> {
    pub scores: &'s [Vec<f64>],
    pub truth: Truth,
    /// Subject of each row, empty where unknown.
    pub subjects: &'s [String],
    /// Names of the classes or labels.
    pub classes: &'s [String],
}

/// What is true of each image.
pub enum Truth {
    /// Its class.
    Classes(Vec<usize>),
    /// Whether each label holds, none where nobody knows.
    Labels(Vec<Vec<Option<bool>>>),
}

/// Figures of images or patients, of all or of a subgroup, by what a rule decides.
#[derive(Clone, Debug, Serialize)]
pub struct View {
    /// `image` or `patient`.
    pub unit: &'static str,
    /// How the scores of a patient's images became one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patient: Option<PerPatient>,
    /// `fixed` (0.5), `likelier` (of more than two classes) or `validation`.
    pub cut: &'static str,
    /// The positive class's score that decides; none of more than two classes.
    pub threshold: Option<f64>,
    /// Of which rows; none for all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<Name>,
    /// Images or patients.
    pub n: usize,
    /// Subjects, or images where none is known.
    pub clusters: usize,
    /// How many of them have an image of each class; empty of labels.
    pub clusters_of_class: Vec<u64>,
    pub metrics: Vec<Figure>,
    /// `[truth][decision]`; empty of labels.
    pub confusion: Vec<Vec<u64>>,
}

/// A subgroup's name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Name {
    pub column: String,
    /// Empty where unknown.
    pub value: String,
}

/// All that is measured.
pub struct Views {
    /// What was drawn for the intervals, and how many there are.
    pub clustered_by: &'static str,
    pub clusters: usize,
    /// All images at the likelier class.
    pub whole: View,
    /// The others.
    pub rest: Vec<View>,
}

/// Rows of which figures are taken, and what they are.
struct Seen<'g, T> {
    group: Option<&'g Group>,
    patient: Option<PerPatient>,
    threshold: Option<f64>,
    sample: Sample<T>,
}

impl ClassifierEvaluate {
    /// Measures everything that is asked for, in as many threads as the pool it is called in has. Without a subject nothing is per patient.
    pub fn measure(&self, scored: &Scored, thresholds: &Thresholds, groups: &[Group]) -> Result<Views> {
        let clusters = Clusters::of(scored.subjects);
        let views = match &scored.truth {
            Truth::Classes(truth) => self.views(&clusters, scored, truth, thresholds, groups),
            Truth::Labels(truth) => self.views(&clusters, scored, truth, thresholds, groups),
        };
        let mut views = views?.into_iter();
        let whole = views.next().context("nothing was measured")?;
        Ok(Views { clustered_by: clusters.by(), clusters: clusters.count(), whole, rest: views.collect() })
    }

    fn views<T: Measurable>(
        &self,
        clusters: &Clusters,
        scored: &Scored,
        truth: &[T],
        thresholds: &Thresholds,
        groups: &[Group],
    ) -> Result<Vec<View>> {
        let (classes, all) = (scored.classes, Sample::of(clusters, scored.scores, truth));
        let mut evaluation = Evaluation::new(clusters);
        let mut seen: Vec<Seen<T>> = Vec::new();
        for group in std::iter::once(None).chain(groups.iter().map(Some)) {
            let images = group.map_or_else(|| all.clone(), |group| all.only(&group.rows));
            let patients = self.patient.filter(|_| clusters.are_subjects());
            let patients = patients.map(|how| T::per_patient(&images, how).map_err(mixed)).transpose()?;
            seen.push(Seen { group, patient: None, threshold: thresholds.image, sample: images });
            seen.extend(patients.map(|sample| Seen { group, patient: self.patient, threshold: thresholds.patient, sample }));
        }
        for Seen { threshold, sample, .. } in &seen {
            T::add(&mut evaluation, sample, classes, threshold.filter(|_| classes.len() == 2), &self.prevalences);
        }
        let figures = evaluation.figures(self.draws, self.bootstrap_seed);
        let views = seen.iter().zip(figures).flat_map(|(Seen { group, patient, threshold, sample }, figures)| {
            let (cut, fixed) = T::usual(classes.len());
            let view = |cut, threshold: Option<f64>, metrics| View {
                unit: if patient.is_some() { "patient" } else { "image" },
                patient: *patient,
                cut,
                threshold,
                group: group.map(|group| group.name.clone()),
                n: sample.rows(),
                clusters: sample.clusters(),
                clusters_of_class: T::clusters_of_class(sample, classes.len()),
                metrics,
                confusion: T::confusion(sample, classes.len(), threshold.filter(|_| cut == VALIDATION)),
            };
            let usual = view(cut, fixed, figures.likelier);
            std::iter::once(usual).chain(figures.at_threshold.map(|metrics| view(VALIDATION, *threshold, metrics))).collect::<Vec<_>>()
        });
        Ok(views.collect())
    }
}

fn mixed(patients: usize) -> anyhow::Error {
    let who = if patients == 1 { "1 patient has".to_owned() } else { format!("{patients} patients have") };
    anyhow!("param `patient`: {who} images of several classes, so that no class is theirs; correct the labels, or leave `patient` out")
}

const VALIDATION: &str = "validation";

/// What is true of a row, of classes or of labels.
trait Measurable: Clone {
    /// Else how many patients have images of several classes.
    fn per_patient(sample: &Sample<Self>, how: PerPatient) -> Result<Sample<Self>, usize>;
    fn add(evaluation: &mut Evaluation, sample: &Sample<Self>, names: &[String], threshold: Option<f64>, prevalences: &[f64]);
    /// The rule where no threshold arrives, and its threshold.
    fn usual(classes: usize) -> (&'static str, Option<f64>);
    fn clusters_of_class(sample: &Sample<Self>, classes: usize) -> Vec<u64>;
    fn confusion(sample: &Sample<Self>, classes: usize, threshold: Option<f64>) -> Vec<Vec<u64>>;
}

impl Measurable for usize {
    fn per_patient(sample: &Sample<Self>, how: PerPatient) -> Result<Sample<Self>, usize> {
        sample.per_patient(how)
    }

    fn add(evaluation: &mut Evaluation, sample: &Sample<Self>, names: &[String], threshold: Option<f64>, prevalences: &[f64]) {
        evaluation.add_classes(sample, names.len(), threshold, prevalences);
    }

    fn usual(classes: usize) -> (&'static str, Option<f64>) {
        if classes == 2 { ("fixed", Some(0.5)) } else { ("likelier", None) }
    }

    fn clusters_of_class(sample: &Sample<Self>, classes: usize) -> Vec<u64> {
        sample.clusters_of_class(classes)
    }

    fn confusion(sample: &Sample<Self>, classes: usize, threshold: Option<f64>) -> Vec<Vec<u64>> {
        sample.confusion(classes, threshold).counts
    }
}

impl Measurable for Vec<Option<bool>> {
    fn per_patient(sample: &Sample<Self>, how: PerPatient) -> Result<Sample<Self>, usize> {
        Ok(sample.per_patient(how))
    }

    fn add(evaluation: &mut Evaluation, sample: &Sample<Self>, names: &[String], _: Option<f64>, _: &[f64]) {
        evaluation.add_labels(sample, names);
    }

    fn usual(_: usize) -> (&'static str, Option<f64>) {
        ("fixed", Some(0.5))
    }

    fn clusters_of_class(_: &Sample<Self>, _: usize) -> Vec<u64> {
        Vec::new()
    }

    fn confusion(_: &Sample<Self>, _: usize, _: Option<f64>) -> Vec<Vec<u64>> {
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stages::testing::params;

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|&text| text.to_owned()).collect()
    }

    fn value(view: &View, name: &str) -> Option<f64> {
        view.metrics.iter().find(|one| one.name == name).unwrap_or_else(|| panic!("{name} in {view:?}")).value
    }

    /// Four patients, two of them ill, with two images each.
    fn views(toml: &str, thresholds: &Thresholds, groups: &[Group]) -> Vec<View> {
        let scores: Vec<Vec<f64>> = [0.9, 0.5, 0.6, 0.4, 0.2, 0.6, 0.1, 0.1].iter().map(|score| vec![1.0 - score, *score]).collect();
        let subjects = texts(&["a", "a", "b", "b", "c", "c", "d", "d"]);
        let classes = texts(&["well", "ill"]);
        let truth = Truth::Classes(vec![1, 1, 1, 1, 0, 0, 0, 0]);
        let scored = Scored { scores: &scores, truth, subjects: &subjects, classes: &classes };
        let found = params::<ClassifierEvaluate>(toml).measure(&scored, thresholds, groups).unwrap();
        assert_eq!((found.clustered_by, found.clusters), ("subject", 4));
        std::iter::once(found.whole).chain(found.rest).collect()
    }

    #[test]
    fn images_and_patients_are_decided_at_both_thresholds() {
        let thresholds = Thresholds { image: Some(0.4), patient: Some(0.45) };
        let found = views("patient = 'mean'\ndraws = 200", &thresholds, &[]);
        let told: Vec<(&str, &str, Option<f64>, usize)> = found.iter().map(|one| (one.unit, one.cut, one.threshold, one.n)).collect();
        let wanted = [
            ("image", "fixed", Some(0.5), 8),
            ("image", "validation", Some(0.4), 8),
            ("patient", "fixed", Some(0.5), 4),
            ("patient", "validation", Some(0.45), 4),
        ];
        assert_eq!(told, wanted);
        let of = |name: &str| found.iter().map(|view| value(view, name).unwrap()).collect::<Vec<f64>>();
        // Above 0.5 two of four images of the ill, at least 0.4 all; the patients have 0.7, 0.5, 0.4 and 0.1.
        assert_eq!(of("sensitivity"), [0.5, 1.0, 0.5, 1.0]);
        assert_eq!(of("specificity"), [0.75, 0.75, 1.0, 1.0]);
        assert_eq!(of("auc")[2..], [1.0, 1.0]);
        assert_eq!(found[3].confusion, [[2, 0], [0, 2]]);
        assert!(found.iter().all(|view| view.metrics.iter().all(|one| one.n == view.n as u64 && view.clusters == 4)));
        let highest = views("patient = 'max'\ndraws = 0", &Thresholds::default(), &[]);
        assert_eq!((highest.len(), value(&highest[1], "specificity")), (2, Some(0.5)));
    }

    #[test]
    fn a_subgroup_is_its_images_and_the_patients_they_are_of() {
        let group = |value: &str, rows: [u8; 8]| {
            let name = Name { column: "view".to_owned(), value: value.to_owned() };
            Group { name, rows: rows.map(|one| one == 1).to_vec() }
        };
        // One image of c alone, and all of nobody ill.
        let groups = [group("PA", [1, 0, 1, 0, 1, 0, 1, 0]), group("AP", [0, 0, 0, 0, 0, 1, 0, 0])];
        let found = views("patient = 'mean'\ndraws = 200", &Thresholds::default(), &groups);
        let told: Vec<(Option<&str>, &str, usize, usize)> =
            found.iter().map(|one| (one.group.as_ref().map(|name| name.value.as_str()), one.unit, one.n, one.clusters)).collect();
        assert_eq!(
            told[2..],
            [(Some("PA"), "image", 4, 4), (Some("PA"), "patient", 4, 4), (Some("AP"), "image", 1, 1), (Some("AP"), "patient", 1, 1)]
        );
        assert_eq!((value(&found[2], "accuracy"), &found[2].clusters_of_class[..]), (Some(1.0), &[2, 2][..]));
        assert_eq!((value(&found[4], "auc"), value(&found[4], "accuracy")), (None, Some(0.0)));
        assert!(found[4].metrics.iter().all(|one| one.low.is_none()), "one patient has no interval");
    }

    #[test]
    fn without_a_subject_nothing_is_per_patient() {
        let (scores, classes) = (vec![vec![0.2, 0.8], vec![0.7, 0.3]], texts(&["well", "ill"]));
        let subjects = texts(&["", ""]);
        let scored = Scored { scores: &scores, truth: Truth::Classes(vec![1, 0]), subjects: &subjects, classes: &classes };
        let found = params::<ClassifierEvaluate>("patient = 'mean'").measure(&scored, &Thresholds::default(), &[]).unwrap();
        assert_eq!((found.clustered_by, found.rest.len()), ("image", 0));
        let labels = Truth::Labels(vec![vec![Some(true), None], vec![Some(false), Some(true)]]);
        let subjects = texts(&["a", "a"]);
        let scored = Scored { scores: &scores, truth: labels, subjects: &subjects, classes: &classes };
        let found = params::<ClassifierEvaluate>("patient = 'max'").measure(&scored, &Thresholds::default(), &[]).unwrap();
        assert_eq!((found.rest.len(), found.rest[0].n, found.rest[0].cut), (1, 1, "fixed"));
        assert_eq!(value(&found.rest[0], "sensitivity_well"), Some(1.0));
    }
}
