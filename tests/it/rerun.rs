//! What runs again after an edit, and what does not.

use crate::Need;
use crate::numbers::{PIPELINE, TASKS, ran, space};
use crate::space::{Space, TOMOGRAPH};
use libtest_mimic::Trial;
use std::fs;
use std::process::Command;
use tomograph::plan::key::KeyManifest;
use tomograph::store::Store;

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        a_second_run_does_nothing,
        what_is_not_content_reruns_nothing,
        a_moved_project_reruns_nothing,
        a_changed_file_reruns_what_depends_on_it,
        an_equal_result_stops_the_wave,
        a_changed_value_reruns_its_cell,
        edited_code_reruns_its_stage,
        a_value_put_back_is_found_again,
        plan_says_what_run_then_does,
        only_runs_what_is_named_and_needed,
        a_deleted_publication_is_put_back,
        a_refused_publication_stops_nothing,
        what_is_published_and_gone_is_made_again_where_it_is_needed,
        a_renamed_stage_runs_nothing,
        a_copied_project_runs_nothing,
        another_working_folder_runs_nothing,
        another_user_runs_nothing: [Need::Root, Need::Program("setpriv", "util-linux")],
        a_lost_index_runs_nothing,
        a_param_counts_where_it_is_used,
        a_file_of_the_code_more_or_less,
        an_input_more_or_less,
        another_output_is_another_result,
        another_revision_of_a_kind,
        what_was_accepted_is_withdrawn_by_making_it,
        of_repeated_acceptances_every_reason_is_kept,
    ]
}

fn run(space: &Space) -> Vec<String> {
    let output = space.run("run numbers.toml --json").success();
    let tasks = output.tasks("ran");
    assert_eq!(output.summary()["ran"], tasks.len(), "{}", output.text());
    assert_eq!(output.outcomes().len(), TASKS.len(), "{}", output.text());
    let mut said: Vec<String> = tasks.iter().map(|task| task.replace("[by=", " ").replace(']', "")).collect();
    said.sort();
    assert_eq!(ran(space), said, "what ran is not what was said\n{}", output.text());
    tasks
}

fn fresh() -> Space {
    let space = space();
    assert_eq!(run(&space), TASKS);
    assert_eq!(space.read("results/total.tsv"), "sum\n252\n");
    space
}

fn a_second_run_does_nothing() {
    let space = fresh();
    let output = space.run("run numbers.toml --json").success();
    assert_eq!(output.tasks("cached"), TASKS);
    assert_eq!((output.summary()["cached"].as_u64(), output.summary()["ran"].as_u64()), (Some(5), Some(0)));
    assert!(ran(&space).is_empty());
}

fn what_is_not_content_reruns_nothing() {
    let space = fresh();
    space.replace(PIPELINE, "# Numbers, scaled and summed.", "# Another comment.");
    let text = space.read(PIPELINE);
    let (head, total) = text.split_once("[stage.total]").unwrap();
    let (head, scale) = head.split_once("[stage.scale]").unwrap();
    space.write(PIPELINE, format!("{head}[stage.total]{total}\n[stage.scale]{scale}"));
    assert_eq!(run(&space), [""; 0]);
    for path in ["numbers/a.txt", "numbers/b.txt", "tools/scale.sh"] {
        let bytes = fs::read(space.path(path)).unwrap();
        fs::remove_file(space.path(path)).unwrap();
        space.write(path, bytes);
    }
    assert_eq!(run(&space), [""; 0], "files were only touched");
    space.replace(PIPELINE, "path = \"numbers\"", "path = \"other\"");
    fs::rename(space.path("numbers"), space.path("other")).unwrap();
    assert_eq!(run(&space), [""; 0], "a source's place is not content");
    space.replace(PIPELINE, "[1, 2, 3]", "[3, 2, 1]");
    assert_eq!(run(&space), [""; 0], "the order of an axis is not content");
}

