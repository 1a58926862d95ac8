//! What a classifier says of images, and how often it is right. Knows nothing of networks.

use crate::arrays::Arrays;
use anyhow::{Context as _, Result, ensure};
use tch::{Device, Kind, Tensor};
use tomograph::stages::classifier_train::Task;
use tomograph::stats::{Confusion, auc};
use tomograph::table::Table;

/// The probability of each class or label, by row of logits `[n, k]`. In double precision, so that sure scores do not become equal ones.
pub(crate) fn scores(logits: &Tensor, task: Task) -> Result<Vec<Vec<f64>>> {
    let logits = logits.detach().to_device(Device::Cpu).to_kind(Kind::Double);
    let shares = match task {
        Task::Classes => logits.softmax(-1, Kind::Double),
        Task::Labels => logits.sigmoid(),
    };
    Vec::<Vec<f64>>::try_from(&shares).context("cannot read the scores")
}

/// Scores by image, in the order of the arrays' rows.
pub(crate) struct Predicted {
    /// Probability of each class or label, by image.
    pub(crate) scores: Vec<Vec<f64>>,
    /// Mean loss, without weights or smoothing.
    pub(crate) loss: f64,
}

impl Predicted {
    /// From the logits `[n, k]` of all rows. In double precision, so that sure scores do not become equal ones.
    pub(crate) fn of(logits: &Tensor, arrays: &Arrays) -> Result<Self> {
        let logits = logits.detach().to_device(Device::Cpu).to_kind(Kind::Double);
        let (scores, logarithms) = match arrays.task() {
            Task::Classes => {
                let shares = logits.log_softmax(-1, Kind::Double);
                (shares.exp(), [None, Some(shares)])
            }
            Task::Labels => (logits.sigmoid(), [Some((-&logits).log_sigmoid()), Some(logits.log_sigmoid())]),
        };
        let read = |tensor: &Tensor| Vec::<Vec<f64>>::try_from(tensor).context("cannot read the scores");
        let scores = read(&scores)?;
        let logarithms = logarithms.map(|tensor| tensor.map(|tensor| read(&tensor)).transpose());
        let [no, yes] = logarithms;
        let (no, yes) = (no?, yes?.context("there are no scores")?);
        let (mut loss, mut known) = (0.0, 0.0);
        for (row, scores) in scores.iter().enumerate() {
            ensure!(scores.iter().all(|score| !score.is_nan()), "the network gives no number for item {}", arrays.items[row]);
            for class in 0..scores.len() {
                match (arrays.holds(row, class), &no) {
                    (Some(true), _) => loss -= yes[row][class],
                    (Some(false), Some(no)) => loss -= no[row][class],
                    _ => continue,
                }
                known += 1.0;
            }
        }
        Ok(Self { scores, loss: if known > 0.0 { loss / known } else { 0.0 } })
    }

    /// The likelier class of an image, the first of equal ones.
    fn decision(scores: &[f64]) -> usize {
        (1..scores.len()).fold(0, |best, class| if scores[class] > scores[best] { class } else { best })
    }

    /// Counts by truth and decision, of images that have a class.
    pub(crate) fn confusion(&self, arrays: &Arrays) -> Confusion {
        let decided = self.scores.iter().enumerate().filter_map(|(row, scores)| Some((arrays.class(row)?, Self::decision(scores))));
        Confusion::of(arrays.classes.len(), decided)
    }

    /// Counts of one label, decided at one half, where it is known.
    pub(crate) fn of_label(&self, arrays: &Arrays, label: usize) -> Confusion {
        let decided = self.scores.iter().enumerate();
        let decided = decided.filter_map(|(row, scores)| Some((usize::from(arrays.holds(row, label)?), usize::from(scores[label] > 0.5))));
        Confusion::of(2, decided)
    }

    /// Share of decisions that are right: of images, or of all labels that are known.
    pub(crate) fn accuracy(&self, arrays: &Arrays) -> Option<f64> {
        match arrays.task() {
            Task::Classes => self.confusion(arrays).accuracy(),
            Task::Labels => {
                let (mut right, mut all) = (0, 0);
                for label in 0..arrays.classes.len() {
                    let counts = self.of_label(arrays, label).counts;
                    right += counts[0][0] + counts[1][1];
                    all += counts.iter().flatten().sum::<u64>();
                }
                (all > 0).then(|| right as f64 / all as f64)
            }
        }
    }

    /// Area under the ROC curve of one class against the rest, or of a label. None where a side is absent.
    pub(crate) fn auc_of(&self, arrays: &Arrays, class: usize) -> Option<f64> {
        let known = self.scores.iter().enumerate().filter_map(|(row, scores)| Some((scores[class], arrays.holds(row, class)?)));
        let (scores, positive): (Vec<f64>, Vec<bool>) = known.unzip();
        auc(&scores, &positive)
    }

    /// Area under the ROC curve: of the last class for two; for more, the mean of each against the rest, none where one is absent; of
    /// labels, the mean over those that have one.
    pub(crate) fn auc(&self, arrays: &Arrays) -> Option<f64> {
        let mut each = (0..arrays.classes.len()).map(|class| self.auc_of(arrays, class));
        match arrays.task() {
            Task::Classes if arrays.classes.len() == 2 => self.auc_of(arrays, 1),
            Task::Classes => Some(each.sum::<Option<f64>>()? / arrays.classes.len() as f64),
            Task::Labels => {
                let found: Vec<f64> = each.by_ref().flatten().collect();
                (!found.is_empty()).then(|| found.iter().sum::<f64>() / found.len() as f64)
            }
        }
    }

    /// The `predictions` artifact. Of labels, those that hold are listed with `|` between them, and `truth_LABEL` is 1, 0 or empty.
    pub(crate) fn table(&self, arrays: &Arrays) -> Table {
        let names = &arrays.classes;
        let fixed = ["item", "subject", "label", "predicted"].map(str::to_owned);
        let mut columns: Vec<String> = fixed.into_iter().chain(names.iter().map(|class| format!("score_{class}"))).collect();
        let labels = arrays.task() == Task::Labels;
        if labels {
            columns.extend(names.iter().map(|label| format!("truth_{label}")));
        }
        let mut table = Table::new(columns);
        for (row, scores) in self.scores.iter().enumerate() {
            let those = |holds: &dyn Fn(usize) -> bool| {
                let list: Vec<&str> = (0..names.len()).filter(|label| holds(*label)).map(|label| names[label].as_str()).collect();
                list.join("|")
            };
            let decided = Self::decision(scores);
            let truth = those(&|class| arrays.holds(row, class) == Some(true));
            let predicted = those(&|class| if labels { scores[class] > 0.5 } else { class == decided });
            let mut values = vec![arrays.items[row].clone(), arrays.subjects[row].clone(), truth, predicted];
            values.extend(scores.iter().map(|score| format!("{score:?}")));
            if labels {
                let entry = |label| arrays.holds(row, label).map_or("", |holds| if holds { "1" } else { "0" }).to_owned();
                values.extend((0..names.len()).map(entry));
            }
            table.rows.push(values);
        }
        table
    }
}
