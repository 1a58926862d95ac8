//! Sweeps as they grow and shrink: which cells run, what is gathered, and what becomes of the rest.

use crate::laws::{agree, planned, try_all};
use crate::numbers::{PIPELINE, ran, space};
use crate::space::Space;
use libtest_mimic::Trial;
use proptest::prelude::*;
use std::collections::BTreeSet;

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        a_value_more_runs_its_cells_and_a_value_fewer_the_gather,
        what_a_value_left_can_be_collected,
        a_gather_of_one_axis_is_a_task_for_each_value_of_the_other,
        truth_values_are_values,
        an_axis_of_a_million_values,
        a_plan_of_any_sweep_equals_what_then_runs,
    ]
}

fn a_value_more_runs_its_cells_and_a_value_fewer_the_gather() {
    let space = space();
    space.run("run numbers.toml").success();
    let run = |axis: &str| {
        let text = space.read(PIPELINE);
        let line = text.lines().find(|line| line.starts_with("by = ")).unwrap().to_owned();
        space.replace(PIPELINE, &line, &format!("by = {axis}"));
        space.run("run numbers.toml --json").success().tasks("ran")
    };
    assert_eq!(run("[1, 2, 3, 4]"), ["scale[by=4]", "total"]);
    assert_eq!(run("[2, 1]"), ["total"]);
    assert_eq!(space.read("results/total.tsv"), "sum\n126\n");
    assert_eq!(run("[3, 2, 1]"), [""; 0], "as before; the order says nothing");
}

fn what_a_value_left_can_be_collected() {
    let space = space();
    space.run("run numbers.toml").success();
    space.replace(PIPELINE, "by = [1, 2, 3]", "by = [1, 2]");
    space.run("run numbers.toml").success();
    // The cell, and the gather that had it.
    let look = space.run("cache gc --dry-run --json --keep-last 1 --spare 0s").success().objects();
    assert_eq!(look[0]["frees"]["results"], 2, "{}", look[0]);
    space.run("cache gc --keep-last 1 --spare 0s").success();
    assert_eq!(space.run("run numbers.toml --json").success().tasks("ran"), [""; 0]);
    space.replace(PIPELINE, "by = [1, 2]", "by = [1, 2, 3]");
    assert_eq!(space.run("run numbers.toml --json").success().tasks("ran"), ["scale[by=3]", "total"]);
}

const TWO: &str = r#"[pipeline]
name = "two"

[axes]
a = [1, 2]
b = ["x", "y"]

[stage.plain]
command = ["sh", "-c", "printf 'n\n0\n' > $0", "{outputs.table}"]
outputs = { table = "table" }

[stage.cell]
over    = ["a", "b"]
command = ["sh", "-c", "printf 'n\n%s\n' $1 > $0", "{outputs.table}", "{a}{b}"]
inputs  = { all = "plain" }
outputs = { table = "table" }

[stage.column]
command = ["sh", "-c", "cat $1/parts.tsv $1/*/table.tsv > $0/all", "{outputs.table}", "{inputs.cells}"]
inputs  = { cells = "cell[a=*]" }
outputs = { table = "files" }

[stage.picked]
command = ["cp", "-r", "{inputs.cell}", "{outputs.table}"]
inputs  = { cell = "cell[a=2]" }
outputs = { table = "table" }
publish = { table = "results/{b}.tsv" }
"#;

fn a_gather_of_one_axis_is_a_task_for_each_value_of_the_other() {
    let space = Space::new();
    space.write("two.toml", TWO);
    let ran = |output: crate::space::Output| output.tasks("ran");
    assert_eq!(
        ran(space.run("run two.toml --json").success()),
        [
            "cell[a=1,b=x]",
            "cell[a=1,b=y]",
            "cell[a=2,b=x]",
            "cell[a=2,b=y]",
            "column[b=x]",
            "column[b=y]",
            "picked[b=x]",
            "picked[b=y]",
            "plain"
        ]
    );
    assert_eq!((space.read("results/x.tsv"), space.read("results/y.tsv")), ("n\n2x\n".to_owned(), "n\n2y\n".to_owned()));
    space.replace("two.toml", "a = [1, 2]", "a = [1, 2, 3]");
    assert_eq!(
        ran(space.run("run two.toml --json").success()),
        ["cell[a=3,b=x]", "cell[a=3,b=y]", "column[b=x]", "column[b=y]"],
        "what was picked is what it was"
    );
    space.replace("two.toml", "b = [\"x\", \"y\"]", "b = [\"y\", \"z\"]");
    assert_eq!(
        ran(space.run("run two.toml --json").success()),
        ["cell[a=1,b=z]", "cell[a=2,b=z]", "cell[a=3,b=z]", "column[b=z]", "picked[b=z]"]
    );
}

