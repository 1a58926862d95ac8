//! What helps at the keyboard: `init`, `try`, `doctor`, `schema`, completions.

use crate::space::{Output, Space, TOMOGRAPH};
use crate::study::png;
use crate::{Need, numbers};
use libtest_mimic::Trial;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        every_template_is_a_pipeline,
        the_command_template_runs_as_it_is,
        the_images_template_runs_on_what_it_asks_for,
        init_changes_nothing_that_is_there,
        a_kind_is_tried_on_plain_files,
        a_wrong_trial_says_what_is_wrong,
        a_sound_machine_has_nothing_essential_wrong,
        what_is_wrong_with_a_machine_has_a_remedy,
        the_schema_is_printed,
        the_schema_of_a_pipeline_has_its_references,
        words_are_completed,
        bash_asks_for_words: [Need::Program("bash", "bash")],
        fish_asks_for_words: [Need::Program("fish", "fish")],
        zsh_asks_for_words: [Need::Program("zsh", "zsh")],
    ]
}

fn every_template_is_a_pipeline() {
    let space = Space::new();
    for template in ["images", "dicom", "command"] {
        space.run(&format!("init x-{template} --template {template}")).success().says(&[&format!("wrote x-{template}.toml")]);
        let output = space.run(&format!("check x-{template}.toml")).success();
        assert!(output.stderr.is_empty(), "{}", output.text());
        assert!(!space.read(format!("x-{template}.toml")).contains('@'), "nothing is left to be filled in");
    }
}

fn the_command_template_runs_as_it_is() {
    let space = Space::new();
    fs::remove_file(space.path("tomograph.toml")).unwrap();
    space.run("init mine --template command").success().says(&["wrote tomograph.toml", "wrote .gitignore", "tomograph check mine.toml"]);
    space.run("run mine.toml").success();
    assert!(space.read("results/mine-30.tsv").starts_with("least\tcount\n30\t"));
    assert_eq!(space.run("run mine.toml --json").success().tasks("ran").len(), 0);
    assert!(space.read(".gitignore").contains("/cache\n") && space.read("tomograph.toml").contains("id = \"mine\""));
    // In a folder of the project, paths still begin at its root.
    fs::create_dir(space.path("deep")).unwrap();
    let mut command = space.command(TOMOGRAPH);
    command.args(["init", "second", "--template", "command"]).current_dir(space.path("deep"));
    space.finish(&mut command).success().says(&["tomograph check deep/second.toml"]);
    space.run("run deep/second.toml").success();
}

fn the_images_template_runs_on_what_it_asks_for() {
    let space = Space::new();
    space.run("init study").success();
    let mut table = "file,subject,view,label\n".to_owned();
    for patient in 0..24 {
        table += &format!("{patient}.png,p{patient},PA,{}\n", if patient % 2 == 0 { "ill" } else { "well" });
        space.write(format!("data/images/{patient}.png"), png(patient % 2 == 0, patient));
    }
    space.write("data/images/table.csv", table);
    space.run("run study.toml --only pack --axis seed=1 --set stage.prepare.params.size=32").success();
}

fn init_changes_nothing_that_is_there() {
    let space = Space::new();
    space.write("x.toml", "mine");
    space.run("init x").exits(2).says(&["x.toml is there already"]);
    assert_eq!(space.read("x.toml"), "mine");
    space.write("tools/y.sh", "mine");
    space.run("init y --template command").exits(2).says(&["tools/y.sh is there already"]);
    assert!(!space.path("y.toml").exists());
    for name in ["X", "a.b", "../z", ""] {
        space.run_args(&["init", name]).exits(2).says(&["is no name"]);
    }
    fs::remove_file(space.path("tomograph.toml")).unwrap();
    space.write(".gitignore", "mine\n");
    space.run("init z").success().says(&["left .gitignore as it is"]);
    assert_eq!(space.read(".gitignore"), "mine\n");
}

