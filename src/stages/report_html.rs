//! `report.html`: everything that a reader of results wants to see, in one file.

mod charts;
mod origin;

use super::laid_out::{Further, LaidOut, Settings};
use super::runs::Controls;
use crate::content::Level;
use crate::report::page::{Page, Section, gallery, heading, note, picture};
use crate::report::svg::alone;
use crate::report::tables::{Td, honest, paper, table};
use crate::stage::{Artifact, Context, Params, Port, Problem, Whole, show_coordinates};
use anyhow::{Context as _, Result};
use charts::{Charts, Scored};
use origin::Lineage;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One page of results that opens from disk and needs no network: tables that sort, curves, calibration, confusion matrices, trainings,
/// contact sheets, the pipeline's picture, and what ran where with which data, keys and versions. Warnings come first.
///
/// It follows the reader's light or dark, prints, and can be read on a phone. What nothing is connected to is left out, and the page says
/// so. Where `classifier.evaluate` measured patients, another threshold or subgroups, they have tables of their own. The charts are written as SVG files too. Pictures of people never enter it: contact sheets of identified data are left out.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ReportHtml {
    /// Figures, in this order. Unset: those of accuracy, precision, recall, f1, sensitivity, specificity, auc, dice and iou
    /// that any run has.
    #[serde(default)]
    metrics: Option<Vec<String>>,
    /// Axes that only repeat the same experiment: means are taken over them, and the paper's form has them side by side.
    #[serde(default = "super::laid_out::over")]
    over: Vec<String>,
    /// Axis whose values are the rows of the paper's form, and the colours of the curves.
    #[serde(default = "super::laid_out::rows")]
    rows: String,
    /// Figure that marks the best, is held against the chosen run and against the controls. The first in the table where no run has it.
    #[serde(default = "super::laid_out::by")]
    by: String,
    /// How many are marked for each seed of the paper's form, where there are more; of equal ones at the edge all are.
    #[serde(default = "super::laid_out::best")]
    best: usize,
    /// Axis and values that make a run a control.
    #[serde(default = "super::runs::controls")]
    controls: Controls,
    /// Digits after the point, 0 to 9.
    #[serde(default = "super::laid_out::digits")]
    digits: usize,
    /// From people's data, figures and counts of fewer rows than this are not shown, nor subgroups of fewer people, or with fewer of a
    /// class.
    #[serde(default = "super::laid_out::min_count")]
    min_count: u64,
}

impl Params for ReportHtml {
    const KIND: &'static str = "report.html";
    const REVISION: u32 = 3;
    const REVISIONS: &'static [(u32, &'static str)] =
        &[(2, "wider tables; no mean of one run"), (3, "seeds in their order; charts of trainings that can be read")];
    const INPUTS: &'static [Port] = &[
        Port::one("runs", &[Artifact::Metrics], "metrics of the runs, gathered; one that failed is shown as such").many().with_holes(),
        Port::one("validation", &[Artifact::Predictions], "what the trainings say of the validation set: its figures are shown too")
            .many()
            .with_holes(),
        Port::one("choice", &[Artifact::Table], "what validation chose (`classifier.select`): other runs are held against its first")
            .many()
            .with_holes(),
        Port::one("predictions", &[Artifact::Predictions], "for ROC and precision–recall curves, calibration, confusion matrices")
            .many()
            .with_holes(),
        Port::one("histories", &[Artifact::History], "of the trainings, for their curves").many().with_holes(),
        Port::one("figures", &[Artifact::Figure], "contact sheets and other pictures").many().with_holes(),
        Port::one("tables", &[Artifact::Table], "further tables, such as comparisons").many().with_holes(),
        Port::one("ledger", &[Artifact::Table], "how many models ever met the test data: more than are shown is a warning").filled(),
        Port::one("lineage", &[Artifact::Files], "the pipeline, for its picture and for what ran where").filled(),
    ];
    const OUTPUTS: &'static [Port] = &[Port::one("report", &[Artifact::Report], "report.html; figures/NAME.svg, each chart alone")];
    // It hides small counts and pictures, and what gives them away.
    const AT_MOST: Level = Level::Released;

    fn check(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.digits > 9 {
            problems.push(Problem::of("digits", "must be 0 to 9"));
        }
        if self.metrics.as_ref().is_some_and(Vec::is_empty) {
            problems.push(Problem::of("metrics", "names no figure"));
        }
        problems
    }
}

