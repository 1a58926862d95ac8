//! What a `command` gets and what it must leave: placeholders, environment, state, progress, and outputs that are what they say.

use crate::space::Space;
use libtest_mimic::Trial;

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        every_placeholder_is_filled,
        the_environment_is_what_is_listed,
        what_is_in_no_key_runs_nothing_again,
        a_state_folder_lasts_until_success,
        progress_is_passed_on,
        words_are_kept_and_silence_leaves_no_log,
        what_a_program_leaves_running_holds_nobody_up,
        what_a_program_leaves_running_reaches_no_other_result,
        every_command_finds_its_folder_empty,
        what_is_no_file_is_neither_read_nor_taken,
        outputs_are_what_they_say,
        people_s_data_stays_out_of_what_is_said_of_outputs,
    ]
}

/// A project with one stage `x` whose program is `sh tools/x.sh` with these further arguments and lines.
fn space(arguments: &str, more: &str, script: &str) -> Space {
    let space = Space::new();
    let text = format!(
        "[pipeline]\nname = \"x\"\n[axes]\nseed = [7]\n[source.raw]\npath = \"raw\"\nphi = false\n\
         [stage.x]\ncommand = [\"sh\", \"tools/x.sh\", \"{{outputs.out}}\", {arguments}]\nover = [\"seed\"]\n\
         inputs = {{ files = \"raw\" }}\noutputs = {{ out = \"table\" }}\ncode = [\"tools/x.sh\"]\n{more}\n"
    );
    space.write("x.toml", text);
    space.write("raw/a.txt", "1\n");
    space.write("tools/x.sh", script);
    space
}

fn every_placeholder_is_filled() {
    let arguments = r#""{inputs.files}", "{params_file}", "{device}", "{threads}", "{state}", "{seed}", "{{seed}}", "a b'\"\n$HOME""#;
    let script = r#"
printf 'ok\n' > "$1"
{ cat "$2/a.txt" || cat "$2"; cat "$3"; echo "device $4"; echo "threads $5"; test -d "$6" && echo state; echo "$7"; echo "$8"; printf '%s' "$9"; } > said.txt
"#;
    let space = space(arguments, "params = { C = 0.5, of = \"{seed}\" }\nneeds = { cpus = 2 }", script);
    space.run("run x.toml").success();
    let said = space.read("said.txt");
    for wanted in ["1\n", "\"C\": 0.5", "\"of\": 7", "\"seed\": 7", "\"coordinates\"", "device cpu", "threads 2", "state\n7\n{seed}\n"] {
        assert!(said.contains(wanted), "{wanted:?} is not in\n{said}");
    }
    assert!(said.ends_with("a b'\"\n$HOME"), "no shell touches the arguments:\n{said}");
}

fn the_environment_is_what_is_listed() {
    let more = "env = { MINE = \"yes\", LANG = \"C\" }\npolicy = { env = [\"TOKEN\", \"ABSENT\"] }";
    let space = space("\"x\"", more, "env | sort > said.txt\nprintf 'ok\\n' > \"$1\"\n");
    let mut command = space.command(crate::space::TOMOGRAPH);
    command.args(["run", "x.toml"]).env("TOKEN", "t").env("SECRET", "s");
    space.finish(&mut command).success();
    let said = space.read("said.txt");
    let names: Vec<&str> = said.lines().filter_map(|line| line.split_once('=')).map(|(name, _)| name).collect();
    for wanted in ["PATH", "HOME", "LANG", "MINE", "TOKEN", "TOMOGRAPH_PROGRESS"] {
        assert!(names.contains(&wanted), "{wanted} is not in\n{said}");
    }
    assert!(said.contains("LANG=C\n") && said.contains("TOKEN=t\n"), "{said}");
    assert!(!names.contains(&"SECRET") && !names.contains(&"ABSENT") && !names.contains(&"NO_COLOR"), "{said}");
}

fn what_is_in_no_key_runs_nothing_again() {
    let space = space("\"x\"", "env = { MINE = \"yes\" }\npolicy = { env = [\"TOKEN\"] }", "printf 'ok\\n' > \"$1\"\n");
    let run = |token: &str| {
        let mut command = space.command(crate::space::TOMOGRAPH);
        command.args(["run", "x.toml", "--json"]).env("TOKEN", token);
        space.finish(&mut command).success().tasks("ran").len()
    };
    assert_eq!([run("a"), run("b")], [1, 0], "what policy.env passes on is in no key");
    space.replace("x.toml", "\"yes\"", "\"no\"");
    assert_eq!([run("b"), run("b")], [1, 0], "what env sets is");
}

