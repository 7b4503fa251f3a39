//! A machine in simulated time, the same for every policy, and what it cost and gave.
//!
//! Builds run on as many builders as there are CPUs, in the order in which they were ordered; each
//! takes its time, which depends on the seed and on how many were begun before, not on the policy. A
//! lease lasts as long as the trace says; then a teardown takes its time. The host checks that orders
//! make sense: a policy that grants what is not ready, or exceeds the bound, ends the bench.
//!
//! Left out: commands compete with builds for the CPUs (builds run at the lowest priority, so it is
//! builds that suffer), and teardown for them as well.

use crate::contestant::{Contestant, Fact, Micros, Order, Waiter, Zygote};
use crate::random::Random;
use crate::trace::Trace;
use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap, VecDeque};

/// Builds under way at once.
pub const BUILDERS: u32 = 2;
/// A build takes this long at the least …
pub const BUILD_LEAST: Micros = 700;
/// … and on average.
pub const BUILD_MEAN: Micros = 900;
/// A teardown takes half of that to one and a half.
const TEARDOWN_MEAN: Micros = 200;
/// Zygotes that may exist at once, from the order to build them until they are gone.
pub const ZYGOTES_MAX: usize = 256;
/// Points of [`Outcome::profile`].
const PROFILE_POINTS: usize = 2_000;

/// How a policy did on a trace.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// Arrivals.
    pub acquires: usize,
    /// Of these, those that found nothing warm.
    pub cold: usize,
    /// Zygotes that were warm, or being built while nobody waited for them, averaged over time.
    pub idle: f64,
    /// How long an acquire waited: at the median, of a hundred the second longest, and at most.
    pub wait: Wait,
    /// Zygotes built.
    pub built: usize,
    /// Of these, those never granted.
    pub wasted: usize,
    /// Idle zygotes over time, each the average of an equal part of the trace.
    pub profile: Vec<f64>,
}

/// Quantiles of waiting, in microseconds.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wait {
    /// The median.
    pub p50: Micros,
    /// Of a hundred, the second longest.
    pub p99: Micros,
    /// The longest.
    pub max: Micros,
}

impl Outcome {
    /// Share of acquires that found nothing warm.
    #[must_use]
    pub fn cold_share(&self) -> f64 {
        self.cold as f64 / self.acquires as f64
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Ordered,
    Building { condemned: bool },
    Warm,
    Leased,
    Dying,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    Build(Zygote),
    Lease(Zygote),
    Teardown(Zygote),
}

/// Plays a trace to a policy. The seed decides how long builds and teardowns take.
#[must_use]
pub fn play(trace: &Trace, seed: u64, contestant: &mut dyn Contestant) -> Outcome {
    let mut host = Host {
        trace,
        now: 0,
        agenda: BinaryHeap::new(),
        build_times: Random::new(seed, 11),
        teardown_times: Random::new(seed, 12),
        zygotes: HashMap::new(),
        ordered: VecDeque::new(),
        building: 0,
        warm: 0,
        waiting: BTreeSet::new(),
        waits: vec![0; trace.arrivals.len()],
        cold: 0,
        begun: 0,
        granted: 0,
        profile: vec![0.0; PROFILE_POINTS],
    };
    host.run(contestant);
    host.outcome()
}

struct Host<'a> {
    trace: &'a Trace,
    now: Micros,
    agenda: BinaryHeap<Reverse<(Micros, End)>>,
    build_times: Random,
    teardown_times: Random,
    zygotes: HashMap<Zygote, State>,
    ordered: VecDeque<Zygote>,
    building: u32,
    warm: u32,
    waiting: BTreeSet<Waiter>,
    waits: Vec<Micros>,
    cold: usize,
    begun: usize,
    granted: usize,
    /// Zygote-microseconds in each part of the trace.
    profile: Vec<f64>,
}

