//! Tests of blobs.

use super::super::Scratch;
use super::super::tests::new_store;
use super::*;

fn folder_of(store: &Store, files: &[(&str, &str)]) -> Scratch {
    let scratch = store.scratch().unwrap();
    for (name, text) in files {
        let path = scratch.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        File::create(path).unwrap().write_all(text.as_bytes()).unwrap();
    }
    scratch
}

fn count_blobs(store: &Store) -> usize {
    let folders = fs::read_dir(store.root().join("blobs")).unwrap();
    folders.map(|folder| fs::read_dir(folder.unwrap().path()).unwrap().count()).sum()
}

/// Text that is no small blob.
fn long(text: &str) -> String {
    format!("{text:20000}")
}

#[test]
fn a_folder_goes_in_and_comes_back() {
    let (_folder, store) = new_store();
    let files = [("index.tsv", "item\n"), ("a/one.png", &long("1")), ("a/two.png", &long("2")), ("b/one.png", &long("1"))];
    let tree = store.put_folder(folder_of(&store, &files).path(), Level::Identified).unwrap();
    assert_eq!(tree.files.keys().collect::<Vec<_>>(), ["a/one.png", "a/two.png", "b/one.png", "index.tsv"]);
    for (name, text) in files {
        assert_eq!(tree.read(name).unwrap(), text.as_bytes());
        match tree.files[name].place.own() {
            Some(path) => assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o444),
            None => assert_eq!(name, "index.tsv"),
        }
    }
    let manifest = store.put_tree(&tree).unwrap();
    store.sync().unwrap();
    assert_eq!((manifest, count_blobs(&store)), (tree.digest(), 2));
    assert_eq!(store.tree(&manifest, Level::Identified).unwrap().unwrap(), tree);
    assert_eq!(store.put_folder(folder_of(&store, &files).path(), Level::Identified).unwrap(), tree);
    assert_eq!(count_blobs(&store), 2);
    let own = store.own_file(&tree.files["index.tsv"]).unwrap();
    assert_eq!((fs::read(&own).unwrap(), count_blobs(&store)), (b"item\n".to_vec(), 3));
}

#[test]
fn a_tree_with_a_lost_or_shortened_blob_is_gone_until_it_is_put_again() {
    let (_folder, store) = new_store();
    let files: Vec<(String, String)> = (0..100).map(|at| (format!("{at}"), long(&format!("text {at}")))).collect();
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let tree = store.put_folder(folder_of(&store, &files).path(), Level::Released).unwrap();
    let manifest = store.put_tree(&tree).unwrap();
    store.sync().unwrap();
    fs::remove_file(&tree.files["7"].place.file).unwrap();
    assert_eq!(store.tree(&manifest, Level::Released).unwrap(), None);
    File::create(&tree.files["7"].place.file).unwrap();
    assert_eq!(store.tree(&manifest, Level::Released).unwrap(), None);
    store.put_folder(folder_of(&store, &files).path(), Level::Released).unwrap();
    assert_eq!(store.tree(&manifest, Level::Released).unwrap(), Some(tree));
    assert_eq!(store.tree(&Digest::of(b"never"), Level::Released).unwrap(), None);
}

#[test]
fn links_in_outputs_are_named_and_shared_files_are_copied() {
    let (outside, store) = new_store();
    let scratch = folder_of(&store, &[("a/x", "1")]);
    std::os::unix::fs::symlink("x", scratch.path().join("a/y")).unwrap();
    let error = store.put_folder(scratch.path(), Level::Released).unwrap_err();
    assert!(format!("{error:#}").contains("`a/y` is a link"), "{error:#}");

    let theirs = outside.path().join("theirs");
    File::create(&theirs).unwrap().write_all(b"mine").unwrap();
    let scratch = store.scratch().unwrap();
    fs::hard_link(&theirs, scratch.path().join("x")).unwrap();
    let tree = store.put_folder(scratch.path(), Level::Released).unwrap();
    File::create(&theirs).unwrap().write_all(b"changed").unwrap();
    assert_eq!(tree.read("x").unwrap(), b"mine");
}

#[test]
fn bytes_get_their_name_only_by_a_sync() {
    let (_folder, store) = new_store();
    let file = store.put_bytes(long("row").as_bytes()).unwrap();
    assert!(!file.place.file.exists());
    assert_eq!(store.read_blob(&file.digest).unwrap().unwrap(), long("row").as_bytes());
    std::thread::scope(|scope| {
        for at in 0..4 {
            let store = &store;
            scope.spawn(move || {
                (0..50).for_each(|number| drop(store.put_bytes(long(&format!("{}", number * (at % 2))).as_bytes()).unwrap()));
                store.sync().unwrap();
            });
        }
    });
    assert!(file.place.file.exists());
    assert_eq!(count_blobs(&store), 51);
}

#[test]
fn a_blob_with_other_bytes_is_damage() {
    let (_folder, store) = new_store();
    let file = store.put_bytes(long("right").as_bytes()).unwrap();
    store.sync().unwrap();
    fs::remove_file(&file.place.file).unwrap();
    File::create(&file.place.file).unwrap().write_all(b"wrong").unwrap();
    assert!(store.read_blob(&file.digest).unwrap_err().downcast_ref::<Damaged>().is_some());
    let file = store.put_bytes(b"no manifest").unwrap();
    assert!(store.tree(&file.digest, Level::Released).unwrap_err().downcast_ref::<Damaged>().is_some());
}
