//! What has become possible or due: deadlines, grants, refusals, refills.

use super::pools::Pool;
use super::slots::Slot;
use super::time::Time;
use super::{Denial, Effect, Policy, PoolKey, SlotKey, Start};

impl Policy {
    /// Does what has become possible or due, whatever the event was. Afterwards a pool in which
    /// anybody waits has fewer warm zygotes than the first of them wants, unless a batch of another
    /// generation comes before.
    pub fn settle(&mut self, now: Time, effects: &mut Vec<Effect>) {
        let now = self.timeline.advance(now);
        self.learn();
        self.see_deadlines(now, effects);
        loop {
            while let Some(pool) = self.touched.pop_first() {
                self.see_to(now, pool, effects);
            }
            if !self.build_one(now, effects) {
                return;
            }
        }
    }

    pub(super) fn see_deadlines(&mut self, now: Time, effects: &mut Vec<Effect>) {
        while let Some(waiter) = self.waiters.pop_expired(now) {
            effects.push(Effect::Deny { waiter: waiter.key, why: Denial::DeadlineExpired });
            self.active(now, waiter.pool);
        }
        while let Some(slot) = self.slots.overdue(now) {
            self.overdue(now, slot, effects);
        }
        while let Some(pool) = self.slots.free_place(now) {
            self.touch(pool);
        }
        while let Some(pool) = self.slots.expect_no_more(now) {
            self.touch(pool);
        }
        while let Some(&(at, pool)) = self.alarms.first()
            && at <= now
        {
            self.set_alarm(pool, None);
            self.touched.insert(pool);
        }
    }

    /// A build counts as failed; neither an end nor a return is waited for any more.
    pub(super) fn overdue(&mut self, now: Time, slot: SlotKey, effects: &mut Vec<Effect>) {
        let Some(key) = self.slots.pool_of(slot) else { return };
        if let Slot::Dying { .. } = self.slots.get(slot) {
            self.slots.quarantine(now, slot);
            self.touch(key);
            return;
        }
        let timeout = self.pools.get(&key).map(|pool| pool.settings.spawn_timeout);
        let allowed_ms = timeout.unwrap_or_default().as_millis();
        let reason = format!("a zygote was not ready within {allowed_ms} ms");
        self.end(now, slot, Some(reason), effects);
    }

    /// Brings a pool into order after something has happened to it, and asks for what it wants.
    pub(super) fn see_to(&mut self, now: Time, key: PoolKey, effects: &mut Vec<Effect>) {
        self.grant(now, key, effects);
        // Who was behind may want less.
        while self.refuse(now, key, effects) {
            self.grant(now, key, effects);
        }
        self.choose_next_batch();
        let holdings = self.slots.of(key);
        self.waiters.cover(key, holdings.warm() + holdings.spawning());
        if let Some(lineage) = self.lineage_mut(key) {
            lineage.reservations.expire(now);
        }
        self.hand_over(now, key);
        if self.pools.get(&key).is_some_and(|pool| pool.retired) {
            self.clear_out(now, key, effects);
        }
        self.end_surplus(now, key, effects);
        let shrinks_at = self.shrink(now, key, effects);
        let wants_at = self.publish_wants(now, key, effects);
        self.rank(now, key);
        let alarms = [shrinks_at, wants_at, self.changes_at(now, key)];
        self.set_alarm(key, alarms.into_iter().flatten().filter(|at| *at > now).min());
    }

    pub(super) fn grant(&mut self, now: Time, key: PoolKey, effects: &mut Vec<Effect>) {
        let before = effects.len();
        while let Some(count) = self.grantable(key)
            && let Some(waiter) = self.waiters.pop(key)
        {
            if let Some(lineage) = self.lineage_mut(key) {
                lineage.served.cold += u64::from(count);
                lineage.active_at = now;
            }
            self.hand_out(now, key, count, waiter.key, Start::Cold(waiter.cold), effects);
            if count > 1 {
                self.waiters.batch_served(waiter.uid);
            }
        }
        let granted = effects.len() > before;
        if granted && self.lineage(key).is_some_and(|lineage| lineage.members.len() > 1) {
            // Who was held up by it is not any more.
            self.touch(key);
        }
    }

    /// Denies the first waiter what cannot be had any more, or is not worth waiting for: while the
    /// circuit is open and nothing is on its way. Returns whether it did.
    pub(super) fn refuse(&mut self, now: Time, key: PoolKey, effects: &mut Vec<Effect>) -> bool {
        let Some((_, count)) = self.waiters.first(key) else { return false };
        let why = self.too_many(key, count).or_else(|| {
            let holdings = self.slots.of(key);
            let coming = holdings.spawning() + holdings.returning() > 0 || holdings.warm() >= count;
            let reason = self.why_refused(now, key).filter(|_| !coming)?;
            Some(Denial::BuildFailing { reason: reason.to_owned() })
        });
        let Some(why) = why else { return false };
        let Some(waiter) = self.waiters.pop(key) else { return false };
        effects.push(Effect::Deny { waiter: waiter.key, why });
        self.active(now, key);
        true
    }

    /// When what a pool wants changes by itself.
    pub(super) fn changes_at(&self, now: Time, key: PoolKey) -> Option<Time> {
        let Some(Pool { settings, retired: false, .. }) = self.pools.get(&key) else { return None };
        let lineage = self.lineage(key)?;
        let hand_over = self.hand_over_by(key);
        let expiry = lineage.reservations.next_expiry();
        let (_, fades_at) = lineage.demand.target(now, &settings.pace);
        let changes = [hand_over, expiry, fades_at, self.sleeps_at(key)];
        changes.into_iter().flatten().filter(|at| *at > now).min().filter(|_| !self.draining)
    }

    pub(super) fn set_alarm(&mut self, key: PoolKey, at: Option<Time>) {
        let Some(pool) = self.pools.get_mut(&key) else { return };
        if pool.alarm == at {
            return;
        }
        if let Some(was) = std::mem::replace(&mut pool.alarm, at) {
            self.alarms.remove(&(was, key));
        }
        if let Some(at) = at {
            self.alarms.insert((at, key));
        }
    }
}
