//! Cells → tasks and source cells: params read, parts found, arguments taken apart.

use super::diagnostic::{Diagnostic, Problems, nearest};
use super::document::{Document, OverrideDecl, StageDecl};
use super::expand::{Arrivals, Cells, Test, tests};
use super::model::{Action, Cause, Command, Edge, Origin, Output, Piece, Policy, Source, SourceId, Task, TaskId};
use super::params::{Checker, Place, Read, configure, filled, json, look_up};
use super::tables::{NeedsTable, PolicyTable};
use super::template::{Fragment, joined, parse};
use super::values::Node;
use super::wiring::{From, Stage, Wiring, unknown_artifact};
use crate::stage::{Artifact, Coordinates, Count, Kind, Needs, Value, show_coordinates};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// Everything that tasks are made from.
pub(crate) struct Builder<'a, 'i> {
    pub text: &'a str,
    pub document: &'a Document<'i>,
    pub wiring: &'a Wiring,
    pub cells: &'a Cells,
    /// Number of the first task of each stage.
    first_task: Vec<usize>,
    first_source: Vec<usize>,
    /// `[params]` that something names.
    pub seen_params: BTreeSet<String>,
    /// Axes that a placeholder names.
    pub seen_axes: BTreeSet<usize>,
}

impl<'a, 'i> Builder<'a, 'i> {
    pub(crate) fn new(text: &'a str, document: &'a Document<'i>, wiring: &'a Wiring, cells: &'a Cells) -> Self {
        let mut first_task = vec![0; document.stages.len()];
        let mut next = 0;
        for stage in &wiring.order {
            first_task[*stage] = next;
            next += cells.stages[*stage].cells.len();
        }
        let mut first_source = Vec::new();
        let mut next = 0;
        for relation in &cells.sources {
            first_source.push(next);
            next += relation.cells.len();
        }
        Self { text, document, wiring, cells, first_task, first_source, seen_params: BTreeSet::new(), seen_axes: BTreeSet::new() }
    }

    fn coordinates(&self, axes: &[usize], cell: &[u32]) -> Coordinates {
        let pair = |(axis, value): (&usize, &u32)| {
            let axis = &self.document.axes[*axis];
            (axis.name.clone(), axis.values[*value as usize].value.clone())
        };
        axes.iter().zip(cell).map(pair).collect()
    }

    fn checker(&self, whose: String, axes: &'a [usize]) -> Checker<'a, 'i> {
        Checker::new(self.text, self.document, whose, axes)
    }

    fn seen(&mut self, checker: Checker<'_, '_>) {
        self.seen_params.extend(checker.seen_params);
        self.seen_axes.extend(checker.seen_axes);
    }

