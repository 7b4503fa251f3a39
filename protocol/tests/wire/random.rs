//! Numbers that look random and are the same for the same seed.

/// A seed for this run: `ZYG_TEST_SEED` if set, else of the moment.
pub fn seed() -> u64 {
    match std::env::var("ZYG_TEST_SEED") {
        Ok(seed) => seed.parse().expect("ZYG_TEST_SEED is a number"),
        Err(_) => std::time::UNIX_EPOCH
            .elapsed()
            .map_or(1, |since| since.as_secs() ^ u64::from(since.subsec_nanos()) << 20),
    }
}

/// `SplitMix64`: its state may be anything, zero too.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).expect("below a usize")
    }

    pub fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }
}
