//! The work of `classifier.features`: the images that nobody has met this backbone with, batch by batch.

use crate::arrays::Arrays;
use crate::backbones::Backbone;
use crate::items::Asked;
use crate::job::Job;
use crate::layers::global_average;
use crate::network::Mode;
use crate::pretrained::Pretrained;
use crate::weights::variables;
use anyhow::{Context as _, Result, ensure};
use tch::{Device, Kind, Tensor, nn, no_grad};
use tomograph::stage::Made;
use tomograph::stages::classifier_features::{ClassifierFeatures, FEATURES, ROW};

/// Tells of the features of every item asked for.
pub(crate) fn features(params: &ClassifierFeatures, job: &Job, asked: &Asked) -> Result<()> {
    let inputs = job.cx.inputs;
    let arrays = Arrays::open(inputs.one("arrays")?, "arrays", &["train", "validation", "test", "all"])?;
    let backbone = Backbone::named(&params.backbone)?;
    let least = backbone.min_side() as usize;
    let [_, height, width] = arrays.size;
    ensure!(height >= least && width >= least, "the images are {height} × {width} pixels, but {} needs at least {least}", backbone.name);
    let store = nn::VarStore::new(job.device);
    let trunk = backbone.build(&store.root(), None);
    let weights = Pretrained::of(inputs.one("weights")?).and_then(|weights| weights.fill(backbone, false, &variables(&store)));
    weights.context("port `weights`")?;

    let batch = params.batch as usize;
    let places: Vec<usize> = (0..asked.items.len()).collect();
    for places in places.chunks(batch) {
        let row = |place: &usize| asked.items[*place].value(ROW).parse().context("an item without its row");
        let mut rows: Vec<usize> = places.iter().map(row).collect::<Result<_>>()?;
        // Filled up, since what an image gives may depend on how many go with it.
        rows.resize(batch, rows[0]);
        let images = arrays.batch(&rows, params.normalise)?.to_device(job.device);
        let pooled: Tensor = no_grad(|| global_average(&trunk.forward(&backbone.scaling.apply(&images), Mode::Infer)));
        let pooled = pooled.to_device(Device::Cpu).to_kind(Kind::Float).contiguous();
        for (at, place) in places.iter().enumerate() {
            let values = Vec::<f32>::try_from(&pooled.get(at as i64)).context("cannot read the features")?;
            ensure!(values.iter().all(|value| value.is_finite()), "the network gives no number for item {}", asked.items[*place].item);
            let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            asked.made(*place, vec![Made { files: vec![(FEATURES.to_owned(), bytes)], ..Made::default() }])?;
        }
    }
    Ok(())
}
