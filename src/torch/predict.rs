//! The work of `classifier.predict`: what a classifier says of the images that it has not been shown, batch by batch.

use crate::arrays::spread;
use crate::classifier::Classifier;
use crate::feed::Feed;
use crate::items::Asked;
use crate::job::Job;
use crate::predicted::scores;
use anyhow::{Context as _, Result, ensure};
use tch::{Tensor, no_grad};
use tomograph::image::{Grey, Unusable};
use tomograph::stage::{Item, Made};
use tomograph::stages::classifier_predict::{ClassifierPredict, SCORES};

/// Images of a step, and those that are none.
#[derive(Default)]
struct Batch {
    places: Vec<usize>,
    /// As the network takes them, image by image.
    values: Vec<f32>,
    bad: Vec<(usize, Unusable)>,
}

/// Tells of the scores of every item asked for.
pub(crate) fn predict(params: &ClassifierPredict, job: &Job, asked: &Asked) -> Result<()> {
    let classifier = Classifier::load(job.cx.inputs.one("model")?, job.device).context("port `model`")?;
    let recipe = &classifier.recipe;
    ensure!(
        recipe.has_backbone(),
        "port `model`: the model is a head alone, which learnt from features: connect `weights` where it is trained, too"
    );
    let ([height, width], normalise) = (recipe.input, recipe.normalise);
    let (items, size) = (asked.items, params.batch as usize);
    let steps = items.len().div_ceil(size);
    let step = |number: u64| (number < steps as u64).then_some(number as usize * size);
    let read = |from: usize| -> Result<Batch> {
        let mut batch = Batch::default();
        for (at, item) in items.iter().enumerate().skip(from).take(size) {
            match Grey::decode(&item.read("images")?) {
                Ok(image) => {
                    fits(&image, height, width, item)?;
                    spread(&mut batch.values, image.into_deep().pixels.into_iter().map(f32::from), normalise, f32::from(u16::MAX));
                    batch.places.push(at);
                }
                Err(bad) => batch.bad.push((at, bad)),
            }
        }
        Ok(batch)
    };
    Feed { job: &step, prepare: &read, threads: job.cx.threads }.run(0, |ahead| {
        for _ in 0..steps {
            let Batch { places, mut values, bad } = ahead.next()?;
            for (at, bad) in bad {
                asked.aside(at, bad.class, bad.reason);
            }
            if places.is_empty() {
                continue;
            }
            // Filled up, since what an image gives may depend on how many go with it.
            for _ in places.len()..size {
                values.extend_from_within(..height * width);
            }
            let images = Tensor::from_slice(&values).view([size as i64, 1, height as i64, width as i64]);
            let logits = no_grad(|| classifier.logits(&images.to_device(job.device), false));
            for (at, scores) in places.into_iter().zip(scores(&logits, recipe.task)?) {
                ensure!(scores.iter().all(|score| score.is_finite()), "the network gives no number for item {}", items[at].item);
                let bytes = scores.iter().flat_map(|score| score.to_le_bytes()).collect();
                asked.made(at, vec![Made { files: vec![(SCORES.to_owned(), bytes)], ..Made::default() }])?;
            }
        }
        Ok(())
    })
}

fn fits(image: &Grey, height: usize, width: usize, item: &Item) -> Result<()> {
    ensure!(
        (image.height as usize, image.width as usize) == (height, width),
        "item {} has {} x {} pixels (height x width), the model takes {height} x {width}: images.prepare with `size` makes them fit",
        item.item,
        image.height,
        image.width
    );
    Ok(())
}
