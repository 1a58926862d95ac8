//! `NAME.tomograph.json`: what lies beside files that left a store, and what it says of them where they come back as a source.
//!
//! It is believed as `phi` is: whoever can write one can write the other. What it says holds only of files with the digests it lists.

use super::Unready;
use crate::content::{Digest, FileRef, Level, Tree};
use crate::pipeline::Source;
use crate::store::sources::Found;
use anyhow::Result;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

/// How their names end.
const END: &str = ".tomograph.json";

/// What lies beside published and exported files: where they come from, by content. No time, no host, no path outside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sidecar {
    /// Layout: 1.
    pub tomograph: u32,
    pub task: String,
    pub kind: String,
    pub port: String,
    /// Key of the result.
    pub key: Digest,
    /// How close the files are to people.
    pub level: Level,
    /// Digest of the manifest.
    pub manifest: Digest,
    /// The files, by path from the folder in which this lies.
    pub files: BTreeMap<String, Digest>,
    /// What stood there before, while a publication is under way: still ours after a kill.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub replaces: BTreeMap<String, Digest>,
}

impl Sidecar {
    /// `results/table.csv.tomograph.json` for `results/table.csv`.
    pub fn path(of: &Path) -> PathBuf {
        let mut name = of.file_name().unwrap_or_default().to_owned();
        name.push(END);
        of.with_file_name(name)
    }

    /// The one at `path`; none where it is absent or not one.
    pub fn read(path: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(path).ok()?).ok()
    }

    /// The text of the file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).expect("digests and strings are JSON");
        bytes.push(b'\n');
        bytes
    }

    /// Whether it tells of this content at this path, now or before a publication that is under way.
    pub fn lists(&self, path: &str, digest: &Digest) -> bool {
        [&self.files, &self.replaces].iter().any(|files| files.get(path) == Some(digest))
    }
}

/// Takes out of a source's files those that speak of the others; a source that is nothing but one keeps it.
pub(super) fn set_apart(source: &Source, files: Vec<Found>) -> (Vec<Found>, Vec<PathBuf>) {
    let speaks = |file: &Found| file.name.ends_with(END);
    if source.path.ends_with(END) || !files.iter().any(speaks) {
        return (files, Vec::new());
    }
    let (beside, content): (Vec<_>, Vec<_>) = files.into_iter().partition(speaks);
    (content, beside.into_iter().map(|file| file.place).collect())
}

/// The sidecars in folders, each folder looked at once for all sources.
#[derive(Default)]
pub(super) struct Beside {
    folders: RwLock<HashMap<OsString, Arc<Folder>>>,
}

/// What stands in and above a folder.
pub(super) struct Folder {
    /// The names of the sidecars in it.
    names: BTreeSet<OsString>,
    /// The sidecars of itself, and of the folders of the project that hold it.
    above: Vec<PathBuf>,
}

impl Beside {
    /// The level of a source's files after what lies beside them, or is `among` them; and the keys of what they are.
    pub(super) fn apply(
        &self,
        root: &Path,
        source: &Source,
        among: Vec<PathBuf>,
        files: &[(String, FileRef)],
    ) -> Result<(Level, BTreeSet<Digest>)> {
        let own = Level::of_people(source.phi);
        let mut keys = BTreeSet::new();
        let mut paths: BTreeSet<PathBuf> = among.into_iter().collect();
        self.above(root, &root.join(&source.path), &mut paths);
        if source.path.contains(['*', '?', '[']) {
            let folders: BTreeSet<&Path> = files.iter().filter_map(|(_, file)| file.place.file.parent()).collect();
            for folder in folders {
                paths.extend(self.folder(root, folder).names.iter().map(|name| folder.join(name)));
                self.above(root, folder, &mut paths);
            }
        }
        if paths.is_empty() {
            return Ok((own, keys));
        }
        let told = |path: PathBuf| -> Result<(PathBuf, Sidecar)> {
            let sidecar = Sidecar::read(&path).filter(|sidecar| sidecar.tomograph == 1);
            let name = path.to_string_lossy().trim_end_matches(END).to_owned();
            sidecar.map(|sidecar| (name.into(), sidecar)).ok_or_else(|| unreadable(root, source, &path).into())
        };
        let told: HashMap<PathBuf, Sidecar> = paths.into_iter().map(told).collect::<Result<_>>()?;
        let mut level = Level::Released;
        for (path, file) in files {
            let place = &file.place.file;
            let Some((thing, sidecar)) = place.ancestors().find_map(|above| told.get_key_value(above)) else {
                level = level.max(own);
                continue;
            };
            let name = thing.parent().and_then(|folder| place.strip_prefix(folder).ok()).map(|name| name.to_string_lossy().into_owned());
            match name.and_then(|name| sidecar.files.get(&name)) {
                Some(digest) if *digest == file.digest => {
                    level = level.max(sidecar.level);
                    keys.insert(sidecar.key);
                }
                Some(_) => return Err(edited(source, files, path).into()),
                // Somebody else's file in a folder of ours.
                None => level = level.max(own),
            }
        }
        Ok((level, keys))
    }

    /// Those beside a file or a folder, and beside the folders of the project that hold it.
    fn above(&self, root: &Path, thing: &Path, paths: &mut BTreeSet<PathBuf>) {
        let Some(folder) = thing.parent() else { return };
        let folder = self.folder(root, folder);
        if !folder.names.is_empty() {
            let path = Sidecar::path(thing);
            if path.file_name().is_some_and(|name| folder.names.contains(name)) {
                paths.insert(path);
            }
        }
        paths.extend(folder.above.iter().cloned());
    }

    /// What stands in a folder. One that cannot be read holds none: the source itself says so where that matters.
    pub(super) fn folder(&self, root: &Path, path: &Path) -> Arc<Folder> {
        if let Some(known) = self.folders.read().unwrap_or_else(PoisonError::into_inner).get(path.as_os_str()) {
            return known.clone();
        }
        let names = fs::read_dir(path).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.file_name()));
        let names = names.filter(|name| name.as_encoded_bytes().ends_with(END.as_bytes())).collect();
        let mut above = BTreeSet::new();
        if path != root && path.starts_with(root) {
            self.above(root, path, &mut above);
        }
        let folder = Arc::new(Folder { names, above: above.into_iter().collect() });
        self.folders.write().unwrap_or_else(PoisonError::into_inner).insert(path.as_os_str().to_owned(), folder.clone());
        folder
    }
}

fn unreadable(root: &Path, source: &Source, path: &Path) -> Unready {
    let shown = match source.phi {
        true => "a .tomograph.json beside or in it".to_owned(),
        false => path.strip_prefix(root).unwrap_or(path).display().to_string(),
    };
    Unready(format!(
        "source `{}`: {shown} is not as this program writes them: put back the one that was published, or remove it",
        source.title()
    ))
}

fn edited(source: &Source, files: &[(String, FileRef)], path: &str) -> Unready {
    let shown = Tree { files: files.iter().cloned().collect(), level: Level::of_people(source.phi) }.shown(path);
    Unready(format!(
        "source `{}`: {shown} is not what the .tomograph.json beside it tells of: publish or export it anew; to use it as it is, remove \
         that .tomograph.json, and `phi` alone says whether it holds people's data",
        source.title()
    ))
}
