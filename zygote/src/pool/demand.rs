//! How many zygotes are worth keeping warm, learned from the acquires of a pool.
//!
//! *The shadow queue* is what a pool without bounds would have to build just now: each acquire adds
//! one, and the measured build rate μ takes away: `Q ← max(0, Q − μ·Δt) + 1`. An acquire that finds
//! it at `Q` would have been served warm by a pool that keeps `⌈Q⌉`, and not by a smaller one. So
//! the (1 − ε) quantile of the values that it had at acquires is the size that serves all but a
//! share ε of them warm. The values are kept in a histogram in which an acquire counts half after
//! each `half_life`.
//!
//! *Forgetting*: the quantile holds while acquires come, and for `idle` after the latest. Then nothing
//! of it is kept warm; but it is not forgotten, and the next acquire brings all of it back at the
//! speed of builds. So a pool whose users rest between their sessions pays for the sessions, and for
//! `idle` after each; and one whose users never rest for that long is like one of a fixed size.

use super::settings::Pace;
use super::time::Time;
use std::time::Duration;

/// What a build is taken to cost before the first one is measured, in seconds.
const COST_AT_FIRST: f64 = 0.001;

/// The weight of a new measurement of what a build costs.
const COST_GAIN: f64 = 1.0 / 8.0;

/// How many times more or less than before a build is believed to cost: a clock that jumps forward
/// while one is under way says nothing about builds.
const COST_FACTOR_MAX: f64 = 4.0;

#[derive(Debug)]
pub(super) struct Demand {
    shadow: f64,
    latest: Option<Time>,
    /// Seconds; the inverse of μ.
    build_cost: f64,
    measured: bool,
    histogram: Histogram,
}

impl Default for Demand {
    fn default() -> Self {
        Self {
            shadow: 0.0,
            latest: None,
            build_cost: COST_AT_FIRST,
            measured: false,
            histogram: Histogram::default(),
        }
    }
}

impl Demand {
    /// An acquire has come, to a pool that may have up to `max` zygotes.
    pub(super) fn arrived(&mut self, now: Time, pace: &Pace, max: u32) {
        let passed = self.latest.map_or(0.0, |latest| now.since(latest).as_secs_f64());
        let left = (self.shadow - passed / self.build_cost).max(0.0);
        // Beyond `max` there is nothing to be learned, and a long overload would be long remembered.
        self.shadow = (left + 1.0).min(f64::from(max));
        self.latest = Some(now);
        self.histogram.add(self.shadow.ceil() as u32, now, pace.half_life);
    }

    /// A zygote was built, and kept others from being built for so long.
    pub(super) fn built(&mut self, cost: Duration) {
        let cost = cost.as_secs_f64().clamp(1e-6, 60.0);
        if std::mem::replace(&mut self.measured, true) {
            let (least, most) =
                (self.build_cost / COST_FACTOR_MAX, self.build_cost * COST_FACTOR_MAX);
            self.build_cost += COST_GAIN * (cost.clamp(least, most) - self.build_cost);
        } else {
            self.build_cost = cost;
        }
    }

    /// How many zygotes are worth keeping, and until when that holds without another acquire.
    pub(super) fn target(&self, now: Time, pace: &Pace) -> (u32, Option<Time>) {
        match self.latest.map(|latest| latest.after(pace.idle)).filter(|idle_at| now < *idle_at) {
            Some(idle_at) => (self.histogram.quantile(pace.epsilon), Some(idle_at)),
            None => (0, None),
        }
    }

    /// When the latest acquire came.
    pub(super) fn latest(&self) -> Option<Time> {
        self.latest
    }
}

/// Levels below this have a bucket each; the others share one with their neighbours, eight to an
/// octave.
const EXACT: u32 = 32;

/// How often each level occurred, with old occurrences fading.
///
/// The weight of what is added grows instead of all others shrinking, which makes no difference to
/// a quantile; all are scaled down before the numbers get large.
#[derive(Debug, Default)]
struct Histogram {
    buckets: Vec<f64>,
    total: f64,
    /// When what is added weighs one.
    epoch: Time,
}

impl Histogram {
    fn add(&mut self, level: u32, now: Time, half_life: Duration) {
        let mut age = half_lives(now.since(self.epoch), half_life);
        if age > 64.0 {
            let scale = (-age).exp2();
            self.buckets.iter_mut().for_each(|weight| *weight *= scale);
            self.total = self.buckets.iter().sum();
            self.epoch = now;
            age = 0.0;
        }
        let bucket = bucket_of(level);
        if bucket >= self.buckets.len() {
            self.buckets.resize(bucket + 1, 0.0);
        }
        self.buckets[bucket] += age.exp2();
        self.total += age.exp2();
    }

