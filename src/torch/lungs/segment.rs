//! The work of `lungs.segment`: masks of the images that nobody has shown to this network, batch by batch.
//!
//! On a GPU images are decoded ahead and masks finished behind on other threads, so that the network does not wait for either.

use super::model::Unet;
use super::pairs::input;
use crate::feed::Feed;
use crate::items::Asked;
use crate::job::Job;
use anyhow::{Context as _, Result, ensure};
use rayon::prelude::*;
use std::sync::mpsc::{channel, sync_channel};
use std::time::{Duration, Instant};
use tch::Tensor;
use tomograph::image::{Filter, Grey, Mask, Unusable, resize};
use tomograph::stage::{Item, Made, Note};
use tomograph::stages::lungs_segment::LungsSegment;

/// Batches that wait for their masks at most.
const WAITING: usize = 2;
/// A confidence below this is flagged.
const SURE: f64 = 0.8;
/// A second part with less than this share of the first one's pixels is no lung.
const SECOND: f64 = 0.1;

/// An image on its way through the network.
struct Shown {
    at: usize,
    /// Width and height in pixels.
    size: (u32, u32),
    /// As the network takes it, 0 to 65535, `side * side`.
    pixels: Vec<u16>,
}

/// Images of a step, and those that are none.
struct Batch {
    shown: Vec<Shown>,
    bad: Vec<(usize, Unusable)>,
}

/// Tells of the mask of every item asked for.
pub(crate) fn segment(params: &LungsSegment, job: &Job, asked: &Asked) -> Result<()> {
    let unet = Unet::load(job.cx.inputs.one("model")?, job.device).context("port `model`")?;
    let (side, size) = (unet.recipe.side, params.batch as usize);
    let items = asked.items;
    let pool = rayon::ThreadPoolBuilder::new().num_threads(job.cx.threads).build().context("cannot start threads")?;
    let read = |from: usize| pool.install(|| read(items, from..items.len().min(from + size), side));
    let finish = |(shown, shares): (Vec<Shown>, Vec<f32>)| -> Result<Vec<(usize, Made)>> {
        let finish = |(one, shares): (&Shown, &[f32])| {
            let made = finish(params, items, one, shares, side).with_context(|| format!("item {}", items[one.at].item))?;
            Ok((one.at, made))
        };
        pool.install(|| shown.par_iter().zip(shares.par_chunks((side * side) as usize)).map(finish).collect())
    };
    let tell = |made: Vec<(usize, Made)>| made.into_iter().try_for_each(|(at, made)| asked.made(at, vec![made]));
    let mut busy = Duration::ZERO;
    let mut look = |batch: Batch| -> Result<Option<(Vec<Shown>, Vec<f32>)>> {
        for (at, bad) in batch.bad {
            asked.aside(at, bad.class, bad.reason);
        }
        if batch.shown.is_empty() {
            return Ok(None);
        }
        let begun = Instant::now();
        let shares = Vec::<f32>::try_from(&unet.shares(&images(&batch.shown, side, size)).view(-1))?;
        busy += begun.elapsed();
        ensure!(shares.iter().all(|share| share.is_finite()), "the network gives no number for an image: train it again");
        Ok(Some((batch.shown, shares)))
    };

    let begun = Instant::now();
    let starts = (0..items.len()).step_by(size);
    if job.device.is_cuda() {
        beside(starts.collect(), &read, &mut look, &finish, &tell)?;
    } else {
        // The network wants every processor: what went on beside it would hold up all of its threads, so each has its turn.
        for from in starts {
            look(read(from)?)?.map(&finish).transpose()?.map(tell).transpose()?;
        }
    }
    let seconds = begun.elapsed().as_secs_f64().max(1e-9);
    let (rate, share) = (items.len() as f64 / seconds, 100.0 * busy.as_secs_f64() / seconds);
    (job.cx.note)(Note::Log(format!("{rate:.2} images/s in {seconds:.2} s, {share:.2} % of it in the network")));
    Ok(())
}

/// What comes out of the network, and what becomes of it.
type Look<'a> = &'a mut dyn FnMut(Batch) -> Result<Option<(Vec<Shown>, Vec<f32>)>>;
type Finish<'a> = &'a (dyn Fn((Vec<Shown>, Vec<f32>)) -> Result<Vec<(usize, Made)>> + Sync);

