//! `dicom.render`: DICOM pixels become 16-bit grey images as a viewer shows them.

use super::images_import::{made, name_files};
use crate::dicom::{Unreadable, pixels, scan::Scanned, show};
use crate::image::encode_png16;
use crate::stage::{Artifact, Aside, Each, Inputs, Item, Items, Map, Params, Port, Row};
use anyhow::{Context as _, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Renders DICOM images as 16-bit grey PNG, the way a viewer shows them: modality LUT or rescale, then VOI LUT or the first window (linear,
/// linear exact, sigmoid) or, without either, the full range of the values that occur; MONOCHROME1 inverted, so that air is always
/// dark. Bits above those stored are dropped, padding is black, colour becomes luma. The size in pixels stays.
///
/// The column `rendered` says what was done, such as `voi=window 2048/4096 linear; inverted; bits 12`. Into quarantine go what has no
/// pixels (`no-pixels`) or several frames (`multi-frame`), compression that is not decoded (`unsupported-transfer-syntax`) or
/// broken (`undecodable`), samples that are no grey values (`unsupported-pixels`), and files that are cut or damaged.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DicomRender {}

impl Params for DicomRender {
    const KIND: &'static str = "dicom.render";
    const REVISION: u32 = 1;
    const INPUTS: &'static [Port] = &[Port::one("studies", &[Artifact::Studies], "the files to render")];
    const OUTPUTS: &'static [Port] =
        &[Port::one("images", &[Artifact::Images], "a 16-bit PNG per file; the column `rendered` says what was done to each")];
}

impl Items for DicomRender {
    const ITEMS: &'static [&'static str] = &["studies"];
    const WRITES: &'static [&'static str] = &["file", "width", "height", "rendered"];

    fn finish(&self, rows: &mut Vec<Row>, _: &mut Vec<Aside>) -> Result<()> {
        name_files(rows);
        Ok(())
    }
}

impl Map for DicomRender {
    const GUARDED: bool = true;

    fn each(&self, item: &Item, _: &Inputs) -> Result<Each> {
        let bytes = item.read("studies")?;
        let shown = match render(&bytes) {
            Ok(shown) => shown,
            Err(flaw) => return Ok(Each::Quarantined { class: flaw.class.to_owned(), reason: flaw.reason }),
        };
        drop(bytes);
        let png = encode_png16(shown.columns, shown.rows, &shown.pixels).with_context(|| format!("item {}", item.item))?;
        let row = [("width", shown.columns.to_string()), ("height", shown.rows.to_string()), ("rendered", shown.done)];
        let row = row.map(|(column, value)| (column.to_owned(), value)).to_vec();
        Ok(Each::Made(vec![made(item.file("studies")?, png, row)]))
    }
}

fn render(bytes: &[u8]) -> Result<show::Shown, Unreadable> {
    let scanned = Scanned::of(bytes)?;
    let stored = pixels::decode(&scanned)?;
    show::show(&scanned, stored)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Grey;
    use crate::phantom::{Person, Radiograph};
    use crate::stages::testing::World;

    #[test]
    fn lungs_are_darker_than_what_is_around_them() {
        for index in 0..6 {
            let person = Person::draw(3, index, 0.0);
            let radiograph = Radiograph::make(3, &person, &person.exams[0], 64).unwrap();
            let mut world = World::new();
            world.connect("studies", &[("index.tsv", b"item\tfile\tsubject\nu\tu.dcm\tp\n"), ("u.dcm", &radiograph.dicom)]);
            let tree = world.map(&DicomRender {}).unwrap();
            let image = Grey::decode(&tree.read("u.png").unwrap()).unwrap();
            assert_eq!((image.width as usize, image.height as usize, image.depth), (radiograph.columns, radiograph.rows, 16));
            let mean = |inside: u8| {
                let values = image.pixels.iter().zip(&radiograph.lungs).filter(|(_, lung)| **lung == inside);
                let (sum, count) = values.fold((0.0, 0.0), |(sum, count), (value, _)| (sum + f64::from(*value), count + 1.0));
                sum / count
            };
            assert!(mean(255) < 0.8 * mean(0), "patient {index}: {} in the lungs, {} outside", mean(255), mean(0));
        }
    }
}
