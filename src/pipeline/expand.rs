//! Wires → cells: which combinations of axis values each stage has.
//!
//! Done twice where `--axis` is given: once with the axes as written, for the file's own mistakes, once as wanted.

use super::axes::{Axis, AxisValue};
use super::cells::{Cell, MOST, Relation, at};
use super::diagnostic::{Diagnostic, Problems};
use super::document::{Document, Matcher, StageDecl};
use super::wiring::{From, Wire, Wiring, reach};
use std::collections::BTreeSet;
use std::ops::Range;

/// The cells of everything.
pub(crate) struct Cells {
    pub sources: Vec<Relation>,
    pub stages: Vec<Relation>,
}

/// The cells of an entry of `keep`, `skip` or `override`: for each axis it names the place in a cell and the values.
pub(crate) struct Test(Vec<(usize, Vec<u32>)>);

impl Test {
    pub(crate) fn holds(&self, cell: &[u32]) -> bool {
        self.0.iter().all(|(place, values)| values.contains(&cell[*place]))
    }
}

/// Which values of the axes count.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pass {
    Written,
    Wanted,
}

/// Expands every stage; `narrowed` says that `--axis` was given.
pub(crate) fn expand(document: &Document<'_>, wiring: &Wiring, narrowed: bool, problems: &mut Problems) -> Cells {
    let cells = pass(document, wiring, Pass::Written, problems);
    if narrowed && problems.errors() == 0 { pass(document, wiring, Pass::Wanted, problems) } else { cells }
}

fn pass(document: &Document<'_>, wiring: &Wiring, pass: Pass, problems: &mut Problems) -> Cells {
    let limit = Limit { tasks: document.max_tasks };
    let all = |axes: &Vec<usize>, problems: &mut Problems, number: usize| {
        let decl = &document.sources[number];
        let whose = format!("source `{}`", decl.name);
        axes.iter().fold(Relation::unit(), |all, axis| limit.join(&all, &values(document, *axis, pass), &whose, &decl.span, problems))
    };
    let sources = wiring.sources.iter().enumerate().map(|(number, axes)| all(axes, problems, number)).collect();
    let mut cells = Cells { sources, stages: document.stages.iter().map(|_| Relation::unit()).collect() };
    for number in wiring.order.iter().copied().filter(|number| wiring.stages[*number].sound) {
        let stage = &wiring.stages[number];
        let decl = &document.stages[number];
        let whose = format!("stage `{}`", decl.name);
        let errors = problems.errors();
        let mut joined = Relation::unit();
        let mut empty = false;
        for wire in &stage.wires {
            let arriving = arriving(wire, &cells);
            if arriving.cells.is_empty() && producer(wire, &cells).cells.is_empty() {
                empty = true;
            } else if arriving.cells.is_empty() && pass == Pass::Written {
                problems.push(Diagnostic::error(wire.span.clone(), format!("`{}` names no cell that exists", wire.text)));
                empty = true;
            }
            joined = limit.join(&joined, &arriving, &whose, &decl.span, problems);
        }
        for axis in &stage.over {
            let values = values(document, *axis, pass);
            empty |= values.cells.is_empty();
            joined = limit.join(&joined, &values, &whose, &decl.span, problems);
        }
        empty |= problems.errors() > errors;
        if joined.cells.is_empty() && !empty && pass == Pass::Written {
            let message = format!("stage `{}` has no cell: its inputs have no values of their shared axes in common", decl.name);
            problems.push(Diagnostic::error(decl.span.clone(), message));
            empty = true;
        }
        let report = (pass == Pass::Written && !empty).then_some(&joined);
        let keep = tests(document, decl, &decl.keep, &joined.axes, report, "keep", problems);
        let skip = tests(document, decl, &decl.skip, &joined.axes, report, "skip", problems);
        let overrides: Vec<Matcher> = decl.overrides.iter().map(|entry| entry.matcher.clone()).collect();
        tests(document, decl, &overrides, &joined.axes, report, "override", problems);
        let had_cells = !joined.cells.is_empty();
        joined.cells.retain(|cell| {
            let kept = decl.keep.is_empty() || keep.iter().flatten().any(|test| test.holds(cell));
            kept && !skip.iter().flatten().any(|test| test.holds(cell))
        });
        if joined.cells.is_empty() && pass == Pass::Wanted {
            let message = format!("no cell of stage `{}` is left under --axis", decl.name);
            problems.push(Diagnostic::warning(decl.span.clone(), message));
        } else if joined.cells.is_empty() && had_cells && keep.iter().chain(&skip).all(Option::is_some) {
            problems.push(Diagnostic::error(decl.span.clone(), format!("`keep` and `skip` leave no cell of stage `{}`", decl.name)));
        }
        cells.stages[number] = joined;
    }
    limit.keep(document, &mut cells, problems);
    cells
}

/// How many tasks are meant.
struct Limit {
    tasks: usize,
}

