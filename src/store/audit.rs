//! `audit.jsonl`: who looked at people's data, and what left the store, as a chain of lines.
//!
//! Each line has the digest of the one before and one of itself, so that a line that was edited, taken out or put in is found. That the
//! last lines are missing a chain cannot show: `audit.last` says how many there are and which is the last. It is written after the line,
//! so that a kill leaves one line more than it says. Who edits both files as this program would leaves no trace. Knows nothing of what is
//! shown or exported.

use super::{Store, lock_file, replace};
use crate::content::Digest;
use anyhow::Result;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::Path;

/// Something that somebody did with results.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Act {
    /// RFC 3339 in UTC.
    pub when: String,
    pub who: String,
    /// `export`, `publish` or `reveal`.
    pub act: String,
    /// The task as people write it, and its output port.
    pub task: String,
    pub port: String,
    /// Key of the result, and digest of the manifest of the output.
    pub key: Digest,
    pub manifest: Digest,
    /// Where it went; empty for what was only shown.
    pub to: String,
}

/// A line of the file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    /// Digest of the line before; of nothing for the first.
    before: Digest,
    act: Act,
    /// Digest of the line without this field; lines of earlier versions have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    own: Option<Digest>,
}

/// What is remembered beside the file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Last {
    /// How many lines there are.
    lines: usize,
    /// Digest of the last one.
    digest: Digest,
}

/// What the file says.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Audit {
    pub acts: Vec<Act>,
    /// What is not as it was written, if anything: the first of it.
    pub broken: Option<String>,
    /// Lines that a kill cut short: what they told of may have happened.
    pub cut: usize,
}

impl Store {
    /// Adds a line, durably. One that a kill cut short is completed where only its end is missing, else kept in `audit.cut`.
    pub fn audit(&self, act: &Act) -> Result<()> {
        self.audit_unless(act, |_| false)
    }

    /// The same, unless the last act of this kind with the same target was on the same bytes.
    pub fn audit_once(&self, act: &Act) -> Result<()> {
        let is_alike = |other: &Act| (&other.act, &other.to, &other.task, &other.port) == (&act.act, &act.to, &act.task, &act.port);
        self.audit_unless(act, |acts| {
            let last = acts.iter().rev().find(|other| is_alike(other));
            last.is_some_and(|last| (last.key, last.manifest) == (act.key, act.manifest))
        })
    }

    fn audit_unless(&self, act: &Act, is_said: impl Fn(&[Act]) -> bool) -> Result<()> {
        self.check_writable()?;
        let add = || -> io::Result<()> {
            let mut file = File::options().read(true).append(true).create(true).open(self.root.join("audit.jsonl"))?;
            lock_file(&file)?;
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            let mut read = read(&bytes);
            if let Some(whole) = read.cut_from {
                let mut cut = File::options().append(true).create(true).open(self.root.join("audit.cut"))?;
                cut.write_all(&[&bytes[whole..], b"\n"].concat())?;
                cut.sync_all()?;
                file.set_len(whole as u64)?;
            } else if bytes.last().is_some_and(|last| *last != b'\n') {
                file.write_all(b"\n")?;
            }
            if is_said(&read.acts) {
                return Ok(());
            }
            // What is missing or edited stays to be seen: what was remembered then is not forgotten.
            let last = self.audit_last()?;
            let is_whole = read.broken(last.as_deref()).is_none();
            // A line that a kill left unremembered is so no longer: only one may be.
            if is_whole && !read.digests.is_empty() && last.as_deref() != Some(&*read.to_last()?) {
                self.keep_audit_last(&read)?;
            }
            let line = Line { before: read.last(), act: act.clone(), own: None };
            let line = serde_json::to_vec(&Line { own: Some(own(&line)?), ..line })?;
            file.write_all(&[&line[..], b"\n"].concat())?;
            file.sync_data()?;
            read.digests.push(Digest::of(&line));
            if is_whole {
                self.keep_audit_last(&read)?;
            }
            Ok(())
        };
        add().map_err(|error| self.trouble(error))
    }

    /// Everything that was said, checked.
    pub fn audited(&self) -> Result<Audit> {
        let look = || -> io::Result<Audit> {
            loop {
                let last = self.audit_last()?;
                let read = read(&there(&self.root.join("audit.jsonl"))?.unwrap_or_default());
                let cut = there(&self.root.join("audit.cut"))?.unwrap_or_default();
                // Another process may add a line meanwhile.
                if self.audit_last()? == last {
                    let cut = cut.iter().filter(|byte| **byte == b'\n').count() + usize::from(read.cut_from.is_some());
                    return Ok(Audit { broken: read.broken(last.as_deref()), acts: read.acts, cut });
                }
            }
        };
        look().map_err(|error| self.trouble(error))
    }

