//! One score per patient, from the scores of the patient's images. Knows nothing of where scores come from.

use super::Clusters;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// How the scores of a patient's images become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PerPatient {
    /// Their mean.
    Mean,
    /// The highest of them.
    Max,
    /// That of the patient's first row.
    First,
}

impl PerPatient {
    /// A score per cluster, in the order of the clusters.
    pub fn of(self, clusters: &Clusters, scores: &[f64]) -> Vec<f64> {
        let mut found: Vec<(f64, f64)> = vec![(0.0, 0.0); clusters.count()];
        for (cluster, score) in clusters.of_rows().iter().zip(scores) {
            let (value, rows) = &mut found[*cluster as usize];
            *value = match self {
                _ if *rows == 0.0 => *score,
                Self::Mean => *value + score,
                Self::Max => value.max(*score),
                Self::First => *value,
            };
            *rows += 1.0;
        }
        found.into_iter().map(|(value, rows)| if self == Self::Mean { value / rows } else { value }).collect()
    }
}

impl fmt::Display for PerPatient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mean => "mean",
            Self::Max => "max",
            Self::First => "first",
        })
    }
}

/// What all rows of each cluster have in common, such as a label; else how many clusters have rows that differ.
pub fn same_of_all<T: Copy + PartialEq>(clusters: &Clusters, values: &[T]) -> Result<Vec<T>, usize> {
    let mut found: Vec<Option<(T, bool)>> = vec![None; clusters.count()];
    for (cluster, value) in clusters.of_rows().iter().zip(values) {
        let own = &mut found[*cluster as usize];
        *own = match *own {
            None => Some((*value, true)),
            Some((first, same)) => Some((first, same && first == *value)),
        };
    }
    let found: Vec<(T, bool)> = found.into_iter().flatten().collect();
    match found.iter().filter(|(_, same)| !same).count() {
        0 => Ok(found.into_iter().map(|(value, _)| value).collect()),
        differ => Err(differ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clusters(names: &[&str]) -> Clusters {
        Clusters::of(&names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn images_of_a_patient_become_one_score() {
        let rows = clusters(&["b", "a", "b", "", "", "b"]);
        let scores = [0.2, 0.5, 0.6, 0.1, 0.9, 0.4];
        let mean = PerPatient::Mean.of(&rows, &scores);
        assert!((mean[0] - 0.4).abs() < 1e-12 && mean[1..] == [0.5, 0.1, 0.9], "{mean:?}");
        assert_eq!(PerPatient::Max.of(&rows, &scores), [0.6, 0.5, 0.1, 0.9]);
        assert_eq!(PerPatient::First.of(&rows, &scores), [0.2, 0.5, 0.1, 0.9]);
        assert_eq!(PerPatient::Max.of(&clusters(&["a", "a"]), &[-3.0, -2.0]), [-2.0]);
        assert!(PerPatient::Mean.of(&clusters(&[]), &[]).is_empty());
    }

    #[test]
    fn a_label_of_a_patient_is_that_of_all_images() {
        let rows = clusters(&["b", "a", "b"]);
        assert_eq!(same_of_all(&rows, &[true, false, true]), Ok(vec![true, false]));
        assert_eq!(same_of_all(&rows, &[true, false, false]), Err(1));
    }
}