impl Host<'_> {
    fn run(&mut self, contestant: &mut dyn Contestant) {
        let mut orders = Vec::new();
        self.tell(Fact::TimePassed, contestant, &mut orders);
        let mut arrivals = self.trace.arrivals.iter().map(|arrival| arrival.at).enumerate();
        let mut arrival = arrivals.next();
        loop {
            let due = self.agenda.peek().map(|Reverse((at, _))| *at);
            let wake = contestant.next_deadline();
            assert!(wake.is_none_or(|wake| wake > self.now), "a deadline must lie ahead");
            let times = [due, arrival.map(|(_, at)| at), wake];
            let Some(next) = times.into_iter().flatten().min() else { break };
            if next > self.trace.duration && arrival.is_none() && self.waiting.is_empty() {
                break;
            }
            self.pass_until(next);
            let fact = if due == Some(next) {
                let Some(Reverse((_, due))) = self.agenda.pop() else { break };
                self.happen(due)
            } else if let Some((waiter, _)) = arrival.filter(|&(_, at)| at == next) {
                arrival = arrivals.next();
                self.waiting.insert(waiter);
                Some(Fact::Arrived(waiter))
            } else {
                Some(Fact::TimePassed)
            };
            if let Some(fact) = fact {
                self.tell(fact, contestant, &mut orders);
            }
            self.start_builds();
        }
        self.pass_until(self.trace.duration.max(self.now));
    }

    fn tell(&mut self, fact: Fact, contestant: &mut dyn Contestant, orders: &mut Vec<Order>) {
        contestant.tell(self.now, fact, orders);
        for order in orders.drain(..) {
            self.carry_out(order);
        }
        if let Fact::Arrived(waiter) = fact
            && self.waiting.contains(&waiter)
        {
            self.cold += 1;
        }
        self.start_builds();
    }

    /// Idle zygotes are paid for until the end of the trace, by the part that the time falls into.
    fn pass_until(&mut self, next: Micros) {
        let waiting = u32::try_from(self.waiting.len()).unwrap_or(u32::MAX);
        let idle = f64::from(self.warm + self.building.saturating_sub(waiting));
        let (mut from, until) = (self.now, next.min(self.trace.duration));
        let part = self.trace.duration.div_ceil(PROFILE_POINTS as u64);
        while idle > 0.0 && from < until {
            let index = from / part;
            let to = until.min((index + 1) * part);
            self.profile[index as usize] += idle * (to - from) as f64;
            from = to;
        }
        self.now = next;
    }

    fn happen(&mut self, due: End) -> Option<Fact> {
        match due {
            End::Build(zygote) => {
                self.building -= 1;
                if self.zygotes.get(&zygote) == Some(&State::Building { condemned: true }) {
                    self.tear_down(zygote);
                    return None;
                }
                self.warm += 1;
                self.zygotes.insert(zygote, State::Warm);
                Some(Fact::Ready(zygote))
            }
            End::Lease(zygote) => Some(Fact::Ended(zygote)),
            End::Teardown(zygote) => {
                self.zygotes.remove(&zygote);
                Some(Fact::Gone(zygote))
            }
        }
    }

    fn carry_out(&mut self, order: Order) {
        match order {
            Order::Spawn(zygote) => {
                let before = self.zygotes.insert(zygote, State::Ordered);
                assert_eq!(before, None, "a zygote's name is never used again");
                assert!(self.zygotes.len() <= ZYGOTES_MAX, "more zygotes than there may be");
                self.ordered.push_back(zygote);
            }
            Order::Grant(waiter, zygote) => {
                let before = self.zygotes.insert(zygote, State::Leased);
                assert_eq!(before, Some(State::Warm), "only what is warm is granted");
                assert!(self.waiting.remove(&waiter), "only who waits is granted anything");
                self.warm -= 1;
                self.granted += 1;
                let arrival = self.trace.arrivals[waiter];
                self.waits[waiter] = self.now - arrival.at;
                self.plan(arrival.hold, End::Lease(zygote));
            }
            Order::Destroy(zygote) => self.destroy(zygote),
        }
    }

    /// What is being built is built to its end, and occupies its builder that long.
    fn destroy(&mut self, zygote: Zygote) {
        match self.zygotes.get(&zygote) {
            Some(State::Ordered) => {
                self.ordered.retain(|ordered| *ordered != zygote);
                self.tear_down(zygote);
            }
            Some(State::Building { .. }) => {
                self.zygotes.insert(zygote, State::Building { condemned: true });
            }
            Some(State::Warm) => {
                self.warm -= 1;
                self.tear_down(zygote);
            }
            Some(State::Leased) => self.tear_down(zygote),
            Some(State::Dying) | None => {}
        }
    }

    fn tear_down(&mut self, zygote: Zygote) {
        self.zygotes.insert(zygote, State::Dying);
        let takes = TEARDOWN_MEAN as f64 * (0.5 + self.teardown_times.unit());
        self.plan(takes as Micros, End::Teardown(zygote));
    }

    fn start_builds(&mut self) {
        while self.building < BUILDERS
            && let Some(zygote) = self.ordered.pop_front()
        {
            self.zygotes.insert(zygote, State::Building { condemned: false });
            self.building += 1;
            self.begun += 1;
            let beyond = self.build_times.exponential((BUILD_MEAN - BUILD_LEAST) as f64);
            self.plan(BUILD_LEAST + beyond as Micros, End::Build(zygote));
        }
    }

    fn plan(&mut self, after: Micros, due: End) {
        self.agenda.push(Reverse((self.now + after, due)));
    }

    fn outcome(mut self) -> Outcome {
        let duration = self.trace.duration as f64;
        let idle = self.profile.iter().sum::<f64>() / duration;
        for part in &mut self.profile {
            *part *= PROFILE_POINTS as f64 / duration;
        }
        self.waits.sort_unstable();
        let quantile = |share: f64| {
            let index = (self.waits.len() as f64 * share) as usize;
            self.waits.get(index.min(self.waits.len().saturating_sub(1))).copied().unwrap_or(0)
        };
        Outcome {
            acquires: self.waits.len(),
            cold: self.cold,
            idle,
            wait: Wait { p50: quantile(0.5), p99: quantile(0.99), max: quantile(1.0) },
            built: self.begun,
            wasted: self.begun - self.granted,
            profile: self.profile,
        }
    }
}
