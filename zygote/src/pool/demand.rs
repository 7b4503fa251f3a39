//! How many zygotes are worth keeping warm, learned from the acquires of a pool.
//!
//! *The shadow queue* is what a pool without bounds would have to build just now: each acquire adds
//! one, and the measured build rate μ takes away: `Q ← max(0, Q − μ·Δt) + 1`. An acquire that finds
//! it at `Q` would have been served warm by a pool that keeps `⌈Q⌉`, and not by a smaller one. So
//! the (1 − ε) quantile of the values that it had at acquires is the size that serves all but a
//! share ε of them warm.
//!
//! *Grades of activity*: one size for all times is as good as the best fixed one at most. So the
//! values are learned apart by how busy the pool was of late, and each grade has a size of its own:
//! after long silence few acquires come in an hour, and a zygote that waits for them is better kept
//! where many come. What counts is the grade in which the shadow queue began to grow: while it is
//! not empty all builders are busy, and how many zygotes there should have been was decided before.
//!
//! *Forgetting*: an acquire counts half after a `half_life` in which the pool is used; silence
//! beyond `idle` is not counted, so that a night makes nothing forgotten. But after `idle` nothing is
//! kept warm, and the next acquires bring it back at the speed of builds.

mod activity;
mod learned;
mod levels;

use super::settings::Pace;
use super::time::Time;
use activity::{GRADES, RECENT, Span, grade, spans};
use learned::Learned;
use std::time::Duration;

/// What a build is taken to cost before the first one is measured, in seconds.
const COST_AT_FIRST: f64 = 0.001;

/// The weight of a new measurement of what a build costs.
const COST_GAIN: f64 = 1.0 / 8.0;

/// How many times more or less than before a build is believed to cost: a clock that jumps forward
/// while one is under way says nothing about builds.
const COST_FACTOR_MAX: f64 = 4.0;

/// The sizes are worked out anew after as many acquires, and earlier while few have come: it takes
/// some ten microseconds.
const ACQUIRES_BETWEEN: u32 = 64;

#[derive(Debug)]
pub(super) struct Demand {
    shadow: f64,
    /// The grade in which the shadow queue was empty for the last time.
    began: usize,
    latest: Option<Time>,
    /// At the latest acquire, with it.
    recent: f64,
    /// Seconds; the inverse of μ.
    build_cost: f64,
    measured: bool,
    learned: Learned,
    /// What is worth keeping in each grade.
    sizes: [u32; GRADES],
    /// What that means for the time after the latest acquire, if no other comes: sizes, and from when
    /// on they hold.
    plan: Vec<(Time, u32)>,
    /// Acquires so far, up to some number, and those that the sizes don't know of.
    seen: u32,
    unknown: u32,
}

impl Default for Demand {
    fn default() -> Self {
        Self {
            shadow: 0.0,
            began: 0,
            latest: None,
            recent: 0.0,
            build_cost: COST_AT_FIRST,
            measured: false,
            learned: Learned::default(),
            sizes: [0; GRADES],
            plan: Vec::new(),
            seen: 0,
            unknown: 0,
        }
    }
}

impl Demand {
    /// An acquire has come, to a pool that may have up to `max` zygotes. [`Self::conclude`] is next,
    /// unless others have come as well.
    pub(super) fn arrived(&mut self, now: Time, pace: &Pace, max: u32) {
        let silence = self.silence(now);
        self.spend(silence, pace);
        self.shadow = (self.shadow - silence / self.build_cost).max(0.0);
        if self.shadow == 0.0 && self.latest.is_some() {
            self.began = grade(self.recent, silence);
        }
        // Beyond `max` nobody could have helped: there is nothing to be learned, and an overload
        // would be long remembered.
        if self.shadow + 1.0 <= f64::from(max) {
            self.shadow += 1.0;
            self.learned.acquired(self.began, self.shadow.ceil() as u32);
        }
        self.recent = self.recent * (-silence / RECENT).exp() + 1.0;
        self.latest = Some(now);
        self.seen = (self.seen + 1).min(16 * ACQUIRES_BETWEEN);
        self.unknown += 1;
    }

