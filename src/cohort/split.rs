//! Splits: puts whole patients into train, validation and test.
//!
//! In each stratum patients stand in the order of a keyed hash of their own id, and the order is cut in two places, where the images come
//! closest to the fractions. So a place depends on no file order, and when a patient leaves only those next to a cut can move.

use super::each_item_once;
use crate::content::Quoting;
use crate::table::Table;
use anyhow::{Context as _, Result, bail, ensure};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

/// The sets, in the order of [`Fractions`].
pub const SETS: [&str; 3] = ["train", "validation", "test"];

/// Shares of the images, for each of [`SETS`]; they sum to 1. A set with 0 gets nobody new.
pub type Fractions = [f64; 3];

/// A split cohort.
#[derive(Debug)]
pub struct Placed {
    /// The cohort with the column `set` at its end, sorted by item.
    pub split: Table,
    /// How many patients have their set from the previous split.
    pub kept: usize,
}

/// A patient on the way to a set.
struct Patient<'a> {
    subject: &'a str,
    rank: [u8; 32],
    images: usize,
    /// Index into [`SETS`], from the previous split.
    kept: Option<usize>,
    labels: BTreeSet<&'a str>,
    /// Values of the stratifying columns over all images.
    stratum: BTreeSet<Vec<&'a str>>,
}

/// Splits a cohort (item, subject, and label where there are classes). `stratify`: columns whose values are spread evenly. `previous` (subject, or else item, and set)
/// keeps everybody who is in it where they are. Fails where a set that should have images lacks a class.
pub fn place(cohort: &Table, previous: Option<&Table>, seed: u64, fractions: Fractions, stratify: &[String]) -> Result<Placed> {
    let at_item = each_item_once(cohort, "the cohort")?;
    let patients = patients(cohort, previous, seed, stratify)?;
    ensure!(!patients.is_empty(), "the cohort has no rows");
    let mut sets: BTreeMap<&str, usize> = patients.iter().filter_map(|one| Some((one.subject, one.kept?))).collect();
    let kept = sets.len();
    for group in groups(&patients, fractions) {
        sets.extend(cut(group, fractions));
    }
    check_classes(&patients, &sets, fractions)?;

    let at_subject = cohort.column("subject")?;
    let at_set = cohort.position("set");
    let mut split = Table::new(cohort.columns.iter().filter(|name| *name != "set").cloned().chain(["set".to_owned()]));
    let mut rows: Vec<&Vec<String>> = cohort.rows.iter().collect();
    rows.sort_by(|a, b| a[at_item].cmp(&b[at_item]));
    for row in rows {
        let set = SETS[sets[row[at_subject].as_str()]].to_owned();
        let values = row.iter().enumerate().filter(|(at, _)| Some(*at) != at_set).map(|(_, value)| value.clone());
        split.rows.push(values.chain([set]).collect());
    }
    Ok(Placed { split, kept })
}

/// Patients and images per set and class, and how many patients are in more than one set (none).
pub fn proof(split: &Table) -> Result<serde_json::Value> {
    let (subject, label, set) = (split.column("subject")?, split.position("label"), split.column("set")?);
    let mut of_subject: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for row in &split.rows {
        of_subject.entry(&row[subject]).or_default().insert(&row[set]);
    }
    let classes: BTreeSet<&str> = split.rows.iter().filter_map(|row| Some(row[label?].as_str())).collect();
    let count = |set_name: &str, class: Option<&str>| {
        let rows = split
            .rows
            .iter()
            .filter(|row| row[set] == set_name && class.is_none_or(|class| label.is_some_and(|label| row[label] == class)));
        let subjects: BTreeSet<&str> = rows.clone().map(|row| row[subject].as_str()).collect();
        json!({ "subjects": subjects.len(), "images": rows.count() })
    };
    let mut sets = serde_json::Map::new();
    for name in SETS {
        let mut counts = count(name, None);
        let of_class: serde_json::Map<_, _> = classes.iter().map(|class| ((*class).to_owned(), count(name, Some(class)))).collect();
        counts["classes"] = of_class.into();
        sets.insert(name.to_owned(), counts);
    }
    let overlap = of_subject.values().filter(|sets| sets.len() > 1).count();
    ensure!(overlap == 0, "{overlap} patients are in more than one set");
    Ok(json!({ "subjects": of_subject.len(), "images": split.rows.len(), "subjects_in_two_sets": overlap, "sets": sets }))
}

