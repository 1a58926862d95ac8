//! The files a source means: one file, everything in a folder, or what a glob matches.
//!
//! Links are followed, also out of the project, but not in circles and not into a store; `.git` folders are left out. Names below the pattern may be patients': messages do not hold them.

use super::Stamp;
use super::stamp::{Looker, Seen};
use anyhow::{Context as _, Result, bail, ensure};
use glob::{MatchOptions, Pattern};
use rayon::prelude::*;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

/// A file of a source.
#[derive(Debug, PartialEq, Eq)]
pub struct Found {
    /// Its path inside the source.
    pub name: String,
    pub place: PathBuf,
    /// Where it was looked at on the way.
    pub stamp: Option<Stamp>,
}

/// The files of a source, and the folders that were read for them, as they were before that: no file comes or goes without a change of
/// one of these.
pub struct Walked {
    pub files: Vec<Found>,
    pub folders: Vec<(PathBuf, Stamp)>,
}

/// The files that `pattern` (a file, a folder or a glob, relative to `root` or absolute) means, sorted by their
/// paths inside the source. None where there is nothing: no such file or folder, or a glob that matches nothing.
///
/// A glob has `*`, `?`, `[a-z]` within a name and `**` for any folders; paths are relative to its folders without them. A
/// file's own name is its path inside. Names with such characters are taken literally where a file is called so.
pub fn walk(root: &Path, pattern: &str) -> Result<Option<Vec<Found>>> {
    Ok(walk_next(&mut Looker::default(), root, pattern)?.map(|walked| walked.files))
}

/// The same for one of many patterns, most of which are files of one folder; with the folders.
pub fn walk_next(looker: &mut Looker, root: &Path, pattern: &str) -> Result<Option<Walked>> {
    let walked = walk_inner(looker, root, pattern).with_context(|| format!("cannot read `{pattern}`"))?;
    Ok(walked.map(|mut walked| {
        walked.files.par_sort_unstable_by(|one, other| (&one.name, &one.place).cmp(&(&other.name, &other.place)));
        walked
    }))
}

