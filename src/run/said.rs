//! What a running program says: its output, which goes to the task's log, and how far it is, in the file that `TOMOGRAPH_PROGRESS` names.
//!
//! Knows nothing of the program; who waits for it asks now and then whether there is something new.

use super::log::Log;
use super::task::Job;
use crate::stage::Note;
use anyhow::{Context as _, Result};
use rustix::fs::OFlags;
use serde::Deserialize;
use std::fs::File;
use std::io::{BufRead as _, BufReader, ErrorKind, PipeReader, PipeWriter, Read as _, Seek as _, SeekFrom};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::Path;

/// As much as a pipe holds.
const PIECE: usize = 64 << 10;
/// So much of the end is kept, for the message of a failure.
const TAIL: usize = 4 << 10;

/// The engine's end of a program's standard output and standard error.
pub(super) struct Said {
    /// None when the program, and all that it started, have closed theirs.
    pipe: Option<PipeReader>,
    tail: Vec<u8>,
}

impl Said {
    /// The engine's end, and the program's.
    pub(super) fn new() -> Result<(Self, PipeWriter)> {
        let (pipe, theirs) = std::io::pipe().context("cannot make a pipe")?;
        rustix::fs::fcntl_setfl(&pipe, OFlags::NONBLOCK).context("cannot make a pipe")?;
        Ok((Self { pipe: Some(pipe), tail: Vec::new() }, theirs))
    }

    /// What tells that there is more.
    pub(super) fn waiting(&self) -> Option<BorrowedFd<'_>> {
        self.pipe.as_ref().map(|pipe| pipe.as_fd())
    }

    /// Writes what is there to the log; says whether there was something.
    pub(super) fn pass_on(&mut self, log: &Log) -> bool {
        let Some(pipe) = &mut self.pipe else { return false };
        let mut piece = [0; PIECE];
        match pipe.read(&mut piece) {
            Ok(0) => self.pipe = None,
            Ok(count) => {
                log.write(&piece[..count]);
                self.tail.extend_from_slice(&piece[..count]);
                self.tail.drain(..self.tail.len().saturating_sub(TAIL));
                return true;
            }
            Err(error) if [ErrorKind::WouldBlock, ErrorKind::Interrupted].contains(&error.kind()) => {}
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
    /// Tells of what is new in the file.
    pub(super) fn pass_on(&mut self, path: &Path, job: &Job) {
        let Ok(mut file) = File::open(path) else { return };
        if file.seek(SeekFrom::Start(self.0)).is_err() {
            return;
        }
        let mut reader = BufReader::new(file);
        let mut line = String::new();
        while reader.read_line(&mut line).is_ok_and(|length| length > 0) && line.ends_with('\n') {
            self.0 += line.len() as u64;
            if let Ok(Line { done, of, mut text }) = serde_json::from_str(&line) {
                if job.inputs.identified() {
                    text.clear();
                }
                job.note(Note::Progress { done, of, text });
            }
            line.clear();
        }
    }
}
