//! Hidden commands by which the program runs itself: guarded items, and programs that must end with their engine.

use super::exit::Exit;
use crate::run::{die_with_parent, guard};
use crate::stage::Kind;
use anyhow::{Context as _, Result};
use clap::Args;
use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

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

/// Become another program that ends when the engine ends.
#[derive(Args)]
pub(super) struct ExecChildArgs {
    /// Process id of the engine
    parent: u32,
    /// The program and its arguments
    #[arg(last = true, required = true)]
    argv: Vec<OsString>,
}

pub(super) fn exec_child(args: &ExecChildArgs) -> Result<Exit> {
    die_with_parent(args.parent)?;
    let (program, rest) = args.argv.split_first().context("no program is named")?;
    Err(Command::new(program).args(rest).exec()).with_context(|| format!("cannot start {}", program.display()))
}
