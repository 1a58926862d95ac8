//! Finds the tasks of a reference given on the command line.

use super::diagnostic::Diagnostic;
use super::model::{Pipeline, TaskId};
use super::overlay::is_value;
use super::reference::{Choice, Reference};
use crate::stage::Value;
use std::collections::BTreeSet;

impl Pipeline {
    /// The tasks that a reference such as `train`, `train[seed=1]` or `train.model[seed=1|2]` names, and the port where it
    /// names one. An error names the nearest known name.
    pub fn find(&self, reference: &str) -> Result<(Vec<TaskId>, Option<String>), Diagnostic> {
        let wrong = |message: String| Diagnostic::plain(format!("{reference}: {message}"));
        let parsed = Reference::parse(reference).map_err(|error| wrong(error.message))?;
        let name = &parsed.name.text;
        let of_stage = || self.tasks.iter().enumerate().filter(|(_, task)| task.stage == *name);
        let Some((_, first)) = of_stage().next() else {
            if self.sources.iter().any(|source| source.name == *name) {
                return Err(wrong(format!("`{name}` is a source, and a stage is wanted")));
            }
            let known: BTreeSet<&str> = self.tasks.iter().map(|task| task.stage.as_str()).collect();
            return Err(wrong(format!("there is no stage `{name}`")).suggest(name, known));
        };
        if parsed.inside.is_some() {
            return Err(wrong(format!("`{name}` is a stage: an output is written `{name}.PORT`")));
        }
        if let Some(port) = &parsed.port {
            let known = || first.outputs.iter().map(|output| output.port.as_str());
            if !known().any(|known| known == port.text) {
                return Err(wrong(format!("`{name}` has no output `{}`", port.text)).suggest(&port.text, known()));
            }
        }
        let mut found: Vec<TaskId> = of_stage().map(|(number, _)| TaskId(number)).collect();
        for selector in &parsed.selectors {
            let Some(axis) = &selector.axis else { continue };
            if !first.cell.contains_key(&axis.text) {
                let known = first.cell.keys().map(String::as_str);
                return Err(wrong(format!("`{name}` has no axis `{}`", axis.text)).suggest(&axis.text, known));
            }
            let value = |task: &TaskId| &self.tasks[task.0].cell[&axis.text];
            match &selector.choice {
                Choice::All => {}
                Choice::Other { .. } => return Err(wrong("`{…}` has no meaning here: name the values".into())),
                Choice::Values(wanted) => {
                    let values: BTreeSet<&Value> = of_stage().map(|(number, _)| value(&TaskId(number))).collect();
                    for one in wanted {
                        if !values.iter().any(|value| is_value(value, &one.text)) {
                            let known: Vec<String> = values.iter().map(ToString::to_string).collect();
                            return Err(wrong(format!("axis `{}` has no value `{}`", axis.text, one.text))
                                .suggest(&one.text, known.iter().map(String::as_str)));
                        }
                    }
                    found.retain(|task| wanted.iter().any(|one| is_value(value(task), &one.text)));
                }
            }
        }
        if found.is_empty() {
            return Err(wrong("no such cell exists".into()));
        }
        Ok((found, parsed.port.map(|port| port.text)))
    }
}
