//! `dataset.pack`: images and a split become four arrays.

use super::cohort_label::quarantine;
use super::cohort_split::split_table;
use super::training::unsaid;
use crate::arrays::{Dtype, ImageArray, write_entries, write_labels};
use crate::cohort::SETS;
use crate::content::Quoting;
use crate::image::Grey;
use crate::stage::{Artifact, Context, Inputs, Params, Port, Problem, Role, Whole};
use crate::table::Table;
use anyhow::{Context as _, Result, bail, ensure};
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};

/// Packs the images of a split into arrays that numpy reads and training maps: `X.npy` `[n, h, w]`, `y.npy` (index of the class),
/// `rows.tsv` (row, item, subject, label) and `role.json` (role and classes).
///
/// Rows are sorted by item. A row whose image was set aside on the way is left out and listed in `dropped.tsv` of the output `all`; any
/// other missing image is an error, and so are images of different sizes. A set without rows is packed with n = 0.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DatasetPack {
    /// Type of the values of `X.npy`.
    #[serde(default = "dtype")]
    dtype: Dtype,
    /// Classes in the order of their index in `y.npy`. Unset: the labels of the split, sorted.
    #[serde(default)]
    classes: Option<Vec<String>>,
    /// Columns of the split that each say whether a label holds: 1, 0, -1 (uncertain) or empty (nobody knows). `y.npy` is then `[n, k]`
    /// float32 with these values, NaN for empty, for a `classifier.train` with `task = "labels"`.
    #[serde(default, skip_serializing_if = "unsaid")]
    labels: Option<Vec<String>>,
}

fn dtype() -> Dtype {
    Dtype::Uint16
}

impl Params for DatasetPack {
    const KIND: &'static str = "dataset.pack";
    const REVISION: u32 = 1;
    const INPUTS: &'static [Port] = &[
        Port::one("images", &[Artifact::Images], "images of one size"),
        Port::one("split", &[Artifact::Split, Artifact::Table], "item, subject, label, set"),
    ];
    const OUTPUTS: &'static [Port] = &[
        Port::one("train", &[Artifact::Arrays], "rows of the training set").with_roles(&[Role::Train]),
        Port::one("validation", &[Artifact::Arrays], "rows of the validation set").with_roles(&[Role::Validation]),
        Port::one("test", &[Artifact::Arrays], "rows of the test set").with_roles(&[Role::Test]),
        Port::one("all", &[Artifact::Arrays], "all rows, and dropped.tsv").with_roles(&[Role::All]),
    ];

    fn check(&self) -> Vec<Problem> {
        let classes = self.classes.iter().flatten();
        let mut seen = BTreeSet::new();
        let twice = classes.chain(self.labels.iter().flatten()).find(|class| !seen.insert(class.as_str()));
        let mut problems: Vec<Problem> = twice.map(|class| Problem::of("", format!("names `{class}` twice"))).into_iter().collect();
        if self.classes.is_some() && self.labels.is_some() {
            problems.push(Problem::of("labels", "and `classes` exclude each other: an image has one class, or any number of labels"));
        }
        if self.labels.as_ref().is_some_and(Vec::is_empty) {
            problems.push(Problem::of("labels", "names no column"));
        }
        problems
    }
}

/// A row of the split whose image is there.
struct Packed {
    item: String,
    subject: String,
    label: String,
    class: usize,
    /// What is said of each label.
    entries: Vec<f32>,
    /// Index into [`SETS`].
    set: usize,
    /// Row in the set's arrays.
    place: usize,
    /// Path in the images' tree.
    file: String,
}