/// All patients, sorted by rank.
fn patients<'a>(cohort: &'a Table, previous: Option<&Table>, seed: u64, stratify: &[String]) -> Result<Vec<Patient<'a>>> {
    let (at_item, at_subject, at_label) = (cohort.column("item")?, cohort.column("subject")?, cohort.position("label"));
    let columns: Vec<usize> = stratify.iter().map(|name| cohort.column(name)).collect::<Result<_>>().context("param `stratify`")?;
    let key = blake3::derive_key("tomograph cohort.split 1", &seed.to_le_bytes());
    let previous = previous.map(Previous::read).transpose()?;
    let mut patients: BTreeMap<&str, Patient> = BTreeMap::new();
    for (number, row) in cohort.rows.iter().enumerate() {
        let subject = row[at_subject].as_str();
        ensure!(!subject.is_empty(), "row {} of the cohort has no subject", number + 1);
        // Without labels everybody is of one class.
        let label = at_label.map_or("any", |at| row[at].as_str());
        ensure!(!label.is_empty(), "row {} of the cohort has no label", number + 1);
        let patient = patients.entry(subject).or_insert_with(|| Patient {
            subject,
            rank: *blake3::keyed_hash(&key, subject.as_bytes()).as_bytes(),
            images: 0,
            kept: None,
            labels: BTreeSet::new(),
            stratum: BTreeSet::new(),
        });
        patient.images += 1;
        patient.labels.insert(label);
        patient.stratum.insert(columns.iter().map(|at| row[*at].as_str()).collect());
        if let Some(set) = previous.as_ref().and_then(|previous| previous.of(subject, &row[at_item])) {
            ensure!(patient.kept.is_none_or(|kept| kept == set), "the previous split has a patient of this cohort in two sets");
            patient.kept = Some(set);
        }
    }
    let mut patients: Vec<Patient> = patients.into_values().collect();
    patients.sort_by(|a, b| (a.rank, a.subject).cmp(&(b.rank, b.subject)));
    Ok(patients)
}

/// A previous split, by subject or else by item.
struct Previous {
    by_subject: bool,
    sets: BTreeMap<String, usize>,
}

impl Previous {
    fn read(table: &Table) -> Result<Self> {
        let at_set = table.column("set").context("the previous split")?;
        let (by_subject, at) = match table.position("subject") {
            Some(at) => (true, at),
            None => (false, table.column("item").context("the previous split has no column `subject` either")?),
        };
        let mut sets = BTreeMap::new();
        for (number, row) in table.rows.iter().enumerate() {
            let set = SETS.iter().position(|name| row[at_set] == *name);
            let set = set.with_context(|| format!("row {} of the previous split: `set` is none of train, validation, test", number + 1))?;
            if sets.insert(row[at].clone(), set).is_some_and(|earlier| earlier != set) {
                bail!("row {} of the previous split puts a patient or an item into a second set", number + 1);
            }
        }
        Ok(Self { by_subject, sets })
    }

    fn of(&self, subject: &str, item: &str) -> Option<usize> {
        self.sets.get(if self.by_subject { subject } else { item }).copied()
    }
}

/// How a patient is grouped: the values that all of a group share.
type Level<'f> = &'f dyn Fn(&Patient) -> Vec<Vec<String>>;

/// Groups to cut, each with enough patients for every set where that can be had: strata that are too small are put together with their
/// fellows of the same labels, and what is still too small with all that share the first label.
fn groups<'p, 'a>(patients: &'p [Patient<'a>], fractions: Fractions) -> Vec<Vec<&'p Patient<'a>>> {
    let wanted = fractions.iter().filter(|share| **share > 0.0).count();
    let mut whole = Vec::new();
    let mut rest: Vec<&Patient> = patients.iter().collect();
    let first = |patient: &Patient| patient.labels.iter().next().map(|label| vec![vec![(*label).to_owned()]]).unwrap_or_default();
    let levels: [Level; 3] = [
        &|patient| patient.stratum.iter().map(|values| values.iter().map(|value| (*value).to_owned()).collect()).collect(),
        &|patient| patient.labels.iter().map(|label| vec![(*label).to_owned()]).collect(),
        &first,
    ];
    for level in levels {
        let mut strata: BTreeMap<Vec<Vec<String>>, Vec<&Patient>> = BTreeMap::new();
        for patient in std::mem::take(&mut rest) {
            strata.entry(level(patient)).or_default().push(patient);
        }
        for group in strata.into_values() {
            if group.len() >= wanted { whole.push(group) } else { rest.extend(group) }
        }
        rest.sort_by(|a, b| (a.rank, a.subject).cmp(&(b.rank, b.subject)));
    }
    whole.push(rest);
    whole
}

