//! From scanned bytes to dicom-object's data sets, with the wanted elements alone: what nobody asked for is never parsed.

use super::Unreadable;
use super::scan::{EXPLICIT_VR_BIG_ENDIAN, Scanned};
use dicom_core::Tag;
use dicom_dictionary_std::uids;
use dicom_encoding::transfer_syntax::TransferSyntaxIndex as _;
use dicom_object::InMemDicomObject;
use dicom_transfer_syntax_registry::TransferSyntaxRegistry;
use std::io::Read;

/// The wanted top elements. Those of unknown VR and undefined length are left out: dicom-rs misreads them (and then takes gigabytes).
pub fn dataset(scanned: &Scanned, wanted: &[Tag]) -> Result<InMemDicomObject, Unreadable> {
    let syntax = match (scanned.encoding.explicit, scanned.encoding.big_endian) {
        (false, _) => uids::IMPLICIT_VR_LITTLE_ENDIAN,
        (true, false) => uids::EXPLICIT_VR_LITTLE_ENDIAN,
        (true, true) => EXPLICIT_VR_BIG_ENDIAN,
    };
    let syntax = TransferSyntaxRegistry.get(syntax).ok_or_else(|| Unreadable::new("unsupported", "an unknown transfer syntax"))?;
    let mut wanted = wanted.to_vec();
    wanted.sort_unstable();
    let mut source: Box<dyn Read + '_> = Box::new(std::io::empty());
    for tag in wanted {
        let Some(place) = scanned.elements.get(&tag) else { continue };
        if place.undefined && place.vr == Some(dicom_core::VR::UN) {
            continue;
        }
        source = Box::new(source.chain(&scanned.data[place.whole.clone()]));
    }
    InMemDicomObject::read_dataset_with_ts(source, syntax)
        .map_err(|_| Unreadable::new("malformed", "an element that is wanted cannot be parsed"))
}
