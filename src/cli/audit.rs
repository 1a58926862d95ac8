//! The audit of a store: what is said when somebody looks at people's data or takes a result out, and `tomograph log --audit`.

use super::exit::{Exit, print, remark};
use super::grid::{count, grid};
use super::project::Project;
use super::show::moment;
use crate::store::{Act, OutputRecord, Record, Store, now};
use anyhow::Result;

/// Says in the store's audit what is about to happen to an output of a task.
pub(super) fn tell(project: &Project, act: &str, record: &Record, task: &str, port: &str, held: &OutputRecord, to: &str) -> Result<()> {
    project.store.audit(&Act {
        when: now(),
        who: super::quarantine::user(),
        act: act.to_owned(),
        task: task.to_owned(),
        port: port.to_owned(),
        key: record.key,
        manifest: held.manifest,
        to: to.to_owned(),
    })
}

/// Prints the audit of the whole store, and whether its chain holds.
pub(super) fn show(store: &Store, json: bool) -> Result<Exit> {
    let audit = store.audited()?;
    let mut text = String::new();
    if json {
        for act in &audit.acts {
            text.push_str(&(serde_json::to_string(act)? + "\n"));
        }
    } else {
        let row = |act: &Act| {
            let what = format!("{}.{}", act.task, act.port);
            vec![moment(&act.when), act.who.clone(), act.act.clone(), what, act.manifest.short(), act.to.clone()]
        };
        text.push_str(&grid(&audit.acts.iter().map(row).collect::<Vec<_>>(), ""));
        if audit.broken.is_none() {
            text.push_str(&format!("{}, each follows from the one before\n", count(audit.acts.len() as u64, "line")));
        }
    }
    print(&text)?;
    let place = store.root().join("audit.jsonl");
    if audit.cut > 0 {
        let lines = if audit.cut == 1 { "1 line was".to_owned() } else { format!("{} lines were", audit.cut) };
        remark(&format!("{}: {lines} cut short by a kill: what audit.cut beside it tells of may have happened", place.display()));
    }
    let Some(broken) = audit.broken else { return Ok(Exit::Done) };
    remark(&format!("{}: {broken}: somebody has edited the file", place.display()));
    Ok(Exit::Damaged)
}
