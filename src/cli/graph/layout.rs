//! Places boxes and the lines between them: layers by longest path, order by barycentres, places by isotonic regression.
//!
//! Lines go down only. One that passes layers gets a narrow place of its own in each; lines from one outlet share it. Knows
//! nothing of pipelines: boxes have sizes and named places where lines begin and end.

use std::collections::{BTreeMap, BTreeSet};

/// A box: its size, and the widths of the inlets along its top and the outlets along its bottom.
#[derive(Clone, Debug, Default)]
pub(super) struct Block {
    pub(super) width: f64,
    pub(super) height: f64,
    pub(super) inlets: Vec<f64>,
    pub(super) outlets: Vec<f64>,
}

/// A line from an outlet of a box to an inlet of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) from: usize,
    pub(super) outlet: usize,
    pub(super) to: usize,
    pub(super) inlet: usize,
}

/// Where everything goes; y grows downwards.
#[derive(Debug, Default)]
pub(super) struct Placed {
    pub(super) width: f64,
    pub(super) height: f64,
    /// Left upper corner of each box.
    pub(super) corners: Vec<(f64, f64)>,
    /// Centre of each inlet and outlet, from the left side of its box.
    pub(super) inlets: Vec<Vec<f64>>,
    pub(super) outlets: Vec<Vec<f64>>,
    /// Points of each link: pairs of a curve's ends, with straight vertical lines between pairs.
    pub(super) routes: Vec<Vec<(f64, f64)>>,
}

/// Between neighbours in a layer, and between layers.
const GAP: f64 = 26.0;
const LAYERS: f64 = 50.0;
/// What a passing line takes.
const LANE: f64 = 10.0;
const SWEEPS: usize = 24;

/// Places `blocks`; `links` must have no circle.
pub(super) fn layout(blocks: &[Block], links: &[Link]) -> Placed {
    if blocks.is_empty() {
        return Placed::default();
    }
    let rank = ranks(blocks.len(), links);
    let mut net = Net::new(blocks, links, &rank);
    net.order();
    // Inlets and outlets are put in the order of what they lead to, then everything is placed once more.
    let mut ports = Ports::new(blocks);
    net.place(blocks, &ports);
    ports.sort(blocks, links, &net);
    net.place(blocks, &ports);
    net.finish(blocks, links, &rank, ports)
}

/// The layer of each box: below all it takes from, and as low as what it gives allows where that shortens lines.
fn ranks(count: usize, links: &[Link]) -> Vec<usize> {
    let mut rank = vec![0_usize; count];
    let (mut ins, mut outs) = (vec![BTreeSet::new(); count], vec![BTreeSet::new(); count]);
    for link in links {
        ins[link.to].insert(link.from);
        outs[link.from].insert(link.to);
    }
    let mut missing: Vec<usize> = ins.iter().map(BTreeSet::len).collect();
    let mut sorted: Vec<usize> = (0..count).filter(|at| missing[*at] == 0).collect();
    let mut at = 0;
    while let Some(&one) = sorted.get(at) {
        for &to in &outs[one] {
            rank[to] = rank[to].max(rank[one] + 1);
            missing[to] -= 1;
            if missing[to] == 0 {
                sorted.push(to);
            }
        }
        at += 1;
    }
    for &one in sorted.iter().rev().filter(|one| outs[**one].len() > ins[**one].len()) {
        rank[one] = outs[one].iter().map(|to| rank[*to]).min().unwrap_or(1).saturating_sub(1).max(rank[one]);
    }
    rank
}

