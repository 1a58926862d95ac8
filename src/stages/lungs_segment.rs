//! `lungs.segment`: declared here, its items treated by `tomograph-torch`.

use super::images_import::name_files;
use crate::stage::{Artifact, Aside, Items, Needs, Params, Port, Problem, Row};
use anyhow::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Finds the lungs in each image with a U-Net: masks of the images' own sizes, 255 where there is lung.
///
/// The network's probabilities are brought to the image's size before `threshold` is applied. What is odd about a mask is data, not an
/// error: the column `flags` lists `empty`, `lungs` (not two connected parts of which the smaller has at least a tenth of the larger
/// one's pixels), `small` and `large` (share of the image, from `area`), `border` (lung at the image's edge) and `unsure` (`confidence`
/// below 0.8); nothing is dropped. `confidence` is the mean probability of the mask's pixels before small parts go and holes are filled,
/// `area` the mask's share of the image, `components` the number of its connected parts.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LungsSegment {
    /// Probability from which a pixel is lung, above 0 and below 1.
    #[serde(default = "threshold")]
    pub threshold: f64,
    /// Connected parts that are kept, the largest first; 0 keeps all.
    #[serde(default = "components")]
    pub components: u32,
    /// Whether holes in the lungs are filled.
    #[serde(default = "fill_holes")]
    pub fill_holes: bool,
    /// Least and greatest share of the image that lungs may take before they are flagged, 0 to 1.
    #[serde(default = "area")]
    pub area: [f64; 2],
    /// Images per step; the last step is filled up. Lower it where memory runs out.
    #[serde(default = "batch")]
    pub batch: u32,
}

fn threshold() -> f64 {
    0.5
}

fn components() -> u32 {
    2
}

fn fill_holes() -> bool {
    true
}

fn area() -> [f64; 2] {
    [0.05, 0.6]
}

fn batch() -> u32 {
    16
}

impl Params for LungsSegment {
    const KIND: &'static str = "lungs.segment";
    const REVISION: u32 = 1;
    const INPUTS: &'static [Port] = &[
        Port::one("images", &[Artifact::Images], "chest images of any size"),
        Port::one("model", &[Artifact::Model], "a U-Net of lungs.train"),
    ];
    const OUTPUTS: &'static [Port] = &[Port::one("masks", &[Artifact::Masks], "a mask per image, with confidence, area and flags")];
    const NEEDS: Needs = Needs { cpus: 2, memory: 0, gpu: 0.0 };

    fn check(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if !(self.threshold > 0.0 && self.threshold < 1.0) {
            problems.push(Problem::of("threshold", "must be above 0 and below 1"));
        }
        let [least, most] = self.area;
        if !(0.0 <= least && least <= most && most <= 1.0) {
            problems.push(Problem::of("area", "must be two shares of the image, 0 to 1, the smaller first"));
        }
        if self.batch == 0 {
            problems.push(Problem::of("batch", "must be above 0"));
        }
        problems
    }
}

impl Items for LungsSegment {
    const ITEMS: &'static [&'static str] = &["images"];
    const WRITES: &'static [&'static str] = &["file", "width", "height", "confidence", "area", "components", "flags"];

    fn finish(&self, rows: &mut Vec<Row>, _: &mut Vec<Aside>) -> Result<()> {
        name_files(rows);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonsense_is_named() {
        let params: LungsSegment = serde_json::from_str(r#"{"threshold": 1.0, "area": [0.5, 0.2]}"#).unwrap();
        assert_eq!(params.check().iter().map(|problem| problem.param).collect::<Vec<_>>(), ["threshold", "area"]);
        assert!(serde_json::from_str::<LungsSegment>("{}").unwrap().check().is_empty());
    }
}
