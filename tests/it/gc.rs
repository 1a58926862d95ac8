//! `tomograph cache gc`: what kept runs reach stays, the rest goes; a kill or a run beside it does no harm.

use crate::numbers::{PIPELINE, TASKS, ran, space};
use crate::space::{Space, TOMOGRAPH};
use crate::study::png;
use libtest_mimic::Trial;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

pub(crate) fn trials() -> Vec<Trial> {
    let trials = trials![
        what_only_older_runs_reach_goes,
        a_look_changes_nothing,
        what_is_younger_than_an_hour_stays,
        a_store_can_be_made_smaller,
        a_named_run_stays,
        what_another_pipeline_took_stays,
        what_items_gave_stays_with_their_files,
        a_run_that_goes_on_is_not_harmed,
        a_run_that_begins_meanwhile_waits,
        who_cannot_tell_frees_nothing,
    ];
    #[cfg(feature = "crash-points")]
    let trials = trials.into_iter().chain(trials![a_kill_at_any_point_leaves_a_whole_store]).collect();
    trials
}

/// The `crash_point!`s that freeing passes.
pub(crate) const POINTS: &[&str] = &["pack-rewritten", "gc-packs", "gc-blobs", "gc-logs"];

/// Frees all that the last runs do not reach, however young.
const GC: &str = "cache gc --keep-last 1 --spare 0s";

/// The numbers with many zeros, so that some blobs are files; run three times, with another number each time.
fn used() -> Space {
    let space = space();
    space.replace("tools/gather.sh", "*.txt;", "*.txt; seq 9000 | sed 's/.*/0/';");
    for number in [1, 2, 3] {
        space.write("numbers/a.txt", format!("{number}\n"));
        space.run("run numbers.toml").success();
    }
    ran(&space);
    space
}

fn blobs(space: &Space) -> usize {
    files(&space.path("cache/blobs")).len()
}

/// Every file below, with its bytes.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { drop(found.insert(path.clone(), fs::read(&path).unwrap())) }
    }
    found
}

/// What `gc` with these flags would free.
fn would_free(space: &Space, flags: &str) -> Value {
    space.run(&format!("cache gc --dry-run --json {flags}")).success().objects().remove(0)
}

/// The pipeline as it stands has all it needs: nothing runs, and everything can be exported.
fn is_complete(space: &Space) {
    assert_eq!(space.run("run numbers.toml --json").success().tasks("cached"), TASKS);
    for task in TASKS {
        space.run_args(&["export", PIPELINE, task, &format!("out/{task}")]).success();
    }
    fs::remove_dir_all(space.path("out")).unwrap();
    space.run("cache verify").success().says(&["all whole"]);
}

fn what_only_older_runs_reach_goes() {
    let space = used();
    let before = blobs(&space);
    let look = would_free(&space, "--keep-last 1 --spare 0s");
    assert_eq!((look["frees"]["results"].as_u64(), look["kept_runs"].as_u64()), (Some(10), Some(1)), "{look}");
    let said = space.run(GC).success().says(&["to be freed", "of results of gather", "kept: 1 run, the oldest of", "freed "]);
    assert!(said.stdout.find("to be freed") < said.stdout.find("\nfreed "), "{}", said.text());
    assert_eq!(blobs(&space), before / 3);
    assert_eq!(fs::read_dir(space.path("cache/packs")).unwrap().count(), 1);
    is_complete(&space);
    space.run(GC).success();
    space.run(GC).success().says(&["nothing to free"]);
    // What went is made again when it is asked for.
    space.write("numbers/a.txt", "1\n");
    assert_eq!(space.run("run numbers.toml --json").success().tasks("ran"), TASKS);
    is_complete(&space);
}

fn a_look_changes_nothing() {
    let space = used();
    let before = files(&space.path("cache"));
    space.run("cache gc --dry-run --keep-last 1 --spare 0s").success().says(&["to be freed"]);
    assert!(would_free(&space, "--keep-last 1 --spare 0s --max-size 0B")["is_met"] == false);
    space.run("cache size").success().says(&["`tomograph cache gc` would free 0 B"]);
    assert!(files(&space.path("cache")) == before);
    for wrong in ["--older-than 30", "--keep-last 0", "--max-size 3", "--keep-last x"] {
        space.run(&format!("cache gc {wrong}")).exits(2);
    }
}

