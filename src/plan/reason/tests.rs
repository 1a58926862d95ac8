//! Laws and examples of reasons.

use super::*;
use crate::content::{FileRef, Place};
use crate::plan::key::CommandKey;
use proptest::prelude::*;
use serde_json::json;

fn manifest(params: Value) -> KeyManifest {
    KeyManifest::new("classifier.train", 1, params)
}

fn reasons(old: &KeyManifest, new: &KeyManifest) -> Vec<String> {
    difference(old, new, &|_, _, _| Vec::new()).iter().map(ToString::to_string).collect()
}

#[test]
fn a_changed_param_reads_as_users_write_it() {
    let (old, new) = (manifest(json!({"learning_rate": 1e-4, "dense": [1, 2]})), manifest(json!({"learning_rate": 1e-3, "dense": [1]})));
    assert_eq!(reasons(&old, &new), ["params.dense[1]: removed (was 2)", "params.learning_rate: 0.0001 → 0.001"]);
}

#[test]
fn a_changed_revision_says_what_it_changed() {
    let revisions = [(2, "opacities are denser"), (3, "noise is grey"), (4, "not yet")];
    let mut changed = difference(&manifest(json!({})), &KeyManifest::new("classifier.train", 3, json!({})), &|_, _, _| Vec::new());
    tell_revisions(&mut changed, &revisions);
    assert_eq!(changed[0].to_string(), "revision: 1 → 3 (opacities are denser; noise is grey)");
    // A param of that name is not the kind's revision.
    let mut changed = difference(&manifest(json!({"revision": 1})), &manifest(json!({"revision": 2})), &|_, _, _| Vec::new());
    tell_revisions(&mut changed, &revisions);
    assert_eq!(changed[0].to_string(), "params.revision: 1 → 2");
}

#[test]
fn a_changed_input_is_named_by_its_port() {
    let mut old = manifest(json!({}));
    let part = |text: &str| {
        vec![PartKey { at: Default::default(), digest: Some(Digest::of(text.as_bytes())), level: Level::Released, hole: None }]
    };
    old.inputs.insert("train".into(), part("a"));
    let mut new = old.clone();
    new.inputs.insert("train".into(), part("b"));
    assert_eq!(reasons(&old, &new), ["inputs.train: changed"]);
}

#[test]
fn parts_are_compared_by_their_coordinates() {
    let part = |seed: i64, text: &str| PartKey {
        at: Coordinates::from([("seed".to_owned(), crate::stage::Value::Int(seed))]),
        digest: Some(Digest::of(text.as_bytes())),
        level: Level::Released,
        hole: None,
    };
    let gather = |parts: Vec<PartKey>| {
        let mut gather = manifest(json!({}));
        gather.inputs.insert("i".into(), parts);
        gather
    };
    let told = |old: &KeyManifest, new: &KeyManifest| -> Vec<String> {
        sum_up(difference(old, new, &|_, _, _| Vec::new())).iter().map(ToString::to_string).collect()
    };
    let old = gather((1..=4).map(|seed| part(seed, "a")).collect());
    let less = gather((2..=4).map(|seed| part(seed, "a")).collect());
    assert_eq!(told(&old, &less), ["inputs.i: seed=1 is no longer among the parts"]);
    assert_eq!(told(&less, &old), ["inputs.i: seed=1 is new among the parts"]);
    let other = gather((1..=4).map(|seed| part(seed, if seed == 3 { "b" } else { "a" })).collect());
    assert_eq!(told(&old, &other), ["inputs.i[seed=3]: changed"]);
    let many = |seeds: std::ops::RangeInclusive<i64>, text: &str| gather(seeds.map(|seed| part(seed, text)).collect());
    assert_eq!(
        told(&many(1..=14, "a"), &many(13..=20, "b")),
        [
            "inputs.i: seed=1 and 11 others are no longer among the parts",
            "inputs.i[seed=13]: changed",
            "inputs.i[seed=14]: changed",
            "inputs.i: seed=15 and 5 others are new among the parts"
        ]
    );
    let (old, new) = (many(1..=12, "a"), many(1..=12, "b"));
    assert_eq!(told(&old, &new)[2..], ["inputs.i: seed=3 and 9 others changed"]);
    assert_eq!(told(&old, &new).len(), 3);
}

