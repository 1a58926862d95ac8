//! The leak trial (DESIGN rule 13): of people's data no value and no file name reaches a terminal, a pipe, or a file outside the store.
//!
//! Every subcommand there is, as the program itself lists them, runs on a hospital of canaries, in words and in JSON, where things go well
//! and where they go wrong. A subcommand that is not tried here fails the trial.

mod people;

use crate::Need;
use crate::space::{Output, Space, TOMOGRAPH};
use libtest_mimic::Trial;
use people::{CANARIES, failing, space};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        the_trial_sees_a_canary,
        nothing_of_people_leaves_the_store,
        nothing_of_people_is_told_where_things_go_wrong,
        nothing_of_people_is_told_of_broken_sources,
        what_is_revealed_is_shown_on_a_terminal_and_told_in_the_audit: [Need::Program("script", "bsdutils")],
    ]
}

/// The canaries in these bytes.
fn found(bytes: &[u8]) -> Vec<&'static str> {
    let text = String::from_utf8_lossy(bytes).to_lowercase();
    CANARIES.into_iter().filter(|canary| text.contains(canary)).collect()
}

/// Runs a command line, whose words are split at blanks, and looks for canaries in what it prints.
fn silent(space: &Space, line: &str) -> Output {
    silently(space.run(line))
}

fn silently(output: Output) -> Output {
    let seen = found(output.stdout.as_bytes()).into_iter().chain(found(output.stderr.as_bytes())).collect::<Vec<_>>();
    assert!(seen.is_empty(), "{seen:?} is told\n{}", output.text());
    output
}

/// Looks for canaries in names and bytes of every file of the project and of the home folder that is neither the hospital nor in the store.
fn search(space: &Space) {
    let mut open = vec![space.root(), space.home()];
    let mut files = 0;
    while let Some(place) = open.pop() {
        let apart = ["cache", "people", "tools"].iter().any(|name| place == space.path(name));
        if apart {
            continue;
        }
        assert!(found(place.as_os_str().as_encoded_bytes()).is_empty(), "{}", place.display());
        let there = fs::symlink_metadata(&place).unwrap();
        if there.is_dir() {
            open.extend(fs::read_dir(&place).unwrap().map(|entry| entry.unwrap().path()));
        } else if there.is_file() {
            files += 1;
            let seen = found(&fs::read(&place).unwrap());
            assert!(seen.is_empty(), "{seen:?} is in {}", place.display());
        }
    }
    assert!(files > 3, "there was something to look at");
}

