//! What dropout keeps, drawn on the CPU.
//!
//! libtorch draws on one thread there, some 9 ns a number: an eighth of a U-Net's step. Here each thread draws its own stretch, a twentieth of
//! that, and what is drawn does not depend on how many there are.

use tch::{Device, Kind, Tensor, no_grad};

/// Draws that a word of 64 bits gives.
const DRAWS: usize = 4;

/// Fewer numbers than this are not worth another thread.
const LEAST: usize = 1 << 16;

/// Factors of `xs` in single precision, of its size and laid like it: 0 for a share of `rate`, to the 65536th, and 1 / (1 - rate) for the
/// others. Seeded from libtorch's generator, which moves on by one number.
pub(crate) fn kept(xs: &Tensor, rate: f64) -> Tensor {
    let size = xs.size();
    let count = size.iter().product::<i64>() as usize;
    let seed = no_grad(|| Tensor::empty([1i64], (Kind::Int64, Device::Cpu)).random_().int64_value(&[0]));
    let threads = usize::try_from(tch::get_num_threads()).unwrap_or(1).clamp(1, count.div_ceil(LEAST).max(1));
    let mut factors = vec![0f32; count];
    let stretch = count.div_ceil(threads).next_multiple_of(DRAWS).max(DRAWS);
    std::thread::scope(|scope| {
        let mut stretches = factors.chunks_mut(stretch).enumerate();
        let first = stretches.next();
        for (number, factors) in stretches {
            scope.spawn(move || draw(factors, seed as u64, (number * stretch / DRAWS) as u64, rate));
        }
        if let Some((_, factors)) = first {
            draw(factors, seed as u64, 0, rate);
        }
    });
    let factors = Tensor::from_slice(&factors);
    match size[..] {
        [n, c, h, w] if !xs.is_contiguous() => factors.view([n, h, w, c]).permute([0, 3, 1, 2]),
        _ => factors.view(&size[..]),
    }
}

/// Fills a stretch that begins with the word `from` of the stream of `seed`.
fn draw(factors: &mut [f32], seed: u64, from: u64, rate: f64) {
    let (least, factor) = ((rate * 65536.0).round() as u32, (1.0 / (1.0 - rate)) as f32);
    for (at, factors) in (from..).zip(factors.chunks_mut(DRAWS)) {
        let word = word(seed, at);
        for (place, kept) in factors.iter_mut().enumerate() {
            *kept = if u32::from((word >> (16 * place)) as u16) >= least { factor } else { 0.0 };
        }
    }
}

/// SplitMix64 (Steele, Lea and Flood, 2014, doi:10.1145/2660193.2660195): the word `at` of a stream.
fn word(seed: u64, at: u64) -> u64 {
    let state = seed.wrapping_add(at.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seeds::draw_alone;

    fn drawn(seed: i64, size: &[i64], rate: f64) -> Vec<f32> {
        tch::manual_seed(seed);
        Vec::try_from(&kept(&Tensor::zeros(size, (Kind::Float, Device::Cpu)), rate).view(-1)).unwrap()
    }

    #[test]
    fn words_are_those_of_the_published_generator() {
        // The first three of Vigna's splitmix64.c from the state 1234567.
        let found = [0, 1, 2].map(|at| word(1_234_567, at));
        assert_eq!(found, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn a_share_is_dropped_the_rest_made_up_for_and_threads_change_nothing() {
        let _alone = draw_alone();
        let (size, rate) = ([3, 5, 97, 191], 0.3);
        tch::set_num_threads(1);
        let one = drawn(7, &size, rate);
        for threads in [2, 3, 5] {
            tch::set_num_threads(threads);
            assert!(drawn(7, &size, rate) == one, "{threads} threads");
        }
        tch::set_num_threads(1);
        assert!(one != drawn(8, &size, rate));
        let dropped = one.iter().filter(|factor| **factor == 0.0).count() as f64 / one.len() as f64;
        assert!((dropped - rate).abs() < 4.0 * (rate * (1.0 - rate) / one.len() as f64).sqrt(), "{dropped}");
        assert!(one.iter().all(|factor| *factor == 0.0 || *factor == (1.0 / 0.7f64) as f32));
        // Neither an image nor a channel has the draws of another.
        let (first, second) = one.split_at(one.len() / 3);
        assert!(first != &second[..first.len()]);
        let agree = one.windows(2).filter(|pair| pair[0] == pair[1]).count() as f64 / one.len() as f64;
        assert!((agree - 0.58).abs() < 0.005, "{agree}");
        assert!(drawn(1, &[1, 1, 1, 3], 0.0) == [1.0; 3] && drawn(1, &[2, 3], 0.0) == [1.0; 6]);
    }

    #[test]
    fn factors_lie_as_what_they_are_for() {
        let _alone = draw_alone();
        let first = Tensor::zeros([2, 3, 4, 5], (Kind::Float, Device::Cpu));
        let last = crate::pixels::channels_last(&first);
        assert_eq!([&first, &last].map(|xs| kept(xs, 0.5).stride()), [first.stride(), last.stride()]);
    }
}
