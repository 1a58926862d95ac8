//! What a task would meet if it ran now: its items, and how many of them nobody has treated before. Starts nothing.

use super::failure::{Quarantined, class, told};
use super::items::Items;
use super::pool::{What, whole_ports};
use super::publish::to_publish;
use super::quarantine::{Decisions, judge};
use crate::content::Tree;
use crate::pipeline::{Action, Edge, Origin, TaskId};
use crate::plan::{Fate, Judgement, Known, Outcome, Planner, States};
use crate::stage::{Coordinates, Inputs, Item, Part, Work, rows_of_index};
use anyhow::Result;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What would run, with these effects, and `publish` what the stages say; of what is cached, quarantine is judged as [`run`](super::run)
/// judges it, and so is what is to be published.
pub fn plan(planner: &Planner, effects: &BTreeSet<TaskId>, publish: bool, decisions: &Decisions) -> Result<(States, Vec<Outcome>)> {
    planner.plan(effects, &|id, known, outcomes| {
        let fails = |error: &anyhow::Error| Fate::Fails(told(error, planner.takes_people(id)), class(error));
        if let Some(error) = judge(planner, id, &known.record, outcomes, decisions)?.error {
            return Ok(fails(&Quarantined(error).into()));
        }
        match if publish { is_gone_to_publish(planner, id, known) } else { Ok(false) } {
            Ok(true) => Ok(Fate::Gone),
            Ok(false) => Ok(Fate::Stands),
            Err(error) if super::is_damage(&error) => Err(error),
            Err(error) => Ok(fails(&error)),
        }
    })
}

/// Whether a cached result must be made again to be published.
fn is_gone_to_publish(planner: &Planner, id: TaskId, known: &Known) -> Result<bool> {
    for (port, path) in &planner.pipeline.tasks[id.0].publish {
        // Files of others are refused, as they are without `--overwrite`.
        if to_publish(planner, id, known, (port, path), false)?.is_none() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The items that a task takes in, with their files and rows; none where it does not work item by item, or something that it takes is gone.
pub fn items_of(planner: &Planner, id: TaskId, outcomes: &[Outcome]) -> Result<Vec<Item>> {
    let Some(inputs) = inputs_of(planner, id, outcomes)? else { return Ok(Vec::new()) };
    listed(planner, id, &inputs)
}

/// Of a task that works item by item: how many items nobody has treated before, and how many there are.
pub fn untreated(planner: &Planner, id: TaskId, outcomes: &[Outcome]) -> Result<Option<(u64, u64)>> {
    let (name, revision, params, ports, reads) = match &planner.pipeline.tasks[id.0].action {
        Action::Kind { kind, params } => {
            let ports = match kind.work {
                Work::Map { items, .. } => items.to_vec(),
                Work::Torch { map: Some(map) } => map.items.to_vec(),
                Work::Whole | Work::Torch { map: None } => return Ok(None),
            };
            let reads = params.as_map().map(|map| map.reads()).unwrap_or_default();
            (kind.name, kind.revision, params.params(), ports, reads)
        }
        Action::Command(command) => {
            let Some(port) = &command.map else { return Ok(None) };
            let Some(Judgement::Miss { manifest, .. }) = planner.judge(id, outcomes)? else { return Ok(None) };
            let mut params = serde_json::to_value(&*manifest)?;
            params.as_object_mut().map(|fields| fields.remove("inputs"));
            ("command", 1, params, vec![port.as_str()], Vec::new())
        }
    };
    let Some(inputs) = inputs_of(planner, id, outcomes)? else { return Ok(None) };
    let items = listed(planner, id, &inputs)?;
    let what = What { name, revision, params: &params, level: planner.level(id) };
    let cache = Items::new(planner.store, &what, &reads, &items, &whole_ports(&inputs, &ports), false);
    let missing = cache.look(&items)?.iter().filter(|treated| treated.is_none()).count();
    Ok(Some((missing as u64, items.len() as u64)))
}

fn listed(planner: &Planner, id: TaskId, inputs: &Inputs) -> Result<Vec<Item>> {
    match &planner.pipeline.tasks[id.0].action {
        Action::Kind { params, .. } => params.as_map().map_or(Ok(Vec::new()), |map| map.items(inputs)),
        Action::Command(command) => command.map.as_ref().map_or(Ok(Vec::new()), |port| rows_of_index(inputs, &[port])),
    }
}

/// What arrives on the ports of a task; none while something is open or its bytes are gone.
fn inputs_of(planner: &Planner, id: TaskId, outcomes: &[Outcome]) -> Result<Option<Inputs>> {
    let mut inputs: BTreeMap<String, Vec<Part>> = BTreeMap::new();
    for (port, edges) in &planner.pipeline.tasks[id.0].inputs {
        for edge in edges {
            let tree = match &edge.origin {
                Origin::Source { source, inside } => match planner.source_tree(*source, inside.as_deref()) {
                    Some(tree) => tree,
                    None => continue,
                },
                Origin::Task { task, port } => match tree_of(planner, *task, port, outcomes)? {
                    Some(tree) => tree.into(),
                    None => return Ok(None),
                },
            };
            inputs.entry(port.clone()).or_default().push(part(edge, tree));
        }
    }
    Ok(Some(Inputs(inputs)))
}

fn tree_of(planner: &Planner, id: TaskId, port: &str, outcomes: &[Outcome]) -> Result<Option<Tree>> {
    let Outcome::Known(known) = &outcomes[id.0] else { return Ok(None) };
    planner.store.tree(&known.output(port)?.manifest, planner.level(id))
}

fn part(edge: &Edge, tree: Arc<Tree>) -> Part {
    Part { coordinates: Coordinates::clone(&edge.coordinates), tree, hole: None }
}
