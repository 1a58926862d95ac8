//! The two programs as files: what they link, how fast they start, and that they need no environment.

#[cfg(feature = "torch")]
use crate::space::TORCH;
use crate::space::{Space, TOMOGRAPH};
use libtest_mimic::Trial;
use std::process::Command;
use std::time::{Duration, Instant};

pub(crate) fn trials() -> Vec<Trial> {
    let trials = trials![
        the_engine_does_not_link_libtorch: [crate::Need::Program("readelf", "binutils")],
        the_version_is_quick,
        help_names_every_subcommand,
    ];
    #[cfg(feature = "torch")]
    let trials = trials
        .into_iter()
        .chain(trials![
            the_worker_finds_libtorch_by_rpath: [crate::Need::Program("readelf", "binutils")],
            the_worker_needs_no_environment,
        ])
        .collect();
    trials
}

/// The lines of a program's dynamic section.
fn dynamic(program: &str) -> Vec<String> {
    let output = Command::new("readelf").args(["-d", "-W", program]).output().unwrap();
    assert!(output.status.success(), "readelf cannot read {program}");
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

fn the_engine_does_not_link_libtorch() {
    let lines = dynamic(TOMOGRAPH);
    assert!(lines.iter().any(|line| line.contains("(NEEDED)") && line.contains("libc.so")), "readelf said nothing of libc: {lines:?}");
    let foreign: Vec<&String> = lines.iter().filter(|line| line.contains("torch") || line.contains("libc10")).collect();
    assert!(foreign.is_empty(), "tomograph must start without libtorch: {foreign:?}");
}

fn the_version_is_quick() {
    let space = Space::new();
    let mut best = Duration::MAX;
    for _ in 0..20 {
        let start = Instant::now();
        let output = space.command(TOMOGRAPH).arg("--version").output().unwrap();
        best = best.min(start.elapsed());
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.starts_with(concat!("tomograph ", env!("CARGO_PKG_VERSION"))) && text.lines().count() == 1, "{text}");
    }
    assert!(best < Duration::from_millis(10), "`tomograph --version` takes {best:?}");
}

fn help_names_every_subcommand() {
    let output = Space::new().run("--help").success();
    for name in ["check", "plan", "run", "why", "show", "export", "log", "kinds", "features"] {
        assert!(
            output.stdout.lines().any(|line| line.trim_start().starts_with(&format!("{name} "))),
            "{name} is not in\n{}",
            output.stdout
        );
    }
}

#[cfg(feature = "torch")]
fn the_worker_finds_libtorch_by_rpath() {
    let lines = dynamic(TORCH);
    let needs = |library: &str| lines.iter().any(|line| line.contains("(NEEDED)") && line.contains(library));
    assert!(needs("libtorch_cpu.so"), "tomograph-torch does not link libtorch: {lines:?}");
    let paths = lines.iter().find(|line| line.contains("(RUNPATH)") || line.contains("(RPATH)"));
    let paths = paths.and_then(|line| line.split(['[', ']']).nth(1)).unwrap_or_else(|| panic!("there is no rpath: {lines:?}"));
    let folder = paths.split(':').find(|folder| std::path::Path::new(folder).join("libtorch_cpu.so").exists());
    let folder = folder.unwrap_or_else(|| panic!("no libtorch_cpu.so in {paths}"));
    // Its own program drops what it calls nothing of; without it every CUDA device is missing at run time.
    let cuda = std::path::Path::new(folder).join("libtorch_cuda.so").exists();
    assert_eq!(needs("libtorch_cuda.so"), cuda, "libtorch_cuda must be linked exactly where it is there");
}

#[cfg(feature = "torch")]
fn the_worker_needs_no_environment() {
    let output = Command::new(TORCH).arg("--version").env_clear().output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains(env!("CARGO_PKG_VERSION")), "{:?}: {text}", output.status);
}
