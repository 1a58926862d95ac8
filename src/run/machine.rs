//! What the engines of one machine share out among them: devices and memory, as kernel locks that go with the engine that holds them.
//!
//! A file for each thing, with a byte for each unit of it (a thousandth of a device, a MiB of memory); who holds a byte's lock has that unit. A
//! killed engine leaves nothing to clean up. In the file stands, for each stretch of locked bytes, who holds it. Who is refused locks
//! one byte more, shared, so that an engine that gives back knows that others wait, and lets them go first. Knows nothing of tasks.

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io;
use std::ops::Range;
use std::os::fd::AsFd as _;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Bytes in which it stands who holds a stretch.
const NAME: usize = 64;
/// The byte that those lock who wait; no thing has so many units.
const WAITS: Range<u32> = u32::MAX - 1..u32::MAX;
/// For so long whoever gave back leaves the thing to those who wait for it: they look ten times a second.
const COURTESY: Duration = Duration::from_millis(350);

/// The things that engines share, as far as this one has asked for them.
#[derive(Debug)]
pub(super) struct Machine {
    folder: PathBuf,
    /// Who this engine is, for those who wait.
    me: String,
    things: BTreeMap<String, Thing>,
}

#[derive(Debug)]
struct Thing {
    file: File,
    held: Vec<Range<u32>>,
    is_waiting: bool,
    /// Whether it was refused to the task that asks, and whether a task waits for it that has asked since the last look.
    is_refused: bool,
    is_wanted: bool,
    not_before: Option<Instant>,
}

/// Units of a thing, to be given back.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Units {
    thing: String,
    ranges: Vec<Range<u32>>,
}

