//! Laws of the language, on texts made at random: order means nothing, and no text is too odd.

use super::kinds::KINDS;
use super::{HEAD, STUDY, load, loaded, params, parts};
use crate::pipeline::{Overlay, Pipeline, Severity};

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(400))]

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
    #![proptest_config(proptest::test_runner::Config::with_cases(24))]

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
