//! The values of an item's row, packed: there may be hundreds of thousands of rows at a time.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Index;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// So many lists of columns are remembered, to be shared by rows that have the same.
const LISTS: usize = 64;

/// Column → value, sorted by column. Rows share the names of their columns, and a row's values stand in one text.
#[derive(Clone)]
pub struct Values {
    columns: Arc<[String]>,
    text: Box<str>,
    /// Where each value ends in the text.
    ends: Box<[u32]>,
}

impl Values {
    /// The value of a column; none where the row has no such column.
    pub fn get(&self, column: &str) -> Option<&str> {
        self.place(column).map(|at| self.at(at))
    }

    fn place(&self, column: &str) -> Option<usize> {
        self.columns.binary_search_by(|name| name.as_str().cmp(column)).ok()
    }

    /// Every column and its value.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.columns.iter().enumerate().map(|(at, column)| (column.as_str(), self.at(at)))
    }

    /// The columns.
    pub fn columns(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(String::as_str)
    }

    /// Gives a column a value.
    pub fn set(&mut self, column: &str, value: &str) {
        let Some(at) = self.place(column) else { return self.extend([(column, value)]) };
        let end = self.ends[at] as usize;
        let start = end - self.at(at).len();
        let text = [&self.text[..start], value, &self.text[end..]].concat();
        let (old, new) = (length(self.at(at)), length(value));
        // Longer rows are refused here: an end is no greater than the whole.
        length(&text);
        self.ends[at..].iter_mut().for_each(|end| *end = *end - old + new);
        self.text = text.into();
    }

    /// Gives several columns values.
    pub fn extend<C: AsRef<str>, V: AsRef<str>>(&mut self, values: impl IntoIterator<Item = (C, V)>) {
        *self = Packer::default().pack(self, &values.into_iter().collect::<Vec<_>>());
    }

    fn at(&self, at: usize) -> &str {
        let start = if at == 0 { 0 } else { self.ends[at - 1] };
        &self.text[start as usize..self.ends[at] as usize]
    }
}

fn length(text: &str) -> u32 {
    u32::try_from(text.len()).expect("a row is shorter than 4 GiB")
}

/// Packs the values of many rows that mostly have the same columns: what was found out for the last row serves the next.
#[derive(Default)]
pub struct Packer {
    /// The columns of the last row that was packed: those that it had, and those that it was given.
    before: Option<(Arc<[String]>, Vec<String>)>,
    /// What came of them, and where each one's value is from.
    columns: Arc<[String]>,
    from: Vec<From>,
}

/// Where a column's value is from.
#[derive(Clone, Copy)]
enum From {
    /// The row, the column at this place.
    Row(usize),
    /// What the row is given, at this place.
    Given(usize),
}

impl Packer {
    /// The values of a row, and over them what it is given.
    pub fn pack<C: AsRef<str>, V: AsRef<str>>(&mut self, row: &Values, given: &[(C, V)]) -> Values {
        let is_same = self.before.as_ref().is_some_and(|(columns, names)| {
            Arc::ptr_eq(columns, &row.columns)
                && names.len() == given.len()
                && names.iter().zip(given).all(|(name, (own, _))| name == own.as_ref())
        });
        if !is_same {
            self.learn(row, given);
        }
        let value = |from: &From| match *from {
            From::Row(at) => row.at(at),
            From::Given(at) => given[at].1.as_ref(),
        };
        let mut text = String::with_capacity(self.from.iter().map(|from| value(from).len()).sum());
        let mut ends = Vec::with_capacity(self.from.len());
        for from in &self.from {
            text.push_str(value(from));
            ends.push(length(&text));
        }
        Values { columns: self.columns.clone(), text: text.into(), ends: ends.into() }
    }

    fn learn<C: AsRef<str>, V>(&mut self, row: &Values, given: &[(C, V)]) {
        let own = row.columns.iter().enumerate().map(|(at, column)| (column.as_str(), From::Row(at)));
        let others = given.iter().enumerate().map(|(at, (column, _))| (column.as_ref(), From::Given(at)));
        let all: BTreeMap<&str, From> = own.chain(others).collect();
        self.columns = shared(&all);
        self.from = all.into_values().collect();
        self.before = Some((row.columns.clone(), given.iter().map(|(column, _)| column.as_ref().to_owned()).collect()));
    }
}

/// Finds the values of the same columns in many rows that mostly have the same ones.
pub struct Picker<'c> {
    wanted: &'c [String],
    /// The columns of the last row, and where in them the wanted ones are.
    before: Arc<[String]>,
    places: Vec<Option<usize>>,
}

impl<'c> Picker<'c> {
    /// Of these columns.
    pub fn new(wanted: &'c [String]) -> Self {
        Self { wanted, before: Values::default().columns, places: vec![None; wanted.len()] }
    }

