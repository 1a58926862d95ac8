//! Labels: joins an index of images with a table that says who is ill.

use super::{each_item_once, rows_by};
use crate::content::Quoting;
use crate::table::Table;
use anyhow::{Result, bail, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The column by which an index and a table are joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// The item's name; the table may have it as it was before a hash of it became the item.
    Item,
    /// The path a table had for the picture when it was imported, or the path in the index.
    File,
    /// The DICOM SOP Instance UID.
    SopInstanceUid,
    /// The patient: one row of the table for all images of the patient.
    Subject,
}

impl By {
    const ALL: [Self; 4] = [Self::Item, Self::File, Self::SopInstanceUid, Self::Subject];

    /// The column in index and table.
    pub fn column(self) -> &'static str {
        match self {
            Self::Item => "item",
            Self::File => "file",
            Self::SopInstanceUid => "sop_instance_uid",
            Self::Subject => "subject",
        }
    }
}

/// How to label.
pub struct Labelling<'a> {
    /// None: the first column that both have.
    pub by: Option<By>,
    /// Column of the table (or of the index, where there is no table) with the label.
    pub label: &'a str,
    /// Class → values that mean it; empty: every value is a class of its own.
    pub values: &'a BTreeMap<String, Vec<String>>,
    /// Columns carried; none: all of the table, or of the index where there is no table.
    pub keep: Option<&'a [String]>,
    /// Item → class of quarantine, of items that the index lost on the way.
    pub aside: &'a BTreeMap<String, String>,
    /// What an import would have called a name: items from people's data are hashes.
    pub item_name: &'a dyn Fn(&str) -> String,
}

/// What [`label`] gives.
pub struct Labelled {
    /// item, subject, session, label and covariates, sorted by item.
    pub cohort: Table,
    /// Rows that are in no cohort: side (index or table), row (from 1), key, reason.
    pub unmatched: Table,
    /// Subjects with more than one label, sorted.
    pub mixed: Vec<String>,
}

/// Columns of an index that say how a file is stored, not who is on it.
const BOOKKEEPING: [&str; 5] = ["file", "width", "height", "prepared", "set"];

/// Joins and labels. An item without a subject counts as a patient of its own.
pub fn label(index: &Table, table: Option<&Table>, how: &Labelling) -> Result<Labelled> {
    let at_item = each_item_once(index, "the index")?;
    ensure!(!index.rows.is_empty(), "the index has no rows");
    let partners = match table {
        Some(table) => partners(index, table, how)?,
        None => (0..index.rows.len()).map(Some).collect(),
    };
    let labels = table.unwrap_or(index);
    let at_label = labels.column(how.label)?;
    let sources = covariates(index, table, how)?;
    let classes: BTreeMap<&str, &str> =
        how.values.iter().flat_map(|(class, values)| values.iter().map(move |value| (value.as_str(), class.as_str()))).collect();

    let mut cohort = Table::new(["item", "subject", "session", "label"]);
    cohort.columns.extend(sources.iter().map(|source| source.name.clone()));
    let mut unmatched = Table::new(["side", "row", "key", "reason"]);
    let mut left_out = |side: &str, row: usize, key: &str, reason: String| {
        unmatched.rows.push(vec![side.to_owned(), (row + 1).to_string(), key.to_owned(), reason]);
    };
    let mut used = BTreeSet::new();
    for (number, row) in index.rows.iter().enumerate() {
        let item = &row[at_item];
        let Some(partner) = partners[number] else {
            left_out("index", number, item, "no row of the table".to_owned());
            continue;
        };
        used.insert(partner);
        let value = labels.rows[partner][at_label].as_str();
        let class = match (value, classes.get(value)) {
            ("", _) => Err("no label".to_owned()),
            (value, _) if classes.is_empty() => Ok(value),
            (_, Some(class)) => Ok(*class),
            (value, None) => Err(format!("label {value} is in no class")),
        };
        let class = match class {
            Ok(class) => class,
            Err(reason) => {
                left_out("index", number, item, reason);
                continue;
            }
        };
        let either = |column: &str| {
            let of = |table: &Table, row: &[String]| table.position(column).map(|at| row[at].clone()).filter(|value| !value.is_empty());
            of(index, row).or_else(|| of(labels, &labels.rows[partner]))
        };
        let subject = either("subject").unwrap_or_else(|| item.clone());
        let mut values = vec![item.clone(), subject, either("session").unwrap_or_default(), class.to_owned()];
        values.extend(
            sources.iter().map(|source| if source.of_index { row[source.at].clone() } else { labels.rows[partner][source.at].clone() }),
        );
        cohort.rows.push(values);
    }
    if let Some(table) = table {
        let by = join_column(index, table, how)?;
        let at = table.column(by.column())?;
        for (number, row) in table.rows.iter().enumerate().filter(|(number, _)| !used.contains(number)) {
            let aside = [row[at].clone(), (how.item_name)(&row[at])].iter().find_map(|name| how.aside.get(name));
            let reason = match (aside, row[at].is_empty()) {
                (_, true) => format!("no value in column {}", by.column()),
                (Some(class), _) => format!("in quarantine: {class}"),
                (None, _) => "no row of the index".to_owned(),
            };
            left_out("table", number, &row[at], reason);
        }
    }
    cohort.rows.sort_by(|a, b| a[0].cmp(&b[0]));
    check_classes(&cohort, index.rows.len(), how)?;
    let mixed = mixed(&cohort);
    Ok(Labelled { cohort, unmatched, mixed })
}

