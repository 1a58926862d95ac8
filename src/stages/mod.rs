//! The registry of kinds: one line per kind, in the order a study uses them.

use crate::stage::Kind;

/// Every built-in kind.
pub static KINDS: &[Kind] = &[];
