//! Effects (DESIGN rule 15): stages that act on the world run only when asked to.

use crate::space::Space;
use libtest_mimic::Trial;

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        an_effect_runs_only_when_asked_to,
        an_effect_that_ran_is_cached,
        what_an_effect_brings_anew_holds,
        only_and_again_name_effects,
        a_kind_says_for_itself_whether_it_is_one,
        a_plan_says_what_an_effect_acts_through_and_brought_last,
        an_effect_whose_result_is_gone_waits,
        what_starts_after_an_effect_began_to_wait_waits_too,
    ]
}

/// `send` notes each time that it acts; `after` follows it, `beside` does not.
const TEXT: &str = r#"[pipeline]
name = "effects"

[source.raw]
path = "raw.csv"
phi  = false

[stage.send]
command = ["sh", "-c", "echo sent >> sent.log; cp answer.tsv \"$1\"", "sh", "{outputs.receipt}", "{inputs.rows}"]
effect  = true
inputs  = { rows = "raw" }
outputs = { receipt = "table" }

[stage.after]
command = ["cp", "{inputs.receipt}", "{outputs.table}"]
inputs  = { receipt = "send" }
outputs = { table = "table" }

[stage.beside]
command = ["cp", "{inputs.rows}", "{outputs.table}"]
inputs  = { rows = "raw" }
outputs = { table = "table" }
"#;

pub(crate) fn space() -> Space {
    let space = Space::new();
    space.write("effects.toml", TEXT);
    space.write("raw.csv", "a\tb\n1\t2\n");
    space.write("answer.tsv", "state\nstored\n");
    space
}

/// How often `send` has acted.
fn sent(space: &Space) -> usize {
    std::fs::read_to_string(space.path("sent.log")).map_or(0, |text| text.lines().count())
}

fn an_effect_runs_only_when_asked_to() {
    let space = space();
    space.run("plan effects.toml").success().says(&["send", "waiting", "for send", "--effects"]);
    let output = space.run("run effects.toml --json").success();
    assert_eq!((output.tasks("ran"), output.tasks("waiting")), (vec!["beside".to_owned()], vec!["after".to_owned(), "send".to_owned()]));
    assert_eq!((output.summary()["waiting"].as_u64(), sent(&space)), (Some(2), 0));
    space.run("run effects.toml").success().says(&["2 waiting", "send would act on the world: run with --effects"]);
    space.run("why effects.toml after").success().says(&["after: waiting", "--effects"]);
    space.run("plan effects.toml --effects").success().says(&["will run", "1 cached, 1 will run, 1 decided later"]);
    assert_eq!(sent(&space), 0, "plan never acts");
    space.run("history effects.toml").success().says(&["2 waiting"]);

    let output = space.run("run effects.toml --effects --json").success();
    assert_eq!((output.tasks("ran"), sent(&space)), (vec!["after".to_owned(), "send".to_owned()], 1));
}

fn an_effect_that_ran_is_cached() {
    let space = space();
    space.run("run effects.toml --effects").success();
    let output = space.run("run effects.toml --json").success();
    assert_eq!((output.tasks("cached").len(), output.tasks("waiting").len(), sent(&space)), (3, 0, 1));
    // Something else to send: it waits again, and so does what follows.
    space.write("raw.csv", "a\tb\n3\t4\n");
    let output = space.run("run effects.toml --json").success();
    assert_eq!((output.tasks("ran"), output.tasks("waiting").len(), sent(&space)), (vec!["beside".to_owned()], 2, 1));
    let reasons = ["it acts on the world", "inputs.rows: source raw; changed"];
    let plan = space.run("plan effects.toml").success().says(&reasons).says(&["for send"]);
    assert_eq!(plan.stdout.matches("for send").count(), 1, "an effect does not wait for itself\n{}", plan.text());
    space.run("why effects.toml after").success().says(&["after: waiting", "for send", "send: waiting"]).says(&reasons);
}

fn what_an_effect_brings_anew_holds() {
    let space = space();
    space.run("run effects.toml --effects").success();
    space.run("run effects.toml --refresh beside").exits(2).says(&["beside, which is no effect"]);
    for (answer, ran) in [("refused", 2), ("stored", 1), ("stored", 1)] {
        space.write("answer.tsv", format!("state\n{answer}\n"));
        let output = space.run("run effects.toml --refresh send --json").success();
        // The first answer again: what follows it is known from then.
        assert_eq!(output.tasks("ran").len(), ran, "{}", output.text());
        let output = space.run("run effects.toml --json").success();
        assert_eq!(output.tasks("cached").len(), 3, "{}", output.text());
        space.run("export effects.toml after out").success();
        let file = std::fs::read_dir(space.path("out")).unwrap().next().unwrap().unwrap().path();
        assert_eq!(std::fs::read_to_string(file).unwrap(), format!("state\n{answer}\n"));
        std::fs::remove_dir_all(space.path("out")).unwrap();
    }
    assert_eq!(sent(&space), 4);
}

fn only_and_again_name_effects() {
    let space = space();
    // What needs an effect does not name it.
    let output = space.run("run effects.toml --only after --json").success();
    assert_eq!((output.tasks("waiting").len(), sent(&space)), (2, 0));
    space.run("run effects.toml --only send").success();
    assert_eq!(sent(&space), 1);
    space.run("run effects.toml --again send").success();
    assert_eq!(sent(&space), 2);
}