fn a_kind_is_tried_on_plain_files() {
    let space = Space::new();
    space.write("pictures/a.png", png(true, 1));
    space.write("pictures/b.png", "no picture");
    space.write("pictures/table.csv", "file,subject,view,label\na.png,p,PA,ill\nb.png,q,PA,well\n");
    let import = "try images.import --in files=pictures --in table=pictures/table.csv --out one";
    space.run(import).exits(3).says(&["one/images: images, 3 files", "2 items, 1 in quarantine"]);
    assert!(space.read("one/images/index.tsv").contains("a.png"));
    space.run(import).exits(2).says(&["one is not empty"]);
    // What one gives, another takes.
    space.run("try images.prepare --in images=one/images --set size=16 --out two").success().says(&["two/images"]);
    assert!(space.read("two/images/index.tsv").contains("\t16\t16"), "{}", space.read("two/images/index.tsv"));
    space.run("try demo.phantom --set patients=1 --set seed=1 --set side=32 --out three").success();
    let names = |path: &str| fs::read_dir(space.path(path)).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>();
    assert!(names("three").iter().any(|name| name == "files"));
    assert!(!space.path("cache").exists(), "no store is left");
}

fn a_wrong_trial_says_what_is_wrong() {
    let space = Space::new();
    fs::create_dir(space.path("empty")).unwrap();
    let wrong = |line: &str, words: &[&str]| {
        let output = space.run(&format!("{line} --out out")).exits(2).says(words);
        assert!(!output.text().contains("stage.try") && !space.path("out").exists(), "{}", output.text());
    };
    wrong("try images.prepar", &["unknown kind `images.prepar`", "did you mean `images.prepare`?"]);
    wrong("try images.prepare", &["`images.prepare` has no input `images`"]);
    wrong("try images.prepare --in image=empty", &["has no input `image`", "did you mean `images`?"]);
    wrong("try images.prepare --in images=nothing", &["--in images=nothing: there is nothing at nothing"]);
    wrong("try images.prepare --in images", &["--in images has no `=`"]);
    wrong("try images.prepare --in images=empty --set sise=3", &["has no param `sise`", "did you mean `size`?"]);
    wrong("try images.prepare --in images=empty --set size=big", &["--set size=big", "a whole number"]);
}

/// `doctor` with this script as the program that trains, or none.
fn doctor(space: &Space, trainer: Option<&str>) -> Output {
    // A copy, so that no program that trains lies beside it. Another process writes what is run: while a thread of this one holds a file
    // open for writing, any other may start a child that inherits it, and then it is busy.
    let program = space.home().join("tomograph");
    let folder = space.home().join("bin");
    fs::create_dir_all(&folder).unwrap();
    let make = |script: &str, place: &std::path::Path, what: &str| {
        assert!(std::process::Command::new("sh").args(["-c", script]).arg(place).arg(what).status().unwrap().success());
    };
    if !program.exists() {
        make("cp \"$1\" \"$0\"", &program, TOMOGRAPH);
    }
    let mut command = space.command(&program);
    command.args(["doctor", "--json"]);
    if let Some(script) = trainer {
        make("printf '#!/bin/sh\\n%s\\n' \"$1\" > \"$0\" && chmod 755 \"$0\"", &folder.join("tomograph-torch"), script);
    }
    command.env("PATH", format!("{}:/usr/bin:/bin", folder.display()));
    space.finish(&mut command)
}

/// State, finding and remedy of one thing.
fn finding(output: &Output, what: &str) -> [String; 3] {
    let found = output.objects().into_iter().find(|object| object["what"] == what);
    let found = found.unwrap_or_else(|| panic!("nothing is said of {what}\n{}", output.text()));
    ["state", "finding", "remedy"].map(|key| found[key].as_str().unwrap_or_default().to_owned())
}

