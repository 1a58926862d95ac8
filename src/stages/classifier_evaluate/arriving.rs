//! What arrives beside model and images: thresholds that validation chose, and the columns of subgroups.

use super::super::cohort_split::split_table;
use super::ClassifierEvaluate;
use super::views::Name;
use crate::content::Digest;
use crate::stage::Part;
use crate::table::Table;
use anyhow::{Context as _, Result, bail, ensure};
use std::collections::{BTreeSet, HashMap};

/// From which score of the positive class on the answer is yes; none where validation gave none.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Thresholds {
    /// Of images.
    pub image: Option<f64>,
    /// Of patients.
    pub patient: Option<f64>,
}

/// A subgroup: its name, and whether each image is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    pub name: Name,
    pub rows: Vec<bool>,
}

/// Columns to join by, in this order.
const KEYS: [&str; 4] = ["item", "file", "sop_instance_uid", "subject"];
/// More values than this are no subgroups.
const MOST: usize = 50;

impl ClassifierEvaluate {
    /// What port `threshold` has for the model of this digest.
    pub fn thresholds(&self, part: Option<&Part>, model: &Digest) -> Result<Thresholds> {
        let Some(part) = part else { return Ok(Thresholds::default()) };
        let table = part.table()?;
        let at = table.column("threshold")?;
        let model = model.to_string();
        let own: Vec<&Vec<String>> = match table.position("model") {
            Some(column) => table.rows.iter().filter(|row| row[column] == model).collect(),
            None => table.rows.iter().collect(),
        };
        let Some(row) = own.first() else {
            bail!("no row is of this model: `classifier.select` gives thresholds of the models that it chose");
        };
        ensure!(own.iter().all(|other| other == row || other[at] == row[at]), "{} rows are of this model, and differ", own.len());
        let number = |column: usize| -> Result<Option<f64>> {
            let text = &row[column];
            let read = || text.parse::<f64>().ok().filter(|value| value.is_finite()).context("a threshold is no number");
            (!text.is_empty()).then(read).transpose()
        };
        let patient = match (self.patient, table.position("patient"), table.position("patient_threshold")) {
            (Some(how), Some(said), Some(column)) => {
                ensure!(
                    row[said] == how.to_string(),
                    "its thresholds of patients are of the `{}` of their scores, and param `patient` is `{how}`",
                    row[said]
                );
                number(column)?
            }
            _ => None,
        };
        Ok(Thresholds { image: number(at)?, patient })
    }

    /// The subgroups of param `by`, column by column, sorted by value, unknown ones last. A column is one of the arrays' own `rows.tsv`, else
    /// of the table on port `groups`.
    pub fn groups(&self, part: Option<&Part>, rows: &Table) -> Result<Vec<Group>> {
        let joined = part.filter(|_| !self.by.is_empty()).map(|part| Joined::of(part, rows).context("port `groups`")).transpose()?;
        let mut groups = Vec::new();
        for column in &self.by {
            let values: Vec<&str> = match (rows.position(column), &joined) {
                (Some(at), _) => rows.rows.iter().map(|row| row[at].as_str()).collect(),
                (None, Some(joined)) => joined.values(column).context("port `groups`")?,
                (None, None) => bail!("param `by`: the arrays have no column `{column}`: connect a table that has it to port `groups`"),
            };
            let known: BTreeSet<&str> = values.iter().copied().filter(|value| !value.is_empty()).collect();
            ensure!(
                known.len() <= MOST,
                "param `by`: column `{column}` has {} values, where subgroups have {MOST} at most: make bins of it in a column of its own",
                known.len()
            );
            let unknown = values.contains(&"").then_some("");
            groups.extend(known.into_iter().chain(unknown).map(|value| Group {
                name: Name { column: column.clone(), value: value.to_owned() },
                rows: values.iter().map(|one| *one == value).collect(),
            }));
        }
        Ok(groups)
    }
}

/// A table beside the arrays' rows.
struct Joined {
    table: Table,
    /// The column that both have.
    key: &'static str,
    /// Rows of the table that are of each of the arrays' rows.
    partners: Vec<Vec<usize>>,
}

impl Joined {
    fn of(part: &Part, rows: &Table) -> Result<Self> {
        let table = split_table(part)?;
        let both = KEYS.into_iter().find_map(|key| Some((key, table.position(key)?, rows.position(key)?)));
        let (key, theirs, own) = both.context("it shares none of the columns item, file, sop_instance_uid and subject with the arrays")?;
        let mut known: HashMap<&str, Vec<usize>> = HashMap::new();
        table.rows.iter().enumerate().for_each(|(number, row)| known.entry(&row[theirs]).or_default().push(number));
        known.remove("");
        let partners: Vec<Vec<usize>> = rows.rows.iter().map(|row| known.get(row[own].as_str()).cloned().unwrap_or_default()).collect();
        ensure!(partners.iter().any(|own| !own.is_empty()), "no `{key}` of it is one of the arrays'");
        Ok(Self { key, partners, table })
    }

