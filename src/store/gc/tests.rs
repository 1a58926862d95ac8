//! Garbage collection against small stores whose contents are known.

use super::super::tests::new_store;
use super::super::{NamedRun, OutputRecord, Record};
use super::*;
use crate::content::{Level, Tree};
use crate::few::Few;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::fs;

/// Key manifests and items here are lists of digests, one a line; a key manifest may begin with `model`.
struct Plain;

impl Contents for Plain {
    fn said(&self, key_manifest: &[u8]) -> Said {
        let text = String::from_utf8_lossy(key_manifest);
        Said { inputs: text.lines().filter_map(|line| line.parse().ok()).collect(), has_model: text.starts_with("model") }
    }

    fn files(&self, item: &[u8]) -> Option<Vec<Digest>> {
        String::from_utf8_lossy(item).lines().map(|line| line.parse().ok()).collect()
    }
}

const NOTHING_SPARED: GcOptions =
    GcOptions { older_than: Duration::ZERO, keep_last: 1, max_size: None, models: false, spare: Duration::ZERO };

fn content(number: u8) -> Vec<u8> {
    // Every other one is a file of its own.
    vec![number; if number.is_multiple_of(2) { 20_000 } else { 60 }]
}

/// A result under key `number`, of these contents.
fn put(store: &Store, number: u8, contents: &[u8], more: &str, parts: &[u8]) -> Digest {
    let key = Digest::of(&[number, 255]);
    let files = contents.iter().map(|one| (format!("{one}"), store.put_bytes(&content(*one)).unwrap())).collect();
    let tree = Tree { files, level: Level::Released };
    let manifest = store.put_tree(&tree).unwrap();
    let record = Record {
        version: Record::VERSION,
        key,
        key_manifest: store.put_bytes(format!("{more}\nkey {number}").as_bytes()).unwrap().digest,
        kind: "k".into(),
        task: format!("stage{number}[a=1]"),
        pipeline: "p".into(),
        outputs: Few::from([("o".to_owned(), OutputRecord { manifest, files: 1, bytes: 1, level: Level::Released })]),
        started: utc(SystemTime::now() - Duration::from_secs(10)),
        seconds: 0.0,
        host: "".into(),
        build: "".into(),
        device: "".into(),
        threads: 1,
        items: 0,
        items_ran: None,
        quarantined: 0,
        warnings: Vec::new(),
        sources: BTreeMap::new(),
        effect: more == "effect",
        parts: parts.iter().map(|part| Digest::of(&[*part, 255])).collect(),
        accepted: None,
    };
    store.publish(&record).unwrap();
    key
}

fn run(store: &Store, pipeline: &str, keys: &[Digest]) -> String {
    let log = store.begin_run(pipeline, &serde_json::Value::Null).unwrap();
    keys.iter().for_each(|key| log.task(&key.short(), "k", Some(key), "cached", 0.0, "").unwrap());
    log.end(&serde_json::json!({ "failed": 0, "skipped": 0, "interrupted": false })).unwrap();
    log.id().to_owned()
}

fn reopened(folder: &tempfile::TempDir, store: Store) -> Store {
    let root = store.root().to_owned();
    drop(store);
    Store::open(&root, &folder.path().join("index")).unwrap()
}

fn collect(store: &Store, options: &GcOptions) -> Collected {
    let expected = std::cell::Cell::new(0);
    let tell = |garbage: &Garbage| {
        expected.set(garbage.frees.total());
        Ok(())
    };
    let done = store.collect(options, &Plain, &tell).unwrap();
    assert!(done.in_use.is_empty());
    // A pack with nothing left in it goes whole, and another may begin: 16 bytes each.
    assert!(done.bytes.abs_diff(expected.get()) <= 64, "said {}, freed {}", expected.get(), done.bytes);
    done
}

/// Which of the contents are there.
fn there(store: &Store) -> BTreeSet<u8> {
    (0..=255).filter(|one| store.read_blob(&Digest::of(&content(*one))).unwrap().is_some()).collect()
}

