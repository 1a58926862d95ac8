//! Tests of packs: what is appended is found, whatever a crash tears.

use super::super::pack::HEAD;
use super::*;
use proptest::prelude::*;

struct Bench {
    root: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("packs")).unwrap();
        Self { root }
    }

    fn open(&self) -> Packs {
        let index = Arc::new(Index::open(&self.root.path().join("index"), self.root.path(), "1"));
        Packs::new(self.root.path().join("packs"), index)
    }

    fn pack(&self) -> PathBuf {
        let packs = self.open().list().unwrap();
        assert_eq!(packs.len(), 1);
        packs.into_values().next().unwrap()
    }
}

fn put(packs: &Packs, number: usize) -> Spot {
    packs.append(&[(Tag::Item, key(number), format!("payload {number}").as_bytes())]).unwrap().remove(0)
}

fn key(number: usize) -> Digest {
    Digest::of(&number.to_le_bytes())
}

fn get(packs: &Packs, number: usize) -> Option<String> {
    let spot = packs.find(Tag::Item, &key(number)).unwrap().pop()?;
    Some(String::from_utf8(spot.read().unwrap()?).unwrap())
}

#[test]
fn what_is_appended_is_found_here_and_by_others() {
    let bench = Bench::new();
    let (one, two) = (bench.open(), bench.open());
    put(&one, 1);
    assert_eq!((get(&one, 1), get(&two, 1)), (Some("payload 1".into()), Some("payload 1".into())));
    put(&one, 2);
    assert_eq!((get(&one, 2), get(&two, 2)), (Some("payload 2".into()), None));
    two.refresh().unwrap();
    assert_eq!(get(&two, 2).as_deref(), Some("payload 2"));
    // A second writer does not touch the first one's pack.
    put(&two, 3);
    assert_eq!(one.list().unwrap().len(), 2);
    drop((one, two));
    let three = bench.open();
    assert_eq!([1, 2, 3, 4].map(|number| get(&three, number).is_some()), [true, true, true, false]);
    put(&three, 4);
    assert_eq!(three.list().unwrap().len(), 2, "a pack that nobody holds is appended to");
}

#[test]
fn a_torn_tail_costs_what_is_torn() {
    let bench = Bench::new();
    let first = bench.open();
    let spots: Vec<Spot> = (0..3).map(|number| put(&first, number)).collect();
    drop(first);
    let first_pack = bench.pack();
    let whole = fs::read(&first_pack).unwrap();
    let end_of_second = spots[2].at as usize - HEAD;
    for length in 0..whole.len() {
        let _ = fs::remove_dir_all(bench.root.path().join("index"));
        files::replace(&first_pack, &whole[..length]).unwrap();
        let packs = bench.open();
        let there = (0..3).filter(|number| get(&packs, *number).is_some()).count();
        assert_eq!(there == 2, (end_of_second..whole.len()).contains(&length), "{length}");
        put(&packs, 7);
        let whole_entries = [MAGIC.len(), spots[1].at as usize - HEAD, end_of_second].contains(&length);
        assert_eq!(packs.list().unwrap().len() == 1, whole_entries, "{length}");
        drop(packs);
        let again = bench.open();
        assert_eq!(get(&again, 7).as_deref(), Some("payload 7"));
        assert_eq!((0..3).filter(|number| get(&again, *number).is_some()).count(), there);
        again.list().unwrap().into_values().filter(|path| *path != first_pack).for_each(|path| fs::remove_file(path).unwrap());
    }
}

#[test]
fn the_index_can_be_lost_and_a_shortened_pack_is_read_anew() {
    let bench = Bench::new();
    let packs = bench.open();
    (0..10).for_each(|number| drop(put(&packs, number)));
    drop(packs);
    fs::remove_dir_all(bench.root.path().join("index")).unwrap();
    assert_eq!(get(&bench.open(), 9).as_deref(), Some("payload 9"));
    let bytes = fs::read(bench.pack()).unwrap();
    files::replace(&bench.pack(), &bytes[..bytes.len() - 1]).unwrap();
    let packs = bench.open();
    assert_eq!((get(&packs, 8).as_deref(), get(&packs, 9)), (Some("payload 8"), None));
}

#[test]
fn a_flipped_bit_hides_its_entry_only() {
    let bench = Bench::new();
    let packs = bench.open();
    (0..3).for_each(|number| drop(put(&packs, number)));
    drop(packs);
    let mut bytes = fs::read(bench.pack()).unwrap();
    bytes[MAGIC.len() + HEAD] ^= 1;
    files::replace(&bench.pack(), &bytes).unwrap();
    let found: Vec<Digest> = scan(&bench.pack(), 0).unwrap().0.into_iter().map(|entry| entry.key).collect();
    assert_eq!(found, [key(1), key(2)]);
}

#[test]
fn an_index_that_is_begun_anew_while_somebody_writes_misses_nothing() {
    let bench = Bench::new();
    let packs = bench.open();
    (0..3).for_each(|number| drop(put(&packs, number)));
    packs.sync().unwrap();
    packs.index.packs().into_values().for_each(|(number, _)| packs.index.forget_pack(number));
    (3..5).for_each(|number| drop(put(&packs, number)));
    drop(packs);
    let again = bench.open();
    assert_eq!((0..5).filter(|number| get(&again, *number).is_some()).count(), 5);
}

proptest! {
    #![proptest_config(crate::law::cases(24))]

    /// Whatever is found of many keys at once is found of each alone, be it in this process's pack, in another's or in several.
    #[test]
    fn of_many_keys_each_is_found_as_if_alone(
        packs in prop::collection::vec(prop::collection::vec(0..600_usize, 0..300), 1..4),
        asked in prop::collection::vec(0..700_usize, 0..700),
        writes_on in any::<bool>(),
    ) {
        let bench = Bench::new();
        // Held together, so that each appends to a pack of its own.
        let writers: Vec<Packs> = packs.iter().map(|_| bench.open()).collect();
        for (writer, numbers) in writers.iter().zip(&packs) {
            numbers.iter().for_each(|number| drop(put(writer, *number)));
            writer.sync().unwrap();
        }
        let reader = if writes_on { writers.into_iter().next().unwrap() } else { bench.open() };
        reader.refresh().unwrap();
        let keys: Vec<Digest> = asked.iter().map(|number| key(*number)).collect();
        let found = reader.find_each(Tag::Item, &keys).unwrap();
        prop_assert_eq!(&found, &reader.find_each_there(Tag::Item, &keys).unwrap());
        prop_assert!(reader.find_each(Tag::Blob, &keys).unwrap().iter().all(Option::is_none));
        for (number, spot) in asked.iter().zip(found) {
            prop_assert_eq!(spot.is_some(), packs.iter().flatten().any(|put| put == number));
            if let Some(spot) = spot {
                prop_assert!(reader.find(Tag::Item, &key(*number)).unwrap().contains(&spot));
                prop_assert_eq!(spot.read().unwrap(), Some(format!("payload {number}").into_bytes()));
            }
        }
    }
}
