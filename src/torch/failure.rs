//! One clear line from whatever went wrong: an error, or a panic out of libtorch.

use anyhow::{Error, Result, anyhow};
use std::cell::RefCell;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

thread_local! {
    /// Whether this thread is inside [`guarded`], and where the last panic in it happened and what it said.
    static GUARD: RefCell<(bool, Option<(String, String)>)> = const { RefCell::new((false, None)) };
}

/// Runs `work`; a panic in it becomes an error and prints nothing. Panics of other threads print as they did.
pub(crate) fn guarded<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let print = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !GUARD.with_borrow(|guard| guard.0) {
                return print(info);
            }
            let place = info.location().map(|at| format!("{}:{}", at.file(), at.line())).unwrap_or_default();
            let message = info.payload_as_str().unwrap_or("no message").to_owned();
            GUARD.with_borrow_mut(|guard| guard.1 = Some((place, message)));
        }));
    });
    GUARD.set((true, None));
    let outcome = catch_unwind(AssertUnwindSafe(work));
    let (_, last) = GUARD.replace((false, None));
    outcome.unwrap_or_else(|_| Err(of_panic(last)))
}

fn of_panic(last: Option<(String, String)>) -> Error {
    let Some((place, message)) = last else { return anyhow!("internal error without a message") };
    match message.split_once("Torch(\"") {
        Some((_, torch)) => anyhow!("libtorch: {}", first_line(torch)),
        None => {
            // It may hold people's data, and standard error is the task's log, which stays in the store.
            let _ = writeln!(std::io::stderr(), "panic at {place}: {message}");
            anyhow!("a bug in tomograph-torch, at {place}: please report it")
        }
    }
}

/// The text up to the first line feed, which libtorch's messages have escaped.
fn first_line(text: &str) -> &str {
    let text = text.split("\\n").next().unwrap_or(text);
    text.lines().next().unwrap_or(text).trim_end_matches("\")")
}

/// The whole chain of causes on one line; where memory ran out, what to do about it.
pub(crate) fn line(error: &Error, batch: Option<u64>) -> String {
    let mut chain = String::new();
    for cause in error.chain() {
        // A parser quotes what it met, which may be people's data.
        let cause = match cause.downcast_ref::<serde_json::Error>() {
            Some(json) if json.line() > 0 => format!("not as it should be at line {}", json.line()),
            _ => cause.to_string(),
        };
        let cause = first_line(&cause);
        // Some errors repeat their cause.
        if chain.ends_with(cause) {
            continue;
        }
        if !chain.is_empty() {
            chain.push_str(": ");
        }
        chain.push_str(cause);
    }
    match batch {
        Some(batch @ 2..) if is_memory(error) => {
            format!("out of memory with batches of {batch} images: lower the param `batch`, to {} say ({chain})", batch / 2)
        }
        _ => chain,
    }
}

/// Whether memory of the device or the machine did not suffice.
pub(crate) fn is_memory(error: &Error) -> bool {
    error.chain().any(|cause| {
        let cause = cause.to_string().to_lowercase();
        ["out of memory", "can't allocate memory", "bad_alloc"].iter().any(|sign| cause.contains(sign))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_of_libtorch_becomes_one_line() {
        let result: Result<()> = guarded(|| {
            let _ = tch::Tensor::from_slice(&[1f32]).view([7i64]);
            Ok(())
        });
        assert_eq!(line(&result.unwrap_err(), Some(32)), "libtorch: shape '[7]' is invalid for input of size 1");
    }

    #[test]
    fn too_little_memory_names_the_batch() {
        let error = guarded(|| {
            let _ = tch::Tensor::zeros([1i64 << 50], (tch::Kind::Float, tch::Device::Cpu));
            Ok(())
        })
        .unwrap_err();
        let expected = "out of memory with batches of 32 images: lower the param `batch`, to 16 say";
        assert!(is_memory(&error) && line(&error, Some(32)).starts_with(expected), "{error}");
    }
}
