//! `tomograph cache gc`: frees what no run that is kept reaches.

use super::exit::{Exit, Wrong, print, remark};
use super::grid::{bytes, count, grid};
use super::show::moment;
use crate::content::Digest;
use crate::plan::key::KeyManifest;
use crate::stage::{Artifact, Kind};
use crate::store::{Amount, Contents, Freed, Garbage, GcOptions, Said, Store};
use anyhow::Result;
use clap::Args;
use serde_json::json;
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// What to keep.
#[derive(Args)]
pub(super) struct GcArgs {
    /// Keep runs younger than this: 12h, 30d, 8w [default: 30d; with --keep-last, one hour]
    #[arg(long, value_name = "AGE", value_parser = age)]
    older_than: Option<Duration>,
    /// Keep so many runs of each pipeline however old, and as many that did all of it without a failure [default: 1]
    #[arg(long, value_name = "N")]
    keep_last: Option<usize>,
    /// Free also what younger runs reach, the oldest first, until the store has no more than this: 200GB
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_size: Option<u64>,
    /// Free models like everything else; without it a result with a model stays
    #[arg(long)]
    models: bool,
    /// Say what would be freed, and free nothing
    #[arg(long)]
    dry_run: bool,
    /// One JSON object a line: what would be freed, then what was
    #[arg(long)]
    json: bool,
    /// Never take what is younger
    #[arg(long, value_name = "AGE", value_parser = age, default_value = "1h", hide = true)]
    spare: Duration,
}

pub(super) fn gc(store: &Store, args: &GcArgs, kinds: &'static [Kind]) -> Result<Exit> {
    if args.keep_last == Some(0) {
        return Err(Wrong("--keep-last 0 would keep nothing of what you work on: say 1 or more".to_owned()).into());
    }
    // Who says how many runs to keep means no others.
    let younger = if args.keep_last.is_some() { Duration::ZERO } else { 30 * DAY };
    let options = GcOptions {
        older_than: args.older_than.unwrap_or(younger),
        keep_last: args.keep_last.unwrap_or(1),
        max_size: args.max_size,
        models: args.models,
        spare: args.spare,
    };
    let contents = Known { kinds };
    if args.dry_run {
        tell(&store.garbage(&options, &contents)?, args)?;
        return Ok(Exit::Done);
    }
    let done = store.collect(&options, &contents, &|garbage| tell(garbage, args))?;
    if args.json {
        print(&format!("{}\n", json!({ "event": "freed", "bytes": done.bytes, "in_use": done.in_use })))?;
    } else if done.bytes > 0 {
        print(&format!("freed {}\n", bytes(done.bytes)))?;
    }
    for pack in &done.in_use {
        remark(&format!("left: {}: a process is using it; free the rest when that has ended", pack.display()));
    }
    Ok(Exit::Done)
}

/// What `gc` would free as it is; none where nobody can tell.
pub(super) fn would_free(store: &Store, kinds: &'static [Kind]) -> Option<u64> {
    let options = GcOptions { older_than: 30 * DAY, keep_last: 1, max_size: None, models: false, spare: HOUR };
    store.garbage(&options, &Known { kinds }).ok().map(|garbage| garbage.frees.total())
}

fn tell(garbage: &Garbage, args: &GcArgs) -> Result<()> {
    let frees = &garbage.frees;
    let is_met = args.max_size.is_none_or(|most| garbage.stays <= most);
    if args.json {
        let value = json!({
            "event": "garbage", "frees": frees, "total": frees.total(), "stays": garbage.stays, "kept_runs": garbage.kept_runs,
            "oldest": garbage.oldest, "live": garbage.live, "is_met": is_met,
        });
        print(&format!("{value}\n"))?;
    } else {
        print(&text(garbage))?;
    }
    if !is_met && !args.json {
        let why = if args.models { "" } else { ", and models unless --models" };
        remark(&format!(
            "the store will not be as small as {}: the last runs, named runs and the last hour are kept{why}",
            bytes(args.max_size.unwrap_or_default())
        ));
    }
    Ok(())
}