fn a_sound_machine_has_nothing_essential_wrong() {
    let space = Space::new();
    let output = doctor(&space, None).success();
    for what in ["program", "project", "training", "devices", "codecs", "store", "disk", "file system", "index", "clock"] {
        let [state, text, remedy] = finding(&output, what);
        assert!(state != "wrong" && !text.is_empty() && (state == "ok") == remedy.is_empty(), "{what}: {state} {text} {remedy}");
    }
    assert!(!space.path("cache").exists(), "looking makes no store");
    let left: Vec<_> = fs::read_dir(space.root()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["tomograph.toml"], "nothing is left behind");
    space.run("doctor").says(&["program", "tomograph 0.", "file system", "free"]);
}

fn what_is_wrong_with_a_machine_has_a_remedy() {
    let space = Space::new();
    let wrong = |output: &Output, what: &str, words: &[&str]| {
        let [state, text, remedy] = finding(output, what);
        assert_eq!(state, "wrong", "{what}: {text}");
        assert!(words.iter().all(|word| text.contains(word) || remedy.contains(word)) && !remedy.is_empty(), "{what}: {text} {remedy}");
    };
    wrong(&doctor(&space, Some("echo tomograph-torch 0.0.1-other")).exits(1), "training", &["of build 0.0.1-other", "make build"]);
    let broken = "echo libtorch_cpu.so: cannot open shared object file >&2; exit 127";
    wrong(&doctor(&space, Some(broken)).exits(1), "training", &["cannot load libtorch", "libtorch_cpu.so", "make build"]);
    let version = space.run("--version").success().stdout;
    let good = format!("echo {}", version.trim());
    assert_eq!(finding(&doctor(&space, Some(&good)).success(), "training")[0], "ok");
    space.write("tomograph.local.toml", "stroe = \"x\"\n");
    wrong(&doctor(&space, Some(&good)).exits(1), "project", &["tomograph.local.toml", "stroe"]);
    space.write("tomograph.local.toml", "store = \"/proc/none\"\n");
    let output = doctor(&space, Some(&good)).exits(1);
    assert!(output.objects().iter().any(|object| object["what"] == "store" && object["state"] == "wrong"), "{}", output.text());
    fs::remove_file(space.path("tomograph.local.toml")).unwrap();
    space.run("init x --template command").success();
    space.run("run x.toml --only patients").success();
    fs::set_permissions(space.path("cache"), fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(finding(&doctor(&space, Some(&good)).success(), "store")[0], "warning");
    assert_eq!(finding(&doctor(&space, Some(&good)).success(), "store")[0], "ok", "it was closed");
    fs::remove_file(space.path("cache/VERSION")).unwrap();
    space.write("cache/VERSION", "tomograph store 9\n");
    wrong(&doctor(&space, Some(&good)).exits(1), "store", &["store 9", "build the tomograph that made it"]);
}

fn the_schema_is_printed() {
    let there = fs::read_to_string("pipelines/pipeline.schema.json").unwrap();
    assert!(Space::new().run("schema").success().stdout == there, "another text than the file");
}

fn the_schema_of_a_pipeline_has_its_references() {
    let space = Space::new();
    space.run("init x").success();
    let text = space.run("schema x.toml").success().stdout;
    let schema: serde_json::Value = serde_json::from_str(&text).unwrap();
    let port = |kind: &str, port: &str| {
        let place = &schema["definitions"][kind]["properties"]["inputs"]["properties"][port];
        assert!(place["anyOf"].as_array().unwrap().iter().any(|one| one["type"] == "string"), "selectors are written by hand: {place}");
        place["anyOf"][0]["enum"].to_string()
    };
    assert_eq!(port("images.prepare", "images"), r#"["import","import.images","prepare","prepare.images"]"#);
    assert_eq!(port("images.import", "files"), r#"["pictures"]"#);
    assert_eq!(port("classifier.evaluate", "model"), r#"["train","train.model"]"#);
    space.replace("x.toml", "\"images.prepare\"", "\"images.prepar\"");
    space.run("schema x.toml").exits(2).says(&["x.toml has mistakes: `tomograph check` shows them"]);
}

fn words_are_completed() {
    let space = numbers::space();
    let after = |words: &[&str]| -> Vec<String> {
        let arguments: Vec<&str> = ["complete", "--"].iter().chain(words).copied().collect();
        space.run_args(&arguments).success().stdout.lines().map(str::to_owned).collect()
    };
    assert_eq!(after(&["pl"]), ["plan"]);
    assert!(after(&[""]).contains(&"run".to_owned()) && !after(&[""]).contains(&"work".to_owned()));
    assert_eq!(after(&["run", "numbers.toml", "--only", "sc"]), ["scale", "scale[by=1]", "scale[by=2]", "scale[by=3]"]);
    assert_eq!(after(&["why", "numbers.toml", "g"]), ["gather"]);
    assert_eq!(after(&["show", "numbers.toml", "t"]), ["total"]);
    assert_eq!(after(&["run", "--only", "total", "numbers.toml", "--ov"]), ["--overwrite"]);
    assert_eq!(after(&["run", "numbers.toml", "--axis", "by=2"]), ["by=2"]);
    assert_eq!(after(&["kinds", "cohort.l"]), ["cohort.label"]);
    assert_eq!(after(&["try", "images.prepare", "--in", ""]), ["images="]);
    assert_eq!(after(&["try", "images.prepare", "--set", "s"]), ["size="]);
    assert_eq!(after(&["init", "x", "--template", "d"]), ["dicom"]);
    assert_eq!(after(&["completions", ""]), ["bash", "fish", "zsh"]);
    // The shell completes files; a broken pipeline still has its stages.
    assert!(after(&["run", "num"]).is_empty() && after(&["nonsense", ""]).is_empty() && after(&["why", "absent.toml", ""]).is_empty());
    space.replace("numbers.toml", "over    = [\"by\"]", "over    = [\"bye\"]");
    assert_eq!(after(&["why", "numbers.toml", ""]), ["gather", "scale", "total"]);
}

/// What a shell prints that has loaded its completions and does `script`.
fn completed(shell: &str, script: &str) -> String {
    let space = numbers::space();
    let completions = space.run(&format!("completions {shell}")).success().stdout;
    space.write("completions", completions);
    let folder = std::path::Path::new(TOMOGRAPH).parent().unwrap().display().to_string();
    let mut command = space.command(shell);
    command.args(["-c", script]).env("PATH", format!("{folder}:/usr/bin:/bin"));
    space.finish(&mut command).success().stdout
}

fn bash_asks_for_words() {
    let line = "COMP_LINE='tomograph why numbers.toml scale[by='; COMP_POINT=${#COMP_LINE}; COMP_WORDS=(tomograph why numbers.toml 'scale[by' '='); \
                COMP_CWORD=4; _tomograph; printf '%s\\n' \"${COMPREPLY[@]}\"";
    assert_eq!(completed("bash", &format!("set -eu; . ./completions; {line}")), "1]\n2]\n3]\n");
}

fn fish_asks_for_words() {
    let cells = completed("fish", "source ./completions; complete -C 'tomograph why numbers.toml scale'");
    assert_eq!(cells, "scale\nscale[by=1]\nscale[by=2]\nscale[by=3]\n");
    assert_eq!(completed("fish", "source ./completions; complete -C 'tomograph pl'"), "plan\n");
}

fn zsh_asks_for_words() {
    // A word as it stands on the line, quoted; what is found is quoted by `compadd`.
    let line = "compdef() { }; compadd() { shift; print -l -- $@ }; _files() { print files }; source ./completions; CURRENT=4; \
                words=(tomograph why numbers.toml 'scale\\[by'); _tomograph; words=(tomograph why numbers.toml nothing); _tomograph";
    assert_eq!(completed("zsh", line), "scale[by=1]\nscale[by=2]\nscale[by=3]\nfiles\n");
}