impl Whole for DatasetPack {
    fn run(&self, cx: &Context) -> Result<()> {
        let split = split_table(cx.inputs.one("split")?).context("port `split`")?;
        let classes = self.classes(&split)?;
        let labels = self.labels.as_deref().unwrap_or_default();
        let (rows, dropped, (height, width)) = rows(cx.inputs, &split, &classes, labels)?;
        let counts: Vec<usize> = (0..SETS.len()).map(|set| rows.iter().filter(|row| row.set == set).count()).collect();
        for (set, name) in SETS.iter().enumerate() {
            let missing = |class: &usize| counts[set] > 0 && !rows.iter().any(|row| row.set == set && row.class == *class);
            for class in (0..classes.len()).filter(|class| labels.is_empty() && missing(class)) {
                let shown = if cx.inputs.identified() { "one class".to_owned() } else { format!("class `{}`", classes[class]) };
                cx.warn(format!("`{name}` has no image of {shown}"));
            }
        }
        if !dropped.rows.is_empty() {
            let count = dropped.rows.len();
            cx.warn(format!(
                "{count} rows of the split are left out because their images are in quarantine; `all` lists them in dropped.tsv"
            ));
        }

        let array = |port: &str, n: usize| ImageArray::create(&cx.output(port).join("X.npy"), (n, height, width), self.dtype);
        let sets: Vec<ImageArray> = SETS.iter().zip(&counts).map(|(port, n)| array(port, *n)).collect::<Result<_>>()?;
        let all = array("all", rows.len())?;
        let images = &cx.inputs.one("images")?.tree;
        let done = AtomicU64::new(0);
        rows.par_iter().enumerate().try_for_each(|(at, row)| -> Result<()> {
            let image = Grey::decode(&images.read(&row.file)?).with_context(|| format!("item {}", row.item))?.into_deep();
            let size = (image.height, image.width);
            ensure!(size == (height, width), "the file of item {} does not have the size that its row in the index says", row.item);
            sets[row.set].put(row.place, &image.pixels)?;
            all.put(at, &image.pixels)?;
            let done = done.fetch_add(1, Ordering::Relaxed) + 1;
            if done.is_multiple_of(64) {
                cx.progress(done, rows.len() as u64, "images");
            }
            Ok(())
        })?;
        for (set, port) in SETS.iter().enumerate() {
            finish(cx, port, &classes, labels, rows.iter().filter(|row| row.set == set))?;
        }
        finish(cx, "all", &classes, labels, rows.iter())?;
        cx.write("all", "dropped.tsv", &dropped.to_tsv())
    }
}

impl DatasetPack {
    fn classes(&self, split: &Table) -> Result<Vec<String>> {
        let at = split.column("label").context("the split")?;
        let labels: BTreeSet<&String> = split.rows.iter().map(|row| &row[at]).collect();
        let Some(classes) = &self.classes else { return Ok(labels.into_iter().cloned().collect()) };
        match labels.into_iter().find(|label| !classes.contains(label)) {
            Some(label) => bail!(Quoting {
                quoting: format!("the split has the label `{label}`, which param `classes` does not name"),
                without: "the split has a label that param `classes` does not name".to_owned(),
            }),
            None => Ok(classes.clone()),
        }
    }
}

/// Everything of an output but `X.npy`.
fn finish<'a>(cx: &Context, port: &str, classes: &[String], labels: &[String], rows: impl Iterator<Item = &'a Packed>) -> Result<()> {
    let (mut table, mut of, mut entries) = (Table::new(["row", "item", "subject", "label"]), Vec::new(), Vec::new());
    for (at, row) in rows.enumerate() {
        table.rows.push(vec![at.to_string(), row.item.clone(), row.subject.clone(), row.label.clone()]);
        of.push(i64::try_from(row.class)?);
        entries.extend_from_slice(&row.entries);
    }
    let place = cx.output(port).join("y.npy");
    let about = if labels.is_empty() {
        write_labels(&place, of)?;
        json!({ "role": port, "classes": classes })
    } else {
        write_entries(&place, entries, labels.len())?;
        json!({ "role": port, "labels": labels })
    };
    cx.write(port, "rows.tsv", &table.to_tsv())?;
    let mut role = serde_json::to_string_pretty(&about)?;
    role.push('\n');
    cx.write(port, "role.json", role.as_bytes())
}