    /// A row's values of the wanted columns, in their order; empty where it has no such column.
    pub fn pick<'v>(&mut self, row: &'v Values) -> impl Iterator<Item = &'v str> {
        if !Arc::ptr_eq(&self.before, &row.columns) {
            self.places = self.wanted.iter().map(|column| row.place(column)).collect();
            self.before = row.columns.clone();
        }
        self.places.iter().map(|place| place.map_or("", |at| row.at(at)))
    }
}

/// All columns that rows have.
pub fn columns_of<'v>(rows: impl IntoIterator<Item = &'v Values>) -> BTreeSet<&'v str> {
    let (mut columns, mut before) = (BTreeSet::new(), None);
    for row in rows {
        if !before.is_some_and(|before| Arc::ptr_eq(before, &row.columns)) {
            columns.extend(row.columns());
            before = Some(&row.columns);
        }
    }
    columns
}

/// The columns of these values, the same for every row that has them.
fn shared<T>(values: &BTreeMap<&str, T>) -> Arc<[String]> {
    static KNOWN: Mutex<Vec<Arc<[String]>>> = Mutex::new(Vec::new());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(columns) = known.iter().find(|columns| columns.iter().eq(values.keys())) {
        return columns.clone();
    }
    let columns: Arc<[String]> = values.keys().map(|column| (*column).to_owned()).collect();
    if known.len() < LISTS {
        known.push(columns.clone());
    }
    columns
}

impl Default for Values {
    fn default() -> Self {
        static NONE: OnceLock<Arc<[String]>> = OnceLock::new();
        Self { columns: NONE.get_or_init(Arc::default).clone(), text: Box::default(), ends: Box::default() }
    }
}

impl<C: AsRef<str>, V: AsRef<str>> FromIterator<(C, V)> for Values {
    fn from_iter<I: IntoIterator<Item = (C, V)>>(values: I) -> Self {
        let mut made = Self::default();
        made.extend(values);
        made
    }
}

impl Index<&str> for Values {
    type Output = str;

    /// Panics where the row has no such column.
    fn index(&self, column: &str) -> &str {
        self.get(column).expect("a column of the row")
    }
}

impl fmt::Debug for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl Serialize for Values {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de> Deserialize<'de> for Values {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(BTreeMap::<String, String>::deserialize(deserializer)?.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn values_are_a_map(
            first in proptest::collection::btree_map("[a-d]", ".{0,3}", 0..5),
            second in proptest::collection::vec(("[a-f]", ".{0,3}"), 0..5),
        ) {
            let mut expected = first.clone();
            expected.extend(second.clone());
            let mut values: Values = first.iter().collect();
            values.extend(second);
            prop_assert!(values.iter().eq(expected.iter().map(|(column, value)| (column.as_str(), value.as_str()))));
            if let Some(column) = expected.keys().next().cloned() {
                values.set(&column, "other");
                expected.insert(column, "other".to_owned());
                prop_assert!(values.iter().eq(expected.iter().map(|(column, value)| (column.as_str(), value.as_str()))));
            }
            prop_assert!(values.columns().eq(expected.keys().map(String::as_str)));
            prop_assert!(["a", "e", "x"].iter().all(|column| values.get(column) == expected.get(*column).map(String::as_str)));
            let text = serde_json::to_string(&values).unwrap();
            prop_assert_eq!(&text, &serde_json::to_string(&expected).unwrap());
            prop_assert!(serde_json::from_str::<Values>(&text).unwrap().iter().eq(values.iter()));
        }

        #[test]
        fn what_was_packed_before_changes_nothing(
            rows in proptest::collection::vec((0..3_usize, proptest::collection::vec(("[a-c]", ".{0,3}"), 0..3)), 0..12),
        ) {
            let bases: [Values; 3] = [Values::default(), [("a", "1")].into_iter().collect(), [("b", ""), ("d", "é")].into_iter().collect()];
            let mut packer = Packer::default();
            for (base, given) in rows {
                let mut alone = bases[base].clone();
                alone.extend(given.clone());
                prop_assert!(packer.pack(&bases[base], &given).iter().eq(alone.iter()));
            }
        }
    }

    #[test]
    fn rows_share_their_columns() {
        let row = |value: &str| [("size", value), ("file", "x")].into_iter().collect::<Values>();
        let (one, mut two) = (row("1"), row("2"));
        assert!(Arc::ptr_eq(&one.columns, &two.columns) && two["size"] == *"2");
        two.set("size", "");
        assert!(Arc::ptr_eq(&one.columns, &two.columns) && two.get("size") == Some(""));
        let other: Values = [("size", "3"), ("view", "PA")].into_iter().collect();
        assert_eq!(columns_of([&one, &two, &other]), BTreeSet::from(["file", "size", "view"]));
        let wanted = ["view".to_owned(), "size".to_owned()];
        let (mut picker, none) = (Picker::new(&wanted), Values::default());
        let found = [&one, &none, &other].map(|row| picker.pick(row).collect::<Vec<_>>());
        assert_eq!(found, [["", "1"], ["", ""], ["PA", "3"]]);
    }
}
