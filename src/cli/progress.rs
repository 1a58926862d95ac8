//! Shows a run as it goes: bars on a terminal, plain lines elsewhere, JSON lines with `--json`.

use super::exit::harmless;
use crate::run::{Ended, Event, Summary};
use crate::stage::Note;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// A plain line about a task that goes on appears at most this often.
const PLAIN_EVERY: Duration = Duration::from_secs(10);
/// Progress events in JSON appear at most this often per task.
const JSON_EVERY: Duration = Duration::from_millis(250);

/// Where a run is shown.
pub(super) struct Screen {
    mode: Mode,
    tasks: u64,
    ended: u64,
    cached: u64,
    last: BTreeMap<String, Instant>,
}

enum Mode {
    Json,
    Plain,
    Bars { all: MultiProgress, total: ProgressBar, running: BTreeMap<String, ProgressBar> },
}

impl Screen {
    pub(super) fn new(json: bool, tasks: u64) -> Self {
        let mode = if json {
            Mode::Json
        } else if std::io::stderr().is_terminal() {
            let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10));
            let total = all.add(ProgressBar::new(tasks).with_style(style("{elapsed_precise} [{bar:24}] {pos}/{len} tasks")));
            Mode::Bars { all, total, running: BTreeMap::new() }
        } else {
            Mode::Plain
        };
        Self { mode, tasks, ended: 0, cached: 0, last: BTreeMap::new() }
    }

    pub(super) fn show(&mut self, event: Event) {
        match event {
            Event::Started { task } => self.started(task),
            Event::Noted { task, note: Note::Progress { done, of, text } } => self.progress(&task, done, of, &text),
            Event::Noted { task, note: Note::Warning(text) } => {
                self.line(&format!("warning: {task}: {text}"), &serde_json::json!({"event": "warning", "task": task, "message": text}));
            }
            Event::Noted { note: Note::Log(_), .. } => {}
            Event::Retried { task, message, number, of, rest } => {
                self.last.remove(&task);
                if let Mode::Bars { running, .. } = &mut self.mode
                    && let Some(bar) = running.remove(&task)
                {
                    bar.finish_and_clear();
                }
                let seconds = rest.as_secs_f64();
                let value = serde_json::json!({
                    "event": "retry", "task": task, "message": message, "number": number, "of": of, "rest": seconds,
                });
                self.line(&format!("retry {number}/{of} of {task} in {seconds:.1} s: {message}"), &value);
            }
            Event::Remark { text } => self.line(&text, &serde_json::json!({"event": "remark", "message": text})),
            Event::Revived => {
                self.ended = self.ended.saturating_sub(1);
                self.cached = self.cached.saturating_sub(1);
            }
            Event::Published { path } => self.line(&format!("published {path}"), &serde_json::json!({"event": "published", "path": path})),
            Event::Unpublished { task, path, message } => {
                let value = serde_json::json!({"event": "unpublished", "task": task, "path": path, "message": message});
                self.line(&format!("not published {path} of {task}: {message}"), &value);
            }
            Event::Ended { task, outcome, seconds, message, log } => {
                self.ended += 1;
                self.last.remove(&task);
                if let Mode::Bars { total, running, .. } = &mut self.mode {
                    if let Some(bar) = running.remove(&task) {
                        bar.finish_and_clear();
                    }
                    total.set_position(self.ended);
                }
                if outcome == Ended::Cached {
                    self.cached += 1;
                    if !matches!(self.mode, Mode::Json) {
                        return;
                    }
                }
                let value = serde_json::json!({
                    "event": "task", "task": task, "outcome": outcome.word(), "seconds": rounded(seconds),
                    "message": message, "log": log.as_ref().map(|log| log.display().to_string()),
                });
                let mut text = format!("{} {task}", outcome.word());
                match outcome {
                    Ended::Ran => {
                        text.push_str(&format!(" in {seconds:.1} s"));
                        text.push_str(&message.map(|message| format!(": {message}")).unwrap_or_default());
                    }
                    Ended::Cached | Ended::Failed | Ended::Skipped | Ended::Waiting => {
                        text.push_str(&message.map(|message| format!(": {message}")).unwrap_or_default());
                    }
                }
                self.line(&text, &value);
            }
        }
    }

    fn started(&mut self, task: String) {
        match &mut self.mode {
            Mode::Bars { all, total, running } => {
                let bar = all.insert_before(total, ProgressBar::new_spinner().with_style(style("{spinner} {prefix} {elapsed} {msg}")));
                bar.set_prefix(task.clone());
                bar.enable_steady_tick(Duration::from_millis(100));
                running.insert(task, bar);
            }
            Mode::Plain => {
                self.last.insert(task, Instant::now());
            }
            Mode::Json => {}
        }
    }

    fn progress(&mut self, task: &str, done: u64, of: u64, text: &str) {
        let due = |every: Duration, last: &BTreeMap<String, Instant>| last.get(task).is_none_or(|then| then.elapsed() >= every);
        match &mut self.mode {
            Mode::Bars { running, .. } => {
                if let Some(bar) = running.get(task) {
                    let left = time_left(bar.elapsed(), done, of);
                    bar.set_message(format!("{done}/{of} {text}{left}"));
                }
            }
            Mode::Plain if due(PLAIN_EVERY, &self.last) => {
                self.last.insert(task.to_owned(), Instant::now());
                self.line(&format!("{task} {done}/{of} {text}"), &serde_json::Value::Null);
            }
            Mode::Json if due(JSON_EVERY, &self.last) || done == of => {
                self.last.insert(task.to_owned(), Instant::now());
                self.line("", &serde_json::json!({"event": "progress", "task": task, "done": done, "of": of, "text": text}));
            }
            Mode::Plain | Mode::Json => {}
        }
    }

    /// The closing event, in JSON; bars go away.
    pub(super) fn finish(&mut self, summary: &Summary) {
        if let Mode::Bars { all, total, .. } = &self.mode {
            total.finish_and_clear();
            let _ = all.clear();
        }
        if matches!(self.mode, Mode::Json) {
            for tested in &summary.tested {
                let value = serde_json::json!({
                    "event": "ledger", "name": tested.name, "data": tested.data, "models": tested.models, "first": tested.first,
                });
                self.line("", &value);
            }
            let value = serde_json::json!({
                "event": "summary", "error": summary.trouble, "cached": summary.cached, "ran": summary.ran, "failed": summary.failed, "skipped": summary.skipped, "waiting": summary.waiting,
                "unpublished": summary.unpublished, "retried": summary.retried, "quarantined": summary.quarantined, "accepted": summary.accepted, "items_cached": summary.items_cached, "items_ran": summary.items_ran,
                "seconds": rounded(summary.seconds), "engine_seconds": rounded(summary.engine_seconds),
                "starts": { "count": summary.starts.len(), "median": summary.starts.get(summary.starts.len() / 2).copied().map(rounded), "most": summary.starts.last().copied().map(rounded) },
            });
            self.line("", &value);
        }
    }

    fn line(&self, text: &str, value: &serde_json::Value) {
        // A reader that has gone away does not stop a run.
        match &self.mode {
            Mode::Json => {
                let _ = writeln!(std::io::stdout(), "{value}");
            }
            Mode::Plain => {
                // In one piece: nothing is gathered on the way to standard error.
                let _ = std::io::stderr().write_all(format!("[{}/{}] {}\n", self.ended, self.tasks, harmless(text)).as_bytes());
            }
            Mode::Bars { all, .. } => {
                let _ = all.println(harmless(text));
            }
        }
    }
}

