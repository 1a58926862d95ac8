//! Tasks that run although their result is known (`run --again`), and whether they gave the same bytes.
//!
//! Part of the loop in `run`. What is exact and differs is an error already where it is recorded; what need not be exact is kept
//! as a variant, and those that follow stay with the result that stood; what an effect brought holds from now on, and so does what was
//! made where the result that stood was only accepted.

use super::Loop;
use crate::pipeline::TaskId;
use crate::plan::Known;
use std::collections::BTreeMap;

/// What is known of tasks that run again.
#[derive(Default)]
pub(super) struct Again {
    /// The result that stood.
    pub(super) standing: BTreeMap<TaskId, Known>,
    /// What came of the comparison, in words.
    pub(super) compared: BTreeMap<TaskId, String>,
}

impl Loop<'_> {
    /// Whether a task is still to run again.
    pub(super) fn is_again(&self, id: TaskId) -> bool {
        self.options.again.contains(&id) && !self.again.compared.contains_key(&id)
    }

    /// Of a task that ran again, the result that stood; of any other, its own.
    pub(super) fn compare(&mut self, id: TaskId, made: Known) -> Known {
        let Some(standing) = self.again.standing.remove(&id) else { return made };
        let others = made.record.outputs.iter().filter(|(port, output)| standing.record.outputs.get(*port) != Some(output));
        let ports: Vec<&str> = others.map(|(port, _)| port.as_str()).collect();
        let effect = self.planner.pipeline.tasks[id.0].effect;
        let supersedes = standing.record.accepted.is_some();
        let words = match ports.as_slice() {
            [] if supersedes => "the same bytes as before; it stands as made now, no longer as accepted".to_owned(),
            _ if !ports.is_empty() && supersedes => {
                format!("other bytes than the result that was accepted ({}), which hold from now on", ports.join(", "))
            }
            [] => "the same bytes as before".to_owned(),
            _ if effect => format!("other bytes than before ({}), which hold from now on", ports.join(", ")),
            _ => format!("other bytes than before ({}), kept as a variant", ports.join(", ")),
        };
        self.again.compared.insert(id, words);
        if effect || supersedes { made } else { standing }
    }
}
