//! What a graph shows: a node per source and stage with the states of its cells, and an arrow per pair of ports.

use super::super::grid::count;
use super::super::plan::words;
use crate::content::Level;
use crate::pipeline::{Action, Origin, Pipeline, TaskId};
use crate::plan::State;
use std::collections::{BTreeMap, BTreeSet};

/// A pipeline, drawn.
pub(super) struct Picture {
    pub(super) name: String,
    /// Sources first, then stages; each in the pipeline's order.
    pub(super) nodes: Vec<Node>,
    pub(super) arrows: Vec<Arrow>,
    /// Why nothing is known of what would run, where that is so.
    pub(super) note: Option<String>,
}

/// A source or a stage.
pub(super) struct Node {
    pub(super) name: String,
    /// The kind, `command`, or the path of a source.
    pub(super) does: String,
    pub(super) is_source: bool,
    /// A source of people's data.
    pub(super) people: bool,
    pub(super) cells: Vec<Cell>,
}

/// One cell of a stage.
pub(super) struct Cell {
    pub(super) title: String,
    pub(super) look: Look,
    pub(super) reasons: Vec<String>,
}

/// What would become of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Look {
    Cached,
    Run,
    Later,
    Fails,
    /// What it needs fails.
    Skipped,
    /// Sources are missing.
    Unknown,
}

/// In the order in which they are told.
pub(super) const ALL: [Look; 6] = [Look::Cached, Look::Run, Look::Later, Look::Fails, Look::Skipped, Look::Unknown];

impl Look {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Cached => "cached",
            Self::Run => "will run",
            Self::Later => "decided later",
            Self::Fails => "will fail",
            Self::Skipped => "skipped",
            Self::Unknown => "unknown",
        }
    }
}

/// What flows from a port of a node to a port of another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Arrow {
    pub(super) from: usize,
    /// Output port; of a source the file or folder inside it, or nothing.
    pub(super) out: String,
    pub(super) to: usize,
    pub(super) port: String,
}

impl Node {
    pub(super) fn count(&self, look: Look) -> usize {
        self.cells.iter().filter(|cell| cell.look == look).count()
    }

    /// `54/60`: cached, of all; nothing for a source.
    pub(super) fn counts(&self) -> String {
        if self.is_source { String::new() } else { format!("{}/{}", self.count(Look::Cached), self.cells.len()) }
    }

    /// What is to be done, at its worst: something fails, or runs, or is decided later, or all is cached.
    pub(super) fn look(&self) -> Look {
        let has = |look: &Look| self.count(*look) > 0;
        [Look::Unknown, Look::Fails, Look::Skipped, Look::Run, Look::Later].into_iter().find(has).unwrap_or(Look::Cached)
    }

    /// `54 cached, 6 will run`.
    pub(super) fn summary(&self) -> String {
        let counts = ALL.map(|look| (self.count(look), look.word()));
        let parts: Vec<String> = counts.iter().filter(|(count, _)| *count > 0).map(|(count, word)| format!("{count} {word}")).collect();
        parts.join(", ")
    }
}