impl Limit {
    /// Joins, unless that gives so many cells that they cannot be meant: then says so and gives none.
    fn join(&self, one: &Relation, other: &Relation, whose: &str, span: &Range<usize>, problems: &mut Problems) -> Relation {
        let count = one.count_joined(other);
        if count <= self.tasks.max(MOST) {
            return one.join(other);
        }
        problems.push(Self::too_many(span, &format!("{whose} has {count} cells"), count));
        let axes: BTreeSet<usize> = one.axes.iter().chain(&other.axes).copied().collect();
        Relation { axes: axes.into_iter().collect(), cells: Vec::new() }
    }

    fn too_many(span: &Range<usize>, message: &str, count: usize) -> Diagnostic {
        Diagnostic::error(span.clone(), message).help(format!("where so many are meant, say `max_tasks = {count}` in `[pipeline]`"))
    }

    /// Refuses, and empties, a pipeline of more tasks than are meant; names the stage that has most.
    fn keep(&self, document: &Document<'_>, cells: &mut Cells, problems: &mut Problems) {
        let count = |all: &[Relation]| all.iter().map(|relation| relation.cells.len()).sum::<usize>();
        let (tasks, sources) = (count(&cells.stages), count(&cells.sources));
        let most = |all: &[Relation]| all.iter().enumerate().max_by_key(|(_, relation)| relation.cells.len()).map(|(number, _)| number);
        if let Some(most) = most(&cells.stages).filter(|_| tasks > self.tasks) {
            let (decl, own) = (&document.stages[most], cells.stages[most].cells.len());
            let message =
                format!("the pipeline has {tasks} tasks, more than the {} it may have; stage `{}` has {own}", self.tasks, decl.name);
            problems.push(Self::too_many(&decl.span, &message, tasks));
            cells.stages.iter_mut().for_each(|relation| relation.cells.clear());
        } else if let Some(most) = most(&cells.sources).filter(|_| sources > self.tasks) {
            let decl = &document.sources[most];
            let message = format!("the sources have {sources} cells, more than the {} tasks that the pipeline may have", self.tasks);
            problems.push(Self::too_many(&decl.span, &message, sources));
            cells.sources.iter_mut().for_each(|relation| relation.cells.clear());
        }
    }
}

/// Every combination of the values of these axes, wanted or not; none where they are too many, which is said elsewhere.
pub(crate) fn every_cell(document: &Document<'_>, axes: &[usize]) -> Option<Vec<Cell>> {
    axes.iter()
        .try_fold(Relation::unit(), |all, axis| {
            let values = Relation::axis(*axis, 0..u32::try_from(document.axes[*axis].values.len()).unwrap_or(u32::MAX));
            (all.count_joined(&values) <= document.max_tasks).then(|| all.join(&values))
        })
        .map(|all| all.cells)
}

fn values(document: &Document<'_>, axis: usize, pass: Pass) -> Relation {
    let counts = |value: &AxisValue<'_>| if pass == Pass::Written { value.written } else { value.wanted };
    let values = document.axes[axis].values.iter().enumerate().filter(|(_, value)| counts(value));
    Relation::axis(axis, values.map(|(number, _)| number as u32))
}

pub(crate) fn producer<'a>(wire: &Wire, cells: &'a Cells) -> &'a Relation {
    match wire.from {
        From::Source { source, .. } => &cells.sources[source],
        From::Stage { stage, .. } => &cells.stages[stage],
    }
}

/// The cells that a wire gives its stage: those of its producer that the selectors leave, on the axes that flow.
fn arriving(wire: &Wire, cells: &Cells) -> Relation {
    let relation = producer(wire, cells);
    if wire.selection.fixed.is_empty() {
        return relation.project(&wire.selection.flow);
    }
    let chosen: Vec<Cell> = relation.cells.iter().filter(|cell| selected(wire, relation, cell)).cloned().collect();
    Relation { axes: relation.axes.clone(), cells: chosen }.project(&wire.selection.flow)
}

fn selected(wire: &Wire, relation: &Relation, cell: &[u32]) -> bool {
    wire.selection.fixed.iter().all(|(axis, values)| relation.value(cell, *axis).is_some_and(|value| values.contains(&value)))
}

/// From a cell of a stage to the cells of a wire's producer that arrive there.
pub(crate) struct Arrivals {
    /// Axes of the stage whose values are looked up, in order, and how a value becomes one of the producer's axis.
    from: Vec<(usize, Option<Vec<Option<u32>>>)>,
    /// What is looked up, ascending, and the numbers of the producer's cells that have it.
    values: Vec<Cell>,
    numbers: Vec<usize>,
}

impl Arrivals {
    /// Prepares the look-up; `axes` are the stage's.
    pub(crate) fn new(document: &Document<'_>, wire: &Wire, axes: &[usize], cells: &Cells) -> Self {
        let relation = producer(wire, cells);
        let place = |axis: &usize| axes.iter().position(|own| own == axis).unwrap_or_default();
        let mut from: Vec<(usize, Option<Vec<Option<u32>>>)> = wire.selection.flow.iter().map(|axis| (place(axis), None)).collect();
        let mut wanted = wire.selection.flow.clone();
        for (axis, other, field) in &wire.selection.by {
            from.push((place(other), Some(translation(&document.axes[*other], field.as_deref(), &document.axes[*axis]))));
            wanted.push(*axis);
        }
        let places = relation.places(&wanted);
        let chosen = relation.cells.iter().enumerate().filter(|(_, cell)| selected(wire, relation, cell));
        let mut found: Vec<(Cell, usize)> = chosen.map(|(number, cell)| (at(cell, &places), number)).collect();
        // They are ascending already where the first axes are looked up.
        found.sort();
        let (values, numbers) = found.into_iter().unzip();
        Self { from, values, numbers }
    }

