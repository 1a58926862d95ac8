//! Laws of the engine over random graphs, edits, failures and kills. The seed is fixed, so that every run tries the same.

use crate::space::{Output, Space, TOMOGRAPH};
use libtest_mimic::Trial;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestCaseError, TestRunner};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        a_plan_equals_what_then_runs,
        edits_end_where_a_clean_run_ends,
        a_run_that_was_killed_ends_as_one_that_was_not,
        nothing_starts_before_its_inputs_and_a_failure_skips_its_descendants,
        the_order_of_the_text_is_in_no_key
    ]
}

/// Tries as many random cases, always the same ones. `PROPTEST_RNG_SEED` asks for others, and `TOMOGRAPH_LAWS=10` for ten times as many.
pub(crate) fn try_all<S: Strategy>(cases: u32, strategy: &S, law: impl Fn(S::Value) -> Result<(), TestCaseError>) {
    let times: u32 = std::env::var("TOMOGRAPH_LAWS").map_or(1, |times| times.parse().unwrap());
    let mut config = Config { cases: cases * times, failure_persistence: None, max_shrink_iters: 20, ..Config::default() };
    if config.rng_seed == RngSeed::Random {
        config.rng_seed = RngSeed::Fixed(1);
    }
    let seed = config.rng_seed;
    TestRunner::new(config).run(strategy, law).unwrap_or_else(|error| panic!("PROPTEST_RNG_SEED={seed}: {error}"));
}

/// A stage of a random graph: the stages before it that it reads, by number; without any it reads a source.
#[derive(Clone, Debug)]
struct Stage {
    reads: BTreeSet<usize>,
    source: usize,
    /// In the output.
    word: u8,
    /// In the key, but not in the output: a change stops right after.
    silent: u8,
    /// Whether the output is the same whatever the input.
    deaf: bool,
    fails: bool,
}

const SOURCES: usize = 2;

fn stages(most: usize) -> impl Strategy<Value = Vec<Stage>> {
    let stage = (any::<u16>(), 0..SOURCES, any::<u8>(), any::<bool>());
    prop::collection::vec(stage, 2..=most).prop_map(|drawn| {
        let stage = |(at, (reads, source, word, deaf)): (usize, (u16, usize, u8, bool))| Stage {
            reads: (0..at).filter(|earlier| reads >> earlier & 1 == 1).collect(),
            source,
            word,
            silent: 0,
            // A third or so.
            deaf: deaf && word % 3 != 0,
            fails: false,
        };
        drawn.into_iter().enumerate().map(stage).collect()
    })
}

/// The table of one stage. `pause` is how long it works, in seconds.
fn table(number: usize, stage: &Stage, pause: &str) -> String {
    let inputs: Vec<String> = match stage.reads.is_empty() {
        true => vec![format!("in0 = \"s{}\"", stage.source)],
        false => stage.reads.iter().enumerate().map(|(at, read)| format!("in{at} = \"t{read}\"")).collect(),
    };
    let files: Vec<String> = (0..inputs.len()).map(|at| format!("\"{{inputs.in{at}}}\"")).collect();
    let heard = if stage.deaf { "true" } else { "cat \\\"$@\\\" | cksum" };
    let ends = if stage.fails { "exit 1" } else { "true" };
    let name = format!("t{number}");
    format!(
        "[stage.{name}]\ncommand = [\"sh\", \"-c\", \"echo start {name} >> trace; sleep {pause}; {{{{ echo v; echo $WORD; {heard}; }}}} > \\\"$0\\\"; \
         {ends}; echo end {name} >> trace\", \"{{outputs.table}}\", {}]\ninputs  = {{ {} }}\noutputs = {{ table = \"table\" }}\nparams  = {{ silent = {} }}\nenv     = {{ WORD = \"w{}\" }}\n\n",
        files.join(", "),
        inputs.join(", "),
        stage.silent,
        stage.word,
    )
}

fn text(stages: &[Stage], pause: &str) -> String {
    let sources: String = (0..SOURCES).map(|number| format!("[source.s{number}]\npath = \"s{number}.tsv\"\nphi  = false\n\n")).collect();
    let stages: String = stages.iter().enumerate().map(|(number, stage)| table(number, stage, pause)).collect();
    format!("[pipeline]\nname = \"laws\"\n\n{sources}{stages}")
}

fn space(stages: &[Stage], contents: [u8; SOURCES], pause: &str) -> Space {
    let space = Space::new();
    write(&space, stages, contents, pause);
    space
}

fn write(space: &Space, stages: &[Stage], contents: [u8; SOURCES], pause: &str) {
    space.write("laws.toml", text(stages, pause));
    for (number, content) in contents.into_iter().enumerate() {
        space.write(format!("s{number}.tsv"), format!("v\n{content}\n"));
    }
}

