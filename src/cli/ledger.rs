//! How often test data was met, as `run`, `show` and `whence` tell it.

use super::grid::count;
use super::show::moment;
use crate::content::Digest;
use crate::plan::Tested;
use crate::store::{Ledger, Record};
use serde::Serialize;
use std::fmt::Write as _;

/// Test sets that a run tells of; those that most models met come first.
const TOLD: usize = 6;

/// Test data that an evaluation saw.
#[derive(Serialize)]
pub(super) struct Seen {
    /// Manifest of the data.
    data: Digest,
    /// Different models that ever met it in this store.
    models: usize,
    /// When the first did.
    first: String,
}

impl Seen {
    pub(super) fn line(&self) -> String {
        told(&self.data.short(), self.models, &self.first)
    }
}

fn told(name: &str, models: usize, first: &str) -> String {
    let models = if models == 1 { "1 model".to_owned() } else { format!("{models} different models") };
    format!("test data {name}: {models} evaluated in this store, the first on {}", moment(first))
}

/// The test data of an evaluation, or of the parts of one; none of what met none.
pub(super) fn of_record(ledger: &Ledger, record: &Record) -> Vec<Seen> {
    let mut data: Vec<Digest> = std::iter::once(&record.key).chain(&record.parts).flat_map(|key| ledger.seen_by(key)).copied().collect();
    data.sort_unstable();
    data.dedup();
    let seen = |data: Digest| ledger.met(&data).map(|met| Seen { data, models: met.models.len(), first: met.first.clone() });
    data.into_iter().filter_map(seen).collect()
}

/// The test data of a run.
pub(super) fn of_run(tested: &[Tested]) -> String {
    let mut tested: Vec<&Tested> = tested.iter().collect();
    tested.sort_by_key(|one| std::cmp::Reverse(one.models));
    let mut text = String::new();
    for one in tested.iter().take(TOLD) {
        let _ = writeln!(text, "{}", told(&one.name, one.models, &one.first));
    }
    if tested.len() > TOLD {
        let _ = writeln!(text, "and {}", count((tested.len() - TOLD) as u64, "more test set"));
    }
    text
}
