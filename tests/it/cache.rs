//! `tomograph cache`: any flipped bit is found, and what it served is made again; the index can be made anew.

use crate::numbers::{PIPELINE, TASKS, ran, space};
use crate::space::Space;
use libtest_mimic::Trial;
use std::fs;
use std::path::{Path, PathBuf};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        size_counts_what_is_there,
        a_whole_store_is_found_whole,
        a_flipped_bit_in_any_file_is_found_and_mended,
        what_read_a_damaged_blob_is_made_again,
        what_read_a_blob_that_a_run_set_aside_is_made_again,
        a_damaged_blob_is_not_published,
        a_pack_that_lost_its_end_is_found_and_mended,
        a_repair_leaves_packs_in_use_alone,
        readers_are_looked_for_when_a_run_has_ended,
        what_items_gave_of_damaged_bytes_is_made_again,
        an_effect_is_not_repeated_for_what_it_read,
        an_index_is_made_anew,
    ]
}

/// The numbers, with so many that some blobs are files of their own; run once.
fn filled() -> Space {
    let space = space();
    space.replace("tools/gather.sh", "*.txt;", "*.txt; seq 9500 | sed 's/.*/0/';");
    space.run("run numbers.toml").success();
    ran(&space);
    space
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 4;
    // A blob is read-only: another file takes its place, as a disk would give it.
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}

fn size_counts_what_is_there() {
    let space = filled();
    space.run("cache size").success().says(&["large blobs", "records", "together"]);
    let size = &space.run("cache size --json").success().objects()[0];
    assert_eq!((size["parts"]["records"]["count"].as_u64(), size["parts"]["dead"]["count"].as_u64()), (Some(5), Some(0)));
    let blobs = files(&space.path("cache/blobs"));
    assert_eq!(size["parts"]["blobs"]["count"].as_u64(), Some(blobs.len() as u64));
    assert!(!blobs.is_empty());
}

fn a_whole_store_is_found_whole() {
    let space = filled();
    space.run("cache verify").success().says(&["all whole"]);
    space.run("cache verify --repair").success().says(&["all whole"]);
    assert_eq!(space.run("run numbers.toml --json").success().tasks("cached"), TASKS);
}

/// What every task gave.
fn outputs(space: &Space) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for task in TASKS {
        space.run_args(&["export", PIPELINE, task, &format!("out/{task}")]).success();
        all.extend(files(&space.path(format!("out/{task}"))).iter().map(|path| fs::read(path).unwrap()));
    }
    fs::remove_dir_all(space.path("out")).unwrap();
    all
}

fn a_flipped_bit_in_any_file_is_found_and_mended() {
    let space = filled();
    let expected = outputs(&space);
    space.run("cache verify").success();
    let mut tried = 0;
    for number in 0..files(&space.path("cache/blobs")).len() + 5 {
        // After each repair other names are there; numbers go through all files, and through places in the pack.
        let blobs = files(&space.path("cache/blobs"));
        let path = match blobs.get(number) {
            Some(blob) => blob.clone(),
            None => files(&space.path("cache/packs")).remove(0),
        };
        let length = fs::metadata(&path).unwrap().len() as usize;
        // Magic, tag, length, a payload, the last checksum.
        let at = if number < blobs.len() { length / 2 } else { [3, 16, 18, 60, length - 1][(number - blobs.len()) % 5] };
        flip(&path, at);
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        space.run("cache verify").exits(4).says(&["damaged: ", &name, "--repair"]);
        space.run("cache verify --repair").success();
        space.run("cache verify").success().says(&["all whole"]);
        space.run("run numbers.toml").success();
        assert_eq!(outputs(&space), expected, "after a flip in {name} at {at}");
        assert_eq!(space.read("results/total.tsv"), "sum\n252\n");
        tried += 1;
    }
    assert!(tried > 6, "{tried}");
    assert!(files(&space.path("cache/damaged")).len() + 5 == tried);
}

/// The blob of what `gather` gave, with another first number in it.
fn spoil_gathered(space: &Space) -> PathBuf {
    let blob = files(&space.path("cache/blobs")).into_iter().find(|path| fs::read(path).unwrap().starts_with(b"number\n1\n")).unwrap();
    flip(&blob, "number\n".len());
    blob
}

fn what_read_a_damaged_blob_is_made_again() {
    let space = filled();
    spoil_gathered(&space);
    space.replace("tools/scale.sh", "echo \"scale", "echo  \"scale");
    space.run("run numbers.toml").success();
    assert_eq!(space.read("results/total.tsv"), "sum\n276\n", "nobody has noticed yet");
    space
        .run("cache verify --repair")
        .success()
        .says(&["the next run makes gather and scale[by=1], scale[by=2], scale[by=3]", "which read it, again"]);
    space.run("run numbers.toml").success();
    assert_eq!(space.read("results/total.tsv"), "sum\n252\n");
}

fn what_read_a_blob_that_a_run_set_aside_is_made_again() {
    let space = filled();
    spoil_gathered(&space);
    space.replace("tools/scale.sh", "echo \"scale", "echo  \"scale");
    space.run("run numbers.toml").success();
    space.run("export numbers.toml gather out").exits(4).says(&["moved to `damaged/`"]);
    let told = "the next run makes again what read gather while it was damaged: scale[by=1], scale[by=2], scale[by=3]";
    space.run("cache verify --repair").success().says(&[told]);
    let again = space.run("cache verify --repair").success();
    assert!(!again.stdout.contains("while it was damaged"), "{}", again.text());
    space.run("run numbers.toml").success();
    assert_eq!(space.read("results/total.tsv"), "sum\n252\n");
}

