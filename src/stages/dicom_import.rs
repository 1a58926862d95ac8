//! `dicom.import`: a folder of DICOM files becomes studies with an index.

use crate::content::FileRef;
use crate::dicom::header::{FIELDS, Header};
use crate::dicom::{names, scan::Scanned};
use crate::stage::{Artifact, Aside, Each, Inputs, Item, ItemFile, Items, Made, Map, Params, Port, Row, Values, item_name};
use anyhow::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Reads DICOM files from a folder, whatever their names, and indexes them by subject and study. The files themselves stay as they are.
///
/// Files without preamble, file meta information or transfer syntax are read as they look. A DICOMDIR is passed over: the files it
/// lists are read as files. Into quarantine go, each with its reason: what is no DICOM file (`not-dicom`), zip archives
/// (`unsupported`), files with a length that goes beyond their end (`truncated`) or a structure that makes no sense (`malformed`,
/// `too-deep`, `large`), and files that share a SOP Instance UID with a larger one of other content (`duplicate`). Equal
/// files count once.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DicomImport {}

impl Params for DicomImport {
    const KIND: &'static str = "dicom.import";
    const REVISION: u32 = 1;
    const INPUTS: &'static [Port] = &[Port::one("files", &[Artifact::Files], "a folder, as deep as it likes")];
    const OUTPUTS: &'static [Port] = &[Port::one(
        "studies",
        &[Artifact::Studies],
        "the files by subject and study; index.tsv has UIDs, modality, manufacturer, model, view, study_date, age (years), sex, and more",
    )];
}

impl Items for DicomImport {
    const ITEMS: &'static [&'static str] = &["files"];
    const WRITES: &'static [&'static str] = &[
        "file",
        "subject",
        "session",
        "study_instance_uid",
        "series_instance_uid",
        "sop_instance_uid",
        "sop_class_uid",
        "modality",
        "manufacturer",
        "model",
        "view",
        "laterality",
        "body_part",
        "photometric_interpretation",
        "rows",
        "columns",
        "bits_allocated",
        "bits_stored",
        "pixel_representation",
        "frames",
        "transfer_syntax",
        "study_date",
        "age",
        "sex",
    ];

    fn items(&self, inputs: &Inputs) -> Result<Vec<Item>> {
        let tree = &inputs.one("files")?.tree;
        // Of equal files the one with the first path.
        let mut by_content: BTreeMap<_, (&String, &FileRef)> = BTreeMap::new();
        for (path, file) in &tree.files {
            by_content.entry(file.digest).or_insert((path, file));
        }
        Ok(by_content
            .into_values()
            .map(|(path, file)| Item {
                item: names::item_of_file(&file.digest),
                files: vec![ItemFile { port: "files".to_owned(), path: path.clone(), file: file.clone() }],
                row: Values::default(),
                level: tree.level,
            })
            .collect())
    }

    fn finish(&self, rows: &mut Vec<Row>, aside: &mut Vec<Aside>) -> Result<()> {
        let digest = |row: &Row| row.files.first().map(|(_, file)| file.digest);
        let size = |row: &Row| row.files.first().map(|(_, file)| file.size);
        // Of duplicates the largest is kept, as some differ by having no pixels.
        rows.sort_by(|a, b| (&a.item, size(b), digest(a)).cmp(&(&b.item, size(a), digest(b))));
        let mut kept: Vec<Row> = Vec::with_capacity(rows.len());
        for row in rows.drain(..) {
            match kept.last() {
                Some(last) if last.item == row.item => aside.push(Aside {
                    // Not the row's own item: the one that is kept has it.
                    item: digest(&row).map_or(row.item, |digest| names::item_of_file(&digest)),
                    kind: Self::KIND.to_owned(),
                    class: "duplicate".to_owned(),
                    reason: format!("shares its SOP Instance UID with {}, which has other content", last.item),
                }),
                _ => kept.push(row),
            }
        }
        *rows = kept;
        Ok(())
    }
}

impl Map for DicomImport {
    const GUARDED: bool = true;

