//! What must hold of any layout: nothing overlaps, lines go down, and none crosses where it need not.

use super::*;
use proptest::prelude::*;

fn blocks(count: usize) -> Vec<Block> {
    vec![Block { width: 100.0, height: 40.0, inlets: vec![20.0; 2], outlets: vec![20.0; 2] }; count]
}

fn link(from: usize, to: usize) -> Link {
    Link { from, outlet: 0, to, inlet: 0 }
}

#[test]
fn a_chain_goes_straight_down() {
    let placed = layout(&blocks(3), &[link(0, 1), link(1, 2)]);
    assert_eq!(placed.corners, [(0.0, 0.0), (0.0, 90.0), (0.0, 180.0)]);
    assert_eq!((placed.width, placed.height), (100.0, 220.0));
}

#[test]
fn lines_do_not_cross_where_they_need_not() {
    let placed = layout(&blocks(4), &[link(0, 3), link(1, 2)]);
    let left = |one: usize, other: usize| placed.corners[one].0 < placed.corners[other].0;
    assert_eq!(left(0, 1), left(3, 2));
    assert_eq!((inversions(&[3, 1, 2, 0]), inversions(&[0, 1]), inversions(&[])), (5, 0, 0));
}

#[test]
fn lines_from_one_outlet_share_their_way_past_other_boxes() {
    let placed = layout(&blocks(4), &[link(0, 1), link(1, 2), link(2, 3), link(0, 2), link(0, 3)]);
    assert_eq!(placed.routes[3][1..3], placed.routes[4][1..3]);
    let lane = placed.routes[4][1].0;
    assert!(!(placed.corners[1].0..placed.corners[1].0 + 100.0).contains(&lane), "{placed:?}");
}

#[test]
fn what_feeds_a_late_box_stands_just_above_it() {
    assert_eq!(ranks(5, &[link(0, 1), link(1, 2), link(2, 3), link(4, 3)]), [0, 1, 2, 3, 2]);
}

proptest! {
    #![proptest_config(crate::law::cases(200))]

    #[test]
    fn boxes_never_overlap_and_lines_go_down(pairs in prop::collection::vec((0..12_usize, 0..12_usize, 0..2_usize, 0..2_usize), 0..30)) {
        let links: Vec<Link> = pairs.into_iter().filter(|(a, b, ..)| a < b)
            .map(|(from, to, outlet, inlet)| Link { from, outlet, to, inlet }).collect();
        let placed = layout(&blocks(12), &links);
        for (at, one) in placed.corners.iter().enumerate() {
            for other in &placed.corners[at + 1..] {
                prop_assert!(one.1 != other.1 || (one.0 - other.0).abs() >= 100.0 + GAP - 1e-6);
            }
            prop_assert!(one.0 >= 0.0 && one.0 + 100.0 <= placed.width + 1e-6);
        }
        for route in &placed.routes {
            prop_assert!(route.len() % 2 == 0 && route.windows(2).all(|pair| pair[0].1 < pair[1].1));
        }
    }
}
