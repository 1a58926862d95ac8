//! Commands with `map`: a process per item, each result kept alone.

use crate::numbers::ran;
use crate::space::Space;
use crate::study::png;
use libtest_mimic::Trial;
use std::fs;

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        each_item_is_treated_once,
        a_program_sees_the_file_and_nothing_else_of_the_item,
        a_process_for_an_item_has_one_thread,
        rows_of_all_items_become_one_table,
        what_a_program_leaves_is_checked,
        a_failure_costs_what_had_not_ended,
        studies_keep_their_places,
        a_plan_counts_the_items_that_nobody_has_treated,
    ]
}

const TEXT: &str = r#"
[pipeline]
name = "x"

[source.pictures]
path = "pictures"
phi  = false

[source.offset]
path = "offset.txt"
phi  = false

[stage.import]
kind   = "images.import"
inputs = { files = "pictures", table = "pictures/table.csv" }

[stage.copy]
command = ["sh", "tools/x.sh", "{inputs.images}", "{outputs.out}", "{inputs.offset}"]
inputs  = { images = "import", offset = "offset" }
outputs = { out = "images" }
map     = "images"
code    = ["tools/x.sh"]
"#;

/// A program `tools/x.sh` for each of so many pictures; it gets the picture, its output and `offset.txt`.
pub(crate) fn space(script: &str, pictures: u32) -> Space {
    let space = Space::new();
    space.write("x.toml", TEXT);
    space.write("offset.txt", "1\n");
    space.write("tools/x.sh", script);
    fs::create_dir(space.path("pictures")).unwrap();
    (0..pictures).for_each(|number| space.write(format!("pictures/{number}.png"), png(true, number)));
    list(&space);
    space
}

/// Writes the table of the pictures that are there.
fn list(space: &Space) {
    let mut names: Vec<String> =
        fs::read_dir(space.path("pictures")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| name.ends_with(".png"));
    names.sort();
    let rows: String = names.iter().map(|name| format!("{name},p-{name},PA,ill\n")).collect();
    space.write("pictures/table.csv", format!("file,subject,view,label\n{rows}"));
}

const COPY: &str = "echo one >> ran.txt\ncp \"$1\" \"$2\"\n";

fn each_item_is_treated_once() {
    let space = space(COPY, 3);
    let run = |why: &str, expected: usize| {
        space.run("run x.toml").success();
        assert_eq!(ran(&space).len(), expected, "{why}");
    };
    run("all at first", 3);
    run("nothing", 0);
    space.write("pictures/3.png", png(false, 3));
    list(&space);
    run("the new one", 1);
    fs::rename(space.path("pictures/1.png"), space.path("pictures/one.png")).unwrap();
    list(&space);
    run("none for another name", 0);
    let output = space.run("show x.toml copy").success();
    assert!(output.stdout.contains("one.png") && output.stdout.contains("p-one.png"), "{}", output.text());
    fs::remove_file(space.path("pictures/0.png")).unwrap();
    list(&space);
    run("none for one that is gone", 0);
    space.write("offset.txt", "2\n");
    run("all: a whole port is another", 3);
    space.write("tools/x.sh", format!("{COPY}# other code\n"));
    run("all: the code is another", 3);
    space.replace("x.toml", "\"{inputs.offset}\"]", "\"{inputs.offset}\", \"more\"]");
    run("all: the arguments are others", 3);
}

fn a_program_sees_the_file_and_nothing_else_of_the_item() {
    let space = space("echo \"${1##*/} ${2##*/} $(ls \"${1%/*}\")\" >> seen.txt\ncp \"$1\" \"$2\"\n", 2);
    space.run("run x.toml").success();
    assert_eq!(space.read("seen.txt"), "item.png item.png item.png\n".repeat(2));
}

fn a_process_for_an_item_has_one_thread() {
    let space = space("echo \"$4\" >> threads.txt\ncp \"$1\" \"$2\"\n", 2);
    space.replace("x.toml", "\"{inputs.offset}\"]", "\"{inputs.offset}\", \"{threads}\"]\nneeds = { cpus = 2 }");
    space.run("run x.toml").success();
    assert_eq!(space.read("threads.txt"), "1\n1\n");
}

fn rows_of_all_items_become_one_table() {
    let space = space("n=$(wc -c < \"$1\")\nprintf 'what\\tbytes\\nall\\t%s\\nagain\\t%s\\n' $n $n > \"$2\"\n", 2);
    space.replace("x.toml", "out = \"images\" }", "out = \"table\" }\npublish = { out = \"out.tsv\" }");
    space.run("run x.toml").success();
    let table = space.read("out.tsv");
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!((lines[0], lines.len()), ("item\tsubject\tsession\twhat\tbytes", 5), "{table}");
    assert!(lines[1].starts_with("0.png\tp-0.png\t\tall\t") && lines[4].starts_with("1.png\tp-1.png\t\tagain\t"), "{table}");
    space.write("tools/x.sh", "printf 'item\\n1\\n' > \"$2\"\n");
    space.run("run x.toml").exits(1).says(&["out.tsv has a column `item`, which is added for every item"]);
    space.write("tools/x.sh", "printf \"$(cksum < \"$1\" | cut -d' ' -f1)\\n1\\n\" > \"$2\"\n");
    space.run("run x.toml").exits(1).says(&["gave other columns than the first"]);
}

