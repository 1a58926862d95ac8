//! `demo.phantom`: made-up patients with chest radiographs as DICOM, their laboratory results and lung masks.

use crate::content::Level;
use crate::phantom::{Person, Radiograph};
use crate::stage::{Artifact, Context, Params, Port, Problem, Whole, item_name};
use crate::table::Table;
use anyhow::{Context as _, Result};
use image::{ImageEncoder as _, codecs::png::PngEncoder};
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicU64, Ordering};

/// Made-up patients for demos and tests: DICOM radiographs of chests by two makes of scanner, with names, dates, burned-in
/// markers and both photometric interpretations; a table of laboratory results; lung masks.
///
/// Positive patients have opacities in their lungs. A patient follows from the seed and the patient's number alone: taking
/// fewer patients changes none of those that stay. Nothing in it is from a real person.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Phantom {
    /// How many patients, each with 1 to 4 radiographs.
    #[serde(default = "default_patients")]
    patients: u32,
    /// Seed of everything random.
    #[serde(default = "default_seed")]
    seed: u64,
    /// Width of the radiographs in pixels, 32 to 4096; the height is the same or a fifth more, by scanner.
    #[serde(default = "default_side")]
    side: u32,
    /// Share of positive patients, from 0 to 1.
    #[serde(default = "default_positive")]
    positive: f64,
}

fn default_patients() -> u32 {
    60
}

fn default_seed() -> u64 {
    1
}

fn default_side() -> u32 {
    256
}

fn default_positive() -> f64 {
    0.5
}

impl Params for Phantom {
    const KIND: &'static str = "demo.phantom";
    const REVISION: u32 = 2;
    const REVISIONS: &'static [(u32, &'static str)] = &[(2, "opacities are denser")];
    const INPUTS: &'static [Port] = &[];
    const OUTPUTS: &'static [Port] = &[
        Port::one("files", &[Artifact::Files], "the radiographs: PATIENT/DATE/IMn.dcm"),
        Port::one("table", &[Artifact::Table], "laboratory.tsv: subject, label (positive, negative), test_date, age (years), sex"),
        Port::one("masks", &[Artifact::Masks], "the lungs, without heart: 255 inside"),
    ];

    fn check(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if !(1..=9999).contains(&self.patients) {
            problems.push(Problem::of("patients", "must be from 1 to 9999"));
        }
        if !(32..=4096).contains(&self.side) {
            problems.push(Problem::of("side", "must be from 32 to 4096"));
        }
        if !(0.0..=1.0).contains(&self.positive) {
            problems.push(Problem::of("positive", "must be from 0 to 1"));
        }
        problems
    }
}

impl Whole for Phantom {
    fn run(&self, cx: &Context) -> Result<()> {
        let people: Vec<Person> = (0..self.patients).map(|index| Person::draw(self.seed, u64::from(index), self.positive)).collect();
        let done = AtomicU64::new(0);
        let rows: Vec<Vec<Vec<String>>> = people
            .par_iter()
            .map(|person| {
                let rows = self.write_patient(cx, person)?;
                cx.progress(done.fetch_add(1, Ordering::Relaxed) + 1, people.len() as u64, "patients");
                Ok(rows)
            })
            .collect::<Result<_>>()?;
        let mut index = Table::new(["item", "file", "subject", "session", "view", "width", "height"]);
        index.rows = rows.into_iter().flatten().collect();
        index.rows.sort();
        cx.write("masks", "index.tsv", &index.to_tsv())?;
        let mut laboratory = Table::new(["subject", "label", "test_date", "age", "sex"]);
        laboratory.rows = people
            .iter()
            .map(|person| {
                let label = if person.positive { "positive" } else { "negative" };
                vec![person.id.clone(), label.to_owned(), dashed(&person.test_date), person.age.to_string(), person.sex.to_owned()]
            })
            .collect();
        cx.write("table", "laboratory.tsv", &laboratory.to_tsv())
    }
}

impl Phantom {
    /// Writes one patient's files and masks; the rows are those of the masks' index.
    fn write_patient(&self, cx: &Context, person: &Person) -> Result<Vec<Vec<String>>> {
        let mut rows = Vec::with_capacity(person.exams.len());
        for exam in &person.exams {
            let made = Radiograph::make(self.seed, person, exam, self.side as usize)?;
            cx.write("files", &format!("{}/{}/IM{}.dcm", person.id, exam.date, exam.number), &made.dicom)?;
            let item = item_name(Level::Released, &made.sop_instance_uid);
            let file = format!("{item}.png");
            let (columns, height) = (u32::try_from(made.columns)?, u32::try_from(made.rows)?);
            let mut png = Vec::new();
            PngEncoder::new(&mut png)
                .write_image(&made.lungs, columns, height, image::ExtendedColorType::L8)
                .context("cannot encode a lung mask")?;
            cx.write("masks", &file, &png)?;
            let view = exam.view.to_owned();
            rows.push(vec![item, file, person.id.clone(), made.study_instance_uid, view, columns.to_string(), height.to_string()]);
        }
        Ok(rows)
    }
}

/// A DICOM date as tables write it.
fn dashed(date: &str) -> String {
    format!("{}-{}-{}", &date[..4], &date[4..6], &date[6..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stage::{Inputs, Note};

    #[test]
    fn files_table_and_masks_agree() {
        let outputs = tempfile::tempdir().unwrap();
        let (inputs, note) = (Inputs::default(), |_: Note| {});
        let cx = Context { inputs: &inputs, coordinates: &Default::default(), threads: 1, outputs: outputs.path(), note: &note };
        let phantom = Phantom { patients: 3, seed: 2, side: 48, positive: 0.5 };
        phantom.run(&cx).unwrap();
        let read = |path: &str| Table::from_tsv(&std::fs::read(outputs.path().join(path)).unwrap()).unwrap();
        let (laboratory, masks) = (read("table/laboratory.tsv"), read("masks/index.tsv"));
        assert_eq!(laboratory.rows.len(), 3);
        for row in &masks.rows {
            assert!(outputs.path().join("masks").join(&row[1]).exists());
            assert!(laboratory.rows.iter().any(|patient| patient[0] == row[2]));
        }
    }
}
