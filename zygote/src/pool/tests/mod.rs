//! The rules one by one ([`rules`], [`sharing`], [`batches`], [`succession`], [`returning`], [`fairness`]), in all
//! short sequences ([`exhaustive`]), under random events ([`random_events`]) and in a world that goes wrong
//! ([`simulation`]); a naive [`model`] watches over most of them.
//!
//! The last two run as many seeds as there is time for; both take the same two variables:
//!
//! ```text
//! ZYG_SIM_SEEDS=1000000 cargo test --release -p zygote --lib pool::tests::simulation
//! ZYG_SIM_SEED=4160 cargo test -p zygote --lib pool::tests::random_events -- --nocapture
//! ```
//!
//! The first tries that many seeds on all CPUs, a thousand in a second or two; the second sees one
//! again, which a failure names. A seed gives the same run on every machine, and another one where the
//! code that draws from it has changed. With optimization, [`exhaustive`] has longer sequences.

mod batches;
mod exhaustive;
mod fairness;
mod model;
mod random;
mod random_events;
mod returning;
mod rules;
mod sharing;
mod simulation;
mod stories;
mod succession;

use super::{Effect, Event, Limits, Policy, PoolKey, Quota, Settings, SlotKey, Time, WaiterKey};
use model::Model;
use std::time::Duration;

/// A policy and the model that checks each of its answers.
struct Watched {
    policy: Policy,
    model: Model,
    /// Whether the model is asked at all: it takes longer than the policy.
    checks: bool,
    /// Whether what grants lead to is settled later, as the server has it, and leases end later where
    /// nobody waits: with whatever comes next. The model knows nothing of that.
    settles_late: bool,
    unsettled: bool,
    given_back: Vec<SlotKey>,
}

impl Watched {
    fn new(limits: Limits) -> Self {
        let (policy, model) = (Policy::new(limits), Model::new(limits));
        let (settles_late, unsettled, given_back) = (false, false, Vec::new());
        Self { policy, model, checks: true, settles_late, unsettled, given_back }
    }

    fn handle(&mut self, now: Time, event: Event) -> Vec<Effect> {
        if self.settles_late {
            return self.note(now, event);
        }
        let mut effects = Vec::new();
        self.policy.handle(now, event.clone(), &mut effects);
        if self.checks {
            self.model.check(&self.policy, now, &event, &effects);
        }
        effects
    }

    fn note(&mut self, now: Time, event: Event) -> Vec<Effect> {
        if let Event::LeaseEnded { slot } = event
            && self.policy.waiters.is_empty()
        {
            self.given_back.push(slot);
            self.unsettled = true;
            return Vec::new();
        }
        let mut effects = Vec::new();
        let acquire = matches!(event, Event::AcquireRequested { .. });
        if self.unsettled && !(acquire && self.given_back.is_empty()) {
            self.settle(now, &mut effects);
        }
        let before = effects.len();
        self.policy.note(now, event, &mut effects);
        let granted = |effect: &Effect| matches!(effect, Effect::Grant { .. });
        if acquire && effects.len() > before && effects[before..].iter().all(granted) {
            self.unsettled = true;
        } else {
            self.settle(now, &mut effects);
        }
        effects
    }

    fn settle(&mut self, now: Time, effects: &mut Vec<Effect>) {
        self.unsettled = false;
        for slot in self.given_back.drain(..) {
            self.policy.note(now, Event::LeaseEnded { slot }, effects);
        }
        self.policy.settle(now, effects);
    }

    fn add(&mut self, uid: u32, settings: Settings) -> PoolKey {
        let key = self.policy.add(uid, settings);
        if self.checks {
            self.model.add(key, uid, settings, key);
        }
        key
    }

    fn supersede(&mut self, old: PoolKey, settings: Settings) -> PoolKey {
        let key = self.policy.supersede(old, settings);
        if self.checks {
            self.model.supersede(old, key, settings);
        }
        key
    }

    fn retire(&mut self, pool: PoolKey) {
        self.policy.retire(pool);
        if self.checks {
            self.model.retire(pool);
        }
    }

    fn reserve(&mut self, now: Time, pool: PoolKey, count: u32, ttl: Duration) -> u32 {
        let reserved = self.policy.reserve(now, pool, count, ttl);
        if self.checks {
            assert_eq!(reserved, self.model.reserve(now, pool, count, ttl));
        }
        reserved
    }

    fn set_limits(&mut self, limits: Limits) {
        self.policy.set_limits(limits);
        self.model.limits = limits;
    }

    fn forget(&mut self, pool: PoolKey) {
        self.policy.forget(pool);
        if self.checks {
            self.model.forget(pool);
        }
    }
}

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}
