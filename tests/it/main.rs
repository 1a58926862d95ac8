//! Integration tests: everything that needs the built programs, and what must hold of the source text.
//!
//! One program, so that it is linked once. A file here has `pub(crate) fn trials() -> Vec<Trial>` and a line in `main`;
//! `tidy.rs` fails when one is forgotten. A test is a plain function that panics where something is wrong; what it needs of
//! the machine stands beside its name in [`trials!`], and where that is missing the test counts as skipped, with the Debian
//! package to install. With `TOMOGRAPH_NO_SKIP=1` a skip is a failure. Tests that draw moments by chance name their seed where they fail, and
//! `TOMOGRAPH_SEED` repeats it.
#![expect(clippy::unwrap_used, clippy::disallowed_methods, clippy::print_stdout, reason = "a test that panics is a test that fails")]

use libtest_mimic::{Arguments, Completion, Failed, Trial};
use std::process::{Command, ExitCode};

/// A test per function named, called `FILE::FUNCTION`, or `conformance::GROUP::FILE::FUNCTION` where `conformance.rs` lists it.
/// `name: [need, …]` says what it needs of the machine.
macro_rules! trials {
    ($($name:ident $(: [$($need:expr),+])?),+ $(,)?) => {
        vec![$(crate::trial(concat!(module_path!(), "::", stringify!($name)), &[$($($need),+)?], $name)),+]
    };
}

mod across;
mod audit;
mod axes;
mod bad_input;
mod cache;
#[cfg(feature = "torch")]
mod chosen;
mod clocks;
mod commands;
mod conformance;
mod crash;
mod cutoff;
#[cfg(feature = "torch")]
mod demo;
mod effects;
mod engines;
mod failure;
mod faults;
#[cfg(feature = "torch")]
mod features;
mod gc;
#[cfg(feature = "torch")]
mod heads;
mod items;
#[cfg(feature = "torch")]
mod keras;
mod kills;
mod laws;
mod leaks;
#[cfg(feature = "torch")]
mod learn;
mod ledger;
mod lend;
mod level;
mod limits;
mod lungs;
mod numbers;
mod odd;
#[cfg(feature = "torch")]
mod paper;
mod past;
mod per_item;
mod pipelines;
#[cfg(feature = "torch")]
mod predict;
mod programs;
mod quarantine;
mod races;
mod report;
mod rerun;
mod scheduling;
mod schema;
mod seeing;
#[cfg(feature = "torch")]
mod segment;
mod sharing;
mod shell;
mod space;
mod statistics;
mod study;
mod subjects;
#[cfg(feature = "torch")]
mod sweep;
mod tables;
mod tidy;
#[cfg(feature = "torch")]
mod tuning;
#[cfg(feature = "torch")]
mod views;
mod weights;
mod whence;
mod words;

fn main() -> ExitCode {
    let files = [
        across::trials(),
        audit::trials(),
        axes::trials(),
        bad_input::trials(),
        cache::trials(),
        clocks::trials(),
        #[cfg(feature = "torch")]
        chosen::trials(),
        commands::trials(),
        crash::trials(),
        cutoff::trials(),
        #[cfg(feature = "torch")]
        demo::trials(),
        effects::trials(),
        engines::trials(),
        failure::trials(),
        faults::trials(),
        #[cfg(feature = "torch")]
        features::trials(),
        gc::trials(),
        #[cfg(feature = "torch")]
        heads::trials(),
        kills::trials(),
        #[cfg(feature = "torch")]
        keras::trials(),
        #[cfg(feature = "torch")]
        learn::trials(),
        laws::trials(),
        leaks::trials(),
        ledger::trials(),
        lend::trials(),
        level::trials(),
        items::trials(),
        limits::trials(),
        lungs::trials(),
        odd::trials(),
        #[cfg(feature = "torch")]
        paper::trials(),
        per_item::trials(),
        past::trials(),
        pipelines::trials(),
        #[cfg(feature = "torch")]
        predict::trials(),
        programs::trials(),
        quarantine::trials(),
        races::trials(),
        report::trials(),
        rerun::trials(),
        scheduling::trials(),
        schema::trials(),
        subjects::trials(),
        sharing::trials(),
        shell::trials(),
        seeing::trials(),
        #[cfg(feature = "torch")]
        segment::trials(),
        statistics::trials(),
        #[cfg(feature = "torch")]
        sweep::trials(),
        tables::trials(),
        tidy::trials(),
        #[cfg(feature = "torch")]
        tuning::trials(),
        #[cfg(feature = "torch")]
        views::trials(),
        weights::trials(),
        whence::trials(),
        words::trials(),
    ];
    let mut all: Vec<Trial> = files.into_iter().flatten().collect();
    all.push(conformance::trial(&all));
    // So that the cases of a group stand together.
    all.sort_by(|one, other| one.name().cmp(other.name()));
    libtest_mimic::run(&Arguments::from_args(), all).exit_code()
}

