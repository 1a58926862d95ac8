//! Tests of loading: files in every layout, and every way in which a file can be wrong.
//!
//! The files are written here, for a network of four layers; what Keras itself writes is read in tests/it/keras.rs.

use crate::backbones::Backbone;
use crate::graph::{AUTO, Activation, Conv, Graph, Op, X};
use crate::keras_h5::Layers;
use crate::pixels::Scaling;
use crate::weights::{Named, variables};
use hdf5_pure::{AttrValue, FileBuilder};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use tch::{Device, nn};

/// Stands for every backbone: a layer with a name, two that are numbered, a classifier.
const SMALL: Backbone = Backbone { name: "small", features: 4, default_side: 32, scaling: Scaling::Torch, trunk, top };

fn trunk(g: &mut Graph) -> X {
    let x = g.input();
    let x = g.conv("first", x, Conv::new(2, 3).bias());
    let x = g.conv(AUTO, x, Conv::new(2, 1));
    let x = g.batch_norm("first_bn", x, 1e-3, 0.99);
    g.conv(AUTO, x, Conv::new(4, 1))
}

fn top(g: &mut Graph, x: X) -> X {
    let x = g.same(AUTO, x, Op::GlobalAverage { keep: false });
    g.dense("predictions", x, 3, Activation::Linear)
}

/// A layer of a file: its name, and of each weight name, shape and numbers.
#[derive(Clone)]
struct Stored {
    name: String,
    weights: Vec<(String, Vec<u64>, Numbers)>,
}

#[derive(Clone)]
enum Numbers {
    Floats(Vec<f32>),
    Doubles(Vec<f64>),
    Whole(Vec<i32>),
}

fn stored(name: &str, weights: &[(&str, &[u64])], from: f32) -> Stored {
    let mut next = from;
    let weight = |(leaf, shape): &(&str, &[u64])| {
        let count = shape.iter().product::<u64>();
        let numbers = (0..count).map(|_| {
            next += 0.5;
            next
        });
        (format!("{leaf}:0"), shape.to_vec(), Numbers::Floats(numbers.collect()))
    };
    Stored { name: name.to_owned(), weights: weights.iter().map(weight).collect() }
}

/// What a whole file of `small` holds; the numbers of its convolutions are those of a process that had made others before.
fn whole() -> Vec<Stored> {
    vec![
        stored("input_2", &[], 0.0),
        stored("first", &[("kernel", &[3, 3, 3, 2]), ("bias", &[2])], 0.0),
        stored("conv2d_17", &[("kernel", &[1, 1, 2, 2])], 100.0),
        stored("first_bn", &[("gamma", &[2]), ("beta", &[2]), ("moving_mean", &[2]), ("moving_variance", &[2])], 200.0),
        stored("conv2d_18", &[("kernel", &[1, 1, 2, 4])], 300.0),
    ]
}

fn with_top() -> Vec<Stored> {
    let mut layers = whole();
    layers.push(stored("predictions", &[("kernel", &[4, 3]), ("bias", &[3])], 400.0));
    layers
}

fn dataset(group: &mut hdf5_pure::GroupBuilder, name: &str, shape: &[u64], numbers: &Numbers) {
    let dataset = group.create_dataset(name);
    match numbers {
        Numbers::Floats(values) => dataset.with_f32_data(values),
        Numbers::Doubles(values) => dataset.with_f64_data(values),
        Numbers::Whole(values) => dataset.with_i32_data(values),
    }
    .with_shape(shape);
}

/// The older layout.
fn named(layers: &[Stored]) -> Vec<u8> {
    let mut file = FileBuilder::new();
    file.set_attr("layer_names", AttrValue::StringArray(layers.iter().map(|layer| layer.name.clone()).collect()));
    for layer in layers {
        let mut group = file.create_group(&layer.name);
        let names: Vec<String> = layer.weights.iter().map(|(name, _, _)| name.clone()).collect();
        let names = if names.is_empty() { AttrValue::F64Array(Vec::new()) } else { AttrValue::StringArray(names) };
        group.set_attr("weight_names", names);
        for (name, shape, numbers) in &layer.weights {
            dataset(&mut group, name, shape, numbers);
        }
        file.add_group(group.finish());
    }
    file.finish().unwrap()
}

/// The newer layout.
fn counted(layers: &[Stored]) -> Vec<u8> {
    let mut file = FileBuilder::new();
    let mut all = file.create_group("layers");
    for layer in layers {
        let mut group = all.create_group(&layer.name);
        let mut vars = group.create_group("vars");
        for (place, (_, shape, numbers)) in layer.weights.iter().enumerate() {
            dataset(&mut vars, &place.to_string(), shape, numbers);
        }
        group.add_group(vars.finish());
        all.add_group(group.finish());
    }
    file.add_group(all.finish());
    file.finish().unwrap()
}