    /// Every cell of every source.
    pub(crate) fn sources(&mut self, problems: &mut Problems) -> Vec<Source> {
        let mut sources = Vec::new();
        for (number, decl) in self.document.sources.iter().enumerate() {
            let table = &decl.table;
            let axes = &self.wiring.sources[number];
            super::taken::keys(decl, problems);
            let from_elsewhere = table.from.is_some() || table.artifact.is_some();
            if !from_elsewhere && table.phi.is_none() && !decl.faulty.contains("phi") {
                problems.push(
                    Diagnostic::error(decl.span.clone(), format!("source `{}` does not say `phi`", decl.name))
                        .help("add `phi = true` where it holds people's data, else `phi = false`"),
                );
            }
            let artifact = match &table.r#type {
                None => Artifact::Files,
                Some(name) => name.get_ref().parse().unwrap_or_else(|()| {
                    problems.push(unknown_artifact(name));
                    Artifact::Files
                }),
            };
            let Some(text) = (if from_elsewhere { &table.artifact } else { &table.path }) else {
                if !from_elsewhere && !decl.faulty.contains("path") {
                    let missing = Diagnostic::error(decl.span.clone(), format!("source `{}` has no `path`", decl.name));
                    problems.push(
                        missing.help("add `path = \"FILE, FOLDER OR GLOB\"`, or `from` and `artifact` for what another pipeline made"),
                    );
                }
                continue;
            };
            let right = self.source_text(number, text, problems);
            let fragments = parse(text.get_ref()).unwrap_or_default();
            let taken = self.wiring.taken[number].as_ref();
            for cell in self.cells.sources[number].cells.iter().filter(|_| right) {
                let path = || joined(&fragments, &|fragment| look_up(self.document, axes, cell, fragment));
                sources.push(Source {
                    name: decl.name.clone(),
                    cell: self.coordinates(axes, cell),
                    path: if from_elsewhere { String::new() } else { path() },
                    span: text.span(),
                    taken: taken.and_then(|taken| taken.cells.get(cell).cloned()),
                    phi: table.phi.as_ref().is_none_or(|phi| *phi.get_ref()),
                    optional: table.optional,
                    artifact: taken.map_or(artifact, |taken| taken.output.artifact),
                });
            }
            if right {
                self.one_text_each(number, text, problems);
            }
        }
        sources
    }

    /// Checks a source's path or artifact.
    fn source_text(&mut self, number: usize, text: &toml::Spanned<String>, problems: &mut Problems) -> bool {
        let mut checker = self.checker(format!("source `{}`", self.document.sources[number].name), &self.wiring.sources[number]);
        checker.loose = !self.wiring.sound_sources[number];
        let mut right = checker.string(text.get_ref(), &text.span(), Place::Path, problems);
        right &= !checker.loose;
        if text.get_ref().is_empty() {
            problems.push(Diagnostic::error(text.span(), "it is empty"));
            right = false;
        }
        self.seen(checker);
        right
    }

    /// A swept source whose path or artifact does not tell its cells apart was meant otherwise.
    fn one_text_each(&self, number: usize, text: &toml::Spanned<String>, problems: &mut Problems) {
        let what = if self.document.sources[number].table.from.is_some() { "artifact" } else { "path" };
        for axis in &self.wiring.sources[number] {
            let name = &self.document.axes[*axis].name;
            let named = parse(text.get_ref()).unwrap_or_default();
            if !named.iter().any(|(fragment, _)| matches!(fragment, Fragment::Axis { axis, .. } if axis == name)) {
                problems.push(Diagnostic::warning(text.span(), format!("the {what} is the same for every value of axis `{name}`")));
            }
        }
    }

    /// Every task, each after those it needs.
    pub(crate) fn tasks(&mut self, problems: &mut Problems) -> Vec<Task> {
        let mut tasks = Vec::new();
        for number in self.wiring.order.iter().chain(&self.wiring.circular) {
            let stage = &self.wiring.stages[*number];
            if let Some(made) = StageBuilder::new(self, *number, stage, problems) {
                made.tasks(problems, &mut tasks);
            }
        }
        tasks
    }
}

/// One stage's tasks in the making.
struct StageBuilder<'b, 'a, 'i> {
    builder: &'b Builder<'a, 'i>,
    decl: &'a StageDecl<'i>,
    stage: &'a Stage,
    number: usize,
    overrides: Vec<Option<Test>>,
    /// Axes that params and arguments depend on, as places in a cell.
    param_places: Vec<usize>,
    /// Whether every placeholder is right.
    right: bool,
}

