//! A made-up chest: how much it weakens the beam at each point, and where its lungs are.
//!
//! Seen from the front: the patient's right is at the left. Knows nothing of machines, grey values or files.

use super::canvas::{Canvas, bump, ramp};
use super::random::Stream;

/// Shape of one person's chest, the same in all their radiographs.
#[derive(Clone, Debug)]
pub(super) struct Chest {
    /// 0 slim to 1 heavy.
    weight: f64,
    /// Half width of both lungs together.
    width: f64,
    /// Top of the lungs and height of the two domes of the diaphragm.
    top: f64,
    base: [f64; 2],
    /// Half width of the heart.
    heart: f64,
    /// Distance from rib to rib.
    spacing: f64,
    /// How little healthy lung weakens the beam.
    air: f64,
    /// Opacities: side (−1 or 1), distance from the midline, height, size, strength.
    opacities: Vec<[f64; 5]>,
    /// Seed of the vessels.
    vessels: u64,
}

/// How the person stood at one radiograph.
#[derive(Clone, Debug)]
pub(super) struct Pose {
    /// Midline, upwards shift, size, tilt.
    pub midline: f64,
    pub lift: f64,
    pub scale: f64,
    pub tilt: f64,
    /// Depth of the breath: moves the diaphragm down.
    pub breath: f64,
    /// Lying patients seen from the front have a wider heart.
    pub from_front: bool,
}

impl Pose {
    /// A random pose.
    pub(super) fn draw(stream: &mut Stream, from_front: bool) -> Self {
        Self {
            midline: stream.between(-0.04, 0.04),
            lift: stream.between(-0.02, 0.02),
            scale: stream.between(0.95, 1.05),
            tilt: stream.between(-0.03, 0.03),
            breath: stream.between(-0.02, 0.025) - if from_front { 0.03 } else { 0.0 },
            from_front,
        }
    }
}

impl Chest {
    /// The chest of a person; `positive` ones have opacities like ground glass, in both lungs, mostly low and outside.
    pub(super) fn draw(stream: &mut Stream, positive: bool) -> Self {
        let mut chest = Self {
            weight: stream.share(),
            width: stream.between(0.74, 0.82),
            top: stream.between(0.10, 0.14),
            base: [stream.between(0.68, 0.73), 0.0],
            heart: stream.between(0.30, 0.39),
            spacing: stream.between(0.064, 0.072),
            air: stream.between(0.60, 0.70),
            opacities: Vec::new(),
            vessels: stream.bits(),
        };
        chest.base[1] = chest.base[0] + stream.between(0.01, 0.04);
        let count = 5 + stream.below(5);
        for number in 0..count {
            let side = if number % 2 == 0 { -1.0 } else { 1.0 };
            let outwards = stream.between(0.34, 0.66);
            let height = stream.between(0.36, 0.66);
            let size = stream.between(0.13, 0.22);
            let strength = stream.between(0.42, 0.60);
            if positive {
                chest.opacities.push([side, outwards, height, size, strength]);
            }
        }
        chest
    }

    /// How much is lung at a point, 0 to 1: `u` from the midline outwards, `side` −1 for the patient's right (our left).
    fn lung(&self, side: f64, u: f64, y: f64, pose: &Pose) -> f64 {
        let base = self.base[usize::from(side > 0.0)] + pose.breath;
        let dome = base + 0.62 * (u - 0.36) * (u - 0.36);
        let apex = self.top + 0.55 * (u - 0.30) * (u - 0.30);
        let t = ((0.56 - y) / (0.56 - self.top)).clamp(0.0, 1.0);
        let outer = self.width * (1.0 - 0.80 * t * t).max(0.0).sqrt();
        let inner = 0.13 + 0.03 * bump((y - 0.48) * (y - 0.48) / 0.02);
        ramp(dome + 0.008, dome - 0.012, y)
            * ramp(apex - 0.01, apex + 0.03, y)
            * ramp(outer + 0.015, outer - 0.035, u)
            * ramp(inner - 0.02, inner + 0.03, u)
            * (1.0 - self.heart_at(side * u, y, pose))
    }

