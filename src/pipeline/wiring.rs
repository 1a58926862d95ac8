//! References → wires: which output feeds which port, whether it fits, and along which axes.
//!
//! Works on stages as wholes; cells come after, in `expand`.

mod command;
mod fits;
mod order;
mod select;

use super::diagnostic::{Diagnostic, Problems, nearest};
use super::document::{Document, InputDecl, ReferenceDecl, StageDecl};
use super::reference::{Choice, Name};
use super::taken::{Others, TakenSource};
use super::values::inside;
use crate::stage::{Artifact, Count, Kind, Port, Role};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// What the stages are and how they hang together.
pub(crate) struct Wiring {
    /// Axes of each source, ascending.
    pub sources: Vec<Vec<usize>>,
    /// Whether all of them are known.
    pub sound_sources: Vec<bool>,
    /// What is taken from other pipelines.
    pub taken: Vec<Option<TakenSource>>,
    pub stages: Vec<Stage>,
    /// Stages, each after those it needs.
    pub order: Vec<usize>,
    /// Those on a circle, or after one.
    pub circular: Vec<usize>,
    /// Sources that something refers to.
    pub used: BTreeSet<usize>,
}

/// A stage, its ports and wires known.
#[derive(Default)]
pub(crate) struct Stage {
    pub kind: Option<&'static Kind>,
    pub outputs: Vec<OutPort>,
    pub wires: Vec<Wire>,
    /// Every axis it has, ascending.
    pub axes: Vec<usize>,
    /// Its own `over`.
    pub over: Vec<usize>,
    /// Whether all of its axes and outputs are known; if not, what follows from them is not reported.
    pub sound: bool,
}

/// An output port.
#[derive(Clone, Debug)]
pub(crate) struct OutPort {
    pub name: String,
    pub artifact: Artifact,
    pub role: Option<Role>,
}

/// A reference that has been understood.
pub(crate) struct Wire {
    pub port: String,
    pub label: Option<String>,
    pub from: From,
    pub chosen: bool,
    pub selection: Selection,
    pub span: Range<usize>,
    /// The reference as written.
    pub text: String,
}

/// What a wire begins at.
#[derive(Clone, Debug)]
pub(crate) enum From {
    Source { source: usize, inside: Option<String> },
    Stage { stage: usize, output: String },
}

/// What selectors do with the axes of what is referred to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Selection {
    /// Bound inside the gather; in the parts' coordinates.
    pub gathered: Vec<usize>,
    /// Only these values; of one value the axis ends here, of several it flows on.
    pub fixed: Vec<(usize, Vec<u32>)>,
    /// The axis takes the value of another axis (or a field of it).
    pub by: Vec<(usize, usize, Option<String>)>,
    /// Axes that arrive at the stage.
    pub flow: Vec<usize>,
}

/// What references may name.
#[derive(Clone, Copy)]
enum Named {
    Source(usize),
    Stage(usize),
}

impl Wiring {
    /// The role of the arrays that a wire carries, where it is known before anything runs.
    fn role(&self, from: &From) -> Option<Role> {
        match from {
            From::Source { source, .. } => self.taken[*source].as_ref()?.output.role,
            From::Stage { stage, output } => self.stages[*stage].outputs.iter().find(|one| one.name == *output)?.role,
        }
    }
}

struct Wirer<'a, 'i> {
    text: &'a str,
    document: &'a Document<'i>,
    names: BTreeMap<&'a str, Named>,
    problems: &'a mut Problems,
}

/// Finds kinds, ports, axes and order of everything.
pub(crate) fn wire(text: &str, document: &Document<'_>, others: &Others, kinds: &'static [Kind], problems: &mut Problems) -> Wiring {
    let mut names = BTreeMap::new();
    names.extend(document.sources.iter().enumerate().map(|(number, source)| (source.name.as_str(), Named::Source(number))));
    names.extend(document.stages.iter().enumerate().map(|(number, stage)| (stage.name.as_str(), Named::Stage(number))));
    let mut wirer = Wirer { text, document, names, problems };

    let (sources, sound_sources): (Vec<Vec<usize>>, _) = document.sources.iter().map(|source| wirer.over(&source.table.over)).unzip();
    let taken = super::taken::resolve(document, others, &sources, wirer.problems);
    let stages = document.stages.iter().map(|decl| wirer.declare(decl, kinds)).collect();
    let (order, circular) = wirer.order();
    let mut wiring = Wiring { sources, sound_sources, taken, stages, order, circular, used: BTreeSet::new() };
    for stage in wiring.circular.clone() {
        wiring.stages[stage].sound = false;
    }
    for stage in wiring.order.clone() {
        wirer.connect(stage, &mut wiring);
    }
    wiring
}