fn what_is_younger_than_an_hour_stays() {
    let space = used();
    for flags in ["", "--keep-last 1", "--older-than 0s", "--max-size 0B", "--models --keep-last 1"] {
        assert_eq!(would_free(&space, flags)["total"].as_u64(), Some(0), "{flags}");
        space.run(&format!("cache gc {flags}")).success().says(&["nothing to free", "kept: 3 runs"]);
    }
    // Neither the last whole run, nor the last one.
    space.run("run numbers.toml --only gather").success();
    space.run("run numbers.toml --only total").success();
    assert_eq!(would_free(&space, "--keep-last 1 --spare 0s")["kept_runs"].as_u64(), Some(2));
    space.run(GC).success();
    is_complete(&space);
}

fn a_store_can_be_made_smaller() {
    let space = used();
    let total = || space.run("cache size --json").success().objects()[0]["total"].as_u64().unwrap();
    let before = total();
    assert_eq!(would_free(&space, &format!("--spare 0s --max-size {before}B"))["total"].as_u64(), Some(0));
    let most = before * 9 / 10;
    let output = space.run(&format!("cache gc --json --spare 0s --max-size {most}B")).success();
    assert!(output.objects()[0]["is_met"] == true && output.objects()[0]["kept_runs"].as_u64() == Some(2), "{}", output.text());
    assert!(total() <= most, "{} of {before}", total());
    space.run("cache gc --spare 0s --max-size 1kB").success().says(&["will not be as small as 1.0 kB", "kept: 1 run"]);
    is_complete(&space);
}

fn a_named_run_stays() {
    let space = space();
    space.run("run numbers.toml --name first").success();
    space.write("numbers/a.txt", "5\n");
    space.run("run numbers.toml").success();
    space.run(GC).success().says(&["kept: 2 runs"]);
    space.run_args(&["export", PIPELINE, "total", "out/first", "--run", "@first"]).success();
    space.run("history numbers.toml --forget first").success();
    space.run(GC).success().says(&["kept: 1 run"]);
    assert_eq!(space.run("history numbers.toml --json").success().objects().len(), 1);
}

fn what_another_pipeline_took_stays() {
    let space = space();
    let text = "[pipeline]\nname = \"other\"\n[source.total]\nfrom = \"numbers.toml\"\nartifact = \"total\"\n[stage.copy]\n\
                command = [\"cp\", \"{inputs.total}\", \"{outputs.table}\"]\ninputs = { total = \"total\" }\noutputs = { table = \"table\" }\n";
    space.write("other.toml", text);
    space.run("run numbers.toml").success();
    space.run("run other.toml").success();
    // The last run of `numbers` says nothing of `total`; its last whole one does not, either.
    space.replace("numbers.toml", "[stage.total]", "[stage.sum]");
    space.run("run numbers.toml").success();
    space.replace("numbers.toml", "[stage.sum]", "[stage.total]");
    space.run("run numbers.toml --only gather").success();
    space.run(GC).success();
    assert_eq!(space.run("run other.toml --json").success().tasks("cached"), ["copy"]);
    space.run("cache reindex").success();
    assert_eq!(space.run("run other.toml --json").success().tasks("cached"), ["copy"]);
}

