//! What a running program says: its output, which goes to the task's log, and how far it is, in the file that `TOMOGRAPH_PROGRESS` names.
//!
//! Knows nothing of the program; who waits for it asks now and then whether there is something new.

use super::log::Log;
use super::task::Job;
use crate::stage::Note;
use anyhow::{Context as _, Result};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use serde::Deserialize;
use std::fs::File;
use std::io::{BufRead as _, BufReader, PipeReader, PipeWriter, Read as _, Seek as _, SeekFrom};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::Path;

/// As much as a pipe holds, and one of a program that fills it.
const PIECE: usize = 64 << 10;
const MUCH: usize = 1 << 20;
/// So much of the end is kept, for the message of a failure.
const TAIL: usize = 4 << 10;

/// The engine's end of a program's standard output and standard error.
pub(super) struct Said {
    /// None when the program, and all that it started, have closed theirs.
    pipe: Option<PipeReader>,
    piece: Vec<u8>,
    tail: Vec<u8>,
}

impl Said {
    /// The engine's end, and the program's.
    pub(super) fn new() -> Result<(Self, PipeWriter)> {
        let (pipe, theirs) = std::io::pipe().context("cannot make a pipe")?;
        rustix::fs::fcntl_setfl(&pipe, OFlags::NONBLOCK).context("cannot make a pipe")?;
        Ok((Self { pipe: Some(pipe), piece: Vec::with_capacity(PIECE), tail: Vec::new() }, theirs))
    }

    /// What tells that there is more.
    pub(super) fn waiting(&self) -> Option<BorrowedFd<'_>> {
        self.pipe.as_ref().map(|pipe| pipe.as_fd())
    }

    /// Writes what is there to the log; says whether there was something.
    pub(super) fn pass_on(&mut self, log: &Log) -> bool {
        let Some(pipe) = &mut self.pipe else { return false };
        self.piece.clear();
        match rustix::io::read(&*pipe, rustix::buffer::spare_capacity(&mut self.piece)) {
            Ok(0) => self.pipe = None,
            Ok(count) => {
                if count == PIECE {
                    // Where it gets no larger one, such a program waits more.
                    let _ = rustix::pipe::fcntl_setpipe_size(pipe, MUCH);
                    self.piece.reserve(MUCH);
                }
                log.write(&self.piece);
                self.tail.extend_from_slice(&self.piece);
                self.tail.drain(..self.tail.len().saturating_sub(TAIL));
                return true;
            }
            Err(Errno::WOULDBLOCK | Errno::INTR) => {}
            Err(_) => self.pipe = None,
        }
        false
    }

    /// The end of it all, a few lines that are not empty.
    pub(super) fn last_lines(&self) -> String {
        let text = String::from_utf8_lossy(&self.tail);
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        lines[lines.len().saturating_sub(5)..].iter().map(|line| format!("\n    | {line}")).collect()
    }
}

/// A line of the progress file.
#[derive(Deserialize)]
struct Line {
    done: u64,
    of: u64,
    #[serde(default)]
    text: String,
}

/// How far the progress file has been read.
#[derive(Default)]
pub(super) struct Progress(u64);

impl Progress {
    /// Tells of what is new in the file. What is no file is not waited for, and of one without end only a piece is read at a time.
    pub(super) fn pass_on(&mut self, path: &Path, job: &Job) {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let Ok(mut file) = rustix::fs::open(path, flags, Mode::empty()).map(File::from) else { return };
        if !file.metadata().is_ok_and(|there| there.is_file()) || file.seek(SeekFrom::Start(self.0)).is_err() {
            return;
        }
        let mut reader = BufReader::new(file.take(MUCH as u64));
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) && line.ends_with(b"\n") {
            self.0 += line.len() as u64;
            if let Ok(Line { done, of, mut text }) = serde_json::from_slice(&line) {
                if job.inputs.identified() {
                    text.clear();
                }
                job.note(Note::Progress { done, of, text });
            }
            line.clear();
        }
    }
}