    /// Numbers of the producer's cells, in their order.
    pub(crate) fn of(&self, cell: &[u32]) -> &[usize] {
        let value = |(place, translation): &(usize, Option<Vec<Option<u32>>>)| match translation {
            None => Some(cell[*place]),
            Some(values) => values[cell[*place] as usize],
        };
        let key: Option<Cell> = self.from.iter().map(value).collect();
        let Some(key) = key else { return &[] };
        let start = self.values.partition_point(|value| *value < key);
        let count = self.values[start..].partition_point(|value| *value == key);
        &self.numbers[start..start + count]
    }
}

/// For each value of an axis (or its field) the place of the equal value on another axis.
fn translation(from: &Axis<'_>, field: Option<&str>, to: &Axis<'_>) -> Vec<Option<u32>> {
    let value = |value: &AxisValue<'_>| match field {
        None => Some(value.value.clone()),
        Some(field) => value.fields.get(field).and_then(super::values::scalar),
    };
    let place = |value| to.values.iter().position(|one| one.value == value).map(|place| place as u32);
    from.values.iter().map(|one| value(one).and_then(place)).collect()
}

/// What entries of `keep`, `skip` or `override` mean at a stage; with its cells also reports what matches none.
pub(crate) fn tests(
    document: &Document<'_>,
    decl: &StageDecl<'_>,
    matchers: &[Matcher],
    axes: &[usize],
    report: Option<&Relation>,
    what: &str,
    problems: &mut Problems,
) -> Vec<Option<Test>> {
    matchers
        .iter()
        .map(|matcher| {
            let test = test(document, decl, matcher, axes, report.is_some(), problems)?;
            if let Some(relation) = report.filter(|relation| !relation.cells.iter().any(|cell| test.holds(cell))) {
                let named: Vec<&str> = axes.iter().map(|axis| document.axes[*axis].name.as_str()).collect();
                let cells = if relation.cells.len() == 1 { "1 cell".to_owned() } else { format!("{} cells", relation.cells.len()) };
                problems.push(
                    Diagnostic::error(matcher.span.clone(), format!("this `{what}` matches no cell of stage `{}`", decl.name))
                        .help(format!("it has {cells} over {}", super::diagnostic::quoted(&named))),
                );
                return None;
            }
            Some(test)
        })
        .collect()
}

fn test(
    document: &Document<'_>,
    decl: &StageDecl<'_>,
    matcher: &Matcher,
    axes: &[usize],
    report: bool,
    problems: &mut Problems,
) -> Option<Test> {
    let named: Vec<&str> = axes.iter().map(|axis| document.axes[*axis].name.as_str()).collect();
    let mut places = Vec::new();
    for (name, values) in &matcher.axes {
        let Some(place) = named.iter().position(|one| one == name.get_ref()) else {
            if report {
                let exists = document.axes.iter().any(|axis| axis.name == *name.get_ref());
                let diagnostic = match exists {
                    true => Diagnostic::error(name.span(), format!("axis `{}` does not arrive at stage `{}`", name.get_ref(), decl.name))
                        .help(reach(name.get_ref(), &named)),
                    false => {
                        let known = document.axes.iter().map(|axis| axis.name.as_str());
                        Diagnostic::error(name.span(), format!("unknown axis `{}`", name.get_ref())).suggest(name.get_ref(), known)
                    }
                };
                problems.push(diagnostic);
            }
            return None;
        };
        let axis = &document.axes[axes[place]];
        let find = |value: &crate::stage::Value| axis.values.iter().position(|one| one.value == *value);
        let found: Vec<u32> = values.iter().filter_map(|value| find(value.get_ref())).map(|value| value as u32).collect();
        for value in values.iter().filter(|value| report && find(value.get_ref()).is_none()) {
            let known: Vec<String> = axis.values.iter().map(|value| value.value.to_string()).collect();
            let text = value.get_ref().to_string();
            // The text "1" is not the number 1, which prints alike.
            let alike = axis.values.iter().find(|one| one.value.to_string() == text);
            let shown = if alike.is_some() { value.get_ref().quoted() } else { text.clone() };
            let message = format!("axis `{}` has no value `{shown}`", axis.name);
            let diagnostic = match found.is_empty() {
                true => Diagnostic::error(value.span(), message),
                false => Diagnostic::warning(value.span(), message),
            };
            problems.push(match alike {
                Some(alike) => diagnostic.help(format!("did you mean `{}`?", alike.value.quoted())),
                None => diagnostic.suggest(&text, known.iter().map(String::as_str)),
            });
        }
        if found.is_empty() {
            return None;
        }
        places.push((place, found));
    }
    Some(Test(places))
}
