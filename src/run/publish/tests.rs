//! Tests of publishing: what is ours is put back and taken away, the work of others stays, and nothing leaves that may not.

use super::*;
use crate::content::Level;
use std::fs::File;
use std::io::Write as _;

struct Bench {
    root: tempfile::TempDir,
    store: Store,
}

impl Bench {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(&root.path().join("cache"), &root.path().join("index")).unwrap();
        Self { root, store }
    }

    fn tree(&self, files: &[(&str, &str)]) -> Tree {
        let files = files.iter().map(|(path, text)| ((*path).to_owned(), self.store.put_bytes(text.as_bytes()).unwrap())).collect();
        self.store.sync().unwrap();
        Tree { files, level: Level::Released }
    }

    fn publish(&self, tree: &Tree, overwrite: bool) -> Result<Outcome> {
        let key = tree.digest();
        let what = Publication { task: "table", kind: "report.table", key: &key, port: "table", tree, to: "results/t" };
        publish(&self.store, self.root.path(), &what, overwrite)
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.root.path().join(path)).unwrap()
    }

    fn write(&self, path: &str, text: &str) {
        File::create(self.root.path().join(path)).unwrap().write_all(text.as_bytes()).unwrap();
    }

    fn names(&self, path: &str) -> Vec<String> {
        let entries = fs::read_dir(self.root.path().join(path)).unwrap();
        let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

#[test]
fn one_file_follows_what_the_store_holds() {
    let bench = Bench::new();
    let (one, two) = (bench.tree(&[("x.csv", "1")]), bench.tree(&[("x.csv", "2")]));
    assert_eq!(bench.publish(&one, false).unwrap(), Outcome::Written(1));
    assert_eq!(bench.publish(&one, false).unwrap(), Outcome::Unchanged);
    assert_eq!(bench.names("results"), ["t", "t.tomograph.json"]);
    assert_eq!(bench.publish(&two, false).unwrap(), Outcome::Written(1));
    assert_eq!(bench.read("results/t"), "2");
    fs::remove_file(bench.root.path().join("results/t")).unwrap();
    assert_eq!(bench.publish(&two, false).unwrap(), Outcome::Written(1));
    let sidecar = Sidecar::read(&bench.root.path().join("results/t.tomograph.json")).unwrap();
    assert_eq!((sidecar.files["t"], sidecar.level, sidecar.key), (Digest::of(b"2"), Level::Released, two.digest()));
}

#[test]
fn the_work_of_others_stays() {
    let bench = Bench::new();
    let (one, two) = (bench.tree(&[("x.csv", "1")]), bench.tree(&[("x.csv", "2")]));
    fs::create_dir(bench.root.path().join("results")).unwrap();
    bench.write("results/t", "mine");
    let error = format!("{:#}", bench.publish(&one, false).unwrap_err());
    assert!(error.contains("results/t has content") && error.contains("--overwrite"), "{error}");
    assert_eq!((bench.read("results/t").as_str(), bench.names("results").len()), ("mine", 1));
    bench.publish(&one, true).unwrap();
    bench.write("results/t", "edited");
    bench.publish(&two, false).unwrap_err();
    // Written by hand, but what is wanted: nothing is lost by taking it as ours.
    bench.write("results/t", "2");
    assert_eq!(bench.publish(&two, false).unwrap(), Outcome::Unchanged);
    assert_eq!(bench.publish(&one, false).unwrap(), Outcome::Written(1));
}

#[test]
fn a_folder_loses_what_we_put_there_and_keeps_the_rest() {
    let bench = Bench::new();
    bench.publish(&bench.tree(&[("a/x", "1"), ("b/y", "2"), ("z", "3")]), false).unwrap();
    bench.write("results/t/a/mine", "m");
    bench.write("results/t/z", "edited");
    assert_eq!(bench.publish(&bench.tree(&[("c", "1"), ("b", "4")]), false).unwrap(), Outcome::Written(4));
    assert_eq!(
        (bench.names("results/t"), bench.names("results/t/a")),
        (["a", "b", "c", "z"].map(str::to_owned).to_vec(), vec!["mine".to_owned()])
    );
    // To one file, with the folder in the way.
    let error = format!("{:#}", bench.publish(&bench.tree(&[("x", "1")]), false).unwrap_err());
    assert!(error.contains("is a folder where a file belongs"), "{error}");
}

#[test]
fn after_a_kill_half_way_what_stands_there_is_ours() {
    let bench = Bench::new();
    let (one, two, three) = (bench.tree(&[("x", "1")]), bench.tree(&[("x", "2")]), bench.tree(&[("x", "3")]));
    bench.publish(&one, false).unwrap();
    let old = Sidecar::read(&bench.root.path().join("results/t.tomograph.json")).unwrap();
    bench.publish(&two, false).unwrap();
    let mut half = Sidecar::read(&bench.root.path().join("results/t.tomograph.json")).unwrap();
    half.replaces = old.files;
    for standing in ["1", "2"] {
        bench.write("results/t", standing);
        bench.write("results/t.tomograph.json", std::str::from_utf8(&half.to_bytes()).unwrap());
        assert_eq!(bench.publish(&three, false).unwrap(), Outcome::Written(1));
    }
}

#[test]
fn a_published_file_is_a_copy_and_an_edit_does_not_reach_the_store() {
    let bench = Bench::new();
    let tree = bench.tree(&[("x", "1")]);
    bench.publish(&tree, false).unwrap();
    bench.write("results/t", "9");
    assert_eq!(tree.read("x").unwrap(), b"1");
}

#[test]
fn a_damaged_blob_does_not_leave_the_store() {
    let bench = Bench::new();
    let tree = bench.tree(&[("x", &"7".repeat(20_000))]);
    let blob = tree.files["x"].place.own().unwrap().to_owned();
    fs::set_permissions(&blob, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    File::create(&blob).unwrap().write_all("8".repeat(20_000).as_bytes()).unwrap();
    let error = bench.publish(&tree, false).unwrap_err();
    assert!(error.chain().any(|cause| cause.is::<crate::store::Damaged>()), "{error:#}");
    assert!(!bench.root.path().join("results/t").exists() && !blob.exists());
    assert_eq!(bench.names("cache/damaged"), [tree.files["x"].digest.to_string()]);
    // Nor does a part of what it is in.
    let (root, key) = (bench.root.path(), tree.digest());
    let both = Tree { files: bench.tree(&[("a", "1")]).files.into_iter().chain(tree.files.clone()).collect(), level: Level::Released };
    let what = Publication { task: "table", kind: "k", key: &key, port: "p", tree: &both, to: "" };
    fs::create_dir_all(root.join("out/there")).unwrap();
    for to in ["out/new", "out/there"] {
        export(&bench.store, root, &what, &root.join(to)).unwrap_err();
    }
    assert_eq!((bench.names("out"), bench.names("out/there")), (vec!["there".to_owned()], Vec::new()));
    // Nor does anything where what it is cannot be said beside it.
    fs::create_dir_all(root.join("out/new.tomograph.json/x")).unwrap();
    let whole = bench.tree(&[("a", "1")]);
    export(&bench.store, root, &Publication { tree: &whole, ..what }, &root.join("out/new")).unwrap_err();
    assert_eq!(bench.names("out"), ["new.tomograph.json", "there"]);
    // Made again, it is put where it belongs.
    assert_eq!(bench.publish(&bench.tree(&[("x", &"7".repeat(20_000))]), false).unwrap(), Outcome::Written(1));
}

#[test]
fn identified_data_and_the_store_itself_are_refused() {
    let bench = Bench::new();
    let mut tree = bench.tree(&[("x", "1")]);
    tree.level = Level::Identified;
    assert!(format!("{:#}", bench.publish(&tree, true).unwrap_err()).contains("never leaves the store"));
    let key = tree.digest();
    let what = Publication { task: "import", kind: "k", key: &key, port: "p", tree: &tree, to: "cache/blobs/x" };
    assert!(
        export(&bench.store, bench.root.path(), &what, &bench.root.path().join("out")).is_err() && !bench.root.path().join("out").exists()
    );
    let open = Tree { level: Level::Released, ..tree.clone() };
    let what = Publication { tree: &open, ..what };
    assert!(format!("{:#}", publish(&bench.store, bench.root.path(), &what, true).unwrap_err()).contains("inside the store"));
    export(&bench.store, bench.root.path(), &what, &bench.root.path().join("out")).unwrap();
    assert_eq!((bench.read("out/x").as_str(), bench.names("out")), ("1", vec!["x".to_owned()]));
    assert!(bench.root.path().join("out.tomograph.json").exists());
    assert!(export(&bench.store, bench.root.path(), &what, &bench.root.path().join("out")).is_err());
}