impl<'a, 'i> Wirer<'a, 'i> {
    fn axis(&self, name: &str) -> Option<usize> {
        self.document.axes.binary_search_by(|axis| axis.name.as_str().cmp(name)).ok()
    }

    fn axis_names(&self, axes: &[usize]) -> Vec<&'a str> {
        axes.iter().map(|axis| self.document.axes[*axis].name.as_str()).collect()
    }

    fn unknown_axis(&mut self, span: Range<usize>, name: &str) {
        let known = self.document.axes.iter().map(|axis| axis.name.as_str());
        self.problems.push(Diagnostic::error(span, format!("unknown axis `{name}`")).suggest(name, known));
    }

    /// The axes of an `over`, ascending, and whether all are known.
    fn over(&mut self, over: &[toml::Spanned<String>]) -> (Vec<usize>, bool) {
        let mut axes = BTreeSet::new();
        let mut sound = true;
        for name in over {
            match self.axis(name.get_ref()) {
                Some(axis) if !axes.insert(axis) => {
                    self.problems.push(Diagnostic::error(name.span(), format!("axis `{}` is named twice", name.get_ref())));
                }
                Some(_) => {}
                None => {
                    self.unknown_axis(name.span(), name.get_ref());
                    sound = false;
                }
            }
        }
        (axes.into_iter().collect(), sound)
    }

    /// Kind and outputs of a stage.
    fn declare(&mut self, decl: &StageDecl<'_>, kinds: &'static [Kind]) -> Stage {
        let (over, mut sound) = self.over(&decl.table.over);
        let mut stage = Stage { over, ..Stage::default() };
        let table = &decl.table;
        match (&table.kind, &table.command) {
            (Some(kind), command) => {
                if let Some(command) = command {
                    self.problems.push(
                        Diagnostic::error(command.span(), format!("stage `{}` has a `kind` and a `command`", decl.name))
                            .also(kind.span(), "the kind")
                            .help("a stage has one of the two"),
                    );
                }
                if command.is_none() {
                    self.not_for_kinds(decl);
                }
                stage.kind = kinds.iter().find(|one| one.name == kind.get_ref());
                if stage.kind.is_none() {
                    let known = kinds.iter().map(|kind| kind.name);
                    let unknown = Diagnostic::error(kind.span(), format!("unknown kind `{}`", kind.get_ref()));
                    self.problems.push(unknown.suggest(kind.get_ref(), known));
                    sound = false;
                }
            }
            (None, Some(command)) => sound &= self.declare_command(decl, command, &mut stage),
            // What is wrong with the one that is there has been said.
            (None, None) if decl.faulty.contains("kind") => sound = false,
            (None, None) if decl.faulty.contains("command") => {
                self.declare_outputs(decl, &mut stage);
                sound = false;
            }
            (None, None) => {
                let missing = Diagnostic::error(decl.span.clone(), format!("stage `{}` has neither `kind` nor `command`", decl.name));
                self.problems.push(missing);
                sound = false;
            }
        }
        if let Some(kind) = stage.kind {
            let out = |port: &Port| OutPort { name: port.name.to_owned(), artifact: port.holds[0], role: port.roles.first().copied() };
            stage.outputs = kind.outputs.iter().map(out).collect();
        }
        stage.sound = sound;
        stage
    }

    /// Wires and axes of a stage whose producers are wired.
    fn connect(&mut self, number: usize, wiring: &mut Wiring) {
        let decl = &self.document.stages[number];
        let kind = wiring.stages[number].kind;
        let mut sound = wiring.stages[number].sound;
        let mut wires = Vec::new();
        for input in &decl.inputs {
            let port = match kind {
                Some(kind) => match kind.input(&input.port) {
                    Some(port) => Some(port),
                    None => {
                        let unknown = Diagnostic::error(input.port_span.clone(), format!("`{}` has no input `{}`", kind.name, input.port));
                        self.problems.push(unknown.suggest(&input.port, kind.inputs.iter().map(|port| port.name)));
                        // Its axes still arrive, so that this is the only message.
                        None
                    }
                },
                None => None,
            };
            if let Some(port) = port.filter(|port| port.filled) {
                let message = format!("port `{}` is filled by the engine", port.name);
                self.problems.push(Diagnostic::error(input.port_span.clone(), message).help("leave it out"));
                continue;
            }
            if let Some(port) = port.filter(|port| input.labelled && port.count != Count::Many) {
                let message = format!("port `{}` takes one part, not a table of them", port.name);
                self.problems.push(Diagnostic::error(input.port_span.clone(), message));
            }
            for reference in &input.references {
                match self.wire(input, reference, port, kind.is_none(), wiring) {
                    Some(wire) => wires.push(wire),
                    None => sound = false,
                }
            }
        }
        let mut axes: BTreeSet<usize> = wiring.stages[number].over.iter().copied().collect();
        axes.extend(wires.iter().flat_map(|wire| wire.selection.flow.iter().copied()));
        for wire in &wires {
            for (_, other, _) in wire.selection.by.iter().filter(|(_, other, _)| !axes.contains(other)) {
                let name = &self.document.axes[*other].name;
                let here: Vec<usize> = axes.iter().copied().collect();
                if sound {
                    let missing = Diagnostic::error(wire.span.clone(), format!("axis `{name}` does not arrive at stage `{}`", decl.name));
                    self.problems.push(missing.help(reach(name, &self.axis_names(&here))));
                }
                sound = false;
            }
        }
        if kind.is_none() && sound {
            sound &= self.items_of(decl, &wires, wiring, number);
        }
        for port in kind.iter().flat_map(|kind| kind.outputs) {
            let Some(input) = port.role_of else { continue };
            let role = wires.iter().find(|wire| wire.port == input).and_then(|wire| wiring.role(&wire.from));
            wiring.stages[number].outputs.iter_mut().filter(|output| output.name == port.name).for_each(|output| output.role = role);
        }
        let stage = &mut wiring.stages[number];
        stage.wires = wires;
        stage.axes = axes.into_iter().collect();
        stage.sound = sound;
    }

    fn wire(
        &mut self,
        input: &InputDecl,
        decl: &ReferenceDecl,
        port: Option<&'static Port>,
        command: bool,
        wiring: &mut Wiring,
    ) -> Option<Wire> {
        let reference = &decl.reference;
        let place = |name: &Name| inside(self.text, &decl.span, &decl.text, &name.at);
        let Some(named) = self.names.get(reference.name.text.as_str()).copied() else {
            let unknown = Diagnostic::error(place(&reference.name), format!("there is no stage or source `{}`", reference.name.text));
            self.problems.push(unknown.suggest(&reference.name.text, self.names.keys().copied()));
            return None;
        };
        let (from, chosen, producer_axes) = match named {
            Named::Source(source) => {
                wiring.used.insert(source);
                if let Some(name) = &reference.port {
                    let help = format!("a file inside it is written `{}/{}`", reference.name.text, name.text);
                    let message = format!("`{}` is a source and has no port `{}`", reference.name.text, name.text);
                    self.problems.push(Diagnostic::error(place(name), message).help(help));
                    return None;
                }
                let chosen = port.is_some_and(|port| self.source_fits(source, wiring.taken[source].as_ref(), decl, port));
                if !wiring.sound_sources[source] {
                    return None;
                }
                (From::Source { source, inside: reference.inside.clone() }, chosen, wiring.sources[source].clone())
            }
            Named::Stage(stage) => {
                if reference.inside.is_some() {
                    let help = format!("an output is written `{}.PORT`", reference.name.text);
                    let message = format!("`{}` is a stage: only a source has files to name", reference.name.text);
                    self.problems.push(Diagnostic::error(decl.span.clone(), message).help(help));
                    return None;
                }
                let shape = &wiring.stages[stage];
                if shape.outputs.is_empty() {
                    return None;
                }
                let outputs = shape.outputs.clone();
                let (output, chosen) = self.output(decl, &outputs, port)?;
                if !wiring.stages[stage].sound {
                    return None;
                }
                (From::Stage { stage, output }, chosen, wiring.stages[stage].axes.clone())
            }
        };
        let selection = self.selection(decl, &producer_axes)?;
        let many = command || port.is_none_or(|port| port.count == Count::Many);
        let gathers = reference.selectors.iter().find(|selector| selector.choice == Choice::All);
        if let Some(selector) = gathers.filter(|_| !many) {
            let message = format!("port `{}` takes one part, and this gathers", input.port);
            let span = inside(self.text, &decl.span, &decl.text, &selector.at);
            self.problems.push(Diagnostic::error(span, message).help("leave the selector out to follow the axis, or pick one value"));
            return None;
        }
        let (label, span, text) = (decl.label.clone(), decl.span.clone(), decl.text.clone());
        Some(Wire { port: input.port.clone(), label, from, chosen, selection, span, text })
    }
}

/// How an axis that exists could arrive at a stage.
pub(crate) fn reach(axis: &str, here: &[&str]) -> String {
    match nearest(axis, here.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("add `over = [\"{axis}\"]`, or an input that has it"),
    }
}

/// An artifact that is none.
pub(crate) fn unknown_artifact(name: &toml::Spanned<String>) -> Diagnostic {
    let known = Artifact::ALL.iter().map(|(_, name, _)| *name);
    Diagnostic::error(name.span(), format!("unknown artifact `{}`", name.get_ref())).suggest(name.get_ref(), known)
}