impl<'b, 'a, 'i> StageBuilder<'b, 'a, 'i> {
    fn new(builder: &'b mut Builder<'a, 'i>, number: usize, stage: &'a Stage, problems: &mut Problems) -> Option<Self> {
        let decl = &builder.document.stages[number];
        let mut checker = builder.checker(format!("stage `{}`", decl.name), &stage.axes);
        checker.loose = !stage.sound;
        let mut right = true;
        let params = decl.params.iter().chain(decl.overrides.iter().filter_map(|entry| entry.params.as_ref()));
        for (_, value) in params.flat_map(|params| params.get_ref()) {
            right &= checker.value(value, problems);
        }
        right &= arguments_right(&mut checker, decl, problems);
        let param_axes = checker.seen_axes.clone();
        right &= super::publish::check(&mut checker, decl, stage, problems);
        builder.seen(checker);
        if !stage.sound {
            // Its cells are not known, but what is wrong in its params can be said where no cell matters.
            let plain = param_axes.is_empty() && decl.overrides.is_empty();
            if let Some(kind) = stage.kind.filter(|_| right && plain) {
                configure(kind, &filled(builder.document, decl, &[], &[], &[]), "", problems);
            }
            return None;
        }
        let matchers: Vec<_> = decl.overrides.iter().map(|entry| entry.matcher.clone()).collect();
        let overrides = tests(builder.document, decl, &matchers, &stage.axes, None, "override", problems);
        let param_places = stage.axes.iter().enumerate().filter(|(_, axis)| param_axes.contains(axis)).map(|(place, _)| place).collect();
        Some(Self { builder, decl, stage, number, overrides, param_places, right })
    }

    fn tasks(&self, problems: &mut Problems, tasks: &mut Vec<Task>) {
        let document = self.builder.document;
        let arrivals: Vec<Arrivals> =
            self.stage.wires.iter().map(|wire| Arrivals::new(document, wire, &self.stage.axes, self.builder.cells)).collect();
        // Cells that agree in what they are made from share it.
        let mut known: HashMap<(Vec<u32>, Vec<bool>), Option<Read>> = HashMap::new();
        let mut commands: HashMap<(Vec<u32>, Vec<bool>), Arc<Command>> = HashMap::new();
        let cells = &self.builder.cells.stages[self.number].cells;
        for cell in cells {
            let matched: Vec<bool> = self.overrides.iter().map(|test| test.as_ref().is_some_and(|test| test.holds(cell))).collect();
            let overrides: Vec<&OverrideDecl<'i>> =
                self.decl.overrides.iter().zip(&matched).filter(|(_, matched)| **matched).map(|(entry, _)| entry).collect();
            let coordinates = self.builder.coordinates(&self.stage.axes, cell);
            let which = (super::cells::at(cell, &self.param_places), matched);
            let action = match self.stage.kind {
                Some(kind) => {
                    let read = known.entry(which).or_insert_with(|| {
                        let varies = !self.param_places.is_empty() || !overrides.is_empty();
                        let whose = if varies { format!("{}[{}]", self.decl.name, show_coordinates(&coordinates)) } else { String::new() };
                        let params = filled(document, self.decl, &overrides, &self.stage.axes, cell);
                        if self.right { configure(kind, &params, &whose, problems) } else { None }
                    });
                    let unread = read.as_ref().map(|read| read.unread.clone()).unwrap_or_default();
                    let inputs = self.inputs(cell, &arrivals, &unread, tasks, problems);
                    self.nothing_missing(kind, &inputs, &unread, problems);
                    read.clone().map(|read| (Action::Kind { kind, params: read.params }, inputs))
                }
                None => {
                    let inputs = self.inputs(cell, &arrivals, &[], tasks, problems);
                    let command = || commands.entry(which).or_insert_with(|| Arc::new(self.command(cell, &overrides))).clone();
                    self.right.then(|| (Action::Command(command()), inputs))
                }
            };
            let Some((action, inputs)) = action else { continue };
            let (mut needs, mut policy) = (self.decl.table.needs.clone(), self.decl.table.policy.clone());
            for entry in &overrides {
                needs.merge(&entry.needs);
                policy.merge(&entry.policy);
            }
            tasks.push(Task {
                stage: self.decl.name.clone(),
                cell: coordinates,
                needs: needed(&needs, self.stage.kind),
                policy: tried(&policy),
                outputs: self
                    .stage
                    .outputs
                    .iter()
                    .map(|out| Output { port: out.name.clone(), artifact: out.artifact, role: out.role })
                    .collect(),
                publish: super::publish::paths(document, self.decl, &self.stage.axes, cell),
                effect: match self.stage.kind {
                    Some(kind) => kind.effect,
                    None => self.decl.table.effect.as_ref().is_some_and(|effect| *effect.get_ref()),
                },
                action,
                inputs,
            });
        }
    }

