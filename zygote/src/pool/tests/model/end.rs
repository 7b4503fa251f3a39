//! Whether nothing is missing when all orders have been given.

use super::{Model, Pool, State, Zygote};
use crate::pool::slots::ENDS_WITHIN;
use crate::pool::{Counts, Policy, Served};
use std::time::Duration;

impl Model {
    pub(super) fn check_counts(&self, policy: &Policy) {
        for pool in &self.pools {
            let key = pool.key;
            let lineage = self.lineage(key);
            let in_force = lineage.in_force == key;
            let want = Counts {
                warm: self.warm(key),
                leased: self.count(Some(key), |state| *state == State::Leased),
                spawning: self.spawning(Some(key)),
                returning: self.returning(Some(key)),
                dying: self.dying(Some(key)),
                quarantined: self.count(Some(key), |s| matches!(s, State::Quarantined { .. })),
                waiters: self.waiters(key),
                target: pool.counts.target,
                reserved: if pool.retired || self.draining { 0 } else { self.reserved(key) },
                served: if in_force { lineage.served } else { Served::default() },
                failing: pool.counts.failing.clone(),
                retired: pool.retired,
            };
            assert_eq!(pool.counts, want, "{key:?}");
            assert!((self.floor(pool)..=pool.settings.max).contains(&pool.counts.target));
            assert!(!pool.retired || pool.counts.target == 0);
            assert_eq!(policy.is_over(key), self.is_over(key));
            assert!(want.waiters <= pool.settings.waiters_max);
        }
        let quarantined = self.count(None, |state| matches!(state, State::Quarantined { .. }));
        assert_eq!(policy.quarantined(), quarantined);
        let alive = self.zygotes.len() as u32 - quarantined;
        assert_eq!(policy.is_drained(), self.draining && alive == 0 && self.queue.is_empty());
    }

    pub(super) fn check_nothing_is_missing(&self) {
        assert!(self.owed.is_empty(), "not destroyed: {:?}", self.owed);
        assert_eq!(self.granting, None, "it is granted only a part");
        assert_eq!(self.ended, None, "nothing has become of it");
        for waiting in &self.queue {
            assert!(waiting.deadline.is_none_or(|deadline| deadline > self.elapsed), "overdue");
            assert!(!self.draining, "nobody waits while draining");
        }
        for pool in &self.pools {
            let Some(index) = self.first(pool.key) else { continue };
            let count = self.queue[index].count;
            let held_up = index >= self.held_up_from(pool.key);
            let enough = self.warm(pool.key) >= count;
            assert!(!enough || held_up, "a waiter is kept from what it wants");
            let most = self.lineage(pool.key).max.min(self.limits.zygotes_max);
            assert!(count <= most.max(1), "a waiter can never be served");
        }
        for zygote in &self.zygotes {
            let pool = self.pool(zygote.pool).expect("it has slots");
            match zygote.state {
                State::Spawning { since } => {
                    assert!(since + pool.settings.spawn_timeout > self.elapsed, "overdue");
                    let wanted = !pool.retired || self.idle(pool.key) == 0;
                    assert!(wanted, "a retired pool builds for nobody");
                }
                State::Returning { since } => {
                    assert!(since + pool.settings.return_timeout > self.elapsed, "overdue");
                    assert!(!pool.retired && !self.draining, "a retired pool takes nothing back");
                }
                State::Warm => {
                    let wanted = !pool.retired || self.idle(pool.key) == 0;
                    assert!(wanted, "a retired pool keeps what nobody waits for");
                }
                _ => {}
            }
        }
        for lineage in self.lineages.iter().filter(|lineage| lineage.in_force == lineage.newest) {
            if self.warm(lineage.in_force) > 0 {
                assert_eq!(self.surplus(lineage), 0, "one more may be leased than there may be");
            }
        }
        for lineage in self.lineages.iter().filter(|lineage| lineage.in_force != lineage.newest) {
            let (Some(old), Some(new)) = (self.pool(lineage.in_force), self.pool(lineage.newest))
            else {
                continue;
            };
            assert!(old.proven && !new.retired, "nothing is lost with the one in force");
            if new.proven {
                let has_had = self.warm(old.key) + lineage.exchanged;
                let warm = if self.waiters(old.key) > 0 { 0 } else { has_had };
                assert!(self.warm(new.key) < new.counts.target.min(warm), "the newest is as good");
                let late = lineage.hand_over_by.is_some_and(|by| self.elapsed >= by);
                assert!(!late || self.is_on_trial(new.key), "a hand-over lasts too long");
            }
        }
    }

    /// What can be built is built, and a warm zygote gives way where there is no room.
    pub(super) fn check_builds(&self) {
        let places = self.limits.builds_max.max(1).saturating_sub(self.placed());
        let room = self.limits.zygotes_max.saturating_sub(self.zygotes.len() as u32);
        let (mut waiters, mut others) = (0, 0);
        for pool in self.pools.iter().filter(|pool| self.may_build(pool)) {
            let [for_waiters, for_batches, for_floor, _] = self.wants(pool);
            let room = self.room(pool.key);
            waiters += for_waiters.min(room);
            others += (for_batches + for_floor).min(room.saturating_sub(for_waiters));
        }
        if places > 0 && room > 0 {
            assert_eq!((waiters, others), (0, 0), "less is built than is wanted");
        }
        let soon = |since: Duration| since + ENDS_WITHIN > self.elapsed;
        let goes =
            |zygote: &&Zygote| matches!(zygote.state, State::Dying { since, .. } if soon(since));
        let expected = self.zygotes.iter().filter(goes).count() as u32;
        if room == 0 && expected < places.min(waiters) {
            let next = self.next_batch();
            let kept = |slot| self.zygote(slot).is_some_and(|it| Some(it.pool) == next);
            let all_kept = self.parked.iter().all(|slot| kept(*slot));
            assert!(all_kept, "zygotes idle while somebody waits");
            assert_eq!(self.returning(None), 0, "a waiter waits for what is on its way back");
        }
        if room == 0 && expected < places.min(waiters + others) {
            let spares = |pool: &Pool| self.waiters(pool.key) == 0 && self.spare(pool) > 0;
            assert!(!self.pools.iter().any(spares), "a floor waits for a surplus");
        }
    }

    /// The caller is woken for everything that becomes due.
    pub(super) fn check_deadline(&self, policy: &Policy) {
        let next = policy.next_deadline().map(|next| next.0);
        assert!(next.is_none_or(|next| next > self.clock), "a deadline lies in the past");
        let zygotes = self.zygotes.iter().filter_map(|zygote| {
            let settings = &self.pool(zygote.pool).expect("it has slots").settings;
            match zygote.state {
                State::Spawning { since } => Some(since + settings.spawn_timeout),
                State::Returning { since } => Some(since + settings.return_timeout),
                State::Dying { since, .. } => Some(since + settings.destroy_timeout),
                _ => None,
            }
        });
        let places = self.zygotes.iter().filter_map(|zygote| match zygote.state {
            State::Spawning { since } => Some(since + self.limits.build_counts),
            _ => None,
        });
        let ends = self.zygotes.iter().filter_map(|zygote| match zygote.state {
            State::Dying { since, .. } => Some(since + ENDS_WITHIN),
            _ => None,
        });
        let places = places.chain(ends).filter(|free| *free > self.elapsed);
        let waiters = self.queue.iter().filter_map(|waiting| waiting.deadline);
        let due = zygotes.chain(places).chain(waiters).min();
        if let Some(due) = due.map(|due| self.clock + (due - self.elapsed)) {
            assert!(next.is_some_and(|next| next <= due), "woken too late");
        }
    }
}