impl Picture {
    /// Of `wanted` tasks, as planned; without a plan `note` says why there is none. `levels` are those of the sources that are there.
    pub(super) fn new(
        pipeline: &Pipeline,
        wanted: &BTreeSet<TaskId>,
        levels: &[Option<Level>],
        plan: Result<&[(TaskId, State)], String>,
    ) -> Self {
        let (states, note) = match plan {
            Ok(plan) => (plan.iter().map(|(id, state)| (*id, state)).collect::<BTreeMap<_, _>>(), None),
            Err(note) => (BTreeMap::new(), Some(note)),
        };
        let mut picture = Self { name: pipeline.name.clone(), nodes: Vec::new(), arrows: Vec::new(), note };
        let mut at: BTreeMap<(bool, &str), usize> = BTreeMap::new();
        let edges = || wanted.iter().flat_map(|id| pipeline.tasks[id.0].inputs.iter().map(move |(port, edges)| (*id, port, edges)));
        let read: BTreeSet<_> = edges()
            .flat_map(|(_, _, edges)| edges)
            .filter_map(|edge| match &edge.origin {
                Origin::Source { source, .. } => Some(*source),
                Origin::Task { .. } => None,
            })
            .collect();
        let cells = |name: &str| read.iter().filter(|source| pipeline.sources[source.0].name == name).count();
        for id in &read {
            let source = &pipeline.sources[id.0];
            // What is taken from another pipeline may be of people or not: that comes along with it.
            let says = || Level::of_people(source.phi && source.taken.is_none());
            let people = levels[id.0].unwrap_or_else(says) > Level::Released;
            let place = *at.entry((true, &source.name)).or_insert(picture.nodes.len());
            if place == picture.nodes.len() {
                let does = match cells(&source.name) {
                    1 => source.path.clone(),
                    many => format!("{} and {}", source.path, count(many as u64 - 1, "other cell")),
                };
                picture.nodes.push(Node { name: source.name.clone(), does, is_source: true, people: false, cells: Vec::new() });
            }
            picture.nodes[place].people |= people;
        }
        for id in wanted {
            let task = &pipeline.tasks[id.0];
            let place = *at.entry((false, &task.stage)).or_insert(picture.nodes.len());
            if place == picture.nodes.len() {
                let does = match &task.action {
                    Action::Kind { kind, .. } => kind.name.to_owned(),
                    Action::Command(_) => "command".to_owned(),
                };
                picture.nodes.push(Node { name: task.stage.clone(), does, is_source: false, people: false, cells: Vec::new() });
            }
            let (look, reasons) = match states.get(id) {
                None => (Look::Unknown, Vec::new()),
                Some(state) => {
                    let look = match state {
                        State::Cached => Look::Cached,
                        State::Run(_) => Look::Run,
                        State::Later(_) | State::Waiting { .. } => Look::Later,
                        State::Fails(_) => Look::Fails,
                        State::Skipped(_) => Look::Skipped,
                    };
                    (look, words(pipeline, state).1)
                }
            };
            picture.nodes[place].cells.push(Cell { title: task.title(), look, reasons });
        }
        let arrows: BTreeSet<Arrow> = edges()
            .flat_map(|(id, port, edges)| edges.iter().map(move |edge| (id, port, edge)))
            .map(|(id, port, edge)| {
                let (from, out) = match &edge.origin {
                    Origin::Source { source, inside } => {
                        (at[&(true, pipeline.sources[source.0].name.as_str())], inside.clone().unwrap_or_default())
                    }
                    Origin::Task { task, port } => (at[&(false, pipeline.tasks[task.0].stage.as_str())], port.clone()),
                };
                Arrow { from, out, to: at[&(false, pipeline.tasks[id.0].stage.as_str())], port: port.clone() }
            })
            .collect();
        picture.arrows = arrows.into_iter().collect();
        picture
    }

    /// The layer of each node: below all that it takes from.
    pub(super) fn layers(&self) -> Vec<usize> {
        let mut layer: Vec<usize> = self.nodes.iter().map(|node| usize::from(!node.is_source)).collect();
        // Each node follows those it takes from, and arrows are sorted by where they begin: one pass is enough.
        for arrow in &self.arrows {
            layer[arrow.to] = layer[arrow.to].max(layer[arrow.from] + 1);
        }
        layer
    }

    /// `3 stages, 5 tasks: 5 cached, 0 will run, 0 decided later`.
    pub(super) fn heading(&self) -> String {
        let stages = self.nodes.iter().filter(|node| !node.is_source);
        let all = |look: Look| self.nodes.iter().map(|node| node.count(look)).sum::<usize>();
        let tasks: usize = stages.clone().map(|node| node.cells.len()).sum();
        let size = format!("{}, {}", count(stages.count() as u64, "stage"), count(tasks as u64, "task"));
        if self.note.is_some() {
            return size;
        }
        let sure = format!("{size}: {} cached, {} will run, {} decided later", all(Look::Cached), all(Look::Run), all(Look::Later));
        let fail = [Look::Fails, Look::Skipped].map(|look| (all(look), look.word()));
        fail.iter().filter(|(count, _)| *count > 0).fold(sure, |text, (count, word)| format!("{text}, {count} {word}"))
    }
}
