//! Who works on the store now: a file per run that starts processes, with a kernel lock held for as long as the run lives.
//!
//! It is the part of a run's journal that matters only until the run ends: the processes that it started. A file whose lock is free was
//! left by a run that was killed; what that run started may still be there. Ends no process itself.

use super::{Store, lock};
use crate::content::Digest;
use anyhow::Result;
use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// A line of the file.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    /// Where the run lives: host, boot and space of process ids.
    At {
        host: String,
        here: Digest,
    },
    Child(Started),
    /// The child with this number has ended, and what was in its group: both numbers may be others' from now on.
    Ended(u32),
}

/// A process that a run started; the leader of a group of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    pub pid: u32,
    /// In clock ticks since boot: tells it from a later process of the same number.
    pub at: u64,
}

/// A run that lives.
pub struct Live {
    path: PathBuf,
    file: Mutex<File>,
    /// Children that are noted and have not ended.
    noted: Mutex<BTreeSet<u32>>,
}

impl Live {
    /// Its file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Notes a process that was started. That it cannot be noted stops nothing: only a kill would make it matter.
    pub fn note(&self, pid: u32) {
        if let Some(Process { start: at, .. }) = Process::of(&pid.to_string()) {
            let _ = write_line(&mut lock(&self.file), &Line::Child(Started { pid, at }));
            lock(&self.noted).insert(pid);
        }
    }

    /// To be told when a process has ended, and its group with it.
    pub fn ended(&self, pid: u32) {
        if lock(&self.noted).remove(&pid) {
            let _ = write_line(&mut lock(&self.file), &Line::Ended(pid));
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// What a run of this machine left that was killed. Nobody else has it.
pub struct Left {
    /// Name of the run.
    pub run: String,
    pub children: Vec<Started>,
    path: PathBuf,
    _lock: Option<File>,
}

impl Left {
    /// To be called when none of its processes is left.
    pub fn forget(self) {
        let _ = fs::remove_file(&self.path);
    }
}

impl Store {
    /// Held by each run for as long as it lives: while it is, no pack is rewritten. Waits while packs are.
    pub(super) fn hold_packs(&self) -> io::Result<File> {
        let file = self.open_running()?;
        rustix::fs::flock(&file, FlockOperation::LockShared)?;
        Ok(file)
    }

    /// As long as the answer lives, packs stay where they are. Waits while they are written anew.
    pub fn stay(&self) -> Result<File> {
        self.hold_packs().map_err(|error| self.trouble(error))
    }

    /// The same; none where one would have to wait.
    pub fn try_stay(&self) -> Result<Option<File>> {
        let take = || -> io::Result<Option<File>> {
            let file = self.open_running()?;
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) {
                Err(rustix::io::Errno::AGAIN) => Ok(None),
                locked => Ok(locked.map(|()| Some(file))?),
            }
        };
        take().map_err(|error| self.trouble(error))
    }

    /// Keeps runs from starting until the answer is dropped; none where one lives.
    pub(super) fn stop_runs(&self) -> io::Result<Option<File>> {
        let file = self.open_running()?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::AGAIN) => Ok(None),
            locked => Ok(locked.map(|()| Some(file))?),
        }
    }

    fn open_running(&self) -> io::Result<File> {
        File::options().create(true).truncate(false).write(true).open(self.root().join("running"))
    }

    /// Says that a run lives, until the answer is dropped. Nothing is said in a store that cannot be written.
    pub fn begin_live(&self, run: &str) -> Result<Option<Live>> {
        if !self.is_writable() {
            return Ok(None);
        }
        let folder = self.root().join("live");
        let begin = || -> io::Result<Live> {
            fs::create_dir_all(&folder)?;
            let path = folder.join(run);
            loop {
                let file = File::options().append(true).create(true).open(&path)?;
                rustix::fs::flock(&file, FlockOperation::LockExclusive)?;
                // Another run may have taken the file for a leftover until the lock was held.
                if is_at(&file, &path) {
                    let live = Live { path, file: Mutex::new(file), noted: Mutex::default() };
                    write_line(&mut lock(&live.file), &Line::At { host: host(), here: here() })?;
                    return Ok(live);
                }
            }
        };
        begin().map(Some).map_err(|error| self.trouble(error))
    }

    /// What runs left that were killed on this host since it was started.
    pub fn left_behind(&self) -> Result<Vec<Left>> {
        let entries = match fs::read_dir(self.root().join("live")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(|error| self.trouble(error))?,
        };
        let (host, here) = (host(), here());
        let mut left = Vec::new();
        for entry in entries {
            let path = entry.map_err(|error| self.trouble(error))?.path();
            let Ok(file) = File::options().append(true).read(true).open(&path) else { continue };
            if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() || !is_at(&file, &path) {
                continue;
            }
            let lines = read_lines(&path).map_err(|error| self.trouble(error))?;
            match lines.first() {
                // Processes of another machine are its own business.
                Some(Line::At { host: other, .. }) if *other != host => {}
                Some(Line::At { here: there, .. }) if *there == here => {
                    left.push(Left { _lock: Some(file), ..left_of(path, &lines) });
                }
                // Before the last boot, or killed before it could say where it is: nothing is left of it.
                _ => drop(fs::remove_file(&path)),
            }
        }
        Ok(left)
    }
}