fn tree() -> impl Strategy<Value = Tree> {
    let file = |content: u8| FileRef { digest: Digest::of(&[content]), size: 1, place: Place::default() };
    let files = prop::collection::btree_map("[ab/]{1,2}", (0..3_u8).prop_map(file), 0..6);
    files.prop_map(|files| Tree { files, level: Level::Released })
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (0..3i64).prop_map(Value::from),
        "[a.\\[\"]{0,2}".prop_map(Value::from)
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map("[ab.\\[\"0]{0,2}", inner, 0..3).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn coordinates() -> impl Strategy<Value = Coordinates> {
    let value = prop_oneof![
        (0..2_i64).prop_map(crate::stage::Value::Int),
        any::<bool>().prop_map(crate::stage::Value::Bool),
        "[01a]".prop_map(crate::stage::Value::Text)
    ];
    prop::collection::btree_map("[ab]", value, 0..2).prop_map(|map| map.into_iter().collect())
}

fn part() -> impl Strategy<Value = PartKey> {
    let level = prop_oneof![Just(Level::Released), Just(Level::Pseudonymous), Just(Level::Identified)];
    let digest = prop::option::of((0..3_u8).prop_map(|number| Digest::of(&[number])));
    (coordinates(), digest, prop::option::of("[ab]?"), level).prop_map(|(at, digest, hole, level)| PartKey { at, digest, hole, level })
}

fn command() -> impl Strategy<Value = CommandKey> {
    let texts = || prop::collection::btree_map("[ab.]", "[ab]?", 0..2);
    let code = prop::collection::btree_map("[ab./]", (0..2_u8).prop_map(|number| Digest::of(&[number])), 0..2);
    let words = prop::collection::vec("[ab]?", 0..3);
    (words, code, coordinates(), texts(), prop::option::of("[ab]"), texts())
        .prop_map(|(argv, code, coordinates, env, map, outputs)| CommandKey { argv, code, coordinates, env, map, outputs })
}

fn whole() -> impl Strategy<Value = KeyManifest> {
    let inputs = prop::collection::btree_map("[ab.]|digest", prop::collection::vec(part(), 0..3), 0..3);
    ("[kl]", 0..2_u32, value(), inputs, prop::option::of(command())).prop_map(|(kind, revision, params, inputs, command)| KeyManifest {
        inputs,
        command,
        ..KeyManifest::new(&kind, revision, params)
    })
}

/// A manifest, and another that has one of its fields.
fn pair() -> impl Strategy<Value = (KeyManifest, KeyManifest)> {
    (whole(), whole(), 0..6_u8).prop_map(|(one, other, what)| {
        let mut near = one.clone();
        match what {
            0 => near.kind.clone_from(&other.kind),
            1 => near.revision = other.revision,
            2 => near.params.clone_from(&other.params),
            3 => near.inputs.clone_from(&other.inputs),
            4 => near.command.clone_from(&other.command),
            _ => near = other,
        }
        (one, near)
    })
}

proptest! {
    #![proptest_config(crate::law::cases(4000))]

    /// DESIGN rule 7: two keys are equal exactly when there is no reason.
    #[test]
    fn keys_are_equal_exactly_when_there_is_no_reason((old, new) in pair()) {
        let found = reasons(&old, &new);
        prop_assert_eq!(old.key() == new.key(), found.is_empty());
        prop_assert!(reasons(&old, &old).is_empty());
        let distance = |most| Leaves::of(&old).distance(&Leaves::of(&new), most);
        prop_assert_eq!((distance(usize::MAX), distance(2)), (found.len(), found.len().min(2)));
        let stored: KeyManifest = serde_json::from_slice(&old.bytes()).unwrap();
        prop_assert_eq!(stored.key(), old.key(), "what was stored and read is the same");
    }

    #[test]
    fn what_changed_in_a_tree_is_told_file_by_file(old in tree(), new in tree()) {
        let of = |tree: &Tree, path: &String| tree.files.get(path).map(|file| file.digest);
        let both = new.files.keys().chain(old.files.keys().filter(|path| !new.files.contains_key(*path)));
        let mut told: Vec<String> = both
            .filter_map(|path| match (of(&old, path), of(&new, path)) {
                (None, _) => Some(format!("added {path}")),
                (_, None) => Some(format!("removed {path}")),
                (before, after) => (before != after).then(|| format!("changed {path}")),
            })
            .collect();
        if told.len() > NAMED {
            let more = told.split_off(NAMED).len();
            told.push(format!("and {more} more"));
        }
        prop_assert_eq!(tree_difference(&old.manifest(), &new.manifest(), Level::Released), told);
    }

    #[test]
    fn params_are_equal_exactly_when_there_is_no_reason(a in value(), b in value()) {
        let (old, new) = (manifest(a), manifest(b));
        prop_assert_eq!(old.key() == new.key(), reasons(&old, &new).is_empty());
    }
}