fn text(garbage: &Garbage) -> String {
    let Freed { results, blobs, entries, state, logs, runs, ref stages } = garbage.frees;
    let mut text = String::new();
    if garbage.frees.total() == 0 {
        text.push_str("nothing to free\n");
    } else {
        let mut rows = vec![vec!["to be freed".to_owned(), "count".to_owned(), String::new()]];
        let mut row = |what: &str, amount: Amount| {
            if amount.bytes > 0 {
                rows.push(vec![what.to_owned(), amount.count.to_string(), bytes(amount.bytes)]);
            }
        };
        row("large blobs", blobs);
        for (stage, amount) in stages {
            match stage.as_str() {
                "" => row("  of no result", Amount { count: 0, ..*amount }),
                _ => row(&format!("  of results of {stage}"), *amount),
            }
        }
        row("entries of packs", entries);
        row("state of unfinished tasks", state);
        row("logs", logs);
        row("journals of runs", runs);
        text.push_str(&grid(&rows, ""));
        text.push_str(&format!("together {}", bytes(garbage.frees.total())));
        text.push_str(&if results > 0 { format!(", {}\n", count(results, "result")) } else { "\n".to_owned() });
    }
    let oldest = garbage.oldest.as_ref().map(|oldest| format!(", the oldest of {}", moment(oldest))).unwrap_or_default();
    text.push_str(&format!("kept: {}{oldest}; {}\n", count(garbage.kept_runs as u64, "run"), bytes(garbage.stays)));
    if garbage.live {
        text.push_str("a run goes on: packs stay as they are, and so does what is younger than it\n");
    }
    text
}

/// Reads what the store cannot.
pub(super) struct Known {
    pub(super) kinds: &'static [Kind],
}

impl Contents for Known {
    fn said(&self, key_manifest: &[u8]) -> Said {
        let Ok(manifest) = serde_json::from_slice::<KeyManifest>(key_manifest) else {
            return Said { inputs: Vec::new(), has_model: true };
        };
        let is_model = |artifact: &str| ["model", "models"].contains(&artifact);
        let has_model = match (&manifest.command, self.kinds.iter().find(|kind| kind.name == manifest.kind)) {
            (Some(command), _) => command.outputs.values().any(|artifact| is_model(artifact)),
            (None, Some(kind)) => {
                kind.outputs.iter().any(|port| [Artifact::Model, Artifact::Models].iter().any(|one| port.holds.contains(one)))
            }
            // A kind that this version does not have.
            (None, None) => true,
        };
        Said { inputs: manifest.inputs.into_values().flatten().filter_map(|part| part.digest).collect(), has_model }
    }

    fn files(&self, item: &[u8]) -> Option<Vec<Digest>> {
        crate::run::items::files_of(item)
    }
}

/// `30d`: seconds, minutes, hours, days or weeks.
fn age(text: &str) -> Result<Duration, String> {
    let split = text.find(|one: char| !one.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 24 * 3600,
        "w" => 7 * 24 * 3600,
        _ => 0,
    };
    let age = number.parse::<u64>().ok().filter(|_| seconds > 0).and_then(|number| number.checked_mul(seconds));
    age.map(Duration::from_secs).ok_or_else(|| "say a number and s, m, h, d or w, such as 30d".to_owned())
}

/// `200GB`: bytes, by thousands, or by 1024 with `i`.
fn size(text: &str) -> Result<u64, String> {
    let split = text.find(|one: char| !one.is_ascii_digit() && one != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let units = ["B", "kB", "MB", "GB", "TB", "KiB", "MiB", "GiB", "TiB"];
    let factors = [1.0, 1e3, 1e6, 1e9, 1e12, 1024.0, 1_048_576.0, 1_073_741_824.0, 1_099_511_627_776.0];
    let factor = units.iter().position(|one| one.eq_ignore_ascii_case(unit.trim())).map(|at| factors[at]);
    let bytes = number.parse::<f64>().ok().zip(factor).map(|(number, factor)| number * factor);
    bytes.map(|bytes| bytes as u64).ok_or_else(|| format!("say a number and one of {}, such as 200GB", units.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_and_sizes_are_written_as_people_do() {
        assert_eq!([age("30d"), age("0s"), age("2w")], [Ok(30 * DAY), Ok(Duration::ZERO), Ok(14 * DAY)]);
        assert_eq!([size("200GB"), size("1.5kb"), size("2GiB"), size("0B")], [Ok(200_000_000_000), Ok(1500), Ok(2 << 30), Ok(0)]);
        for wrong in ["", "30", "d", "1y", "-1d", "99999999999999999999d", "9999999999999999999w"] {
            age(wrong).unwrap_err();
        }
        for wrong in ["", "200", "GB", "1XB", "-1GB"] {
            size(wrong).unwrap_err();
        }
    }
}
