//! What a machine makes of a chest: stored values with the machine's look, noise and burned-in letters, and the lung mask.

use super::anatomy::{Chest, Pose};
use super::canvas::ramp;
use super::file;
use super::marker;
use super::person::{Exam, Person, Scanner, uid};
use super::random::Stream;
use anyhow::Result;

/// A finished radiograph.
pub struct Radiograph {
    /// SOP Instance UID.
    pub sop_instance_uid: String,
    /// Study Instance UID.
    pub study_instance_uid: String,
    /// The DICOM file.
    pub dicom: Vec<u8>,
    pub columns: usize,
    pub rows: usize,
    /// 255 where lung is, else 0; row-major.
    pub lungs: Vec<u8>,
}

/// Stored values and what the header says of them.
pub(super) struct Pixels {
    pub columns: usize,
    pub rows: usize,
    pub bits: u16,
    pub values: Vec<u16>,
    /// Centre and width.
    pub window: Option<(u32, u32)>,
}

impl Radiograph {
    /// The radiograph of one exam; `side` is the width in pixels.
    pub fn make(seed: u64, person: &Person, exam: &Exam, side: usize) -> Result<Self> {
        let mut stream = Stream::of(&[seed, person.index, 1 + exam.number]);
        let chest = Chest::draw(&mut Stream::of(&[seed, person.index, 1 << 32]), person.positive);
        let pose = Pose::draw(&mut stream, exam.view == "AP");
        let (columns, rows) = match exam.scanner {
            Scanner::Alder => (side, side * 6 / 5),
            Scanner::Birch => (side, side),
        };
        let lungs = chest.lungs(columns, rows, &pose);
        let shadow = chest.shadow(&lungs, &pose, &mut stream);
        let pixels = expose(person, exam, &shadow.samples, columns, rows, &mut stream);
        let numbers = [person.index, exam.number];
        let sop_instance_uid = uid(seed, "image", &numbers);
        let study_instance_uid = uid(seed, "study", &[person.index, exam.study]);
        let dicom = file::write(person, exam, &pixels, &sop_instance_uid, &study_instance_uid, &uid(seed, "series", &numbers))?;
        let lungs = lungs.samples.iter().map(|share| if *share > 0.5 { 255 } else { 0 }).collect();
        Ok(Self { sop_instance_uid, study_instance_uid, dicom, columns, rows, lungs })
    }
}

/// Stored values from shadows: exposure, the machine's curve, noise, letters, inversion.
fn expose(person: &Person, exam: &Exam, shadow: &[f64], columns: usize, rows: usize, stream: &mut Stream) -> Pixels {
    let (bits, low, high, grain): (u16, f64, f64, f64) = match exam.scanner {
        Scanner::Alder => (12, 320.0, 3500.0, 0.020),
        Scanner::Birch => (16, 4000.0, 60000.0, 0.012),
    };
    // Exposure hides most of what the mean grey value could tell of the patient.
    let (gain, offset) = (stream.between(0.85, 1.15), stream.between(-0.06, 0.06));
    let largest = f64::from(u32::from(u16::MAX) >> (16 - bits));
    let mut values: Vec<f64> = shadow
        .iter()
        .map(|weakened| {
            let grey = (weakened * gain + offset + 0.04).clamp(0.0, 1.1) / 1.1;
            let grey = match exam.scanner {
                Scanner::Alder => grey * (1.35 - 0.35 * grey),
                Scanner::Birch => 0.35 * grey + 0.65 * ramp(0.05, 0.90, grey),
            };
            // Fewer photons, more grain behind dense tissue.
            let noise = stream.normal() * grain * (0.6 + 0.8 * weakened.clamp(0.0, 1.0));
            (low + (grey + noise) * (high - low)).clamp(0.0, largest)
        })
        .collect();
    let size = (columns / 200).max(1);
    let mut burn = |text: &str, left: usize, top: usize, size: usize| {
        for (column, row) in marker::dots(text, size) {
            if left + column < columns && top + row < rows {
                values[(top + row) * columns + left + column] = largest;
            }
        }
    };
    if let Some(letter) = exam.marker {
        // The patient's left is at our right.
        let left = if letter == 'L' { columns - columns / 10 } else { columns / 20 };
        burn(&letter.to_string(), left, rows / 5, size * 2);
    }
    if exam.names_burned {
        burn(&format!("{} {}", person.name.0, person.name.1), columns / 50, rows / 60, size);
        burn(&format!("{} {}", person.id, exam.date), columns / 50, rows / 60 + 9 * size, size);
    }
    let stored = |value: f64| if exam.monochrome1 { (largest - value).round() as u16 } else { value.round() as u16 };
    let window = exam.windowed.then(|| {
        let centre = (low + high) / 2.0;
        (if exam.monochrome1 { largest - centre } else { centre } as u32, (high - low) as u32)
    });
    Pixels { columns, rows, bits, values: values.into_iter().map(stored).collect(), window }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_radiograph_follows_from_seed_and_index() {
        let person = Person::draw(7, 3, 0.5);
        let one = Radiograph::make(7, &person, &person.exams[0], 64).unwrap();
        let again = Radiograph::make(7, &Person::draw(7, 3, 0.5), &person.exams[0], 64).unwrap();
        assert_eq!(one.dicom, again.dicom);
        assert_ne!(one.dicom, Radiograph::make(8, &person, &person.exams[0], 64).unwrap().dicom);
        let share = one.lungs.iter().filter(|value| **value == 255).count() as f64 / one.lungs.len() as f64;
        assert!((0.15..0.6).contains(&share), "lungs take {share} of the picture");
    }
}