    /// Says what is worth keeping from the latest acquire on.
    pub(super) fn conclude(&mut self, pace: &Pace) {
        if 16 * self.unknown >= self.seen {
            self.sizes = self.learned.sizes(pace.epsilon);
            self.unknown = 0;
        }
        if let Some(latest) = self.latest {
            self.make_plan(latest);
        }
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
        let Some(latest) = self.latest else { return (0, None) };
        let idle_at = latest.after(pace.idle);
        if idle_at <= now {
            return (0, None);
        }
        let passed = self.plan.partition_point(|(from, _)| *from <= now);
        let (past, future) = self.plan.split_at(passed);
        let changes_at = future.first().map_or(idle_at, |(from, _)| idle_at.min(*from));
        (past.last().map_or(0, |(_, size)| *size), Some(changes_at))
    }

    /// How many acquires have come of late: within [`RECENT`], roughly.
    pub(super) fn of_late(&self, now: Time) -> u32 {
        (self.recent * (-self.silence(now) / RECENT).exp()).round() as u32
    }

    /// When the latest acquire came.
    pub(super) fn latest(&self) -> Option<Time> {
        self.latest
    }

    fn silence(&self, now: Time) -> f64 {
        self.latest.map_or(0.0, |latest| now.since(latest).as_secs_f64())
    }

    /// The grades that follow the latest acquire, if no other comes.
    fn spans(&self) -> impl Iterator<Item = Span> + use<> {
        let empty_at = self.shadow * self.build_cost;
        let busy =
            (empty_at > 0.0).then_some(Span { grade: self.began, from: 0.0, until: empty_at });
        busy.into_iter().chain(spans(self.recent, empty_at))
    }

    fn make_plan(&mut self, now: Time) {
        let mut plan = std::mem::take(&mut self.plan);
        plan.clear();
        for Span { grade, from, .. } in self.spans() {
            let size = self.sizes[grade];
            // What cannot be expressed is beyond all time.
            let Ok(silence) = Duration::try_from_secs_f64(from) else { break };
            if plan.last().is_none_or(|(_, before)| *before != size) {
                plan.push((now.after(silence), size));
            }
        }
        self.plan = plan;
    }

