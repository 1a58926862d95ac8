//! Exit codes, and the one place that turns an error into one.

use crate::plan::Unready;
use crate::run::Unmet;
use crate::store::{Damaged, LostRoots};
use anyhow::Result;
use std::borrow::Cow;
use std::process::ExitCode;

/// What the program ends with (DESIGN rule 11).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Done = 0,
    /// A task failed.
    Failed = 1,
    /// The pipeline or the command line is wrong.
    Wrong = 2,
    /// Done, but items are in quarantine that no decision has accepted.
    Quarantined = 3,
    /// The store is damaged.
    Damaged = 4,
    Interrupted = 130,
}

impl Exit {
    pub(super) fn code(self) -> ExitCode {
        ExitCode::from(self as u8)
    }
}

/// The user's mistake: exit code 2. Carries a sentence that says what is wrong and what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Wrong(pub(super) String);

/// Problems that were already shown: nothing more to print.
#[derive(Debug, thiserror::Error)]
#[error("the pipeline has errors")]
pub(super) struct Shown;

/// Prints an error, if one is left to print, and gives its exit code.
pub(super) fn of(result: Result<Exit>) -> Result<Exit, Exit> {
    let error = match result {
        Ok(exit) => return Ok(exit),
        Err(error) => error,
    };
    if error.chain().any(|cause| cause.is::<std::io::Error>() && is_broken_pipe(cause)) {
        return Ok(Exit::Done);
    }
    if !error.is::<Shown>() {
        remark(&format!("error: {error:#}"));
    }
    Err(if error.is::<Shown>() || error.is::<Wrong>() || error.is::<Unready>() || error.is::<Unmet>() {
        Exit::Wrong
    } else if error.chain().any(|cause| cause.is::<Damaged>() || cause.is::<LostRoots>()) {
        Exit::Damaged
    } else {
        Exit::Failed
    })
}

/// A bug of ours, of which only the place is known: what it said may have held people's data.
pub(super) fn of_panic(place: String) -> Exit {
    remark(&format!("error: a bug in tomograph, at {place}: please report it with what you did"));
    Exit::Failed
}

fn is_broken_pipe(cause: &(dyn std::error::Error + 'static)) -> bool {
    cause.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

/// Says something beside the output, on standard error. Where nobody can hear it, it is not said: the work goes on, and the exit code
/// is what it is.
pub(super) fn remark(text: &str) {
    say(&harmless(text));
}

/// The same, as it is: for text with colours of our own.
pub(super) fn say(text: &str) {
    use std::io::Write as _;
    let _ = std::io::stderr().write_all(format!("{text}\n").as_bytes());
}

/// Text whose names of files, and other words of others, move no cursor and ring no bell. Written as JSON writes them, so that JSON stays
/// what it is.
pub(super) fn harmless(text: &str) -> Cow<'_, str> {
    let harms = |one: char| one.is_control() && !matches!(one, '\n' | '\t');
    if !text.contains(harms) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for one in text.chars() {
        match one {
            '\r' => shown.push_str("\\r"),
            _ if harms(one) => shown.push_str(&format!("\\u{:04x}", u32::from(one))),
            _ => shown.push(one),
        }
    }
    Cow::Owned(shown)
}

/// What clap says: help and version end well, the rest is a wrong command line.
pub(super) fn from_clap(error: clap::Error) -> Exit {
    let exit = if error.use_stderr() { Exit::Wrong } else { Exit::Done };
    let _ = error.print();
    exit
}

/// Writes to standard output; a reader that has gone away is an error that ends the program quietly.
pub(super) fn print(text: &str) -> Result<()> {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    out.write_all(harmless(text).as_bytes())?;
    out.flush()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files_do_nothing_to_a_terminal() {
        assert_eq!(harmless("added ü\tx.png\n"), "added ü\tx.png\n");
        assert_eq!(harmless("\u{1b}[2Jx\r\u{7}\u{9b}y"), "\\u001b[2Jx\\r\\u0007\\u009by");
        let json = serde_json::json!({"name": "x\u{7f}\u{9b}\u{1b}"});
        assert_eq!(serde_json::from_str::<serde_json::Value>(&harmless(&json.to_string())).unwrap(), json);
    }
}
