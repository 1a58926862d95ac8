//! Tests of `lungs.evaluate`.

use super::*;
use crate::stages::testing::{Outcome, World, chain, params};

/// Rows of four pixels with `#` inside.
fn mask(text: &str) -> Vec<u8> {
    let pixels: Vec<u16> = text.chars().map(|one| if one == '#' { 255 } else { 0 }).collect();
    Grey { width: 4, height: pixels.len() as u32 / 4, depth: 8, pixels }.encode_png().unwrap()
}

/// Connects a port: item, subject, mask.
fn connect(world: &mut World, port: &str, rows: &[(&str, &str, &str)], more: &[(&str, &[u8])]) {
    let mut index = "item\tfile\tsubject\tflags\n".to_owned();
    let mut files: Vec<(String, Vec<u8>)> = Vec::new();
    for (item, subject, text) in rows {
        let flags = if port == "masks" && *item == "b" { "one-lung" } else { "" };
        index += &format!("{item}\t{item}.png\t{subject}\t{flags}\n");
        files.push((format!("{item}.png"), mask(text)));
    }
    let mut all: Vec<(&str, &[u8])> = files.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice())).collect();
    all.push(("index.tsv", index.as_bytes()));
    all.extend(more);
    world.connect(port, &all);
}

/// Dice by hand: a 8/11, b 2/5, c 1.
const PREDICTED: [(&str, &str, &str); 4] = [("a", "", "####...."), ("b", "", "##......"), ("c", "", ".##....."), ("x", "", "#.......")];
const DRAWN: [(&str, &str, &str); 4] = [("a", "p", "#######."), ("b", "p", ".###...."), ("c", "q", ".##....."), ("d", "q", "#.......")];

fn world() -> World {
    let mut world = World::new();
    connect(&mut world, "masks", &PREDICTED, &[]);
    connect(&mut world, "truth", &DRAWN[..3], &[]);
    world
}

fn figures(outcome: &Outcome) -> (Value, BTreeMap<String, f64>) {
    let all: Value = serde_json::from_slice(&outcome.read("metrics", "metrics.json")).unwrap();
    let list = all["metrics"].as_array().unwrap().iter();
    let figures = list.map(|one| (one["name"].as_str().unwrap().to_owned(), one["value"].as_f64().unwrap())).collect();
    (all, figures)
}

#[test]
fn images_are_scored_at_their_size_and_the_worst_comes_first() {
    let outcome = world().run(&params::<LungsEvaluate>("")).unwrap();
    let table = outcome.table("table", "overlap.tsv");
    assert_eq!(table.columns, ["item", "subject", "dice", "iou", "predicted_area", "drawn_area", "flags"]);
    let a = ["a", "p", "0.727273", "0.571429", "4", "7", ""];
    let b = ["b", "p", "0.400000", "0.250000", "2", "3", "one-lung"];
    assert_eq!(table.rows, [b, a, ["c", "q", "1.000000", "1.000000", "2", "2", ""]]);
    let (all, figures) = figures(&outcome);
    let mean = (8.0 / 11.0 + 0.4 + 1.0) / 3.0;
    assert!((figures["dice"] - mean).abs() < 1e-12 && (figures["iou"] - (4.0 / 7.0 + 1.25) / 3.0).abs() < 1e-12);
    assert_eq!((figures["dice_median"], figures["dice_worst"], figures.len()), (8.0 / 11.0, 0.4, 4));
    assert_eq!((all["role"].as_str(), all["n"].as_u64(), all["subjects"].as_u64()), (Some("all"), Some(3), Some(2)));
    // Two patients: a draw has the one alone, the other alone, or both.
    let ends = (all["metrics"][0]["low"].as_f64().unwrap(), all["metrics"][0]["high"].as_f64().unwrap());
    assert!((ends.0 - (8.0 / 11.0 + 0.4) / 2.0).abs() < 1e-12 && ends.1 == 1.0, "{ends:?}");
}