    /// How much is heart at a point, 0 to 1.
    fn heart_at(&self, x: f64, y: f64, pose: &Pose) -> f64 {
        let half = self.heart * if pose.from_front { 1.15 } else { 1.0 };
        let border = match x > 0.0 {
            // The left ventricle bulges down and outwards.
            true => 0.10 + half * ramp(0.34, 0.66, y) + 0.03 * bump((y - 0.43) * (y - 0.43) / 0.003),
            false => 0.10 + 0.34 * half * bump((y - 0.60) * (y - 0.60) / 0.045),
        };
        let bottom = self.base[1] + pose.breath + 0.05 - 0.10 * (x.abs() - 0.10).max(0.0);
        ramp(border + 0.025, border - 0.025, x.abs()) * ramp(0.34, 0.44, y) * ramp(bottom + 0.03, bottom - 0.05, y)
    }

    /// The point as the person has it that lies at (`x`, `y`) of the radiograph.
    fn place(pose: &Pose, x: f64, y: f64) -> (f64, f64) {
        let (x, y) = ((x - pose.midline) / pose.scale, (y + pose.lift - 0.5) / pose.scale + 0.5);
        (x - pose.tilt * (y - 0.5), y + pose.tilt * x * 0.5)
    }

    /// The lungs, 0 to 1, heart and mediastinum left out.
    pub(super) fn lungs(&self, columns: usize, rows: usize, pose: &Pose) -> Canvas {
        let mut canvas = Canvas::new(columns, rows);
        canvas.fill(|x, y| {
            let (x, y) = Self::place(pose, x, y);
            self.lung(x.signum(), x.abs(), y, pose)
        });
        canvas
    }

    /// How much the beam is weakened, about 0 (air) to 1 (spine behind the heart).
    pub(super) fn shadow(&self, lungs: &Canvas, pose: &Pose, stream: &mut Stream) -> Canvas {
        let (columns, rows) = (lungs.columns, lungs.rows);
        let mut inner = Canvas::new(columns, rows);
        self.add_vessels(&mut inner, pose);
        let fog = Canvas::clouds(columns, rows, 7, stream);
        let fine = Canvas::clouds(columns, rows, 34, stream);
        let mut ground_glass = Canvas::new(columns, rows);
        for [side, outwards, height, size, strength] in &self.opacities {
            let at = (
                side * outwards * pose.scale + pose.midline + stream.between(-0.02, 0.02),
                height - pose.lift + stream.between(-0.01, 0.01),
            );
            ground_glass.blob(at, (*size, size * 0.62), *strength);
        }
        let mut shadow = Canvas::new(columns, rows);
        shadow.fill(|x, y| {
            let (x, y) = Self::place(pose, x, y);
            self.outside_lungs(x, y, pose)
        });
        for (at, value) in shadow.samples.iter_mut().enumerate() {
            let lung = lungs.samples[at];
            let glass = ground_glass.samples[at].min(0.65) * (0.85 + 0.25 * fine.samples[at] + 0.1 * fog.samples[at]);
            let tissue = inner.samples[at] + glass + 0.018 * fog.samples[at] + 0.012 * fine.samples[at];
            *value = *value * (1.0 - self.air * lung) + lung * tissue;
        }
        let bones = self.bones(columns, rows, pose);
        for (value, bone) in shadow.samples.iter_mut().zip(bones.samples) {
            *value += bone * ramp(0.02, 0.20, *value);
        }
        shadow
    }

    /// The trunk without lungs, ribs and vessels.
    fn outside_lungs(&self, x: f64, y: f64, pose: &Pose) -> f64 {
        let u = x.abs();
        let neck = 0.25 + 0.06 * self.weight;
        let trunk = 0.90 + 0.12 * self.weight;
        let half = neck + (1.12 - neck) * ramp(0.0, 0.15, y) + (trunk - 1.12) * ramp(0.16, 0.50, y);
        let body = ramp(half + 0.01, half - 0.10, u);
        // Arms hang beside the trunk.
        let arm = 0.30 * ramp(0.20, 0.45, y) * bump((u - 1.12) * (u - 1.12) / 0.02);
        let mut soft = 0.50 + 0.10 * self.weight + 0.10 * bump((u - self.width - 0.04) * (u - self.width - 0.04) / 0.02);
        let spine = bump(u * u / 0.0121);
        // Vertebrae: denser bodies, lighter discs.
        let step = (y / (self.spacing * 0.82)).fract();
        soft += spine * (0.13 + 0.05 * bump((step - 0.5) * (step - 0.5) / 0.25));
        soft += 0.16 * ramp(0.22, 0.10, u) * ramp(0.08, 0.25, y);
        soft += 0.16 * self.heart_at(x, y, pose);
        let (ax, ay) = ((x - 0.13) / 0.10, (y - 0.335) / 0.055);
        soft += 0.13 * bump(0.6 * (ax * ax + ay * ay));
        // The windpipe holds air.
        soft -= 0.15 * bump((x - 0.01) * (x - 0.01) / 0.0028) * ramp(0.02, 0.08, y) * ramp(0.40, 0.34, y);
        let base = self.base[usize::from(x > 0.0)] + pose.breath;
        let dome = base + 0.62 * (u - 0.36) * (u - 0.36);
        soft += 0.20 * ramp(dome - 0.01, dome + 0.12, y);
        // Gas in the stomach, under the left dome.
        let (gx, gy) = ((x - 0.38) / 0.20, (y - base - 0.075) / 0.05);
        soft -= 0.16 * bump(gx * gx + gy * gy);
        (soft * body).max(arm)
    }