/// What every stage gave, by stage.
fn results(space: &Space, count: usize) -> BTreeMap<usize, Vec<u8>> {
    let of = |number: usize| {
        let folder = format!("out-{number}");
        space.run_args(&["export", "laws.toml", &format!("t{number}"), &folder]).success();
        let file =
            std::fs::read_dir(space.path(&folder)).unwrap().map(|entry| entry.unwrap().path()).find(|path| path.ends_with("table.tsv"));
        let bytes = std::fs::read(file.unwrap()).unwrap();
        std::fs::remove_dir_all(space.path(&folder)).unwrap();
        (number, bytes)
    };
    (0..count).map(of).collect()
}

/// An edit: what is changed, in which stage or source, and to what.
#[derive(Clone, Debug)]
enum Edit {
    Source(usize, u8),
    Word(usize, u8),
    Silent(usize, u8),
    Deaf(usize),
    Rewire(usize, usize),
    Touch,
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let edit = prop_oneof![
        (0..SOURCES, any::<u8>()).prop_map(|(source, content)| Edit::Source(source, content)),
        (any::<usize>(), any::<u8>()).prop_map(|(stage, word)| Edit::Word(stage, word)),
        (any::<usize>(), any::<u8>()).prop_map(|(stage, value)| Edit::Silent(stage, value)),
        any::<usize>().prop_map(Edit::Deaf),
        (any::<usize>(), any::<usize>()).prop_map(|(stage, other)| Edit::Rewire(stage, other)),
        Just(Edit::Touch),
    ];
    prop::collection::vec(edit, 3)
}

fn apply(edit: &Edit, stages: &mut [Stage], contents: &mut [u8; SOURCES]) {
    let count = stages.len();
    match *edit {
        Edit::Source(source, content) => contents[source] = content,
        Edit::Word(stage, word) => stages[stage % count].word = word,
        Edit::Silent(stage, value) => stages[stage % count].silent = value,
        Edit::Deaf(stage) => stages[stage % count].deaf ^= true,
        Edit::Rewire(stage, other) => {
            let at = stage % count;
            if at > 0 && !stages[at].reads.remove(&(other % at)) {
                stages[at].reads.insert(other % at);
            }
        }
        Edit::Touch => {}
    }
}

/// What `plan` says of each task.
pub(crate) fn planned(space: &Space) -> BTreeMap<String, String> {
    let text = |object: &serde_json::Value, key: &str| object[key].as_str().unwrap().to_owned();
    let objects = space.run("plan laws.toml --json").success().objects();
    objects.iter().map(|object| (text(object, "task"), text(object, "state"))).collect()
}

/// Whether a run did what was planned.
pub(crate) fn agree(planned: &BTreeMap<String, String>, ran: &Output) -> Result<(), TestCaseError> {
    let outcomes = ran.outcomes();
    prop_assert_eq!(planned.keys().collect::<Vec<_>>(), outcomes.keys().collect::<Vec<_>>());
    for (task, state) in planned {
        let outcome = outcomes[task].as_str();
        let kept = match state.as_str() {
            "cached" => outcome == "cached",
            "run" => outcome == "ran",
            // After something that ran with other bytes it runs, after something with equal bytes it may be known.
            _ => outcome == "cached" || outcome == "ran",
        };
        // Of tasks with equal keys one runs, and the others find what it made.
        let twin = state == "run" && outcome == "cached" && outcomes.values().any(|outcome| outcome == "ran");
        prop_assert!(kept || twin, "{task}: planned {state}, was {outcome}\n{}", ran.text());
    }
    Ok(())
}

fn a_plan_equals_what_then_runs() {
    try_all(10, &(stages(7), edits()), |(mut stages, edits)| {
        let mut contents = [1; SOURCES];
        let space = space(&stages, contents, "0");
        agree(&planned(&space), &space.run("run laws.toml --json").success())?;
        for edit in &edits {
            apply(edit, &mut stages, &mut contents);
            write(&space, &stages, contents, "0");
            let plan = planned(&space);
            agree(&plan, &space.run("run laws.toml --json").success())?;
            let after = planned(&space);
            prop_assert!(after.values().all(|state| state == "cached"), "a second run would do something: {after:?}");
        }
        Ok(())
    });
}

fn edits_end_where_a_clean_run_ends() {
    try_all(4, &(stages(6), edits()), |(mut stages, edits)| {
        let mut contents = [1; SOURCES];
        let edited = space(&stages, contents, "0");
        edited.run("run laws.toml").success();
        for edit in &edits {
            apply(edit, &mut stages, &mut contents);
            write(&edited, &stages, contents, "0");
            edited.run("run laws.toml").success();
        }
        let clean = space(&stages, contents, "0");
        clean.run("run laws.toml").success();
        prop_assert_eq!(results(&edited, stages.len()), results(&clean, stages.len()));
        Ok(())
    });
}

