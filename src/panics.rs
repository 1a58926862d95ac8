//! Panics kept from the terminal: what one says may hold people's data, so only the place in the source where it happened is told.
//!
//! Knows nothing of who panics: a bug of ours, or a decoder that gives up.

use std::panic::{AssertUnwindSafe, catch_unwind, set_hook};
use std::sync::{Mutex, PoisonError};

/// Where the last panic happened.
static LAST: Mutex<Option<String>> = Mutex::new(None);

/// From now on a panic prints nothing.
pub fn silence() {
    set_hook(Box::new(|info| {
        let place = info.location().map(|at| format!("{}:{}", at.file(), at.line()));
        *LAST.lock().unwrap_or_else(PoisonError::into_inner) = place;
    }));
}

/// Does `work`; of a panic in it, the place.
pub fn caught<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|_| {
        let place = LAST.lock().unwrap_or_else(PoisonError::into_inner).take();
        place.unwrap_or_else(|| "a place that is not known".to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_answer() {
        assert_eq!(caught(|| 7), Ok(7));
        assert!(caught(|| assert_eq!(1, 2, "this panic is wanted")).is_err());
    }
}
