//! Digests, trees of files by digest, and how close they are to people: how content is named everywhere.
//!
//! Knows nothing of stores, stages or pipelines.

use anyhow::{Context as _, Result, anyhow};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::fs::File;
use std::hash::{Hash, Hasher};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, OnceLock};

/// A BLAKE3 digest, written as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// Its hexadecimal digits.
    fn digits(&self) -> [u8; 64] {
        let digit = |four: u8| b"0123456789abcdef"[usize::from(four)];
        let mut digits = [0; 64];
        for (pair, byte) in digits.chunks_exact_mut(2).zip(self.0) {
            pair[0] = digit(byte >> 4);
            pair[1] = digit(byte & 15);
        }
        digits
    }

    /// The first twelve digits, enough to tell a person which one is meant.
    pub fn short(&self) -> String {
        self.to_string()[..12].to_owned()
    }
}

impl Hash for Digest {
    /// Any eight bytes tell digests apart.
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(&self.0[..8]);
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(text(&self.digits()))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({})", self.short())
    }
}

impl FromStr for Digest {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let hash = blake3::Hash::from_hex(text).map_err(|_| anyhow!("not a digest"))?;
        Ok(Self(*hash.as_bytes()))
    }
}

impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(text(&self.digits()))
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Hexadecimal)
    }
}

fn text(digits: &[u8; 64]) -> &str {
    std::str::from_utf8(digits).expect("hexadecimal digits are text")
}

/// Reads a digest from wherever the text lies: records hold several, and thousands are read at every start.
struct Hexadecimal;

impl serde::de::Visitor<'_> for Hexadecimal {
    type Value = Digest;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a digest of 64 hexadecimal digits")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Digest, E> {
        text.parse().map_err(E::custom)
    }
}

/// An error that quotes values, and its words without them, for where they may be people's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{quoting}")]
pub struct Quoting {
    pub quoting: String,
    pub without: String,
}

/// A stored file whose bytes are no longer those of its digest. The command line exits with 4.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the store is damaged: {} does not have the bytes it had: `tomograph cache verify --repair` mends it, then run again", path.display())]
pub struct Altered {
    pub path: PathBuf,
}

/// One file of a tree: its content's name and where its bytes lie now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileRef {
    /// BLAKE3 of the bytes.
    pub digest: Digest,
    /// Length in bytes.
    pub size: u64,
    /// Where they lie; read-only, outside any digest.
    pub place: Place,
}

impl FileRef {
    /// The bytes.
    pub fn read(&self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(usize::try_from(self.size).unwrap_or(0));
        self.open()?.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// The bytes, compared with the digest where a store keeps them: what is made of others would stay for good. A source's file may have
    /// changed since, which is found where a task ends.
    pub fn read_whole(&self) -> Result<Vec<u8>> {
        let bytes = self.read()?;
        if self.place.is_stored_as(&self.digest) && Digest::of(&bytes) != self.digest {
            return Err(Altered { path: self.place.file.to_path_buf() }.into());
        }
        Ok(bytes)
    }

    /// Opens them for reading from the start, and no further than their end.
    pub fn open(&self) -> io::Result<io::Take<File>> {
        let mut file = File::open(&self.place.file)?;
        if let Some(at) = self.place.at {
            file.seek(SeekFrom::Start(at))?;
        }
        Ok(file.take(self.size))
    }
}

/// Where bytes lie: a file of their own, or a stretch of one that small blobs share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// The file; shared, since thousands of small blobs lie in one, and trees are copied.
    #[serde(serialize_with = "as_path", deserialize_with = "from_path")]
    pub file: Arc<Path>,
    /// The offset of the first byte in a shared file; none where the file holds exactly these bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<u64>,
}

impl Place {
    /// The file, where it holds nothing else.
    pub fn own(&self) -> Option<&Path> {
        self.at.is_none().then_some(&*self.file)
    }

    /// Whether a store keeps these bytes: blobs are called by their digests, and only small ones share a file.
    fn is_stored_as(&self, digest: &Digest) -> bool {
        self.at.is_some() || self.file.file_name().and_then(|name| name.to_str()) == Some(text(&digest.digits()))
    }
}

impl Default for Place {
    fn default() -> Self {
        static NOWHERE: OnceLock<Arc<Path>> = OnceLock::new();
        Self { file: NOWHERE.get_or_init(|| Path::new("").into()).clone(), at: None }
    }
}

fn as_path<S: serde::Serializer>(file: &Arc<Path>, serializer: S) -> Result<S::Ok, S::Error> {
    Path::serialize(file, serializer)
}

fn from_path<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Arc<Path>, D::Error> {
    PathBuf::deserialize(deserializer).map(Arc::from)
}

impl From<PathBuf> for Place {
    fn from(file: PathBuf) -> Self {
        Self { file: file.into(), at: None }
    }
}

/// How close an artifact is to people (DESIGN rule 13): made from several, it is as strict as the strictest of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Of no person, or released by one: may go anywhere.
    #[default]
    Released,
    /// Of people whom an audit found no trace of: stays inside the project.
    Pseudonymous,
    /// Of people: never leaves the store, and no path or value of it enters a message.
    Identified,
}

impl Level {
    /// Of files that hold people's data, or none.
    pub fn of_people(holds: bool) -> Self {
        if holds { Self::Identified } else { Self::Released }
    }

    /// Its name in files and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Released => "released",
            Self::Pseudonymous => "pseudonymous",
            Self::Identified => "identified",
        }
    }

    /// Whether paths and values are withheld.
    pub fn is_identified(self) -> bool {
        self == Self::Identified
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Level {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(LevelName)
    }
}

