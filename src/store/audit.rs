//! `audit.jsonl`: who looked at people's data, and what left the store, as a chain of lines.
//!
//! Each line has the digest of the one before, so that a line that was edited, taken out or put in is found. A chain cannot show
//! that its last lines are missing. Knows nothing of what is shown or exported.

use super::{Store, lock_file};
use crate::content::Digest;
use anyhow::Result;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};

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
}

/// What the file says.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Audit {
    pub acts: Vec<Act>,
    /// The first line (from 1) that does not follow from the one before it, or is none.
    pub broken: Option<usize>,
}

impl Store {
    /// Adds a line, durably; one that is cut short by a kill was never said, and goes.
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
            let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            if whole < bytes.len() {
                file.set_len(whole as u64)?;
                bytes.truncate(whole);
            }
            if is_said(&read(&bytes).acts) {
                return Ok(());
            }
            let last = bytes.split(|byte| *byte == b'\n').rev().nth(1).unwrap_or_default();
            let mut line = serde_json::to_vec(&Line { before: Digest::of(last), act: act.clone() })?;
            line.push(b'\n');
            file.seek(SeekFrom::End(0))?;
            file.write_all(&line)?;
            file.sync_data()
        };
        add().map_err(|error| self.trouble(error))
    }

    /// Everything that was said, checked.
    pub fn audited(&self) -> Result<Audit> {
        match std::fs::read(self.root.join("audit.jsonl")) {
            Ok(bytes) => Ok(read(&bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Audit::default()),
            Err(error) => Err(self.trouble(error)),
        }
    }
}

fn read(bytes: &[u8]) -> Audit {
    let mut audit = Audit::default();
    let mut before = Digest::of(b"");
    for (at, text) in bytes.split(|byte| *byte == b'\n').filter(|text| !text.is_empty()).enumerate() {
        let line: Option<Line> = serde_json::from_slice(text).ok();
        if line.as_ref().is_none_or(|line| line.before != before) {
            audit.broken = audit.broken.or(Some(at + 1));
        }
        audit.acts.extend(line.map(|line| line.act));
        before = Digest::of(text);
    }
    audit
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

    #[test]
    fn an_edited_a_missing_and_an_added_line_are_found() {
        let (_folder, store) = new_store();
        assert_eq!(store.audited().unwrap(), Audit::default());
        let acts: Vec<Act> = (0..4).map(act).collect();
        acts.iter().for_each(|act| store.audit(act).unwrap());
        store.audit_once(&acts[3]).unwrap();
        assert_eq!(store.audited().unwrap(), Audit { acts: acts.clone(), broken: None });
        let path = store.root().join("audit.jsonl");
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let edited = text.replacen("ada", "eve", 1);
        let missing = [lines[0], lines[2], lines[3]].join("\n") + "\n";
        let added = [lines[0], lines[1], lines[1], lines[2], lines[3]].join("\n") + "\n";
        for (bytes, broken) in [(edited, 2), (missing, 2), (added, 3)] {
            super::super::replace(&path, bytes.as_bytes()).unwrap();
            assert_eq!(store.audited().unwrap().broken, Some(broken), "{bytes}");
        }
    }

    #[test]
    fn a_line_that_was_cut_short_goes() {
        let (_folder, store) = new_store();
        store.audit(&act(1)).unwrap();
        let path = store.root().join("audit.jsonl");
        File::options().append(true).open(&path).unwrap().write_all(b"{\"before\":\"12").unwrap();
        store.audit(&act(2)).unwrap();
        let audit = store.audited().unwrap();
        assert_eq!(audit.broken, None);
        assert_eq!(audit.acts.iter().map(|act| act.key).collect::<Vec<_>>(), [act(1).key, act(2).key]);
    }
}
