//! What DICOM files, patients and studies are called in the store where their own names will not do.

use crate::content::Digest;

/// The item of a file that has no usable SOP Instance UID.
pub fn item_of_file(digest: &Digest) -> String {
    format!("file-{}", digest.short())
}

/// A path component for a patient or study id: the id itself where it is a plain file name of at most 64 characters,
/// `unknown` where it is empty, else `h-` and a hash.
pub fn component(id: &str) -> String {
    if id.is_empty() {
        return "unknown".to_owned();
    }
    let plain = id.len() <= 64 && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'));
    // A name that looks like a hash is hashed too, so that two ids never meet in one folder.
    if plain && !id.starts_with(['.', '-']) && !id.starts_with("h-") && id != "unknown" {
        return id.to_owned();
    }
    format!("h-{}", &Digest(blake3::derive_key("tomograph path 1", id.as_bytes())).to_string()[..24])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn components_are_safe_and_distinct() {
        assert_eq!(component("P-12.b_3"), "P-12.b_3");
        for odd in ["../up", "a b", "ñ", ".", "..", "a/b", "h-00", "unknown", &"x".repeat(65)] {
            let made = component(odd);
            assert!(made.starts_with("h-") && made.len() == 26, "{odd} became {made}");
        }
    }
}
