//! Named points at which a test can end the process as `kill -9` would.
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

/// Aborts where the environment names `point`; the variable is read once.
#[cfg(feature = "crash-points")]
#[expect(clippy::disallowed_methods, reason = "tests that kill name the point in the environment of the whole program")]
pub(crate) fn reach(point: &str) {
    static NAMED: std::sync::OnceLock<Option<std::ffi::OsString>> = std::sync::OnceLock::new();
    if NAMED.get_or_init(|| std::env::var_os("TOMOGRAPH_CRASH")).as_deref().is_some_and(|name| name == point) {
        std::process::abort();
    }
}
