//! Made-up patients with chest radiographs, for the demo and the tests: nobody is harmed when they leak.
//!
//! A patient follows from the seed and the patient's own index alone. Knows nothing of stages.

mod anatomy;
mod canvas;
mod file;
mod marker;
mod person;
mod radiograph;
mod random;

pub use person::{Exam, Person, Scanner};
pub use radiograph::Radiograph;
