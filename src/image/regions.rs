//! Connected regions of a mask: the largest ones, and holes.
//!
//! What is inside hangs together across corners (8-connected), what is outside only across edges (4-connected), so that a line of pixels
//! that touch at corners parts what is on its two sides.

use super::Mask;

/// Neighbouring pixels of a row that are all inside, or all outside.
struct Run {
    row: usize,
    /// First column, and the one after the last.
    from: usize,
    to: usize,
}

/// Runs that hang together.
struct Region {
    runs: Vec<Run>,
    /// Pixels.
    size: usize,
    touches_border: bool,
}

impl Mask {
    /// Pixels of each connected region, the largest first.
    pub fn region_sizes(&self) -> Vec<usize> {
        regions(self, true).into_iter().map(|region| region.size).collect()
    }

    /// Only the `count` largest regions; of equally large ones the first from the top left.
    pub fn largest(&self, count: usize) -> Self {
        let mut kept = Self::none(self.width, self.height);
        regions(self, true).iter().take(count).for_each(|region| kept.set(region));
        kept
    }

    /// Without holes: what is outside and cut off from the border becomes inside.
    pub fn filled(&self) -> Self {
        let mut filled = self.clone();
        regions(self, false).iter().filter(|region| !region.touches_border).for_each(|region| filled.set(region));
        filled
    }

    fn set(&mut self, region: &Region) {
        for run in &region.runs {
            let start = run.row * self.width as usize;
            self.inside[start + run.from..start + run.to].fill(true);
        }
    }
}

/// The regions of what is inside, or of what is outside; the largest first, then from the top left.
fn regions(mask: &Mask, inside: bool) -> Vec<Region> {
    let (width, height) = (mask.width as usize, mask.height as usize);
    // Inside across corners: runs whose columns touch count, not only those that overlap.
    let reach = usize::from(inside);
    let mut runs: Vec<Run> = Vec::new();
    // For each run the first known run that it hangs together with.
    let mut parents: Vec<usize> = Vec::new();
    let (mut above, mut here) = (0..0, 0);
    for (number, row) in mask.inside.chunks_exact(width.max(1)).enumerate() {
        let mut column = 0;
        let mut candidate = above.start;
        while let Some(from) = row[column..].iter().position(|one| *one == inside).map(|at| column + at) {
            let to = row[from..].iter().position(|one| *one != inside).map_or(width, |at| from + at);
            parents.push(runs.len());
            while candidate < above.end && runs[candidate].to + reach <= from {
                candidate += 1;
            }
            let mut other = candidate;
            while other < above.end && runs[other].from < to + reach {
                unite(&mut parents, other, runs.len());
                other += 1;
            }
            runs.push(Run { row: number, from, to });
            column = to;
        }
        above = here..runs.len();
        here = runs.len();
    }
    let mut places: Vec<Option<usize>> = vec![None; runs.len()];
    let mut regions: Vec<Region> = Vec::new();
    for (number, run) in runs.into_iter().enumerate() {
        let root = root(&mut parents, number);
        let place = *places[root].get_or_insert_with(|| {
            regions.push(Region { runs: Vec::new(), size: 0, touches_border: false });
            regions.len() - 1
        });
        let region = &mut regions[place];
        region.size += run.to - run.from;
        region.touches_border |= run.row == 0 || run.row + 1 == height || run.from == 0 || run.to == width;
        region.runs.push(run);
    }
    regions.sort_by_key(|region| std::cmp::Reverse(region.size));
    regions
}

fn root(parents: &mut [usize], mut at: usize) -> usize {
    while parents[at] != at {
        parents[at] = parents[parents[at]];
        at = parents[at];
    }
    at
}

fn unite(parents: &mut [usize], one: usize, other: usize) {
    let (one, other) = (root(parents, one), root(parents, other));
    parents[one.max(other)] = one.min(other);
}

#[cfg(test)]
mod tests {
    use super::super::mask::drawn;
    use super::*;

    #[test]
    fn what_touches_at_corners_hangs_together() {
        let mask = drawn(&["#...##", ".#..##", "..#...", "......", "#.#.#."]);
        assert_eq!(mask.region_sizes(), [4, 3, 1, 1, 1]);
        assert_eq!(mask.largest(2), drawn(&["#...##", ".#..##", "..#...", "......", "......"]));
        assert_eq!(mask.largest(1), drawn(&["....##", "....##", "......", "......", "......"]));
        assert_eq!(Mask::none(3, 2).largest(2), Mask::none(3, 2));
        assert_eq!(Mask::none(0, 0).region_sizes(), [0; 0]);
    }

    #[test]
    fn arms_that_meet_below_are_one_region() {
        let comb = drawn(&["#.#.#.#", "#.#.#.#", "#######"]);
        assert_eq!(comb.region_sizes(), [15]);
        let spiral = drawn(&["#######", "#.....#", "#.###.#", "#.#...#", "#.#####"]);
        assert_eq!(spiral.region_sizes(), [23]);
    }

    #[test]
    fn holes_are_filled_and_bays_are_not() {
        let mask = drawn(&[".###.", "##.##", "#...#", "##.##", ".###.", ".#.#."]);
        assert_eq!(mask.filled(), drawn(&[".###.", "#####", "#####", "#####", ".###.", ".#.#."]));
        // Closed by corners alone: outside does not pass between two that touch at a corner.
        assert_eq!(drawn(&[".#.", "#.#", ".#."]).filled(), drawn(&[".#.", "###", ".#."]));
        assert_eq!(drawn(&["##.", "#.."]).filled(), drawn(&["##.", "#.."]));
    }

    #[test]
    fn regions_agree_with_a_flood_on_noise() {
        let mut state = 1_u64;
        let mut noise = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state >> 33 & 3 < 2
        };
        let mask = Mask { width: 31, height: 17, inside: (0..31 * 17).map(|_| noise()).collect() };
        let mut seen = vec![false; mask.inside.len()];
        let mut sizes = Vec::new();
        for start in 0..seen.len() {
            let (mut open, mut size) = (vec![start], 0);
            while let Some(at) = open.pop() {
                if !mask.inside[at] || std::mem::replace(&mut seen[at], true) {
                    continue;
                }
                size += 1;
                let (x, y) = (at as i64 % 31, at as i64 / 31);
                let near = (-1..=1).flat_map(|dy| (-1..=1).map(move |dx| (x + dx, y + dy)));
                open.extend(near.filter(|(x, y)| (0..31).contains(x) && (0..17).contains(y)).map(|(x, y)| (y * 31 + x) as usize));
            }
            sizes.extend((size > 0).then_some(size));
        }
        sizes.sort_unstable_by(|a, b| b.cmp(a));
        assert_eq!(mask.region_sizes(), sizes);
    }
}
