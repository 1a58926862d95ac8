//! A made-up radiograph as a DICOM file: Computed Radiography (PS3.3 A.2) or Digital X-Ray for presentation (PS3.3 A.26).

use super::person::{Exam, Person, Scanner};
use super::radiograph::Pixels;
use anyhow::{Context as _, Result};
use dicom_core::{DataElement, PrimitiveValue, Tag, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::{FileMetaTableBuilder, InMemDicomObject};

/// The bytes of the file: Explicit VR Little Endian, no clock and no version in it.
pub(super) fn write(person: &Person, exam: &Exam, pixels: &Pixels, image: &str, study: &str, series: &str) -> Result<Vec<u8>> {
    let alder = exam.scanner == Scanner::Alder;
    let class = if alder { uids::COMPUTED_RADIOGRAPHY_IMAGE_STORAGE } else { uids::DIGITAL_X_RAY_IMAGE_STORAGE_FOR_PRESENTATION };
    let mut object = InMemDicomObject::new_empty();
    let mut text = |tag: Tag, vr: VR, value: &str| {
        object.put(DataElement::new(tag, vr, PrimitiveValue::from(value)));
    };
    text(tags::SPECIFIC_CHARACTER_SET, VR::CS, if alder { "ISO_IR 100" } else { "ISO_IR 192" });
    text(tags::IMAGE_TYPE, VR::CS, "ORIGINAL\\PRIMARY");
    text(tags::SOP_CLASS_UID, VR::UI, class);
    text(tags::SOP_INSTANCE_UID, VR::UI, image);
    text(tags::STUDY_DATE, VR::DA, &exam.date);
    text(tags::SERIES_DATE, VR::DA, &exam.date);
    text(tags::ACQUISITION_DATE, VR::DA, &exam.date);
    text(tags::CONTENT_DATE, VR::DA, &exam.date);
    text(tags::STUDY_TIME, VR::TM, &exam.time);
    text(tags::CONTENT_TIME, VR::TM, &exam.time);
    text(tags::ACCESSION_NUMBER, VR::SH, &format!("A{}{}", &person.id[1..], exam.study));
    text(tags::MODALITY, VR::CS, if alder { "CR" } else { "DX" });
    if !alder {
        text(tags::PRESENTATION_INTENT_TYPE, VR::CS, "FOR PRESENTATION");
    }
    text(tags::MANUFACTURER, VR::LO, if alder { "Alder Imaging" } else { "Birch Medical Systems" });
    text(tags::INSTITUTION_NAME, VR::LO, "Clínica de Prueba");
    text(tags::REFERRING_PHYSICIAN_NAME, VR::PN, "Duarte^Lucía");
    text(tags::STATION_NAME, VR::SH, if alder { "ALDER-1" } else { "BIRCH-2" });
    text(tags::STUDY_DESCRIPTION, VR::LO, &format!("Tórax de {} {}", person.name.1, person.name.0));
    text(tags::SERIES_DESCRIPTION, VR::LO, &format!("Chest {}", exam.view));
    text(tags::MANUFACTURER_MODEL_NAME, VR::LO, if alder { "CR 30" } else { "DX 500" });
    text(tags::PATIENT_NAME, VR::PN, &format!("{}^{}", person.name.0, person.name.1));
    text(tags::PATIENT_ID, VR::LO, &person.id);
    text(tags::PATIENT_BIRTH_DATE, VR::DA, &person.birth_date);
    text(tags::PATIENT_SEX, VR::CS, person.sex);
    text(tags::PATIENT_AGE, VR::AS, &format!("{:03}Y", person.age));
    text(tags::BODY_PART_EXAMINED, VR::CS, "CHEST");
    text(tags::VIEW_POSITION, VR::CS, exam.view);
    text(tags::STUDY_INSTANCE_UID, VR::UI, study);
    text(tags::SERIES_INSTANCE_UID, VR::UI, series);
    text(tags::STUDY_ID, VR::SH, &format!("{}", exam.study + 1));
    text(tags::SERIES_NUMBER, VR::IS, &format!("{}", exam.number + 1));
    text(tags::INSTANCE_NUMBER, VR::IS, "1");
    text(tags::PATIENT_ORIENTATION, VR::CS, "L\\F");
    if !alder {
        text(tags::IMAGE_LATERALITY, VR::CS, "U");
        text(tags::BURNED_IN_ANNOTATION, VR::CS, if exam.names_burned { "YES" } else { "NO" });
        text(tags::PRESENTATION_LUT_SHAPE, VR::CS, if exam.monochrome1 { "INVERSE" } else { "IDENTITY" });
    }
    text(tags::PHOTOMETRIC_INTERPRETATION, VR::CS, if exam.monochrome1 { "MONOCHROME1" } else { "MONOCHROME2" });
    if let Some((centre, width)) = pixels.window {
        text(tags::WINDOW_CENTER, VR::DS, &centre.to_string());
        text(tags::WINDOW_WIDTH, VR::DS, &width.to_string());
    }
    let mut number = |tag: Tag, value: u16| {
        object.put(DataElement::new(tag, VR::US, PrimitiveValue::from(value)));
    };
    number(tags::SAMPLES_PER_PIXEL, 1);
    number(tags::ROWS, u16::try_from(pixels.rows).context("the picture is too tall for DICOM")?);
    number(tags::COLUMNS, u16::try_from(pixels.columns).context("the picture is too wide for DICOM")?);
    number(tags::BITS_ALLOCATED, 16);
    number(tags::BITS_STORED, pixels.bits);
    number(tags::HIGH_BIT, pixels.bits - 1);
    number(tags::PIXEL_REPRESENTATION, 0);
    object.put(DataElement::new(tags::PIXEL_DATA, VR::OW, PrimitiveValue::U16(pixels.values.as_slice().into())));
    let meta = FileMetaTableBuilder::new()
        .media_storage_sop_class_uid(class)
        .media_storage_sop_instance_uid(image)
        .transfer_syntax(uids::EXPLICIT_VR_LITTLE_ENDIAN)
        .implementation_class_uid("2.25.302061153371270932044803118386120415029")
        .implementation_version_name("PHANTOM_1")
        .build()
        .context("cannot make the file meta table")?;
    let mut bytes = Vec::with_capacity(pixels.values.len() * 2 + 4096);
    object.with_exact_meta(meta).write_all(&mut bytes).context("cannot write the made-up radiograph")?;
    Ok(bytes)
}