/// Boxes and the places of passing lines, layer by layer.
struct Net {
    layers: Vec<Vec<usize>>,
    /// Position in its layer, and x of the centre.
    position: Vec<usize>,
    x: Vec<f64>,
    half: Vec<f64>,
    /// From a vertex to one in the next layer; the outlet and inlet where they are boxes.
    segments: Vec<Segment>,
    /// Link → the passing places on its way.
    chains: Vec<Vec<usize>>,
    boxes: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Segment {
    from: usize,
    to: usize,
    outlet: usize,
    inlet: usize,
}

impl Net {
    fn new(blocks: &[Block], links: &[Link], rank: &[usize]) -> Self {
        let mut layers = vec![Vec::new(); rank.iter().max().map_or(1, |last| last + 1)];
        (0..blocks.len()).for_each(|at| layers[rank[at]].push(at));
        let mut half: Vec<f64> = blocks.iter().map(|block| block.width / 2.0).collect();
        let mut lanes: BTreeMap<(usize, usize, usize), usize> = BTreeMap::new();
        let (mut segments, mut chains) = (BTreeSet::new(), Vec::new());
        for link in links {
            let mut chain = Vec::new();
            let mut last = Segment { from: link.from, to: link.to, outlet: link.outlet, inlet: 0 };
            for (layer, there) in layers.iter_mut().enumerate().take(rank[link.to]).skip(rank[link.from] + 1) {
                let lane = *lanes.entry((link.from, link.outlet, layer)).or_insert_with(|| {
                    half.push(LANE / 2.0);
                    there.push(half.len() - 1);
                    half.len() - 1
                });
                segments.insert(Segment { to: lane, ..last });
                last = Segment { from: lane, to: link.to, outlet: 0, inlet: 0 };
                chain.push(lane);
            }
            segments.insert(Segment { inlet: link.inlet, ..last });
            chains.push(chain);
        }
        let count = half.len();
        let mut net = Self {
            layers,
            position: vec![0; count],
            x: vec![0.0; count],
            half,
            segments: segments.into_iter().collect(),
            chains,
            boxes: blocks.len(),
        };
        net.number();
        net
    }

    fn number(&mut self) {
        for layer in &self.layers {
            layer.iter().enumerate().for_each(|(at, vertex)| self.position[*vertex] = at);
        }
    }

    /// Orders each layer by the mean place of its neighbours above, then below, and keeps the order with the fewest crossings.
    fn order(&mut self) {
        let (mut up, mut down) = (vec![Vec::new(); self.half.len()], vec![Vec::new(); self.half.len()]);
        for segment in &self.segments {
            up[segment.to].push(segment.from);
            down[segment.from].push(segment.to);
        }
        let mut best = (self.crossings(), self.layers.clone());
        for sweep in 0..SWEEPS {
            let neighbours = if sweep % 2 == 0 { &up } else { &down };
            let count = self.layers.len();
            for step in 0..count {
                let layer = if sweep % 2 == 0 { step } else { count - 1 - step };
                let mut order = std::mem::take(&mut self.layers[layer]);
                let wish = |vertex: usize| {
                    let near = &neighbours[vertex];
                    match near.len() {
                        0 => self.position[vertex] as f64,
                        many => near.iter().map(|other| self.position[*other] as f64).sum::<f64>() / many as f64,
                    }
                };
                order.sort_by(|a, b| wish(*a).total_cmp(&wish(*b)));
                order.iter().enumerate().for_each(|(at, vertex)| self.position[*vertex] = at);
                self.layers[layer] = order;
            }
            let crossings = self.crossings();
            if crossings < best.0 {
                best = (crossings, self.layers.clone());
            }
        }
        self.layers = best.1;
        self.number();
    }

    fn crossings(&self) -> u64 {
        let mut pairs: BTreeMap<usize, Vec<(usize, usize)>> = BTreeMap::new();
        let mut layer_of = vec![0; self.half.len()];
        for (at, layer) in self.layers.iter().enumerate() {
            layer.iter().for_each(|vertex| layer_of[*vertex] = at);
        }
        for segment in &self.segments {
            pairs.entry(layer_of[segment.from]).or_default().push((self.position[segment.from], self.position[segment.to]));
        }
        pairs
            .into_values()
            .map(|mut lines| {
                lines.sort_unstable();
                let ends: Vec<usize> = lines.into_iter().map(|(_, end)| end).collect();
                inversions(&ends)
            })
            .sum()
    }