fn what_a_program_leaves_is_checked() {
    let space = space("true\n", 1);
    let wrong = |words: &[&str]| space.run("run x.toml").exits(1).says(&["item 0.png", "output `out` is not"]).says(words);
    wrong(&["there is no item.png"]);
    space.write("tools/x.sh", "echo x > \"$2\"\n");
    wrong(&["item.png: it is no PNG"]);
    space.write("tools/x.sh", COPY);
    space.replace("x.toml", "out = \"images\"", "out = \"masks\"");
    wrong(&["item.png: a mask holds 0 and 255 only"]);
}

fn a_failure_costs_what_had_not_ended() {
    let space = space("[ -e broken ] && [ \"$(wc -l < ran.txt)\" -ge 2 ] && exit 9\necho one >> ran.txt\ncp \"$1\" \"$2\"\n", 4);
    space.write("broken", "");
    space.write("ran.txt", "");
    let output = space.run("run x.toml -j 1 --json").exits(1).says(&["item ", "exit status: 9"]);
    assert_eq!(output.summary()["items_ran"], 4 + 2, "all of `import`, and what `copy` kept\n{}", output.text());
    fs::remove_file(space.path("broken")).unwrap();
    assert_eq!(ran(&space).len(), 2);
    space.run("run x.toml").success().says(&["ran copy"]);
    assert_eq!(ran(&space).len(), 2, "what had ended is not done again");
}

fn studies_keep_their_places() {
    let space = space(COPY, 0);
    space.write(
        "x.toml",
        "[pipeline]\nname = \"x\"\n[stage.phantom]\nkind = \"demo.phantom\"\nparams = { patients = 2, seed = 1, side = 32 }\n\
         [stage.import]\nkind = \"dicom.import\"\ninputs = { files = \"phantom.files\" }\n\
         [stage.copy]\ncommand = [\"sh\", \"tools/x.sh\", \"{inputs.studies}\", \"{outputs.studies}\"]\ninputs = { studies = \"import\" }\n\
         outputs = { studies = \"studies\" }\nmap = \"studies\"\n\
         [stage.render]\nkind = \"dicom.render\"\ninputs = { studies = \"copy\" }\n",
    );
    space.run("run x.toml").success();
    assert!(!ran(&space).is_empty());
    let files = |reference: &str| {
        let mut lines: Vec<String> = space.run(&format!("show x.toml {reference} --json")).success().objects()[0]["files"]
            .as_array()
            .unwrap()
            .iter()
            .map(|file| file["name"].to_string())
            .collect();
        lines.sort();
        lines
    };
    assert_eq!(files("import"), files("copy"));
}

fn a_plan_counts_the_items_that_nobody_has_treated() {
    let space = space("sleep 0.2; cp \"$1\" \"$2\"\n", 8);
    let planned = || {
        let plan = space.run("plan x.toml --json").success().objects();
        let copy = plan.into_iter().find(|one| one["task"] == "copy").unwrap();
        (copy["state"].as_str().unwrap().to_owned(), copy["items"].clone(), copy["seconds"].as_f64())
    };
    space.run("run x.toml -j 1").success();
    let took = space.run("show x.toml copy --json").success().objects()[0]["seconds"].as_f64().unwrap();
    let first = "run".to_owned();
    // Half of them other pictures: what they take is half of what all took.
    (0..4).for_each(|number| space.write(format!("pictures/{number}.png"), png(false, 50 + number)));
    space.run("run x.toml --only import").success();
    let (state, items, seconds) = planned();
    assert_eq!((&state, &items), (&first, &serde_json::json!({ "untreated": 4, "all": 8 })));
    let half = seconds.unwrap();
    assert!((half - took / 2.0).abs() < 0.01 * took, "{half} of {took}");
    space.run("plan x.toml").success().says(&["4 of 8 items not treated before"]);
    space.run("run x.toml -j 1").success();
    // One more: the rate is that of the run with most items, not of the last one.
    space.write("pictures/8.png", png(false, 90));
    list(&space);
    space.run("run x.toml --only import").success();
    let (_, items, seconds) = planned();
    assert_eq!(items, serde_json::json!({ "untreated": 1, "all": 9 }));
    assert!((seconds.unwrap() - took / 8.0).abs() < 0.01 * took, "{seconds:?} of {took}");
    // A picture less: nothing is to be treated.
    fs::remove_file(space.path("pictures/8.png")).unwrap();
    space.write("pictures/7.png", png(true, 6));
    list(&space);
    space.run("run x.toml --only import").success();
    let (state, items, seconds) = planned();
    assert_eq!((&state, &items["untreated"], seconds), (&first, &0.into(), Some(0.0)));
}