    fn each(&self, item: &Item, _: &Inputs) -> Result<Each> {
        let bytes = item.read("files")?;
        let header = match Scanned::of(&bytes) {
            Ok(scanned) => Header::of(&scanned),
            Err(flaw) => return Ok(Each::Quarantined { class: flaw.class.to_owned(), reason: flaw.reason }),
        };
        if header.is_directory() {
            return Ok(Each::Made(Vec::new()));
        }
        let (name, instance) = match header.sop_instance_uid.as_str() {
            "" => (item.item.clone(), item.item.clone()),
            uid => (item_name(item.level, uid), names::component(uid)),
        };
        let file = format!("{}/{}/{instance}.dcm", names::component(&header.subject), names::component(&header.study_instance_uid));
        let mut row = vec![
            ("file".to_owned(), file.clone()),
            ("subject".to_owned(), header.subject),
            ("session".to_owned(), header.study_instance_uid.clone()),
            ("study_instance_uid".to_owned(), header.study_instance_uid),
            ("series_instance_uid".to_owned(), header.series_instance_uid),
            ("sop_instance_uid".to_owned(), header.sop_instance_uid),
            ("sop_class_uid".to_owned(), header.sop_class_uid),
        ];
        row.extend(header.fields.into_iter().map(|(column, value)| (column.to_owned(), value)));
        Ok(Each::Made(vec![Made { item: Some(name), row, files: vec![(file, bytes)], ..Made::default() }]))
    }
}

const _: () = assert!(DicomImport::WRITES.len() == FIELDS.len() + 7, "every header field has its column");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::Level;
    use crate::phantom::{Person, Radiograph};
    use crate::stages::testing::World;
    use crate::table::Table;
    use std::sync::Arc;

    #[test]
    fn files_are_indexed_and_others_set_aside() {
        let person = Person::draw(1, 1, 1.0);
        let radiograph = Radiograph::make(1, &person, &person.exams[0], 32).unwrap();
        let mut other = radiograph.dicom.clone();
        *other.last_mut().unwrap() ^= 1;
        let cut = &radiograph.dicom[..radiograph.dicom.len() - 10];
        let mut world = World::new();
        let files: [(&str, &[u8]); 5] =
            [("a", &radiograph.dicom), ("b/again", &radiograph.dicom), ("c", &other), ("d", cut), ("README", b"hello")];
        world.connect("files", &files);
        let tree = world.map(&DicomImport {}).unwrap();
        let index = Table::from_tsv(&tree.read("index.tsv").unwrap()).unwrap();
        assert_eq!(index.rows.len(), 1);
        let value = |column: &str| index.rows[0][index.column(column).unwrap()].as_str();
        assert_eq!((value("item"), value("subject")), (radiograph.sop_instance_uid.as_str(), person.id.as_str()));
        let file = format!("{}/{}/{}.dcm", person.id, radiograph.study_instance_uid, radiograph.sop_instance_uid);
        assert_eq!((value("file"), tree.files.contains_key(&file)), (file.as_str(), true));
        let aside = Table::from_tsv(&tree.read("quarantine.tsv").unwrap()).unwrap();
        let at = aside.column("class").unwrap();
        let mut classes: Vec<&str> = aside.rows.iter().map(|row| row[at].as_str()).collect();
        classes.sort_unstable();
        assert_eq!(classes, ["duplicate", "not-dicom", "truncated"]);
    }

    #[test]
    fn items_of_people_are_hashed() {
        let person = Person::draw(1, 1, 1.0);
        let radiograph = Radiograph::make(1, &person, &person.exams[0], 32).unwrap();
        let mut world = World::new();
        Arc::make_mut(&mut world.connect("files", &[("a", &radiograph.dicom)]).tree).level = Level::Identified;
        let tree = world.map(&DicomImport {}).unwrap();
        let index = Table::from_tsv(&tree.read("index.tsv").unwrap()).unwrap();
        assert_eq!(index.rows[0][index.column("item").unwrap()], item_name(Level::Identified, &radiograph.sop_instance_uid));
    }
}