/// What the run with this file had started when it was killed; none where it has ended well. For its guardian: nothing is locked.
pub fn left_at(live: &Path) -> Option<Left> {
    let lines = read_lines(live).ok()?;
    Some(left_of(live.to_owned(), &lines))
}

fn left_of(path: PathBuf, lines: &[Line]) -> Left {
    let mut children: Vec<Started> = Vec::new();
    for line in lines {
        match line {
            Line::At { .. } => {}
            Line::Child(child) => children.push(*child),
            Line::Ended(pid) => children.retain(|child| child.pid != *pid),
        }
    }
    let run = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Left { run, children, path, _lock: None }
}

/// What `/proc/PID/stat` says of a process.
pub struct Process {
    /// It has ended, and waits to be taken note of.
    pub has_ended: bool,
    pub parent: u32,
    /// Its process group.
    pub group: u32,
    /// When it started, in clock ticks since boot.
    pub start: u64,
}

impl Process {
    /// None where it is not there.
    pub fn of(pid: &str) -> Option<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // Behind the name, which may hold anything: fields 3 (state), 4, 5 and 22.
        let fields: Vec<&str> = text.rsplit(')').next()?.split_whitespace().collect();
        let number = |at: usize| fields.get(at)?.parse().ok();
        let [parent, group] = [1, 2].map(|at| number(at).and_then(|number: u64| u32::try_from(number).ok()));
        Some(Self { has_ended: matches!(*fields.first()?, "Z" | "X"), parent: parent?, group: group?, start: number(19)? })
    }
}

fn is_at(file: &File, path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|now| file.metadata().is_ok_and(|held| held.ino() == now.ino()))
}

fn write_line(file: &mut File, line: &Line) -> io::Result<()> {
    let mut bytes = serde_json::to_vec(line)?;
    bytes.push(b'\n');
    file.write_all(&bytes)
}

/// A line that was cut short by a kill is left out.
fn read_lines(path: &Path) -> io::Result<Vec<Line>> {
    let bytes = fs::read(path)?;
    Ok(bytes.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect())
}

fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// This boot, and this space of process ids: containers of one machine have their own.
fn here() -> Digest {
    let boot = fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let space = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    Digest::of(&[&boot, space.as_os_str().as_encoded_bytes()].concat())
}

#[cfg(test)]
mod tests {
    use super::super::tests::new_store;
    use super::*;

    fn names(store: &Store) -> usize {
        fs::read_dir(store.root().join("live")).map_or(0, Iterator::count)
    }

    #[test]
    fn what_a_killed_run_left_is_found_and_what_a_live_one_has_is_not() {
        let (_folder, store) = new_store();
        assert!(store.left_behind().unwrap().is_empty());
        let live = store.begin_live("one").unwrap().unwrap();
        live.note(std::os::unix::process::parent_id());
        live.ended(std::os::unix::process::parent_id());
        live.note(std::process::id());
        assert!(store.left_behind().unwrap().is_empty(), "it lives");
        // Killed: the lock is free, the file stays.
        let path = live.path.clone();
        rustix::fs::flock(&*lock(&live.file), FlockOperation::Unlock).unwrap();
        lock(&live.file).write_all(b"{\"child\":{\"pid\":1").unwrap();
        let mut left = store.left_behind().unwrap();
        let expected = Started { pid: std::process::id(), at: Process::of("self").unwrap().start };
        assert_eq!((left[0].run.as_str(), &left[0].children[..]), ("one", &[expected][..]));
        assert!(store.left_behind().unwrap().is_empty(), "somebody has it already");
        left.remove(0).forget();
        assert!(!path.exists());
        drop(live);
        drop(store.begin_live("two").unwrap());
        assert_eq!(names(&store), 0, "a run that ends well leaves nothing");
    }

    #[test]
    fn what_is_not_of_this_boot_or_host_has_no_processes_here() {
        let (_folder, store) = new_store();
        let leave = |name: &str, line: &Line| {
            let mut file = File::create(store.root().join("live").join(name)).unwrap();
            write_line(&mut file, line).unwrap();
        };
        fs::create_dir(store.root().join("live")).unwrap();
        leave("boot", &Line::At { host: host(), here: Digest::of(b"another boot") });
        leave("host", &Line::At { host: "elsewhere".to_owned(), here: Digest::of(b"its boot") });
        File::create(store.root().join("live/empty")).unwrap();
        assert!(store.left_behind().unwrap().is_empty());
        assert_eq!(names(&store), 1, "that of another host stays for it");
    }
}
