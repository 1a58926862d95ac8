//! Runs a plan: the event loop, the pool, children, the journal.

pub mod guard;
pub mod order;
pub mod publish;
pub mod sidecar;