fn check_classes(cohort: &Table, rows: usize, how: &Labelling) -> Result<()> {
    let classes: BTreeSet<&str> = cohort.rows.iter().map(|row| row[3].as_str()).collect();
    let found: Vec<&str> = classes.iter().copied().collect();
    match found[..] {
        [] => bail!(
            "none of the {rows} rows of the index gets a label: compare the join column and `{}`, and the output `unmatched`",
            how.label
        ),
        [one] => {
            let words = |label: &str| {
                let (all, column) = (cohort.rows.len(), how.label);
                format!("all {all} labelled rows have the same label{label}: at least two classes are needed in column `{column}`")
            };
            bail!(Quoting { quoting: words(&format!(", `{one}`")), without: words("") })
        }
        _ => {}
    }
    if let Some(empty) = how.values.keys().find(|class| !classes.contains(class.as_str())) {
        bail!("no row has a value of class `{empty}` in column `{}`", how.label);
    }
    Ok(())
}

fn mixed(cohort: &Table) -> Vec<String> {
    let mut labels: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for row in &cohort.rows {
        labels.entry(&row[1]).or_default().insert(&row[3]);
    }
    labels.into_iter().filter(|(_, labels)| labels.len() > 1).map(|(subject, _)| subject.to_owned()).collect()
}

fn join_column(index: &Table, table: &Table, how: &Labelling) -> Result<By> {
    let has = |table: &Table, by: By| table.position(by.column()).is_some();
    match how.by {
        Some(by) => {
            let in_index = has(index, by) || by == By::File;
            ensure!(in_index, index.lacks(&format!("the index has no column `{}` to join by", by.column())));
            ensure!(has(table, by), table.lacks(&format!("the table has no column `{}` to join by", by.column())));
            Ok(by)
        }
        None => match By::ALL.into_iter().find(|by| has(index, *by) && has(table, *by)) {
            Some(by) => Ok(by),
            None => bail!(table.lacks("index and table share none of the columns item, file, sop_instance_uid and subject")),
        },
    }
}

/// The row of the table for each row of the index.
fn partners(index: &Table, table: &Table, how: &Labelling) -> Result<Vec<Option<usize>>> {
    let by = join_column(index, table, how)?;
    let at = table.column(by.column())?;
    let mut rows: BTreeMap<String, usize> = BTreeMap::new();
    for (key, numbers) in rows_by(table, at) {
        if let [first, second, ..] = numbers[..] {
            bail!("rows {} and {} of the table have the same `{}`: one row each is wanted", first + 1, second + 1, by.column());
        }
        if matches!(by, By::Item | By::File) {
            rows.insert((how.item_name)(key), numbers[0]);
        }
        rows.insert(key.to_owned(), numbers[0]);
    }
    let columns: &[&str] = if by == By::File { &["item", "file"] } else { &[by.column()] };
    let places: Vec<usize> = columns.iter().filter_map(|column| index.position(column)).collect();
    Ok(index.rows.iter().map(|row| places.iter().find_map(|at| rows.get(&row[*at]).copied())).collect())
}

struct Covariate {
    name: String,
    of_index: bool,
    at: usize,
}