    fn keep_audit_last(&self, read: &Read) -> io::Result<()> {
        replace(&self.root.join("audit.last"), &read.to_last()?)
    }

    fn audit_last(&self) -> io::Result<Option<Vec<u8>>> {
        there(&self.root.join("audit.last"))
    }
}

/// The bytes of a file; none where it is absent.
fn there(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match std::fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        bytes => bytes.map(Some),
    }
}

fn own(line: &Line) -> io::Result<Digest> {
    Ok(Digest::of(&serde_json::to_vec(&Line { before: line.before, act: line.act.clone(), own: None })?))
}

/// The lines of the file as they are.
#[derive(Default)]
struct Read {
    acts: Vec<Act>,
    /// Of each line.
    digests: Vec<Digest>,
    /// Lines that have no digest of themselves, all before the first that has.
    plain: usize,
    /// What the chain itself shows.
    broken: Option<String>,
    /// Where a line begins that was cut short.
    cut_from: Option<usize>,
}

impl Read {
    fn last(&self) -> Digest {
        self.digests.last().copied().unwrap_or_else(|| Digest::of(b""))
    }

    /// What is remembered of these lines.
    fn to_last(&self) -> io::Result<Vec<u8>> {
        Ok(serde_json::to_vec(&Last { lines: self.digests.len(), digest: self.last() })?)
    }

    /// What is wrong, together with what was remembered.
    fn broken(&self, last: Option<&[u8]>) -> Option<String> {
        let lines = self.digests.len();
        let missing = match last.map(serde_json::from_slice::<Last>) {
            Some(Err(_)) => Some("audit.last beside it is not as this program writes it".to_owned()),
            Some(Ok(last)) if lines < last.lines => Some(format!("of {} lines that were written {lines} are there", last.lines)),
            Some(Ok(last)) if last.lines.checked_sub(1).and_then(|at| self.digests.get(at)) != Some(&last.digest) => {
                Some(format!("line {} is another one than was written", last.lines))
            }
            Some(Ok(last)) if lines > last.lines + 1 => Some(format!("of {lines} lines {} were written by this program", last.lines)),
            None if lines > self.plain + 1 => Some("audit.last beside it is gone".to_owned()),
            _ => None,
        };
        self.broken.clone().or(missing)
    }
}

fn read(bytes: &[u8]) -> Read {
    let mut read = Read::default();
    let mut at = 0;
    for text in bytes.split_inclusive(|byte| *byte == b'\n') {
        let line = text.strip_suffix(b"\n").unwrap_or(text);
        let number = read.digests.len() + 1;
        let parsed: Option<Line> = serde_json::from_slice(line).ok();
        if parsed.is_none() && line.len() == text.len() {
            read.cut_from = Some(at);
            break;
        }
        at += text.len();
        let wrong = match &parsed {
            Some(parsed) if parsed.own.is_some_and(|digest| own(parsed).ok() != Some(digest)) => "is not as it was written",
            Some(parsed) if parsed.before != read.last() => "does not follow from the one before it",
            Some(parsed) if parsed.own.is_none() && read.plain + 1 < number => "has no digest, unlike the one before it",
            Some(_) => "",
            None => "is none",
        };
        if !wrong.is_empty() {
            read.broken.get_or_insert_with(|| format!("line {number} {wrong}"));
        }
        read.plain += usize::from(parsed.as_ref().is_some_and(|line| line.own.is_none()));
        read.acts.extend(parsed.map(|line| line.act));
        read.digests.push(Digest::of(line));
    }
    read
}

#[cfg(test)]
mod tests {
    use super::super::tests::new_store;
    use super::*;

    fn act(number: u8) -> Act {
        let text = |text: &str| text.to_owned();
        Act {
            when: super::super::now(),
            who: text("ada"),
            act: text("export"),
            task: text("table"),
            port: text("table"),
            key: Digest::of(&[number]),
            manifest: Digest::of(&[number]),
            to: text("out"),
        }
    }

