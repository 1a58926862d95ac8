//! Failures with a cause that policy can name, and the classes by which ports with holes see failures.

use crate::content::Quoting;
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

/// A task whose time is over.
#[derive(Debug, thiserror::Error)]
#[error("it took longer than policy.timeout allows ({0} s) and was ended")]
pub(super) struct Late(pub(super) f64);

/// More items are in quarantine than policy allows.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Quarantined(pub(super) String);

/// Whether a task ended because the run was stopped: where that is so, this is how what says so begins.
pub(super) fn is_interrupted(error: &anyhow::Error) -> bool {
    error.root_cause().to_string().starts_with("interrupted")
}

/// An error in words that may leave the store. Of people's data no value is told; what a parser of JSON says quotes what it met.
pub fn told(error: &anyhow::Error, people: bool) -> String {
    if !people {
        return format!("{error:#}");
    }
    let words =
        |cause: &(dyn std::error::Error + 'static)| match (cause.downcast_ref::<serde_json::Error>(), cause.downcast_ref::<Quoting>()) {
            (Some(json), _) => format!("not as it should be at line {}", json.line()),
            (None, Some(told)) => told.without.clone(),
            (None, None) => cause.to_string(),
        };
    error.chain().map(words).collect::<Vec<_>>().join(": ")
}

/// What a port with holes sees of a failure, in its key too: one word that does not change from try to try.
pub(super) fn class(error: &anyhow::Error) -> &'static str {
    match Failure::cause_of(error) {
        Some(Cause::Signal) => "signal",
        Some(Cause::Oom) => "memory",
        Some(Cause::Exit) => "exit",
        None if error.chain().any(|cause| cause.is::<Late>()) => "time",
        None if error.chain().any(|cause| cause.is::<Quarantined>()) => "quarantine",
        None => "error",
    }
}

/// Whether what a program said means that memory, of the device or of the machine, did not suffice.
pub(super) fn is_memory(said: &str) -> bool {
    let said = said.to_lowercase();
    ["out of memory", "cannot allocate memory", "can't allocate memory", "bad_alloc"].iter().any(|sign| said.contains(sign))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_peoples_data_a_parser_tells_only_the_line() {
        use anyhow::Context as _;
        let error = serde_json::from_str::<u8>("\n\"Meyer\"").context("role.json").context("input `arrays`").unwrap_err();
        assert_eq!(told(&error, true), "input `arrays`: role.json: not as it should be at line 2");
        assert!(told(&error, false).contains("Meyer"));
        let quoting = Quoting { quoting: "the label `Meyer`".to_owned(), without: "a label".to_owned() };
        let error = anyhow::Error::from(quoting).context("port `split`");
        assert_eq!([told(&error, true), told(&error, false)], ["port `split`: a label", "port `split`: the label `Meyer`"]);
    }

    #[test]
    fn what_was_interrupted_is_told_from_what_failed() {
        assert!(is_interrupted(&anyhow::anyhow!("interrupted").context("sh").context("item a")));
        assert!(!is_interrupted(&anyhow::anyhow!("sh ended with signal: 15").context("interrupted")));
    }

    #[test]
    fn every_cause_has_a_class_of_its_own() {
        let of = |error: anyhow::Error| class(&error.context("a task"));
        let found = [
            of(Failure::of(Cause::Signal, "signal: 9")),
            of(Failure::of(Cause::Oom, "out of memory")),
            of(Failure::of(Cause::Exit, "exit status: 3")),
            of(Late(2.0).into()),
            of(Quarantined("3 items".to_owned()).into()),
            of(anyhow::anyhow!("anything else")),
        ];
        assert_eq!(found, ["signal", "memory", "exit", "time", "quarantine", "error"]);
    }
}
