//! Names of runs: what a person calls one, and every key it reached. What a named run reached is kept.
//!
//! A name is given once; to give it to another run, it is taken away first.

use super::{Store, files, runs};
use crate::content::Digest;
use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::PathBuf;

/// A run with a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamedRun {
    /// Layout of this record: [`NamedRun::VERSION`].
    pub version: u32,
    /// Letters, digits, `.`, `_` and `-`.
    pub name: String,
    /// The pipeline it ran for.
    pub pipeline: String,
    /// The run.
    pub run: String,
    /// What the user said of it.
    pub note: String,
    /// When it was named, RFC 3339 in UTC.
    pub named: String,
    /// Every key that it judged and found, or made.
    pub keys: BTreeSet<Digest>,
}

impl NamedRun {
    /// The layout written now.
    pub const VERSION: u32 = 1;
}

impl Store {
    /// Gives a run its name; false where the name is taken.
    pub fn name_run(&self, named: &NamedRun) -> Result<bool> {
        let path = self.name_path(&named.pipeline, &named.name)?;
        let write = || -> io::Result<bool> {
            let folder = path.parent().unwrap_or(&self.root);
            fs::create_dir_all(folder)?;
            let mut file = tempfile::Builder::new().prefix(".tomograph-").tempfile_in(folder)?;
            let mut text = serde_json::to_vec_pretty(named)?;
            text.push(b'\n');
            io::Write::write_all(&mut file, &text)?;
            file.as_file().sync_data()?;
            match file.persist_noclobber(&path) {
                Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
                done => done.map_err(|error| error.error)?,
            };
            files::sync_folder(folder)?;
            files::sync_folder(&self.root.join("names"))?;
            Ok(true)
        };
        write().map_err(|error| self.trouble(error))
    }

    /// The named runs of a pipeline, by name.
    pub fn named_runs(&self, pipeline: &str) -> Result<Vec<NamedRun>> {
        self.read_names(&self.root.join("names").join(runs::folder_of(pipeline)))
    }

    /// Every key that a named run of any pipeline reached: roots, of which nothing is collected.
    pub fn pinned(&self) -> Result<BTreeSet<Digest>> {
        let mut keys = BTreeSet::new();
        for folder in runs::files_of(&self.root.join("names")).map_err(|error| self.trouble(error))? {
            keys.extend(self.read_names(&folder)?.into_iter().flat_map(|named| named.keys));
        }
        Ok(keys)
    }

    /// Takes a name away; false where nothing had it. The run's journal stays.
    pub fn forget_name(&self, pipeline: &str, name: &str) -> Result<bool> {
        match fs::remove_file(self.name_path(pipeline, name)?) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(self.trouble(error)),
        }
    }

    pub(super) fn read_names(&self, folder: &std::path::Path) -> Result<Vec<NamedRun>> {
        let mut all = Vec::new();
        for path in runs::files_of(folder).map_err(|error| self.trouble(error))? {
            // A kill may leave the beginning of one, under another name.
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            let bytes = fs::read(&path).map_err(|error| self.trouble(error))?;
            let named: NamedRun = serde_json::from_slice(&bytes)
                .map_err(|_| files::Damaged { path: path.clone(), what: "is not the name of a run".to_owned() })?;
            all.push(named);
        }
        Ok(all)
    }

    fn name_path(&self, pipeline: &str, name: &str) -> Result<PathBuf> {
        check_name(name)?;
        self.check_writable()?;
        Ok(self.root.join("names").join(runs::folder_of(pipeline)).join(format!("{name}.json")))
    }
}

/// Whether a run may have this name.
pub fn check_name(name: &str) -> Result<()> {
    let first = name.chars().next().context("a name cannot be empty")?;
    let fine = name.chars().all(|one| one.is_ascii_alphanumeric() || "._-".contains(one));
    ensure!(
        fine && first.is_ascii_alphanumeric() && name.len() <= 64,
        "`{name}` cannot be a name: use letters, digits, `.`, `_` and `-`, at most 64, a letter or digit first"
    );
    ensure!(!["last", "prev"].contains(&name), "`{name}` cannot be a name: @{name} means the {name} run");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::tests::new_store;
    use super::*;

    #[test]
    fn a_name_is_given_once_and_pins_its_keys() {
        let (_folder, store) = new_store();
        let keys: BTreeSet<Digest> = [b"1", b"2"].map(|text| Digest::of(text)).into();
        let named = NamedRun {
            version: NamedRun::VERSION,
            name: "submission-1".to_owned(),
            pipeline: "test:p.toml".to_owned(),
            run: "20261123".to_owned(),
            note: "as sent".to_owned(),
            named: super::super::now(),
            keys: keys.clone(),
        };
        assert!(store.name_run(&named).unwrap());
        assert!(!store.name_run(&NamedRun { run: "other".to_owned(), ..named.clone() }).unwrap());
        let other = NamedRun { pipeline: "test:q.toml".to_owned(), keys: BTreeSet::from([Digest::of(b"3")]), ..named.clone() };
        assert!(store.name_run(&other).unwrap(), "another pipeline has names of its own");
        assert_eq!(store.named_runs("test:p.toml").unwrap(), [named]);
        assert_eq!(store.pinned().unwrap().len(), 3);
        assert!(store.forget_name("test:q.toml", "submission-1").unwrap());
        assert!(!store.forget_name("test:q.toml", "submission-1").unwrap());
        assert_eq!(store.pinned().unwrap(), keys);
    }

    #[test]
    fn names_are_plain_words() {
        for name in ["submission-1", "v1.2_a", "7"] {
            check_name(name).unwrap();
        }
        for name in ["", "last", "prev", "../x", "a b", ".hidden", "é", &"x".repeat(65)] {
            check_name(name).unwrap_err();
        }
    }
}
