//! Maps files into memory. The one place with `unsafe` outside tensors.
//!
//! Knows nothing of what is in the files.

use anyhow::{Context as _, Result};
use std::path::Path;

/// A file's bytes, read by the system as they are touched.
///
/// Only blobs are mapped: nobody writes to a blob once it has its name, so the bytes do not change under the mapping.
pub struct Mapped(memmap2::Mmap);

impl Mapped {
    /// Maps a blob; an empty file gives no bytes.
    #[expect(unsafe_code, reason = "mapping is unsafe because another process could shorten the file; blobs are never edited")]
    pub fn open(path: &Path) -> Result<Self> {
        let file = std::fs::File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
        // SAFETY: the file is a blob of the store, created whole by rename and never written again.
        let map = unsafe { memmap2::Mmap::map(&file) }.with_context(|| format!("cannot map {}", path.display()))?;
        Ok(Self(map))
    }
}

impl std::ops::Deref for Mapped {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}
