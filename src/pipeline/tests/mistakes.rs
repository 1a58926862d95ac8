//! Mistakes that have a message and a remedy of their own.

use super::*;

#[test]
fn what_the_command_line_lays_over_is_checked_as_the_file_is() {
    let messages = |overlay: &Overlay| -> Vec<String> {
        load(&format!("{HEAD}{STUDY}"), KINDS, overlay).problems.into_iter().map(|problem| problem.message).collect()
    };
    let axis = |values: &[&str]| {
        let values = values.iter().map(|value| (*value).to_owned()).collect();
        messages(&Overlay { axis: vec![("seed".into(), values)], ..Overlay::default() })
    };
    assert_eq!(axis(&["1", "7"]), [""; 0]);
    assert_eq!(axis(&[""]), ["--axis seed: no value is given"]);
    assert_eq!(axis(&["1", "", "2"]), ["--axis seed: `` can't be a value of an axis"]);
    assert_eq!(axis(&["*", "x]"]), ["*", "x]"].map(|text| format!("--axis seed: `{text}` can't be a value of an axis")));
    for twice in [["1", "1"], ["1", "1.0"], ["1", "\"1\""], ["7", "7"]] {
        assert_eq!(axis(&twice), [format!("--axis seed: the value `{}` is given twice", twice[0])]);
    }
    let set = |value: &str| messages(&Overlay { set: vec![("stage.train.params.name".into(), value.into())], ..Overlay::default() });
    assert_eq!(set("plain words"), [""; 0]);
    assert_eq!(set("\"in quotes\""), [""; 0]);
    for broken in ["[9", "{ a = 1", "\"q", "'q"] {
        let found = set(broken);
        assert!(found.len() == 1 && found[0].starts_with("--set stage.train.params.name: `"), "{found:?}");
        assert!(found[0].contains("is no TOML value: "), "{found:?}");
    }
}

#[test]
fn a_text_is_told_from_the_number_that_prints_alike() {
    let about_axis = |text: &str| {
        let problems = load(text, KINDS, &Overlay::default()).problems;
        problems.into_iter().find(|problem| problem.message.starts_with("axis")).unwrap()
    };
    let text = format!("{HEAD}{STUDY}override = [{{ where = {{ seed = \"1\" }}, params = {{ batch = 1 }} }}]\n");
    let problem = about_axis(&text);
    assert_eq!((problem.message.as_str(), problem.help.as_deref()), ("axis `seed` has no value `\"1\"`", Some("did you mean `1`?")));
    let text = text.replace("[1, 2, 10]", "[\"1\", \"2\"]").replace("seed = \"1\" }", "seed = 1 }");
    let problem = about_axis(&text);
    assert_eq!((problem.message.as_str(), problem.help.as_deref()), ("axis `seed` has no value `1`", Some("did you mean `\"1\"`?")));
}

#[test]
fn a_long_circle_is_told_by_its_beginning() {
    let circle = |length: usize| -> String {
        let stage = |number: usize| {
            let before = (number + length - 1) % length;
            format!("[stage.s{number}]\ncommand = [\"a\"]\ninputs = {{ x = \"s{before}\" }}\noutputs = {{ y = \"table\" }}\n")
        };
        format!("[pipeline]\nname = \"t\"\n{}", (0..length).map(stage).collect::<String>())
    };
    let told = |length: usize| {
        let problems = load(&circle(length), KINDS, &Overlay::default()).problems;
        let problem = problems.into_iter().find(|problem| problem.message.contains("circle")).unwrap();
        (problem.message, 1 + problem.also.len())
    };
    assert_eq!(told(3), ("stages wait for each other in a circle: s0 → s1 → s2 → s0".into(), 3));
    let (message, marks) = told(1000);
    assert!(message.starts_with("stages wait for each other in a circle of 1000 stages: s0 → s1 → s2 → "), "{message}");
    assert!(message.ends_with(" → s11 → … → s0") && marks < 12, "{message}: {marks}");
}

#[test]
fn a_kind_or_command_that_cannot_be_read_is_one_mistake_and_hides_no_other() {
    let broken = |line: &str| errors(&format!("{HEAD}{STUDY}[stage.last]\n{line}\ninputs = {{ train = \"pakc\" }}\n"));
    let found = broken("kind = 5");
    assert!(found.len() == 2 && found[1] == "there is no stage or source `pakc`" && found[0].contains("expected a string"), "{found:?}");
    let found = broken("command = \"echo hi\"\noutputs = { table = \"tabel\" }");
    assert!(found.len() == 3 && found[0].contains("expected a list") && found[1] == "unknown artifact `tabel`", "{found:?}");
    let found = broken("command = [\"a\"]\noutputs = \"table\"");
    assert!(found.len() == 2 && found[0].contains("expected a table"), "{found:?}");
}

#[test]
fn a_mistyped_placeholder_of_a_command_has_its_remedy() {
    let help = |placeholder: &str| {
        let stage = "[stage.last]\ninputs = { s = \"import\" }\noutputs = { table = \"table\" }\nover = [\"seed\"]\n";
        let text = format!("{HEAD}{STUDY}{stage}command = [\"p\", \"{placeholder}\", \"{{outputs.table}}\"]\n");
        let problem = load(&text, KINDS, &Overlay::default()).problems.remove(0);
        assert_eq!(problem.message, format!("unknown placeholder `{placeholder}`"));
        problem.help.unwrap_or_default()
    };
    for (written, meant) in [
        ("{param_file}", "params_file"),
        ("{thread}", "threads"),
        ("{input.s}", "inputs.s"),
        ("{output.table}", "outputs.table"),
        ("{sede}", "seed"),
    ] {
        assert_eq!(help(written), format!("did you mean `{meant}`?"));
    }
    assert_eq!(help("{other}"), "known: `seed`, `params_file`, `threads`, `device`, `state`, `inputs.s` and `outputs.table`");
}

#[test]
fn a_published_path_with_a_dot_is_told_from_one_outside() {
    let published = |path: &str| {
        let text = format!("{HEAD}{STUDY}publish = {{ model = \"{path}\" }}\n").replace("\"all\"", "\".\"");
        let problem = load(&text, KINDS, &Overlay::default()).problems.remove(0);
        (problem.message, problem.help.unwrap_or_default())
    };
    let dots = "a published path is named without `.` and `//`";
    assert_eq!(published("./a/x.pt"), (dots.into(), "write `a/x.pt`".into()));
    assert_eq!(published("a//x.pt"), (dots.into(), "write `a/x.pt`".into()));
    assert_eq!(published("../x.pt").0, "a published path is relative to the project root and stays inside it");
    let message = format!("train[backbone=a,region=.,seed=1] publishes `out/./1-a`, and {dots}");
    assert_eq!(published("out/{region}/{seed}-{backbone}").0, message);
}
