//! Artifacts, roles and ports: the types that check a graph before anything runs.

use std::fmt;
use std::str::FromStr;

/// The typed thing a port carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Artifact {
    Files,
    Studies,
    Images,
    Masks,
    Table,
    Cohort,
    Split,
    Arrays,
    Model,
    Models,
    History,
    Predictions,
    Metrics,
    Figure,
    Report,
    Receipt,
    Certificate,
}

impl Artifact {
    /// Every artifact, its name and what is in it, as `tomograph kinds --types` prints them.
    pub const ALL: &'static [(Self, &'static str, &'static str)] = &[
        (Self::Files, "files", "a folder as it is"),
        (
            Self::Studies,
            "studies",
            "SUBJECT/SESSION/SOPInstanceUID.dcm + index.tsv: item, file, subject, session, UIDs, and the header fields a study needs",
        ),
        (
            Self::Images,
            "images",
            "one 16-bit or 8-bit grey PNG per item + index.tsv: item, file, subject, session, view, width, height (pixels), what was done",
        ),
        (Self::Masks, "masks", "one 8-bit PNG per item, 0 or 255, + index.tsv as images have it"),
        (Self::Table, "table", "one TSV with a header"),
        (Self::Cohort, "cohort", "one TSV: item, subject, session, label, covariates"),
        (
            Self::Split,
            "split",
            "split.tsv: a cohort + column set (train, validation, test); proof.json: counts, and that no subject is in two sets",
        ),
        (
            Self::Arrays,
            "arrays",
            "X.npy [n, h, w] (or [n, f]) C order, uint16 unless dtype says float32; y.npy [n] int64, class index (or [n, labels] float32: 1, 0, -1 uncertain, NaN blank); rows.tsv: row, item, subject, label; role.json",
        ),
        (Self::Model, "model", "model.safetensors; model.json: architecture, input, preprocessing, classes, validation figures"),
        (Self::Models, "models", "a chosen list: a folder per part beside parts.tsv, which has each part's coordinates"),
        (Self::History, "history", "one TSV: epoch, learning rate, then per set loss, accuracy and AUC (shares, 0 to 1)"),
        (Self::Predictions, "predictions", "one TSV: item, subject, label, predicted, score_CLASS (0 to 1) for each class"),
        (
            Self::Metrics,
            "metrics",
            "metrics.json: role, n (rows), and a list metrics of name, value, low, high (95 % interval), n; confusion matrix; views: the same of patients, at a threshold, of subgroups",
        ),
        (Self::Figure, "figure", "SVG"),
        (Self::Report, "report", "files to read"),
        (Self::Receipt, "receipt", "one TSV, a row per instance"),
        (Self::Certificate, "certificate", "JSON"),
    ];

    /// Its name in TOML and messages.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(one, ..)| *one == self).map_or("", |(_, name, _)| name)
    }
}

impl fmt::Display for Artifact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Artifact {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        Self::ALL.iter().find(|(_, one, _)| *one == name).map(|(artifact, ..)| *artifact).ok_or(())
    }
}

/// Which rows of a split some arrays hold. Part of an `arrays` port's type, so that test data cannot reach a training.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Train,
    Validation,
    Test,
    All,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Train => "train",
            Self::Validation => "validation",
            Self::Test => "test",
            Self::All => "all",
        })
    }
}

/// How many parts a port takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    One,
    Optional,
    /// Gathers, and tables of labelled references.
    Many,
}

/// A named input or output of a kind.
#[derive(Clone, Copy, Debug)]
pub struct Port {
    /// Its name in TOML.
    pub name: &'static str,
    /// What it gives (outputs: exactly one) or accepts (inputs: any of these).
    pub holds: &'static [Artifact],
    /// For arrays: the role it gives, or the roles it accepts. Empty: any, or none.
    pub roles: &'static [Role],
    /// For arrays that an output gives: the input whose role they have.
    pub role_of: Option<&'static str>,
    /// How many parts an input takes.
    pub count: Count,
    /// Whether a gather may miss cells that failed (`report.*`).
    pub holes: bool,
    /// Whether the engine fills it, and nothing is connected to it: `ledger` and `lineage`.
    pub filled: bool,
    /// One line for `tomograph kinds`.
    pub about: &'static str,
}

impl Port {
    /// A port that takes exactly one part, or an output.
    pub const fn one(name: &'static str, holds: &'static [Artifact], about: &'static str) -> Self {
        Self { name, holds, roles: &[], role_of: None, count: Count::One, holes: false, filled: false, about }
    }

    /// A port that may be left unconnected.
    pub const fn optional(self) -> Self {
        Self { count: Count::Optional, ..self }
    }

    /// A port that the engine fills. `ledger`: how often the test data behind the task was met; `lineage`: the pipeline as far as it led
    /// to the task.
    pub const fn filled(self) -> Self {
        Self { count: Count::Optional, filled: true, ..self }
    }

    /// A port that takes gathers.
    pub const fn many(self) -> Self {
        Self { count: Count::Many, ..self }
    }

    /// A gather on this port may miss cells that failed.
    pub const fn with_holes(self) -> Self {
        Self { holes: true, ..self }
    }

    /// An output whose arrays have the role of those on an input.
    pub const fn with_role_of(self, input: &'static str) -> Self {
        Self { role_of: Some(input), ..self }
    }

    /// Roles given or accepted.
    pub const fn with_roles(self, roles: &'static [Role]) -> Self {
        Self { roles, ..self }
    }
}