    /// A silence of so many seconds is over.
    fn spend(&mut self, silence: f64, pace: &Pace) {
        let used = silence.min(pace.idle.as_secs_f64());
        self.learned.fade(used / pace.half_life.as_secs_f64().max(1e-3));
        for span in self.spans().take_while(|span| span.from < silence) {
            self.learned.spent(Span { until: span.until.min(silence), ..span });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(milliseconds: u64) -> Time {
        Time(Duration::from_millis(milliseconds))
    }

    impl Demand {
        /// One that is learned from at once.
        fn one_arrived(&mut self, now: Time, pace: &Pace, max: u32) {
            self.arrived(now, pace, max);
            self.conclude(pace);
        }
    }

    fn target(demand: &Demand, now: Time) -> u32 {
        demand.target(now, &Pace::default()).0
    }

    #[test]
    fn arrivals_at_once_pile_up_and_builds_take_away() {
        let mut demand = Demand::default();
        let pace = Pace::default();
        for _ in 0..8 {
            demand.one_arrived(ms(1_000), &pace, 100);
        }
        assert_eq!(target(&demand, ms(1_000)), 8);
        demand.one_arrived(ms(1_004), &pace, 100);
        assert!((demand.shadow - 5.0).abs() < 0.01, "{}", demand.shadow);
    }

    #[test]
    fn what_no_pool_could_have_served_teaches_nothing() {
        let mut demand = Demand::default();
        for _ in 0..1_000 {
            demand.one_arrived(ms(1_000), &Pace::default(), 10);
        }
        assert_eq!((target(&demand, ms(1_000)), demand.shadow), (10, 10.0));
    }

    #[test]
    fn the_target_leaves_out_the_rarest() {
        let mut demand = Demand::default();
        let pace = Pace { half_life: Duration::from_secs(1_000_000), ..Pace::default() };
        demand.one_arrived(ms(0), &pace, 100);
        demand.one_arrived(ms(0), &pace, 100);
        assert_eq!(target(&demand, ms(0)), 2);
        for nth in 1..=400 {
            demand.one_arrived(ms(nth * 10), &pace, 100);
        }
        assert_eq!(target(&demand, ms(4_000)), 1);
    }

    #[test]
    fn where_all_may_be_cold_nothing_is_kept() {
        let mut demand = Demand::default();
        let pace = Pace { epsilon: 1.0, ..Pace::default() };
        for nth in 0..1_000 {
            demand.one_arrived(ms(nth * nth), &pace, 100);
            assert_eq!(demand.target(ms(nth * nth), &pace).0, 0, "{nth}");
        }
    }

    /// Bursts of twenty, each a second after the one before, and single acquires each half minute.
    #[test]
    fn each_grade_has_its_own_size() {
        let mut demand = Demand::default();
        let hour = Duration::from_secs(3600);
        let pace = Pace { idle: hour, half_life: hour, ..Pace::default() };
        let mut now_ms = 0;
        for _ in 0..20 {
            for _ in 0..30 {
                now_ms += 1_000;
                for _ in 0..20 {
                    demand.one_arrived(ms(now_ms), &pace, 100);
                }
            }
            for _ in 0..10 {
                now_ms += 30_000;
                demand.one_arrived(ms(now_ms), &pace, 100);
            }
        }
        let (between, _) = demand.target(ms(now_ms + 29_000), &pace);
        now_ms += 1_000;
        for _ in 0..20 {
            demand.one_arrived(ms(now_ms), &pace, 100);
        }
        let (bursting, _) = demand.target(ms(now_ms + 900), &pace);
        assert!(between <= 2 && bursting >= 20, "{between} {bursting}");
    }

    #[test]
    fn a_target_holds_until_it_says_and_no_longer() {
        let mut demand = Demand::default();
        let pace = Pace::default();
        for nth in 0..5_000_u64 {
            demand.one_arrived(ms(nth * nth % 777 + nth * 40), &pace, 100);
        }
        let Some(mut now) = demand.latest() else { panic!("there were acquires") };
        let mut changes = 0;
        while let (size, Some(until)) = demand.target(now, &pace) {
            assert!(now < until);
            let before = Time(until.0.saturating_sub(Duration::from_nanos(1)));
            assert_eq!(demand.target(before, &pace).0, size);
            (now, changes) = (until, changes + 1);
        }
        assert!((1..100).contains(&changes), "{changes}");
        assert_eq!(demand.target(now, &pace), (0, None));
    }

    #[test]
    fn nothing_is_kept_while_nobody_asks_and_a_night_makes_nothing_forgotten() {
        let mut demand = Demand::default();
        let pace = Pace { idle: Duration::from_secs(10), ..Pace::default() };
        assert_eq!(demand.target(ms(0), &pace), (0, None));
        for nth in 0..1_000 {
            demand.one_arrived(ms(nth / 20 * 1_000), &pace, 100);
        }
        let kept = demand.target(ms(49_500), &pace).0;
        assert!(kept >= 20, "{kept}");
        assert_eq!(demand.target(ms(59_000), &pace), (0, None));
        let morning = 12 * 3_600_000;
        for nth in 0..40 {
            demand.one_arrived(ms(morning + nth / 20 * 1_000), &pace, 100);
        }
        assert_eq!(demand.target(ms(morning + 1_500), &pace).0, kept);
    }
}
