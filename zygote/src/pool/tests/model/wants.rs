//! Who waits, and what is wanted to be built.

use super::{Model, Pool, State, Waiting};
use crate::pool::PoolKey;

impl Model {
    /// In one pool, each as often as it wants a zygote.
    pub(super) fn waiters(&self, pool: PoolKey) -> u32 {
        let of = self.queue.iter().filter(|waiting| waiting.pool == pool);
        of.map(|waiting| waiting.count - waiting.granted).sum()
    }

    /// Warm, or going to be, when all that wait are served.
    pub(super) fn idle(&self, pool: PoolKey) -> u32 {
        (self.warm(pool) + self.spawning(Some(pool))).saturating_sub(self.waiters(pool))
    }

    /// Where in the queue the first waiter of a pool is.
    pub(super) fn first(&self, pool: PoolKey) -> Option<usize> {
        self.queue.iter().position(|waiting| waiting.pool == pool)
    }

    fn first_batch(&self, pool: PoolKey) -> Option<usize> {
        self.queue.iter().position(|waiting| waiting.pool == pool && waiting.count > 1)
    }

    /// Where in the queue those begin who come after a batch of another generation of their pool; the
    /// end of it, if nowhere.
    pub(super) fn held_up_from(&self, key: PoolKey) -> usize {
        let lineage = self.pool(key).map(|pool| pool.lineage);
        let others = self.pools.iter().filter(|pool| Some(pool.lineage) == lineage);
        let others = others.filter(|other| other.key != key);
        let batches = others.filter_map(|other| self.first_batch(other.key));
        batches.min().unwrap_or(self.queue.len())
    }

    /// Whether a waiter would be served if all leases but those of its own lineage ended.
    fn fits(&self, index: usize) -> bool {
        let waiting = &self.queue[index];
        let lineage = self.lineage(waiting.pool);
        let kin = self.pools.iter().filter(|pool| pool.lineage == lineage.key);
        let kept = |state: &State| matches!(state, State::Leased | State::Quarantined { .. });
        let kept: u32 = kin.map(|pool| self.count(Some(pool.key), kept)).sum();
        kept + waiting.count <= lineage.max
    }

    fn leased_by(&self, uid: u32) -> u32 {
        let of = self.pools.iter().filter(|pool| pool.uid == uid);
        of.map(|pool| self.count(Some(pool.key), |state| *state == State::Leased)).sum()
    }

    /// The pool whose first batch nothing is taken from.
    pub(super) fn next_batch(&self) -> Option<PoolKey> {
        let stuck = self.count(None, |state| matches!(state, State::Quarantined { .. }));
        let serves = |index: &usize| {
            let waiting = &self.queue[*index];
            self.first_batch(waiting.pool) == Some(*index)
                && *index < self.held_up_from(waiting.pool)
                && self.fits(*index)
                && stuck + self.leased_by(waiting.uid) + waiting.count <= self.limits.zygotes_max
        };
        let since = |index: &usize| {
            let Waiting { uid, batches_before, .. } = self.queue[*index];
            let latest = self.batches_served.iter().rposition(|served| *served == uid);
            batches_before.max(latest.map_or(0, |latest| latest + 1))
        };
        let next = (0..self.queue.len()).filter(serves).min_by_key(since);
        next.map(|index| self.queue[index].pool)
    }

    /// Where in the queue the first waiter of a pool is who lacks a zygote.
    pub(super) fn first_lacking(&self, pool: PoolKey) -> Option<usize> {
        let mut coming = self.warm(pool) + self.spawning(Some(pool));
        let mut of = self.queue.iter().enumerate().filter(|(_, waiting)| waiting.pool == pool);
        let lacks = |(_, waiting): &(usize, &Waiting)| {
            let lacks = coming < waiting.count;
            coming = coming.saturating_sub(waiting.count);
            lacks
        };
        of.find(lacks).map(|(index, _)| index)
    }

    /// How many builds those want who wait: single waiters and the next batch, and else others.
    fn waiters_want(&self, pool: PoolKey) -> [u32; 2] {
        let (held_up_from, is_next) = (self.held_up_from(pool), self.next_batch() == Some(pool));
        let mut coming = self.warm(pool) + self.spawning(Some(pool));
        let (mut wants, mut batches) = ([0, 0], 0);
        let of = self.queue.iter().enumerate().filter(|(_, waiting)| waiting.pool == pool);
        for (_, waiting) in of.take_while(|(index, _)| *index < held_up_from) {
            batches += u32::from(waiting.count > 1);
            let has = coming.min(waiting.count);
            coming -= has;
            let later = batches > u32::from(is_next);
            wants[usize::from(later)] += waiting.count - has;
        }
        let served_first = wants[0] > 0;
        let fits = is_next || self.first_batch(pool).is_none_or(|index| self.fits(index));
        if served_first || !fits {
            wants[1] = 0;
        }
        wants
    }

    /// How many builds a pool wants for each reason, as far as its own state goes.
    pub(super) fn wants(&self, pool: &Pool) -> [u32; 4] {
        let idle = self.idle(pool.key);
        let trial = u32::from(self.is_on_trial(pool.key) && idle == 0);
        let first = if pool.counts.failing.is_some() { 0 } else { trial };
        let floor = self.floor(pool).max(trial);
        let [for_waiters, for_batches] = self.waiters_want(pool.key);
        [
            for_waiters.max(first),
            for_batches,
            floor.saturating_sub(idle.max(first)),
            pool.counts.target.saturating_sub(idle.max(floor)),
        ]
    }
}
