//! Which compressions of pixels can be read here.

use dicom_dictionary_std::uids;
use dicom_encoding::transfer_syntax::TransferSyntaxIndex as _;
use dicom_transfer_syntax_registry::TransferSyntaxRegistry;

/// Transfer syntaxes that radiographs come in, and whether this program decodes them.
pub fn known() -> Vec<(&'static str, bool)> {
    const SYNTAXES: &[(&str, &str)] = &[
        ("JPEG baseline", uids::JPEG_BASELINE8_BIT),
        ("JPEG extended, 12 bits", uids::JPEG_EXTENDED12_BIT),
        ("JPEG lossless", uids::JPEG_LOSSLESS_SV1),
        ("JPEG-LS", uids::JPEGLS_LOSSLESS),
        ("JPEG 2000", uids::JPEG2000_LOSSLESS),
        ("JPEG XL", uids::JPEGXL_LOSSLESS),
        ("RLE", uids::RLE_LOSSLESS),
    ];
    let own = [uids::JPEG_EXTENDED12_BIT, uids::JPEGLS_LOSSLESS];
    let decodes = |uid: &str| own.contains(&uid) || TransferSyntaxRegistry.get(uid).is_some_and(|syntax| syntax.can_decode_all());
    SYNTAXES.iter().map(|(name, uid)| (*name, decodes(uid))).collect()
}