    /// The lowest level that no more than a share `epsilon` of the occurrences exceeded.
    fn quantile(&self, epsilon: f64) -> u32 {
        if epsilon >= 1.0 {
            // Sums of the same in another order differ in their last digits.
            return 0;
        }
        let may_exceed = epsilon * self.total;
        let mut exceed = 0.0;
        for (bucket, weight) in self.buckets.iter().enumerate().rev() {
            exceed += weight;
            if exceed > may_exceed {
                return top_of(bucket);
            }
        }
        0
    }
}

fn half_lives(age: Duration, half_life: Duration) -> f64 {
    age.as_secs_f64() / half_life.as_secs_f64().max(1e-3)
}

fn bucket_of(level: u32) -> usize {
    if level < EXACT {
        return level as usize;
    }
    let octave = level.ilog2() - EXACT.ilog2();
    let eighth = (level >> (level.ilog2() - 3)) & 7;
    (EXACT + 8 * octave + eighth) as usize
}

/// The highest level of a bucket.
fn top_of(bucket: usize) -> u32 {
    let Some(above) = (bucket as u32).checked_sub(EXACT) else { return bucket as u32 };
    let (octave, eighth) = (above / 8, above % 8);
    let width = u64::from(EXACT / 8) << octave;
    u32::try_from(width * u64::from(8 + eighth + 1) - 1).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(milliseconds: u64) -> Time {
        Time(Duration::from_millis(milliseconds))
    }

    #[test]
    fn a_level_is_at_most_an_eighth_below_the_top_of_its_bucket() {
        for level in (0..100_000).chain([u32::MAX - 1, u32::MAX]) {
            let top = top_of(bucket_of(level));
            assert!(top >= level, "{level}: {top}");
            assert!(u64::from(top) * 8 <= u64::from(level) * 9 + 8, "{level}: {top}");
            assert_eq!(bucket_of(top), bucket_of(level), "{level}: {top}");
        }
    }

    #[test]
    fn arrivals_at_once_pile_up_and_builds_take_away() {
        let mut demand = Demand::default();
        let pace = Pace::default();
        for _ in 0..8 {
            demand.arrived(ms(1_000), &pace, 100);
        }
        assert_eq!(demand.target(ms(1_000), &pace).0, 8);
        demand.arrived(ms(1_004), &pace, 100);
        assert!((demand.shadow - 5.0).abs() < 0.01, "{}", demand.shadow);
    }

    #[test]
    fn the_target_leaves_out_the_rarest() {
        let mut demand = Demand::default();
        let pace =
            Pace { epsilon: 0.01, half_life: Duration::from_secs(1_000_000), ..Pace::default() };
        demand.arrived(ms(0), &pace, 100);
        demand.arrived(ms(0), &pace, 100);
        assert_eq!(demand.target(ms(0), &pace).0, 2);
        for nth in 1..=200 {
            demand.arrived(ms(nth * 10), &pace, 100);
        }
        assert_eq!(demand.target(ms(2_000), &pace).0, 1);
    }

    #[test]
    fn where_all_may_be_cold_nothing_is_kept() {
        let mut demand = Demand::default();
        let pace = Pace { epsilon: 1.0, ..Pace::default() };
        for nth in 0..1_000 {
            demand.arrived(ms(nth * nth), &pace, 100);
            assert_eq!(demand.target(ms(nth * nth), &pace).0, 0, "{nth}");
        }
    }

    #[test]
    fn old_acquires_fade_and_nothing_is_kept_while_nobody_asks() {
        let mut demand = Demand::default();
        let (idle, half_life) = (Duration::from_secs(10), Duration::from_secs(10));
        let pace = Pace { idle, half_life, ..Pace::default() };
        assert_eq!(demand.target(ms(0), &pace), (0, None));
        for _ in 0..8 {
            demand.arrived(ms(0), &pace, 100);
        }
        assert_eq!(demand.target(ms(9_999), &pace), (8, Some(ms(10_000))));
        assert_eq!(demand.target(ms(10_000), &pace), (0, None));
        demand.arrived(ms(11_000), &pace, 100);
        assert_eq!(demand.target(ms(11_000), &pace).0, 8, "the first acquire brings it back");
        for nth in 0..20 {
            demand.arrived(ms(1_000_000 + nth * 100), &pace, 100);
        }
        assert_eq!(demand.target(ms(1_002_000), &pace).0, 1, "what was is long forgotten");
    }
}
