//! `tomograph cache`: how large the store is, whether it is whole, and making it smaller.

use super::exit::{Exit, print, remark};
use super::grid::{bytes, count, grid};
use super::log::quoted;
use super::progress::hashing;
use super::project::index_folder;
use super::reading::{Local, root_of, settings};
use crate::content::Digest;
use crate::stage::Kind;
use crate::store::{Amount, Store, Trace};
use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};
use std::collections::BTreeSet;
use std::path::PathBuf;

/// Look after the store: its size, whether it is whole, what may go
///
/// The store (`cache/` in the project unless tomograph.local.toml says otherwise) holds every result under what it was made from. All of
/// it can be made again, so it may be removed whole; these commands do less than that.
#[derive(Args)]
pub(super) struct CacheArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Say what takes how much room
    ///
    /// Large blobs are files; smaller ones, what items of map kinds gave, and records share packs. `dead` is what packs hold in vain:
    /// torn ends and second copies. It goes when `gc` writes a pack anew.
    Size {
        /// As one JSON object, in bytes
        #[arg(long)]
        json: bool,
    },
    /// Read everything and compare it with its digests
    ///
    /// Finds any flipped bit of blobs, of what items gave and of records; journals and logs have no digests. Ends with exit code 4 where
    /// something is damaged. --repair moves damaged blobs to `damaged/` in the store, writes packs anew without what is broken, and
    /// forgets the results that lost a file and those that were made from them, so that the next run makes them again; it ends with 0
    /// where all could be mended. Where items were among what was made from them, what any item gave is forgotten; receipts of effects
    /// stay. While a run goes on, packs and the looking for readers are left for later.
    Verify {
        /// Mend what is found
        #[arg(long)]
        repair: bool,
    },
    /// Free what no run that is kept reaches
    ///
    /// Kept are, with all that they reach: the last run of each pipeline and its last one that did all of it without a failure (more with
    /// --keep-last), runs with a name (`tomograph run --name`), runs that go on, runs of the last 30 days (--older-than), results with a
    /// model unless --models is given, what effects left, and whatever is younger than an hour. A result that is gone costs nothing until something needs
    /// it: then it is made again. While a run goes on, fewer things go, and nothing that it may need. It says what it will free before it
    /// does, and may be killed at any time.
    Gc(super::gc::GcArgs),
    /// Make the index anew from the store
    ///
    /// The index (under your cache folder, per store) only remembers: what was hashed, where in packs things lie, and, by keyed hashes,
    /// which results name which people. Made anew, it knows nothing of the sources, so the next run reads them all.
    Reindex,
    /// List what holds a person's data
    ///
    /// Those are the results whose tables have the person in their column `subject`, or one of the person's items under another name; of
    /// these only the person's own files count, and those that are of all rows. And those results that no table tells apart, such as models,
    /// figures and reports, which were made from them. Rather too much is listed than too little. Nothing of it is shown, and nothing removed.
    Subject {
        /// The person, as the column `subject` says it; - reads it from standard input, so that it stays out of the shell's history
        subject: String,
        /// One JSON object, with the digests of all blobs
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn cache(args: &CacheArgs, kinds: &'static [Kind]) -> Result<Exit> {
    let store = open()?;
    match &args.command {
        Command::Size { json } => size(&store, *json, kinds),
        Command::Gc(args) => super::gc::gc(&store, args, kinds),
        Command::Verify { repair } => verify(&store, *repair),
        Command::Subject { subject, json } => subject_of(&store, subject, *json, kinds),
        Command::Reindex => {
            let (packs, pipelines) = store.reindex()?;
            print(&format!("indexed {} and the runs of {}\n", count(packs, "pack"), count(pipelines, "pipeline")))?;
            Ok(Exit::Done)
        }
    }
}

/// The store of the project that the command was started in.
fn open() -> Result<Store> {
    let here = std::env::current_dir().context("cannot tell the current folder")?;
    let root: PathBuf = root_of(&here.join("-"))?;
    let local: Local = settings(&root.join("tomograph.local.toml"))?;
    Store::open(&local.store_in(&root), &index_folder())
}

fn size(store: &Store, json: bool, kinds: &'static [Kind]) -> Result<Exit> {
    let size = store.size()?;
    let would_free = super::gc::would_free(store, kinds);
    if json {
        let value = serde_json::json!({ "store": store.root(), "total": size.total(), "parts": size, "gc_would_free": would_free });
        print(&format!("{value}\n"))?;
        return Ok(Exit::Done);
    }
    let row = |what: &str, amount: Amount| vec![what.to_owned(), amount.count.to_string(), bytes(amount.bytes)];
    let rows = [
        vec![String::new(), "count".to_owned(), String::new()],
        row("large blobs", size.blobs),
        row("packs", size.packs),
        row("  small blobs", size.small),
        row("  what items gave", size.items),
        row("  records", size.records),
        row("  dead", size.dead),
        row("state of unfinished tasks", size.state),
        row("logs", size.logs),
        row("journals of runs", size.runs),
        row("damaged", size.damaged),
    ];
    let more = would_free.map(|free| format!("; `tomograph cache gc` would free {}", bytes(free))).unwrap_or_default();
    print(&format!("{}\n{}together {}{more}\n", store.root().display(), grid(&rows, ""), bytes(size.total())))?;
    Ok(Exit::Done)
}

/// Prints what holds a subject's data, without a word of it.
fn subject_of(store: &Store, subject: &str, json: bool, kinds: &'static [Kind]) -> Result<Exit> {
    let subject = match subject {
        "-" => std::io::read_to_string(std::io::stdin()).context("cannot read standard input")?.trim().to_owned(),
        given => given.to_owned(),
    };
    let traces = store.traces(&subject, &super::gc::Known { kinds })?;
    if json {
        print(&(serde_json::to_string(&traces)? + "\n"))?;
        return Ok(Exit::Done);
    }
    let row = |trace: &Trace| {
        let how = if trace.follows { "made from it" } else { "rows" };
        let blobs = count(trace.blobs.len() as u64, "blob");
        vec![format!("{}.{}", trace.task, trace.port), trace.key.short(), how.to_owned(), blobs, bytes(trace.bytes)]
    };
    let blobs: BTreeSet<&Digest> = traces.results.iter().flat_map(|trace| &trace.blobs).collect();
    let text = grid(&traces.results.iter().map(row).collect::<Vec<_>>(), "");
    let blobs = count(blobs.len() as u64, "blob");
    let (results, items) = (count(traces.results.len() as u64, "result"), count(traces.items, "kept result"));
    print(&match traces.results.is_empty() {
        true => "no table of a result names this subject\n".to_owned(),
        false => format!(
            "{text}{results} with {blobs}; {items} of items; {} of the sources' files\n",
            count(traces.sources.len() as u64, "list")
        ),
    })?;
    Ok(Exit::Done)
}

fn verify(store: &Store, repair: bool) -> Result<Exit> {
    let verified = store.verify(&hashing(false))?;
    let mut text = String::new();
    for finding in &verified.findings {
        let at = finding.at.map(|at| format!(" at offset {at}")).unwrap_or_default();
        text.push_str(&format!("damaged: {}{at}: {}\n", finding.path.display(), finding.what));
    }
    for path in &verified.torn {
        text.push_str(&format!("torn: {}: a crash cut its end off; nothing that was recorded is lost\n", path.display()));
    }
    let entries = if verified.entries == 1 { "1 entry".to_owned() } else { format!("{} entries", verified.entries) };
    let found = if verified.findings.is_empty() { "all whole".to_owned() } else { format!("{} damaged", verified.findings.len()) };
    text.push_str(&format!("read {}, {entries} of packs, {}: {found}\n", count(verified.blobs, "large blob"), bytes(verified.bytes)));
    if !repair {
        print(&text)?;
        if verified.findings.is_empty() {
            return Ok(Exit::Done);
        }
        remark("`tomograph cache verify --repair` takes it out; the next run makes again what it served");
        return Ok(Exit::Damaged);
    }
    let repaired = store.repair(&verified)?;
    if repaired.blobs > 0 {
        text.push_str(&format!("moved {} to {}\n", count(repaired.blobs, "blob"), store.root().join("damaged").display()));
    }
    if repaired.packs > 0 {
        text.push_str(&format!("wrote {} anew\n", count(repaired.packs, "pack")));
    }
    let readers = |task: &str| {
        let others = repaired.readers.get(task).into_iter().flatten().filter(|reader| *reader != task);
        others.map(String::as_str).collect::<Vec<_>>().join(", ")
    };
    for task in &repaired.results {
        let readers = Some(readers(task)).filter(|readers| !readers.is_empty());
        let readers = readers.map(|readers| format!(" and {readers}, which read it,")).unwrap_or_default();
        text.push_str(&format!("the next run makes {task}{readers} again\n"));
    }
    for task in repaired.readers.keys().filter(|task| !repaired.results.contains(*task) && !readers(task).is_empty()) {
        text.push_str(&format!("the next run makes again what read {task} while it was damaged: {}\n", readers(task)));
    }
    if repaired.items {
        text.push_str(
            "what items gave is forgotten, since some of it may come of damaged bytes: stages that must run treat all their items again\n",
        );
    }
    for effect in &repaired.effects {
        text.push_str(&format!(
            "{effect} acted on what is damaged, and is not repeated: `tomograph run PIPELINE --refresh {}` does that\n",
            quoted(effect)
        ));
    }
    for path in &repaired.left {
        text.push_str(&format!("left: {}: a run goes on; repair again when it has ended\n", path.display()));
    }
    print(&text)?;
    Ok(if repaired.left.is_empty() { Exit::Done } else { Exit::Damaged })
}
