//! References → wires: which output feeds which port, whether it fits, and along which axes.
//!
//! Works on stages as wholes; cells come after, in `expand`.

use super::diagnostic::{Diagnostic, Problems, nearest, quoted};
use super::document::{Document, InputDecl, ReferenceDecl, StageDecl, inside};
use super::overlay::is_value;
use super::reference::{Choice, Name};
use crate::stage::{Artifact, Count, Kind, Port, Role};
use petgraph::algo::tarjan_scc;
use petgraph::graph::{DiGraph, NodeIndex};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;

/// What the stages are and how they hang together.
pub(crate) struct Wiring {
    /// Axes of each source, ascending.
    pub sources: Vec<Vec<usize>>,
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

struct Wirer<'a, 'i> {
    text: &'a str,
    document: &'a Document<'i>,
    names: BTreeMap<&'a str, Named>,
    problems: &'a mut Problems,
}

/// Finds kinds, ports, axes and order of everything.
pub(crate) fn wire(text: &str, document: &Document<'_>, kinds: &'static [Kind], problems: &mut Problems) -> Wiring {
    let mut names = BTreeMap::new();
    names.extend(document.sources.iter().enumerate().map(|(number, source)| (source.name.as_str(), Named::Source(number))));
    names.extend(document.stages.iter().enumerate().map(|(number, stage)| (stage.name.as_str(), Named::Stage(number))));
    let mut wirer = Wirer { text, document, names, problems };

    let sources = document.sources.iter().map(|source| wirer.over(&source.table.over).0).collect();
    let stages = document.stages.iter().map(|decl| wirer.declare(decl, kinds)).collect();
    let (order, circular) = wirer.order();
    let mut wiring = Wiring { sources, stages, order, circular, used: BTreeSet::new() };
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
                for (key, span) in [
                    ("outputs", table.outputs.as_ref().map(toml::Spanned::span)),
                    ("code", table.code.as_ref().map(toml::Spanned::span)),
                    ("env", table.env.as_ref().map(toml::Spanned::span)),
                ] {
                    if let Some(span) = span.filter(|_| command.is_none()) {
                        self.problems.push(Diagnostic::error(span, format!("`{key}` is for stages with a `command`")));
                    }
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

    fn declare_command(&mut self, decl: &StageDecl<'_>, command: &toml::Spanned<Vec<toml::Spanned<String>>>, stage: &mut Stage) -> bool {
        if command.get_ref().is_empty() {
            self.problems.push(Diagnostic::error(command.span(), "a command needs a program"));
        }
        let Some(outputs) = decl.table.outputs.as_ref().filter(|outputs| !outputs.get_ref().is_empty()) else {
            self.problems.push(
                Diagnostic::error(decl.span.clone(), format!("the command of stage `{}` has no outputs", decl.name))
                    .help("name each with its artifact: `outputs = { table = \"table\" }`"),
            );
            return false;
        };
        let mut sound = true;
        for (port, artifact) in outputs.get_ref() {
            match artifact.get_ref().parse::<Artifact>() {
                Ok(artifact) => stage.outputs.push(OutPort { name: port.get_ref().clone(), artifact, role: None }),
                Err(()) => {
                    self.problems.push(unknown_artifact(artifact));
                    sound = false;
                }
            }
        }
        // The main one is the first as written.
        let place = |port: &OutPort| outputs.get_ref().keys().find(|name| name.get_ref() == &port.name).map(|name| name.span().start);
        stage.outputs.sort_by_key(place);
        sound
    }

    /// Stages, each after those it refers to, as written where that leaves a choice; and those on circles or after one.
    fn order(&mut self) -> (Vec<usize>, Vec<usize>) {
        let stages = &self.document.stages;
        let mut graph: DiGraph<(), Range<usize>> = DiGraph::new();
        let nodes: Vec<NodeIndex> = stages.iter().map(|_| graph.add_node(())).collect();
        for (number, decl) in stages.iter().enumerate() {
            for reference in decl.inputs.iter().flat_map(|input| &input.references) {
                if let Some(Named::Stage(other)) = self.names.get(reference.reference.name.text.as_str()) {
                    graph.add_edge(nodes[*other], nodes[number], reference.span.clone());
                }
            }
        }
        for circle in tarjan_scc(&graph) {
            let itself = circle.len() == 1 && graph.find_edge(circle[0], circle[0]).is_some();
            if circle.len() > 1 || itself {
                let first = circle.iter().copied().min_by_key(|node| node.index()).unwrap_or(circle[0]);
                self.circle(&graph, first);
            }
        }
        let mut waiting: Vec<usize> = nodes.iter().map(|node| graph.neighbors_directed(*node, petgraph::Incoming).count()).collect();
        let mut ready: BTreeSet<usize> = (0..stages.len()).filter(|number| waiting[*number] == 0).collect();
        let mut order = Vec::new();
        while let Some(next) = ready.pop_first() {
            order.push(next);
            for follower in graph.neighbors(nodes[next]) {
                waiting[follower.index()] -= 1;
                if waiting[follower.index()] == 0 {
                    ready.insert(follower.index());
                }
            }
        }
        let circular = (0..stages.len()).filter(|number| waiting[*number] > 0).collect();
        (order, circular)
    }

    /// Reports the shortest circle through `first`.
    fn circle(&mut self, graph: &DiGraph<(), Range<usize>>, first: NodeIndex) {
        let mut before: BTreeMap<NodeIndex, NodeIndex> = BTreeMap::new();
        let mut queue = VecDeque::from([first]);
        while let Some(node) = queue.pop_front() {
            let mut next: Vec<NodeIndex> = graph.neighbors(node).collect();
            next.sort();
            for follower in next {
                if let std::collections::btree_map::Entry::Vacant(entry) = before.entry(follower) {
                    entry.insert(node);
                    queue.push_back(follower);
                }
            }
        }
        let mut path = vec![first];
        let mut node = before.get(&first).copied().unwrap_or(first);
        while node != first {
            path.push(node);
            node = before.get(&node).copied().unwrap_or(first);
        }
        path.push(first);
        path.reverse();
        let names: Vec<&str> = path.iter().map(|node| self.document.stages[node.index()].name.as_str()).collect();
        let mut spans = path.windows(2).filter_map(|pair| graph.find_edge(pair[0], pair[1]).map(|edge| graph[edge].clone()));
        let Some(span) = spans.next() else { return };
        let circle = Diagnostic::error(span, format!("stages wait for each other in a circle: {}", names.join(" → ")));
        self.problems.push(spans.fold(circle, |circle, span| circle.also(span, "")));
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
                if let Some(port) = port {
                    self.source_fits(source, decl, port);
                }
                (From::Source { source, inside: reference.inside.clone() }, false, wiring.sources[source].clone())
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

    /// The output that is meant: the one named, else the main one where it fits, else the only one that fits.
    fn output(&mut self, decl: &ReferenceDecl, outputs: &[OutPort], port: Option<&Port>) -> Option<(String, bool)> {
        let stage = &decl.reference.name.text;
        if let Some(name) = &decl.reference.port {
            let Some(output) = outputs.iter().find(|output| output.name == name.text) else {
                let span = inside(self.text, &decl.span, &decl.text, &name.at);
                let unknown = Diagnostic::error(span, format!("`{stage}` has no output `{}`", name.text));
                self.problems.push(unknown.suggest(&name.text, outputs.iter().map(|output| output.name.as_str())));
                return None;
            };
            let Some(port) = port else { return Some((output.name.clone(), false)) };
            return match fits(output, port) {
                Ok(chosen) => Some((output.name.clone(), chosen)),
                Err(misfit) => {
                    let others: Vec<String> = fitting(outputs, port).map(|(output, _)| format!("{stage}.{}", output.name)).collect();
                    self.problems.push(misfit.say(decl, &format!("{stage}.{}", output.name), output, port, &others));
                    // The axes are known all the same.
                    Some((output.name.clone(), false))
                }
            };
        }
        let Some(port) = port else { return Some((outputs[0].name.clone(), false)) };
        let main = fits(&outputs[0], port);
        if let Ok(chosen) = main {
            return Some((outputs[0].name.clone(), chosen));
        }
        let found: Vec<(&OutPort, bool)> = fitting(outputs, port).collect();
        match (found.as_slice(), main) {
            ([(output, chosen)], _) => Some((output.name.clone(), *chosen)),
            ([], Err(misfit)) => {
                self.problems.push(misfit.say(decl, stage, &outputs[0], port, &[]));
                Some((outputs[0].name.clone(), false))
            }
            _ => {
                let candidates: Vec<String> = found.iter().map(|(output, _)| format!("{stage}.{}", output.name)).collect();
                let message = format!("several outputs of `{stage}` fit port `{}`", port.name);
                self.problems.push(Diagnostic::error(decl.span.clone(), message).help(format!("say which: {}", quoted(&candidates))));
                Some((found[0].0.name.clone(), false))
            }
        }
    }

    fn source_fits(&mut self, source: usize, decl: &ReferenceDecl, port: &Port) {
        let table = &self.document.sources[source].table;
        let artifact = match (&table.r#type, &decl.reference.inside) {
            (_, Some(_)) | (None, None) => Artifact::Files,
            (Some(name), None) => match name.get_ref().parse() {
                Ok(artifact) => artifact,
                Err(()) => return,
            },
        };
        let output = OutPort { name: String::new(), artifact, role: None };
        let path = decl.reference.inside.as_deref().or(table.path.as_ref().map(|path| path.get_ref().as_str())).unwrap_or_default();
        let one_file = artifact == Artifact::Files && is_one_file(path);
        let read_as = [Artifact::Table, Artifact::Cohort];
        if one_file && port.holds.iter().any(|artifact| read_as.contains(artifact)) {
            return;
        }
        if let Err(misfit) = fits(&output, port) {
            let mut diagnostic = misfit.say(decl, &decl.text, &output, port, &[]);
            if artifact == Artifact::Files {
                let wanted = port.holds[0];
                diagnostic.help = Some(match port.holds.iter().any(|artifact| read_as.contains(artifact)) {
                    true => format!("name one file inside it, such as `{}/table.csv`", decl.reference.name.text),
                    false => format!("a folder that holds {wanted} as `tomograph export` writes it says `type = \"{wanted}\"`"),
                });
            }
            self.problems.push(diagnostic);
        }
    }

    fn selection(&mut self, decl: &ReferenceDecl, axes: &[usize]) -> Option<Selection> {
        let mut selection = Selection::default();
        let mut ended: BTreeSet<usize> = BTreeSet::new();
        for selector in &decl.reference.selectors {
            let span = inside(self.text, &decl.span, &decl.text, &selector.at);
            let Some(name) = &selector.axis else {
                let named: BTreeSet<usize> =
                    decl.reference.selectors.iter().filter_map(|one| self.axis(&one.axis.as_ref()?.text)).collect();
                let all: Vec<usize> = axes.iter().copied().filter(|axis| !named.contains(axis)).collect();
                ended.extend(&all);
                selection.gathered.extend(all);
                continue;
            };
            let axis = self.selected_axis(decl, name, axes)?;
            match &selector.choice {
                Choice::All => {
                    selection.gathered.push(axis);
                    ended.insert(axis);
                }
                Choice::Values(names) => {
                    let values = self.values(decl, axis, names)?;
                    if values.len() == 1 {
                        ended.insert(axis);
                    }
                    selection.fixed.push((axis, values));
                }
                Choice::Other { axis: other, field } => {
                    let Some(other) = self.axis(other) else {
                        self.unknown_axis(span, other);
                        return None;
                    };
                    let lacks = |field: &String| self.document.axes[other].values.iter().any(|value| !value.fields.contains_key(field));
                    if let Some(field) = field.as_ref().filter(|field| lacks(field)) {
                        let name = &self.document.axes[other].name;
                        self.problems.push(Diagnostic::error(span, format!("not every value of axis `{name}` has a field `{field}`")));
                        return None;
                    }
                    selection.by.push((axis, other, field.clone()));
                    ended.insert(axis);
                }
            }
        }
        selection.gathered.sort_unstable();
        selection.flow = axes.iter().copied().filter(|axis| !ended.contains(axis)).collect();
        Some(selection)
    }

    fn selected_axis(&mut self, decl: &ReferenceDecl, name: &Name, axes: &[usize]) -> Option<usize> {
        let found = self.axis(&name.text).filter(|axis| axes.contains(axis));
        if found.is_none() {
            let span = inside(self.text, &decl.span, &decl.text, &name.at);
            let message = format!("`{}` has no axis `{}`", decl.reference.name.text, name.text);
            let known = self.axis_names(axes);
            let diagnostic = Diagnostic::error(span, message);
            self.problems.push(match known.is_empty() {
                true => diagnostic.help("it is the same for every cell: leave the selector out"),
                false => diagnostic.suggest(&name.text, known),
            });
        }
        found
    }

    fn values(&mut self, decl: &ReferenceDecl, axis: usize, names: &[Name]) -> Option<Vec<u32>> {
        let values = &self.document.axes[axis].values;
        let mut found = BTreeSet::new();
        for name in names {
            match values.iter().position(|value| is_value(&value.value, &name.text)) {
                Some(value) => found.insert(value as u32),
                None => {
                    let span = inside(self.text, &decl.span, &decl.text, &name.at);
                    let known: Vec<String> = values.iter().map(|value| value.value.to_string()).collect();
                    let message = format!("axis `{}` has no value `{}`", self.document.axes[axis].name, name.text);
                    self.problems.push(Diagnostic::error(span, message).suggest(&name.text, known.iter().map(String::as_str)));
                    return None;
                }
            };
        }
        Some(found.into_iter().collect())
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

/// Whether a path means one file: no glob, and a last part with an ending.
fn is_one_file(path: &str) -> bool {
    let last = path.rsplit('/').next().unwrap_or_default();
    !path.contains(['*', '?', '[']) && last.rsplit_once('.').is_some_and(|(stem, ending)| !stem.is_empty() && !ending.is_empty())
}

/// Why an output does not fit a port.
enum Misfit {
    Artifact,
    Role,
}

/// Whether an output fits a port, and if so whether as a chosen list where one is taken.
fn fits(output: &OutPort, port: &Port) -> Result<bool, Misfit> {
    if port.holds.contains(&output.artifact) {
        return match output.role {
            Some(role) if !port.roles.is_empty() && !port.roles.contains(&role) => Err(Misfit::Role),
            _ => Ok(false),
        };
    }
    let chosen = output.artifact == Artifact::Models && port.holds.contains(&Artifact::Model) && port.count != Count::Many;
    if chosen { Ok(true) } else { Err(Misfit::Artifact) }
}

fn fitting<'a>(outputs: &'a [OutPort], port: &'a Port) -> impl Iterator<Item = (&'a OutPort, bool)> {
    outputs.iter().filter_map(|output| fits(output, port).ok().map(|chosen| (output, chosen)))
}

impl Misfit {
    fn say(&self, decl: &ReferenceDecl, shown: &str, output: &OutPort, port: &Port, others: &[String]) -> Diagnostic {
        let accepted = |names: Vec<String>| names.join(" or ");
        let diagnostic = match (self, output.role) {
            (Self::Role, Some(role)) => {
                let roles = accepted(port.roles.iter().map(|role| format!("`{role}`")).collect());
                let message = format!("`{shown}` gives arrays of role `{role}`, port `{}` takes {roles}", port.name);
                let trains = !port.roles.iter().any(|role| matches!(role, Role::Test | Role::All));
                match (role, trains) {
                    (Role::Test, true) => Diagnostic::error(decl.span.clone(), message).label("test data must not reach a training"),
                    (Role::All, true) => {
                        Diagnostic::error(decl.span.clone(), message).label("these hold the test data, which must not reach a training")
                    }
                    _ => Diagnostic::error(decl.span.clone(), message),
                }
            }
            _ => {
                let holds = accepted(port.holds.iter().map(|artifact| format!("`{artifact}`")).collect());
                let message = format!("`{shown}` gives `{}`, port `{}` takes {holds}", output.artifact, port.name);
                Diagnostic::error(decl.span.clone(), message)
            }
        };
        match others {
            [] => diagnostic,
            _ => diagnostic.help(format!("this fits: {}", quoted(others))),
        }
    }
}