impl Whole for ReportHtml {
    fn run(&self, cx: &Context) -> Result<()> {
        let settings = Settings {
            metrics: self.metrics.as_deref(),
            over: &self.over,
            rows: &self.rows,
            by: &self.by,
            best: self.best,
            controls: &self.controls,
            min_count: self.min_count,
        };
        let least = settings.least(cx);
        let laid_out = match cx.inputs.many("runs").is_empty() && cx.inputs.many("validation").is_empty() {
            true => None,
            false => Some(settings.lay_out(cx)?),
        };
        let remarks = laid_out.as_ref().map(|found| found.remarks.clone()).unwrap_or_default();
        let mut sections = vec![self.tables(laid_out.as_ref())];
        let mut charts = Charts::new(laid_out.as_ref().map_or(&self.rows, |found| &found.rows), &self.over, least, self.controls.clone());
        let scored = Scored::read(cx)?;
        sections.extend(charts.of_scores(&scored, cx.inputs.many("predictions").is_empty()));
        sections.push(charts.of_trainings(cx.inputs.many("histories"))?);
        sections.push(pictures(cx)?);
        sections.extend(further(cx)?);
        let lineage = Lineage::read(cx)?;
        let (drawing, last) = lineage.sections();
        if let Some((name, svg)) = drawing.picture {
            charts.files.push((name, svg));
        }
        sections.push(drawing.section);
        sections.push(last);
        remarks.iter().filter(|remark| remark.warning).for_each(|remark| cx.warn(&remark.text));
        let page = Page { title: lineage.title(), about: lineage.about(), remarks, sections };
        cx.write("report", "report.html", page.html().as_bytes())?;
        charts.files.iter().try_for_each(|(name, svg)| cx.write("report", &format!("figures/{name}.svg"), alone(svg).as_bytes()))
    }
}

impl ReportHtml {
    fn tables(&self, found: Option<&LaidOut>) -> Section {
        let (id, title) = ("results", "Results");
        let Some(LaidOut { report, grids, further, .. }) = found else {
            return Section::left_out(id, title, "nothing is connected to port `runs`");
        };
        let mut body = honest(report, "Every run, with its 95 % interval where it has one. A click on a column's head sorts.", self.digits);
        if !grids.is_empty() {
            body.push_str(&heading("As papers print it"));
            grids.iter().for_each(|grid| body.push_str(&paper(grid, self.digits)));
        }
        for Further { title, told, report, .. } in further {
            body.push_str(&heading(title));
            body.push_str(&honest(report, told, self.digits));
        }
        if report.min_count > 0 {
            body.push_str(&note(&format!("Figures that rest on fewer than {} rows are not shown (*).", report.min_count)));
        }
        Section { id, title, body }
    }
}

/// Contact sheets, unless they show people.
fn pictures(cx: &Context) -> Result<Section> {
    let (id, title) = ("pictures", "Pictures");
    let parts = cx.inputs.many("figures");
    if parts.is_empty() {
        return Ok(Section::left_out(id, title, "nothing is connected to port `figures`"));
    }
    let (mut shown, mut withheld, mut failed) = (Vec::new(), 0, Vec::new());
    for part in parts {
        match &part.hole {
            Some(class) => failed.push(format!("[{}]: failed, {class}", show_coordinates(&part.coordinates))),
            None if part.tree.is_identified() => withheld += 1,
            None => {
                for (name, file) in part.tree.files.iter().filter(|(name, _)| name.ends_with(".svg")) {
                    let at = show_coordinates(&part.coordinates);
                    let name = name.trim_end_matches(".svg");
                    shown.push(picture(&if at.is_empty() { name.to_owned() } else { format!("{name} [{at}]") }, &file.read()?));
                }
            }
        }
    }
    let mut body = gallery(&shown);
    if withheld > 0 {
        body.push_str(&note("Left out: pictures of identified data. `tomograph show` says where they lie in the store."));
    }
    failed.iter().for_each(|text| body.push_str(&note(text)));
    Ok(Section { id, title, body })
}

