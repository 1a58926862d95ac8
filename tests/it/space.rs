//! A project folder of its own for a test, and the programs run in it as a user would run them.
//!
//! The environment is cleared, the home folder (so the index too) is the space's own, width and colours are fixed, and what
//! differs between machines is redacted in snapshots: `[ROOT]`, `[DIGEST]`, `[TIME]`, `[MOMENT]`, `[RUN]`.

use regex::Regex;
use snapbox::{Assert, IntoData, Redactions};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// The engine under test.
pub(crate) const TOMOGRAPH: &str = env!("CARGO_BIN_EXE_tomograph");

/// The program that trains.
#[cfg(feature = "torch")]
pub(crate) const TORCH: &str = env!("CARGO_BIN_EXE_tomograph-torch");

/// A temporary folder with a project in it; removed when dropped.
pub(crate) struct Space {
    folder: TempDir,
}

impl Space {
    /// An empty project: `tomograph.toml` and nothing else.
    pub(crate) fn new() -> Self {
        let space = Self { folder: tempfile::Builder::new().prefix("tomograph-it-").tempdir().unwrap() };
        fs::create_dir(space.home()).unwrap();
        space.write("tomograph.toml", "[project]\nid = \"test\"\n");
        space
    }

    /// The project's folder.
    pub(crate) fn root(&self) -> PathBuf {
        self.folder.path().join("project")
    }

    /// The home folder of the programs run here.
    pub(crate) fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    /// A place in the project.
    pub(crate) fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        self.root().join(path)
    }

    /// Writes a file of the project, with its folders.
    pub(crate) fn write(&self, path: impl AsRef<Path>, bytes: impl AsRef<[u8]>) {
        let place = self.path(path);
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::write(place, bytes).unwrap();
    }

    /// A text file of the project.
    pub(crate) fn read(&self, path: impl AsRef<Path>) -> String {
        let place = self.path(path);
        fs::read_to_string(&place).unwrap_or_else(|error| panic!("{}: {error}", place.display()))
    }

    /// Replaces text in a file; the text must be there exactly once.
    pub(crate) fn replace(&self, path: impl AsRef<Path>, from: &str, to: &str) {
        let text = self.read(&path);
        assert_eq!(text.matches(from).count(), 1, "{from:?} must be in {} once", path.as_ref().display());
        self.write(path, text.replacen(from, to, 1));
    }

    /// Removes the blobs that are files of their own.
    pub(crate) fn lose_large_blobs(&self) {
        let folders = fs::read_dir(self.path("cache/blobs")).unwrap().map(|folder| folder.unwrap().path());
        folders.for_each(|folder| fs::remove_dir_all(folder).unwrap());
    }

    /// A command in the project's folder, in the environment of a space.
    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.root())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.home())
            // What engines of this machine share out among them, they share within the space.
            .env("TMPDIR", self.home())
            .env("LANG", "C.UTF-8")
            .env("NO_COLOR", "1")
            .env("COLUMNS", "120")
            .stdin(Stdio::null());
        command
    }

    /// Runs `tomograph` with arguments written in one line, split at blanks.
    #[must_use = "look at the text, or say which exit code is right"]
    pub(crate) fn run(&self, line: &str) -> Output {
        self.run_args(&line.split_whitespace().collect::<Vec<_>>())
    }

    /// Runs `tomograph` with these arguments.
    #[must_use = "look at the text, or say which exit code is right"]
    pub(crate) fn run_args(&self, arguments: &[&str]) -> Output {
        self.finish(self.command(TOMOGRAPH).args(arguments))
    }

    /// Runs a command to its end. No program may panic, whatever it is given.
    #[must_use = "look at the text, or say which exit code is right"]
    pub(crate) fn finish(&self, command: &mut Command) -> Output {
        let shown = format!("{command:?}");
        let output = command.output().unwrap_or_else(|error| panic!("cannot start {shown}: {error}"));
        let output = Output {
            shown,
            folder: self.folder.path().to_owned(),
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        };
        assert!(!output.stderr.contains("panicked at") && output.code != Some(101), "a panic reached the user\n{}", output.text());
        output
    }
}