/// The newer layout of `layers`, in the order of Keras.
fn recounted(mut layers: Vec<Stored>) -> Vec<u8> {
    for (layer, name) in layers.iter_mut().zip(["input_layer", "conv2d", "conv2d_1", "batch_normalization", "conv2d_2", "dense"]) {
        name.clone_into(&mut layer.name);
    }
    counted(&layers)
}

fn zipped(name: &str, bytes: &[u8]) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let stored = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    archive.start_file(name, stored).unwrap();
    archive.write_all(bytes).unwrap();
    archive.finish().unwrap().into_inner()
}

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, bytes: &[u8]) -> PathBuf {
        let path = self.0.path().join("weights");
        std::fs::File::create(&path).unwrap().write_all(bytes).unwrap();
        path
    }
}

fn fresh(top: bool) -> (nn::VarStore, Named) {
    let store = nn::VarStore::new(Device::Cpu);
    let _network = crate::network::Network::new(&store.root(), SMALL.graph(top), None);
    let named = variables(&store);
    (store, named)
}

fn load(path: &Path, top: bool) -> Result<Named, String> {
    let _alone = crate::seeds::draw_alone();
    let (_store, named) = fresh(top);
    let before = crate::weights::copies(&named);
    match Layers::read(path).and_then(|layers| layers.load(&SMALL, top, &named)) {
        Ok(()) => Ok(named),
        Err(error) => {
            let same = named.iter().all(|(name, variable)| variable.equal(&before[name]));
            assert!(same, "a file that does not fit changed something");
            Err(format!("{error:#}"))
        }
    }
}

fn numbers(named: &Named, name: &str) -> Vec<f32> {
    Vec::try_from(&named[name].flatten(0, -1)).unwrap()
}

#[test]
fn every_layout_gives_the_same_variables() {
    let place = Place::new();
    let doubled = |mut layers: Vec<Stored>| {
        let (_, _, numbers) = &mut layers[1].weights[0];
        if let Numbers::Floats(floats) = numbers {
            *numbers = Numbers::Doubles(floats.iter().map(|value| f64::from(*value)).collect());
        }
        layers
    };
    let renamed = |mut layers: Vec<Stored>| {
        for (number, layer) in layers.iter_mut().enumerate() {
            layer.name = format!("old{number}");
            for (place, weight) in layer.weights.iter_mut().enumerate() {
                weight.0 = format!("old{number}_W_{place}:0");
            }
        }
        layers
    };
    let whole_model = {
        let mut file = FileBuilder::new();
        let mut inner = file.create_group("model_weights");
        inner.set_attr("layer_names0", AttrValue::StringArray(vec!["first".to_owned(), "conv2d_1".to_owned()]));
        inner.set_attr("layer_names1", AttrValue::StringArray(["first_bn", "conv2d_2"].map(str::to_owned).to_vec()));
        for (layer, name) in whole()[1..].iter().zip(["first", "conv2d_1", "first_bn", "conv2d_2"]) {
            let mut group = inner.create_group(name);
            group.set_attr("weight_names", AttrValue::StringArray(layer.weights.iter().map(|(name, _, _)| name.clone()).collect()));
            for (name, shape, numbers) in &layer.weights {
                dataset(&mut group, name, shape, numbers);
            }
            inner.add_group(group.finish());
        }
        file.add_group(inner.finish());
        file.finish().unwrap()
    };
    let files = [
        ("older", named(&whole())),
        ("older, with top", named(&with_top())),
        ("a whole model", whole_model),
        ("double precision", named(&doubled(whole()))),
        ("names of another age", named(&renamed(whole()))),
        ("names of another age, with top", named(&renamed(with_top()))),
        ("newer", recounted(whole())),
        ("newer, with top", recounted(with_top())),
        (".keras", zipped("model.weights.h5", &recounted(whole()))),
    ];
    for (what, bytes) in files {
        let found = load(&place.file(&bytes), false).unwrap_or_else(|error| panic!("{what}: {error}"));
        // Keras' [h, w, in, out] is our [out, in, h, w].
        assert_eq!(numbers(&found, "conv2d_1.weight"), [300.5, 302.5, 301.0, 303.0, 301.5, 303.5, 302.0, 304.0], "{what}");
        assert_eq!(numbers(&found, "first.weight")[..3], [0.5, 3.5, 6.5], "{what}");
        assert_eq!(numbers(&found, "first_bn.running_var"), [203.5, 204.0], "{what}");
    }
    let kept = load(&place.file(&named(&with_top())), true).unwrap();
    let ours = crate::weights::to_bytes(&kept, None).unwrap();
    let found = load(&place.file(&ours), false).unwrap();
    assert_eq!(numbers(&found, "first_bn.running_var"), [203.5, 204.0]);
    let found = load(&place.file(&ours), true).unwrap();
    assert_eq!(numbers(&found, "predictions.weight")[..2], [400.5, 402.0]);
}