fn a_state_folder_lasts_until_success() {
    let script = "n=$(cat \"$2/n\" 2>/dev/null || echo 0)\necho $((n + 1)) > \"$2/n\"\n[ \"$n\" -ge 2 ] || exit 3\nprintf 'tries\\n%s\\n' \"$n\" > \"$1\"\n";
    let space = space("\"{state}\"", "publish = { out = \"tries-{seed}.tsv\" }", script);
    space.run("run x.toml").exits(1);
    space.run("run x.toml").exits(1);
    space.run("run x.toml").success();
    assert_eq!(space.read("tries-7.tsv"), "tries\n2\n");
    let left = std::fs::read_dir(space.path("cache/state")).unwrap().count();
    assert_eq!(left, 0, "the state goes once the result stands");
}

fn progress_is_passed_on() {
    let script = "for n in 1 2 3; do echo \"{\\\"done\\\": $n, \\\"of\\\": 3, \\\"text\\\": \\\"step $n\\\"}\" >> \"$TOMOGRAPH_PROGRESS\"; done\necho no json >> \"$TOMOGRAPH_PROGRESS\"\nprintf 'ok\\n' > \"$1\"\n";
    let space = space("\"x\"", "", script);
    let output = space.run("run x.toml --json").success();
    let steps: Vec<String> = output
        .objects()
        .iter()
        .filter(|object| object["event"] == "progress")
        .map(|object| format!("{} {}/{} {}", object["task"], object["done"], object["of"], object["text"]))
        .collect();
    assert_eq!(steps.last().map(String::as_str), Some("\"x[seed=7]\" 3/3 \"step 3\""), "{}", output.text());
}

fn words_are_kept_and_silence_leaves_no_log() {
    let space = space("\"x\"", "", "[ -e quiet ] || { seq 30000; echo oops >&2; }\nprintf 'ok\\n' > \"$1\"\n");
    let log = |line: &str| space.run(line).success().objects().into_iter().find(|object| object["event"] == "task").unwrap()["log"].clone();
    let path = log("run x.toml --json");
    let text = space.read(path.as_str().unwrap());
    assert!(text.starts_with("x[seed=7] started ") && text.contains("\nbecause first run\n1\n2\n"), "{text:.300}");
    assert!(text.contains("\n29999\n30000\noops\ndone in "), "{} bytes", text.len());
    space.write("quiet", "");
    assert_eq!(log("run x.toml --again x --json"), serde_json::Value::Null);
    assert!(!space.path(path.as_str().unwrap()).exists(), "what it said before is not what it said now");
}

fn what_a_program_leaves_running_holds_nobody_up() {
    let space = space("\"x\"", "", "setsid sleep 60 &\necho $! > pid\nprintf 'ok\\n' > \"$1\"\n");
    let begun = std::time::Instant::now();
    space.run("run x.toml").success();
    assert!(begun.elapsed().as_secs() < 30);
    let _ = space.command("kill").arg(space.read("pid").trim()).status();
}

fn what_a_program_leaves_running_reaches_no_other_result() {
    let script = "cd \"$(dirname \"$1\")\"\nprintf 'ok\\n' > out.tsv\n\
                  if [ ! -e \"$2/begun\" ]; then touch \"$2/begun\"; setsid sh -c 'sleep 1; echo evil > out.tsv; echo evil > evil.tsv' >/dev/null 2>&1 &\n\
                  else sleep 2; fi\n";
    let space = space("\"{root}\"", "", script);
    space.replace("x.toml", "{root}", &space.root().display().to_string());
    space.replace("x.toml", "seed = [7]", "seed = [1, 2]");
    space.run("run x.toml -j 1").success();
    for cell in ["x[seed=1]", "x[seed=2]"] {
        space.run_args(&["export", "x.toml", cell, cell]).success();
        assert_eq!(space.read(format!("{cell}/out.tsv")), "ok\n");
    }
}

/// Outputs, and the progress file, that lead elsewhere, never end or are never written to.
fn what_is_no_file_is_neither_read_nor_taken() {
    let (folder, link) = ("it is not the folder any more", "is a link or a special file");
    let wrong = [
        ("files", "rmdir \"$1\"; ln -s \"$PWD/raw\" \"$1\"", folder),
        ("files", "rmdir \"$1\"; echo x > \"$1\"", folder),
        ("files", "rm -r \"$1\"", folder),
        ("table", "mkfifo \"$1\"", link),
        ("table", "ln -s /dev/zero \"$1\"", link),
        ("model", "mkfifo \"$1/model.json\"", link),
        ("table", "mkfifo \"$TOMOGRAPH_PROGRESS\"; sleep 0.2", "there is no out.tsv"),
        ("table", "ln -s /dev/zero \"$TOMOGRAPH_PROGRESS\"; sleep 0.2", "there is no out.tsv"),
    ];
    for (artifact, script, message) in wrong {
        let space = space("\"x\"", "", script);
        space.replace("x.toml", "out = \"table\"", &format!("out = \"{artifact}\""));
        space.write("raw/large", [7; 70_000]);
        space.run("run x.toml").exits(1).says(&["output `out`", message]);
        assert_eq!(space.read("raw/large").len(), 70_000, "what a link leads to stays where it is");
    }
}