/// A set for each patient of a group (sorted by rank) that has none yet: the order is cut where the images come closest to what the
/// fractions leave open, and every wanted set gets somebody where there are enough.
fn cut<'a>(group: Vec<&Patient<'a>>, fractions: Fractions) -> Vec<(&'a str, usize)> {
    let total: usize = group.iter().map(|one| one.images).sum();
    let mut open = fractions.map(|share| share * total as f64);
    let mut lacking = fractions.map(|share| usize::from(share > 0.0));
    for (patient, set) in group.iter().filter_map(|one| Some((one, one.kept?))) {
        open[set] -= patient.images as f64;
        lacking[set] = 0;
    }
    let fresh: Vec<&Patient> = group.into_iter().filter(|one| one.kept.is_none()).collect();
    if lacking.iter().sum::<usize>() > fresh.len() {
        lacking = [0; 3];
    }
    let mut sums = vec![0.0];
    for patient in &fresh {
        sums.push(sums[sums.len() - 1] + patient.images as f64);
    }
    let open = open.map(|share| share.max(0.0));
    let scale = sums[fresh.len()] / open.iter().sum::<f64>().max(f64::MIN_POSITIVE);
    let nearest = |target: f64, from: usize, to: usize| {
        (from..=to).min_by(|a, b| (sums[*a] - target).abs().total_cmp(&(sums[*b] - target).abs())).unwrap_or(from)
    };
    let first = nearest(open[0] * scale, lacking[0], fresh.len() - lacking[1] - lacking[2]);
    let second = match open[2] > 0.0 {
        true => nearest((open[0] + open[1]) * scale, first + lacking[1], fresh.len() - lacking[2]),
        false => fresh.len() - lacking[2],
    };
    fresh.iter().enumerate().map(|(at, one)| (one.subject, usize::from(at >= first) + usize::from(at >= second))).collect()
}

