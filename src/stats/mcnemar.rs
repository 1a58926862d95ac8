//! Right and wrong decisions of two models on the same rows, all rows being independent: McNemar, Psychometrika 12:153 (1947).

/// The exact two-sided p (Dixon and Mood, JASA 41:557, 1946): where the models are equally good, the first is the one that is right on each
/// of the rows on which just one is, with probability one half; 1 where there is no such row. `first` and `second` are how many rows each
/// alone has right.
pub fn mcnemar(first: u64, second: u64) -> f64 {
    let (few, all) = (first.min(second), first + second);
    // Logarithms, since 2^-n is 0 beyond n = 1074.
    let (mut ways, mut tail) = (-(all as f64) * std::f64::consts::LN_2, 0.0);
    for hits in 0..=few {
        tail += ways.exp();
        ways += ((all - hits) as f64 / (hits + 1) as f64).ln();
    }
    (2.0 * tail).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p_is_the_tail_of_a_fair_coin() {
        let near = |found: f64, wanted: f64| (found - wanted).abs() < 1e-12 * wanted.max(1e-3);
        assert_eq!((mcnemar(0, 0), mcnemar(3, 3)), (1.0, 1.0));
        // 2 (1 + 10) / 2^10.
        assert!(near(mcnemar(1, 9), 22.0 / 1024.0) && near(mcnemar(9, 1), 22.0 / 1024.0));
        assert!(near(mcnemar(0, 5), 2.0 / 32.0));
        let many = mcnemar(1400, 1600);
        assert!((0.0002..0.0004).contains(&many), "{many}");
    }
}
