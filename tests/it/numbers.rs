//! A small pipeline of commands, for tests of the engine that need no images and no libtorch.
//!
//! Three files of numbers → `gather` (one table) → `scale[by=1|2|3]` → `total` (all cells), published. Each program
//! is `sh` and `awk`, and writes its name to `ran.txt` in the project, so that a test can see what really ran.

use crate::space::Space;

/// The pipeline's file.
pub(crate) const PIPELINE: &str = "numbers.toml";

/// Every task, in alphabetical order.
pub(crate) const TASKS: [&str; 5] = ["gather", "scale[by=1]", "scale[by=2]", "scale[by=3]", "total"];

const TEXT: &str = r#"# Numbers, scaled and summed.
[pipeline]
name = "numbers"

[axes]
by = [1, 2, 3]

[source.numbers]
path = "numbers"
phi  = false

[stage.gather]
command = ["sh", "tools/gather.sh", "{inputs.files}", "{outputs.table}"]
inputs  = { files = "numbers" }
outputs = { table = "table" }
code    = ["tools/gather.sh"]

[stage.scale]
over    = ["by"]
command = ["sh", "tools/scale.sh", "{by}", "{inputs.table}", "{outputs.table}"]
inputs  = { table = "gather" }
outputs = { table = "table" }
code    = ["tools/scale.sh"]

[stage.total]
command = ["sh", "tools/total.sh", "{inputs.tables}", "{outputs.table}"]
inputs  = { tables = "scale[*]" }
outputs = { table = "table" }
code    = ["tools/total.sh"]
publish = { table = "results/total.tsv" }
"#;

const GATHER: &str = "echo gather >> ran.txt\n{ printf 'number\\n'; cat \"$1\"/*.txt; } > \"$2\"\n";
const SCALE: &str = "echo \"scale $1\" >> ran.txt\nawk -v by=\"$1\" 'NR == 1 { print; next } { print $1 * by }' \"$2\" > \"$3\"\n";
const TOTAL: &str = "echo total >> ran.txt\nfind \"$1\" -type f ! -name parts.tsv -exec cat {} + | awk '$1 ~ /^[0-9]/ { sum += $1 } END { print \"sum\"; printf \"%.0f\\n\", sum }' > \"$2\"\n";

/// A project with the pipeline and its numbers: 1, 2 and 39.
pub(crate) fn space() -> Space {
    let space = Space::new();
    space.write(PIPELINE, TEXT);
    for (name, text) in [("a.txt", "1\n"), ("b.txt", "2\n"), ("c.txt", "39\n")] {
        space.write(format!("numbers/{name}"), text);
    }
    for (name, text) in [("gather.sh", GATHER), ("scale.sh", SCALE), ("total.sh", TOTAL)] {
        space.write(format!("tools/{name}"), text);
    }
    space
}

/// What the programs said they did since this was last asked, sorted.
pub(crate) fn ran(space: &Space) -> Vec<String> {
    if !space.path("ran.txt").exists() {
        return Vec::new();
    }
    let mut lines: Vec<String> = space.read("ran.txt").lines().map(str::to_owned).collect();
    lines.sort();
    std::fs::remove_file(space.path("ran.txt")).unwrap();
    lines
}