    /// Gives every vertex an x: as near to its neighbours as the order and the widths allow.
    fn place(&mut self, blocks: &[Block], ports: &Ports) {
        for layer in &self.layers {
            let mut at = 0.0;
            for vertex in layer {
                self.x[*vertex] = at + self.half[*vertex];
                at += 2.0 * self.half[*vertex] + GAP;
            }
        }
        let mut near = vec![Vec::new(); self.half.len()];
        for segment in &self.segments {
            let out = ports.offset(blocks, &ports.outlets, segment.from, segment.outlet);
            let into = ports.offset(blocks, &ports.inlets, segment.to, segment.inlet);
            // Long lines are to be straight.
            let weight = 1.0 + 3.0 * f64::from(u8::from(segment.from >= self.boxes)) + 3.0 * f64::from(u8::from(segment.to >= self.boxes));
            near[segment.to].push((segment.from, out - into, weight, true));
            near[segment.from].push((segment.to, into - out, weight, false));
        }
        for sweep in 0..2 * SWEEPS {
            let downwards = sweep % 2 == 0;
            // At the end both sides count.
            let both = sweep >= SWEEPS;
            for step in 0..self.layers.len() {
                let layer = if downwards { step } else { self.layers.len() - 1 - step };
                let wishes: Vec<(f64, f64)> = self.layers[layer]
                    .iter()
                    .map(|vertex| {
                        let (mut sum, mut weights) = (0.0, 0.0);
                        for (other, shift, weight, above) in &near[*vertex] {
                            if both || *above == downwards {
                                sum += (self.x[*other] + shift) * weight;
                                weights += weight;
                            }
                        }
                        if weights == 0.0 { (self.x[*vertex], 0.01) } else { (sum / weights, weights) }
                    })
                    .collect();
                self.settle(layer, &wishes);
            }
        }
    }

    /// The places nearest to the wishes (by weighted squares) that keep order and distance: pool adjacent violators.
    fn settle(&mut self, layer: usize, wishes: &[(f64, f64)]) {
        let vertices = &self.layers[layer];
        let mut shifts = Vec::with_capacity(vertices.len());
        let mut at = 0.0;
        for (place, vertex) in vertices.iter().enumerate() {
            if place > 0 {
                let before = vertices[place - 1];
                let lanes = before >= self.boxes && *vertex >= self.boxes;
                at += self.half[before] + self.half[*vertex] + if lanes { GAP / 2.0 } else { GAP };
            }
            shifts.push(at);
        }
        let mut pools: Vec<(f64, f64, usize)> = Vec::new();
        for ((wish, weight), shift) in wishes.iter().zip(&shifts) {
            let mut pool = (wish - shift, *weight, 1);
            while let Some(last) = pools.pop_if(|last| last.0 > pool.0) {
                let weight = last.1 + pool.1;
                pool = ((last.0 * last.1 + pool.0 * pool.1) / weight, weight, last.2 + pool.2);
            }
            pools.push(pool);
        }
        let values = pools.iter().flat_map(|(value, _, count)| std::iter::repeat_n(*value, *count));
        for ((vertex, shift), value) in vertices.iter().zip(&shifts).zip(values) {
            self.x[*vertex] = value + shift;
        }
    }

