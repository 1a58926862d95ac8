//! Cells → tasks and source cells: params read, parts found, arguments taken apart.

mod command;
mod sources;

use super::cells::{Cell, Relation};
use super::diagnostic::{Diagnostic, Problems, nearest};
use super::document::{Document, OverrideDecl, StageDecl};
use super::expand::{Arrivals, Cells, Test, producer, tests};
use super::model::{Action, Cause, Command, Edge, Origin, Output, Policy, SourceId, Task, TaskId};
use super::params::{Checker, Read, configure, filled, json, look_up, read_right};
use super::tables::{NeedsTable, PolicyTable};
use super::template::Fragment;
use super::values::Node;
use super::wiring::{From, OutPort, Stage, Wire, Wiring};
use crate::few::Few;
use crate::stage::{Coordinates, Count, Kind, Needs, Port, Value, show_coordinates};
use command::{arguments_right, pieces};
use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// Axes, and the coordinates of a cell of theirs.
type Shared = (Vec<usize>, Arc<Coordinates>);

/// Everything that tasks are made from.
pub(crate) struct Builder<'a, 'i> {
    pub text: &'a str,
    pub document: &'a Document<'i>,
    pub wiring: &'a Wiring,
    pub cells: &'a Cells,
    /// Number of the first task of each stage.
    first_task: Vec<usize>,
    first_source: Vec<usize>,
    /// Coordinates of gathered parts, by their values and axes: edges share them. Those of a part that is not gathered are empty.
    coordinates: RefCell<HashMap<Cell, Vec<Shared>>>,
    nowhere: Arc<Coordinates>,
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
        let (coordinates, nowhere, seen_params, seen_axes) = Default::default();
        Self { text, document, wiring, cells, first_task, first_source, coordinates, nowhere, seen_params, seen_axes }
    }

    fn shared_coordinates(&self, axes: &[usize], cell: &[u32]) -> Arc<Coordinates> {
        if axes.is_empty() {
            return self.nowhere.clone();
        }
        let mut known = self.coordinates.borrow_mut();
        if let Some((_, shared)) = known.get(cell).and_then(|all| all.iter().find(|(own, _)| own == axes)) {
            return shared.clone();
        }
        let made = Arc::new(self.coordinates(axes, cell));
        known.entry(cell.into()).or_default().push((axes.to_vec(), made.clone()));
        made
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

    /// Every task, each after those it needs.
    pub(crate) fn tasks(&mut self, problems: &mut Problems) -> Vec<Task> {
        let mut tasks = Vec::with_capacity(self.cells.stages.iter().map(|relation| relation.cells.len()).sum());
        for number in self.wiring.order.iter().chain(&self.wiring.circular) {
            let stage = &self.wiring.stages[*number];
            if let Some(made) = StageBuilder::new(self, *number, stage, problems) {
                made.tasks(problems, &mut tasks);
            }
        }
        tasks
    }
}

/// A wire with what tells which cells arrive through it.
struct Arriving<'a> {
    wire: &'a Wire,
    /// The cells of its producer.
    relation: &'a Relation,
    /// Places of the gathered axes in them, and whether these are all.
    gathered: Vec<usize>,
    is_all: bool,
    arrivals: Arrivals,
}

impl<'a> Arriving<'a> {
    fn new(builder: &Builder<'a, '_>, wire: &'a Wire, axes: &[usize]) -> Self {
        let relation = producer(wire, builder.cells);
        let arrivals = Arrivals::new(builder.document, wire, axes, builder.cells);
        let gathered = relation.places(&wire.selection.gathered);
        let is_all = !gathered.is_empty() && wire.selection.gathered == relation.axes;
        Self { wire, relation, gathered, is_all, arrivals }
    }
}

/// What a cell is made from: values of the axes that params name, and which overrides match.
type Which = (Cell, Vec<bool>);

/// So many different params are shared out among processors.
const MANY: usize = 64;

fn matching<'a, 'i>(decl: &'a StageDecl<'i>, (_, matched): &Which) -> Vec<&'a OverrideDecl<'i>> {
    decl.overrides.iter().zip(matched).filter(|(_, matched)| **matched).map(|(entry, _)| entry).collect()
}