/// Reads ahead of the network, and finishes masks behind it.
fn beside(
    starts: Vec<usize>,
    read: &(dyn Fn(usize) -> Result<Batch> + Sync),
    look: Look,
    finish: Finish,
    tell: &dyn Fn(Vec<(usize, Made)>) -> Result<()>,
) -> Result<()> {
    std::thread::scope(|scope| {
        let (give, take) = sync_channel(WAITING);
        let (done, ready) = channel();
        scope.spawn(move || {
            for batch in take {
                if done.send(finish(batch)).is_err() {
                    return;
                }
            }
        });
        let feed = Feed { job: &|number| starts.get(number as usize).copied(), prepare: read, threads: 1 };
        feed.run(0, |ahead| {
            for _ in &starts {
                if let Some(seen) = look(ahead.next()?)? {
                    give.send(seen).context("the thread that finishes masks has ended")?;
                }
                ready.try_iter().try_for_each(|made| tell(made?))?;
            }
            drop(give);
            ready.iter().try_for_each(|made| tell(made?))
        })
    })
}

fn read(items: &[Item], places: std::ops::Range<usize>, side: u32) -> Result<Batch> {
    let mut batch = Batch { shown: Vec::new(), bad: Vec::new() };
    let one = |at: usize| -> Result<Result<Shown, (usize, Unusable)>> {
        let image = match Grey::decode(&items[at].read("images")?) {
            Ok(image) => image,
            Err(bad) => return Ok(Err((at, bad))),
        };
        let size = (image.width, image.height);
        let pixels = input(&image.into_deep(), side).with_context(|| format!("item {}", items[at].item))?;
        Ok(Ok(Shown { at, size, pixels }))
    };
    let all: Vec<_> = places.into_par_iter().map(one).collect::<Result<_>>()?;
    for one in all {
        match one {
            Ok(shown) => batch.shown.push(shown),
            Err(bad) => batch.bad.push(bad),
        }
    }
    Ok(batch)
}

/// `[size, 1, side, side]` float32 of 0 to 255; filled up, since what an image gives may depend on how many go with it.
fn images(shown: &[Shown], side: u32, size: usize) -> Tensor {
    let filled = (0..size).map(|at| shown.get(at).unwrap_or(&shown[0]));
    let values: Vec<f32> = filled.flat_map(|one| &one.pixels).map(|value| f32::from(*value) / 257.0).collect();
    Tensor::from_slice(&values).view([size as i64, 1, i64::from(side), i64::from(side)])
}

fn finish(params: &LungsSegment, items: &[Item], one: &Shown, shares: &[f32], side: u32) -> Result<Made> {
    let found = find(params, shares, side, one.size)?;
    let path = format!("{}.png", items[one.at].file("images")?.file.digest);
    let row = [
        ("file", path.clone()),
        ("width", one.size.0.to_string()),
        ("height", one.size.1.to_string()),
        ("confidence", found.confidence.map_or_else(String::new, |value| format!("{value:.4}"))),
        ("area", format!("{:.4}", found.mask.share())),
        ("components", found.parts.to_string()),
        ("flags", found.flags.join(",")),
    ];
    let row = row.map(|(column, value)| (column.to_owned(), value)).to_vec();
    Ok(Made { row, files: vec![(path, found.mask.encode_png()?)], ..Made::default() })
}

/// The lungs of an image.
struct Found {
    mask: Mask,
    /// 0 to 1; none for an empty mask.
    confidence: Option<f64>,
    /// Connected parts.
    parts: usize,
    flags: Vec<&'static str>,
}

