//! Failures with a cause that policy can name, and what a limit in time says when it is over.

use crate::pipeline::Cause;

/// A task that failed for a cause that may pass.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(super) struct Failure {
    pub(super) cause: Cause,
    message: String,
}

impl Failure {
    pub(super) fn of(cause: Cause, message: impl Into<String>) -> anyhow::Error {
        Self { cause, message: message.into() }.into()
    }

    /// The cause of an error, where it has one.
    pub(super) fn cause_of(error: &anyhow::Error) -> Option<Cause> {
        error.chain().find_map(|error| error.downcast_ref::<Self>()).map(|failure| failure.cause)
    }
}

/// Whether what a program said means that memory, of the device or of the machine, did not suffice.
pub(super) fn is_memory(said: &str) -> bool {
    let said = said.to_lowercase();
    ["out of memory", "cannot allocate memory", "can't allocate memory", "bad_alloc"].iter().any(|sign| said.contains(sign))
}
