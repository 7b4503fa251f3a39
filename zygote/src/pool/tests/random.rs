//! Numbers that look random and can be had again from their seed.

use std::time::Duration;

/// SplitMix64 (Steele, Lea and Flood 2014): 64 bits of state, any seed is good.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// At least 0 and less than `bound`.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(super) fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }

    /// Less than that many milliseconds, in microseconds.
    pub(super) fn within_ms(&mut self, bound: u64) -> Duration {
        Duration::from_micros(self.below(bound * 1000))
    }

    pub(super) fn pick<T: Copy>(&mut self, from: &[T]) -> Option<T> {
        let index = self.below(from.len().max(1) as u64);
        from.get(index as usize).copied()
    }
}

/// Runs a test for `ZYG_SIM_SEED` alone, or for the first `ZYG_SIM_SEEDS` seeds.
pub(super) fn for_each_seed(default_seeds: u64, test: impl Fn(u64, Random)) {
    let variable = |name: &str| {
        let value = std::env::var(name).ok()?;
        Some(value.parse::<u64>().unwrap_or_else(|_| panic!("{name}={value} is not a number")))
    };
    let seeds = match variable("ZYG_SIM_SEED") {
        Some(seed) => seed..seed.saturating_add(1),
        None => 0..variable("ZYG_SIM_SEEDS").unwrap_or(default_seeds),
    };
    for seed in seeds {
        let _told = TellSeed(seed);
        test(seed, Random(seed));
    }
}

struct TellSeed(u64);

impl Drop for TellSeed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("failed with seed {0}; to see it again, set ZYG_SIM_SEED={0}", self.0);
        }
    }
}