fn truth_values_are_values() {
    let space = Space::new();
    space.write(
        "x.toml",
        "[pipeline]\nname = \"x\"\n[axes]\nmasked = [true, false]\n[stage.s]\nover = [\"masked\"]\n\
         command = [\"sh\", \"-c\", \"grep -q \\\"\\\\\\\"masked\\\\\\\": $1\\\" $2 && printf 'n\\n1\\n' > $0 && echo $1 >> ran.txt\", \"{outputs.t}\", \"{masked}\", \"{params_file}\"]\n\
         outputs = { t = \"table\" }\nparams = { masked = \"{masked}\" }\n",
    );
    assert_eq!(space.run("run x.toml --json").success().tasks("ran"), ["s[masked=false]", "s[masked=true]"]);
    assert_eq!(ran(&space), ["false", "true"]);
    assert_eq!(space.run_args(&["run", "x.toml", "--json", "--only", "s[masked=true]"]).success().tasks("cached"), ["s[masked=true]"]);
}

fn an_axis_of_a_million_values() {
    let space = Space::new();
    let mut text = String::from("[pipeline]\nname = \"x\"\n[axes]\nn = [");
    (0..1_000_000).for_each(|number| text += &format!("{number},"));
    text += "]\n[stage.s]\nover = [\"n\"]\ncommand = [\"sh\", \"x.sh\", \"{outputs.t}\"]\noutputs = { t = \"table\" }\n";
    space.write("x.toml", text);
    space.run("check x.toml").exits(2).says(&["has 1000000 tasks, more than the 100000 it may have", "max_tasks = 1000000"]);
}

/// A sweep over two axes, with one cell left out, gathered along one axis and then along both.
#[derive(Clone, Debug)]
struct Swept {
    a: BTreeSet<u8>,
    b: BTreeSet<u8>,
    skipped: Option<(usize, usize)>,
    content: u8,
    word: u8,
    /// Whether cells say the same whatever they read.
    deaf: bool,
    /// In the key of the cells with this value, and in nothing else.
    silent: (usize, u8),
}

impl Swept {
    fn write(&self, space: &Space) {
        let list = |values: &BTreeSet<u8>| format!("{values:?}").replace(['{', '}'], "");
        let pick = |values: &BTreeSet<u8>, at: usize| *values.iter().nth(at % values.len()).unwrap();
        let skip = match self.skipped {
            Some((a, b)) if self.a.len() * self.b.len() > 1 => {
                format!("skip = [{{ a = {}, b = {} }}]\n", pick(&self.a, a), pick(&self.b, b))
            }
            _ => String::new(),
        };
        let heard = if self.deaf { "true" } else { "cat $1" };
        let (at, silent) = (pick(&self.a, self.silent.0), self.silent.1);
        space.write("raw.tsv", format!("n\n{}\n", self.content));
        space.write(
            "laws.toml",
            format!(
                "[pipeline]\nname = \"laws\"\n[axes]\na = [{}]\nb = [{}]\n[source.raw]\npath = \"raw.tsv\"\nphi = false\n\
                 [stage.first]\ncommand = [\"cp\", \"{{inputs.raw}}\", \"{{outputs.t}}\"]\ninputs = {{ raw = \"raw\" }}\noutputs = {{ t = \"table\" }}\n\
                 [stage.cell]\nover = [\"a\", \"b\"]\ncommand = [\"sh\", \"-c\", \"{{{{ echo n; echo w{} $2; {heard}; }}}} > $0\", \"{{outputs.t}}\", \"{{inputs.t}}\", \"{{a}}{{b}}\"]\n\
                 inputs = {{ t = \"first\" }}\noutputs = {{ t = \"table\" }}\n{skip}override = [{{ where = {{ a = {at} }}, params = {{ silent = {silent} }} }}]\n\
                 [stage.column]\ncommand = [\"sh\", \"-c\", \"cat $1/parts.tsv $1/*/*.tsv > $0/x\", \"{{outputs.t}}\", \"{{inputs.t}}\"]\n\
                 inputs = {{ t = \"cell[a=*]\" }}\noutputs = {{ t = \"files\" }}\n\
                 [stage.all]\ncommand = [\"sh\", \"-c\", \"cat $1/parts.tsv $1/*/* > $0/x\", \"{{outputs.t}}\", \"{{inputs.t}}\"]\n\
                 inputs = {{ t = \"column[*]\" }}\noutputs = {{ t = \"files\" }}\n",
                list(&self.a),
                list(&self.b),
                self.word,
            ),
        );
    }
}

fn swept() -> impl Strategy<Value = Swept> {
    let values = || prop::collection::btree_set(0_u8..4, 1..4);
    let skipped = prop::option::of((0_usize..4, 0_usize..4));
    (values(), values(), skipped, 0_u8..2, 0_u8..2, any::<bool>(), (0_usize..4, 0_u8..2))
        .prop_map(|(a, b, skipped, content, word, deaf, silent)| Swept { a, b, skipped, content, word, deaf, silent })
}

/// From one sweep to another that shares some cells with it, and back.
fn a_plan_of_any_sweep_equals_what_then_runs() {
    try_all(6, &(swept(), swept()), |(one, other)| {
        let space = Space::new();
        for sweep in [&one, &other, &one] {
            sweep.write(&space);
            let plan = planned(&space);
            agree(&plan, &space.run("run laws.toml --json").success())?;
            let after = planned(&space);
            prop_assert!(after.values().all(|state| state == "cached"), "a second run would do something: {after:?}");
        }
        Ok(())
    });
}