/// The rows whose images are there, sorted by item; those whose images are in quarantine; height and width of all images.
fn rows(inputs: &Inputs, split: &Table, classes: &[String], labels: &[String]) -> Result<(Vec<Packed>, Table, (u32, u32))> {
    let images = inputs.one("images")?;
    let index = images.table().context("port `images`")?;
    let [file, height, width] = ["file", "height", "width"].map(|name| index.column(name));
    let (file, height, width) = (file?, height?, width?);
    let by_item = index.index_by("item").context("the index of the images")?;
    let aside = quarantine(images)?;

    let [item, subject, label, set] = ["item", "subject", "label", "set"].map(|name| split.column(name).context("the split"));
    let (item, subject, label, set) = (item?, subject?, label?, set?);
    split.index_by("item").context("the split")?;
    let mut order: Vec<&Vec<String>> = split.rows.iter().collect();
    order.sort_by(|a, b| a[item].cmp(&b[item]));

    let columns: Vec<usize> = labels.iter().map(|name| split.column(name).context("param `labels`")).collect::<Result<_>>()?;
    let (mut packed, mut missing, mut counts) = (Vec::new(), Vec::new(), [0; SETS.len()]);
    let mut dropped = Table::new(["item", "subject", "label", "set", "kind", "class", "reason"]);
    let mut size: Option<(&str, (u32, u32))> = None;
    for row in order {
        let name = row[item].as_str();
        let of_set = SETS.iter().position(|one| row[set] == *one);
        let of_set = of_set.with_context(|| format!("the split puts item {name} into a set that is none of train, validation, test"))?;
        let Some(image) = by_item.get(name).map(|at| &index.rows[*at]) else {
            match aside.get(name) {
                Some(why) => {
                    let known = [item, subject, label, set].map(|at| row[at].clone());
                    dropped.rows.push(known.into_iter().chain(why.iter().cloned()).collect());
                }
                None => missing.push(name),
            }
            continue;
        };
        let pixels = |at: usize| image[at].parse::<u32>().with_context(|| format!("the index has no size for item {name}"));
        let here = (pixels(height)?, pixels(width)?);
        let (other, first) = *size.get_or_insert((name, here));
        ensure!(
            first == here,
            "the images are of different sizes: item {other} has {} x {} pixels (width x height), item {name} {} x {}; put images.prepare before dataset.pack",
            first.1,
            first.0,
            here.1,
            here.0
        );
        packed.push(Packed {
            item: name.to_owned(),
            subject: row[subject].clone(),
            label: row[label].clone(),
            class: classes.iter().position(|class| *class == row[label]).context("a label without a class")?,
            entries: columns.iter().zip(labels).map(|(at, label)| entry(&row[*at], label, name)).collect::<Result<_>>()?,
            set: of_set,
            place: counts[of_set],
            file: image[file].clone(),
        });
        counts[of_set] += 1;
    }
    if let Some(first) = missing.first() {
        let more = if missing.len() > 1 { format!(" and {} more", missing.len() - 1) } else { String::new() };
        bail!("the split has item {first}{more}, but the images on port `images` have no such item, in quarantine neither");
    }
    let (_, size) = size.context("the split has no row whose image is there")?;
    Ok((packed, dropped, size))
}