    /// The values of a column, by row of the arrays; empty where unknown.
    fn values(&self, column: &str) -> Result<Vec<&str>> {
        let at = self.table.column(column)?;
        let value = |own: &Vec<usize>| -> Result<&str> {
            let mut values = own.iter().map(|row| (*row, self.table.rows[*row][at].as_str()));
            let Some((first, value)) = values.next() else { return Ok("") };
            match values.find(|(_, other)| *other != value) {
                Some((other, _)) => {
                    bail!("rows {} and {} have the same `{}` and differ in `{column}`", first + 1, other + 1, self.key)
                }
                None => Ok(value),
            }
        };
        self.partners.iter().map(value).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stages::testing::{World, params};

    fn thresholds(toml: &str, table: &str, model: &Digest) -> Result<Thresholds> {
        let mut world = World::new();
        let part = world.connect("threshold", &[("threshold.tsv", table.as_bytes())]).clone();
        params::<ClassifierEvaluate>(toml).thresholds(Some(&part), model)
    }

    #[test]
    fn a_threshold_is_that_of_the_model() {
        let (one, other) = (Digest::of(b"one"), Digest::of(b"other"));
        let columns = "backbone\tmodel\trule\tthreshold\tpatient\tpatient_threshold\n";
        let table = format!("{columns}nas\t{other}\tyouden\t0.9\tmean\t0.8\nvgg\t{one}\tyouden\t0.25\tmean\t\n");
        let of = |image, patient| Thresholds { image, patient };
        assert_eq!(thresholds("", &table, &one).unwrap(), of(Some(0.25), None));
        assert_eq!(thresholds("patient = 'mean'", &table, &other).unwrap(), of(Some(0.9), Some(0.8)));
        assert_eq!(thresholds("patient = 'mean'", &table, &one).unwrap(), of(Some(0.25), None));
        let error = |toml: &str, table: &str, model: &Digest| thresholds(toml, table, model).unwrap_err().to_string();
        assert!(error("", &table, &Digest::of(b"third")).starts_with("no row is of this model"));
        let wanted = "its thresholds of patients are of the `mean` of their scores, and param `patient` is `max`";
        assert_eq!(error("patient = 'max'", &table, &one), wanted);
        assert!(error("", &format!("{table}vgg\t{one}\tyouden\t0.26\t\t\n"), &one).contains("2 rows are of this model"));
        // One that somebody fixed in advance.
        assert_eq!(thresholds("", "threshold\n0.3\n", &one).unwrap(), of(Some(0.3), None));
        assert_eq!(error("", "threshold\nhigh\n", &one), "a threshold is no number");
        assert!(error("", "score\n0.3\n", &one).contains("there is no column `threshold`"));
        assert_eq!(params::<ClassifierEvaluate>("").thresholds(None, &one).unwrap(), Thresholds::default());
    }

    fn groups(by: &str, table: Option<&str>) -> Result<Vec<(String, Vec<usize>)>> {
        let rows = Table::from_tsv(b"row\titem\tsubject\tlabel\tview\n0\ta\tp\tx\tPA\n1\tb\tp\tx\tAP\n2\tc\tq\ty\tPA\n").unwrap();
        let mut world = World::new();
        let part = table.map(|text| world.connect("groups", &[("t.tsv", text.as_bytes())]).clone());
        let found = params::<ClassifierEvaluate>(by).groups(part.as_ref(), &rows)?;
        let told = |group: Group| {
            let rows = group.rows.iter().enumerate().filter(|(_, own)| **own).map(|(row, _)| row).collect();
            (format!("{}={}", group.name.column, group.name.value), rows)
        };
        Ok(found.into_iter().map(told).collect())
    }

    #[test]
    fn subgroups_are_joined_by_item_or_subject() {
        let of = |name: &str, rows: &[usize]| (name.to_owned(), rows.to_vec());
        assert_eq!(groups("by = ['view']", None).unwrap(), [of("view=AP", &[1]), of("view=PA", &[0, 2])]);
        let by_item = "item\tsubject\tsex\na\tp\tF\nc\tq\tM\nz\tz\tM\n";
        assert_eq!(groups("by = ['sex']", Some(by_item)).unwrap(), [of("sex=F", &[0]), of("sex=M", &[2]), of("sex=", &[1])]);
        let by_subject = "subject\tsex\tsite\nq\tM\t1\np\tF\t1\np\tF\t2\n";
        assert_eq!(groups("by = ['sex']", Some(by_subject)).unwrap(), [of("sex=F", &[0, 1]), of("sex=M", &[2])]);
        assert_eq!(groups("", Some("nothing\n")).unwrap(), []);
        let error = |by: &str, table: Option<&str>| format!("{:#}", groups(by, table).unwrap_err());
        assert_eq!(error("by = ['site']", Some(by_subject)), "port `groups`: rows 2 and 3 have the same `subject` and differ in `site`");
        assert!(error("by = ['sex']", None).contains("connect a table that has it to port `groups`"));
        assert!(error("by = ['age']", Some(by_subject)).contains("there is no column `age`"));
        assert!(error("by = ['sex']", Some("name\tsex\nn\tM\n")).contains("shares none of the columns"));
        assert!(error("by = ['sex']", Some("item\tsex\nn\tM\n")).contains("no `item` of it is one of the arrays'"));
        let ages: String = (0..60).map(|at| format!("{}\t{at}\n", if at < 3 { ["a", "b", "c"][at] } else { "x" })).collect();
        assert_eq!(groups("by = ['age']", Some(&format!("item\tage\n{ages}"))).unwrap().len(), 3);
    }
}