/// What a program left behind.
pub(crate) struct Output {
    shown: String,
    folder: PathBuf,
    /// Exit code; none where a signal ended the program.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Output {
    /// It ended with 0.
    pub(crate) fn success(self) -> Self {
        self.exits(0)
    }

    /// It ended with this code.
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "wrong exit code\n{}", self.text());
        self
    }

    /// A signal ended it.
    #[cfg(feature = "crash-points")]
    pub(crate) fn killed(self) -> Self {
        assert_eq!(self.code, None, "it should have been killed\n{}", self.text());
        self
    }

    /// Its standard output, redacted, is this snapshot. `SNAPSHOTS=overwrite` writes inline ones anew.
    #[track_caller]
    pub(crate) fn stdout_eq(self, expected: impl IntoData) -> Self {
        self.assert().eq(&self.stdout, expected);
        self
    }

    /// Its standard error, redacted, is this snapshot.
    #[track_caller]
    pub(crate) fn stderr_eq(self, expected: impl IntoData) -> Self {
        self.assert().eq(&self.stderr, expected);
        self
    }

    /// Some line of its output or its errors has each of these.
    pub(crate) fn says(self, parts: &[&str]) -> Self {
        for part in parts {
            assert!(self.stdout.contains(part) || self.stderr.contains(part), "{part:?} is not said\n{}", self.text());
        }
        self
    }

    /// The objects of a `--json` run, one a line.
    pub(crate) fn objects(&self) -> Vec<serde_json::Value> {
        let parse = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}\n{}", self.text()));
        self.stdout.lines().map(parse).collect()
    }

    /// Task → outcome, from `run --json`.
    pub(crate) fn outcomes(&self) -> BTreeMap<String, String> {
        let text = |object: &serde_json::Value, key: &str| object[key].as_str().unwrap_or_default().to_owned();
        let tasks = self.objects().into_iter().filter(|object| object["event"] == "task");
        tasks.map(|object| (text(&object, "task"), text(&object, "outcome"))).collect()
    }

    /// The tasks with this outcome, from `run --json`.
    pub(crate) fn tasks(&self, outcome: &str) -> Vec<String> {
        self.outcomes().into_iter().filter(|(_, one)| one == outcome).map(|(task, _)| task).collect()
    }

    /// The summary of `run --json`.
    pub(crate) fn summary(&self) -> serde_json::Value {
        let last = self.objects().pop().unwrap_or_else(|| panic!("no summary\n{}", self.text()));
        assert_eq!(last["event"], "summary", "the last object must be the summary\n{}", self.text());
        last
    }

    /// Everything there is to see, for messages.
    pub(crate) fn text(&self) -> String {
        format!("$ {}\nexit code {:?}\n--- stdout\n{}--- stderr\n{}", self.shown, self.code, self.stdout, self.stderr)
    }

    fn assert(&self) -> Assert {
        let mut redactions = Redactions::new();
        redactions.insert("[ROOT]", self.folder.join("project")).unwrap();
        redactions.insert("[HOME]", self.folder.join("home")).unwrap();
        redactions.insert("[DIGEST]", Regex::new(r"\b(?<redacted>[0-9a-f]{64}|[0-9a-f]{12})\b").unwrap()).unwrap();
        redactions.insert("[RUN]", Regex::new(r"\b(?<redacted>[0-9]{8}T[0-9]{12}-[0-9]+x*)").unwrap()).unwrap();
        let moment = r"\b(?<redacted>[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2} UTC)";
        redactions.insert("[MOMENT]", Regex::new(moment).unwrap()).unwrap();
        redactions.insert("[TIME]", Regex::new(r"\b(?<redacted>[0-9]+(\.[0-9]+)? ?(ms|s|min|h))\b").unwrap()).unwrap();
        Assert::new().action_env("SNAPSHOTS").redact_with(redactions)
    }
}
