//! Predictions as tables have them: what was true of each row, and what a classifier said of it.

use super::Place;
use crate::table::Table;
use anyhow::{Context as _, Result, ensure};

/// What one classifier said of rows whose class is known.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Predictions {
    /// In the order of their scores.
    pub classes: Vec<String>,
    /// What each row is of.
    pub items: Vec<String>,
    /// Whose it is; empty where unknown.
    pub subjects: Vec<String>,
    /// Position of the true class, by row.
    pub truth: Vec<usize>,
    /// A score per class (0 to 1), by row.
    pub scores: Vec<Vec<f64>>,
}

impl Predictions {
    /// Reads a table with the columns `label` and `score_CLASS`. Columns before `item` are coordinates: each of their combinations gives
    /// predictions of its own. Rows whose label is no class are left out. None where the table has labels that may hold together.
    pub fn of(table: &Table) -> Result<Option<Vec<(Place, Self)>>> {
        let (at_item, at_label, at_subject) = (table.column("item")?, table.column("label")?, table.position("subject"));
        let scored: Vec<(usize, String)> =
            table.columns.iter().enumerate().filter_map(|(at, name)| Some((at, name.strip_prefix("score_")?.to_owned()))).collect();
        ensure!(scored.len() >= 2, table.lacks("there are no columns `score_CLASS`"));
        if table.columns.iter().any(|name| name.starts_with("truth_")) {
            return Ok(None);
        }
        let classes: Vec<String> = scored.iter().map(|(_, class)| class.clone()).collect();
        let mut found: Vec<(Place, Self)> = Vec::new();
        for (number, row) in table.rows.iter().enumerate() {
            let place: Place = table.columns.iter().cloned().zip(row.iter().cloned()).take(at_item).collect();
            let at = found.iter().position(|(other, _)| *other == place).unwrap_or_else(|| {
                found.push((place, Self { classes: classes.clone(), ..Self::default() }));
                found.len() - 1
            });
            let Some(truth) = classes.iter().position(|class| *class == row[at_label]) else { continue };
            let scores: Vec<f64> = scored
                .iter()
                .map(|(at, _)| row[*at].parse::<f64>().ok().filter(|score| !score.is_nan()))
                .collect::<Option<_>>()
                .with_context(|| format!("row {} has a score that is no number", number + 1))?;
            let own = &mut found[at].1;
            own.items.push(row[at_item].clone());
            own.subjects.push(at_subject.map(|at| row[at].clone()).unwrap_or_default());
            own.truth.push(truth);
            own.scores.push(scores);
        }
        Ok(Some(found))
    }

    /// The class with the highest score of a row, the first of equal ones.
    pub fn decision(&self, row: usize) -> usize {
        let scores = &self.scores[row];
        (1..scores.len()).fold(0, |best, class| if scores[class] > scores[best] { class } else { best })
    }

    /// Scores of a class, and whether each row is of it.
    pub fn of_class(&self, class: usize) -> (Vec<f64>, Vec<bool>) {
        (self.scores.iter().map(|scores| scores[class]).collect(), self.truth.iter().map(|truth| *truth == class).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_before_the_item_are_coordinates() {
        let text = b"backbone\titem\tsubject\tlabel\tpredicted\tscore_a\tscore_b\nvgg\t1\ts\ta\ta\t0.7\t0.3\nnas\t1\ts\ta\ta\t0.5\t0.5\nvgg\t2\ts\t\tb\t0.1\t0.9\n";
        let found = Predictions::of(&Table::from_tsv(text).unwrap()).unwrap().unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].0["backbone"].as_str(), &found[0].1.truth[..], found[1].1.decision(0)), ("vgg", &[0][..], 0));
        assert_eq!((&found[0].1.items[..], &found[0].1.subjects[..]), (&["1".to_owned()][..], &["s".to_owned()][..]));
    }

    #[test]
    fn scores_that_are_no_numbers_are_an_error() {
        let of = |scores: &str| {
            Predictions::of(&Table::from_tsv(format!("item\tlabel\tscore_a\tscore_b\n1\ta\t{scores}\n").as_bytes()).unwrap())
        };
        assert!(of("0.1\tNaN").unwrap_err().to_string().contains("row 1 has a score that is no number"));
        assert!(of("x\t1").is_err());
        assert!(of("0\t1").unwrap().is_some());
    }
}
