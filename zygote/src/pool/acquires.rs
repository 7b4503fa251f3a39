//! What becomes of an acquire: granted at once, queued, or turned away.

use super::pools::Pool;
use super::time::Time;
use super::waiters::Waiter;
use super::{ColdReason, Denial, Effect, Policy, PoolKey, Start, WaiterKey};

/// What a client wants.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) pool: PoolKey,
    pub(super) waiter: WaiterKey,
    /// How many zygotes, all at once: at least one.
    pub(super) count: u32,
    /// By the caller's clock.
    pub(super) deadline: Option<Time>,
    pub(super) cold: ColdReason,
}

impl Policy {
    /// Whoever finds as many warm zygotes as it wants gets them, unless somebody waits who has come
    /// before.
    pub(super) fn acquire(&mut self, now: Time, asked: &Asked, effects: &mut Vec<Effect>) {
        let &Asked { pool: key, waiter, count, deadline, cold } = asked;
        if self.waiters.contains(waiter) {
            return;
        }
        let must_wait = self.slots.of(key).warm() < count
            || self.waiters.of(key) > 0
            || self.held_up_from(key).is_some();
        let why = match self.pools.get(&key) {
            Some(pool) if !self.draining => self.denial(key, pool, count, must_wait),
            _ => Some(Denial::Draining),
        };
        if let Some(why) = why {
            effects.push(Effect::Deny { waiter, why });
            return;
        }
        let Some(&Pool { uid, lineage, .. }) = self.pools.get(&key) else { return };
        if let Some(lineage) = self.lineages.get_mut(&lineage) {
            lineage.active_at = now;
            lineage.served.warm += if must_wait { 0 } else { u64::from(count) };
        }
        if must_wait {
            let deadline = deadline.map(|deadline| self.timeline.own(deadline));
            self.waiters.push(Waiter { key: waiter, pool: key, uid, count, deadline, cold });
        } else {
            self.hand_out(now, key, count, waiter, Start::Warm, effects);
        }
        self.arrived.extend((0..count).map(|_| (key, now)));
        self.touch(key);
    }

    /// Grants a waiter so many of the warm zygotes of a pool, which has as many.
    pub(super) fn hand_out(
        &mut self,
        now: Time,
        key: PoolKey,
        count: u32,
        waiter: WaiterKey,
        start: Start,
        effects: &mut Vec<Effect>,
    ) {
        let Some(&Pool { uid, .. }) = self.pools.get(&key) else { return };
        for _ in 0..count {
            if let Some(slot) = self.slots.lease(now, key, uid) {
                effects.push(Effect::Grant { waiter, slot, start });
            }
        }
    }

    /// Learns from the acquires that have come.
    pub(super) fn learn(&mut self) {
        let mut arrived = self.arrived.drain(..).peekable();
        while let Some((key, at)) = arrived.next() {
            let Some(&Pool { ref settings, lineage, .. }) = self.pools.get(&key) else { continue };
            let Some(lineage) = self.lineages.get_mut(&lineage) else { continue };
            lineage.demand.arrived(at, &settings.pace, settings.max);
            // Once for those that came together.
            if arrived.peek().is_none_or(|(next, _)| *next != key) {
                lineage.demand.conclude(&settings.pace);
            }
        }
    }

    /// Why another acquire is not even queued.
    fn denial(&self, key: PoolKey, pool: &Pool, count: u32, must_wait: bool) -> Option<Denial> {
        if let Some(why) = self.too_many(key, count) {
            return Some(why);
        }
        let waiting = self.waiters.of(key);
        let (leased_by, waiting_by) =
            (self.slots.leased_by(pool.uid), self.waiters.waiting_by(pool.uid));
        // A generation is not another profile.
        let members = self.lineage(key).into_iter().flat_map(|lineage| &lineage.members);
        let of_all = members.fold((0, 0), |(asked, waiting), member| {
            let waiters = self.waiters.of(*member);
            (asked + self.slots.of(*member).leased() + waiters, waiting + waiters)
        });
        let reached =
            |limit: Option<u32>, has: u32| limit.filter(|limit| has.saturating_add(count) > *limit);
        let quotas = [
            (pool.settings.quota, of_all.0, of_all.1),
            (self.limits.quota, leased_by + waiting_by, waiting_by),
        ];
        for (quota, asked, waiting) in quotas {
            if let Some(limit) = reached(quota.leases, asked) {
                return Some(Denial::QuotaExceeded { what: "leases", limit });
            }
            if let Some(limit) = reached(quota.waiters, waiting).filter(|_| must_wait) {
                return Some(Denial::QuotaExceeded { what: "waiters", limit });
            }
        }
        let full = must_wait && waiting.saturating_add(count) > pool.settings.waiters_max;
        full.then_some(Denial::QueueFull { waiters: waiting })
    }
}
