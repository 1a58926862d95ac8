//! The order of stages, and circles among them.

use super::{Named, Wirer};
use crate::pipeline::diagnostic::Diagnostic;
use petgraph::algo::kosaraju_scc;
use petgraph::graph::{DiGraph, NodeIndex};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;

/// At most this many stages of a circle are told and marked.
const SHOWN: usize = 12;

impl Wirer<'_, '_> {
    /// Stages, each after those it refers to, as written where that leaves a choice; and those on circles or after one.
    pub(super) fn order(&mut self) -> (Vec<usize>, Vec<usize>) {
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
        let circular: Vec<usize> = (0..stages.len()).filter(|number| waiting[*number] > 0).collect();
        if !circular.is_empty() {
            self.circles(&graph);
        }
        (order, circular)
    }

    /// Reports a circle of each group of stages that wait for each other. Long chains are no matter: nothing here calls itself.
    fn circles(&mut self, graph: &DiGraph<(), Range<usize>>) {
        for circle in kosaraju_scc(graph) {
            let itself = circle.len() == 1 && graph.find_edge(circle[0], circle[0]).is_some();
            if circle.len() > 1 || itself {
                let first = circle.iter().copied().min_by_key(|node| node.index()).unwrap_or(circle[0]);
                self.circle(graph, first);
            }
        }
    }

    /// Reports the shortest circle through `first`.
    fn circle(&mut self, graph: &DiGraph<(), Range<usize>>, first: NodeIndex) {
        let mut before: BTreeMap<NodeIndex, NodeIndex> = BTreeMap::new();
        let mut queue = VecDeque::from([first]);
        while let Some(node) = queue.pop_front() {
            let mut next: Vec<NodeIndex> = graph.neighbors(node).collect();
            next.sort();
            for follower in next {
                if let Entry::Vacant(entry) = before.entry(follower) {
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
        let mut names: Vec<&str> = path.iter().map(|node| self.document.stages[node.index()].name.as_str()).collect();
        let stages = names.len() - 1;
        // A circle is through a few stages, or too long to be read: then its beginning is told.
        let of = if stages > SHOWN { format!(" of {stages} stages") } else { String::new() };
        if stages > SHOWN {
            path.truncate(SHOWN);
            names.splice(SHOWN..stages, ["…"]);
        }
        let mut spans = path.windows(2).filter_map(|pair| graph.find_edge(pair[0], pair[1]).map(|edge| graph[edge].clone()));
        let Some(span) = spans.next() else { return };
        let circle = Diagnostic::error(span, format!("stages wait for each other in a circle{of}: {}", names.join(" → ")));
        let circle = spans.fold(circle, |circle, span| circle.also(span, ""));
        let marked = circle.span.iter().chain(circle.also.iter().map(|(span, _)| span));
        let selects = marked.filter_map(|span| self.text.get(span.clone())).any(|text| text.contains('['));
        self.problems.push(match selects {
            true => circle
                .help("picking other cells breaks no circle: stages wait for stages as wholes; write the first step as a stage of its own"),
            false => circle,
        });
    }
}
