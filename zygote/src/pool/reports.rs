//! What becomes of what is heard about zygotes and templates. None of it is believed beyond what fits.

use super::slots::{Parked, Slot};
use super::time::Time;
use super::{Denial, Effect, Policy, PoolKey, SlotKey};

impl Policy {
    pub(super) fn zygote_ready(&mut self, now: Time, slot: SlotKey) {
        let Some(key) = self.slots.pool_of(slot) else { return };
        let Some(parked) = self.slots.park(now, slot) else { return };
        // One that has come back says nothing about builds.
        if let Parked::Built { cost } = parked {
            self.build_succeeded(now, key);
            if let Some(lineage) = self.lineage_mut(key) {
                lineage.demand.built(cost);
            }
        }
        self.touch(key);
    }

    /// Has the zygote of a lease that is over used again, where its pool wants that, or destroyed.
    pub(super) fn lease_ended(&mut self, now: Time, slot: SlotKey, effects: &mut Vec<Effect>) {
        let was = self.slots.get(slot);
        let (Slot::Leased { .. }, Some(key)) = (was, self.slots.pool_of(slot)) else { return };
        if !self.wants_back(now, key) {
            return self.end(now, slot, None, effects);
        }
        let timeout = self.pools.get(&key).map(|pool| pool.settings.return_timeout);
        let deadline = now.after(timeout.unwrap_or_default());
        let Some(next) = self.slots.take_back(now, slot, deadline) else { return };
        effects.push(Effect::Recycle { slot, next });
        self.left(now, key, slot, was, None);
    }

    /// Nothing exists in the slot. One that is known to have been ready cannot have failed to
    /// spawn: it stays paid for until it is said to be gone.
    pub(super) fn spawn_failed(&mut self, now: Time, slot: SlotKey, reason: String) {
        match self.slots.get(slot) {
            Slot::Spawning { .. }
            | Slot::Dying { was_ready: false, .. }
            | Slot::Quarantined { was_ready: false } => self.clear(now, slot, reason),
            Slot::Empty
            | Slot::Warm { .. }
            | Slot::Leased { .. }
            | Slot::Returning { .. }
            | Slot::Dying { was_ready: true, .. }
            | Slot::Quarantined { was_ready: true } => {}
        }
    }

    /// Nothing is left in the slot. If it was not ready yet, its build has failed for `reason`.
    pub(super) fn clear(&mut self, now: Time, slot: SlotKey, reason: String) {
        let Some(key) = self.slots.pool_of(slot) else { return };
        let was = self.slots.clear(now, slot);
        self.left(now, key, slot, was, Some(reason));
    }

    /// Orders the end of what is in the slot. If it was not ready yet, its build has failed for
    /// `reason`, or is not wanted any more if there is none.
    pub(super) fn end(
        &mut self,
        now: Time,
        slot: SlotKey,
        reason: Option<String>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(key) = self.slots.pool_of(slot) else { return };
        let timeout = self.pools.get(&key).map(|pool| pool.settings.destroy_timeout);
        let was = self.slots.condemn(now, slot, now.after(timeout.unwrap_or_default()));
        if !matches!(was, Slot::Empty | Slot::Dying { .. } | Slot::Quarantined { .. }) {
            effects.push(Effect::Destroy { slot });
            if let Slot::Warm { .. } = was {
                self.warm_ended(key);
            }
            self.left(now, key, slot, was, reason);
        }
    }

    /// A slot of the pool has left a state.
    pub(super) fn left(
        &mut self,
        now: Time,
        key: PoolKey,
        slot: SlotKey,
        was: Slot,
        reason: Option<String>,
    ) {
        if let (Slot::Spawning { .. }, Some(pool)) = (was, self.pools.get_mut(&key)) {
            match reason {
                Some(reason) => pool.circuit.failed(now, slot, reason),
                None => pool.circuit.withdrawn(now, slot),
            }
        }
        if let Slot::Leased { .. } = was {
            self.active(now, key);
        }
        self.touch(key);
    }

    /// Somebody has wanted something of a pool until now.
    pub(super) fn active(&mut self, now: Time, key: PoolKey) {
        if let Some(lineage) = self.lineage_mut(key) {
            lineage.active_at = now;
        }
        self.touch(key);
    }

    /// What is dying is ordered to die once more: the first order may have been lost as well.
    pub(super) fn template_lost(
        &mut self,
        now: Time,
        pool: PoolKey,
        reason: &str,
        effects: &mut Vec<Effect>,
    ) {
        for slot in self.slots.of(pool).unleased() {
            match self.slots.get(slot) {
                Slot::Dying { .. } | Slot::Quarantined { .. } => {
                    effects.push(Effect::Destroy { slot });
                }
                _ => self.end(now, slot, Some(reason.to_owned()), effects),
            }
        }
    }

    /// Those that are spawning end here as well: nobody is left to want them. They have not failed.
    pub(super) fn drain(&mut self, now: Time, effects: &mut Vec<Effect>) {
        self.draining = true;
        let pools: Vec<PoolKey> = self.pools.keys().copied().collect();
        for &pool in &pools {
            while let Some(waiter) = self.waiters.pop(pool) {
                effects.push(Effect::Deny { waiter: waiter.key, why: Denial::Draining });
            }
            for slot in self.slots.of(pool).unleased() {
                self.end(now, slot, None, effects);
            }
        }
        self.touched.extend(pools);
    }
}