/// Ten cells, one after the other, each of which leaves what it likes beside and in its output.
fn every_command_finds_its_folder_empty() {
    let script = "out=$(dirname \"$1\")\n[ -z \"$(ls -A \"$out\")\" ] || exit 8\n[ \"$(ls -A \"$out/..\")\" = \"$(printf '.files\\nout')\" ] || exit 9\n\
                  echo \"$out\" >> folders\nprintf 'ok\\n' > \"$1\"\nmkdir \"$out/../more\"\necho x > \"$out/../.files/x\"\n\
                  [ \"$(wc -l < folders)\" != 4 ] || chmod 700 \"$out\" \"$out/..\"\n";
    let space = space("\"x\"", "", script);
    space.replace("x.toml", "seed = [7]", "seed = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]");
    space.run("run x.toml -j 1").success();
    let folders = space.read("folders");
    assert_eq!(folders.lines().collect::<std::collections::BTreeSet<_>>().len(), 10, "no path is used twice\n{folders}");
    assert_eq!(std::fs::read_dir(space.path("cache/tmp")).unwrap().count(), 0);
}

/// Runs a stage that declares `artifact` and leaves what the script writes to the folder or file `$1`.
fn leaves(artifact: &str, script: &str) -> crate::space::Output {
    let space = space("\"x\"", "", script);
    space.replace("x.toml", "out = \"table\"", &format!("out = \"{artifact}\""));
    space.run("run x.toml")
}

fn outputs_are_what_they_say() {
    let wrong = [
        ("table", "true", "there is no out.tsv"),
        ("table", "printf 'a\\tb\\n1\\n' > $1", "line 2 has 1 fields, the header 2"),
        ("cohort", "printf 'item\\tlabel\\n' > $1", "no column `subject`; the columns are item, label"),
        (
            "split",
            "printf 'item\\tsubject\\tlabel\\tset\\na\\tp\\t1\\ttrain\\nb\\tp\\t1\\ttest\\n' > $1/split.tsv",
            "this subject is in `test` and in `train`",
        ),
        (
            "predictions",
            "printf 'item\\tsubject\\tlabel\\tpredicted\\tscore_ill\\na\\tp\\t1\\t1\\t3\\n' > $1",
            "`score_ill` is not a number from 0 to 1",
        ),
        ("metrics", "echo '{\"role\": \"test\", \"n\": 3}' > $1", "there is no list `metrics`"),
        (
            "images",
            "printf 'item\\tfile\\tsubject\\tsession\\tview\\twidth\\theight\\na\\ta.png\\tp\\ts\\tPA\\t2\\t2\\n' > $1/index.tsv",
            "the `file` of line 2 is not there",
        ),
        ("arrays", "printf 'row\\titem\\tsubject\\tlabel\\n' > $1/rows.tsv", "there is no X.npy"),
        ("model", "echo '{}' > $1/model.json", "there is no model.safetensors"),
        ("figure", "echo no > $1", "out.svg is no SVG"),
    ];
    for (artifact, script, message) in wrong {
        leaves(artifact, script).exits(1).says(&["ended well, but output `out` is not", &format!("`{artifact}`"), message]);
    }
    let right = [
        ("metrics", "echo '{\"role\": \"test\", \"n\": 3, \"metrics\": [{\"name\": \"auc\", \"value\": 0.5}]}' > $1"),
        ("split", "printf 'item\\tsubject\\tlabel\\tset\\na\\tp\\t1\\ttrain\\n' > $1/split.tsv"),
        ("history", "printf 'epoch\\ttrain_loss\\n1\\t0.5\\n' > $1"),
        ("files", "echo x > $1/anything"),
    ];
    for (artifact, script) in right {
        leaves(artifact, script).success();
    }
}

fn people_s_data_stays_out_of_what_is_said_of_outputs() {
    let script = "printf 'item\\tsubject\\tlabel\\tset\\nDOE\\tDOE\\tDOE\\tDOE\\n' > $1/split.tsv";
    let output = leaves("split", script).exits(1).says(&["line 2: `set` is none of train, validation, test"]);
    assert!(!output.text().contains("DOE"), "{}", output.text());
}
