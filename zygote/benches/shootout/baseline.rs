//! The policies that ours is compared with, on one base: whoever waits has a zygote built for it, the
//! first to wait is served first, the last zygote that was built is granted first. They differ in
//! their [`Rule`]: how many are kept idle besides.
//!
//! That base is kinder than some of the originals: Apache leaves a request in the backlog until its
//! next second.

use crate::contestant::{Contestant, Fact, Micros, Order, SECOND, Waiter, Zygote};
use crate::host::{BUILD_MEAN, ZYGOTES_MAX};
use std::collections::VecDeque;

/// How many zygotes are kept for those who will come.
pub trait Rule {
    /// Takes note of an arrival.
    fn arrived(&mut self, _now: Micros) {}

    /// After each event: how many more of them there should be, given how many are idle, that is
    /// warm or on their way and not waited for. Negative for fewer.
    fn change(&mut self, now: Micros, idle: i64) -> i64;

    /// When [`Self::change`] may change by itself.
    fn next_deadline(&self) -> Option<Micros> {
        None
    }
}

/// A policy of a rule.
#[derive(Debug, Default)]
pub struct Baseline<R> {
    rule: R,
    warm: Vec<Zygote>,
    waiters: VecDeque<Waiter>,
    spawning: usize,
    /// From the order to build them until they are gone.
    exist: usize,
    named: Zygote,
}

impl<R: Rule + Default> Baseline<R> {
    /// An empty pool.
    #[must_use]
    pub fn new(rule: R) -> Self {
        Self { rule, ..Self::default() }
    }
}

impl<R: Rule> Baseline<R> {
    fn spawn(&mut self, orders: &mut Vec<Order>) {
        if self.exist < ZYGOTES_MAX {
            self.named += 1;
            self.exist += 1;
            self.spawning += 1;
            orders.push(Order::Spawn(self.named));
        }
    }
}

impl<R: Rule> Contestant for Baseline<R> {
    fn tell(&mut self, now: Micros, fact: Fact, orders: &mut Vec<Order>) {
        match fact {
            Fact::Arrived(waiter) => {
                self.waiters.push_back(waiter);
                self.rule.arrived(now);
            }
            Fact::Ready(zygote) => {
                self.spawning -= 1;
                self.warm.push(zygote);
            }
            Fact::Ended(zygote) => orders.push(Order::Destroy(zygote)),
            Fact::Gone(_) => self.exist -= 1,
            Fact::TimePassed => {}
        }
        while !self.waiters.is_empty()
            && let Some(zygote) = self.warm.pop()
            && let Some(waiter) = self.waiters.pop_front()
        {
            orders.push(Order::Grant(waiter, zygote));
        }
        let wanted = self.waiters.len().saturating_sub(self.spawning);
        let idle = self.warm.len() + self.spawning.saturating_sub(self.waiters.len());
        let change = self.rule.change(now, idle as i64);
        for _ in 0..change.max(0) + wanted as i64 {
            self.spawn(orders);
        }
        for _ in change..0 {
            // What is being built cannot be stopped any more.
            orders.extend(self.warm.pop().map(Order::Destroy));
        }
    }

    fn next_deadline(&self) -> Option<Micros> {
        self.rule.next_deadline()
    }
}

/// So many, always, refilled at once; with none there is no pool.
#[derive(Debug, Default)]
pub struct Fixed(pub u32);

impl Rule for Fixed {
    fn change(&mut self, _now: Micros, idle: i64) -> i64 {
        i64::from(self.0) - idle
    }
}

/// As many as come within `factor` build times, at a rate that is averaged over about a second.
#[derive(Debug, Default)]
pub struct Ewma {
    factor: f64,
    /// Arrivals per microsecond, at `at`.
    rate: f64,
    at: Micros,
}

impl Ewma {
    const MEMORY: f64 = SECOND as f64;
    const TICK: Micros = SECOND / 10;

    /// See [`Ewma`].
    #[must_use]
    pub fn new(factor: f64) -> Self {
        Self { factor, ..Self::default() }
    }

    fn age(&mut self, now: Micros) {
        self.rate *= (-((now - self.at) as f64) / Self::MEMORY).exp();
        self.at = now;
    }
}

impl Rule for Ewma {
    fn arrived(&mut self, now: Micros) {
        self.age(now);
        self.rate += 1.0 / Self::MEMORY;
    }

    fn change(&mut self, now: Micros, idle: i64) -> i64 {
        self.age(now);
        // Less than a hundredth of a zygote is none, or one would be kept for ever.
        let wanted = self.factor * self.rate * BUILD_MEAN as f64 - 0.01;
        (wanted.ceil() as i64).min(ZYGOTES_MAX as i64) - idle
    }

    fn next_deadline(&self) -> Option<Micros> {
        Some(self.at + Self::TICK)
    }
}

/// Apache's prefork MPM: once a second, fewer idle than the minimum get 1, 2, 4 … 32 more, twice as
/// many each time in succession; more than the maximum, which is twice the minimum, lose one.
#[derive(Debug)]
pub struct Apache {
    spare_min: i64,
    next: Micros,
    batch: i64,
}

impl Default for Apache {
    fn default() -> Self {
        Self { spare_min: 0, next: 0, batch: 1 }
    }
}

impl Apache {
    /// `MAX_SPAWN_RATE` of server/mpm/prefork/prefork.c.
    const BATCH_MAX: i64 = 32;

