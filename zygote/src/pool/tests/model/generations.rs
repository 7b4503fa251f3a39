//! Pools that take each other's place.

use super::{Lineage, Model, Pool, State, Zygote};
use crate::pool::{HANDOVER_MAX, Policy, PoolKey, Settings, SlotKey};

impl Model {
    pub(in crate::pool::tests) fn supersede(
        &mut self,
        old: PoolKey,
        new: PoolKey,
        settings: Settings,
    ) {
        let Some(pool) = self.pool(old) else { return };
        let (uid, lineage) = (pool.uid, pool.lineage);
        self.add(new, uid, settings, lineage);
        let passed_over = self.lineage(new).newest;
        let failed = self.pool(passed_over).is_some_and(|pool| pool.counts.failing.is_some());
        let lineage = self.lineage_mut(new);
        let in_force = lineage.in_force;
        lineage.newest = new;
        lineage.max = settings.max;
        if passed_over == in_force || failed {
            lineage.hand_over_by = None;
        }
        if passed_over != in_force {
            self.retire_one(passed_over);
        }
        if self.pool(in_force).is_none_or(|pool| pool.retired) {
            let lineage = self.lineage_mut(new);
            (lineage.in_force, lineage.hand_over_by, lineage.exchanged) = (new, None, 0);
        }
    }

    pub(in crate::pool::tests) fn retire(&mut self, key: PoolKey) {
        let Some(lineage) = self.pool(key).map(|pool| pool.lineage) else { return };
        for pool in self.pools.iter_mut().filter(|pool| pool.lineage == lineage) {
            pool.retired = true;
        }
    }

    pub(super) fn retire_one(&mut self, key: PoolKey) {
        for pool in self.pools.iter_mut().filter(|pool| pool.key == key) {
            pool.retired = true;
        }
    }

    pub(super) fn room(&self, key: PoolKey) -> u32 {
        let lineage = self.lineage(key);
        let members = self.pools.iter().filter(|pool| pool.lineage == lineage.key);
        let newest = lineage.newest;
        let own = |newest: &Pool| newest.key == key || !newest.proven && self.held(newest.key) > 0;
        let tried = self.pool(newest).is_some_and(|pool| self.is_on_trial(newest) && own(pool));
        let most = lineage.max + u32::from(tried);
        most.saturating_sub(members.map(|pool| self.held(pool.key)).sum())
    }

    /// How many more of a lineage are leased, or may be, than there may be.
    pub(super) fn surplus(&self, lineage: &Lineage) -> u32 {
        let lives = |zygote: &&Zygote| {
            let dies = matches!(zygote.state, State::Dying { .. } | State::Quarantined { .. });
            self.pool(zygote.pool).is_some_and(|pool| pool.lineage == lineage.key) && !dies
        };
        let living = self.zygotes.iter().filter(lives).count() as u32;
        living.saturating_sub(lineage.max)
    }

    /// Whether a pool is to show that it can be built before it takes over.
    pub(super) fn is_on_trial(&self, key: PoolKey) -> bool {
        let lineage = self.lineage(key);
        let in_doubt = |pool: &Pool| !pool.proven || pool.counts.failing.is_some();
        let in_doubt = self.pool(key).is_some_and(|pool| in_doubt(pool) && !pool.retired);
        lineage.newest == key && lineage.in_force != key && in_doubt && !self.draining
    }

    /// A pool has its time to take over from the first build that succeeds, and from the first after
    /// failures.
    pub(super) fn build_succeeded(&mut self, slot: SlotKey) {
        let (State::Spawning { .. }, Some(zygote)) = (self.state(slot), self.zygote(slot)) else {
            return;
        };
        let (key, by) = (zygote.pool, self.elapsed + HANDOVER_MAX);
        let Some(pool) = self.pools.iter_mut().find(|pool| pool.key == key) else { return };
        pool.proven = true;
        // As of the event before.
        let failed = pool.counts.failing.is_some();
        let lineage = self.lineage_mut(key);
        let begins = failed || lineage.hand_over_by.is_none();
        if begins && lineage.newest == key && lineage.in_force != key {
            lineage.hand_over_by = Some(by);
        }
    }

    /// A warm zygote is about to end.
    pub(super) fn warm_ended(&mut self, slot: SlotKey) {
        let Some(pool) = self.zygote(slot).map(|zygote| zygote.pool) else { return };
        let lineage = self.lineage_mut(pool);
        lineage.exchanged += u32::from(lineage.in_force == pool && lineage.newest != pool);
    }

    /// The newest takes over when it is as good, or when its time is up; one of which nothing was built
    /// yet not before one is, in the main.
    pub(super) fn follow_hand_overs(&mut self, policy: &Policy) {
        self.handed_over.clear();
        for index in 0..self.pools.len() {
            let (key, lineage) = (self.pools[index].key, self.pools[index].lineage);
            let Lineage { in_force, newest, .. } = *self.lineage(key);
            let told = policy.in_force(key);
            if told != in_force {
                assert_eq!(told, newest, "only the newest takes over");
                let new = self.pool(newest).expect("it is known");
                let old = self.pool(in_force).filter(|old| old.proven);
                let fails = |pool: &Pool| pool.counts.failing.is_some();
                let may = new.proven || !fails(new) && old.is_some_and(fails);
                assert!(
                    old.is_none() || new.retired || may,
                    "nobody knows whether it can be built"
                );
                let group = self.lineages.iter_mut().find(|candidate| candidate.key == lineage);
                let group = group.expect("it has one");
                (group.in_force, group.hand_over_by, group.exchanged) = (newest, None, 0);
                self.retire_one(in_force);
                self.handed_over.push(in_force);
            }
        }
    }
}
