//! Laws of the language, on texts made at random: order means nothing, and no text is too odd.

use super::kinds::KINDS;
use super::{HEAD, STUDY, load, loaded, params, parts};
use crate::pipeline::model::Edge;
use crate::pipeline::{Overlay, Pipeline, Severity};
use std::collections::BTreeSet;

proptest::proptest! {
    #![proptest_config(crate::law::cases(400))]

    /// Whatever is cut out of a file or put twice into it, it is read without a panic, and every problem is inside it.
    #[test]
    fn no_text_is_too_odd(cuts in proptest::collection::vec((0..2_000usize, 0..40usize, 0..3u8), 1..5)) {
        let mut text = format!("{HEAD}{STUDY}{REST}{ODD}");
        for (start, length, what) in cuts {
            let start = start.min(text.len());
            let end = (start + length).min(text.len());
            let piece = text[start..end].to_owned();
            match what {
                0 => text.replace_range(start..end, ""),
                1 => text.insert_str(start, &piece),
                _ => text.push_str(&piece),
            }
        }
        let loaded = load(&text, KINDS, &Overlay::default());
        proptest::prop_assert_eq!(loaded.pipeline.is_none(), loaded.problems.iter().any(|problem| problem.severity == Severity::Error));
        for problem in &loaded.problems {
            let span = problem.span.clone().unwrap_or_default();
            proptest::prop_assert!(span.start <= span.end && text.get(span).is_some(), "{:?}", problem);
        }
    }
}

const ODD: &str = r#"
[stage.odd]
command = ["a", "{seed}", "{inputs.x}", "{outputs.y}", "{{", "{params_file}"]
over = ["seed", "region"]
inputs = { x = "pack.test[seed=1|2,region={region}]", z = { a = "train[*]", b = "raw/x.csv" } }
outputs = { y = "table" }
override = [{ where = { seed = [1, 2] }, params = { a = { b = 1 } }, needs = { memory = "1GiB" } }]
params = { a = { b = "{seed}", c = [1, "{region}"] } }
publish = { y = "out/{seed}/{region}.tsv" }
"#;

proptest::proptest! {
    #![proptest_config(crate::law::cases(24))]

    /// The order of tables and of keys in them changes no task, no param and no part.
    #[test]
    fn order_in_the_file_means_nothing(keys in proptest::collection::vec(0..1000u32, 40)) {
        let text = format!("{HEAD}{STUDY}{REST}");
        let shuffled = shuffle(&text, &keys);
        proptest::prop_assert_eq!(picture(&loaded(&text, &Overlay::default())), picture(&loaded(&shuffled, &Overlay::default())));
    }
}

const REST: &str = r#"
[stage.test]
kind = "t.test"
inputs = { model = "train", arrays = "pack.test" }
skip = [{ seed = 2, backbone = "a" }]
[stage.report]
kind = "t.report"
inputs = { runs = { cnn = "test[seed=*]", all = "test[*]" } }
"#;

/// Tables, and lines inside them, in the order of the keys.
fn shuffle(text: &str, keys: &[u32]) -> String {
    let mut keys = keys.iter().cycle();
    let mut tables: Vec<(u32, String)> = text
        .split("\n[")
        .filter(|table| !table.trim().is_empty())
        .map(|table| {
            let mut lines = table.lines();
            let head = lines.next().unwrap_or_default();
            let mut lines: Vec<(u32, &str)> = lines.map(|line| (*keys.next().unwrap(), line)).collect();
            lines.sort();
            let lines: Vec<&str> = lines.into_iter().map(|(_, line)| line).collect();
            (*keys.next().unwrap(), format!("\n[{head}\n{}", lines.join("\n")))
        })
        .collect();
    tables.sort();
    tables.into_iter().map(|(_, table)| table).collect()
}

/// Everything about a pipeline, whatever the order of its tasks.
fn picture(pipeline: &Pipeline) -> Vec<String> {
    let mut lines = Vec::new();
    for task in &pipeline.tasks {
        let title = task.title();
        lines.push(format!("{title} {}", params(pipeline, &title)));
        lines.extend(
            task.inputs.keys().flat_map(|port| {
                parts(pipeline, &title, port).into_iter().map(|part| format!("{title} {port} {part}")).collect::<Vec<_>>()
            }),
        );
    }
    lines.sort();
    lines
}

/// The axes of a law, with so many values each.
const AXES: [&str; 3] = ["a", "b", "c"];

/// Some axes with a value each; a pattern of cells.
type Where = Vec<(usize, usize)>;

/// `[{ a = 1, b = 2 }, …]`.
fn list(patterns: &[Where]) -> String {
    let one = |pattern: &Where| pattern.iter().map(|(axis, value)| format!("{} = {value}", AXES[*axis])).collect::<Vec<_>>().join(", ");
    patterns.iter().map(|pattern| format!("{{ {} }}", one(pattern))).collect::<Vec<_>>().join(", ")
}

/// All cells of the axes in `over`, as lists of values in the order of [`AXES`]; an axis that is not in it has none.
fn product(sizes: &[usize], over: &BTreeSet<usize>) -> Vec<Vec<Option<usize>>> {
    (0..AXES.len()).fold(vec![Vec::new()], |cells, axis| {
        let values: Vec<Option<usize>> = if over.contains(&axis) { (0..sizes[axis]).map(Some).collect() } else { vec![None] };
        cells.iter().flat_map(|cell| values.iter().map(|value| [cell.as_slice(), &[*value]].concat())).collect()
    })
}

