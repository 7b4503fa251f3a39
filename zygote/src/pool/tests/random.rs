//! Numbers that look random and can be had again from their seed.

use std::num::NonZero;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
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
pub(super) fn for_each_seed(default_seeds: u64, test: impl Fn(u64, Random) + Sync) {
    let variable = |name: &str| {
        let value = std::env::var(name).ok()?;
        Some(value.parse::<u64>().unwrap_or_else(|_| panic!("{name}={value} is not a number")))
    };
    let seeds = match variable("ZYG_SIM_SEED") {
        Some(seed) => seed..seed.saturating_add(1),
        None => 0..variable("ZYG_SIM_SEEDS").unwrap_or(default_seeds),
    };
    for_each(seeds, "seed; to see it again, set ZYG_SIM_SEED", |seed| test(seed, Random(seed)));
}

/// Runs a test for each number, on all CPUs. The first failure ends it, with `what` and the number.
pub(super) fn for_each(numbers: Range<u64>, what: &str, test: impl Fn(u64) + Sync) {
    let next = AtomicU64::new(numbers.start);
    let work = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= numbers.end {
                return;
            }
            let _stop = StopAtFailure { number, what, next: &next, end: numbers.end };
            test(number);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, NonZero::get) {
            scope.spawn(work);
        }
    });
}

struct StopAtFailure<'a> {
    number: u64,
    what: &'a str,
    next: &'a AtomicU64,
    end: u64,
}

impl Drop for StopAtFailure<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("failed with {}={}", self.what, self.number);
            self.next.store(self.end, Ordering::Relaxed);
        }
    }
}
