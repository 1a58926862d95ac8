//! DICOM as a study needs it: bytes to header fields and pixels. Knows nothing of stages.

pub mod charset;
pub mod codecs;
pub mod header;
mod jpeg12;
pub mod names;
pub mod pixels;
pub mod read;
pub mod scan;
pub mod show;

/// Why bytes cannot be used: a class (one word) and a reason free of people's data.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{class}: {reason}")]
pub struct Unreadable {
    /// One word: `not-dicom`, `truncated`, `malformed`, `too-deep`, `large`, `unsupported`, …
    pub class: &'static str,
    /// A lower-case fragment.
    pub reason: String,
}

impl Unreadable {
    pub(crate) fn new(class: &'static str, reason: impl Into<String>) -> Self {
        Self { class, reason: reason.into() }
    }
}
