//! Named points at which a test can end the process as `kill -9` would, or have it panic as a bug would.
//!
//! Without the feature `crash-points` nothing is compiled in.

/// Ends the process where `TOMOGRAPH_CRASH` names this point.
macro_rules! crash_point {
    ($name:literal) => {
        #[cfg(feature = "crash-points")]
        $crate::crash::reach($name);
    };
}
pub(crate) use crash_point;

/// Panics with all that it works on, where `TOMOGRAPH_CRASH` is `panic-` and this name.
macro_rules! panic_point {
    ($name:literal, $what:expr) => {
        #[cfg(feature = "crash-points")]
        assert!(!$crate::crash::is_named(concat!("panic-", $name)), "{:?}", $what);
    };
}
pub(crate) use panic_point;

/// Aborts where the environment names `point`.
#[cfg(feature = "crash-points")]
pub(crate) fn reach(point: &str) {
    if is_named(point) {
        std::process::abort();
    }
}

/// Whether the environment names `point`; the variable is read once.
#[cfg(feature = "crash-points")]
#[expect(clippy::disallowed_methods, reason = "tests that kill name the point in the environment of the whole program")]
pub(crate) fn is_named(point: &str) -> bool {
    static NAMED: std::sync::OnceLock<Option<std::ffi::OsString>> = std::sync::OnceLock::new();
    NAMED.get_or_init(|| std::env::var_os("TOMOGRAPH_CRASH")).as_deref().is_some_and(|name| name == point)
}