fn a_kind_says_for_itself_whether_it_is_one() {
    let space = space();
    space.replace("effects.toml", "command = [\"cp\", \"{inputs.rows}\", \"{outputs.table}\"]", "kind = \"cohort.label\"\neffect = true");
    space.run("check effects.toml").exits(2).says(&["`effect` is for stages with a `command`"]);
}

fn a_plan_says_what_an_effect_acts_through_and_brought_last() {
    let space = space();
    let plan = space.run("plan effects.toml").success().says(&["acts through sh -c echo sent", "never ran"]);
    assert_eq!(plan.stdout.matches("acts through").count(), 1, "only of the effect itself\n{}", plan.text());
    space.run("run effects.toml --effects").success();
    let nothing = space.run("plan effects.toml").success();
    assert!(!nothing.stdout.contains("acts through"), "it is cached\n{}", nothing.text());
    space.write("answer.tsv", "state\nstored\nstored\n");
    space.run("run effects.toml --refresh send").success();
    space.write("raw.csv", "a\tb\n5\t6\n");
    space.run("plan effects.toml").success().says(&["waiting", "last 20", "receipt: 2 rows"]);
    let plan = space.run("plan effects.toml --json").success().objects();
    let effect = &plan.iter().find(|one| one["task"] == "send").unwrap()["effect"];
    assert_eq!((&effect["last"]["counts"]["receipt"], effect["target"].is_string()), (&"2 rows".into(), true), "{effect}");
    assert_eq!(sent(&space), 2, "plan never acts");
}

fn all(tasks: &[&str]) -> Vec<String> {
    tasks.iter().map(|task| (*task).to_owned()).collect()
}

/// The effect has run, and what it brought is a blob of its own, and gone.
fn gone(space: &Space) {
    space.write("answer.tsv", "state\n".to_owned() + &"stored\n".repeat(4000));
    space.run("run effects.toml --effects").success();
    space.lose_large_blobs();
}

fn an_effect_whose_result_is_gone_waits() {
    let space = space();
    // Each gives other bytes than what it takes: else making one brings back all.
    let after = "[\"sh\", \"-c\", \"sed p $0 > $1\", \"{inputs.receipt}\", \"{outputs.table}\"]";
    space.replace("effects.toml", "[\"cp\", \"{inputs.receipt}\", \"{outputs.table}\"]", after);
    let last = "\n[stage.last]\ncommand = [\"sh\", \"-c\", \"sed s/stored/told/ $0 > $1\", \"{inputs.table}\", \"{outputs.table}\"]\n\
                inputs = { table = \"after\" }\noutputs = { table = \"table\" }\npublish = { table = \"results/last.tsv\" }\n";
    space.write("effects.toml", space.read("effects.toml") + last);
    gone(&space);
    space.run("plan effects.toml").success().says(&["4 cached, 0 will run"]);
    let waits = || {
        let closing = "1 cached, 0 will run, 0 decided later, 3 waiting for an effect (--effects, or --only with its name, runs it)";
        let reason = "its result is gone from the store and after needs it";
        space.run("plan effects.toml").success().says(&["it acts on the world", reason, "for send", closing]);
        let output = space.run("run effects.toml --json").success();
        assert_eq!((output.tasks("cached"), output.tasks("waiting")), (all(&["beside"]), all(&["after", "last", "send"])));
        assert_eq!(sent(&space), 1);
    };
    let text = space.read("effects.toml");
    space.replace("effects.toml", "sed p ", "sed  p ");
    waits();
    // Nothing is edited, but to be published anew, and all that it is made of is gone.
    space.write("effects.toml", text);
    std::fs::remove_file(space.path("results/last.tsv")).unwrap();
    waits();
    space.run("plan effects.toml --effects").success().says(&["1 cached, 3 will run, 0 decided later\n"]);
    let output = space.run("run effects.toml --effects --json").success();
    assert_eq!((output.tasks("ran"), sent(&space)), (all(&["after", "last", "send"]), 2));
}

fn what_starts_after_an_effect_began_to_wait_waits_too() {
    let space = space();
    // By how long they took: `after` is looked at first, `beside` takes its room, and `late` comes when that is done.
    space.replace("effects.toml", "[\"cp\", \"{inputs.receipt}\"", "[\"sh\", \"-c\", \"sleep 0.6; cp $0 $1\", \"{inputs.receipt}\"");
    space.replace("effects.toml", "[\"cp\", \"{inputs.rows}\"", "[\"sh\", \"-c\", \"sleep 0.3; cp $0 $1\", \"{inputs.rows}\"");
    let late = "\n[stage.late]\ncommand = [\"cp\", \"{inputs.receipt}\", \"{outputs.table}\"]\ninputs = { receipt = \"send\" }\n\
                outputs = { table = \"table\" }\n";
    space.write("effects.toml", space.read("effects.toml") + late);
    gone(&space);
    for edited in ["[\"sh\", \"-c\", \"sleep 0.6", "[\"sh\", \"-c\", \"sleep 0.3", "[\"cp\", \"{inputs.receipt}\""] {
        space.replace("effects.toml", edited, &edited.replace('[', "[\"env\", "));
    }
    space.run("plan effects.toml").success().says(&["0 cached, 1 will run, 0 decided later, 3 waiting"]);
    let output = space.run("run effects.toml --json -j 1").success();
    assert_eq!((output.tasks("waiting"), output.tasks("ran")), (all(&["after", "late", "send"]), all(&["beside"])), "{}", output.text());
}