#[test]
fn what_the_last_run_reaches_stays_and_the_rest_goes() {
    let (folder, store) = new_store();
    let old = put(&store, 1, &[10, 11, 12], "", &[]);
    let new = put(&store, 2, &[12, 13, 14], "", &[3]);
    let part = put(&store, 3, &[16, 17], "", &[]);
    let model = put(&store, 4, &[20, 21], "model", &[]);
    let effect = put(&store, 5, &[23], "effect", &[]);
    let item = |number: u8, files: &[u8]| {
        let text: String = files.iter().map(|one| format!("{}\n", Digest::of(&content(*one)))).collect();
        store.put_item(&Digest::of(&[number, 254]), text.as_bytes()).unwrap();
    };
    item(1, &[10]);
    item(2, &[12, 13]);
    item(3, &[]);
    run(&store, "p", &[old]);
    run(&store, "p", &[new]);
    store.sync().unwrap();
    let store = reopened(&folder, store);
    let look = store.garbage(&NOTHING_SPARED, &Plain).unwrap();
    assert_eq!((look.frees.results, look.frees.blobs.count, look.kept_runs, look.live), (1, 1, 1, false));
    assert_eq!(look.frees.stages["stage1"], Amount { count: 1, bytes: 20_000 });
    collect(&store, &NOTHING_SPARED);
    assert_eq!(there(&store), BTreeSet::from([12, 13, 14, 16, 17, 20, 21, 23]));
    let keys: Vec<Digest> = (1..4).map(|number| Digest::of(&[number, 254])).collect();
    assert_eq!(store.items_given(&keys).into_keys().collect::<BTreeSet<_>>(), BTreeSet::from([keys[1]]));
    assert!(store.records(&old).unwrap().is_empty());
    for key in [new, part, model, effect] {
        assert_eq!(store.records(&key).unwrap().len(), 1);
    }
    assert_eq!(store.runs("p").unwrap().len(), 1);
    assert_eq!(store.garbage(&NOTHING_SPARED, &Plain).unwrap().frees.total(), 0, "a second time there is nothing");
    collect(&store, &GcOptions { models: true, ..NOTHING_SPARED });
    assert_eq!(there(&store), BTreeSet::from([12, 13, 14, 16, 17, 23]));
    assert_eq!(store.verify(&|_, _| ()).unwrap().findings, []);
}

#[test]
fn what_is_young_or_named_or_another_pipelines_last_word_stays() {
    let (folder, store) = new_store();
    let keys: Vec<Digest> = (0..6).map(|number| put(&store, number, &[2 * number, 2 * number + 1], "", &[])).collect();
    let named = run(&store, "p", &keys[0..1]);
    run(&store, "p", &keys[1..2]);
    run(&store, "p", &keys[2..3]);
    run(&store, "q", &keys[3..4]);
    // Relied on by the last run of p, and the last word of q on its task.
    run(&store, "q", &keys[4..5]);
    let log = store.begin_run("p", &serde_json::Value::Null).unwrap();
    log.reach(vec![keys[3]]).unwrap();
    log.end(&serde_json::Value::Null).unwrap();
    drop(log);
    let name = NamedRun {
        version: NamedRun::VERSION,
        name: "n".to_owned(),
        pipeline: "p".to_owned(),
        run: named,
        note: String::new(),
        named: utc(SystemTime::now()),
        keys: BTreeSet::from([keys[0]]),
    };
    assert!(store.name_run(&name).unwrap());
    let store = reopened(&folder, store);
    let hour = GcOptions { spare: Duration::from_secs(3600), ..NOTHING_SPARED };
    assert_eq!(store.garbage(&hour, &Plain).unwrap().frees.total(), 0);
    let month = GcOptions { older_than: Duration::from_secs(3600), ..NOTHING_SPARED };
    let unreached = store.garbage(&month, &Plain).unwrap();
    assert_eq!((unreached.frees.results, unreached.kept_runs), (1, 6), "the runs are young, but no run names the last result");
    collect(&store, &NOTHING_SPARED);
    // 2: the last run of p that did all of it; 3: relied on; 4: the last run of q.
    assert_eq!(there(&store), BTreeSet::from([0, 1, 4, 5, 6, 7, 8, 9]));
    assert_eq!((store.runs("p").unwrap().len(), store.runs("q").unwrap().len()), (3, 2));
}

#[test]
fn a_smaller_store_loses_older_runs_first() {
    let (folder, store) = new_store();
    for number in 0..5 {
        let key = put(&store, number, &[2 * number], "", &[]);
        run(&store, "p", &[key]);
        std::thread::sleep(Duration::from_millis(3));
    }
    let store = reopened(&folder, store);
    let month = GcOptions { older_than: Duration::from_secs(3600), ..NOTHING_SPARED };
    assert_eq!(store.garbage(&month, &Plain).unwrap().frees.total(), 0);
    let all = store.size().unwrap().total();
    let runs = store.garbage(&GcOptions { max_size: Some(all), ..month.clone() }, &Plain).unwrap().kept_runs;
    assert_eq!(runs, 5);
    collect(&store, &GcOptions { max_size: Some(all - 20_000), ..month.clone() });
    assert_eq!(there(&store), BTreeSet::from([2, 4, 6, 8]));
    assert!(store.size().unwrap().total() <= all - 20_000);
    collect(&store, &GcOptions { max_size: Some(0), ..month });
    assert_eq!(there(&store), BTreeSet::from([8]), "the last run stays");
}