fn title(stage: &str, cell: &[Option<usize>]) -> String {
    let at: Vec<String> = cell.iter().enumerate().filter_map(|(axis, value)| Some(format!("{}={}", AXES[axis], (*value)?))).collect();
    if at.is_empty() { stage.to_owned() } else { format!("{stage}[{}]", at.join(",")) }
}

fn patterns(over: &BTreeSet<usize>, sizes: &[usize], drawn: &[(u8, usize)]) -> Vec<Where> {
    let pattern = |(which, value): &(u8, usize)| {
        over.iter().filter(|axis| which >> **axis & 1 == 1).map(|axis| (*axis, value % sizes[*axis])).collect()
    };
    drawn.iter().map(pattern).filter(|pattern: &Where| !pattern.is_empty()).collect()
}

proptest::proptest! {
    #![proptest_config(crate::law::cases(200))]

    /// A stage has the cells of its axes' product that `keep` keeps and `skip` leaves; a gather is a task for each combination of the other
    /// axes and has exactly its cells; whoever reads the stage as it is has its cells.
    #[test]
    fn cells_are_what_product_keep_skip_and_gather_say(
        sizes in proptest::collection::vec(1..4_usize, 3),
        over in proptest::collection::btree_set(0..3_usize, 1..4),
        keep in proptest::collection::vec((1..8_u8, 0..4_usize), 0..3),
        skip in proptest::collection::vec((1..8_u8, 0..4_usize), 0..3),
        along in proptest::prelude::any::<proptest::sample::Index>(),
    ) {
        let (keep, skip) = (patterns(&over, &sizes, &keep), patterns(&over, &sizes, &skip));
        let matches = |cell: &[Option<usize>], patterns: &[Where]| {
            patterns.iter().any(|pattern| pattern.iter().all(|(axis, value)| cell[*axis] == Some(*value)))
        };
        let mut cells = product(&sizes, &over);
        cells.retain(|cell| (keep.is_empty() || matches(cell, &keep)) && !matches(cell, &skip));
        let along = *over.iter().nth(along.index(over.len())).unwrap();
        let axes: String = AXES.iter().zip(&sizes).map(|(axis, size)| format!("{axis} = {:?}\n", (0..*size).collect::<Vec<_>>())).collect();
        let names: Vec<&str> = over.iter().map(|axis| AXES[*axis]).collect();
        let line = |word: &str, patterns: &[Where]| if patterns.is_empty() { String::new() } else { format!("{word} = [{}]\n", list(patterns)) };
        let stage = "command = [\"x\"]\noutputs = { t = \"table\" }\n";
        let text = format!(
            "[pipeline]\nname = \"t\"\n[axes]\n{axes}[stage.s]\n{stage}over = {names:?}\n{}{}[stage.g]\n{stage}inputs = {{ i = \"s[{}=*]\" }}\n[stage.r]\n{stage}inputs = {{ i = \"s\" }}\n",
            line("keep", &keep), line("skip", &skip), AXES[along],
        );
        let loaded = load(&text, KINDS, &Overlay::default());
        let Some(pipeline) = loaded.pipeline else {
            // All that nothing is left of is refused, and nothing else.
            proptest::prop_assert!(cells.is_empty(), "{text}\n{:?}", loaded.problems);
            return Ok(());
        };
        proptest::prop_assert!(!cells.is_empty(), "{}", text);
        let found: Vec<String> = pipeline.tasks.iter().map(crate::pipeline::Task::title).collect();
        let without = |cell: &Vec<Option<usize>>| { let mut cell = cell.clone(); cell[along] = None; cell };
        let groups: BTreeSet<Vec<Option<usize>>> = cells.iter().map(without).collect();
        let mut expected: Vec<String> = cells.iter().flat_map(|cell| [title("s", cell), title("r", cell)]).collect();
        expected.extend(groups.iter().map(|group| title("g", group)));
        let (mut sorted, unique) = (found.clone(), found.iter().collect::<BTreeSet<_>>().len());
        proptest::prop_assert_eq!(unique, found.len(), "titles are unique");
        sorted.sort();
        expected.sort();
        proptest::prop_assert_eq!(sorted, expected, "{}", text);
        let are_sorted = |edges: &Vec<Edge>| edges.is_sorted_by_key(|edge| (&edge.coordinates, &edge.origin));
        let are_all = pipeline.tasks.iter().flat_map(|task| task.inputs.values()).all(are_sorted);
        proptest::prop_assert!(are_all, "parts are sorted by coordinates: {}", text);
        for group in &groups {
            let mut gathered = parts(&pipeline, &title("g", group), "i");
            let own = |cell: &&Vec<Option<usize>>| without(cell) == *group;
            let mut parts: Vec<String> = cells
                .iter()
                .filter(own)
                .map(|cell| format!("{}.t @ {}={}", title("s", cell), AXES[along], cell[along].unwrap()))
                .collect();
            gathered.sort();
            parts.sort();
            proptest::prop_assert_eq!(gathered, parts);
        }
    }
}
