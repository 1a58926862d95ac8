//! The values of an item's row, packed: there may be hundreds of thousands of rows at a time.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;
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
        let values: Vec<(C, V)> = values.into_iter().collect();
        let mut all: BTreeMap<&str, &str> = self.iter().collect();
        all.extend(values.iter().map(|(column, value)| (column.as_ref(), value.as_ref())));
        *self = Self::pack(&all);
    }

    fn at(&self, at: usize) -> &str {
        let start = if at == 0 { 0 } else { self.ends[at - 1] };
        &self.text[start as usize..self.ends[at] as usize]
    }

    fn pack(values: &BTreeMap<&str, &str>) -> Self {
        let mut text = String::with_capacity(values.values().map(|value| value.len()).sum());
        let mut ends = Vec::with_capacity(values.len());
        for value in values.values() {
            text.push_str(value);
            ends.push(length(&text));
        }
        Self { columns: shared(values), text: text.into(), ends: ends.into() }
    }
}

fn length(text: &str) -> u32 {
    u32::try_from(text.len()).expect("a row is shorter than 4 GiB")
}

/// The columns of these values, the same for every row that has them.
fn shared(values: &BTreeMap<&str, &str>) -> Arc<[String]> {
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
    }

    #[test]
    fn rows_share_their_columns() {
        let row = |value: &str| [("size", value), ("file", "x")].into_iter().collect::<Values>();
        let (one, mut two) = (row("1"), row("2"));
        assert!(Arc::ptr_eq(&one.columns, &two.columns) && two["size"] == *"2");
        two.set("size", "");
        assert!(Arc::ptr_eq(&one.columns, &two.columns) && two.get("size") == Some(""));
    }
}