#[test]
fn a_run_that_goes_on_keeps_what_it_named_touched_and_made() {
    let (_folder, store) = new_store();
    let keys: Vec<Digest> = (0..4).map(|number| put(&store, number, &[2 * number], "", &[])).collect();
    run(&store, "p", &keys[3..4]);
    std::thread::sleep(Duration::from_millis(20));
    let log = store.begin_run("p", &serde_json::Value::Null).unwrap();
    log.task("a", "k", Some(&keys[0]), "cached", 0.0, "").unwrap();
    log.flush().unwrap();
    // The same bytes again, and some that are new; neither is of a result yet.
    store.put_bytes(&content(2)).unwrap();
    store.put_bytes(&content(100)).unwrap();
    store.sync().unwrap();
    let told = std::cell::Cell::new(false);
    let named_meanwhile = |garbage: &Garbage| {
        assert!(garbage.live && garbage.packs.is_empty() && garbage.frees.blobs.count == 1, "{:?}", garbage.frees);
        told.set(true);
        log.task("c", "k", Some(&keys[2]), "cached", 0.0, "")?;
        log.flush()
    };
    store.collect(&NOTHING_SPARED, &Plain, &named_meanwhile).unwrap();
    assert!(told.get());
    assert_eq!(there(&store), BTreeSet::from([0, 2, 4, 6, 100]));
    assert!(keys.iter().all(|key| store.records(key).unwrap().len() == 1));
    drop(log);
}

#[test]
fn who_cannot_tell_what_is_reached_frees_nothing() {
    let (folder, store) = new_store();
    put(&store, 1, &[2], "", &[]);
    let key = put(&store, 2, &[4], "", &[]);
    let id = run(&store, "p", &[key]);
    let store = reopened(&folder, store);
    let journal = store.root().join("runs").join(crate::store::runs::folder_of("p")).join(format!("{id}.jsonl"));
    let text = fs::read_to_string(&journal).unwrap();
    let write = |text: &str| crate::store::replace(&journal, text.as_bytes()).unwrap();
    // The beginning of a line at the end is what a kill leaves.
    write(&format!("{text}{{\"event\":\"ta"));
    assert_eq!(store.garbage(&NOTHING_SPARED, &Plain).unwrap().frees.results, 1);
    for wrong in [text.replacen("task", "tusk", 1), text.replacen('{', "", 1), format!("{text}{{\"event\":\"later\"}}\n")] {
        write(&wrong);
        let error = store.collect(&NOTHING_SPARED, &Plain, &|_| panic!("told")).unwrap_err();
        assert!(error.is::<LostRoots>(), "{error:#}");
    }
    assert_eq!(there(&store), BTreeSet::from([2, 4]));
}

proptest! {
    #![proptest_config(crate::law::cases(24))]

    /// Results with some contents, runs that name some results: after gc, what the last run reaches is there, and nothing else.
    #[test]
    fn exactly_what_kept_runs_reach_stays(
        results in prop::collection::vec(prop::collection::vec(0_u8..20, 1..4), 1..7),
        runs in prop::collection::vec((0_u8..3, prop::collection::vec(0_usize..7, 0..4)), 0..6),
        keep_last in 1_usize..3,
    ) {
        let (folder, store) = new_store();
        let keys: Vec<Digest> = results.iter().enumerate().map(|(at, one)| put(&store, at as u8, one, "", &[])).collect();
        let mut last: BTreeMap<u8, Vec<&Vec<usize>>> = BTreeMap::new();
        for (pipeline, named) in &runs {
            let named_keys: Vec<Digest> = named.iter().filter_map(|at| keys.get(*at)).copied().collect();
            run(&store, &format!("p{pipeline}"), &named_keys);
            last.entry(*pipeline).or_default().push(named);
        }
        let store = reopened(&folder, store);
        let kept: BTreeSet<usize> = last.values().flat_map(|runs| runs.iter().rev().take(keep_last)).flat_map(|named| named.iter().copied()).collect();
        let expected: BTreeSet<u8> = kept.iter().filter_map(|at| results.get(*at)).flatten().copied().collect();
        let options = GcOptions { keep_last, ..NOTHING_SPARED };
        collect(&store, &options);
        prop_assert_eq!(there(&store), expected);
        for (at, key) in keys.iter().enumerate() {
            let records = store.records(key).unwrap();
            prop_assert_eq!(records.len(), usize::from(kept.contains(&at)));
            for output in records.iter().flat_map(|record| record.outputs.values()) {
                prop_assert!(store.tree(&output.manifest, Level::Released).unwrap().is_some());
            }
        }
        prop_assert_eq!(store.garbage(&options, &Plain).unwrap().frees.total(), 0);
        prop_assert_eq!(store.verify(&|_, _| ()).unwrap().findings, vec![]);
    }
}