fn covariates(index: &Table, table: Option<&Table>, how: &Labelling) -> Result<Vec<Covariate>> {
    let own = |name: &str| ["item", "subject", "session", "label"].contains(&name);
    let find = |name: &String| match table.and_then(|table| table.position(name)) {
        Some(at) => Ok(Covariate { name: name.clone(), of_index: false, at }),
        None => index.column(name).map(|at| Covariate { name: name.clone(), of_index: true, at }),
    };
    if let Some(keep) = how.keep {
        return keep.iter().filter(|name| !own(name)).map(find).collect();
    }
    let columns = &table.unwrap_or(index).columns;
    let plain = |name: &&String| !name.is_empty() && !own(name) && *name != how.label && !BOOKKEEPING.contains(&name.as_str());
    let mut seen = BTreeSet::new();
    columns.iter().filter(plain).filter(|name| seen.insert(name.as_str())).map(find).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(text: &str) -> Table {
        Table::from_delimited(text.as_bytes()).unwrap()
    }

    fn with<T>(values: &[(&str, &[&str])], by: Option<By>, then: impl FnOnce(&Labelling) -> T) -> T {
        let values = values.iter().map(|(class, of)| ((*class).to_owned(), of.iter().map(|&one| one.to_owned()).collect())).collect();
        let aside = [("a/9.png".to_owned(), "blank".to_owned())].into();
        let item_name = |name: &str| format!("#{name}");
        then(&Labelling { by, label: "label", values: &values, keep: None, aside: &aside, item_name: &item_name })
    }

    const INDEX: &str = "item,file,subject,session,width\nb,b.png,p2,s,9\na,a.png,p1,s,9\nc,c.png,p1,s,9\nd,d.png,,s,9\n";

    #[test]
    fn an_index_and_a_table_become_a_cohort() {
        let labels = table("subject,label,age\np1,well,30\np2,ill,40\np9,ill,50\n");
        let result = with(&[], None, |how| label(&table(INDEX), Some(&labels), how)).unwrap();
        assert_eq!(result.cohort.columns, ["item", "subject", "session", "label", "age"]);
        assert_eq!(result.cohort.rows, [["a", "p1", "s", "well", "30"], ["b", "p2", "s", "ill", "40"], ["c", "p1", "s", "well", "30"]]);
        assert_eq!(result.unmatched.rows, [["index", "4", "d", "no row of the table"], ["table", "3", "p9", "no row of the index"]]);
        assert!(result.mixed.is_empty());
    }

    #[test]
    fn values_become_classes_and_what_is_in_none_is_listed() {
        let index = table("item,subject,label\n1,p,COVID-19\n2,p,normal\n3,q,\n4,r,other\n");
        let result = with(&[("positive", &["COVID-19"]), ("negative", &["normal"])], None, |how| label(&index, None, how)).unwrap();
        assert_eq!(result.cohort.rows, [["1", "p", "", "positive"], ["2", "p", "", "negative"]]);
        assert_eq!(result.unmatched.rows, [["index", "3", "3", "no label"], ["index", "4", "4", "label other is in no class"]]);
        assert_eq!(result.mixed, ["p"]);
    }

    #[test]
    fn a_file_meets_the_item_that_an_import_made_of_it() {
        let index = table("item,file\n#a/1.jpg,x.png\na/2.jpg,y.png\n");
        let labels = table("file,label\na/1.jpg,0\na/2.jpg,1\na/9.png,1\n");
        let result = with(&[], Some(By::File), |how| label(&index, Some(&labels), how)).unwrap();
        assert_eq!(result.cohort.rows, [["#a/1.jpg", "#a/1.jpg", "", "0"], ["a/2.jpg", "a/2.jpg", "", "1"]]);
        assert_eq!(result.unmatched.rows, [["table", "3", "a/9.png", "in quarantine: blank"]]);
    }

    #[test]
    fn mistakes_are_named() {
        let error = |index: &str, labels: &str| {
            with(&[], None, |how| label(&table(index), Some(&table(labels)), how)).map(|_| ()).unwrap_err().to_string()
        };
        assert_eq!(
            error(INDEX, "subject,label\np1,a\np1,b\n"),
            "rows 1 and 2 of the table have the same `subject`: one row each is wanted"
        );
        assert_eq!(
            error(INDEX, "subject,label\np1,a\np2,a\n"),
            "all 3 labelled rows have the same label, `a`: at least two classes are needed in column `label`"
        );
        assert_eq!(error(INDEX, "subject,diagnosis\np1,a\n"), "there is no column `label`; the columns are subject, diagnosis");
        assert!(error(INDEX, "subject,label\nx,a\n").starts_with("none of the 4 rows of the index gets a label"));
        assert!(error(INDEX, "patient,label\nx,a\n").starts_with("index and table share none of the columns"));
    }
}
