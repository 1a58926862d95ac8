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
    /// Maps `size` bytes of a file of the store from offset `at`: a blob that shares a file with others.
    #[expect(unsafe_code, reason = "mapping is unsafe because another process could shorten the file; blobs are never edited")]
    pub fn stretch(path: &Path, at: u64, size: u64) -> Result<Self> {
        let length = usize::try_from(size).context("it is too large for this machine")?;
        let opened = std::fs::File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
        // SAFETY: the bytes are a blob of the store: a file made whole by rename, or a stretch of one that is only appended to.
        let map = unsafe { memmap2::MmapOptions::new().offset(at).len(length).map(&opened) };
        Ok(Self(map.with_context(|| format!("cannot map {}", path.display()))?))
    }

    /// Maps a file of its own; an empty one gives no bytes.
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