/// To the millisecond.
fn rounded(seconds: f64) -> f64 {
    (seconds * 1000.0).round() / 1000.0
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// How long the rest takes at the pace so far, once there is something to go by.
fn time_left(elapsed: Duration, done: u64, of: u64) -> String {
    if done == 0 || done >= of || elapsed < Duration::from_secs(2) {
        return String::new();
    }
    let seconds = elapsed.as_secs_f64() / done as f64 * (of - done) as f64;
    format!(", {} left", indicatif::HumanDuration(Duration::from_secs_f64(seconds)))
}

/// Shows that sources are being hashed, where that takes a while.
pub(super) fn hashing(quiet: bool) -> impl Fn(u64, u64) + Sync {
    let started = Instant::now();
    let bar: Mutex<Option<ProgressBar>> = Mutex::new(None);
    let show = !quiet && std::io::stderr().is_terminal();
    move |done, total| {
        if !show || started.elapsed() < Duration::from_millis(300) {
            return;
        }
        let mut bar = bar.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let bar = bar.get_or_insert_with(|| ProgressBar::new(total).with_style(style("hashing sources [{bar:24}] {bytes}/{total_bytes}")));
        bar.set_length(total);
        bar.set_position(done);
        if done >= total {
            bar.finish_and_clear();
        }
    }
}
