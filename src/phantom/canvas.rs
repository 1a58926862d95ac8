//! A grey picture of floats and the shapes stamped on it: soft blobs, streaks, bars. Knows no anatomy.
//!
//! Coordinates: x from −1 (left) to 1 (right), y from 0 (top) to 1 (bottom), whatever the size in pixels.
//! Only addition, multiplication, division and square roots are used, so that every machine draws the same.

use super::random::Stream;

/// Row-major samples.
#[derive(Clone, Debug)]
pub(super) struct Canvas {
    pub columns: usize,
    pub rows: usize,
    pub samples: Vec<f64>,
}

/// 0 below `from`, 1 above `to`, smooth between; `from` may be the larger one.
pub(super) fn ramp(from: f64, to: f64, at: f64) -> f64 {
    let t = ((at - from) / (to - from)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

/// 1 at 0, falling to 0 at a distance of 1.
pub(super) fn bump(squared_distance: f64) -> f64 {
    let inside = (1.0 - squared_distance).max(0.0);
    inside * inside
}

impl Canvas {
    pub(super) fn new(columns: usize, rows: usize) -> Self {
        Self { columns, rows, samples: vec![0.0; columns * rows] }
    }

    /// x of a column's centre.
    pub(super) fn x(&self, column: usize) -> f64 {
        (2 * column + 1) as f64 / self.columns as f64 - 1.0
    }

    /// y of a row's centre.
    pub(super) fn y(&self, row: usize) -> f64 {
        (2 * row + 1) as f64 / (2 * self.rows) as f64
    }

    /// Sets every sample by its x and y.
    pub(super) fn fill(&mut self, value: impl Fn(f64, f64) -> f64) {
        for row in 0..self.rows {
            let y = self.y(row);
            for column in 0..self.columns {
                self.samples[row * self.columns + column] = value(self.x(column), y);
            }
        }
    }

    /// Adds `amount(x, y)` in the box from (`x0`, `y0`) to (`x1`, `y1`).
    fn add(&mut self, (x0, y0): (f64, f64), (x1, y1): (f64, f64), amount: impl Fn(f64, f64) -> f64) {
        let column = |x: f64| (((x + 1.0) * self.columns as f64 / 2.0).floor().max(0.0) as usize).min(self.columns);
        let row = |y: f64| ((y * self.rows as f64).floor().max(0.0) as usize).min(self.rows);
        for r in row(y0)..(row(y1) + 1).min(self.rows) {
            for c in column(x0)..(column(x1) + 1).min(self.columns) {
                let value = amount(self.x(c), self.y(r));
                self.samples[r * self.columns + c] += value;
            }
        }
    }

    /// A soft ellipse around (`x`, `y`) with half axes `rx`, `ry`.
    pub(super) fn blob(&mut self, (x, y): (f64, f64), (rx, ry): (f64, f64), amount: f64) {
        self.add((x - rx, y - ry), (x + rx, y + ry), |at_x, at_y| {
            let (dx, dy) = ((at_x - x) / rx, (at_y - y) / ry);
            amount * bump(dx * dx + dy * dy)
        });
    }

    /// A straight streak that goes from half width `w0` to `w1` (in units of x).
    pub(super) fn streak(&mut self, from: (f64, f64), to: (f64, f64), (w0, w1): (f64, f64), amount: f64) {
        let widest = w0.max(w1);
        let (low, high) = ((from.0.min(to.0) - widest, from.1.min(to.1) - widest), (from.0.max(to.0) + widest, from.1.max(to.1) + widest));
        // y runs over half the length that x does.
        let (dx, dy) = (to.0 - from.0, 2.0 * (to.1 - from.1));
        let length = (dx * dx + dy * dy).max(1e-12);
        self.add(low, high, |x, y| {
            let (px, py) = (x - from.0, 2.0 * (y - from.1));
            let along = ((px * dx + py * dy) / length).clamp(0.0, 1.0);
            let (ex, ey) = (px - along * dx, py - along * dy);
            let width = w0 + (w1 - w0) * along;
            amount * bump((ex * ex + ey * ey) / (width * width))
        });
    }

    /// Smooth clouds with `cells` knots across, each sample from about −1 to 1.
    pub(super) fn clouds(columns: usize, rows: usize, cells: usize, stream: &mut Stream) -> Self {
        let across = cells + 2;
        let down = cells * rows / columns.max(1) + 3;
        let knots: Vec<f64> = (0..across * down).map(|_| stream.between(-1.0, 1.0)).collect();
        let mut canvas = Self::new(columns, rows);
        for row in 0..rows {
            let y = row as f64 * cells as f64 / columns as f64;
            let (below, ty) = (y.floor() as usize, ramp(0.0, 1.0, y - y.floor()));
            for column in 0..columns {
                let x = column as f64 * cells as f64 / columns as f64;
                let (left, tx) = (x.floor() as usize, ramp(0.0, 1.0, x - x.floor()));
                let knot = |dx: usize, dy: usize| knots[(below + dy).min(down - 1) * across + (left + dx).min(across - 1)];
                let upper = knot(0, 0) * (1.0 - tx) + knot(1, 0) * tx;
                let lower = knot(0, 1) * (1.0 - tx) + knot(1, 1) * tx;
                canvas.samples[row * columns + column] = upper * (1.0 - ty) + lower * ty;
            }
        }
        canvas
    }
}
