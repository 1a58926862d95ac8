//! How far probabilities of lung are from a mask. Tensors are `[n, 1, h, w]`, masks 0 or 1.

use tch::{Kind, Reduction, Tensor};
use tomograph::stages::lungs_train::Loss;

/// Added to both sides of the soft Dice, so that an empty mask has a gradient (the authors' `smooth`).
const SMOOTH: f64 = 1.0;

/// The mean loss of a batch.
pub(crate) fn loss(which: Loss, logits: &Tensor, masks: &Tensor) -> Tensor {
    let dice = || 1.0 - soft_dice(&logits.sigmoid(), masks).mean(Kind::Float);
    let bce = || logits.binary_cross_entropy_with_logits::<Tensor>(masks, None, None, Reduction::Mean);
    match which {
        Loss::Dice => dice(),
        Loss::Bce => bce(),
        Loss::BceDice => bce() + dice(),
    }
}

/// The Dice of each image over probabilities, `[n]`.
pub(crate) fn soft_dice(shares: &Tensor, masks: &Tensor) -> Tensor {
    let sum = |xs: Tensor| xs.sum_dim_intlist([1i64, 2, 3].as_slice(), false, Kind::Float);
    let both = sum(shares * masks);
    (both * 2.0 + SMOOTH) / (sum(shares.shallow_clone()) + sum(masks.shallow_clone()) + SMOOTH)
}

/// The Dice of each image over pixels that are more likely lung than not, `[n]`; 1 where neither has any lung.
pub(crate) fn hard_dice(logits: &Tensor, masks: &Tensor) -> Tensor {
    let decided = logits.gt(0.0).to_kind(Kind::Float);
    let sum = |xs: &Tensor| xs.sum_dim_intlist([1i64, 2, 3].as_slice(), false, Kind::Float);
    let (both, all) = (sum(&(&decided * masks)), sum(&decided) + sum(masks));
    (both * 2.0 / all.clamp_min(1.0)).where_self(&all.gt(0.0), &Tensor::ones_like(&all))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn maps(rows: [[f32; 4]; 3]) -> Tensor {
        Tensor::from_slice(&rows.concat()).view([3, 1, 2, 2])
    }

    #[test]
    fn dice_is_counted_by_image() {
        let masks = maps([[1.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0], [0.0; 4]]);
        let logits = maps([[9.0, -9.0, 9.0, -9.0], [9.0, -9.0, -9.0, -9.0], [-9.0; 4]]);
        assert_eq!(Vec::<f32>::try_from(&hard_dice(&logits, &masks)).unwrap(), [0.5, 1.0, 1.0]);
        let soft = Vec::<f32>::try_from(&soft_dice(&logits.sigmoid(), &masks)).unwrap();
        // (2 · 1 + 1) / (2 + 2 + 1), (2 + 1) / (1 + 1 + 1), 1 / 1.
        assert!(soft.iter().zip([0.6f32, 1.0, 1.0]).all(|(a, b)| (a - b).abs() < 2e-3), "{soft:?}");
        let (dice, bce) = (loss(Loss::Dice, &logits, &masks).double_value(&[]), loss(Loss::Bce, &logits, &masks).double_value(&[]));
        assert!((loss(Loss::BceDice, &logits, &masks).double_value(&[]) - dice - bce).abs() < 1e-6);
    }
}