fn a_moved_project_reruns_nothing() {
    let space = fresh();
    let other = space.root().with_file_name("elsewhere");
    fs::rename(space.root(), &other).unwrap();
    let mut command = space.command(TOMOGRAPH);
    let output = space.finish(command.current_dir(&other).args(["run", PIPELINE, "--json"])).success();
    assert_eq!(output.tasks("cached"), TASKS);
}

fn a_changed_file_reruns_what_depends_on_it() {
    let space = fresh();
    space.write("numbers/c.txt", "40\n");
    space.run("why numbers.toml gather").success().says(&["inputs.files", "source numbers", "changed c.txt"]);
    assert_eq!(run(&space), TASKS);
    assert_eq!(space.read("results/total.tsv"), "sum\n258\n");
}

fn an_equal_result_stops_the_wave() {
    let space = fresh();
    space.write("numbers/ignored.md", "no text file\n");
    assert_eq!(run(&space), ["gather"]);
    space.replace("tools/gather.sh", "echo gather", "true\necho gather");
    assert_eq!(run(&space), ["gather"]);
}

fn a_changed_value_reruns_its_cell() {
    let space = fresh();
    space.replace(PIPELINE, "[1, 2, 3]", "[1, 2, 4]");
    let output = space.run("run numbers.toml --json").success();
    assert_eq!(output.tasks("ran"), ["scale[by=4]", "total"]);
    assert_eq!(space.read("results/total.tsv"), "sum\n294\n");
}

fn edited_code_reruns_its_stage() {
    let space = fresh();
    space.replace("tools/total.sh", "print \"sum\"", "print \"total\"");
    space.run("why numbers.toml total").success().says(&["tools/total.sh"]);
    assert_eq!(run(&space), ["total"]);
}

fn a_value_put_back_is_found_again() {
    let space = fresh();
    space.replace(PIPELINE, "[1, 2, 3]", "[1, 2, 4]");
    space.run("run numbers.toml").success();
    ran(&space);
    space.replace(PIPELINE, "[1, 2, 4]", "[1, 2, 3]");
    assert_eq!(run(&space), [""; 0]);
    assert_eq!(space.read("results/total.tsv"), "sum\n252\n", "publish follows every run, cached or not");
}

fn plan_says_what_run_then_does() {
    let space = fresh();
    let states = || -> Vec<(String, String)> {
        let objects = space.run("plan numbers.toml --json").success().objects();
        let text = |object: &serde_json::Value, key: &str| object[key].as_str().unwrap().to_owned();
        let mut states: Vec<_> = objects.iter().map(|one| (text(one, "task"), text(one, "state"))).collect();
        states.sort();
        states
    };
    assert!(states().iter().all(|(_, state)| state == "cached"), "{:?}", states());
    space.write("numbers/ignored.md", "no text file\n");
    assert_eq!(states()[0], ("gather".to_owned(), "run".to_owned()));
    assert!(states()[1..].iter().all(|(_, state)| state == "later"), "{:?}", states());
    assert_eq!(run(&space), ["gather"]);
}

fn only_runs_what_is_named_and_needed() {
    let space = space();
    let output = space.run_args(&["run", PIPELINE, "--json", "--only", "scale[by=2]"]).success();
    assert_eq!(output.tasks("ran"), ["gather", "scale[by=2]"]);
    assert!(!space.path("results/total.tsv").exists());
}

fn a_deleted_publication_is_put_back() {
    let space = fresh();
    fs::remove_file(space.path("results/total.tsv")).unwrap();
    assert_eq!(run(&space), [""; 0]);
    assert_eq!(space.read("results/total.tsv"), "sum\n252\n");
    space.write("results/total.tsv", "mine\n");
    space.run("run numbers.toml").exits(1).says(&[
        "failed: publish results/total.tsv of task total: ",
        "--overwrite",
        "5 cached, 0 ran, 0 failed",
    ]);
    assert_eq!(space.read("results/total.tsv"), "mine\n", "what we did not write is not overwritten");
}