#[test]
fn the_authors_figures_come_only_when_asked_for() {
    let outcome = world().run(&params::<LungsEvaluate>("smoothed = true")).unwrap();
    let (_, figures) = figures(&outcome);
    // Rows of a: 9/9 and 1/4; of b: 3/6 and 1; of c: all. Pixels: 5 and 5 of 8 agree, the others count a half.
    assert!((figures["dice_smoothed_rows"] - (0.625 + 0.75 + 1.0) / 3.0).abs() < 1e-12, "{figures:?}");
    assert!((figures["dice_smoothed_pixels"] - (6.5 / 8.0 + 6.5 / 8.0 + 1.0) / 3.0).abs() < 1e-12, "{figures:?}");
    let table = outcome.table("table", "overlap.tsv");
    assert_eq!((table.columns[4].as_str(), table.rows[2][5].as_str()), ("dice_smoothed_rows", "1.000000"));
}

#[test]
fn only_the_set_is_looked_at_and_what_is_missing_is_told() {
    let mut world = world();
    let split: &[u8] = b"item\tsubject\tlabel\tset\na\tp\t\ttrain\nc\tq\t\ttest\nd\tq\t\ttest\ne\tr\t\ttest\n";
    world.connect("split", &[("split.tsv", split)]);
    connect(&mut world, "truth", &DRAWN, &[]);
    let lost = chain(world.run(&params::<LungsEvaluate>("")));
    assert_eq!(lost, "port `masks` has nothing for item d, in quarantine neither");
    let quarantine: &[u8] = b"item\tkind\tclass\treason\nd\tlungs.segment\tmask\tno lung\n";
    connect(&mut world, "masks", &PREDICTED, &[("quarantine.tsv", quarantine)]);
    let outcome = world.run(&params::<LungsEvaluate>("")).unwrap();
    let (all, figures) = figures(&outcome);
    assert_eq!((all["role"].as_str(), all["n"].as_u64(), figures["dice"]), (Some("test"), Some(1), 1.0));
    assert!(all["metrics"][0]["low"].is_null(), "one patient gives no interval");
    assert_eq!(outcome.warnings.len(), 2);
    assert!(outcome.warnings[0].starts_with("1 of 3 images") && outcome.warnings[1].contains("in quarantine"), "{:?}", outcome.warnings);
    let none = chain(world.run(&params::<LungsEvaluate>("set = 'validation'")));
    assert_eq!(none, "port `split`: the set `validation` has no images");
}

#[test]
fn a_mask_of_another_size_is_an_error() {
    let mut world = world();
    connect(&mut world, "masks", &[("a", "", "##.."), PREDICTED[1], PREDICTED[2]], &[]);
    let error = chain(world.run(&params::<LungsEvaluate>("")));
    let remedy = "segment the images that the masks were drawn on";
    assert_eq!(error, format!("item a: the predicted mask has 4 x 1 pixels, the drawn one 4 x 2: {remedy}"));
}

#[test]
fn the_sheet_has_the_worst_and_best_and_every_flagged_image() {
    let mut world = world();
    let image = Grey { width: 4, height: 2, depth: 8, pixels: (0..8).collect() }.encode_png().unwrap();
    let index: &[u8] = b"item\tfile\na\ta.png\nb\ta.png\nc\ta.png\n";
    world.connect("images", &[("index.tsv", index), ("a.png", &image)]);
    let outcome = world.run(&params::<LungsEvaluate>("show = 1")).unwrap();
    let svg = String::from_utf8(outcome.read("figure", "figure.svg")).unwrap();
    let words: Vec<&str> = svg.split("</text>").filter_map(|part| part.rsplit_once('>').map(|(_, word)| word)).collect();
    let wanted =
        ["worst", "Dice 0.400", "b", "one-lung", "median", "Dice 0.727", "a", "best", "Dice 1.000", "c", "flagged", "Dice 0.400", "b"];
    assert_eq!(words[2..words.len() - 2], wanted);
    assert_eq!((svg.matches("<image ").count(), svg.matches("<path ").count()), (4, 8));
}

#[test]
fn params_make_sense() {
    let wrong = ["set = 'tests'", "draws = 10", "show = 101"].map(|toml| params::<LungsEvaluate>(toml).check().remove(0).param);
    assert_eq!(wrong, ["set", "draws", "show"]);
}
