//! What becomes of an acquire: granted at once, queued, or turned away.

use super::pools::Pool;
use super::time::Time;
use super::waiters::Waiter;
use super::{ColdReason, Denial, Effect, Policy, PoolKey, Start, WaiterKey};

impl Policy {
    /// Whoever finds a warm zygote gets it; nobody can be waiting for it then (see [`Self::settle`]).
    pub(super) fn acquire(
        &mut self,
        now: Time,
        key: PoolKey,
        waiter: WaiterKey,
        deadline: Option<Time>,
        cold: ColdReason,
        effects: &mut Vec<Effect>,
    ) {
        if self.waiters.contains(waiter) {
            return;
        }
        let why = match self.pools.get(&key) {
            Some(pool) if !self.draining => self.denial(key, pool),
            _ => Some(Denial::Draining),
        };
        if let Some(why) = why {
            effects.push(Effect::Deny { waiter, why });
            return;
        }
        let Some(&Pool { uid, lineage, .. }) = self.pools.get(&key) else { return };
        let granted = self.slots.lease(now, key, uid);
        if let Some(lineage) = self.lineages.get_mut(&lineage) {
            lineage.active_at = now;
            lineage.served.warm += u64::from(granted.is_some());
        }
        if let Some(slot) = granted {
            effects.push(Effect::Grant { waiter, slot, start: Start::Warm });
        } else {
            let deadline = deadline.map(|deadline| self.timeline.own(deadline));
            self.waiters.push(Waiter { key: waiter, pool: key, uid, deadline, cold });
        }
        self.arrived.push((key, now));
        self.touch(key);
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

    /// Why one more acquire is not even queued.
    pub(super) fn denial(&self, key: PoolKey, pool: &Pool) -> Option<Denial> {
        let waiting = self.waiters.of(key);
        let (leased_by, waiting_by) =
            (self.slots.leased_by(pool.uid), self.waiters.waiting_by(pool.uid));
        // A generation is not another profile.
        let members = self.lineage(key).into_iter().flat_map(|lineage| &lineage.members);
        let of_all = members.fold((0, 0), |(asked, waiting), member| {
            let waiters = self.waiters.of(*member);
            (asked + self.slots.of(*member).leased() + waiters, waiting + waiters)
        });
        let must_wait = self.slots.of(key).warm() == 0;
        let reached = |limit: Option<u32>, has: u32| limit.filter(|limit| has >= *limit);
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
        let full = must_wait && waiting >= pool.settings.waiters_max;
        full.then_some(Denial::QueueFull { waiters: waiting })
    }
}
