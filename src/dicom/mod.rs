//! DICOM as a study needs it: bytes to header fields and pixels. Knows nothing of stages.

pub mod names;
