//! The border of what is inside a mask, as closed lines along the edges of pixels: for drawings.

use super::Mask;

/// A closed line: its corners as (column, row) of pixel corners, (0, 0) the image's top left; the last is joined to the first.
pub type Contour = Vec<(u32, u32)>;

/// Steps to the right, down, left and up.
const STEPS: [(i64, i64); 4] = [(1, 0), (0, 1), (-1, 0), (0, -1)];

impl Mask {
    /// The lines around everything inside, clockwise, and around its holes, counter-clockwise. Pixels that touch at a corner share a line.
    pub fn contours(&self) -> Vec<Contour> {
        let width = self.width as usize;
        // Every line goes to the right along the upper edge of some pixel: those that were passed begin no further line.
        let mut passed = vec![false; self.inside.len()];
        let mut contours = Vec::new();
        for start in 0..self.inside.len() {
            let upper = self.inside[start] && (start < width || !self.inside[start - width]);
            if upper && !passed[start] {
                contours.push(self.follow(((start % width) as i64, (start / width) as i64), &mut passed));
            }
        }
        contours
    }

    /// Follows a line, inside on the right hand, until it comes back to where it started to the right.
    fn follow(&self, start: (i64, i64), passed: &mut [bool]) -> Contour {
        let mut contour = Contour::new();
        let ((mut x, mut y), mut heading) = (start, 0);
        loop {
            if heading == 0 {
                passed[y as usize * self.width as usize + x as usize] = true;
            }
            x += STEPS[heading].0;
            y += STEPS[heading].1;
            // The two pixels ahead, to the left and to the right of the line.
            let (left, right) = match heading {
                0 => ((x, y - 1), (x, y)),
                1 => ((x, y), (x - 1, y)),
                2 => ((x - 1, y), (x - 1, y - 1)),
                _ => ((x - 1, y - 1), (x, y - 1)),
            };
            let next = match (self.at(left), self.at(right)) {
                (true, _) => (heading + 3) % 4,
                (false, true) => heading,
                (false, false) => (heading + 1) % 4,
            };
            if next != heading {
                contour.push((x as u32, y as u32));
            }
            heading = next;
            if (x, y) == start && heading == 0 {
                return contour;
            }
        }
    }

    /// Whether a pixel is inside; none beyond the border is.
    fn at(&self, (x, y): (i64, i64)) -> bool {
        let within = (0..i64::from(self.width)).contains(&x) && (0..i64::from(self.height)).contains(&y);
        within && self.inside[y as usize * self.width as usize + x as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::super::mask::drawn;
    use super::*;

    #[test]
    fn a_line_has_its_corners() {
        assert_eq!(drawn(&["....", ".##.", "...."]).contours(), [[(3, 1), (3, 2), (1, 2), (1, 1)]]);
        assert_eq!(drawn(&["#"]).contours(), [[(1, 0), (1, 1), (0, 1), (0, 0)]]);
        assert_eq!(Mask::none(3, 3).contours(), Vec::<Contour>::new());
    }

    #[test]
    fn lines_enclose_as_many_pixels_as_are_inside() {
        // Twice the area by the corners: holes count negative.
        let area = |contour: &Contour| {
            let next = contour.iter().cycle().skip(1);
            contour.iter().zip(next).map(|(a, b)| i64::from(a.0) * i64::from(b.1) - i64::from(b.0) * i64::from(a.1)).sum::<i64>()
        };
        let shapes: [&[&str]; 4] = [
            &["#####", "#...#", "#.#.#", "#...#", "#####"],
            &["#.#", ".#.", "#.#"],
            &["##..", "##..", "..##", "..##"],
            &[".#.", "#.#", ".#."],
        ];
        for shape in shapes {
            let mask = drawn(shape);
            let contours = mask.contours();
            assert_eq!(contours.iter().map(area).sum::<i64>(), 2 * mask.count() as i64, "{shape:?}: {contours:?}");
        }
        assert_eq!(drawn(shapes[0]).contours().len(), 3);
        assert_eq!(drawn(shapes[2]).contours().len(), 1, "touching at a corner");
    }
}