/// Random numbers for a test, each below what is asked for, and the seed that repeats them: that of `TOMOGRAPH_SEED`, else of the clock.
#[cfg(feature = "torch")]
fn random() -> (u64, impl FnMut(u64) -> u64) {
    let given = std::env::var("TOMOGRAPH_SEED").ok().and_then(|text| text.parse().ok());
    let seed = given.unwrap_or_else(|| std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs()));
    let mut state = seed;
    // SplitMix64.
    let next = move |below: u64| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = state;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (bits ^ (bits >> 31)) % below.max(1)
    };
    (seed, next)
}

/// What a test needs of the machine it runs on.
#[derive(Clone, Copy)]
enum Need {
    /// A program on PATH, and the Debian package that has it.
    Program(&'static str, &'static str),
    /// To be root, for mounts and other users.
    Root,
    /// Keras, as `scripts/keras` installs it.
    #[cfg(feature = "torch")]
    Keras,
    /// SciPy, statsmodels and scikit-learn, as `scripts/statistics` installs them.
    Statistics,
}

/// The folder of Keras for PYTHONPATH, or why there is none.
#[cfg(feature = "torch")]
fn keras_packages() -> Result<String, String> {
    packages("keras")
}

/// The folder of SciPy, statsmodels and scikit-learn for PYTHONPATH, or why there is none.
fn statistics_packages() -> Result<String, String> {
    packages("statistics")
}

fn packages(script: &str) -> Result<String, String> {
    let output = Command::new(format!("{}/scripts/{script}", env!("CARGO_MANIFEST_DIR"))).arg("--find").output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

impl Need {
    /// Why the test cannot run here, where it cannot.
    fn missing(self) -> Option<String> {
        match self {
            Self::Program(program, package) => {
                let path = std::env::var_os("PATH").unwrap_or_default();
                let there = std::env::split_paths(&path).any(|folder| folder.join(program).is_file());
                (!there).then(|| format!("{program} is missing: install the Debian package {package}"))
            }
            Self::Root => {
                let id = Command::new("id").arg("-u").output().unwrap();
                (id.stdout.trim_ascii() != b"0").then(|| "it must be root to run".to_owned())
            }
            #[cfg(feature = "torch")]
            Self::Keras => keras_packages().err(),
            Self::Statistics => statistics_packages().err(),
        }
    }
}

fn trial(name: &str, needs: &'static [Need], run: fn()) -> Trial {
    let name = conformance::placed(name.strip_prefix("it::").unwrap_or(name));
    Trial::ignorable_test(name.clone(), move || {
        let missing: Vec<String> = needs.iter().filter_map(|need| need.missing()).collect();
        if missing.is_empty() {
            run();
            return Ok(Completion::Completed);
        }
        let reason = missing.join("; ");
        if std::env::var_os("TOMOGRAPH_NO_SKIP").is_some_and(|value| value == "1") {
            return Err(Failed::from(format!("skipped, and TOMOGRAPH_NO_SKIP=1 allows no skip: {reason}")));
        }
        println!("skipped {name}: {reason}");
        Ok(Completion::ignored_with(reason))
    })
}
