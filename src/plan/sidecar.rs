//! `NAME.tomograph.json`: what lies beside files that left a store, and what it says of them where they come back as a source.
//!
//! It is believed as `phi` is: whoever can write one can write the other. What it says holds only of files with the digests it lists,
//! also where they were renamed together with it.

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

    /// What it says, lying beside the file or folder `thing`, of the file at `place`, which is or is in that.
    pub fn says_of(&self, thing: &Path, place: &Path, digest: &Digest) -> Said {
        let inside = place.strip_prefix(thing).map(|inside| inside.to_string_lossy().into_owned()).unwrap_or_default();
        let path_in = |name: &str| if inside.is_empty() { name.to_owned() } else { format!("{name}/{inside}") };
        let name = thing.file_name().unwrap_or_default().to_string_lossy();
        // The folder's name when it was published.
        let before = self.files.keys().next().and_then(|path| path.split_once('/')).filter(|_| !inside.is_empty());
        let listed = self.files.get(&path_in(&name)).or_else(|| self.files.get(&path_in(before?.0)));
        match listed {
            Some(listed) if listed == digest => Said::Ours,
            Some(_) => Said::Edited,
            None if self.files.values().any(|listed| listed == digest) => Said::Ours,
            // It lies beside this very file, and so speaks of no other.
            None if inside.is_empty() => Said::Edited,
            None => Said::Nothing,
        }
    }
}

/// What a sidecar says of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// It came out of a store as it is.
    Ours,
    /// It has other bytes than those that came out.
    Edited,
    /// Nothing: somebody else's file in a folder of ours.
    Nothing,
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
            match sidecar.says_of(thing, place, &file.digest) {
                Said::Ours => {
                    level = level.max(sidecar.level);
                    keys.insert(sidecar.key);
                }
                Said::Edited => return Err(edited(source, files, path).into()),
                Said::Nothing => level = level.max(own),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_renamed_with_its_sidecar_is_known_by_its_bytes() {
        let of = |files: &[(&str, &str)]| Sidecar {
            tomograph: 1,
            task: "t".to_owned(),
            kind: "k".to_owned(),
            port: "p".to_owned(),
            key: Digest::of(b"key"),
            level: Level::Pseudonymous,
            manifest: Digest::of(b"manifest"),
            files: files.iter().map(|(path, bytes)| ((*path).to_owned(), Digest::of(bytes.as_bytes()))).collect(),
            replaces: BTreeMap::new(),
        };
        let says = |sidecar: &Sidecar, thing: &str, place: &str, bytes: &str| {
            sidecar.says_of(Path::new(thing), Path::new(place), &Digest::of(bytes.as_bytes()))
        };
        let file = of(&[("a.tsv", "1")]);
        for name in ["r/a.tsv", "r/b.tsv"] {
            assert_eq!([says(&file, name, name, "1"), says(&file, name, name, "2")], [Said::Ours, Said::Edited]);
        }
        let folder = of(&[("a/x/1", "1"), ("a/y", "2")]);
        for name in ["r/a", "r/b"] {
            let inside = |path: &str, bytes: &str| says(&folder, name, &format!("{name}/{path}"), bytes);
            assert_eq!([inside("x/1", "1"), inside("y", "2"), inside("moved", "2")], [Said::Ours; 3]);
            assert_eq!([inside("x/1", "3"), inside("y", "1"), inside("mine", "3")], [Said::Edited, Said::Edited, Said::Nothing]);
        }
    }
}