fn a_damaged_blob_is_not_published() {
    let space = filled();
    space.replace(
        "numbers.toml",
        "code    = [\"tools/gather.sh\"]",
        "code    = [\"tools/gather.sh\"]\npublish = { table = \"results/all.tsv\" }",
    );
    let blob = spoil_gathered(&space);
    let refused = space.run("export numbers.toml gather out").exits(4);
    refused.says(&["cannot export gather", "the store is damaged", "moved to `damaged/`"]);
    assert!(!blob.exists() && files(&space.path("out")).is_empty());
    space.run("run numbers.toml").success();
    spoil_gathered(&space);
    fs::remove_file(space.path("results/all.tsv")).unwrap();
    space.run("run numbers.toml").exits(4).says(&["publish results/all.tsv of task gather", "the store is damaged"]);
    assert!(!space.path("results/all.tsv").exists());
    space.run("run numbers.toml").success();
    assert!(space.read("results/all.tsv").starts_with("number\n1\n2\n39\n"));
}

fn a_pack_that_lost_its_end_is_found_and_mended() {
    let space = filled();
    let expected = outputs(&space);
    let pack = files(&space.path("cache/packs")).remove(0);
    let length = fs::metadata(&pack).unwrap().len();
    fs::File::options().write(true).open(&pack).unwrap().set_len(length / 2).unwrap();
    space.run("cache verify").exits(4).says(&["is shorter than it was"]);
    space.run("cache verify --repair").success();
    space.run("cache verify").success().says(&["all whole"]);
    space.run("run numbers.toml").success();
    assert_eq!(outputs(&space), expected);
}

fn a_repair_leaves_packs_in_use_alone() {
    let space = filled();
    let pack = files(&space.path("cache/packs")).remove(0);
    let length = fs::metadata(&pack).unwrap().len() as usize;
    flip(&pack, length - 1);
    let running = fs::File::options().write(true).open(space.path("cache/running")).unwrap();
    running.lock_shared().unwrap();
    space.run("cache verify --repair").exits(4).says(&["left: ", "a run goes on"]);
    assert!(pack.exists());
    drop(running);
    space.run("cache verify --repair").success();
    assert!(!pack.exists());
}

fn readers_are_looked_for_when_a_run_has_ended() {
    let space = filled();
    spoil_gathered(&space);
    let running = fs::File::options().write(true).open(space.path("cache/running")).unwrap();
    running.lock_shared().unwrap();
    space.run("cache verify --repair").exits(4).says(&["moved 1 blob", "left: ", "a run goes on"]);
    drop(running);
    space.run("cache verify --repair").success().says(&["gather", "scale[by=1], scale[by=2], scale[by=3]"]);
    assert_eq!(space.run("run numbers.toml --json").success().tasks("ran"), TASKS);
}

/// A stage `big` whose output is a file of its own in the store, all of it the letter a.
const BIG: &str = r#"
[stage.big]
command = ["sh", "-c", "{{ echo letter; seq 20000 | sed 's/.*/a/'; }} > $1", "sh", "{outputs.big}"]
outputs = { big = "table" }
"#;

fn spoil_big(space: &Space) {
    let blob = files(&space.path("cache/blobs")).into_iter().find(|path| fs::read(path).unwrap().starts_with(b"letter\na\n")).unwrap();
    flip(&blob, "letter\n".len());
}

fn what_items_gave_of_damaged_bytes_is_made_again() {
    let count = "{ echo others; tail -n +2 \"$3\" | grep -vc a; true; } > \"$2\"\n";
    let space = crate::per_item::space(count, 2);
    let text = space.read("x.toml").replace("out = \"images\"", "out = \"table\"").replace("offset = \"offset\"", "offset = \"big\"");
    space.write("x.toml", text + BIG);
    space.run("run x.toml").success();
    spoil_big(&space);
    space.write("tools/x.sh", format!("# Counts.\n{count}"));
    space.run("run x.toml").success();
    let counted = |to: &str| {
        space.run(&format!("export x.toml copy {to}")).success();
        let table = space.read(format!("{to}/out.tsv"));
        table.lines().skip(1).map(|row| row.rsplit('\t').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(counted("wrong"), ["1", "1"], "nobody has noticed yet");
    space.run("cache verify --repair").success().says(&["what items gave is forgotten"]);
    space.run("run x.toml").success();
    assert_eq!(counted("right"), ["0", "0"]);
    space.run("cache verify").success().says(&["all whole"]);
}

fn an_effect_is_not_repeated_for_what_it_read() {
    let space = crate::effects::space();
    space.replace("effects.toml", "inputs  = { rows = \"raw\" }\noutputs = { receipt", "inputs  = { rows = \"big\" }\noutputs = { receipt");
    space.write("effects.toml", space.read("effects.toml") + BIG);
    space.run("run effects.toml --effects").success();
    spoil_big(&space);
    space.run("cache verify --repair").success().says(&["the next run makes big again", "send acted on what is damaged", "--refresh send"]);
    assert_eq!(space.run("run effects.toml --json").success().tasks("cached"), ["after", "beside", "send"]);
    assert_eq!(space.read("sent.log"), "sent\n");
}

fn an_index_is_made_anew() {
    let space = filled();
    space.run("cache reindex").success().says(&["indexed 1 pack and the runs of 1 pipeline"]);
    assert_eq!(space.run("run numbers.toml --json").success().tasks("cached"), TASKS);
    space.replace("tools/total.sh", "echo total", "true; echo total");
    space.run("why numbers.toml total").success().says(&["tools/total.sh"]);
}