/// Tables that other stages made. Rows of people's data could tell of one of them, so such tables stay out.
fn further(cx: &Context) -> Result<Option<Section>> {
    let parts = cx.inputs.many("tables");
    let mut body = String::new();
    for part in parts {
        let at = show_coordinates(&part.coordinates);
        if let Some(class) = &part.hole {
            body.push_str(&note(&format!("[{at}]: failed, {class}")));
            continue;
        }
        if part.tree.is_identified() {
            body.push_str(&note("Left out: a table of identified data."));
            continue;
        }
        let found = part.table().with_context(|| format!("the table of [{at}]"))?;
        let words = |at: usize| !found.rows.iter().all(|row| row[at].is_empty() || row[at].parse::<f64>().is_ok());
        let columns: Vec<(String, bool)> = found.columns.iter().enumerate().map(|(at, name)| (name.clone(), words(at))).collect();
        let rows: Vec<Vec<Td>> = found.rows.iter().map(|row| row.iter().map(Td::text).collect()).collect();
        body.push_str(&table(&at, &[], &columns, &rows));
    }
    Ok((!parts.is_empty()).then_some(Section { id: "tables", title: "Further tables", body }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::{Level, Tree};
    use crate::stage::{Part, Value};
    use crate::stages::testing::{World, params};
    use std::sync::Arc;

    fn part(tree: Tree, label: &str) -> Part {
        let text = |text: &str| Value::Text(text.to_owned());
        Part { coordinates: [("from".to_owned(), text(label)), ("region".to_owned(), text("all"))].into(), tree: tree.into(), hole: None }
    }

    /// A chosen list of two networks, as `classifier.evaluate` gives it: metrics in folders, predictions in one table.
    fn world() -> World {
        let mut world = World::new();
        let metrics = |auc: f64| format!(r#"{{"role":"test","n":40,"metrics":[{{"name":"auc","value":{auc}}}]}}"#);
        let (first, second) = (metrics(0.9), metrics(0.8));
        let list = [
            ("parts.tsv", &b"part\tbackbone\n1\tnas\n2\tvgg\n"[..]),
            ("1/metrics.json", first.as_bytes()),
            ("2/metrics.json", second.as_bytes()),
        ];
        let runs = part(world.tree(&list), "chosen");
        let mut table = "backbone\titem\tsubject\tlabel\tpredicted\tscore_a\tscore_b\n".to_owned();
        for (network, name) in ["nas", "vgg"].iter().enumerate() {
            for row in 0..20 {
                let (label, score) = (if row % 2 == 0 { "a" } else { "b" }, f64::from((row * 7 + network as i32) % 20) / 20.0);
                table += &format!("{name}\ti{row}\ts{row}\t{label}\tx\t{}\t{score}\n", 1.0 - score);
            }
        }
        let predictions = part(world.tree(&[("predictions.tsv", table.as_bytes())]), "chosen");
        world.inputs.0.insert("runs".to_owned(), vec![runs]);
        world.inputs.0.insert("predictions".to_owned(), vec![predictions]);
        world
    }

    #[test]
    fn a_chosen_list_has_a_row_and_a_line_per_network() {
        let outcome = world().run(&params::<ReportHtml>("")).unwrap();
        let page = String::from_utf8(outcome.read("report", "report.html")).unwrap();
        for part in ["<td class=\"word \">vgg</td>", ">nas</text>", ">vgg</text>", "Region all: measured on the test set."] {
            assert!(page.contains(part), "{part}\n{page}");
        }
        for name in ["roc_chosen-all", "precision-recall_chosen-all", "calibration_chosen-all", "confusion_chosen-all_vgg"] {
            let svg = String::from_utf8(outcome.read("report", &format!("figures/{name}.svg"))).unwrap();
            assert!(svg.starts_with("<svg xmlns="), "{svg}");
        }
    }

    #[test]
    fn what_rests_on_few_people_is_not_drawn() {
        let mut world = world();
        world.inputs.0.values_mut().flatten().for_each(|part| Arc::make_mut(&mut part.tree).level = Level::Identified);
        let page =
            |params: ReportHtml, world: &World| String::from_utf8(world.run(&params).unwrap().read("report", "report.html")).unwrap();
        assert!(page(params("min_count = 5"), &world).contains("ROC: b"));
        let hidden = page(params("min_count = 11"), &world);
        assert!(!hidden.contains("ROC: b") && !hidden.contains("<circle") && hidden.contains("with counts below 11"), "{hidden}");
        world.inputs.0.values_mut().flatten().for_each(|part| Arc::make_mut(&mut part.tree).level = Level::Released);
        assert!(page(params("min_count = 11"), &world).contains("ROC: b"));
    }

    #[test]
    fn labels_that_hold_together_have_no_curves() {
        let mut world = world();
        let table = b"item\tsubject\tlabel\tpredicted\tscore_a\tscore_b\ttruth_a\ttruth_b\n1\ts\ta|b\ta\t0.9\t0.4\t1\t1\n";
        let tree = world.tree(&[("predictions.tsv", table)]);
        world.inputs.0.insert("predictions".to_owned(), vec![part(tree, "x")]);
        let outcome = world.run(&params::<ReportHtml>("")).unwrap();
        let page = String::from_utf8(outcome.read("report", "report.html")).unwrap();
        assert!(page.contains("Left out: the predictions are of labels, not of classes."), "{page}");
    }
}
