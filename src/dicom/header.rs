//! The header fields a study needs, as text for a table.

use super::charset;
use super::read;
use super::scan::Scanned;
use dicom_core::Tag;
use dicom_dictionary_std::{tags, uids};

/// What a file says of itself. A field the file does not have is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Patient ID.
    pub subject: String,
    pub study_instance_uid: String,
    pub series_instance_uid: String,
    /// Empty where it is missing or no UID.
    pub sop_instance_uid: String,
    pub sop_class_uid: String,
    /// Column → value of everything else.
    pub fields: Vec<(&'static str, String)>,
}

/// Names of [`Header::fields`], in order.
pub const FIELDS: &[&str] = &[
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

impl Header {
    /// Reads the fields of a scanned file.
    pub fn of(scanned: &Scanned) -> Self {
        let declared = scanned.plain(tags::SPECIFIC_CHARACTER_SET);
        let text = |tag: Tag| {
            let text = charset::decode(&declared, scanned.value(tag).unwrap_or_default());
            text.split('\0').next().unwrap_or_default().trim().to_owned()
        };
        let uid = |tag: Tag| Some(scanned.plain(tag)).filter(|uid| is_uid(uid)).unwrap_or_default();
        let number = |tag: Tag| scanned.number(tag).map_or(String::new(), |number| number.to_string());
        let or = |value: String, other: &dyn Fn() -> String| if value.is_empty() { other() } else { value };
        let has_pixels = scanned.elements.contains_key(&tags::PIXEL_DATA);
        let study_date = scanned.plain(tags::STUDY_DATE);
        let fields = FIELDS
            .iter()
            .map(|field| {
                let value = match *field {
                    "modality" => scanned.plain(tags::MODALITY),
                    "manufacturer" => text(tags::MANUFACTURER),
                    "model" => text(tags::MANUFACTURER_MODEL_NAME),
                    "view" => or(scanned.plain(tags::VIEW_POSITION), &|| view_by_code(scanned)),
                    "laterality" => or(scanned.plain(tags::IMAGE_LATERALITY), &|| scanned.plain(tags::LATERALITY)),
                    "body_part" => scanned.plain(tags::BODY_PART_EXAMINED),
                    "photometric_interpretation" => scanned.plain(tags::PHOTOMETRIC_INTERPRETATION),
                    "rows" => number(tags::ROWS),
                    "columns" => number(tags::COLUMNS),
                    "bits_allocated" => number(tags::BITS_ALLOCATED),
                    "bits_stored" => number(tags::BITS_STORED),
                    "pixel_representation" => number(tags::PIXEL_REPRESENTATION),
                    "frames" => or(scanned.plain(tags::NUMBER_OF_FRAMES), &|| if has_pixels { "1".to_owned() } else { String::new() }),
                    "transfer_syntax" => scanned.syntax.clone(),
                    "study_date" => iso_date(&study_date),
                    "age" => age(&scanned.plain(tags::PATIENT_AGE), &scanned.plain(tags::PATIENT_BIRTH_DATE), &study_date),
                    _ => scanned.plain(tags::PATIENT_SEX),
                };
                (*field, value)
            })
            .collect();
        let meta = |uid: &str| Some(uid.to_owned()).filter(|uid| is_uid(uid)).unwrap_or_default();
        Self {
            subject: text(tags::PATIENT_ID),
            study_instance_uid: uid(tags::STUDY_INSTANCE_UID),
            series_instance_uid: uid(tags::SERIES_INSTANCE_UID),
            sop_instance_uid: or(uid(tags::SOP_INSTANCE_UID), &|| meta(&scanned.meta_instance)),
            sop_class_uid: or(uid(tags::SOP_CLASS_UID), &|| meta(&scanned.meta_class)),
            fields,
        }
    }

    /// Whether the file is an index of others (DICOMDIR), which are read as the files they are.
    pub fn is_directory(&self) -> bool {
        self.sop_class_uid == uids::MEDIA_STORAGE_DIRECTORY_STORAGE
    }
}

/// Whether text may be a UID: digits and dots, at most 64 (PS3.5 section 9).
pub(super) fn is_uid(text: &str) -> bool {
    !text.is_empty() && text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') && !text.starts_with('.')
}

/// `AP`, `PA` or `LATERAL` by the meaning of the View Code Sequence (PS3.16 CID 4010), else nothing.
fn view_by_code(scanned: &Scanned) -> String {
    let Ok(object) = read::dataset(scanned, &[tags::VIEW_CODE_SEQUENCE]) else { return String::new() };
    let items = object.get(tags::VIEW_CODE_SEQUENCE).and_then(|element| element.items());
    let meaning = items.and_then(<[_]>::first).and_then(|item| item.get(tags::CODE_MEANING)).and_then(|element| element.to_str().ok());
    let meaning = meaning.map(|meaning| meaning.to_lowercase()).unwrap_or_default();
    let known = [("antero-posterior", "AP"), ("postero-anterior", "PA"), ("lateral", "LATERAL")];
    known.iter().find(|(part, _)| meaning.contains(part)).map_or(String::new(), |(_, view)| (*view).to_owned())
}

/// A date as tables write it (`2021-03-09`); what is not a DICOM date stays as it is. The dots of ACR-NEMA are taken out first.
fn iso_date(date: &str) -> String {
    let digits: String = date.chars().filter(|one| *one != '.').collect();
    match digits.len() == 8 && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        true => format!("{}-{}-{}", &digits[..4], &digits[4..6], &digits[6..]),
        false => date.to_owned(),
    }
}

/// Whole years: of Patient's Age (`045Y`, `018M`, …), else from the dates of birth and study; empty where neither serves.
fn age(declared: &str, birth: &str, study: &str) -> String {
    let days_in = |unit: char| match unit {
        'Y' => Some(365.25),
        'M' => Some(30.4375),
        'W' => Some(7.0),
        'D' => Some(1.0),
        _ => None,
    };
    let mut characters = declared.chars();
    let unit = characters.next_back().and_then(days_in);
    if let (Some(days), Ok(count)) = (unit, characters.as_str().trim().parse::<u32>()) {
        return format!("{}", (f64::from(count) * days / 365.25 + 1e-9).floor());
    }
    let number = |date: &str| {
        let date = iso_date(date).replace('-', "");
        if date.len() == 8 { date.parse::<i64>().ok() } else { None }
    };
    match (number(birth), number(study)) {
        (Some(birth), Some(study)) if study >= birth => ((study - birth) / 10_000).to_string(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_and_dates_are_read() {
        assert_eq!(age("045Y", "", ""), "45");
        assert_eq!(age("018M", "", ""), "1");
        assert_eq!(age("", "19800615", "20210614"), "40");
        assert_eq!(age("", "1980.06.15", "20210615"), "41");
        assert_eq!(age("old", "", "20210615"), "");
        assert_eq!(iso_date("2021.06.15"), "2021-06-15");
        assert!(is_uid("1.2.840") && !is_uid("") && !is_uid("../1"));
    }
}