    /// Parts by port, sorted by coordinates. `tasks` are those made so far.
    fn inputs(
        &self,
        cell: &[u32],
        arrivals: &[Arrivals],
        unread: &[&str],
        tasks: &[Task],
        problems: &mut Problems,
    ) -> BTreeMap<String, Vec<Edge>> {
        let builder = self.builder;
        let mut inputs: BTreeMap<String, Vec<Edge>> = BTreeMap::new();
        for (wire, arrivals) in self.stage.wires.iter().zip(arrivals).filter(|(wire, _)| !unread.contains(&wire.port.as_str())) {
            let relation = super::expand::producer(wire, builder.cells);
            let gathered = relation.places(&wire.selection.gathered);
            let found = arrivals.of(cell);
            if found.is_empty() {
                let own = show_coordinates(&builder.coordinates(&self.stage.axes, cell));
                let message = format!("`{}` names no cell that exists for {}[{own}]", wire.text, self.decl.name);
                problems.push(Diagnostic::error(wire.span.clone(), message).help("leave such cells out with `skip` or `keep`"));
            }
            if let From::Stage { stage, output } = &wire.from {
                let name = &builder.document.stages[*stage].name;
                let made = found.iter().filter_map(|number| tasks.get(builder.first_task[*stage] + number));
                if let Some(kind) = made.filter(|task| task.stage == *name).find_map(|task| task.kind_that_leaves_empty(output)) {
                    let message = format!("with the params it has, stage `{name}` puts nothing into its output `{output}`");
                    let help = format!("`tomograph kinds {kind}` says which params ask for it");
                    problems.push(Diagnostic::error(wire.span.clone(), message).help(help));
                }
            }
            let edges = found.iter().map(|number| {
                let origin = match &wire.from {
                    From::Source { source, inside } => {
                        Origin::Source { source: SourceId(builder.first_source[*source] + number), inside: inside.clone() }
                    }
                    From::Stage { stage, output } => {
                        Origin::Task { task: TaskId(builder.first_task[*stage] + number), port: output.clone() }
                    }
                };
                let values = super::cells::at(&relation.cells[*number], &gathered);
                let mut coordinates = builder.coordinates(&wire.selection.gathered, &values);
                if let Some(label) = &wire.label {
                    coordinates.insert("from".to_owned(), Value::Text(label.clone()));
                }
                Edge { origin, coordinates, chosen: wire.chosen }
            });
            inputs.entry(wire.port.clone()).or_default().extend(edges);
        }
        for edges in inputs.values_mut() {
            edges.sort_by(|a, b| a.coordinates.cmp(&b.coordinates).then_with(|| a.origin.cmp(&b.origin)));
        }
        inputs
    }

    fn nothing_missing(&self, kind: &Kind, inputs: &BTreeMap<String, Vec<Edge>>, unread: &[&str], problems: &mut Problems) {
        let known = || kind.inputs.iter().map(|port| port.name);
        for port in kind.inputs.iter().filter(|port| port.count == Count::One && !unread.contains(&port.name)) {
            // A reference that could not be read has its own message, and so has a name that is nearly right.
            let meant = |name: &str| name == port.name || kind.input(name).is_none() && nearest(name, known()) == Some(port.name);
            let written = self.decl.faulty.contains("inputs") || self.decl.inputs.iter().any(|input| meant(&input.port));
            if !inputs.contains_key(port.name) && !written {
                let message = format!("stage `{}` has no input `{}`", self.decl.name, port.name);
                let holds: Vec<&str> = port.holds.iter().map(|artifact| artifact.name()).collect();
                problems.push(Diagnostic::error(self.decl.span.clone(), message).help(format!(
                    "{} wants it: {} ({})",
                    kind.name,
                    port.about,
                    holds.join(" or ")
                )));
            }
        }
    }

