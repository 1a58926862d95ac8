//! The log of one task, made when there is something to say.
//!
//! A task that does well and says nothing leaves none: when, why and where it ran stands in the journal and in its record, and a file
//! each is what thousands of short tasks would wait for. One that fails leaves one always.

use crate::content::Digest;
use crate::store::Store;
use anyhow::Result;
use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

/// Where a task's words go.
pub(super) struct Log<'a> {
    store: &'a Store,
    key: Digest,
    inner: Mutex<Inner>,
}

struct Inner {
    /// What stands before them, until there is a file.
    head: String,
    file: Option<File>,
}

impl<'a> Log<'a> {
    /// The log of the task with this key. That of an earlier try `goes_on`; what an earlier run left is taken away.
    pub(super) fn begin(store: &'a Store, key: &Digest, goes_on: bool) -> Result<Self> {
        if !goes_on {
            store.forget_log(key)?;
        }
        Ok(Self { store, key: *key, inner: Mutex::new(Inner { head: String::new(), file: None }) })
    }

    /// A line that is written only if others follow.
    pub(super) fn head(&self, text: &str) {
        let mut inner = self.lock();
        inner.head.push_str(text);
        inner.head.push('\n');
    }

    /// A line of its own.
    pub(super) fn line(&self, text: &str) {
        self.write(format!("{text}\n").as_bytes());
    }

    /// What a program said, as it is.
    pub(super) fn write(&self, bytes: &[u8]) {
        // A log that cannot be written stops no task: what matters is told as an error too.
        let _ = self.begun(&mut self.lock()).map(|file| file.write_all(bytes));
    }

    /// The last line; none where nothing was said.
    pub(super) fn last(&self, text: &str) {
        if self.path().is_some() {
            self.line(text);
        }
    }

    /// The file, for a program that writes to it itself.
    pub(super) fn file(&self) -> Result<File> {
        let mut inner = self.lock();
        self.begun(&mut inner)?;
        drop(inner);
        self.store.log_file(&self.key)
    }

    /// Where it is, if there is one.
    pub(super) fn path(&self) -> Option<PathBuf> {
        self.lock().file.is_some().then(|| self.store.log_path(&self.key))
    }

    fn begun<'i>(&self, inner: &'i mut Inner) -> Result<&'i mut File> {
        let Inner { head, file } = inner;
        match file {
            Some(file) => Ok(file),
            None => {
                let file = file.insert(self.store.log_file(&self.key)?);
                let _ = file.write_all(std::mem::take(head).as_bytes());
                Ok(file)
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
