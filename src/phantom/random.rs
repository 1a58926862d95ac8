//! Numbers that look random and are the same on every machine: a counter, mixed. No clock, no global state.

/// A stream of numbers that follows from its seed alone (SplitMix64).
#[derive(Clone, Debug)]
pub(super) struct Stream(u64);

impl Stream {
    /// The stream that belongs to these words: other words, another stream.
    pub(super) fn of(words: &[u64]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("tomograph phantom 1");
        for word in words {
            hasher.update(&word.to_le_bytes());
        }
        let mut seed = [0; 8];
        hasher.finalize_xof().fill(&mut seed);
        Self(u64::from_le_bytes(seed))
    }

    /// 64 bits.
    pub(super) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 up to 1, without 1.
    pub(super) fn share(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A number from `low` up to `high`.
    pub(super) fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.share()
    }

    /// A whole number from 0 up to `count`, without `count`; 0 where `count` is 0.
    pub(super) fn below(&mut self, count: u64) -> u64 {
        self.bits() % count.max(1)
    }

    /// One of these.
    pub(super) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }

    /// True with this probability.
    pub(super) fn chance(&mut self, probability: f64) -> bool {
        self.share() < probability
    }

    /// A number around 0 with a standard deviation of 1: twelve uniform ones, so that no libm is asked.
    pub(super) fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.share()).sum::<f64>() - 6.0
    }
}
