//! Cells: sets of combinations of axis values, and their natural join.
//!
//! Axes and values are numbers here: an axis by its place among the axes sorted by name, a value by its place among
//! the axis's values sorted by value. So cells in order are coordinates in order.

use smallvec::{SmallVec, smallvec};
use std::collections::{BTreeSet, HashMap};

/// More cells than these are not made even on the way to fewer, unless the pipeline asks for more tasks.
pub(crate) const MOST: usize = 1_000_000;

/// A value of each axis of a relation. There may be millions, of few axes each.
pub(crate) type Cell = SmallVec<[u32; 4]>;

/// Some axes, ascending, and the combinations of their values that exist, sorted and distinct.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Relation {
    pub axes: Vec<usize>,
    pub cells: Vec<Cell>,
}

impl Relation {
    /// No axes: the one empty cell.
    pub(crate) fn unit() -> Self {
        Self { axes: Vec::new(), cells: vec![Cell::new()] }
    }

    fn is_unit(&self) -> bool {
        self.axes.is_empty() && self.cells.len() == 1
    }

    /// One axis with these values.
    pub(crate) fn axis(axis: usize, values: impl IntoIterator<Item = u32>) -> Self {
        Self::new(vec![axis], values.into_iter().map(|value| smallvec![value]).collect())
    }

    /// Sorts and removes what is double.
    pub(crate) fn new(axes: Vec<usize>, mut cells: Vec<Cell>) -> Self {
        cells.sort_unstable();
        cells.dedup();
        Self { axes, cells }
    }

    /// Where each of `axes` stands in a cell; an axis the relation does not have is left out.
    pub(crate) fn places(&self, axes: &[usize]) -> Vec<usize> {
        axes.iter().filter_map(|axis| self.axes.iter().position(|own| own == axis)).collect()
    }

    /// The combinations of these axes alone.
    pub(crate) fn project(&self, axes: &[usize]) -> Self {
        if axes == self.axes {
            return self.clone();
        }
        let places = self.places(axes);
        Self::new(axes.to_vec(), self.cells.iter().map(|cell| at(cell, &places)).collect())
    }

    /// All combinations of a cell of each that agree on the axes both have.
    pub(crate) fn join(&self, other: &Self) -> Self {
        let axes: Vec<usize> = self.axes.iter().chain(&other.axes).copied().collect::<BTreeSet<_>>().into_iter().collect();
        if other.is_unit() || self == other {
            return self.clone();
        }
        if self.is_unit() {
            return other.clone();
        }
        let shared: Vec<usize> = self.axes.iter().filter(|axis| other.axes.contains(axis)).copied().collect();
        let (mine, theirs) = (self.places(&shared), other.places(&shared));
        let mut by_shared: HashMap<Cell, Vec<&Cell>> = HashMap::new();
        for cell in &other.cells {
            by_shared.entry(at(cell, &theirs)).or_default().push(cell);
        }
        // Each joined axis comes from this relation where it has it, else from the other.
        let from: Vec<Result<usize, usize>> = axes
            .iter()
            .map(|axis| match self.axes.iter().position(|own| own == axis) {
                Some(place) => Ok(place),
                None => Err(other.axes.iter().position(|own| own == axis).unwrap_or_default()),
            })
            .collect();
        let mut cells = Vec::new();
        for cell in &self.cells {
            for partner in by_shared.get(&at(cell, &mine)).into_iter().flatten() {
                cells.push(from.iter().map(|place| place.map_or_else(|place| partner[place], |place| cell[place])).collect());
            }
        }
        Self::new(axes, cells)
    }

    /// How many cells [`Self::join`] would give.
    pub(crate) fn count_joined(&self, other: &Self) -> usize {
        let shared: Vec<usize> = self.axes.iter().filter(|axis| other.axes.contains(axis)).copied().collect();
        if shared.is_empty() {
            return self.cells.len().saturating_mul(other.cells.len());
        }
        let (mine, theirs) = (self.places(&shared), other.places(&shared));
        let mut by_shared: HashMap<Cell, usize> = HashMap::new();
        for cell in &other.cells {
            *by_shared.entry(at(cell, &theirs)).or_default() += 1;
        }
        let partners = |cell: &Cell| by_shared.get(&at(cell, &mine)).copied().unwrap_or_default();
        self.cells.iter().fold(0, |count: usize, cell| count.saturating_add(partners(cell)))
    }

    /// Value of `axis` in a cell of this relation.
    pub(crate) fn value(&self, cell: &[u32], axis: usize) -> Option<u32> {
        self.axes.iter().position(|own| *own == axis).map(|place| cell[place])
    }
}

/// The values at these places.
pub(crate) fn at(cell: &[u32], places: &[usize]) -> Cell {
    places.iter().map(|place| cell[*place]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_axes_join_by_value_and_others_multiply() {
        let seeds = Relation::axis(1, [0, 1]);
        let backbones = Relation::axis(0, [0, 1, 2]);
        let both = backbones.join(&seeds);
        assert_eq!((both.axes.clone(), both.cells.len()), (vec![0, 1], 6));
        assert_eq!(both.join(&Relation::axis(1, [1])).cells, [[0, 1], [1, 1], [2, 1]].map(|cell| Cell::from_slice(&cell)));
        assert_eq!(both.join(&Relation::unit()), both);
        assert_eq!(both.project(&[0]), backbones);
        assert!(both.join(&Relation::axis(1, [7])).cells.is_empty());
        assert_eq!(seeds.join(&backbones), both);
    }

    proptest::proptest! {
        #![proptest_config(crate::law::cases(256))]

        /// Against the definition: every pair of cells that agrees where both have an axis.
        #[test]
        fn join_is_what_its_definition_says(a in cells(), b in cells()) {
            let (left, right) = (Relation::new(vec![0, 1], a), Relation::new(vec![1, 2], b));
            let mut expected: Vec<Cell> = Vec::new();
            for one in &left.cells {
                for two in right.cells.iter().filter(|two| two[0] == one[1]) {
                    expected.push(smallvec![one[0], one[1], two[1]]);
                }
            }
            let joined = left.join(&right);
            proptest::prop_assert_eq!(&joined, &Relation::new(vec![0, 1, 2], expected));
            proptest::prop_assert_eq!(left.count_joined(&right), joined.cells.len());
            proptest::prop_assert_eq!(joined, right.join(&left));
        }

        /// As of any natural join: the order of joining is nothing, twice is once, no axes change nothing, and what is left of two that were
        /// joined was there before.
        #[test]
        fn joining_is_an_algebra(a in cells(), b in cells(), c in cells()) {
            let (a, b, c) = (Relation::new(vec![0, 1], a), Relation::new(vec![1, 2], b), Relation::new(vec![0, 2], c));
            proptest::prop_assert_eq!(a.join(&b).join(&c), a.join(&b.join(&c)));
            proptest::prop_assert_eq!(a.join(&a), a.clone());
            proptest::prop_assert_eq!(Relation::unit().join(&a), a.clone());
            proptest::prop_assert_eq!(a.join(&Relation::unit()), a.clone());
            let left = a.join(&b).project(&[0, 1]);
            proptest::prop_assert!(left.cells.iter().all(|cell| a.cells.contains(cell)));
            proptest::prop_assert_eq!(left.join(&b), a.join(&b));
        }
    }

    fn cells() -> impl proptest::strategy::Strategy<Value = Vec<Cell>> {
        use proptest::strategy::Strategy as _;
        proptest::collection::vec(proptest::collection::vec(0..4u32, 2).prop_map(Cell::from), 0..12)
    }
}