impl Machine {
    /// Engines that name the same folder share. Every user of the machine may use it.
    pub(super) fn open(folder: &Path, user: &str) -> io::Result<Self> {
        match fs::create_dir(folder) {
            Ok(()) => fs::set_permissions(folder, Permissions::from_mode(0o1777))?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        let me = format!("process {} ({user})", std::process::id());
        Ok(Self { folder: folder.to_owned(), me, things: BTreeMap::new() })
    }

    /// Takes `count` units of a thing that has `units`, or says who holds them.
    pub(super) fn take(&mut self, thing: &str, units: u32, count: u32) -> io::Result<Result<Units, String>> {
        let me = self.me.clone();
        let held = self.thing(thing)?;
        if held.not_before.is_some_and(|moment| Instant::now() < moment) {
            return Ok(Err("others that wait".to_owned()));
        }
        let mut ranges: Vec<Range<u32>> = Vec::new();
        let (mut missing, mut holder, mut at) = (count, None, 0);
        while missing > 0 && at < units {
            if let Some(own) = held.held.iter().find(|range| range.contains(&at)) {
                at = own.end;
                continue;
            }
            let end = held.held.iter().map(|range| range.start).filter(|start| *start > at).fold(units, u32::min);
            let wanted = at..end.min(at.saturating_add(missing));
            match held.first_conflict(&wanted)? {
                Some(other) if other.start <= at => {
                    holder = holder.or_else(|| held.holder(other.start));
                    at = other.end;
                }
                other => {
                    let free = at..other.map_or(wanted.end, |other| other.start);
                    at = free.end;
                    if held.lock(&free, libc::F_WRLCK)? {
                        held.sign(free.start, &me);
                        missing -= free.end - free.start;
                        ranges.push(free);
                    }
                }
            }
        }
        if missing > 0 {
            ranges.iter().try_for_each(|range| held.lock(range, libc::F_UNLCK).map(drop))?;
            held.is_refused = true;
            return Ok(Err(holder.unwrap_or_else(|| "another process".to_owned())));
        }
        held.held.extend(ranges.iter().cloned());
        Ok(Ok(Units { thing: thing.to_owned(), ranges }))
    }

    /// Gives units back.
    pub(super) fn give_back(&mut self, units: &Units) {
        let Some(held) = self.things.get_mut(&units.thing) else { return };
        held.held.retain(|range| !units.ranges.contains(range));
        // What cannot be unlocked now is unlocked when this process ends.
        units.ranges.iter().for_each(|range| drop(held.lock(range, libc::F_UNLCK)));
        if held.first_conflict(&WAITS).is_ok_and(|other| other.is_some()) {
            held.not_before = Some(Instant::now() + COURTESY);
        }
    }

    /// To be called when a task has asked for all that it needs: whether it `waits` for what it was refused, or got something else instead.
    pub(super) fn asked(&mut self, waits: bool) {
        for held in self.things.values_mut() {
            if std::mem::take(&mut held.is_refused) && waits {
                held.is_wanted = true;
                // Others are told sooner or later.
                let _ = held.wait(true);
            }
        }
    }

    /// To be called when every task has asked: what none was refused is waited for no more.
    pub(super) fn asked_by_all(&mut self) {
        for held in self.things.values_mut() {
            if !std::mem::take(&mut held.is_wanted) {
                let _ = held.wait(false);
            }
        }
    }

    fn thing(&mut self, name: &str) -> io::Result<&mut Thing> {
        if !self.things.contains_key(name) {
            let plain = |one: char| if one.is_ascii_alphanumeric() || one == '-' { one } else { '_' };
            let file = open(&self.folder.join(name.chars().map(plain).collect::<String>()))?;
            let thing = Thing { file, held: Vec::new(), is_waiting: false, is_refused: false, is_wanted: false, not_before: None };
            self.things.insert(name.to_owned(), thing);
        }
        self.things.get_mut(name).ok_or_else(|| io::Error::other("it was just put there"))
    }
}

impl Thing {
    /// Locks or unlocks units of this engine; false where another has some of them.
    fn lock(&self, range: &Range<u32>, kind: i32) -> io::Result<bool> {
        match fcntl(self.file.as_fd(), FcntlArg::F_OFD_SETLK(&flock(range, kind)?)) {
            Ok(_) => Ok(true),
            Err(Errno::EAGAIN | Errno::EACCES) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// The first stretch that another engine holds some of.
    fn first_conflict(&self, range: &Range<u32>) -> io::Result<Option<Range<u32>>> {
        let mut asked = flock(range, libc::F_WRLCK)?;
        fcntl(self.file.as_fd(), FcntlArg::F_OFD_GETLK(&mut asked))?;
        if i32::from(asked.l_type) == libc::F_UNLCK {
            return Ok(None);
        }
        let unit = |at: i64| u32::try_from(at).unwrap_or(u32::MAX);
        let end = if asked.l_len == 0 { u32::MAX } else { unit(asked.l_start.saturating_add(asked.l_len)) };
        Ok(Some(unit(asked.l_start)..end))
    }

    /// Says to others that this engine waits, or no more.
    fn wait(&mut self, waits: bool) -> io::Result<()> {
        if waits != self.is_waiting {
            self.lock(&WAITS, if waits { libc::F_RDLCK } else { libc::F_UNLCK })?;
            self.is_waiting = waits;
        }
        Ok(())
    }

    fn sign(&self, unit: u32, me: &str) {
        let mut name = [b' '; NAME];
        let bytes = me.as_bytes();
        let length = bytes.len().min(NAME);
        name[..length].copy_from_slice(&bytes[..length]);
        // Only those who wait would read it.
        let _ = self.file.write_all_at(&name, u64::from(unit) * NAME as u64);
    }

    fn holder(&self, unit: u32) -> Option<String> {
        let mut name = [0; NAME];
        self.file.read_exact_at(&mut name, u64::from(unit) * NAME as u64).ok()?;
        let name = String::from_utf8_lossy(&name).trim().to_owned();
        (!name.is_empty() && !name.contains(char::is_control)).then_some(name)
    }
}

fn flock(range: &Range<u32>, kind: i32) -> io::Result<libc::flock> {
    let (kind, whence) = (i16::try_from(kind).map_err(io::Error::other)?, i16::try_from(libc::SEEK_SET).map_err(io::Error::other)?);
    Ok(libc::flock { l_type: kind, l_whence: whence, l_start: range.start.into(), l_len: (range.end - range.start).into(), l_pid: 0 })
}

/// A file that every user may lock. It is opened before it is made: in a folder of all, the kernel refuses to make what another user has.
fn open(path: &Path) -> io::Result<File> {
    let options = || {
        let mut options = File::options();
        options.read(true).write(true).custom_flags(libc::O_NOFOLLOW);
        options
    };
    match options().open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => match options().create_new(true).open(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => options().open(path),
            made => {
                let file = made?;
                file.set_permissions(Permissions::from_mode(0o666))?;
                Ok(file)
            }
        },
        opened => opened,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two() -> (tempfile::TempDir, Machine, Machine) {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("locks");
        let (one, two) = (Machine::open(&place, "ada").unwrap(), Machine::open(&place, "eve").unwrap());
        (folder, one, two)
    }

    fn take(machine: &mut Machine, count: u32) -> Result<Units, String> {
        machine.take("gpu-0", 1000, count).unwrap()
    }

    #[test]
    fn what_one_has_the_other_has_not() {
        let (_folder, mut one, mut two) = two();
        let half = take(&mut one, 500).unwrap();
        let third = take(&mut two, 300).unwrap();
        let me = format!("process {}", std::process::id());
        assert_eq!(take(&mut one, 201), Err(format!("{me} (eve)")));
        assert_eq!(take(&mut two, 201), Err(format!("{me} (ada)")));
        let fifth = take(&mut one, 200).unwrap();
        assert_eq!((fifth.ranges.len(), fifth.ranges[0].clone()), (1, 800..1000));
        one.give_back(&half);
        drop(one);
        assert_eq!(take(&mut two, 700).unwrap().ranges, [0..500, 800..1000], "what an engine had goes with it, in pieces too");
        two.give_back(&third);
        assert_eq!(take(&mut two, 300), Ok(third));
    }

    #[test]
    fn who_gives_back_lets_those_go_first_who_wait() {
        let (_folder, mut one, mut two) = two();
        let whole = take(&mut one, 1000).unwrap();
        assert!(take(&mut two, 1000).is_err());
        two.asked(true);
        two.asked_by_all();
        one.give_back(&whole);
        assert_eq!(take(&mut one, 1000), Err("others that wait".to_owned()));
        let whole = take(&mut two, 1000).unwrap();
        two.asked(false);
        two.asked_by_all();
        two.give_back(&whole);
        assert!(take(&mut two, 1000).is_ok(), "nobody waits");
    }
}
