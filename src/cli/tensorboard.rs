//! `tomograph export --as tensorboard`: a history and the log of its training as event files, one folder per set.

use super::project::Project;
use crate::content::{Digest, FileRef, Tree};
use crate::report::tensorboard::{Scalar, event_file};
use crate::store::Record;
use crate::table::Table;
use anyhow::{Context as _, Result, ensure};
use std::collections::BTreeMap;
use std::path::Path;

/// The tree of event files for a history's tree, written to `scratch`: `train/` and `validation/`, in which equal charts have equal names.
/// What is of no set, and what the log says of speed and memory, is in `train/`.
pub(super) fn convert(project: &Project, record: &Record, tree: &Tree, scratch: &Path) -> Result<Tree> {
    let name = tree.only_file().context("a history is one table")?;
    let history = Table::from_tsv(&tree.read(name)?)?;
    let log = std::fs::read_to_string(project.store.log_path(&record.key)).unwrap_or_default();
    let sets = scalars(&history, &log, since_1970(&record.started).unwrap_or_default(), record.seconds)?;
    let mut files = BTreeMap::new();
    for (set, scalars) in sets {
        let bytes = event_file(&scalars);
        let place = scratch.join(&set);
        #[expect(clippy::disallowed_methods, reason = "scratch; the export puts it in place whole")]
        std::fs::write(&place, &bytes).context("cannot write a temporary file")?;
        let file = FileRef { digest: Digest::of(&bytes), size: bytes.len() as u64, place: place.into() };
        files.insert(format!("{set}/events.out.tfevents.tomograph"), file);
    }
    Ok(Tree { files, level: tree.level })
}

/// Scalars by set. An epoch's time is its share of the whole.
fn scalars(history: &Table, log: &str, started: f64, seconds: f64) -> Result<BTreeMap<String, Vec<Scalar>>> {
    let epoch = history.column("epoch").context("only a history becomes event files")?;
    ensure!(!history.rows.is_empty(), "the history has no epoch");
    let speeds: BTreeMap<u64, Vec<(&str, f64)>> = log.lines().filter_map(speed).collect();
    let mut sets: BTreeMap<String, Vec<Scalar>> = BTreeMap::new();
    for (number, row) in (1..).zip(&history.rows) {
        let step: u64 = row[epoch].parse().context("an epoch is a number")?;
        let time = started + seconds * f64::from(number) / history.rows.len() as f64;
        let mut add = |set: &str, tag: &str, value: f64| {
            sets.entry(set.to_owned()).or_default().push(Scalar { tag: tag.to_owned(), step, time, value });
        };
        for (column, text) in history.columns.iter().zip(row).filter(|(column, _)| *column != "epoch") {
            let Ok(value) = text.parse() else { continue };
            match column.split_once('_') {
                Some((set @ ("train" | "validation"), tag)) => add(set, tag, value),
                _ => add("train", column, value),
            }
        }
        for (tag, value) in speeds.get(&step).into_iter().flatten() {
            add("train", tag, *value);
        }
    }
    Ok(sets)
}

/// Epoch and figures of a line that a training logs: `epoch 2: 41.30 images/s in 1.55 s, 0.40 % of it waiting for batches, 812 MB of …`.
fn speed(line: &str) -> Option<(u64, Vec<(&'static str, f64)>)> {
    let (epoch, rest) = line.strip_prefix("epoch ")?.split_once(": ")?;
    let before = |unit: &str| rest.split_once(unit)?.0.rsplit([' ', ',']).next()?.parse().ok();
    let figures = [("images_per_second", " images/s"), ("waiting_percent", " % of it waiting"), ("memory_mb", " MB of memory")];
    let found: Vec<_> = figures.into_iter().filter_map(|(tag, unit)| Some((tag, before(unit)?))).collect();
    (!found.is_empty()).then_some((epoch.parse().ok()?, found))
}

/// Seconds since 1970 of RFC 3339 in UTC, as records have it.
fn since_1970(moment: &str) -> Option<f64> {
    let (date, time) = moment.strip_suffix('Z')?.split_once('T')?;
    let numbers = |text: &str, by: char| text.split(by).map(|part| part.parse::<f64>().ok()).collect::<Option<Vec<_>>>();
    let (date, time) = (numbers(date, '-')?, numbers(time, ':')?);
    let (&[year, month, day], &[hour, minute, second]) = (date.as_slice(), time.as_slice()) else { return None };
    // Howard Hinnant, "chrono-compatible low-level date algorithms": years begin in March.
    let (year, month) = if month < 3.0 { (year - 1.0, month + 9.0) } else { (year, month - 3.0) };
    let days = 365.0 * year + (year / 4.0).floor() - (year / 100.0).floor() + (year / 400.0).floor();
    let days = days + ((153.0 * month + 2.0) / 5.0).floor() + day - 1.0 - 719_468.0;
    Some(days * 86_400.0 + hour * 3600.0 + minute * 60.0 + second)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::utc;
    use std::time::{Duration, UNIX_EPOCH};

    #[test]
    fn a_history_and_its_log_become_scalars_by_set() {
        let history = "epoch\tlearning_rate\ttrain_loss\tvalidation_loss\tvalidation_auc\n1\t0.1\t0.5\t0.6\t\n2\t0.1\t0.4\t0.5\t0.75\n";
        let log = "train started\nepoch 2: 41.30 images/s in 1.55 s, 0.40 % of it waiting for batches, 812 MB of memory at most\n";
        let sets = scalars(&Table::from_tsv(history.as_bytes()).unwrap(), log, 100.0, 8.0).unwrap();
        let one = |tag: &str, step, value| Scalar { tag: tag.to_owned(), step, time: 100.0 + 4.0 * step as f64, value };
        let train = [
            one("learning_rate", 1, 0.1),
            one("loss", 1, 0.5),
            one("learning_rate", 2, 0.1),
            one("loss", 2, 0.4),
            one("images_per_second", 2, 41.3),
            one("waiting_percent", 2, 0.4),
            one("memory_mb", 2, 812.0),
        ];
        assert_eq!(sets["train"], train);
        assert_eq!(sets["validation"], [one("loss", 1, 0.6), one("loss", 2, 0.5), one("auc", 2, 0.75)]);
        assert!(scalars(&Table::from_tsv(b"item\nx\n").unwrap(), "", 0.0, 0.0).is_err());
    }

    #[test]
    fn a_moment_is_read_back() {
        for seconds in [0, 951_782_400, 1_900_000_000] {
            let moment = UNIX_EPOCH + Duration::from_millis(seconds * 1000 + 250);
            assert_eq!(since_1970(&utc(moment)), Some(seconds as f64 + 0.25));
        }
        assert_eq!(since_1970("yesterday"), None);
    }
}