/// Reads a level, or what stood for it before there were three: whether files are identified.
struct LevelName;

impl serde::de::Visitor<'_> for LevelName {
    type Value = Level;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("released, pseudonymous or identified")
    }

    fn visit_bool<E: serde::de::Error>(self, identified: bool) -> Result<Level, E> {
        Ok(Level::of_people(identified))
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Level, E> {
        let level = [Level::Released, Level::Pseudonymous, Level::Identified].into_iter().find(|level| level.name() == text);
        level.ok_or_else(|| E::invalid_value(serde::de::Unexpected::Str(text), &self))
    }
}

/// A sorted list of relative path (with `/`) → file: what a port or a source carries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tree {
    /// Relative path → file.
    pub files: BTreeMap<String, FileRef>,
    /// How close they are to people.
    pub level: Level,
}

impl Tree {
    /// The bytes of the manifest: a line `digest size path` per file, sorted by path. Its digest names the tree.
    pub fn manifest(&self) -> Vec<u8> {
        Self::manifest_of(self.files.iter().map(|(path, file)| (path.as_str(), file)))
    }

    /// The manifest of a tree of these files, sorted by path.
    pub fn manifest_of<'f>(files: impl ExactSizeIterator<Item = (&'f str, &'f FileRef)>) -> Vec<u8> {
        let mut manifest = String::with_capacity(files.len() * 100);
        for (path, file) in files {
            manifest.push_str(text(&file.digest.digits()));
            let _ = writeln!(manifest, " {} {path}", file.size);
        }
        manifest.into_bytes()
    }

    /// The digest of a tree of these files, sorted by path.
    pub fn digest_of<'f>(files: impl ExactSizeIterator<Item = (&'f str, &'f FileRef)>) -> Digest {
        Digest::of(&Self::manifest_of(files))
    }

    /// Reads a manifest; the places of its files are left empty. `None` where it is not one.
    pub fn from_manifest(bytes: &[u8], level: Level) -> Option<Self> {
        let mut files = BTreeMap::new();
        for line in std::str::from_utf8(bytes).ok()?.lines() {
            let (digest, rest) = line.split_once(' ')?;
            let (size, path) = rest.split_once(' ')?;
            files.insert(path.to_owned(), FileRef { digest: digest.parse().ok()?, size: size.parse().ok()?, place: Place::default() });
        }
        Some(Self { files, level })
    }

    /// Digest of [`Tree::manifest`].
    pub fn digest(&self) -> Digest {
        Digest::of(&self.manifest())
    }

    /// Sum of the sizes, in bytes.
    pub fn size(&self) -> u64 {
        self.files.values().map(|file| file.size).sum()
    }

    /// Whether paths and values are withheld.
    pub fn is_identified(&self) -> bool {
        self.level.is_identified()
    }

    /// What a message may call the file at `path`.
    pub fn shown(&self, path: &str) -> String {
        match (self.is_identified(), self.files.get(path)) {
            (false, _) => path.to_owned(),
            (true, Some(file)) => format!("file {}", file.digest.short()),
            (true, None) => "a file (name withheld)".to_owned(),
        }
    }

    /// The file at `path`, or an error that names it.
    pub fn file(&self, path: &str) -> Result<&FileRef> {
        self.files.get(path).with_context(|| format!("there is no {}", self.shown(path)))
    }

    /// The bytes of the file at `path`.
    pub fn read(&self, path: &str) -> Result<Vec<u8>> {
        self.file(path)?.read().with_context(|| format!("cannot read {}", self.shown(path)))
    }

    /// The only file, for ports that take one file (a `table`, say).
    pub fn only_file(&self) -> Result<&str> {
        let mut paths = self.files.keys();
        match (paths.next(), paths.next()) {
            (Some(path), None) => Ok(path),
            (None, _) => Err(anyhow!("there is no file")),
            _ => Err(anyhow!("there are {} files where one is wanted", self.files.len())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_file_is_compared_with_its_digest_and_a_source_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let digest = Digest::of(b"one");
        let fill = |path: &Path, bytes: &[u8]| File::create(path).and_then(|mut file| io::Write::write_all(&mut file, bytes)).unwrap();
        for (name, is_stored) in [(digest.to_string(), true), ("one.txt".to_owned(), false)] {
            let path = folder.path().join(name);
            let file = FileRef { digest, size: 3, place: path.clone().into() };
            fill(&path, b"one");
            assert_eq!(file.read_whole().unwrap(), b"one");
            fill(&path, b"two");
            assert_eq!(file.read_whole().is_err_and(|error| error.is::<Altered>()), is_stored);
        }
    }

    #[test]
    fn a_level_reads_what_it_writes_and_what_stood_for_it_before() {
        for level in [Level::Released, Level::Pseudonymous, Level::Identified] {
            let text = serde_json::to_string(&level).unwrap();
            assert_eq!((text.as_str(), serde_json::from_str(&text).unwrap()), (format!("\"{level}\"").as_str(), level));
        }
        assert_eq!(serde_json::from_str::<[Level; 2]>("[true,false]").unwrap(), [Level::Identified, Level::Released]);
        let error = serde_json::from_str::<Level>("\"public\"").unwrap_err().to_string();
        assert!(error.contains("released, pseudonymous or identified"), "{error}");
        assert!(Level::Identified > Level::Pseudonymous && Level::Pseudonymous > Level::Released);
    }
}
