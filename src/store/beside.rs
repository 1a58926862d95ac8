//! What a task has in the store beside its result: the state that it resumes from, and its log. Both by key.

use super::{Store, files};
use crate::content::Digest;
use anyhow::Result;
use std::fs;
use std::io;
use std::path::PathBuf;

impl Store {
    /// Where the folder kept under a key lies; it may not be there.
    pub fn state_path(&self, key: &Digest) -> PathBuf {
        self.root.join("state").join(key.to_string())
    }

    /// The folder kept under a key until its task succeeds; created where absent.
    pub fn state(&self, key: &Digest) -> Result<PathBuf> {
        self.check_writable()?;
        let folder = self.state_path(key);
        fs::create_dir_all(&folder).map_err(|error| self.trouble(error))?;
        Ok(folder)
    }

    /// Removes the state folder of a key, if there.
    pub fn forget_state(&self, key: &Digest) -> Result<()> {
        self.gone(super::session::remove_all(&self.state_path(key)))
    }

    /// Where the log of a task with this key lies; it may not be there.
    pub fn log_path(&self, key: &Digest) -> PathBuf {
        self.named("logs", key, ".log")
    }

    /// The log of a key, made where absent. What is written goes to its end, where programs write too.
    pub fn log_file(&self, key: &Digest) -> Result<fs::File> {
        self.check_writable()?;
        let path = self.log_path(key);
        let create = || {
            files::make_parent(&path)?;
            fs::File::options().append(true).create(true).open(&path)
        };
        create().map_err(|error| self.trouble(error))
    }

    /// Removes the log of a key, if there.
    pub fn forget_log(&self, key: &Digest) -> Result<()> {
        self.gone(fs::remove_file(self.log_path(key)))
    }

    /// What was to be removed is gone, whoever did it.
    fn gone(&self, removed: io::Result<()>) -> Result<()> {
        match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(self.trouble(error)),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::new_store;
    use super::*;

    #[test]
    fn state_and_logs_have_places() {
        let (_folder, store) = new_store();
        let key = Digest::of(b"key");
        let state = store.state(&key).unwrap();
        fs::File::create(state.join("weights")).unwrap();
        assert_eq!(store.state(&key).unwrap(), state);
        store.forget_state(&key).unwrap();
        store.forget_state(&key).unwrap();
        assert!(!state.exists());
        drop(store.log_file(&key).unwrap());
        assert!(store.log_path(&key).exists());
        store.forget_log(&key).unwrap();
        store.forget_log(&key).unwrap();
        assert!(!store.log_path(&key).exists());
    }
}