    fn finish(self, blocks: &[Block], links: &[Link], rank: &[usize], ports: Ports) -> Placed {
        let left = self.x.iter().zip(&self.half).map(|(x, half)| x - half).fold(f64::INFINITY, f64::min);
        let right = self.x.iter().zip(&self.half).map(|(x, half)| x + half).fold(f64::NEG_INFINITY, f64::max);
        let (mut tops, mut heights, mut y) = (Vec::new(), Vec::new(), 0.0);
        for layer in &self.layers {
            let height = layer.iter().filter_map(|vertex| blocks.get(*vertex)).map(|block| block.height).fold(0.0, f64::max);
            tops.push(y);
            heights.push(height);
            y += height + LAYERS;
        }
        let corners: Vec<(f64, f64)> = (0..blocks.len()).map(|at| (self.x[at] - self.half[at] - left, tops[rank[at]])).collect();
        let routes = links
            .iter()
            .zip(&self.chains)
            .map(|(link, chain)| {
                let (from, to) = (corners[link.from], corners[link.to]);
                let mut route = vec![(from.0 + ports.outlets[link.from][link.outlet], from.1 + blocks[link.from].height)];
                for (step, lane) in chain.iter().enumerate() {
                    let layer = rank[link.from] + 1 + step;
                    let x = self.x[*lane] - left;
                    route.extend([(x, tops[layer]), (x, tops[layer] + heights[layer])]);
                }
                route.push((to.0 + ports.inlets[link.to][link.inlet], to.1));
                route
            })
            .collect();
        Placed { width: right - left, height: y - LAYERS, corners, inlets: ports.inlets, outlets: ports.outlets, routes }
    }
}

/// Centres of inlets and outlets, from the left side of their boxes.
struct Ports {
    inlets: Vec<Vec<f64>>,
    outlets: Vec<Vec<f64>>,
}

impl Ports {
    fn new(blocks: &[Block]) -> Self {
        let spread = |widths: &[f64], block: &Block| in_order(widths, &(0..widths.len()).collect::<Vec<_>>(), block.width);
        Self {
            inlets: blocks.iter().map(|block| spread(&block.inlets, block)).collect(),
            outlets: blocks.iter().map(|block| spread(&block.outlets, block)).collect(),
        }
    }

    /// From the centre of a box; 0 for the place of a passing line.
    fn offset(&self, blocks: &[Block], ports: &[Vec<f64>], vertex: usize, port: usize) -> f64 {
        blocks.get(vertex).map_or(0.0, |block| ports[vertex][port] - block.width / 2.0)
    }

    fn sort(&mut self, blocks: &[Block], links: &[Link], net: &Net) {
        let mut ends: [Vec<Vec<Vec<f64>>>; 2] = [
            blocks.iter().map(|block| vec![Vec::new(); block.inlets.len()]).collect(),
            blocks.iter().map(|block| vec![Vec::new(); block.outlets.len()]).collect(),
        ];
        for (link, chain) in links.iter().zip(&net.chains) {
            ends[0][link.to][link.inlet].push(net.x[chain.last().copied().unwrap_or(link.from)]);
            ends[1][link.from][link.outlet].push(net.x[chain.first().copied().unwrap_or(link.to)]);
        }
        for (at, block) in blocks.iter().enumerate() {
            for (side, widths, places) in [(0, &block.inlets, &mut self.inlets[at]), (1, &block.outlets, &mut self.outlets[at])] {
                let mean = |port: usize| ends[side][at][port].iter().sum::<f64>() / ends[side][at][port].len().max(1) as f64;
                let mut order: Vec<usize> = (0..widths.len()).collect();
                order.sort_by(|a, b| mean(*a).total_cmp(&mean(*b)));
                *places = in_order(widths, &order, block.width);
            }
        }
    }
}

/// Centres of `widths` laid side by side in `order`, spread over `width`.
fn in_order(widths: &[f64], order: &[usize], width: f64) -> Vec<f64> {
    let blank = (width - widths.iter().sum::<f64>()) / widths.len().max(1) as f64;
    let (mut places, mut at) = (vec![0.0; widths.len()], 0.0);
    for port in order {
        places[*port] = at + (widths[*port] + blank) / 2.0;
        at += widths[*port] + blank;
    }
    places
}

/// Pairs out of order, by merging.
fn inversions(values: &[usize]) -> u64 {
    fn sort(values: &mut Vec<usize>) -> u64 {
        if values.len() < 2 {
            return 0;
        }
        let mut right = values.split_off(values.len() / 2);
        let mut count = sort(values) + sort(&mut right);
        let left = std::mem::take(values);
        let (mut a, mut b) = (0, 0);
        while a < left.len() || b < right.len() {
            if b == right.len() || (a < left.len() && left[a] <= right[b]) {
                values.push(left[a]);
                a += 1;
            } else {
                count += (left.len() - a) as u64;
                values.push(right[b]);
                b += 1;
            }
        }
        count
    }
    sort(&mut values.to_vec())
}

#[cfg(test)]
mod tests;