fn a_refused_publication_stops_nothing() {
    let space = space();
    space.replace(
        PIPELINE,
        "code    = [\"tools/gather.sh\"]",
        "code    = [\"tools/gather.sh\"]\npublish = { table = \"results/all.tsv\" }",
    );
    space.write("results/all.tsv", "mine\n");
    for outcome in ["ran", "cached"] {
        let output = space.run("run numbers.toml --json").exits(1);
        assert_eq!(output.tasks(outcome), TASKS, "the results stand\n{}", output.text());
        assert_eq!((&output.summary()["failed"], &output.summary()["unpublished"]), (&0.into(), &1.into()));
        space.run("plan numbers.toml").success().says(&["5 cached, 0 will run"]);
        space.run("history numbers.toml").success().says(&[&format!("5 {outcome}, 1 not published")]);
    }
    assert_eq!((space.read("results/all.tsv").as_str(), space.read("results/total.tsv").as_str()), ("mine\n", "sum\n252\n"));
}

fn what_is_published_and_gone_is_made_again_where_it_is_needed() {
    let space = space();
    let code = "code    = [\"tools/gather.sh\"]";
    space.replace(PIPELINE, code, &format!("{code}\npublish = {{ table = \"results/all.tsv\" }}"));
    // So long that it is a blob of its own.
    space.replace("tools/gather.sh", "*.txt;", "*.txt; seq 9500 | sed 's/.*/0/';");
    let (all, beside) = (space.path("results/all.tsv"), space.path("results/all.tsv.tomograph.json"));
    space.run("run numbers.toml").success();
    let published = fs::read(&all).unwrap();
    ran(&space);

    space.lose_large_blobs();
    for lost in [None, Some(&beside)] {
        lost.into_iter().for_each(|path| fs::remove_file(path).unwrap());
        space.run("plan numbers.toml").success().says(&["5 cached, 0 will run"]);
        assert_eq!(run(&space), [""; 0], "what stands there needs no bytes");
        assert!(fs::read(&all).unwrap() == published && beside.is_file());
    }
    // What would be refused is not made for that.
    space.write("results/all.tsv", "mine\n");
    space.run("plan numbers.toml").success().says(&["5 cached, 0 will run"]);
    let output = space.run("run numbers.toml --json").exits(1).says(&["--overwrite"]);
    assert_eq!((output.tasks("cached").len(), space.read("results/all.tsv").as_str()), (5, "mine\n"));

    fs::remove_file(&all).unwrap();
    let reason = "its result is gone from the store and publishing needs it";
    space.run("plan numbers.toml").success().says(&[reason, "0 cached, 1 will run, 4 decided later"]);
    space.run("why numbers.toml gather").success().says(&[reason]);
    space.run("plan numbers.toml --only gather").success().says(&["1 cached, 0 will run"]);
    assert_eq!(space.run("run numbers.toml --only gather --json").success().tasks("cached"), ["gather"]);
    assert_eq!(run(&space), ["gather"]);
    assert!(fs::read(&all).unwrap() == published);
}

fn a_renamed_stage_runs_nothing() {
    let space = fresh();
    let text = space.read(PIPELINE).replace("[stage.scale]", "[stage.times]").replace("\"scale[*]\"", "\"times[*]\"");
    space.write(PIPELINE, text);
    assert_eq!(run(&space), [""; 0]);
}

fn a_copied_project_runs_nothing() {
    for how in ["cp -a", "cp -r"] {
        let space = fresh();
        let copy = space.root().with_file_name("copy");
        let copied = Command::new("sh").arg("-c").arg(format!("{how} \"$0\" \"$1\"")).arg(space.root()).arg(&copy).status().unwrap();
        assert!(copied.success());
        let mut command = space.command(TOMOGRAPH);
        let output = space.finish(command.current_dir(&copy).args(["run", PIPELINE, "--json"])).success();
        assert_eq!(output.tasks("cached"), TASKS, "{how}");
    }
}

fn another_working_folder_runs_nothing() {
    let space = fresh();
    let mut command = space.command(TOMOGRAPH);
    let output = space.finish(command.current_dir(space.path("tools")).args(["run", "../numbers.toml", "--json"])).success();
    assert_eq!(output.tasks("cached"), TASKS);
}