fn walk_inner(looker: &mut Looker, root: &Path, pattern: &str) -> Result<Option<Walked>> {
    let place = root.join(pattern);
    let there = match looker.see(&place) {
        Ok(there) if there.kind.is_symlink() => follow(&place),
        there => there,
    };
    match there {
        Ok(there) if there.kind.is_file() => {
            let name = place.file_name().and_then(|name| name.to_str()).context("the name is not UTF-8")?.to_owned();
            Ok(Some(Walked { files: vec![Found { name, place, stamp: Some(there.stamp) }], folders: Vec::new() }))
        }
        Ok(there) => {
            ensure!(there.kind.is_dir(), "it is neither a file nor a folder");
            Walk { pattern: None, shown: pattern }.folder(&place, "", &Chain::start(&place)?).map(Some)
        }
        Err(error) if is_absent(&error) && pattern.contains(['*', '?', '[']) => walk_glob(root, pattern),
        Err(error) if is_absent(&error) => {
            ensure!(fs::symlink_metadata(&place).is_err(), "it is a link that leads nowhere");
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// What a link leads to, unless that is a file in a store.
fn follow(link: &Path) -> io::Result<Seen> {
    let there = Seen::of(link)?;
    if there.kind.is_file() && in_a_store(&fs::canonicalize(link)?) {
        return Err(io::Error::other("it is a link into a store of tomograph"));
    }
    Ok(there)
}

fn walk_glob(root: &Path, pattern: &str) -> Result<Option<Walked>> {
    let (base, glob) = parse(pattern)?;
    let base = root.join(base);
    match fs::metadata(&base) {
        Ok(there) if there.is_dir() => {}
        Ok(_) => return Ok(None),
        Err(error) if is_absent(&error) => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    let walked = Walk { pattern: Some(glob), shown: pattern }.folder(&base, "", &Chain::start(&base)?)?;
    Ok(Some(walked).filter(|walked| !walked.files.is_empty()))
}

/// What is wrong with a glob, where `walk` could not take it for the name of a file.
pub fn check_glob(root: &Path, pattern: &str) -> Result<()> {
    let wrong = if pattern.contains(['*', '?', '[']) { parse(pattern).err() } else { None };
    wrong.filter(|_| fs::symlink_metadata(root.join(pattern)).is_err()).map_or(Ok(()), Err)
}

/// The folder that a glob begins at, and what is to match below it.
fn parse(pattern: &str) -> Result<(PathBuf, Glob)> {
    let parts: Vec<Component<'_>> = Path::new(pattern).components().collect();
    let is_wild = |part: &Component<'_>| part.as_os_str().to_string_lossy().contains(['*', '?', '[']);
    let fixed = parts.iter().position(is_wild).unwrap_or(parts.len());
    let base = parts[..fixed].iter().collect();
    let names: Vec<String> = parts[fixed..].iter().map(|part| part.as_os_str().to_string_lossy().into_owned()).collect();
    ensure!(names.iter().all(|name| name != ".."), "`..` may not follow a `*`, `?` or `[`");
    let whole = Pattern::new(&names.join("/")).context("it is not a glob")?;
    // Folders above the first `**` must match their own part: nothing else is entered.
    let above = names[..names.len().saturating_sub(1)].iter().take_while(|name| *name != "**");
    let above: Result<Vec<Pattern>, _> = above.map(|name| Pattern::new(name)).collect();
    let endless = names.iter().any(|name| name == "**");
    Ok((base, Glob { whole, above: above.context("it is not a glob")?, endless }))
}

struct Glob {
    whole: Pattern,
    above: Vec<Pattern>,
    endless: bool,
}

/// How globs match: by whole names, and with those that begin with a dot.
pub(crate) const OPTIONS: MatchOptions =
    MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: false };

impl Glob {
    fn enters(&self, folder: &str) -> bool {
        let depth = folder.split('/').count();
        match self.above.get(depth - 1) {
            Some(pattern) => pattern.matches_with(folder.rsplit('/').next().unwrap_or(folder), OPTIONS),
            None => self.endless,
        }
    }
}

struct Walk<'a> {
    pattern: Option<Glob>,
    /// The pattern as written, for messages.
    shown: &'a str,
}

impl Walk<'_> {
    /// The files below `folder`, whose path inside the source is `prefix`.
    fn folder(&self, folder: &Path, prefix: &str, chain: &Chain) -> Result<Walked> {
        let before = Stamp::of(folder).context("a folder in it cannot be looked at")?;
        let mut walked = Walked { files: Vec::new(), folders: vec![(folder.to_owned(), before)] };
        let mut folders = Vec::new();
        for entry in fs::read_dir(folder).context("a folder in it cannot be opened")? {
            let entry = entry.context("a folder in it cannot be read")?;
            let (name, kind) = (entry.file_name(), entry.file_type().context("a folder in it cannot be read")?);
            if name == ".git" {
                continue;
            }
            let path = entry.path();
            let (is_folder, is_link) = if kind.is_symlink() {
                match fs::metadata(&path) {
                    Ok(target) if target.is_dir() => (true, true),
                    Ok(target) if target.is_file() => (false, true),
                    // Editors lock files by links that lead nowhere.
                    Err(error) if is_absent(&error) && name.to_string_lossy().starts_with(".#") => continue,
                    Err(error) if is_absent(&error) => bail!("a link in it leads nowhere: find it with `find {} -xtype l`", self.base()),
                    Err(error) => return Err(error).context("a link in it cannot be followed"),
                    Ok(_) => bail!("a link in it leads to what is neither a file nor a folder"),
                }
            } else {
                ensure!(
                    kind.is_dir() || kind.is_file(),
                    "it holds a pipe, a socket or a device, and sources are files and folders: find it with `find {} ! -type f ! -type d`",
                    self.base()
                );
                (kind.is_dir(), false)
            };
            let inside = format!("{prefix}{}", self.text(name)?);
            match &self.pattern {
                Some(glob) if is_folder && !glob.enters(&inside) => {}
                Some(glob) if !is_folder && !glob.whole.matches_with(&inside, OPTIONS) => {}
                _ if is_folder => folders.push((inside, path, is_link)),
                _ => walked.files.push(Found { name: inside, place: path, stamp: None }),
            }
        }
        let below: Result<Vec<Walked>> = folders
            .into_par_iter()
            .map(|(inside, path, is_link)| match is_link {
                false => self.folder(&path, &format!("{inside}/"), chain),
                true => self.folder(&path, &format!("{inside}/"), &chain.through(folder, &path)?),
            })
            .collect();
        for below in below? {
            walked.files.extend(below.files);
            walked.folders.extend(below.folders);
        }
        Ok(walked)
    }

    fn text(&self, name: OsString) -> Result<String> {
        let Ok(name) = name.into_string() else {
            bail!("it holds a name that is not UTF-8: find it with `find {} | LC_ALL=C.UTF-8 grep -axv '.*'`", self.base())
        };
        ensure!(!name.contains('\n'), "it holds a name with a newline in it: find it with `find {} -name $'*\\n*'`", self.base());
        Ok(name)
    }

    /// What `find` takes for the pattern, as a shell reads it.
    fn base(&self) -> String {
        let end = self.shown.find(['*', '?', '[']).unwrap_or(self.shown.len());
        let base =
            self.shown[..end].rfind('/').map_or(if end < self.shown.len() { "." } else { self.shown }, |at| match end < self.shown.len() {
                true => &self.shown[..at],
                false => self.shown,
            });
        let plain = |one: char| one.is_ascii_alphanumeric() || "-_./+".contains(one);
        if base.chars().all(plain) { base.to_owned() } else { format!("'{}'", base.replace('\'', r"'\''")) }
    }
}

/// The real folders one came through, so that a link back to one of them is noticed.
struct Chain(Vec<(PathBuf, Option<PathBuf>)>);

impl Chain {
    fn start(folder: &Path) -> Result<Self> {
        let folder = fs::canonicalize(folder)?;
        ensure!(!in_a_store(&folder), "it is inside a store of tomograph");
        Ok(Self(vec![(folder, None)]))
    }

    /// On through `link`, which lies in `folder`.
    fn through(&self, folder: &Path, link: &Path) -> Result<Self> {
        let (target, from) = (fs::canonicalize(link)?, fs::canonicalize(folder)?);
        let mut chain = self.0.clone();
        if let Some(last) = chain.last_mut() {
            last.1 = Some(from);
        }
        let back = |(start, end): &(PathBuf, Option<PathBuf>)| {
            target.starts_with(start) && end.as_ref().is_some_and(|end| end.starts_with(&target))
        };
        ensure!(!chain.iter().any(back), "a link in it leads back to a folder that holds it");
        ensure!(!in_a_store(&target), "a link in it leads into a store of tomograph");
        chain.push((target, None));
        Ok(Self(chain))
    }
}

/// Whether a folder is a store, or lies in one.
fn in_a_store(folder: &Path) -> bool {
    let is_store = |folder: &Path| fs::read(folder.join("VERSION")).is_ok_and(|text| text.starts_with(b"tomograph store"));
    folder.ancestors().any(is_store)
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStringExt as _;
    use std::os::unix::fs::symlink;

    fn tree(files: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for file in files {
            let path = root.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::File::create(path).unwrap();
        }
        root
    }

    fn names(root: &Path, pattern: &str) -> Vec<String> {
        let files = walk(root, pattern).unwrap().unwrap();
        assert!(files.iter().all(|file| file.place.is_file()));
        files.into_iter().map(|file| file.name).collect()
    }

    #[test]
    fn a_file_a_folder_and_nothing() {
        let root = tree(&["d/b.png", "d/a/z.png", "d/.hidden", "d/.git/config", "d/a-b", "e[1]/x"]);
        assert_eq!(names(root.path(), "d/b.png"), ["b.png"]);
        assert_eq!(names(root.path(), "d"), [".hidden", "a-b", "a/z.png", "b.png"]);
        assert_eq!(names(root.path(), "d/"), names(root.path(), "d"));
        assert_eq!(names(root.path(), "e[1]"), ["x"]);
        assert_eq!(names(Path::new("/"), root.path().join("d/a").to_str().unwrap()), ["z.png"]);
        for absent in ["f", "d/b.png/x", "d/*.jpg", "f/*.png"] {
            assert_eq!(walk(root.path(), absent).unwrap(), None);
        }
    }

    #[test]
    fn globs_match_files() {
        let root = tree(&["d/a.py", "d/x/b.py", "d/x/y/c.py", "d/x/y/c.txt", "d/z/c.py", "other/a.py"]);
        assert_eq!(names(root.path(), "d/*.py"), ["a.py"]);
        assert_eq!(names(root.path(), "d/**/*.py"), ["a.py", "x/b.py", "x/y/c.py", "z/c.py"]);
        assert_eq!(names(root.path(), "d/*/?.py"), ["x/b.py", "z/c.py"]);
        assert_eq!(names(root.path(), "d/[xy]/**/c.*"), ["x/y/c.py", "x/y/c.txt"]);
        assert_eq!(names(root.path(), "*/a.py"), ["d/a.py", "other/a.py"]);
    }

    #[test]
    fn links_are_followed_but_not_in_circles() {
        let root = tree(&["d/a/x", "e/y"]);
        symlink("../e", root.path().join("d/e")).unwrap();
        symlink("a/x", root.path().join("d/x")).unwrap();
        symlink("nowhere", root.path().join("d/.#lock")).unwrap();
        assert_eq!(names(root.path(), "d"), ["a/x", "e/y", "x"]);
        symlink("../d", root.path().join("e/d")).unwrap();
        let error = walk(root.path(), "d").unwrap_err();
        assert_eq!(format!("{error:#}"), "cannot read `d`: a link in it leads back to a folder that holds it");
        fs::remove_file(root.path().join("e/d")).unwrap();
        symlink("nowhere", root.path().join("e/z")).unwrap();
        assert!(format!("{:#}", walk(root.path(), "d").unwrap_err()).contains("find d -xtype l"));
    }

    #[test]
    fn what_is_no_file_is_an_error_that_tells_how_to_find_it() {
        let root = tree(&["d/x"]);
        rustix::fs::mkfifoat(rustix::fs::CWD, root.path().join("d/DOE"), 0o600.into()).unwrap();
        let error = format!("{:#}", walk(root.path(), "d").unwrap_err());
        assert!(error.contains("find d ! -type f ! -type d") && !error.contains("DOE"), "{error}");
    }

    #[test]
    fn a_name_that_is_not_text_is_an_error_that_tells_how_to_find_it() {
        let root = tree(&["d/x"]);
        fs::File::create(root.path().join("d").join(OsString::from_vec(b"DOE\xff".to_vec()))).unwrap();
        for (pattern, base) in [("d", "find d |"), ("d/*", "find d |"), ("**/x", "find . |")] {
            let error = format!("{:#}", walk(root.path(), pattern).unwrap_err());
            assert!(error.contains("not UTF-8") && error.contains(base) && !error.contains("DOE"), "{error}");
        }
        let root = tree(&["it's here/a\nb"]);
        let error = format!("{:#}", walk(root.path(), "it's here").unwrap_err());
        assert!(error.contains(r"find 'it'\''s") && error.ends_with(r"-name $'*\n*'`"), "{error}");
    }
}