/// What a cell says of a label. The message does not repeat the cell, which may be a person's.
fn entry(cell: &str, label: &str, item: &str) -> Result<f32> {
    if cell.trim().is_empty() {
        return Ok(f32::NAN);
    }
    let value = cell.trim().parse::<f32>().ok().filter(|value| [1.0, 0.0, -1.0].contains(value));
    value.with_context(|| format!("column `{label}` of the split says of item {item} none of 1, 0, -1 and nothing"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stages::testing::{World, chain, params};

    const INDEX: &str = "item\tfile\twidth\theight\na\ta.png\t2\t1\nb\tb.png\t2\t1\nc\tc.png\t2\t1\n";
    const QUARANTINE: &[u8] = b"item\tkind\tclass\treason\nd\timages.prepare\tblank\tall 0\n";
    const SPLIT: &str = "item\tsubject\tlabel\tset\nc\tr\twell\ttest\na\tp\till\ttrain\nb\tq\twell\ttrain\n";

    fn world(index: &str, split: &str, shade: u16) -> World {
        let png = |shade| Grey { width: 2, height: 1, depth: 16, pixels: vec![0, shade] }.encode_png().unwrap();
        let mut world = World::new();
        world.connect(
            "images",
            &[
                ("a.png", &png(1)),
                ("b.png", &png(2)),
                ("c.png", &png(shade)),
                ("index.tsv", index.as_bytes()),
                ("quarantine.tsv", QUARANTINE),
            ],
        );
        world.connect("split", &[("split.tsv", split.as_bytes()), ("proof.json", b"{}")]);
        world
    }

    #[test]
    fn sets_are_packed_and_a_test_image_reaches_only_its_own() {
        let split = format!("{SPLIT}d\ts\till\tvalidation\n");
        let outcome = world(INDEX, &split, 3).run(&params::<DatasetPack>("")).unwrap();
        assert_eq!(
            String::from_utf8(outcome.read("train", "rows.tsv")).unwrap(),
            "row\titem\tsubject\tlabel\n0\ta\tp\till\n1\tb\tq\twell\n"
        );
        let x = |port: &str| outcome.read(port, "X.npy");
        assert!(x("train").ends_with(&[0, 0, 1, 0, 0, 0, 2, 0]) && x("all").ends_with(&[0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0]));
        let header = String::from_utf8_lossy(&x("validation")).into_owned();
        assert!(header.contains("'<u2'") && header.contains("(0, 1, 2)"), "{header}");
        assert!(outcome.read("train", "y.npy").ends_with(&[0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]));
        assert_eq!(outcome.table("all", "dropped.tsv").rows, [["d", "s", "ill", "validation", "images.prepare", "blank", "all 0"]]);
        let other = world(INDEX, &split, 9).run(&params::<DatasetPack>("")).unwrap();
        let same = |port: &str| outcome.tree(port).digest() == other.tree(port).digest();
        assert_eq!([same("train"), same("validation"), same("test"), same("all")], [true, true, false, false]);
    }

    #[test]
    fn mistakes_name_the_item() {
        let error = |index: &str, split: &str, toml: &str| chain(world(index, split, 3).run(&params::<DatasetPack>(toml)));
        let sizes = error(&INDEX.replace("c.png\t2", "c.png\t3"), SPLIT, "");
        let wanted = "item a has 2 x 1 pixels (width x height), item c 3 x 1; put images.prepare before dataset.pack";
        assert_eq!(sizes, format!("the images are of different sizes: {wanted}"));
        let missing = error(INDEX, &format!("{SPLIT}x\ts\till\ttest\n"), "");
        assert_eq!(missing, "the split has item x, but the images on port `images` have no such item, in quarantine neither");
        let label = error(INDEX, SPLIT, "classes = ['well', 'sick']");
        assert_eq!(label, "the split has the label `ill`, which param `classes` does not name");
    }

    #[test]
    fn labels_are_columns_of_the_split() {
        let split = "item\tsubject\tlabel\tset\tedema\tmass\nc\tr\twell\ttest\t0\t\na\tp\till\ttrain\t1.0\t-1\nb\tq\twell\ttrain\t\t0\n";
        let outcome = world(INDEX, split, 3).run(&params::<DatasetPack>("labels = ['edema', 'mass']")).unwrap();
        let y = outcome.read("train", "y.npy");
        let said: Vec<f32> = y[y.len() - 16..].chunks(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect();
        assert!(said[..2] == [1.0, -1.0] && said[2].is_nan() && said[3] == 0.0, "{said:?}");
        assert_eq!(outcome.read("test", "role.json"), b"{\n  \"role\": \"test\",\n  \"labels\": [\n    \"edema\",\n    \"mass\"\n  ]\n}\n");
        let error = |split: &str, toml: &str| chain(world(INDEX, split, 3).run(&params::<DatasetPack>(toml)));
        let odd = error(&split.replace("1.0\t-1", "maybe\t-1"), "labels = ['edema']");
        assert_eq!(odd, "column `edema` of the split says of item a none of 1, 0, -1 and nothing");
        assert!(error(split, "labels = ['cough']").starts_with("param `labels`: "), "{}", error(split, "labels = ['cough']"));
        assert_eq!(params::<DatasetPack>("labels = ['a']\nclasses = ['b']").check().len(), 1);
    }
}
