//! `dicom.import`: a folder of DICOM files becomes studies with an index.

use crate::content::FileRef;
use crate::dicom::header::{FIELDS, Header};
use crate::dicom::{names, scan::Scanned};
use crate::stage::{Artifact, Aside, Each, Inputs, Item, ItemFile, Made, Map, Params, Port, Row, item_name};
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

impl Map for DicomImport {
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
    const GUARDED: bool = true;

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
                row: BTreeMap::new(),
                identified: tree.identified,
            })
            .collect())
    }

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
            uid => (item_name(item.identified, uid), names::component(uid)),
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
        Ok(Each::Made(vec![Made { item: Some(name), row, files: vec![(file, bytes)] }]))
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

const _: () = assert!(DicomImport::WRITES.len() == FIELDS.len() + 7, "every header field has its column");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::{Digest, Tree};
    use crate::phantom::{Person, Radiograph};
    use crate::stage::Part;

    fn import(files: &[(&str, Vec<u8>)], identified: bool) -> (Vec<Row>, Vec<(String, String)>) {
        let folder = tempfile::tempdir().unwrap();
        let mut tree = Tree { identified, ..Default::default() };
        for (number, (path, bytes)) in files.iter().enumerate() {
            let place = folder.path().join(number.to_string());
            std::fs::write(&place, bytes).unwrap();
            tree.files.insert((*path).to_owned(), FileRef { digest: Digest::of(bytes), size: bytes.len() as u64, place });
        }
        let part = Part { coordinates: Default::default(), tree, hole: None };
        let inputs = Inputs(BTreeMap::from([("files".to_owned(), vec![part])]));
        let (mut rows, mut set_aside) = (Vec::new(), Vec::new());
        let kind = DicomImport {};
        for item in kind.items(&inputs).unwrap() {
            match kind.each(&item, &Inputs::default()).unwrap() {
                Each::Quarantined { class, .. } => set_aside.push((item.item, class)),
                Each::Made(made) => rows.extend(made.into_iter().map(|made| {
                    Row {
                        item: made.item.unwrap(),
                        values: made.row.into_iter().collect(),
                        files: made
                            .files
                            .into_iter()
                            .map(|(path, bytes)| (path, FileRef { digest: Digest::of(&bytes), size: 0, place: Default::default() }))
                            .collect(),
                    }
                })),
            }
        }
        let mut aside = Vec::new();
        kind.finish(&mut rows, &mut aside).unwrap();
        set_aside.extend(aside.into_iter().map(|one| (one.item, one.class)));
        (rows, set_aside)
    }

    #[test]
    fn files_are_indexed_and_others_set_aside() {
        let person = Person::draw(1, 1, 1.0);
        let radiograph = Radiograph::make(1, &person, &person.exams[0], 32).unwrap();
        let mut other = radiograph.dicom.clone();
        *other.last_mut().unwrap() ^= 1;
        let mut cut = radiograph.dicom.clone();
        cut.truncate(cut.len() - 10);
        let files = [
            ("a", radiograph.dicom.clone()),
            ("b/again", radiograph.dicom.clone()),
            ("c", other),
            ("d", cut),
            ("README", b"hello".to_vec()),
        ];
        let (rows, aside) = import(&files, false);
        assert_eq!(rows.len(), 1);
        assert_eq!((rows[0].item.as_str(), rows[0].values["subject"].as_str()), (radiograph.sop_instance_uid.as_str(), person.id.as_str()));
        assert_eq!(rows[0].files[0].0, format!("{}/{}/{}.dcm", person.id, radiograph.study_instance_uid, radiograph.sop_instance_uid));
        assert_eq!(
            rows[0].values.keys().map(String::as_str).collect::<std::collections::BTreeSet<_>>(),
            DicomImport::WRITES.iter().copied().collect()
        );
        let mut classes: Vec<&str> = aside.iter().map(|(_, class)| class.as_str()).collect();
        classes.sort_unstable();
        assert_eq!(classes, ["duplicate", "not-dicom", "truncated"]);
        let (rows, _) = import(&files[..1], true);
        assert_eq!(rows[0].item, item_name(true, &radiograph.sop_instance_uid));
    }
}
