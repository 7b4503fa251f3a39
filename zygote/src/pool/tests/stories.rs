//! Short stories to tell a policy, in the fewest words.

use super::{
    Effect, Event, Limits, PoolKey, Quota, Settings, SlotKey, Time, WaiterKey, Watched, ms,
};
use crate::pool::{Counts, Denial, Pace, Start};
use std::time::Duration;

/// As much as one likes.
pub(super) const PLENTY: Limits = Limits {
    zygotes_max: 1_000,
    builds_max: 1_000,
    build_counts: Duration::from_secs(3_600),
    quota: Quota { leases: None, waiters: None },
};

/// Pools that learn nothing.
pub(super) fn settings(min: u32, max: u32) -> Settings {
    Settings {
        waiters_max: 3,
        spawn_timeout: ms(1_000),
        destroy_timeout: ms(5_000),
        pace: Pace { idle: Duration::ZERO, ..Pace::default() },
        ..Settings::new(min, max)
    }
}

/// A policy with some pools, the time, and its latest answer.
pub(super) struct Story {
    pub(super) watched: Watched,
    /// The one that is spoken of when no other is named.
    pub(super) pool: PoolKey,
    pub(super) now_ms: u64,
    pub(super) effects: Vec<Effect>,
}

impl Story {
    /// One pool of uid 1 that has heard of nothing but its start.
    pub(super) fn start(settings: Settings) -> Self {
        Self::within(PLENTY, settings)
    }

    pub(super) fn within(limits: Limits, settings: Settings) -> Self {
        let mut watched = Watched::new(limits);
        let pool = watched.add(1, settings);
        let mut story = Self { watched, pool, now_ms: 0, effects: Vec::new() };
        story.tell(Event::TimePassed);
        story
    }

    /// A pool at rest, with its minimum warm.
    pub(super) fn warm(settings: Settings) -> Self {
        let mut story = Self::start(settings);
        story.ready_all();
        story
    }

    pub(super) fn add(&mut self, uid: u32, settings: Settings) -> PoolKey {
        let pool = self.watched.add(uid, settings);
        self.tell(Event::TimePassed);
        pool
    }

    pub(super) fn tell(&mut self, event: Event) -> &[Effect] {
        self.effects = self.watched.handle(Time(ms(self.now_ms)), event);
        &self.effects
    }

    pub(super) fn wait_ms(&mut self, duration_ms: u64) -> &[Effect] {
        self.now_ms += duration_ms;
        self.tell(Event::TimePassed)
    }

    /// Tells of the time whenever it was asked for, for so long.
    pub(super) fn live_ms(&mut self, duration_ms: u64) -> Vec<Effect> {
        let end = self.now_ms + duration_ms;
        let mut effects = Vec::new();
        while let Some(next) = self.deadline_ms().filter(|next| *next <= end) {
            self.now_ms = next;
            effects.extend_from_slice(self.tell(Event::TimePassed));
        }
        self.now_ms = end;
        effects.extend_from_slice(self.tell(Event::TimePassed));
        effects
    }

    pub(super) fn acquire(&mut self, waiter: u64) -> &[Effect] {
        self.acquire_of(self.pool, waiter)
    }

    pub(super) fn acquire_of(&mut self, pool: PoolKey, waiter: u64) -> &[Effect] {
        self.acquire_many_of(pool, waiter, 1)
    }

    pub(super) fn acquire_many(&mut self, waiter: u64, count: u32) -> &[Effect] {
        self.acquire_many_of(self.pool, waiter, count)
    }

    pub(super) fn acquire_many_of(&mut self, pool: PoolKey, waiter: u64, count: u32) -> &[Effect] {
        let (waiter, deadline, first_use) = (WaiterKey(waiter), None, false);
        self.tell(Event::AcquireRequested { pool, waiter, count, deadline, first_use })
    }

    pub(super) fn acquire_until(&mut self, waiter: u64, deadline_ms: u64) -> &[Effect] {
        let deadline = Some(Time(ms(deadline_ms)));
        let (pool, waiter, count, first_use) = (self.pool, WaiterKey(waiter), 1, false);
        self.tell(Event::AcquireRequested { pool, waiter, count, deadline, first_use })
    }