    fn command(&self, cell: &[u32], overrides: &[&OverrideDecl<'i>]) -> Command {
        let document = self.builder.document;
        let look = |fragment: &Fragment| look_up(document, &self.stage.axes, cell, fragment);
        let arguments = self.decl.table.command.iter().flat_map(|command| command.get_ref());
        let params: Node<'i> = filled(document, self.decl, overrides, &self.stage.axes, cell);
        Command {
            argv: arguments.map(|argument| pieces(argument.get_ref(), &look)).collect(),
            params: json(&params),
            map: self.decl.table.map.as_ref().map(|map| map.get_ref().clone()),
            env: self.decl.table.env.as_ref().map(|env| env.get_ref().clone()).unwrap_or_default(),
            code: self.decl.table.code.as_ref().map(|code| code.get_ref().clone()).unwrap_or_default(),
        }
    }
}

fn arguments_right(checker: &mut Checker<'_, '_>, decl: &StageDecl<'_>, problems: &mut Problems) -> bool {
    let Some(command) = decl.table.command.as_ref().filter(|_| decl.table.kind.is_none()) else { return true };
    let inputs = decl.inputs.iter().map(|input| input.port.as_str()).collect();
    let outputs: Vec<&str> =
        decl.table.outputs.iter().flat_map(|outputs| outputs.get_ref().keys()).map(|name| name.get_ref().as_str()).collect();
    let mut own = Checker::new(checker.text, checker.document, checker.whose.clone(), checker.axes);
    own.ports = Some((inputs, outputs.clone()));
    own.loose = checker.loose;
    let mut right = true;
    for argument in command.get_ref() {
        right &= own.string(argument.get_ref(), &argument.span(), Place::Argument, problems);
    }
    for port in outputs.iter().filter(|port| right && !command.get_ref().is_empty() && !own.seen_outputs.contains(**port)) {
        let message = format!("the command is not told where to write its output `{port}`");
        problems.push(Diagnostic::warning(command.span(), message).help(format!("give it `\"{{outputs.{port}}}\"` as an argument")));
    }
    checker.seen_axes.extend(own.seen_axes);
    checker.seen_params.extend(own.seen_params);
    right
}

/// An argument as pieces, values in their place.
fn pieces<'i>(argument: &str, look: &dyn Fn(&Fragment) -> Option<Node<'i>>) -> Vec<Piece> {
    let mut found: Vec<Piece> = Vec::new();
    for (fragment, at) in parse(argument).unwrap_or_default() {
        let piece = match fragment {
            Fragment::Place(piece) => piece,
            other => Piece::Text(joined(&[(other, at)], look)),
        };
        match (found.last_mut(), piece) {
            (Some(Piece::Text(before)), Piece::Text(text)) => before.push_str(&text),
            (_, piece) => found.push(piece),
        }
    }
    if found.is_empty() { vec![Piece::Text(String::new())] } else { found }
}

fn needed(table: &NeedsTable, kind: Option<&'static Kind>) -> Needs {
    let usual = kind.map_or(Needs { cpus: 1, memory: 0, gpu: 0.0 }, |kind| kind.needs);
    Needs {
        cpus: table.cpus.map_or(usual.cpus, |cpus| cpus.0),
        memory: table.memory.map_or(usual.memory, |memory| memory.0),
        gpu: table.gpu.map_or(usual.gpu, |gpu| gpu.0),
    }
}

fn tried(table: &PolicyTable) -> Policy {
    Policy {
        retries: table.retries.unwrap_or_default(),
        retry_on: table.retry_on.clone().unwrap_or_else(|| vec![Cause::Signal, Cause::Oom]),
        timeout: table.timeout.map(|timeout| timeout.0),
        max_quarantine: table.max_quarantine.map(|bound| bound.0).unwrap_or_default(),
        env: table.env.as_ref().map(|env| env.get_ref().clone()).unwrap_or_default(),
    }
}