fn another_user_runs_nothing() {
    let space = fresh();
    // With a home, and so an index, of their own.
    fs::remove_dir_all(space.home()).unwrap();
    fs::create_dir(space.home()).unwrap();
    crate::limits::give_to_nobody(&space);
    let output = crate::limits::run_as_nobody(&space, "run numbers.toml --json").success();
    assert_eq!(output.tasks("cached"), TASKS);
}

fn a_lost_index_runs_nothing() {
    let space = fresh();
    let lose = || fs::remove_dir_all(space.home()).and_then(|()| fs::create_dir(space.home())).unwrap();
    lose();
    assert_eq!(run(&space), [""; 0]);
    lose();
    space.replace("tools/total.sh", "echo total", "true\necho total");
    space.run("why numbers.toml total").success().says(&["command.code.\"tools/total.sh\": "]);
    lose();
    assert_eq!(run(&space), ["total"]);
}

fn a_param_counts_where_it_is_used() {
    let space = space();
    space.replace(PIPELINE, "[axes]", "[params]\nused = 1\nidle = 1\n\n[axes]");
    space.replace(PIPELINE, "code    = [\"tools/total.sh\"]", "code    = [\"tools/total.sh\"]\nparams  = { x = \"{params.used}\", y = 1 }");
    assert_eq!(run(&space), TASKS);
    space.replace(PIPELINE, "idle = 1", "idle = 2");
    assert_eq!(run(&space), [""; 0]);
    for (from, to, reason) in [("used = 1", "used = 2", "params.x: 1 → 2"), (", y = 1", "", "params.y: removed (was 1)")] {
        space.replace(PIPELINE, from, to);
        space.run("why numbers.toml total").success().says(&[reason]);
        assert_eq!(run(&space), ["total"]);
    }
}

fn a_file_of_the_code_more_or_less() {
    let space = fresh();
    space.replace(PIPELINE, "[\"tools/total.sh\"]", "[\"tools/t*.sh\"]");
    assert_eq!(run(&space), [""; 0], "what it matches counts, not the pattern");
    space.write("tools/tool.sh", "true\n");
    space.run("why numbers.toml total").success().says(&["command.code.\"tools/tool.sh\": added "]);
    assert_eq!(run(&space), ["total"]);
    fs::remove_file(space.path("tools/tool.sh")).unwrap();
    assert_eq!(run(&space), [""; 0], "it is what it was");
}

fn an_input_more_or_less() {
    let space = fresh();
    space.replace(PIPELINE, "{ tables = \"scale[*]\" }", "{ tables = \"scale[*]\", also = \"gather\" }");
    space.run("why numbers.toml total").success().says(&["inputs.also: "]);
    assert_eq!(run(&space), ["total"]);
    space.replace(PIPELINE, ", also = \"gather\"", "");
    assert_eq!(run(&space), [""; 0], "it is what it was");
}

fn another_output_is_another_result() {
    let space = fresh();
    space.replace(
        PIPELINE,
        "outputs = { table = \"table\" }\ncode    = [\"tools/gather.sh\"]",
        "outputs = { table = \"table\", more = \"files\" }\ncode    = [\"tools/gather.sh\"]",
    );
    space.run("plan numbers.toml").success().says(&["gather"]);
    // The program does not make it.
    space.run("run numbers.toml").exits(1).says(&["more"]);
}

