//! Where a wave stops: what comes out equal reruns nothing, though what it was made from is another thing.

use crate::numbers::ran;
use crate::space::Space;
use crate::study::png;
use libtest_mimic::Trial;

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        of_two_outputs_only_the_one_that_changed_goes_on,
        an_item_that_comes_out_equal_stops_there,
        what_is_made_again_and_comes_out_otherwise_is_said,
    ]
}

const TWO: &str = r#"[pipeline]
name = "two"

[source.raw]
path = "raw.tsv"
phi  = false

[stage.both]
command = ["sh", "-c", "cp $0 $1; printf 'n\\n1\\n' > $2", "{inputs.raw}", "{outputs.copy}", "{outputs.fixed}"]
inputs  = { raw = "raw" }
outputs = { copy = "table", fixed = "table" }

[stage.of-copy]
command = ["cp", "{inputs.in}", "{outputs.out}"]
inputs  = { in = "both.copy" }
outputs = { out = "table" }

[stage.of-fixed]
command = ["cp", "{inputs.in}", "{outputs.out}"]
inputs  = { in = "both.fixed" }
outputs = { out = "table" }
"#;

fn of_two_outputs_only_the_one_that_changed_goes_on() {
    let space = Space::new();
    space.write("two.toml", TWO);
    space.write("raw.tsv", "n\n7\n");
    space.run("run two.toml").success();
    space.write("raw.tsv", "n\n8\n");
    let output = space.run("run two.toml --json").success();
    assert_eq!((output.tasks("ran"), output.tasks("cached")), (vec!["both".to_owned(), "of-copy".to_owned()], vec!["of-fixed".to_owned()]));
}

fn an_item_that_comes_out_equal_stops_there() {
    let space = crate::per_item::space("echo one >> ran.txt\ncp fixed.png \"$2\"\n", 3);
    space.write("fixed.png", png(true, 99));
    let after = "\n[stage.after]\ncommand = [\"cp\", \"{inputs.images}/index.tsv\", \"{outputs.table}\"]\ninputs = { images = \"copy\" }\n\
                 outputs = { table = \"table\" }\n";
    space.write("x.toml", space.read("x.toml") + after);
    space.run("run x.toml").success();
    assert_eq!(ran(&space).len(), 3);
    space.write("pictures/1.png", png(false, 50));
    let output = space.run("run x.toml --json").success();
    assert_eq!((ran(&space).len(), output.tasks("cached")), (1, vec!["after".to_owned()]), "{}", output.text());
}

fn what_is_made_again_and_comes_out_otherwise_is_said() {
    let space = crate::numbers::space();
    // A program that reads what it did not declare, and a table that is a file of its own.
    space.write("hidden.txt", "1\n");
    space.replace("tools/gather.sh", "*.txt;", "*.txt hidden.txt; seq 9500 | sed 's/.*/0/';");
    space.run("run numbers.toml").success();
    space.lose_large_blobs();
    space.write("hidden.txt", "2\n");
    assert_eq!(space.run("run numbers.toml --json").success().tasks("ran"), [""; 0], "nobody needs it");
    space.replace("tools/scale.sh", "awk", "true; awk");
    space.run("plan numbers.toml").success().says(&["its result is gone from the store and scale[by=", "needs it"]);
    let output = space.run("run numbers.toml -j 1").success();
    output.says(&[
        "warning: gather: made again, it gave other bytes for the same key",
        "variant",
        "output `table` was ",
        "[5/5] ran total",
    ]);
    assert_eq!(space.read("results/total.tsv"), "sum\n264\n", "the new bytes are what counts");
}
