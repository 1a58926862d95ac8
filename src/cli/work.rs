//! Hidden commands by which the program runs itself: guarded items, and the guardian of a run.

use super::exit::Exit;
use crate::run::guard;
use crate::stage::Kind;
use anyhow::Result;
use clap::Args;
use std::path::PathBuf;

/// Run items of a kind that parses foreign bytes, for the engine that started this.
#[derive(Args)]
pub(super) struct WorkArgs {
    /// The kind whose items come on standard input
    #[arg(long, value_name = "KIND")]
    items: String,
}

pub(super) fn work(args: &WorkArgs, kinds: &'static [Kind]) -> Result<Exit> {
    guard::serve(kinds, &args.items)?;
    Ok(Exit::Done)
}

/// End what a run has started as soon as standard input closes, unless the run has ended well.
#[derive(Args)]
pub(super) struct EndAfterArgs {
    /// The run's file in the store
    live: PathBuf,
}

pub(super) fn end_after(args: &EndAfterArgs) -> Result<Exit> {
    crate::run::end_after(&args.live)?;
    Ok(Exit::Done)
}