    /// A store with four lines, and the lines.
    fn filled() -> (tempfile::TempDir, Store, Vec<String>) {
        let (folder, store) = new_store();
        assert_eq!(store.audited().unwrap(), Audit::default());
        let acts: Vec<Act> = (0..4).map(act).collect();
        acts.iter().for_each(|act| store.audit(act).unwrap());
        store.audit_once(&acts[3]).unwrap();
        assert_eq!(store.audited().unwrap(), Audit { acts, broken: None, cut: 0 });
        let text = std::fs::read_to_string(store.root().join("audit.jsonl")).unwrap();
        (folder, store, text.lines().map(str::to_owned).collect())
    }

    fn write(store: &Store, name: &str, text: &str) {
        replace(&store.root().join(name), text.as_bytes()).unwrap();
    }

    fn broken(store: &Store) -> String {
        store.audited().unwrap().broken.unwrap_or_default()
    }

    #[test]
    fn an_edited_a_missing_and_an_added_line_are_found() {
        let (_folder, store, lines) = filled();
        let edited = |at: usize| {
            let mut all = lines.clone();
            all[at] = all[at].replace("ada", "eve");
            all
        };
        let of = |at: &[usize]| at.iter().map(|at| lines[*at].clone()).collect::<Vec<_>>();
        let cases = [
            (edited(0), "line 1 is not as it was written"),
            (edited(3), "line 4 is not as it was written"),
            (of(&[0, 2, 3]), "line 2 does not follow"),
            (of(&[0, 1, 1, 2, 3]), "line 3 does not follow"),
            (of(&[0, 1, 2]), "of 4 lines that were written 3 are there"),
            (of(&[]), "of 4 lines that were written 0 are there"),
        ];
        for (lines, words) in cases {
            write(&store, "audit.jsonl", &lines.iter().map(|line| format!("{line}\n")).collect::<String>());
            assert!(broken(&store).starts_with(words), "{words}: {}", broken(&store));
        }
        // What is added then hides nothing.
        for number in 0..6 {
            store.audit(&act(number)).unwrap();
            assert!(!broken(&store).is_empty());
        }
        std::fs::remove_file(store.root().join("audit.jsonl")).unwrap();
        assert_eq!(broken(&store), "of 4 lines that were written 0 are there");
    }

    #[test]
    fn lines_of_an_earlier_version_are_checked_as_they_were() {
        let (_folder, store) = new_store();
        let mut text = String::new();
        for number in 0..3 {
            let before = Digest::of(text.lines().last().unwrap_or_default().as_bytes());
            text += &(serde_json::to_string(&Line { before, act: act(number), own: None }).unwrap() + "\n");
        }
        write(&store, "audit.jsonl", &text);
        assert_eq!(broken(&store), "");
        store.audit(&act(3)).unwrap();
        // Killed before it was remembered, which one line may be.
        std::fs::remove_file(store.root().join("audit.last")).unwrap();
        assert_eq!(broken(&store), "");
        store.audit(&act(4)).unwrap();
        assert_eq!(broken(&store), "");
        std::fs::remove_file(store.root().join("audit.last")).unwrap();
        assert_eq!(broken(&store), "audit.last beside it is gone");
        write(&store, "audit.jsonl", &text.replacen("ada", "eve", 1));
        assert!(broken(&store).starts_with("line 2 does not follow"));
    }

    #[test]
    fn a_line_that_was_cut_short_is_completed_or_kept_apart() {
        let (_folder, store, lines) = filled();
        let remembered = std::fs::read(store.root().join("audit.last")).unwrap();
        store.audit(&act(4)).unwrap();
        let whole = std::fs::read_to_string(store.root().join("audit.jsonl")).unwrap();
        // Cut in its middle, and before its line end.
        for (cut, apart) in [(20, 1), (1, 0)] {
            write(&store, "audit.jsonl", &whole[..whole.len() - cut]);
            replace(&store.root().join("audit.last"), &remembered).unwrap();
            let _ = std::fs::remove_file(store.root().join("audit.cut"));
            for more in 0..2 {
                let audit = store.audited().unwrap();
                assert_eq!((audit.broken, audit.cut, audit.acts.len()), (None, apart, lines.len() + 1 - apart + more));
                store.audit(&act(5)).unwrap();
            }
        }
        // One that was remembered was whole.
        write(&store, "audit.jsonl", &(lines.join("\n")[..lines.join("\n").len() - 9]));
        replace(&store.root().join("audit.last"), &remembered).unwrap();
        assert_eq!(broken(&store), "of 4 lines that were written 3 are there");
    }
}