    /// Acquires what must be warm.
    pub(super) fn lease(&mut self, waiter: u64) -> SlotKey {
        self.acquire(waiter);
        self.granted().expect("one is warm")
    }

    pub(super) fn granted(&self) -> Option<SlotKey> {
        self.effects.iter().find_map(|effect| match effect {
            Effect::Grant { slot, .. } => Some(*slot),
            _ => None,
        })
    }

    /// What the latest answer orders to build.
    pub(super) fn spawns(&self) -> Vec<SlotKey> {
        let spawns = self.effects.iter().filter_map(|effect| match effect {
            Effect::Spawn { slot, .. } => Some(*slot),
            _ => None,
        });
        spawns.collect()
    }

    /// For which pools the latest answer orders to build.
    pub(super) fn builders(&self) -> Vec<PoolKey> {
        let builders = self.effects.iter().filter_map(|effect| match effect {
            Effect::Spawn { pool, .. } => Some(*pool),
            _ => None,
        });
        builders.collect()
    }

    pub(super) fn destroyed(&self) -> Vec<SlotKey> {
        let destroyed = self.effects.iter().filter_map(|effect| match effect {
            Effect::Destroy { slot } => Some(*slot),
            _ => None,
        });
        destroyed.collect()
    }

    /// What the latest answer orders to build becomes ready, and what that leads to as well.
    pub(super) fn ready_all(&mut self) -> Vec<SlotKey> {
        let mut spawns = self.spawns();
        let mut next = 0;
        while let Some(&slot) = spawns.get(next) {
            self.tell(Event::ZygoteReady { slot });
            spawns.extend(self.spawns());
            next += 1;
        }
        spawns
    }

    pub(super) fn fail(&mut self, slot: SlotKey, reason: &str) -> Vec<SlotKey> {
        self.tell(Event::SpawnFailed { slot, reason: reason.into() });
        self.spawns()
    }

    /// As [`Self::live_ms`], and whatever is ordered to be built of these pools fails at once.
    pub(super) fn fail_for_ms(&mut self, duration_ms: u64, pools: &[(PoolKey, &str)]) {
        let end = self.now_ms + duration_ms;
        while let Some(next) = self.deadline_ms().filter(|next| *next <= end) {
            self.now_ms = next;
            self.tell(Event::TimePassed);
            self.fail_all(pools);
        }
        self.now_ms = end;
        self.tell(Event::TimePassed);
        self.fail_all(pools);
    }

    /// What the latest answer orders to be built of these pools fails, and what that leads to as well.
    pub(super) fn fail_all(&mut self, pools: &[(PoolKey, &str)]) {
        let mut orders: Vec<_> = self.builders().into_iter().zip(self.spawns()).collect();
        while let Some((builds, slot)) = orders.pop() {
            if let Some((_, reason)) = pools.iter().find(|(pool, _)| *pool == builds) {
                self.fail(slot, reason);
                orders.extend(self.builders().into_iter().zip(self.spawns()));
            }
        }
    }

    /// A lease ends, and nothing is left of it.
    pub(super) fn end(&mut self, slot: SlotKey) -> &[Effect] {
        self.tell(Event::LeaseEnded { slot });
        self.tell(Event::ZygoteGone { slot })
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts_of(self.pool)
    }

    pub(super) fn counts_of(&self, pool: PoolKey) -> Counts {
        self.watched.policy.counts(pool)
    }

    pub(super) fn deadline_ms(&self) -> Option<u64> {
        let deadline = self.watched.policy.next_deadline()?;
        Some(deadline.0.as_nanos().div_ceil(1_000_000).try_into().expect("stories are short"))
    }
}

pub(super) fn granted(waiter: u64, slot: SlotKey, start: Start) -> Effect {
    Effect::Grant { waiter: WaiterKey(waiter), slot, start }
}

pub(super) fn denied(waiter: u64, why: Denial) -> Effect {
    Effect::Deny { waiter: WaiterKey(waiter), why }
}

pub(super) fn failing(reason: &str) -> Denial {
    Denial::BuildFailing { reason: reason.into() }
}