    /// See [`Apache`].
    #[must_use]
    pub fn new(spare_min: u32) -> Self {
        Self { spare_min: spare_min.into(), ..Self::default() }
    }
}

impl Rule for Apache {
    fn change(&mut self, now: Micros, idle: i64) -> i64 {
        if now < self.next {
            return 0;
        }
        // `StartServers`: as many as are wanted, at once.
        let first = self.next == 0;
        self.next = now + SECOND;
        if first {
            return self.spare_min - idle;
        }
        if idle < self.spare_min {
            let batch = self.batch.min(self.spare_min - idle);
            self.batch = (self.batch * 2).min(Self::BATCH_MAX);
            return batch;
        }
        self.batch = 1;
        if idle > 2 * self.spare_min { -1 } else { 0 }
    }

    fn next_deadline(&self) -> Option<Micros> {
        Some(self.next)
    }
}

/// Android's pool of unspecialized app processes: below the low mark (a third of its size) it is
/// refilled at once; where half of it is missing, after three seconds.
#[derive(Debug, Default)]
pub struct Usap {
    size: i64,
    refill_at: Option<Micros>,
}

impl Usap {
    /// `usap_pool_refill_delay_ms`.
    const DELAY: Micros = 3 * SECOND;

    /// See [`Usap`].
    #[must_use]
    pub fn new(size: u32) -> Self {
        Self { size: size.into(), ..Self::default() }
    }
}

impl Rule for Usap {
    fn change(&mut self, now: Micros, idle: i64) -> i64 {
        let missing = self.size - idle;
        if idle < (self.size + 2) / 3 || self.refill_at.is_some_and(|at| at <= now) {
            self.refill_at = None;
            return missing;
        }
        if missing >= (self.size / 2).max(1) {
            self.refill_at.get_or_insert(now + Self::DELAY);
        }
        0
    }

    fn next_deadline(&self) -> Option<Micros> {
        self.refill_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::{BUILDERS, Outcome, play};
    use crate::trace::{Arrival, Kind, Trace, kinds};

    fn poisson() -> Kind {
        kinds(None).unwrap().swap_remove(0)
    }

    fn play_with(rule: impl Rule + Default, trace: &Trace) -> Outcome {
        play(trace, 1, &mut Baseline::new(rule))
    }

    #[test]
    fn no_pool_is_always_cold_and_costs_nothing() {
        let outcome = play_with(Fixed(0), &poisson().make(1, 0.1));
        assert_eq!((outcome.cold, outcome.wasted), (outcome.acquires, 0));
        assert!(outcome.idle < 1e-9, "{}", outcome.idle);
        assert!(outcome.wait.p50 > 0);
    }

    /// A fixed size on Poisson is M/G/2 seen from behind: an arrival is cold if as many builds are
    /// outstanding as the size. For exponential builds the share has a closed form (Erlang C); ours
    /// vary less, so fewer are outstanding.
    #[test]
    fn a_fixed_size_on_poisson_is_as_cold_as_a_queue_is_long() {
        let trace = poisson().make(1, 1.0);
        let load = 0.5_f64;
        // M/M/2: one is outstanding or more with 2ρ/(1+ρ), n ≥ 2 with that times ρ^(n−1).
        let busy = 2.0 * load / (1.0 + load);
        for size in [1, 2, 4, 6] {
            let queue = busy * load.powi(size - 1);
            let cold = play_with(Fixed(size as u32), &trace).cold_share();
            assert!(cold < queue * 1.05, "{size}: {cold} of {queue}");
            assert!(cold > queue / (1.5 * f64::from(size)), "{size}: {cold} of {queue}");
        }
    }

    #[test]
    fn a_fixed_size_serves_a_burst_as_large_and_then_builds_at_the_builders_pace() {
        let arrivals = vec![Arrival { at: SECOND, hold: 1_000 }; 30];
        let trace = Trace { arrivals, duration: 2 * SECOND };
        let outcome = play_with(Fixed(10), &trace);
        assert_eq!((outcome.acquires, outcome.cold, outcome.built), (30, 20, 40));
        let pace = 20 * BUILD_MEAN / u64::from(BUILDERS);
        assert!((pace / 2..pace * 2).contains(&outcome.wait.max), "{:?}", outcome.wait);
        assert!((outcome.idle - 10.0).abs() < 0.1, "{}", outcome.idle);
    }

    #[test]
    fn the_others_follow_their_rules() {
        let arrivals = vec![Arrival { at: 10 * SECOND + SECOND / 2, hold: 1_000 }; 20];
        let trace = Trace { arrivals, duration: 60 * SECOND };
        // It forgets, so that nothing is left in the end.
        let ewma = play_with(Ewma::new(500.0), &trace);
        assert!(ewma.idle > 0.1 && ewma.profile.last() == Some(&0.0), "{ewma:?}");
        // 1, 2, 4 and 3 on the next seconds.
        let apache = play_with(Apache::new(10), &trace);
        let level =
            |second: f64| apache.profile[(second / 60.0 * apache.profile.len() as f64) as usize];
        assert_eq!((apache.cold, level(9.5).round()), (10, 10.0));
        let levels: Vec<f64> = (0..5).map(|s| level(10.9 + f64::from(s)).round()).collect();
        assert_eq!(levels, [0.0, 1.0, 3.0, 7.0, 10.0]);
        let usap = play_with(Usap::new(9), &trace);
        assert_eq!((usap.cold, usap.profile.last().map(|idle| idle.round())), (11, Some(9.0)));
    }
}