fn what_items_gave_stays_with_their_files() {
    let space = Space::new();
    space.write(
        "x.toml",
        "[pipeline]\nname = \"x\"\n[source.pictures]\npath = \"pictures\"\nphi = false\n[stage.import]\nkind = \"images.import\"\n\
         inputs = { files = \"pictures\", table = \"pictures/table.csv\" }\n",
    );
    let write = |pictures: std::ops::Range<u32>| {
        let _ = fs::remove_dir_all(space.path("pictures"));
        pictures.clone().for_each(|number| space.write(format!("pictures/{number}.png"), png(true, number)));
        let rows: String = pictures.map(|number| format!("{number}.png,p\n")).collect();
        space.write("pictures/table.csv", format!("file,subject\n{rows}"));
    };
    write(0..4);
    space.run("run x.toml").success();
    write(2..6);
    space.run("run x.toml").success();
    space.run(GC).success();
    let size = space.run("cache size --json").success().objects().remove(0);
    assert_eq!(size["parts"]["items"]["count"].as_u64(), Some(4), "{size}");
    write(1..7);
    let output = space.run("run x.toml --json").success();
    assert_eq!(output.summary()["items_ran"].as_u64(), Some(2), "those that went, and the new one\n{}", output.text());
}

fn wait(what: &str, until: impl Fn() -> bool) {
    let begun = Instant::now();
    while !until() {
        assert!(begun.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn a_run_that_goes_on_is_not_harmed() {
    let space = used();
    let before = blobs(&space);
    // The results of the first run are found, and the last stage waits in the middle.
    space.write("numbers/a.txt", "1\n");
    space.replace("tools/total.sh", "echo total", "touch began; while [ ! -e go ]; do sleep 0.01; done\necho total");
    let mut run = space.command(TOMOGRAPH).args(["run", PIPELINE]).stdout(Stdio::null()).spawn().unwrap();
    wait("the command to start", || space.path("began").exists());
    let said = space.run(GC);
    let after = blobs(&space);
    space.write("go", "");
    assert!(run.wait().unwrap().success());
    said.success().says(&["a run goes on", "kept: 2 runs"]);
    assert!(after < before && after > 0, "of {before} there are {after}: what only the second run reached is gone");
    is_complete(&space);
    space.run(GC).success().says(&["kept: 1 run"]);
    is_complete(&space);
}

fn a_run_that_begins_meanwhile_waits() {
    let space = used();
    // As who rewrites packs does.
    let alone = fs::File::options().write(true).open(space.path("cache/running")).unwrap();
    alone.lock().unwrap();
    let mut run = space.command(TOMOGRAPH).args(["run", PIPELINE]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(run.stderr.take().unwrap()), &mut said).unwrap();
    assert_eq!(said, "waiting: the store is being cleaned or mended\n");
    assert!(run.try_wait().unwrap().is_none());
    drop(alone);
    assert!(run.wait().unwrap().success());
}

fn who_cannot_tell_frees_nothing() {
    let space = used();
    let before = blobs(&space);
    let journal = files(&space.path("cache/runs")).into_keys().next().unwrap();
    let text = fs::read_to_string(&journal).unwrap();
    fs::write(&journal, text.replacen("\"event\"", "\"evnt\"", 1)).unwrap();
    space.run(GC).exits(4).says(&["the journal ", "has a line that cannot be read", "nothing is freed"]);
    fs::write(&journal, text).unwrap();
    let pack = files(&space.path("cache/packs")).into_iter().next().unwrap();
    let mut broken = pack.1.clone();
    broken[40] ^= 1;
    fs::write(&pack.0, broken).unwrap();
    space.run(GC).exits(4).says(&["the store is damaged", "verify --repair"]);
    fs::write(&pack.0, pack.1).unwrap();
    fs::remove_file(space.path("cache/VERSION")).unwrap();
    fs::write(space.path("cache/VERSION"), "tomograph store 9, BLAKE4\n").unwrap();
    space.run(GC).exits(1).says(&["store 9"]);
    assert_eq!(blobs(&space), before);
}

#[cfg(feature = "crash-points")]
fn a_kill_at_any_point_leaves_a_whole_store() {
    for point in POINTS {
        let space = used();
        space.finish(space.command(TOMOGRAPH).args(GC.split(' ')).env("TOMOGRAPH_CRASH", point)).killed();
        is_complete(&space);
        space.run(GC).success();
        assert_eq!(would_free(&space, "--keep-last 1 --spare 0s")["total"].as_u64(), Some(0), "after {point}");
        is_complete(&space);
    }
}