/// Kills the engine, what it runs, or both, so long after so many lines of its output; gives the tasks that it had told of as done.
fn kill(space: &Space, lines: usize, then: Duration, whom: u8) -> BTreeSet<String> {
    let mut engine = space.command(TOMOGRAPH);
    engine.args(["run", "laws.toml", "--json", "-j", "3"]).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut engine = engine.spawn().unwrap();
    let mut told = BufReader::new(engine.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut done = BTreeSet::new();
    for line in told.by_ref().take(lines) {
        let object: serde_json::Value = serde_json::from_str(&line).unwrap();
        if object["event"] == "task" && object["outcome"] == "ran" {
            done.insert(object["task"].as_str().unwrap().to_owned());
        }
    }
    std::thread::sleep(then);
    let children = "kill -9 $(cat /proc/$0/task/*/children 2>/dev/null) 2>/dev/null; true";
    if whom != 0 {
        Command::new("sh").args(["-c", children, &engine.id().to_string()]).status().unwrap();
    }
    if whom != 1 {
        engine.kill().unwrap();
    }
    drop(told);
    engine.wait().unwrap();
    done
}

fn a_run_that_was_killed_ends_as_one_that_was_not() {
    try_all(16, &(stages(7), 0usize..8, 0u64..25_000, 0u8..3), |(stages, lines, micros, whom)| {
        let contents = [1; SOURCES];
        let (killed, clean) = (space(&stages, contents, "0.02"), space(&stages, contents, "0.02"));
        let done = kill(&killed, lines, Duration::from_micros(micros), whom);
        killed.run("cache verify").success();
        let output = killed.run("run laws.toml --json").success();
        let again: Vec<String> = output.tasks("ran").into_iter().filter(|task| done.contains(task)).collect();
        prop_assert!(again.is_empty(), "{again:?} had ended and ran again\n{}", output.text());
        killed.run("cache verify").success().says(&["all whole"]);
        clean.run("run laws.toml").success();
        prop_assert_eq!(results(&killed, stages.len()), results(&clean, stages.len()));
        Ok(())
    });
}

fn nothing_starts_before_its_inputs_and_a_failure_skips_its_descendants() {
    try_all(8, &(stages(8), any::<usize>()), |(mut stages, failing)| {
        let failing = failing % stages.len();
        stages[failing].fails = true;
        // Equal stages have equal keys, and one of them runs.
        stages.iter_mut().enumerate().for_each(|(number, stage)| stage.silent = number as u8);
        let space = space(&stages, [1; SOURCES], "0.005");
        let output = space.run("run laws.toml --json -j 4").exits(1);
        let mut lost = BTreeSet::from([failing]);
        for (number, stage) in stages.iter().enumerate() {
            if !stage.reads.is_disjoint(&lost) {
                lost.insert(number);
            }
        }
        let titles = |lost_ones: bool| -> Vec<String> {
            let of_those = |number: &usize| lost.contains(number) == lost_ones && *number != failing;
            (0..stages.len()).filter(of_those).map(|number| format!("t{number}")).collect()
        };
        prop_assert_eq!(output.tasks("failed"), [format!("t{failing}")]);
        prop_assert_eq!((output.tasks("skipped"), output.tasks("ran")), (titles(true), titles(false)));
        let trace = space.read("trace");
        let at = |line: &str| trace.lines().position(|one| one == line);
        for (number, stage) in stages.iter().enumerate() {
            for read in &stage.reads {
                let (start, end) = (at(&format!("start t{number}")), at(&format!("end t{read}")));
                prop_assert!(start.is_none() || end.is_some_and(|end| Some(end) < start), "t{number} began before t{read} ended\n{trace}");
            }
        }
        Ok(())
    });
}

fn the_order_of_the_text_is_in_no_key() {
    try_all(5, &stages(7), |stages| {
        let space = space(&stages, [1; SOURCES], "0");
        space.run("run laws.toml").success();
        // Tables, and keys within them, the other way round.
        let text = text(&stages, "0");
        let turned = |part: &str| {
            let (head, rest) = part.split_once('\n').unwrap_or((part, ""));
            let lines: Vec<&str> = rest.lines().filter(|line| !line.is_empty()).rev().collect();
            format!("{head}\n{}\n\n", lines.join("\n"))
        };
        let mut parts: Vec<String> = text.split("\n[").map(|part| turned(&format!("[{}", part.trim_start_matches('[')))).collect();
        parts.reverse();
        space.write("laws.toml", parts.concat());
        let output = space.run("run laws.toml --json").success();
        prop_assert_eq!(output.tasks("cached").len(), stages.len(), "{}", output.text());
        Ok(())
    });
}