#[test]
fn what_is_wrong_with_a_file_is_named() {
    let place = Place::new();
    let refused = |bytes: &[u8], top: bool| load(&place.file(bytes), top).err().unwrap_or_else(|| "nothing".to_owned());
    let but = |change: &dyn Fn(&mut Vec<Stored>)| {
        let mut layers = whole();
        change(&mut layers);
        refused(&named(&layers), false)
    };
    let good = named(&whole());
    let broken = "not a weights file (Keras HDF5, .keras or .safetensors), or cut short";

    assert_eq!(load(place.0.path(), false).unwrap_err(), "it is a folder, where a weights file is wanted");
    assert!(load(&place.0.path().join("absent"), false).unwrap_err().starts_with("it cannot be opened: "));
    assert_eq!(refused(b"", false), "the file is empty");
    assert!(refused(b"<html>not found</html>", false).starts_with(broken));
    assert!(refused(&good[..100], false).starts_with(broken));
    let half = refused(&good[..good.len() / 2], false);
    assert!(half.contains("cut short"), "{half}");
    assert!(refused(&zipped("other.txt", b"x"), false).starts_with("it is a zip without model.weights.h5, not a .keras file"));
    let inner = zipped("model.weights.h5", &good);
    assert!(refused(&inner[..inner.len() / 2], false).starts_with("not a whole .keras file (zip)"));
    let mut plain = FileBuilder::new();
    plain.set_attr("about", AttrValue::String("no network".to_owned()));
    assert!(refused(&plain.finish().unwrap(), false).starts_with(broken));
    assert_eq!(refused(&counted(&[]), false), "the file has no layers with weights");

    // Every shape fits, so that Keras' own rule holds.
    assert_eq!(but(&|layers| layers[1].name = "block1_conv1".to_owned()), "nothing");
    assert_eq!(
        but(&|layers| drop(layers.remove(1))),
        "the file has no layer first, which small has: it is of another network, or not whole"
    );
    assert_eq!(
        but(&|layers| drop(layers.remove(2))),
        "the file has no layer conv2d_1, which small has: it is of another network, or not whole"
    );
    assert_eq!(
        but(&|layers| layers.push(stored("extra", &[("kernel", &[1, 1, 4, 4])], 0.0))),
        "the file has a layer extra, which small has not: it is of another network"
    );
    assert_eq!(
        but(&|layers| layers[1].weights[0] = stored("", &[("kernel", &[3, 3, 3, 5])], 0.0).weights[0].clone()),
        "layer first: its kernel is [3, 3, 3, 5] in the file, but [3, 3, 3, 2] in small"
    );
    assert_eq!(
        but(&|layers| drop(layers[1].weights.pop())),
        "layer first has 1 weights in the file (kernel), but 2 in small (kernel, bias)"
    );
    assert_eq!(
        but(&|layers| layers[2].weights[0].2 = Numbers::Whole(vec![1; 4])),
        "layer conv2d: its kernel is of i32 in the file, where float32 is wanted"
    );
    assert_eq!(
        but(&|layers| layers[3].weights[3].2 = Numbers::Floats(vec![1.0, f32::NAN])),
        "layer first_bn: 1 of the 2 numbers of its moving_variance are not finite"
    );
    assert_eq!(refused(&good, true), "the file has no layer predictions: it is without its top");
    assert_eq!(refused(&recounted(whole()), true), "the file has no layer predictions: it is without its top");
    let ours = |change: &dyn Fn(&mut Named)| {
        let mut named = load(&place.file(&named(&whole())), false).unwrap();
        change(&mut named);
        refused(&crate::weights::to_bytes(&named, None).unwrap(), false)
    };
    assert_eq!(
        ours(&|named| drop(named.remove("first.bias"))),
        "the file has no variable first.bias, which small has: it is of another network, or not whole"
    );
    assert_eq!(
        ours(&|named| drop(named.insert("other.weight".to_owned(), tch::Tensor::from(1f32)))),
        "the file has a variable other.weight, which small has not: it is of another network"
    );
    assert_eq!(
        ours(&|named| drop(named.insert("first.bias".to_owned(), tch::Tensor::from_slice(&[1f32; 3])))),
        "variable first.bias is [3] where [2] is wanted"
    );
    let mut other = whole();
    other.truncate(4);
    assert_eq!(
        refused(&recounted(other), false),
        "the file has no layer conv2d_1 (conv2d_2), which small has: it is of another network, or not whole"
    );
}

#[test]
fn a_file_that_ends_anywhere_is_an_error_and_no_panic() {
    let place = Place::new();
    let files = [named(&whole()), recounted(whole()), zipped("model.weights.h5", &recounted(whole()))];
    for bytes in files {
        for end in (0..bytes.len() - 1).step_by(bytes.len() / 60) {
            let error = load(&place.file(&bytes[..end]), false).err();
            assert!(error.is_some(), "cut after {end} of {} bytes", bytes.len());
        }
    }
}
