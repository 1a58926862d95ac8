//! One guarded child as the engine holds it: its pipes, its threads that read, its end.

use super::Spawn;
use super::frames::{Header, read_answer, read_frame};
use crate::run::order::BUILD;
use crate::run::start::NO_THREAD;
use crate::stage::Each;
use anyhow::{Context as _, Result, bail, ensure};
use std::io::{BufReader, Read, Write};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStderr, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

/// How long a child may take to say that it is ready.
const START: Duration = Duration::from_secs(30);
/// How often it is looked whether the task's time is over.
const LOOK: Duration = Duration::from_millis(50);
/// How much of a child's standard error is kept, in bytes. It is looked at, never shown: it may hold people's data.
const TAIL: usize = 8 << 10;

/// Why a child gave no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Memory,
    Time,
    Stack,
    Crash,
}

enum Reply {
    Ready(String),
    Answer(Result<Each>),
}

/// A child at our service. Dropping it ends the child.
pub(super) struct Worker {
    child: Child,
    questions: ChildStdin,
    replies: Receiver<Reply>,
    complaints: Option<JoinHandle<Vec<u8>>>,
}

impl Worker {
    /// Starts a child, greets it and waits until it is ready.
    pub(super) fn start(mut command: Command, hello: &[u8], spawn: &Spawn) -> Result<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut child = spawn(command)?;
        let (Some(questions), Some(answers), Some(errors)) = (child.stdin.take(), child.stdout.take(), child.stderr.take()) else {
            bail!("a child without pipes")
        };
        let (sender, replies) = sync_channel(1);
        let listen = move || {
            let mut source = BufReader::new(answers);
            // An end, or what is no frame, closes the channel.
            while let Ok(Some(header)) = read_frame::<Header>(&mut source) {
                let reply = match header.ready {
                    Some(build) => Reply::Ready(build),
                    None => match read_answer(&mut source, header) {
                        Ok(answer) => Reply::Answer(answer),
                        Err(_) => return,
                    },
                };
                if sender.send(reply).is_err() {
                    return;
                }
            }
        };
        Builder::new().spawn(listen).context(NO_THREAD)?;
        let complaints = Builder::new().spawn(move || tail_of(errors)).context(NO_THREAD)?;
        let mut worker = Self { child, questions, replies, complaints: Some(complaints) };
        // A child that ends at once breaks the pipe; that it is not ready says so.
        let greeted = worker.questions.write_all(hello).and_then(|()| worker.questions.flush());
        match worker.replies.recv_timeout(START) {
            Ok(Reply::Ready(build)) => ensure!(build == BUILD, "the program is another build"),
            Ok(Reply::Answer(_)) => bail!("it answers before it is asked"),
            Err(_) => bail!("it ended before it was ready ({})", worker.child.wait().context("and cannot be waited for")?),
        }
        greeted.context("it does not listen")?;
        Ok(worker)
    }

    /// Asks about an item. After an `End`, or an error of `check`, the child is of no more use.
    pub(super) fn ask(&mut self, question: &[u8], limit: Duration, check: &dyn Fn() -> Result<()>) -> Result<Result<Result<Each>, End>> {
        let asked = self.questions.write_all(question).and_then(|()| self.questions.flush());
        if asked.is_err() {
            return Ok(Err(self.end()));
        }
        let asked = Instant::now();
        loop {
            let left = limit.saturating_sub(asked.elapsed());
            match self.replies.recv_timeout(left.min(LOOK)) {
                Ok(Reply::Answer(answer)) => return Ok(Ok(answer)),
                Ok(Reply::Ready(_)) => return Ok(Err(End::Crash)),
                Err(RecvTimeoutError::Disconnected) => return Ok(Err(self.end())),
                Err(RecvTimeoutError::Timeout) if left.is_zero() => return Ok(Err(End::Time)),
                Err(RecvTimeoutError::Timeout) => check()?,
            }
        }
    }

    /// Ends the child, if it has not ended, and says what its last words mean.
    fn end(&mut self) -> End {
        self.kill();
        let words = self.complaints.take().and_then(|thread| thread.join().ok()).unwrap_or_default();
        let said = |what: &str| String::from_utf8_lossy(&words).contains(what);
        match (said("memory allocation of"), said("has overflowed its stack")) {
            (true, _) => End::Memory,
            (_, true) => End::Stack,
            _ => End::Crash,
        }
    }

    fn kill(&mut self) {
        // The group first: a child of the child goes too. Whoever has ended already is only waited for.
        if let Ok(None) = self.child.try_wait() {
            let group = rustix::process::Pid::from_child(&self.child);
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
        let _ = self.child.wait();
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Reads to the end and keeps the last [`TAIL`] bytes.
fn tail_of(mut errors: ChildStderr) -> Vec<u8> {
    let mut kept = Vec::new();
    let mut piece = [0; 4096];
    while let Ok(count @ 1..) = errors.read(&mut piece) {
        kept.extend_from_slice(&piece[..count]);
        let surplus = kept.len().saturating_sub(TAIL);
        kept.drain(..surplus);
    }
    kept
}
