//! The store against a model: whatever is put, lost and damaged in whatever order, it is a map from content to bytes.

use super::tests::new_store;
use super::*;
use crate::content::{Level, Place, Tree};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// What is done with a store. Contents and items are numbers.
#[derive(Clone, Debug)]
enum Act {
    /// Puts contents one by one.
    Put(Vec<u8>),
    /// Puts a folder of contents, some of them in folders of it.
    Folder(BTreeSet<u8>),
    /// Keeps what an item gave, with the small ones of these contents.
    Item(u8, BTreeSet<u8>),
    /// Goes on in another process, which may have lost the index.
    Reopen { lost_index: bool },
    /// Flips a bit of a content, looks at everything, and mends.
    Flip(u8, usize),
}

fn act() -> impl Strategy<Value = Act> {
    let contents = || prop::collection::btree_set(0..12_u8, 0..5);
    prop_oneof![
        prop::collection::vec(0..12_u8, 1..4).prop_map(Act::Put),
        contents().prop_map(Act::Folder),
        (0..6_u8, contents()).prop_map(|(item, contents)| Act::Item(item, contents)),
        any::<bool>().prop_map(|lost_index| Act::Reopen { lost_index }),
        (0..12_u8, any::<usize>()).prop_map(|(content, bit)| Act::Flip(content, bit)),
    ]
}

/// Every third one is a file of its own, and one is empty.
fn content(number: u8) -> Vec<u8> {
    vec![number; if number % 3 == 1 { 17_000 + usize::from(number) } else { usize::from(number) * 7 }]
}

fn digest(number: u8) -> Digest {
    Digest::of(&content(number))
}

fn item(number: u8) -> Digest {
    Digest::of(&[number, 0, 255])
}

fn place(store: &Store, number: u8) -> Option<Place> {
    store.places(&[(digest(number), content(number).len() as u64)]).unwrap().remove(0)
}

/// A store, and what must be in it.
struct Bench {
    folder: tempfile::TempDir,
    store: Option<Store>,
    contents: BTreeSet<u8>,
    items: BTreeMap<u8, Vec<u8>>,
    /// How often an item was kept: each time is an entry.
    kept: u64,
}

impl Bench {
    fn new() -> Self {
        let (folder, store) = new_store();
        Self { folder, store: Some(store), contents: BTreeSet::new(), items: BTreeMap::new(), kept: 0 }
    }

    fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    fn reopen(&mut self, lost_index: bool) {
        self.store().sync().unwrap();
        let root = self.store().root().to_owned();
        self.store = None;
        if lost_index {
            let _ = fs::remove_dir_all(self.folder.path().join("index"));
        }
        self.store = Some(Store::open(&root, &self.folder.path().join("index")).unwrap());
    }

    fn carry_out(&mut self, act: Act) {
        match act {
            Act::Put(numbers) => {
                for number in numbers {
                    let put = self.store().put_bytes(&content(number)).unwrap();
                    assert_eq!((put.digest, put.size), (digest(number), content(number).len() as u64));
                    self.contents.insert(number);
                }
            }
            Act::Folder(numbers) => {
                let path = |number: u8| if number.is_multiple_of(2) { format!("{number}") } else { format!("d{}/{number}", number % 4) };
                let scratch = self.store().scratch().unwrap();
                for number in &numbers {
                    let path = scratch.path().join(path(*number));
                    fs::create_dir_all(path.parent().unwrap()).unwrap();
                    files::replace(&path, &content(*number)).unwrap();
                }
                let tree = self.store().put_folder(scratch.path(), Level::Released).unwrap();
                let expected: BTreeMap<String, Digest> = numbers.iter().map(|number| (path(*number), digest(*number))).collect();
                assert_eq!(tree.files.iter().map(|(path, file)| (path.clone(), file.digest)).collect::<BTreeMap<_, _>>(), expected);
                assert!(numbers.iter().all(|number| tree.read(&path(*number)).unwrap() == content(*number)));
                let again = Tree::from_manifest(&tree.manifest(), Level::Released).unwrap();
                assert_eq!((again.digest(), again.files.len()), (tree.digest(), numbers.len()));
                self.contents.extend(numbers);
            }
            Act::Item(number, numbers) => {
                let small: Vec<(u8, Vec<u8>)> = numbers.into_iter().map(|number| (number, content(number))).collect();
                let small: Vec<(u8, Vec<u8>)> = small.into_iter().filter(|(_, bytes)| (bytes.len() as u64) < SMALL).collect();
                let blobs: Vec<(Digest, &[u8])> = small.iter().map(|(number, bytes)| (digest(*number), bytes.as_slice())).collect();
                let result = format!("item {number} is {}", self.kept).into_bytes();
                // What an item gave follows from its key, so another result never comes under the same one.
                let result = self.items.entry(number).or_insert(result).clone();
                let places = self.store().put_with_item(&blobs, Some((&item(number), &result))).unwrap();
                for ((number, bytes), place) in small.iter().zip(places) {
                    let file = crate::content::FileRef { digest: digest(*number), size: bytes.len() as u64, place };
                    assert_eq!(file.read().unwrap(), *bytes);
                    self.contents.insert(*number);
                }
                self.kept += 1;
            }
            Act::Reopen { lost_index } => self.reopen(lost_index),
            Act::Flip(number, bit) => self.flip_and_mend(number, bit),
        }
    }

    fn flip_and_mend(&mut self, number: u8, bit: usize) {
        self.reopen(false);
        let size = content(number).len();
        let Some(place) = place(self.store(), number).filter(|_| size > 0) else { return };
        let (at, mut bytes) = (place.at.unwrap_or_default() as usize + bit / 8 % size, fs::read(&place.file).unwrap());
        bytes[at] ^= 1 << (bit % 8);
        // A blob is read-only: another file takes its place, as a disk would give it.
        files::replace(&place.file, &bytes).unwrap();
        let verified = self.store().verify(&|_, _| ()).unwrap();
        assert_eq!(verified.findings.len(), 1, "a bit of {number}");
        let repaired = self.store().repair(&verified).unwrap();
        assert!(repaired.left.is_empty());
        self.contents.remove(&number);
        self.reopen(false);
    }

    /// Everything is there that was put, once, and nothing else.
    fn check(&self) {
        let store = self.store();
        for number in 0..12 {
            let expected = self.contents.contains(&number).then(|| content(number));
            assert_eq!(store.read_blob(&digest(number)).unwrap(), expected, "content {number}");
        }
        let keys: Vec<Digest> = (0..6).map(item).collect();
        let found = store.items(&keys, || (), |_, _, bytes| Some(bytes.to_vec())).unwrap();
        assert_eq!(found, (0..6).map(|number| self.items.get(&number).cloned()).collect::<Vec<_>>());
        store.sync().unwrap();
        let verified = store.verify(&|_, _| ()).unwrap();
        assert_eq!((verified.findings, verified.torn), (Vec::new(), Vec::new()));
        assert_eq!(verified.blobs + verified.entries, self.contents.len() as u64 + self.kept);
    }
}

proptest! {
    #![proptest_config(crate::law::cases(24))]

    #[test]
    fn a_store_is_a_map(acts in prop::collection::vec(act(), 1..12)) {
        let mut bench = Bench::new();
        for act in acts {
            bench.carry_out(act);
            bench.check();
        }
    }
}