/// One stage's tasks in the making.
struct StageBuilder<'b, 'a, 'i> {
    builder: &'b Builder<'a, 'i>,
    decl: &'a StageDecl<'i>,
    stage: &'a Stage,
    number: usize,
    overrides: Vec<Option<Test>>,
    outputs: Arc<[Output]>,
    /// Where no override says otherwise.
    policy: Arc<Policy>,
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
        let output = |out: &OutPort| Output { port: out.name.clone(), artifact: out.artifact, role: out.role };
        let outputs = stage.outputs.iter().map(output).collect();
        let policy = Arc::new(tried(&decl.table.policy));
        Some(Self { builder, decl, stage, number, overrides, outputs, policy, param_places, right })
    }

    fn tasks(&self, problems: &mut Problems, tasks: &mut Vec<Task>) {
        let document = self.builder.document;
        let arriving: Vec<Arriving<'_>> = self.stage.wires.iter().map(|wire| Arriving::new(self.builder, wire, &self.stage.axes)).collect();
        // Cells that agree in what they are made from share it.
        let mut known: HashMap<Which, Option<Read>> = self.read_ahead();
        let mut commands: HashMap<Which, Arc<Command>> = HashMap::new();
        let cells = &self.builder.cells.stages[self.number].cells;
        for cell in cells {
            let coordinates = Arc::new(self.builder.coordinates(&self.stage.axes, cell));
            let which = self.which(cell);
            let overrides = matching(self.decl, &which);
            let action = match self.stage.kind {
                Some(kind) => {
                    let read = known.entry(which).or_insert_with(|| {
                        let varies = !self.param_places.is_empty() || !overrides.is_empty();
                        let whose = if varies { format!("{}[{}]", self.decl.name, show_coordinates(&coordinates)) } else { String::new() };
                        let params = filled(document, self.decl, &overrides, &self.stage.axes, cell);
                        if self.right { configure(kind, &params, &whose, problems) } else { None }
                    });
                    let unread = read.as_ref().map(|read| read.unread.clone()).unwrap_or_default();
                    let inputs = self.inputs(cell, &arriving, &unread, tasks, problems);
                    self.nothing_missing(kind, &inputs, &unread, problems);
                    read.clone().map(|read| (Action::Kind { kind, params: read.params }, inputs))
                }
                None => {
                    let inputs = self.inputs(cell, &arriving, &[], tasks, problems);
                    let command = || commands.entry(which).or_insert_with(|| Arc::new(self.command(cell, &overrides))).clone();
                    self.right.then(|| (Action::Command(command()), inputs))
                }
            };
            let Some((action, inputs)) = action else { continue };
            let mut needs = self.decl.table.needs.clone();
            overrides.iter().for_each(|entry| needs.merge(&entry.needs));
            let policy = || {
                let mut policy = self.decl.table.policy.clone();
                overrides.iter().for_each(|entry| policy.merge(&entry.policy));
                Arc::new(tried(&policy))
            };
            tasks.push(Task {
                stage: self.decl.name.clone(),
                cell: coordinates,
                needs: needed(&needs, self.stage.kind),
                policy: if overrides.is_empty() { self.policy.clone() } else { policy() },
                outputs: self.outputs.clone(),
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

    /// What a cell is made from.
    fn which(&self, cell: &[u32]) -> Which {
        let matched = self.overrides.iter().map(|test| test.as_ref().is_some_and(|test| test.holds(cell))).collect();
        (super::cells::at(cell, &self.param_places), matched)
    }

    /// Params of cells, read on all processors where they are many. Those in which something is wrong are left to be read again.
    fn read_ahead(&self) -> HashMap<Which, Option<Read>> {
        let Some(kind) = self.stage.kind.filter(|_| self.right) else { return HashMap::new() };
        let mut first: HashMap<Which, &Cell> = HashMap::new();
        for cell in &self.builder.cells.stages[self.number].cells {
            first.entry(self.which(cell)).or_insert(cell);
        }
        if first.len() < MANY {
            return HashMap::new();
        }
        let (document, decl, axes) = (self.builder.document, self.decl, &self.stage.axes);
        let read = |(which, cell): &(Which, &Cell)| {
            let params = filled(document, decl, &matching(decl, which), axes, cell);
            Some((which.clone(), Some(read_right(kind, params)?)))
        };
        let (read, first): (_, Vec<(Which, &Cell)>) = (&read, first.into_iter().collect());
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        std::thread::scope(|scope| {
            let parts = first.chunks(first.len().div_ceil(threads));
            let reading: Vec<_> = parts.map(|part| scope.spawn(move || part.iter().filter_map(read).collect::<Vec<_>>())).collect();
            reading.into_iter().filter_map(|part| part.join().ok()).flatten().collect()
        })
    }

    /// Parts by port, sorted by coordinates. `tasks` are those made so far.
    fn inputs(
        &self,
        cell: &[u32],
        arriving: &[Arriving<'_>],
        unread: &[&str],
        tasks: &[Task],
        problems: &mut Problems,
    ) -> Few<String, Vec<Edge>> {
        let builder = self.builder;
        let mut inputs: Few<String, Vec<Edge>> = Few::with_capacity(arriving.len());
        for Arriving { wire, relation, gathered, is_all, arrivals } in
            arriving.iter().filter(|one| !unread.contains(&one.wire.port.as_str()))
        {
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
                let made = match &origin {
                    // A part that stands where its task does.
                    Origin::Task { task, .. } if *is_all => tasks.get(task.0).map(|task| task.cell.clone()),
                    _ => None,
                };
                let shared = || {
                    let values = super::cells::at(&relation.cells[*number], gathered);
                    builder.shared_coordinates(&wire.selection.gathered, &values)
                };
                let mut coordinates = made.unwrap_or_else(shared);
                if let Some(label) = &wire.label {
                    Arc::make_mut(&mut coordinates).insert("from".to_owned(), Value::Text(label.clone()));
                }
                Edge { origin, coordinates, chosen: wire.chosen }
            });
            match inputs.get_mut(wire.port.as_str()) {
                // Those of one wire are sorted, as its producer's cells are.
                None => drop(inputs.insert(wire.port.clone(), edges.collect())),
                Some(others) => {
                    others.extend(edges);
                    others.sort_by(|a, b| a.coordinates.cmp(&b.coordinates).then_with(|| a.origin.cmp(&b.origin)));
                }
            }
        }
        inputs
    }

    fn nothing_missing(&self, kind: &Kind, inputs: &Few<String, Vec<Edge>>, unread: &[&str], problems: &mut Problems) {
        let known = || kind.inputs.iter().map(|port| port.name);
        let wanted = |port: &&Port| port.count == Count::One && !unread.contains(&port.name) && !inputs.contains_key(port.name);
        for port in kind.inputs.iter().filter(wanted) {
            // A reference that could not be read has its own message, and so has a name that is nearly right.
            let meant = |name: &str| name == port.name || kind.input(name).is_none() && nearest(name, known()) == Some(port.name);
            let written = self.decl.faulty.contains("inputs") || self.decl.inputs.iter().any(|input| meant(&input.port));
            if !written {
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
            code: self.decl.table.code.iter().flat_map(|code| code.get_ref()).map(|glob| glob.get_ref().clone()).collect(),
        }
    }
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
