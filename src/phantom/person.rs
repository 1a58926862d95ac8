//! Made-up people: who they are, when they were examined, on which machine. Knows nothing of pixels.

use super::random::Stream;

/// A machine that makes radiographs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scanner {
    /// A storage-phosphor reader: 12 bits, mostly MONOCHROME1, portrait, grainy.
    Alder,
    /// A flat-panel detector: 16 bits, mostly MONOCHROME2, square, contrast-enhanced.
    Birch,
}

/// A made-up patient.
#[derive(Clone, Debug)]
pub struct Person {
    /// Place among the patients; with the seed it decides everything else.
    pub index: u64,
    /// DICOM Patient ID.
    pub id: String,
    /// Family and given name, with accents.
    pub name: (&'static str, &'static str),
    /// `F` or `M`.
    pub sex: &'static str,
    /// Years of age in 2021.
    pub age: u32,
    /// DICOM date.
    pub birth_date: String,
    /// Whether the laboratory found the disease.
    pub positive: bool,
    /// DICOM date of the laboratory's test.
    pub test_date: String,
    /// One to four radiographs, by date.
    pub exams: Vec<Exam>,
}

/// One radiograph of a patient.
#[derive(Clone, Debug)]
pub struct Exam {
    /// Place among the patient's radiographs.
    pub number: u64,
    /// Radiographs with equal numbers are of one study.
    pub study: u64,
    /// DICOM date and time of day.
    pub date: String,
    pub time: String,
    pub scanner: Scanner,
    /// `PA` or `AP`.
    pub view: &'static str,
    /// Whether high stored values are shown dark.
    pub monochrome1: bool,
    /// The letter laid on the film, if any: `L` or `R`.
    pub marker: Option<char>,
    /// Whether name and id are burned into the pixels.
    pub names_burned: bool,
    /// Whether the header says which window to show.
    pub windowed: bool,
}

const FAMILIES: &[&str] = &[
    "Arango",
    "Betancur",
    "Cárdenas",
    "Duque",
    "Echeverri",
    "Franco",
    "Gutiérrez",
    "Hoyos",
    "Idárraga",
    "Jiménez",
    "Londoño",
    "Mejía",
    "Naranjo",
    "Ocampo",
    "Peláez",
    "Quintero",
    "Restrepo",
    "Salazar",
    "Trujillo",
    "Uribe",
    "Valencia",
    "Yepes",
    "Zuluaga",
    "Muñoz",
];
const WOMEN: &[&str] = &["Adriana", "Beatriz", "Carolina", "Diana", "Elena", "Gloria", "Inés", "Luz", "María", "Paola", "Sofía", "Ximena"];
const MEN: &[&str] = &["Andrés", "Bernardo", "Carlos", "Diego", "Esteban", "Germán", "Hernán", "Iván", "José", "Luis", "Óscar", "Ramón"];

impl Person {
    /// The patient at `index`: nothing of it depends on how many others there are.
    pub fn draw(seed: u64, index: u64, share_positive: f64) -> Self {
        let mut stream = Stream::of(&[seed, index, 0]);
        // Spread evenly over the indices, so that few patients already meet the share.
        let positive = ((index + 1) as f64 * share_positive).floor() > (index as f64 * share_positive).floor();
        let sex = stream.pick(&["F", "M"]);
        let given = stream.pick(if sex == "F" { WOMEN } else { MEN });
        let name = (stream.pick(FAMILIES), given);
        let age = 20 + stream.below(65) as u32;
        let birth_date = format!("{}{:02}{:02}", 2021 - age, 1 + stream.below(12), 1 + stream.below(28));
        let id = format!("{}{:04}{:03}", 1 + stream.below(9), index, stream.below(1000));
        let first_day = 1 + stream.below(300) as u32;
        let test_date = date_2021(first_day);
        let count = 1 + stream.below(4);
        let habit = if positive { 0.6 } else { 0.5 };
        let mut study = 0;
        let mut day = first_day;
        let exams = (0..count)
            .map(|number| {
                if number > 0 && stream.chance(0.6) {
                    study += 1;
                    day += 1 + stream.below(6) as u32;
                }
                let scanner = if stream.chance(habit) { Scanner::Alder } else { Scanner::Birch };
                Exam {
                    number,
                    study,
                    date: date_2021(day),
                    time: format!("{:02}{:02}{:02}", 7 + stream.below(12), stream.below(60), stream.below(60)),
                    scanner,
                    view: if stream.chance(0.7) { "PA" } else { "AP" },
                    monochrome1: stream.chance(if scanner == Scanner::Alder { 0.8 } else { 0.1 }),
                    marker: if stream.chance(0.7) { Some(stream.pick(&['L', 'R'])) } else { None },
                    names_burned: stream.chance(0.2),
                    windowed: stream.chance(if scanner == Scanner::Alder { 0.9 } else { 0.5 }),
                }
            })
            .collect();
        Self { index, id, name, sex, age, birth_date, positive, test_date, exams }
    }
}

/// A day of 2021, or of the years after it, as DICOM writes it. Months have 28 days here: made-up people do not mind.
fn date_2021(day: u32) -> String {
    let day = day - 1;
    format!("{}{:02}{:02}", 2021 + day / 336, 1 + day % 336 / 28, 1 + day % 28)
}

/// A UID under 2.25 that follows from the seed and what it names.
pub(super) fn uid(seed: u64, what: &str, numbers: &[u64]) -> String {
    let mut hasher = blake3::Hasher::new_derive_key("tomograph phantom uid 1");
    hasher.update(what.as_bytes());
    for number in std::iter::once(&seed).chain(numbers) {
        hasher.update(&number.to_le_bytes());
    }
    let mut bytes = [0; 16];
    hasher.finalize_xof().fill(&mut bytes);
    format!("2.25.{}", u128::from_le_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_are_told_apart_and_the_share_is_met() {
        let people: Vec<Person> = (0..60).map(|index| Person::draw(1, index, 0.5)).collect();
        assert_eq!(people.iter().filter(|one| one.positive).count(), 30);
        let ids: std::collections::BTreeSet<&str> = people.iter().map(|one| one.id.as_str()).collect();
        assert_eq!(ids.len(), 60);
        assert!(people.iter().all(|one| (1..=4).contains(&one.exams.len())));
        assert!(people.iter().flat_map(|one| &one.exams).any(|exam| exam.names_burned));
        assert!(uid(1, "image", &[1, 2]).len() <= 64 && uid(1, "image", &[1, 2]) != uid(1, "image", &[1, 3]));
    }
}
