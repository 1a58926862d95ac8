//! Random changes of training images, on the device that trains.
//!
//! What becomes of an image follows from (seed, epoch, item) alone: not from its batch, its place in it, or who prepared it.

use crate::seeds::{derive, named, uniform};
use tch::{Device, Kind, Tensor, no_grad};
use tomograph::stages::training::Augment;

/// Changes images `[n, 1, h, w]` of 0 to 255; `items` names each. Seeds libtorch's generator where there is noise.
pub(crate) fn augment(images: &Tensor, items: &[&str], by: &Augment, seed: u64, epoch: u64) -> Tensor {
    tone(&move_about(images, items, by, seed, epoch), items, by, seed, epoch)
}

/// Turns, moves, scales and mirrors images `[n, c, h, w]`, all channels of an image alike: bilinear, and 0 outside.
pub(crate) fn move_about(images: &Tensor, items: &[&str], by: &Augment, seed: u64, epoch: u64) -> Tensor {
    if !by.flip && by.rotate == 0.0 && by.shift == 0.0 && by.scale == 0.0 {
        return images.shallow_clone();
    }
    let size = images.size();
    let side = [size[3] as f64, size[2] as f64];
    let of = |item: &&str| affine(by, &uniform(&[seed, epoch, named(item), 0], 5), side);
    let moves: Vec<f32> = items.iter().flat_map(of).collect();
    no_grad(|| {
        let moves = Tensor::from_slice(&moves).view([items.len() as i64, 2, 3]).to_device(images.device());
        let grid = Tensor::affine_grid_generator(&moves, [size[0], 1, size[2], size[3]], false);
        images.grid_sampler(&grid, 0, 0, false)
    })
}

/// Brightens and darkens images `[n, 1, h, w]` of 0 to 255, and adds noise.
pub(crate) fn tone(images: &Tensor, items: &[&str], by: &Augment, seed: u64, epoch: u64) -> Tensor {
    if by.brightness == 0.0 && by.noise == 0.0 {
        return images.shallow_clone();
    }
    let of = |item: &str, purpose: u64| [seed, epoch, named(item), purpose];
    no_grad(|| {
        let mut images = images.shallow_clone();
        let each = |values: Vec<f32>, device: Device| Tensor::from_slice(&values).view([-1, 1, 1, 1]).to_device(device);
        if by.brightness > 0.0 {
            let shifts = items.iter().map(|item| ((2.0 * uniform(&of(item, 1), 1)[0] - 1.0) * by.brightness * 255.0) as f32);
            images = &images + each(shifts.collect(), images.device());
        }
        if by.noise > 0.0 {
            let (shape, options) = (&images.size()[1..], (Kind::Float, images.device()));
            let noises = items.iter().map(|item| {
                tch::manual_seed(derive(&of(item, 2)));
                Tensor::randn(shape, options)
            });
            images = &images + Tensor::stack(&noises.collect::<Vec<_>>(), 0) * (by.noise * 255.0);
        }
        images.clamp(0.0, 255.0)
    })
}

/// Where each pixel comes from, in the coordinates of `affine_grid` (-1 to 1 along each axis), row by row. `side` is width and height.
fn affine(by: &Augment, numbers: &[f64], side: [f64; 2]) -> [f32; 6] {
    let either = |number: f64, most: f64| (2.0 * number - 1.0) * most;
    let (sine, cosine) = either(numbers[0], by.rotate).to_radians().sin_cos();
    let zoom = 1.0 / (1.0 + either(numbers[1], by.scale));
    let mirror = if by.flip && numbers[4] < 0.5 { -1.0 } else { 1.0 };
    let [right, down] = [either(numbers[2], by.shift) * 2.0, either(numbers[3], by.shift) * 2.0];
    let tall = side[1] / side[0];
    [cosine * zoom * mirror, -sine * zoom * tall, right, sine * zoom * mirror / tall, cosine * zoom, down].map(|x| x as f32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seeds::draw_alone;

    fn images() -> Tensor {
        let values = Tensor::arange(3 * 16 * 12, (Kind::Float, Device::Cpu)).remainder(200.0) + 20.0;
        values.view([3, 1, 16, 12])
    }

    fn everything() -> Augment {
        Augment { flip: true, rotate: 10.0, shift: 0.1, scale: 0.1, brightness: 0.2, noise: 0.05 }
    }

    #[test]
    fn an_image_becomes_the_same_in_any_batch_and_another_in_another_epoch() {
        let _alone = draw_alone();
        let (images, by) = (images(), everything());
        let whole = augment(&images, &["a", "b", "c"], &by, 1, 5);
        let turned = augment(&images.flip([0]), &["c", "b", "a"], &by, 1, 5).flip([0]);
        let alone = augment(&images.narrow(0, 1, 1), &["b"], &by, 1, 5);
        assert!(whole == turned && whole.narrow(0, 1, 1) == alone);
        assert!(whole != augment(&images, &["a", "b", "c"], &by, 1, 6) && whole != augment(&images, &["a", "b", "c"], &by, 2, 5));
        assert!(whole.min().double_value(&[]) >= 0.0 && whole.max().double_value(&[]) <= 255.0);
        assert!(augment(&images, &["a", "b", "c"], &Augment::default(), 1, 5) == images);
    }

    #[test]
    fn each_change_does_what_it_says() {
        let _alone = draw_alone();
        let images = images();
        // Some of sixteen epochs mirror; nothing else happens.
        let by = Augment { flip: true, ..Augment::default() };
        let near = |a: &Tensor, b: &Tensor| (a - b).abs().max().double_value(&[]) < 1e-2;
        let found: Vec<Tensor> = (0..16).map(|epoch| augment(&images.narrow(0, 0, 1), &["a"], &by, 1, epoch)).collect();
        let mirrored = images.narrow(0, 0, 1).flip([3]);
        let count = found.iter().filter(|one| near(one, &mirrored)).count();
        assert!((2..15).contains(&count) && found.iter().all(|one| near(one, &mirrored) || near(one, &images.narrow(0, 0, 1))));
        // A quarter turn of a square keeps every value.
        let turn = affine(&Augment { rotate: 90.0, ..Augment::default() }, &[1.0, 0.5, 0.5, 0.5, 0.9], [8.0, 8.0]);
        assert_eq!(turn.map(f32::round), [0.0, -1.0, 0.0, 1.0, 0.0, 0.0]);
        let brighter = augment(&images, &["a", "b", "c"], &Augment { brightness: 0.05, ..Augment::default() }, 1, 1);
        let moved = Vec::<f64>::try_from(&(&brighter - &images).view(-1).to_kind(Kind::Double)).unwrap();
        assert!(moved.iter().all(|by| by.abs() <= 0.05 * 255.0 + 1e-3) && moved.iter().any(|by| by.abs() > 0.1));
    }
}
