//! `tomograph-torch features`: pooled features of images, or the classes of ImageNet, from a Keras weights file.

use crate::arrays::rgb;
use crate::backbones::Backbone;
use crate::job::device;
use crate::layers::global_average;
use crate::network::{Mode, Network};
use crate::pretrained::Pretrained;
use crate::weights::variables;
use anyhow::{Context as _, Result, ensure};
use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use std::fs::{File, Permissions};
use std::io::{BufWriter, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use tch::{Kind, Tensor, nn, no_grad};
use tomograph::mapped::Mapped;

/// Images per step.
const BATCH: i64 = 32;

/// What to compute.
#[derive(clap::Args)]
pub(crate) struct Features {
    /// Network, such as mobilenet
    backbone: String,
    /// Its weights: Keras HDF5, .keras, .safetensors, or a folder with an exported model
    #[arg(long)]
    weights: PathBuf,
    /// X.npy of [n, h, w, 3] RGB 0 to 255 (uint8 or float32), or one image, which is resized to the network's side
    #[arg(long)]
    input: PathBuf,
    /// Where to write the float32 array [n, features], or [n, 1000] with --top
    #[arg(long)]
    output: PathBuf,
    /// Give the probabilities of the ImageNet classes; the weights file must have its top
    #[arg(long)]
    top: bool,
    /// cpu, or cuda:0
    #[arg(long, default_value = "cpu")]
    device: String,
}

/// Computes and writes the array; of a single image with `--top`, also prints its five likeliest classes.
pub(crate) fn features(args: &Features) -> Result<()> {
    let device = device(&args.device)?;
    let backbone = Backbone::named(&args.backbone)?;
    let single = args.input.extension().is_none_or(|extension| extension != "npy");
    let images = read(&args.input, single, backbone.default_side).with_context(|| format!("cannot read {}", args.input.display()))?;
    let (size, least) = (images.size(), i64::from(backbone.min_side()));
    ensure!(
        size[2] >= least && size[3] >= least,
        "the images are {} × {} pixels, but {} needs at least {least}",
        size[2],
        size[3],
        backbone.name
    );

    let store = nn::VarStore::new(device);
    let network = Network::new(&store.root(), backbone.graph(args.top), None);
    let weights = Pretrained::open(&args.weights).and_then(|weights| weights.fill(backbone, args.top, &variables(&store)));
    weights.with_context(|| args.weights.display().to_string())?;

    let mut parts = Vec::new();
    for from in (0..size[0]).step_by(BATCH as usize) {
        let images = images.narrow(0, from, BATCH.min(size[0] - from)).to_device(device);
        let found = no_grad(|| network.forward(&backbone.scaling.apply(&images), Mode::Infer));
        parts.push(if args.top { found.softmax(-1, Kind::Float) } else { global_average(&found) });
    }
    ensure!(!parts.is_empty(), "there are no images in {}", args.input.display());
    let found = Tensor::cat(&parts, 0);
    write(&args.output, &found).with_context(|| format!("cannot write {}", args.output.display()))?;
    if single && args.top {
        say_likeliest(&found)?;
    }
    Ok(())
}

fn read(path: &Path, single: bool, side: u32) -> Result<Tensor> {
    if !single {
        ensure!(path.metadata()?.len() > 0, "the file is empty");
        return rgb(&Mapped::open(path)?);
    }
    let image = image::ImageReader::open(path)?.with_guessed_format()?.decode()?.into_rgb8();
    let image = ImageRef::new(image.width(), image.height(), image.as_raw(), PixelType::U8x3)?;
    // As Pillow does it: a kernel as wide as the step, first across, then down, whole numbers in between.
    let bilinear = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
    let mut across = Image::new(side, image.height(), PixelType::U8x3);
    Resizer::new().resize(&image, &mut across, &bilinear)?;
    let mut small = Image::new(side, side, PixelType::U8x3);
    Resizer::new().resize(&across, &mut small, &bilinear)?;
    let side = i64::from(side);
    Ok(Tensor::from_slice(small.buffer()).view([1, side, side, 3]).permute([0, 3, 1, 2]).to_kind(Kind::Float))
}

fn write(path: &Path, values: &Tensor) -> Result<()> {
    let size = values.size();
    let flat = values.to_device(tch::Device::Cpu).contiguous().view(-1);
    let array = ndarray::Array2::from_shape_vec((size[0] as usize, size[1] as usize), Vec::<f32>::try_from(&flat)?)?;
    whole(path, |file| Ok(ndarray_npy::WriteNpyExt::write_npy(&array, file)?))
}

/// Writes a file whole or not at all: beside its place, then renamed. Readable as the user's other files are.
pub(crate) fn whole(path: &Path, write: impl FnOnce(&mut BufWriter<&File>) -> Result<()>) -> Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let beside = tempfile::Builder::new().prefix(".tomograph-").permissions(Permissions::from_mode(0o666)).tempfile_in(folder)?;
    let mut file = BufWriter::new(beside.as_file());
    write(&mut file)?;
    file.flush()?;
    drop(file);
    beside.persist(path)?;
    Ok(())
}

/// Class index and probability, a line each.
fn say_likeliest(found: &Tensor) -> Result<()> {
    let (shares, classes) = found.view(-1).topk(5, 0, true, true);
    let (shares, classes) = (Vec::<f32>::try_from(&shares)?, Vec::<i64>::try_from(&classes)?);
    let mut out = std::io::stdout().lock();
    for (class, share) in classes.iter().zip(shares) {
        writeln!(out, "{class}\t{share:.3}")?;
    }
    Ok(())
}
