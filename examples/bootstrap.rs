//! Times the intervals of many evaluations, and prints the seconds: `bootstrap [MODELS [IMAGES [DRAWS]]]`, 60, 700 and 2000 unless given.
//! `make bench` asks for 10 s at most.

use std::time::Instant;
use tomograph::stats::{Clusters, Evaluation, Sample};

fn main() {
    let mut given = std::env::args().skip(1).filter_map(|word| word.parse::<usize>().ok());
    let [models, images, draws] = [60, 700, 2000].map(|usual| given.next().unwrap_or(usual));
    let subjects: Vec<String> = (0..images).map(|image| format!("p{}", image / 5)).collect();
    let truth: Vec<usize> = (0..images).map(|image| image / 5 % 2).collect();
    let start = Instant::now();
    let mut figures = 0;
    for model in 0..models {
        let score = |image: usize| {
            let noise = (image * 7919 + model * 104_729) % 1000;
            let score = 0.2 * truth[image] as f64 + 0.8 * noise as f64 / 1000.0;
            vec![1.0 - score, score]
        };
        let scores: Vec<Vec<f64>> = (0..images).map(score).collect();
        let clusters = Clusters::of(&subjects);
        let mut evaluation = Evaluation::new(&clusters);
        evaluation.add_classes(&Sample::of(&clusters, &scores, &truth), 2, None, &[]);
        let found = evaluation.figures(draws as u32, 1);
        figures += found.iter().flat_map(|one| &one.likelier).filter(|figure| figure.low.is_some()).count();
    }
    #[expect(clippy::print_stdout, reason = "it is a program of its own")]
    {
        let took = start.elapsed().as_secs_f64();
        println!("{draws} draws of {images} images, {models} models, {figures} intervals: {took:.2} s (asked: 10)");
    }
}
