//! `cohort.label`: an index, or an index and a table, become a cohort.

use crate::cohort::{By, Labelling, label};
use crate::content::Level;
use crate::stage::{Artifact, Context, Params, Part, Port, Problem, Whole, item_name};
use crate::table::Table;
use anyhow::{Context as _, Result, bail};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Gives each image of an index its label: from the index itself, or from a table that is joined to it.
///
/// The cohort has the columns item, subject, session, label and the covariates that `keep` names, sorted by item; an image without a
/// subject counts as a patient of its own. Rows without a partner or a label go to the output `unmatched`, with the reason.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CohortLabel {
    /// Column to join by. Unset: the first of item, file, sop_instance_uid and subject that index and table both have.
    #[serde(default)]
    by: Option<By>,
    /// Column with the label, in the table, or in the index where no table is connected.
    #[serde(default = "label_column")]
    label: String,
    /// Class and the values of the label column that mean it: `{ positive = ["COVID-19"], negative = ["No Finding"] }`. Rows with other
    /// values go to `unmatched`. Empty: every value is a class of its own.
    #[serde(default)]
    values: BTreeMap<String, Vec<String>>,
    /// Columns carried into the cohort as covariates, from the table or else from the index. Unset: every column of the table (of the index
    /// without one) that says more than where and how the file is stored. The fewer, the less runs again when a column changes.
    #[serde(default)]
    keep: Option<Vec<String>>,
    /// What happens when a patient has images with different labels.
    #[serde(default = "mixed")]
    mixed: Mixed,
}

/// What happens when a patient has images with different labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Mixed {
    /// The stage fails and says how many there are.
    Error,
    /// They stay, with a warning; `cohort.split` still puts each of them into one set.
    Allow,
}

fn label_column() -> String {
    "label".to_owned()
}

fn mixed() -> Mixed {
    Mixed::Error
}

impl Params for CohortLabel {
    const KIND: &'static str = "cohort.label";
    const REVISION: u32 = 1;
    const INPUTS: &'static [Port] = &[
        Port::one(
            "index",
            &[Artifact::Images, Artifact::Studies, Artifact::Cohort, Artifact::Table],
            "whose index says which items there are",
        ),
        Port::one("table", &[Artifact::Table], "says who has which label").optional(),
    ];
    const OUTPUTS: &'static [Port] = &[
        Port::one("cohort", &[Artifact::Cohort], "item, subject, session, label, covariates"),
        Port::one("unmatched", &[Artifact::Table], "rows that are not in the cohort: side, row, key, reason"),
    ];

    fn check(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.values.len() == 1 {
            problems.push(Problem::of("values", "names one class; at least two are needed"));
        }
        let mut seen = BTreeSet::new();
        if let Some(twice) = self.values.values().flatten().find(|value| !seen.insert(value.as_str())) {
            problems.push(Problem::of("values", format!("the value `{twice}` is in two classes, or twice in one")));
        }
        problems
    }
}

impl Whole for CohortLabel {
    fn run(&self, cx: &Context) -> Result<()> {
        let index = cx.inputs.one("index")?;
        let table = cx.inputs.optional("table")?.map(|part| part.table().context("port `table`")).transpose()?;
        let identified = cx.inputs.identified();
        let how = Labelling {
            by: self.by,
            label: &self.label,
            values: &self.values,
            keep: self.keep.as_deref(),
            aside: &quarantine(index)?.into_iter().map(|(item, [_, class, _])| (item, class)).collect(),
            item_name: &|name| item_name(Level::Identified, name),
        };
        let result = label(&index.table().context("port `index`")?, table.as_ref(), &how)?;
        let left_out = result.unmatched.rows.len();
        if left_out > 0 {
            cx.warn(format!("{left_out} rows of index and table are not in the cohort; the output `unmatched` lists them with the reason"));
        }
        if !result.mixed.is_empty() {
            let who = patients(&result.mixed, identified);
            match self.mixed {
                Mixed::Error => bail!("{who} more than one label: correct the labels, or set `mixed = \"allow\"` to keep them as they are"),
                Mixed::Allow => cx.warn(format!("{who} more than one label")),
            }
        }
        cx.write("cohort", "cohort.tsv", &result.cohort.to_tsv())?;
        cx.write("unmatched", "unmatched.tsv", &result.unmatched.to_tsv())
    }
}

/// `3 patients (a, b, c) have`, without the names where they are people's.
fn patients(subjects: &[String], identified: bool) -> String {
    let some = subjects.iter().take(3).map(String::as_str).collect::<Vec<_>>().join(", ");
    let more = if subjects.len() > 3 { ", …" } else { "" };
    let names = if identified { String::new() } else { format!(" ({some}{more})") };
    match subjects.len() {
        1 => format!("1 patient{names} has"),
        count => format!("{count} patients{names} have"),
    }
}

/// Item → kind, class and reason, of the items that were set aside on the way to `part`.
pub(super) fn quarantine(part: &Part) -> Result<BTreeMap<String, [String; 3]>> {
    if !part.tree.files.contains_key("quarantine.tsv") {
        return Ok(BTreeMap::new());
    }
    let table = Table::from_tsv(&part.tree.read("quarantine.tsv")?).context("quarantine.tsv")?;
    let [item, kind, class, reason] = ["item", "kind", "class", "reason"].map(|name| table.column(name));
    let (item, kind, class, reason) = (item?, kind?, class?, reason?);
    Ok(table.rows.iter().map(|row| (row[item].clone(), [kind, class, reason].map(|at| row[at].clone()))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::Level;
    use crate::stages::testing::{World, chain, params};
    use std::sync::Arc;

    const INDEX: &[u8] = b"item\tfile\tsubject\tlabel\n1\t1.png\tp\ta\n2\t2.png\tp\tb\n3\t3.png\tq\tb\n";

    #[test]
    fn a_patient_with_both_labels_is_an_error_unless_allowed() {
        let mut world = World::new();
        world.connect("index", &[("index.tsv", INDEX), ("quarantine.tsv", b"item\tkind\tclass\treason\n")]);
        let remedy = "more than one label: correct the labels, or set `mixed = \"allow\"` to keep them as they are";
        assert_eq!(chain(world.run(&params::<CohortLabel>(""))), format!("1 patient (p) has {remedy}"));
        let outcome = world.run(&params::<CohortLabel>("mixed = 'allow'")).unwrap();
        assert_eq!(outcome.warnings, ["1 patient (p) has more than one label"]);
        assert_eq!(outcome.table("cohort", "cohort.tsv").rows.len(), 3);
        Arc::make_mut(&mut world.inputs.0.get_mut("index").unwrap()[0].tree).level = Level::Identified;
        assert_eq!(chain(world.run(&params::<CohortLabel>(""))), format!("1 patient has {remedy}"));
    }

    #[test]
    fn classes_make_sense() {
        let problem = |toml: &str| params::<CohortLabel>(toml).check().remove(0).message;
        assert_eq!(problem("values = { a = ['x'] }"), "names one class; at least two are needed");
        assert_eq!(problem("values = { a = ['x'], b = ['x'] }"), "the value `x` is in two classes, or twice in one");
    }
}