fn another_revision_of_a_kind() {
    let space = Space::new();
    let text = "[pipeline]\nname = \"x\"\n[stage.phantom]\nkind = \"demo.phantom\"\nparams = { patients = 2, seed = 1, side = 32 }\n";
    space.write("x.toml", text);
    space.run("run x.toml").success();
    // The last that the store knows of is a result of the revision before, with another seed.
    let store = Store::open(&space.path("cache"), &space.home().join("other")).unwrap();
    let shown = space.run("show x.toml phantom --json").success().objects().remove(0);
    let mut record = (*store.records(&shown["key"].as_str().unwrap().parse().unwrap()).unwrap()[0]).clone();
    let mut manifest: KeyManifest = serde_json::from_slice(&store.read_blob(&record.key_manifest).unwrap().unwrap()).unwrap();
    let revision = manifest.revision;
    assert!(revision > 1, "another kind serves better");
    manifest.revision -= 1;
    manifest.params["seed"] = 2.into();
    (record.key, record.key_manifest) = (manifest.key(), store.put_bytes(&manifest.bytes()).unwrap().digest);
    store.publish(&record).unwrap();
    let journal = store.begin_run(&record.pipeline, &serde_json::Value::Null).unwrap();
    journal.task("phantom", "demo.phantom", Some(&record.key), "ran", 0.1, "").unwrap();
    journal.end(&serde_json::Value::Null).unwrap();
    store.close();
    space.replace("x.toml", "seed = 1", "seed = 2");
    space.run("why x.toml phantom").success().says(&[&format!("  revision: {} → {revision} (", revision - 1)]);
    assert_eq!(space.run("run x.toml --json").success().tasks("ran"), ["phantom"]);
}

fn accept_scale(space: &Space, reason: &str) {
    let _ = space.run_args(&["accept", PIPELINE, "scale", "--reason", reason]).success().says(&["scale[by=1]: accepted"]);
}

fn what_was_accepted_is_withdrawn_by_making_it() {
    let space = space();
    let _ = space.run("run numbers.toml").success();
    space.replace("tools/scale.sh", "$1 * by", "$1 * by + 1");
    accept_scale(&space, "reformatted");
    let _ = space.run("run numbers.toml --name accepted").success().says(&["5 cached"]);
    let again = space.run("run numbers.toml --again scale").success();
    let _ = again.says(&["other bytes than the result that was accepted (table), which hold from now on", "1 cached, 4 ran"]);
    assert_eq!(space.read("results/total.tsv"), "sum\n261\n");
    let _ = space.run("log numbers.toml scale[by=1]").success().says(&["accepted by"]);
    // A run that met what was accepted still tells of that.
    for (run, values) in [("@accepted", "2\n4\n78\n"), ("@last", "3\n5\n79\n")] {
        let _ = space.run(&format!("export numbers.toml scale[by=2] out/{run} --run {run}")).success();
        let file = fs::read_dir(space.path(format!("out/{run}"))).unwrap().next().unwrap().unwrap().path();
        assert_eq!(fs::read_to_string(file).unwrap(), format!("number\n{values}"), "{run}");
    }
    let told = |words: &[&str]| drop(space.run("why numbers.toml scale[by=1]").success().says(words));
    told(&["cached, nothing that it depends on has changed"]);

    space.replace("tools/scale.sh", "echo \"scale", "echo  \"scale");
    accept_scale(&space, "reformatted");
    told(&["cached, accepted by"]);
    let again = space.run("run numbers.toml --again scale").success();
    let _ = again.says(&["the same bytes as before; it stands as made now, no longer as accepted", "2 cached, 3 ran"]);
    told(&["cached, nothing that it depends on has changed"]);
}

fn of_repeated_acceptances_every_reason_is_kept() {
    let space = space();
    let _ = space.run("run numbers.toml").success();
    let told = || space.run("show numbers.toml scale[by=1] --json").success().objects().remove(0);
    let made = told()["key"].clone();
    for (number, reason) in ["a comment", "a blank", "another name"].into_iter().enumerate() {
        space.write("tools/scale.sh", space.read("tools/scale.sh") + &format!("# {number}\n"));
        accept_scale(&space, reason);
    }
    let accepted = told()["accepted"].clone();
    assert_eq!((&accepted["from"], &accepted["before"]["before"]["reason"]), (&made, &"a comment".into()), "{accepted}");
    let short = &made.as_str().unwrap()[..12];
    let last = format!("another name (made under key {short})");
    let _ = space.run("why numbers.toml scale[by=1]").success().says(&[&last, ": a blank", ": a comment"]);
}