    /// Ribs, collarbones, shoulder blades: what they add.
    fn bones(&self, columns: usize, rows: usize, pose: &Pose) -> Canvas {
        let mut canvas = Canvas::new(columns, rows);
        let rib = |distance: f64, half: f64| {
            let d = distance / half;
            bump(d * d) * 0.7 + 0.6 * bump((d.abs() - 0.75) * (d.abs() - 0.75) / 0.10)
        };
        canvas.fill(|x, y| {
            let (x, y) = Self::place(pose, x, y);
            let u = x.abs();
            let t = ((0.56 - y) / (0.56 - self.top)).clamp(0.0, 1.0);
            let wall = self.width * (1.0 - 0.80 * t * t).max(0.0).sqrt() + 0.03;
            let inside = ramp(0.08, 0.13, u) * ramp(wall + 0.01, wall - 0.01, u) * ramp(0.92, 0.80, y);
            let mut bone: f64 = 0.0;
            if inside > 0.0 {
                for number in 0..10 {
                    let root = self.top + 0.015 + self.spacing * f64::from(number);
                    let back = root - 0.035 * bump((u - 0.28) * (u - 0.28) / 0.09) + 0.17 * u * u * u;
                    bone = bone.max(0.105 * rib(y - back, 0.0155));
                    if number < 7 {
                        let end = root + 0.17 * self.width * self.width * self.width;
                        let front = end + 0.02 + 0.27 * (self.width - u).max(0.0) - 0.05 * (self.width - u) * (self.width - u);
                        bone = bone.max(0.065 * rib(y - front, 0.018) * ramp(0.26, 0.40, u));
                    }
                }
                bone *= inside;
            }
            let along = (u - 0.07) / 0.72;
            if (0.0..=1.0).contains(&along) {
                let centre = 0.185 - 0.13 * along + 0.05 * along * along;
                bone += 0.13 * rib(y - centre, 0.017) * ramp(0.0, 0.04, along) * ramp(1.0, 0.94, along);
            }
            let edge = 0.66 + 0.10 * (y - 0.10) / 0.3;
            bone + 0.06
                * ramp(edge - 0.01, edge + 0.03, u)
                * ramp(0.95, 0.85, u)
                * ramp(0.10, 0.16, y)
                * ramp(0.46 - 0.2 * (u - 0.66), 0.36, y)
        });
        canvas
    }

    /// Vessels: streaks from both hila outwards, thinner the farther.
    fn add_vessels(&self, canvas: &mut Canvas, pose: &Pose) {
        let mut stream = Stream::of(&[self.vessels]);
        for side in [-1.0, 1.0] {
            let hilum = (side * 0.19 * pose.scale + pose.midline, 0.44 - pose.lift);
            canvas.blob(hilum, (0.13, 0.10), 0.12);
            for _ in 0..22 {
                let end = (side * stream.between(0.25, 0.70) + pose.midline, stream.between(0.20, 0.74) - pose.lift);
                let middle = (hilum.0 + 0.5 * (end.0 - hilum.0), hilum.1 + 0.5 * (end.1 - hilum.1) + stream.between(-0.03, 0.03));
                let width = stream.between(0.014, 0.026);
                let root = (hilum.0 + stream.between(-0.05, 0.05), hilum.1 + stream.between(-0.06, 0.06));
                canvas.streak(root, middle, (width, width * 0.7), 0.06);
                canvas.streak(middle, end, (width * 0.7, width * 0.3), 0.06);
            }
        }
    }
}