/// The mask of `width` × `height` pixels that follows from probabilities of `side` × `side`.
fn find(params: &LungsSegment, shares: &[f32], side: u32, (width, height): (u32, u32)) -> Result<Found> {
    let pixels = shares.iter().map(|share| (share * 65_535.0).round() as u16).collect();
    let shares = resize(&Grey { width: side, height: side, depth: 16, pixels }, width, height, Filter::Bilinear)?;
    let least = (params.threshold * 65_535.0).ceil() as u16;
    let mut mask = Mask { width, height, inside: shares.pixels.iter().map(|share| *share >= least).collect() };
    let sum: f64 = shares.pixels.iter().filter(|share| **share >= least).map(|share| f64::from(*share) / 65_535.0).sum();
    let confidence = (mask.count() > 0).then(|| sum / mask.count() as f64);
    if params.components > 0 {
        mask = mask.largest(params.components as usize);
    }
    if params.fill_holes {
        mask = mask.filled();
    }
    let parts = mask.region_sizes();
    let two = parts.len() == 2 && parts[1] as f64 >= SECOND * parts[0] as f64;
    let share = mask.share();
    let checks = [
        ("empty", parts.is_empty()),
        ("lungs", !two && !parts.is_empty()),
        ("small", share < params.area[0]),
        ("large", share > params.area[1]),
        ("border", mask.touches_border()),
        ("unsure", confidence.is_some_and(|value| value < SURE)),
    ];
    let flags = checks.into_iter().filter(|(_, odd)| *odd).map(|(flag, _)| flag).collect();
    Ok(Found { parts: parts.len(), mask, confidence, flags })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `#` is sure lung, `+` lung, `-` rather not, a dot none.
    fn found(rows: &[&str], params: &str, size: (u32, u32)) -> Found {
        let share = |one: char| match one {
            '#' => 1.0,
            '+' => 0.6,
            '-' => 0.4,
            _ => 0.0,
        };
        let shares: Vec<f32> = rows.iter().flat_map(|row| row.chars().map(share)).collect();
        find(&serde_json::from_str(params).unwrap(), &shares, rows.len() as u32, size).unwrap()
    }

    const TWO: [&str; 8] = ["........", ".##..##.", ".##..#-.", ".##..##.", ".##..##.", ".##..##.", "........", "+......."];

    #[test]
    fn two_lungs_are_kept_without_specks_and_holes() {
        let two = found(&TWO, "{}", (8, 8));
        assert_eq!((two.mask.count(), two.parts, two.flags), (19, 2, vec![]));
        assert!((two.confidence.unwrap() - 19.6 / 20.0).abs() < 1e-4);
        let all = found(&TWO, r#"{"components": 0, "threshold": 0.3}"#, (8, 8));
        assert_eq!((all.mask.count(), all.parts, all.flags), (21, 3, vec!["lungs", "border"]));
        let ring = ["........", ".###....", ".#.#....", ".###....", "........", "........", "........", "........"];
        assert_eq!((found(&ring, "{}", (8, 8)).mask.count(), found(&ring, r#"{"fill_holes": false}"#, (8, 8)).mask.count()), (9, 8));
        let large = found(&TWO, "{}", (16, 24)).mask;
        assert!((large.width, large.height) == (16, 24) && (17 * 6..21 * 6).contains(&large.count()), "{}", large.count());
    }

    /// The way of a GPU, with a network that takes what it gets.
    #[test]
    fn beside_the_network_batches_keep_their_order_and_errors_end_it() {
        let batch = |from: usize| Batch { shown: vec![Shown { at: from, size: (1, 1), pixels: Vec::new() }], bad: Vec::new() };
        let run = |broken: usize| {
            let told = std::cell::RefCell::new(Vec::new());
            let mut look = |batch: Batch| Ok((batch.shown[0].at % 3 != 1).then_some((batch.shown, Vec::new())));
            let finish = |(shown, _): (Vec<Shown>, Vec<f32>)| {
                ensure!(shown[0].at != broken, "broken");
                Ok(vec![(shown[0].at, Made::default())])
            };
            let tell = |made: Vec<(usize, Made)>| {
                told.borrow_mut().push(made[0].0);
                Ok(())
            };
            let end = beside((0..9).collect(), &|from| Ok(batch(from)), &mut look, &finish, &tell);
            (end.is_ok(), told.into_inner())
        };
        assert_eq!(run(9), (true, vec![0, 2, 3, 5, 6, 8]));
        assert!(!run(5).0);
    }

    #[test]
    fn what_is_odd_is_flagged() {
        let flags = |rows: &[&str]| found(rows, "{}", (rows.len() as u32, rows.len() as u32)).flags;
        assert_eq!(flags(&["...."; 4]), ["empty", "small"]);
        assert_eq!(flags(&["####"; 4]), ["lungs", "large", "border"]);
        assert_eq!(flags(&["......", ".+..+.", ".+..+.", ".+..+.", ".+..+.", "......"]), ["unsure"]);
        assert!(found(&["...."; 4], "{}", (4, 4)).confidence.is_none());
    }
}
