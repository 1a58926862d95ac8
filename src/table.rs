//! Tables: TSV with a header as the artifacts have it, and CSV as users bring it.
//!
//! In TSV a tab, a newline, a carriage return and a backslash are written `\t`, `\n`, `\r`, `\\`.
//! Knows nothing of what the columns mean.

use crate::content::Quoting;
use anyhow::{Context as _, Result, anyhow, bail, ensure};
use std::collections::HashMap;

/// Rows of text under named columns. An empty value is a missing one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// Column names, each once.
    pub columns: Vec<String>,
    /// Rows, each as long as `columns`.
    pub rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty table with these columns.
    pub fn new<S: Into<String>>(columns: impl IntoIterator<Item = S>) -> Self {
        Self { columns: columns.into_iter().map(Into::into).collect(), rows: Vec::new() }
    }

    /// Position of a column, if there.
    pub fn position(&self, column: &str) -> Option<usize> {
        self.columns.iter().position(|name| name == column)
    }

    /// Position of a column, or an error that names it and lists those there are.
    pub fn column(&self, column: &str) -> Result<usize> {
        Ok(self.position(column).ok_or_else(|| self.lacks(&format!("there is no column `{column}`")))?)
    }

    /// An error that lists the columns there are, behind what is said. Where a file has no header they are values.
    pub fn lacks(&self, said: &str) -> Quoting {
        let count = self.columns.len();
        Quoting {
            quoting: format!("{said}; the columns are {}", self.columns.join(", ")),
            without: format!("{said}; the {count} columns are called otherwise (names withheld), unless the first line is no header"),
        }
    }

    /// Row numbers by the value of a column; the error names a value that occurs twice by its rows only.
    pub fn index_by(&self, column: &str) -> Result<HashMap<&str, usize>> {
        let at = self.column(column)?;
        let mut index = HashMap::with_capacity(self.rows.len());
        for (number, row) in self.rows.iter().enumerate() {
            if let Some(earlier) = index.insert(row[at].as_str(), number) {
                bail!("rows {} and {} have the same `{column}`", earlier + 1, number + 1);
            }
        }
        Ok(index)
    }

    /// Reads TSV as the artifacts have it.
    pub fn from_tsv(bytes: &[u8]) -> Result<Self> {
        let text = std::str::from_utf8(bytes).context("not UTF-8")?;
        let mut lines = text.lines();
        let header = lines.next().context("the table is empty: its first line must name the columns")?;
        let mut table = Self::new(header.split('\t').map(unescape));
        for (number, line) in lines.enumerate() {
            let row: Vec<String> = line.split('\t').map(unescape).collect();
            ensure!(row.len() == table.columns.len(), "line {} has {} fields, the header {}", number + 2, row.len(), table.columns.len());
            table.rows.push(row);
        }
        Ok(table)
    }

    /// Reads a user's table: CSV or TSV (by whichever of tab, semicolon or comma the header has), with or without a byte order mark.
    pub fn from_delimited(bytes: &[u8]) -> Result<Self> {
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let header = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let delimiter = *[b'\t', b';', b','].iter().find(|one| header.contains(one)).unwrap_or(&b',');
        let mut reader = csv::ReaderBuilder::new().delimiter(delimiter).from_reader(bytes);
        let columns: Vec<String> = reader.headers().map_err(|error| wrong(&error))?.iter().map(|one| one.trim().to_owned()).collect();
        ensure!(columns.iter().any(|one| !one.is_empty()), "the table is empty: its first line must name the columns");
        let mut table = Self { columns, rows: Vec::new() };
        for record in reader.records() {
            let record = record.map_err(|error| wrong(&error))?;
            table.rows.push(record.iter().map(|one| one.trim().to_owned()).collect());
        }
        Ok(table)
    }

    /// Writes TSV, escaped.
    pub fn to_tsv(&self) -> Vec<u8> {
        let mut text = Tsv::default();
        std::iter::once(&self.columns).chain(&self.rows).for_each(|row| text.row(row.iter().map(String::as_str)));
        text.into_bytes()
    }
}

/// What is wrong with a line of a user's table; what stands there may be people's data.
fn wrong(error: &csv::Error) -> anyhow::Error {
    let line = error.position().map_or(1, csv::Position::line);
    match error.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            anyhow!("line {line} has {len} fields, the header {expected_len}: is there a quote that nothing closes, or a comma too many?")
        }
        csv::ErrorKind::Utf8 { .. } => anyhow!("line {line} is not UTF-8: save the table as UTF-8 (it may be Latin-1 or UTF-16)"),
        _ => anyhow!("line {line} cannot be read"),
    }
}

/// TSV that is written row by row, the header first: for who does not need a [`Table`] of all rows.
#[derive(Default)]
pub struct Tsv(String);

impl Tsv {
    /// Adds a row, escaped.
    pub fn row<'v>(&mut self, values: impl IntoIterator<Item = &'v str>) {
        for (at, value) in values.into_iter().enumerate() {
            if at > 0 {
                self.0.push('\t');
            }
            escape(value, &mut self.0);
        }
        self.0.push('\n');
    }

    /// The text.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0.into_bytes()
    }
}

fn escape(value: &str, text: &mut String) {
    if !value.bytes().any(|byte| b"\\\t\n\r".contains(&byte)) {
        text.push_str(value);
        return;
    }
    for character in value.chars() {
        match character {
            '\\' => text.push_str("\\\\"),
            '\t' => text.push_str("\\t"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            other => text.push(other),
        }
    }
}

fn unescape(value: &str) -> String {
    if !value.contains('\\') {
        return value.to_owned();
    }
    let mut text = String::with_capacity(value.len());
    let mut characters = value.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            text.push(character);
            continue;
        }
        match characters.next() {
            Some('t') => text.push('\t'),
            Some('n') => text.push('\n'),
            Some('r') => text.push('\r'),
            Some(other) => text.push(other),
            None => text.push('\\'),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tsv_survives_a_round_trip() {
        let mut table = Table::new(["a", "b"]);
        table.rows.push(vec!["x\ty".into(), "line\nfeed \\ and \r".into()]);
        table.rows.push(vec![String::new(), "é".into()]);
        assert_eq!(Table::from_tsv(&table.to_tsv()).unwrap(), table);
    }

    #[test]
    fn delimited_text_is_read_by_its_header() {
        for text in ["a,b\n1,\"2,3\"\n", "a;b\n1;2,3\n", "\u{feff}a\tb\n1\t2,3\n"] {
            let table = Table::from_delimited(text.as_bytes()).unwrap();
            assert_eq!((table.columns, table.rows), (vec!["a".to_owned(), "b".to_owned()], vec![vec!["1".to_owned(), "2,3".to_owned()]]));
        }
    }

    #[test]
    fn a_short_row_is_named_by_its_line() {
        let error = |bytes: &[u8]| Table::from_delimited(bytes).unwrap_err().to_string();
        assert!(error(b"a,b\n1,2\n3\n").starts_with("line 3 has 1 fields, the header 2: "));
        assert!(error(b"a,b\n1,2\n3,caf\xe9\n").starts_with("line 3 is not UTF-8: save the table"));
        assert!(error(b"a,\xe9\n1,2\n").starts_with("line 1 is not UTF-8"));
    }
}