fn check_classes(patients: &[Patient], sets: &BTreeMap<&str, usize>, fractions: Fractions) -> Result<()> {
    let wanted: Vec<usize> = (0..SETS.len()).filter(|set| fractions[*set] > 0.0).collect();
    let classes: BTreeSet<&str> = patients.iter().flat_map(|one| &one.labels).copied().collect();
    let mut problems = Vec::new();
    for class in classes {
        let of_class: Vec<usize> = patients.iter().filter(|one| one.labels.contains(class)).map(|one| sets[one.subject]).collect();
        let lacking: Vec<&str> = wanted.iter().filter(|set| !of_class.contains(set)).map(|set| SETS[*set]).collect();
        if !lacking.is_empty() {
            let patients = if of_class.len() == 1 { "1 patient".to_owned() } else { format!("{} patients", of_class.len()) };
            problems.push((class, format!("has {patients} and none for {}", lacking.join(" and "))));
        }
    }
    if problems.is_empty() {
        return Ok(());
    }
    let words = |name: &dyn Fn(&str) -> String| {
        let told: Vec<String> = problems.iter().map(|(class, what)| format!("{} {what}", name(class))).collect();
        let (told, count) = (told.join("; "), wanted.len());
        format!("{told}: at least {count} patients of each class are needed, one for each set whose fraction is above 0")
    };
    bail!(Quoting { quoting: words(&|class| format!("class `{class}`")), without: words(&|_| "a class".to_owned()) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PAPER: Fractions = [0.7, 0.15, 0.15];

    /// Images per patient of two classes.
    fn cohort(ill: &[usize], well: &[usize]) -> Table {
        let mut table = Table::new(["item", "subject", "label"]);
        for (label, patients) in [("ill", ill), ("well", well)] {
            for (patient, images) in patients.iter().enumerate() {
                for image in 0..*images {
                    table.rows.push(vec![format!("{label}{patient}-{image}"), format!("{label}{patient}"), label.to_owned()]);
                }
            }
        }
        table
    }

    fn split(cohort: &Table, previous: Option<&Table>, seed: u64) -> Table {
        place(cohort, previous, seed, PAPER, &["label".to_owned()]).unwrap().split
    }

    fn sets(split: &Table) -> BTreeMap<&str, &str> {
        split.rows.iter().map(|row| (row[1].as_str(), row[3].as_str())).collect()
    }

    fn without(table: &Table, subject: &str) -> Table {
        Table { columns: table.columns.clone(), rows: table.rows.iter().filter(|row| row[1] != subject).cloned().collect() }
    }

    fn images() -> impl Strategy<Value = Vec<usize>> {
        proptest::collection::vec(1..9usize, 4..40)
    }

    proptest! {
        #![proptest_config(crate::law::cases(64))]

        #[test]
        fn patients_are_whole_and_fractions_met_within_one_patient(ill in images(), well in images(), seed in 0..99u64) {
            let cohort = cohort(&ill, &well);
            let split = split(&cohort, None, seed);
            prop_assert_eq!(proof(&split).unwrap()["subjects_in_two_sets"].as_u64(), Some(0));
            for (label, patients) in [("ill", &ill), ("well", &well)] {
                let (total, largest) = (patients.iter().sum::<usize>() as f64, *patients.iter().max().unwrap() as f64);
                for (set, share) in SETS.iter().zip(PAPER) {
                    let count = split.rows.iter().filter(|row| row[2] == label && row[3] == *set).count() as f64;
                    // With few patients every set still gets one, whatever its share.
                    let slack = if patients.len() < 14 { 2.0 * largest } else { largest };
                    prop_assert!(count > 0.0 && (count - share * total).abs() <= slack, "{label} {set}: {count} of {total}");
                }
            }
        }

        #[test]
        fn the_order_of_rows_changes_nothing(ill in images(), well in images(), seed in 0..99u64, turn in 0..50usize) {
            let cohort = cohort(&ill, &well);
            let mut turned = cohort.clone();
            let middle = turn % turned.rows.len();
            turned.rows.rotate_left(middle);
            turned.rows.reverse();
            prop_assert_eq!(split(&cohort, None, seed), split(&turned, None, seed));
        }

        #[test]
        fn with_the_previous_split_nobody_moves(ill in images(), well in images(), seed in 0..99u64, who in 0..999usize) {
            let cohort = cohort(&ill, &well);
            let before = split(&cohort, None, seed);
            let gone = cohort.rows[who % cohort.rows.len()][1].clone();
            // A set may lose its only patient of a class; then there is an error, but still nobody moves.
            if let Ok(after) = place(&without(&cohort, &gone), Some(&before), seed + 1, PAPER, &["label".to_owned()]) {
                prop_assert_eq!(after.split, without(&before, &gone));
            }
        }

        #[test]
        fn without_it_few_move(ill in images(), well in images(), seed in 0..99u64, who in 0..999usize) {
            let cohort = cohort(&ill, &well);
            let before = split(&cohort, None, seed);
            let gone = cohort.rows[who % cohort.rows.len()][1].clone();
            let rest = without(&cohort, &gone);
            prop_assume!(ill.len() > 4 && well.len() > 4);
            let after = split(&rest, None, seed);
            let (before, after) = (sets(&before), sets(&after));
            let moved: Vec<&str> = after.iter().filter(|(subject, set)| before[*subject] != **set).map(|(subject, _)| *subject).collect();
            // Each of the two cuts shifts by at most the images of the one who left: 8 patients of one image each, and the one at the cut.
            let images = cohort.rows.iter().filter(|row| row[1] == gone).count();
            prop_assert!(moved.len() <= 2 * (images + 1), "{moved:?}");
            prop_assert!(moved.iter().all(|subject| subject.starts_with(&gone[..3])), "{moved:?}");
        }
    }

    #[test]
    fn small_strata_are_put_together_with_their_class() {
        let mut cohort = cohort(&[1; 20], &[1; 20]);
        cohort.columns.push("scanner".to_owned());
        for (at, row) in cohort.rows.iter_mut().enumerate() {
            row.push(if at < 18 { "GE".to_owned() } else { format!("odd {at}") });
        }
        let stratify = ["label".to_owned(), "scanner".to_owned()];
        let placed = place(&cohort, None, 3, PAPER, &stratify).unwrap();
        let counts = proof(&placed.split).unwrap();
        assert_eq!(counts["sets"]["test"]["classes"]["well"]["images"], 3);
        assert_eq!(counts["sets"]["train"]["images"], 28);
    }

    #[test]
    fn an_external_test_set_is_all_test() {
        let placed = place(&cohort(&[2, 1], &[1]), None, 1, [0.0, 0.0, 1.0], &[]).unwrap();
        assert!(placed.split.rows.iter().all(|row| row[3] == "test"));
    }

    #[test]
    fn a_cohort_too_small_is_told_what_it_lacks() {
        let error = place(&cohort(&[3], &[1; 9]), None, 1, PAPER, &["label".to_owned()]).unwrap_err().to_string();
        let needed = "at least 3 patients of each class are needed, one for each set whose fraction is above 0";
        assert!(error.starts_with("class `ill` has 1 patient and none for ") && error.ends_with(needed), "{error}");
    }

    #[test]
    fn newcomers_fill_what_the_previous_split_left_open() {
        let mut previous = Table::new(["subject", "set"]);
        previous.rows = (0..10).flat_map(|at| [format!("ill{at}"), format!("well{at}")]).map(|one| vec![one, "train".to_owned()]).collect();
        let cohort = cohort(&[1; 20], &[1; 20]);
        let placed = place(&cohort, Some(&previous), 1, PAPER, &["label".to_owned()]).unwrap();
        assert_eq!(placed.kept, 20);
        let counts = proof(&placed.split).unwrap();
        assert_eq!([&counts["sets"]["train"]["images"], &counts["sets"]["test"]["images"]], [28, 6]);
    }
}
