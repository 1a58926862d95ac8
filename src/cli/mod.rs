//! The command line: one file per subcommand. The only place that prints, reads the environment and picks an exit code.

mod accept;
mod across;
mod attempt;
mod audit;
mod backbones;
mod cache;
mod check;
mod complete;
mod diagnostics;
mod diff;
mod doctor;
mod exit;
mod export;
mod features;
mod gc;
mod graph;
mod grid;
mod history;
mod init;
mod kinds;
mod ledger;
mod log;
mod past;
mod plan;
mod preview;
mod progress;
mod project;
mod quarantine;
mod reading;
mod results;
mod reveal;
mod run;
mod schema;
mod show;
mod tensorboard;
mod weights;
mod whence;
mod why;
mod work;

pub use exit::Exit;

use crate::stages::KINDS;
use anyhow::Result;
use clap::{Parser, Subcommand};

/// TOML job graphs for medical-imaging experiments.
///
/// A pipeline is one TOML file. `tomograph` hashes what goes into every stage, runs what changed, and can say of every number
/// where it came from. Begin with `tomograph check PIPELINE`, then `plan` and `run`.
#[derive(Parser)]
#[command(name = "tomograph", version = crate::run::order::BUILD, max_term_width = 120, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Check(check::CheckArgs),
    Plan(plan::PlanArgs),
    Run(run::RunArgs),
    Accept(accept::AcceptArgs),
    Why(why::WhyArgs),
    Whence(whence::WhenceArgs),
    Graph(graph::GraphArgs),
    Show(show::ShowArgs),
    Export(export::ExportArgs),
    History(history::HistoryArgs),
    Diff(diff::DiffArgs),
    Log(log::LogArgs),
    Quarantine(quarantine::QuarantineArgs),
    Cache(cache::CacheArgs),
    Kinds(kinds::KindsArgs),
    Try(attempt::TryArgs),
    Init(init::InitArgs),
    Doctor(doctor::DoctorArgs),
    Schema(schema::SchemaArgs),
    Completions(complete::CompletionsArgs),
    #[command(hide = true)]
    Complete(complete::CompleteArgs),
    Backbones(backbones::BackbonesArgs),
    Weights(weights::WeightsArgs),
    Features(features::FeaturesArgs),
    #[command(hide = true)]
    Work(work::WorkArgs),
    #[command(hide = true)]
    EndAfter(work::EndAfterArgs),
}

/// Reads the command line and does what it says.
pub fn main() -> std::process::ExitCode {
    crate::panics::silence();
    let run = || Cli::try_parse().map_err(exit::from_clap).and_then(|cli| exit::of(dispatch(cli.command))).unwrap_or_else(|exit| exit);
    crate::panics::caught(run).unwrap_or_else(exit::of_panic).code()
}

fn dispatch(command: Command) -> Result<Exit> {
    match command {
        Command::Check(args) => check::check(&args, KINDS),
        Command::Plan(args) => plan::plan(&args, KINDS),
        Command::Accept(args) => accept::accept(&args, KINDS),
        Command::Run(args) => run::run(&args, KINDS),
        Command::Why(args) => why::why(&args, KINDS),
        Command::Whence(args) => whence::whence(&args),
        Command::Graph(args) => graph::graph(&args, KINDS),
        Command::Show(args) => show::show(&args, KINDS),
        Command::Export(args) => export::export(&args, KINDS),
        Command::Diff(args) => diff::diff(&args, KINDS),
        Command::History(args) => history::history(&args),
        Command::Log(args) => log::log(&args, KINDS),
        Command::Quarantine(args) => quarantine::quarantine(&args, KINDS),
        Command::Cache(args) => cache::cache(&args, KINDS),
        Command::Kinds(args) => kinds::kinds(&args, KINDS),
        Command::Try(args) => attempt::attempt(&args, KINDS),
        Command::Init(args) => init::init(&args),
        Command::Doctor(args) => doctor::doctor(&args),
        Command::Schema(args) => schema::schema(&args, KINDS),
        Command::Completions(args) => complete::completions(&args),
        Command::Complete(args) => complete::complete(&args, &<Cli as clap::CommandFactory>::command(), KINDS),
        Command::Backbones(args) => backbones::backbones(&args),
        Command::Weights(args) => weights::weights(&args),
        Command::Features(args) => features::features(&args),
        Command::Work(args) => work::work(&args, KINDS),
        Command::EndAfter(args) => work::end_after(&args),
    }
}
