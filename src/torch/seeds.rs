//! Random numbers that follow from (seed, epoch, step) alone: nothing is carried on, so a resumed training draws the same.

/// A seed for libtorch's generator, from numbers that say what it is for.
pub(crate) fn derive(parts: &[u64]) -> i64 {
    let mut bytes = [0; 8];
    stream(parts).fill(&mut bytes);
    i64::from_le_bytes(bytes) & i64::MAX
}

/// The numbers below `count` in an order that follows from `parts`.
pub(crate) fn shuffled(count: usize, parts: &[u64]) -> Vec<usize> {
    let mut stream = stream(parts);
    let mut order: Vec<usize> = (0..count).collect();
    for last in (1..count).rev() {
        let mut bytes = [0; 8];
        stream.fill(&mut bytes);
        // 64 random bits for at most some millions of rows: what the multiplication favours cannot be measured.
        let pick = (u128::from(u64::from_le_bytes(bytes)) * (last as u128 + 1)) >> 64;
        order.swap(last, pick as usize);
    }
    order
}

/// `count` numbers in [0, 1).
pub(crate) fn uniform(parts: &[u64], count: usize) -> Vec<f64> {
    let mut stream = stream(parts);
    let mut next = || {
        let mut bytes = [0; 8];
        stream.fill(&mut bytes);
        // The 53 bits that a double holds.
        (u64::from_le_bytes(bytes) >> 11) as f64 / (1u64 << 53) as f64
    };
    (0..count).map(|_| next()).collect()
}

/// A number for a name.
pub(crate) fn named(name: &str) -> u64 {
    let digest = blake3::hash(name.as_bytes());
    digest.as_bytes()[..8].iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn stream(parts: &[u64]) -> blake3::OutputReader {
    let mut hasher = blake3::Hasher::new_derive_key("tomograph 2026 random numbers");
    for part in parts {
        hasher.update(&part.to_le_bytes());
    }
    hasher.finalize_xof()
}

/// libtorch's generator is one for the whole process: tests that draw from it hold this.
#[cfg(test)]
pub(crate) fn draw_alone() -> std::sync::MutexGuard<'static, ()> {
    static GENERATOR: std::sync::Mutex<()> = std::sync::Mutex::new(());
    GENERATOR.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shuffle_holds_everybody_once_and_follows_its_seed() {
        let order = shuffled(50, &[1, 2]);
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..50).collect::<Vec<_>>());
        assert_eq!(order, shuffled(50, &[1, 2]));
        assert_ne!(order, shuffled(50, &[1, 3]));
    }
}