/// The subcommands that a help text lists.
fn listed(help: &str) -> BTreeSet<String> {
    let commands = help.split_once("Commands:\n").map(|(_, rest)| rest.split("\n\n").next().unwrap()).unwrap_or_default();
    let named = commands.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    named.filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

/// Command lines by subcommand, with `P` for the pipeline. Those that take `--json` are run with it too.
const LINES: &[(&str, &[&str])] = &[
    ("check", &["P", "P --print"]),
    ("plan", &["P", "P -j 2", "P --only small", "P --set stage.small.params.size=4"]),
    ("run", &["P", "P --only small", "P --again small", "P --set stage.small.params.size=4"]),
    ("accept", &["P small --reason ok"]),
    ("why", &["P small", "P studies", "P page"]),
    ("whence", &["results/table.csv", "results/page/report.html"]),
    ("graph", &["P", "P --cells", "P --format svg", "P --format dot"]),
    (
        "show",
        &[
            "P studies",
            "P rendered",
            "P images",
            "P small",
            "P cohort",
            "P split",
            "P pack",
            "P each",
            "P told",
            "P score",
            "P page",
            "P told --path",
            "P small --run @last",
        ],
    ),
    ("export", &["P images out", "P told out", "P page out/page"]),
    ("history", &["P", "P --all", "P --text @last"]),
    ("diff", &["P", "P @prev @last"]),
    ("log", &["P", "P told", "P small", "P --audit"]),
    ("quarantine", &["P", "P --accept nobody --reason none"]),
    ("cache", &["size", "verify", "gc --dry-run", "gc", "reindex", "subject ZQCANARY-3", "subject nobody"]),
    ("kinds", &["", "dicom.import"]),
    ("try", &["images.import --in files=nowhere --out tried"]),
    ("init", &["made"]),
    ("doctor", &[""]),
    ("schema", &[""]),
    ("completions", &["bash", "zsh", "fish"]),
    ("backbones", &[""]),
    ("weights", &["list", "get mobilenet --from http://127.0.0.1:9", "convert mobilenet nowhere made.safetensors"]),
    ("features", &["mobilenet --weights nowhere --input results --output f.npy"]),
];

/// Runs every subcommand, each also with `--json` where it has that.
fn all_subcommands(space: &Space, pipeline: &str) {
    let known: BTreeSet<String> = LINES.iter().map(|(command, _)| (*command).to_owned()).collect();
    assert_eq!(listed(&space.run("--help").success().stdout), known, "every subcommand has its lines here");
    for (command, lines) in LINES {
        let tried: BTreeSet<String> = lines.iter().map(|line| line.split(' ').next().unwrap().to_owned()).collect();
        let below = listed(&space.run(&format!("{command} --help")).success().stdout);
        assert!(below.is_empty() || below == tried, "every subcommand of {command} has its lines here: {below:?}");
        for line in *lines {
            let words: Vec<&str> =
                line.split(' ').filter(|word| !word.is_empty()).map(|word| if word == "P" { pipeline } else { word }).collect();
            let own = if below.is_empty() { command.to_string() } else { format!("{command} {}", words[0]) };
            let json = space.run(&format!("{own} --help")).success().stdout.contains("--json");
            for more in
                [&[][..], &["--json"]].into_iter().take(1 + usize::from(json && !line.contains("--print") && !line.contains("--path")))
            {
                silently(space.run_args(&[&[*command], words.as_slice(), more].concat()));
            }
        }
    }
    // What the program runs itself by, and what a shell asks it.
    for words in [vec![""], vec!["run", pipeline, "--only", ""], vec!["show", pipeline, ""], vec!["quarantine", pipeline, "--accept", ""]] {
        silently(space.run_args(&[&["complete", "--"], words.as_slice()].concat()));
    }
    silent(space, "work --items dicom.import");
    silent(space, "end-after people/pacs");
}

fn the_trial_sees_a_canary() {
    assert_eq!(found("of Zqcanary^jane, 1942-04-24".as_bytes()), ["zqcanary", "1942-04-24"]);
    let help = "About.\n\nUsage: x\n\nCommands:\n  check  Read\n         and check\n  gc     Free\n\nOptions:\n  -h  Help\n";
    assert_eq!(listed(help).into_iter().collect::<Vec<_>>(), ["check", "gc"]);
}

fn nothing_of_people_leaves_the_store() {
    let space = space();
    silent(&space, "plan people.toml").success();
    silent(&space, "run people.toml --json").exits(3);
    let quarantine = silent(&space, "quarantine people.toml --json").success().objects();
    let classes: BTreeSet<&str> = quarantine.iter().map(|one| one["class"].as_str().unwrap()).collect();
    assert!(classes.len() >= 5 && quarantine.len() >= 6, "{quarantine:?}");
    assert!(space.read("results/table.csv").contains("mine") && space.path("results/page").is_dir());
    // The store holds them, so that there is something to leak.
    let log = space.run("log people.toml told --json").success().objects()[0]["log"].as_str().unwrap().to_owned();
    assert!(!found(&fs::read(log).unwrap()).is_empty());
    all_subcommands(&space, "people.toml");
    // Some items are accepted: the file that is committed names them.
    let item = quarantine[0]["item"].as_str().unwrap();
    silent(&space, &format!("quarantine people.toml --accept {item} --reason known"));
    // People come, change and go: reasons tell of them.
    let folder = "people/pictures/ZQCANARY^JANE";
    fs::remove_file(space.path(format!("{folder}/3-19420424.png"))).unwrap();
    let table = space.read("people/tables/labels.csv");
    let gone = table.lines().filter(|line| !line.contains("/3-19420424")).fold(String::new(), |text, line| text + line + "\n");
    space.write("people/tables/labels.csv", gone);
    space.write("people/pacs/zqcanary-new/4242424242", "ZQCANARY");
    for line in
        ["plan people.toml", "why people.toml images", "why people.toml studies", "graph people.toml --format svg", "run people.toml"]
    {
        silent(&space, line);
    }
    all_subcommands(&space, "people.toml");
    search(&space);
}

fn nothing_of_people_is_told_where_things_go_wrong() {
    let space = space();
    space.write("failing.toml", failing());
    let output = silent(&space, "run failing.toml --json").exits(1);
    let failed = output.tasks("failed");
    let fail =
        ["exit", "signal", "memory", "rows", "column", "link", "bytes", "writes", "adds", "wide", "strict", "wrong-column", "stumbled"];
    let missing: Vec<&str> = fail.into_iter().filter(|task| !failed.contains(&(*task).to_owned())).collect();
    assert!(missing.is_empty(), "{missing:?} should have failed: the trial tries less than it says\n{}", output.text());
    fs::remove_file(space.path("people/pictures/zqcanary-new.png")).unwrap();
    all_subcommands(&space, "failing.toml");
    #[cfg(feature = "crash-points")]
    for (point, stage) in [("panic-item", "images"), ("panic-kind", "cohort")] {
        let mut command = space.command(TOMOGRAPH);
        command.env("TOMOGRAPH_CRASH", point).env("RUST_BACKTRACE", "1").args(["run", "people.toml", "--again", stage, "--only", stage]);
        let output = silently(space.finish(&mut command));
        assert_ne!(output.code, Some(0), "{}", output.text());
    }
    search(&space);
}

fn nothing_of_people_is_told_of_broken_sources() {
    let space = space();
    let broken = |make: &dyn Fn(&Path), undo: &dyn Fn(&Path)| {
        let place = space.path("people/pictures/zqcanary-broken");
        make(&place);
        let output = silent(&space, "plan people.toml").says(&["source `pictures`"]);
        assert_ne!(output.code, Some(0), "{}", output.text());
        for line in ["run people.toml", "why people.toml images", "graph people.toml", "show people.toml images"] {
            silent(&space, line);
        }
        undo(&place);
    };
    let remove = |place: &Path| fs::remove_file(place).unwrap();
    broken(&|place| std::os::unix::fs::symlink("/zqcanary/nowhere", place).unwrap(), &remove);
    broken(&|place| std::os::unix::fs::symlink(".", place).unwrap(), &remove);
    broken(&|place| drop(std::os::unix::net::UnixListener::bind(place).unwrap()), &remove);
    broken(&|place| fs::write(place.with_file_name("zqcanary\nline"), "x").unwrap(), &|place| {
        remove(&place.with_file_name("zqcanary\nline"));
    });
    broken(&|place| fs::write(place.with_file_name("zqcanary.tomograph.json"), "ZQCANARY").unwrap(), &|place| {
        remove(&place.with_file_name("zqcanary.tomograph.json"));
    });
    let table = space.read("people/tables/labels.csv");
    let wrong = [table.replace("picture,", "picture;"), table.clone() + "ZQCANARY,too,few\n", "\u{feff}".to_owned()];
    for text in wrong.into_iter().chain([table.replace("PA,ill", "PA,")]) {
        space.write("people/tables/labels.csv", text);
        silent(&space, "run people.toml --only cohort").exits(1);
    }
    // Without a header the columns are somebody's row, which the log does not hold either.
    space.write("people/tables/labels.csv", table.split_once('\n').unwrap().1);
    silent(&space, "plan people.toml").success().says(&["will fail"]);
    silent(&space, "run people.toml --only images").exits(1);
    let log = space.run("log people.toml images --json").success().objects()[0]["log"].as_str().unwrap().to_owned();
    let seen = found(&fs::read(&log).unwrap());
    assert!(seen.is_empty(), "{seen:?} is in {log}");
    fs::remove_dir_all(space.path("people/pictures")).unwrap();
    all_subcommands(&space, "people.toml");
    search(&space);
}

fn what_is_revealed_is_shown_on_a_terminal_and_told_in_the_audit() {
    let space = space();
    space.write("failing.toml", failing());
    silent(&space, "run people.toml").exits(3);
    let acts = || space.run("log people.toml --audit --json").success().objects();
    let reveal = |line: &str| {
        silent(&space, &format!("{line} --reveal")).exits(2).says(&["on a terminal only"]);
        let before = acts().len();
        let mut script = space.command("script");
        let shown = space.finish(script.args(["-qec", &format!("{TOMOGRAPH} {line} --reveal"), "/dev/null"]));
        assert!(!found(shown.stdout.as_bytes()).is_empty(), "nothing is revealed\n{}", shown.text());
        let after = acts();
        assert!(after.len() > before && after[before..].iter().all(|act| act["act"] == "reveal"), "{line}: {after:?}");
    };
    for line in [
        "show people.toml studies",
        "quarantine people.toml",
        "log people.toml told",
        "run failing.toml --only exit",
        "log failing.toml exit",
    ] {
        reveal(line);
    }
    fs::remove_file(space.path("people/pictures/zqcanary.jpg")).unwrap();
    let table = space.read("people/tables/labels.csv");
    space.write(
        "people/tables/labels.csv",
        table.lines().filter(|line| !line.starts_with("zqcanary.jpg")).fold(String::new(), |text, line| text + line + "\n"),
    );
    ["plan people.toml", "why people.toml images"].into_iter().for_each(reveal);
    silent(&space, "run people.toml").exits(3);
    reveal("diff people.toml @prev @last");
    silent(&space, "log people.toml --reveal --json").exits(2);
    silent(&space, "log people.toml --audit").success().says(&[
        "reveal",
        "studies.studies",
        "images.items",
        "exit.log",
        "images.reasons",
        "images.differences",
    ]);
}
