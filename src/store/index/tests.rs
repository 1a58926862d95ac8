//! Tests of the index: broken, outdated or absent, it is only a memory.

use super::super::tests::new_store;
use super::*;

fn entry(number: u64) -> (Stamp, Digest) {
    (Stamp { device: u64::MAX, inode: number, size: 1, modified: -1, changed: i64::MAX }, Digest::of(&number.to_le_bytes()))
}

#[test]
fn a_broken_index_is_set_aside_and_begun_anew() {
    let (folder, _store) = new_store();
    let index = Index::open(folder.path(), folder.path(), "1");
    fs::File::create(&index.file).unwrap().set_len(10_000).unwrap();
    files::replace(&index.file, &[7; 10_000]).unwrap();
    index.write_memo(&[entry(1)]);
    assert_eq!(index.read_memo().len(), 1);
    assert_eq!(fs::read(index.file.with_extension("broken")).unwrap(), [7; 10_000]);
    drop(index);
    assert_eq!(Index::open(folder.path(), folder.path(), "1").read_memo()[&(u64::MAX, 1)], entry(1));
}

#[test]
fn an_index_with_other_tables_is_begun_anew() {
    let (folder, _store) = new_store();
    let index = Index::open(folder.path(), folder.path(), "1");
    let other = Connection::open(&index.file).unwrap();
    other.execute_batch("CREATE TABLE store (identity TEXT); INSERT INTO store VALUES ('1'); PRAGMA user_version = 1").unwrap();
    drop(other);
    index.write_memo(&[entry(1)]);
    assert_eq!(index.read_memo().len(), 1);
}

#[test]
fn without_a_file_the_index_is_in_memory() {
    let (folder, store) = new_store();
    let index = Index::open(&store.root().join("VERSION"), folder.path(), "1");
    index.write_memo(&[entry(1), entry(2)]);
    assert_eq!(index.read_memo().len(), 2);
}

#[test]
fn another_store_in_the_same_place_has_no_last_keys() {
    let (folder, _store) = new_store();
    let last = Last { task: "t".to_owned(), kind: "k".to_owned(), key: Digest::of(b"1") };
    let index = Index::open(folder.path(), folder.path(), "1");
    index.write_memo(&[entry(1)]);
    index.take_journal("p", "r", 10, std::slice::from_ref(&last));
    drop(index);
    assert_eq!(Index::open(folder.path(), folder.path(), "1").last("p"), [last]);
    let other = Index::open(folder.path(), folder.path(), "2");
    assert_eq!((other.last("p"), other.seen("p").len(), other.read_memo().len()), (vec![], 0, 1));
}

#[test]
fn a_long_log_is_emptied_and_a_short_one_stays() {
    let (folder, _store) = new_store();
    let index = Index::open(folder.path(), folder.path(), "1");
    let length = || fs::metadata(index.log()).map_or(0, |log| log.len());
    index.write_memo(&[entry(0)]);
    assert!((1..=LONG).contains(&length()), "{}", length());
    let many: Vec<_> = (0..20_000).map(entry).collect();
    // Another reads meanwhile, as long as it likes: it is not waited for.
    let other = Connection::open(&index.file).unwrap();
    other.execute_batch("BEGIN; SELECT count(*) FROM memo").unwrap();
    index.write_memo(&many[..10_000]);
    index.write_memo(&many[10_000..]);
    assert!(length() > LONG);
    other.execute_batch("COMMIT").unwrap();
    index.write_memo(&[entry(0)]);
    assert_eq!(length(), 0);
    assert_eq!(Index::open(folder.path(), folder.path(), "1").read_memo().len(), many.len());
}
