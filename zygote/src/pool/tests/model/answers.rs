//! Whether each order is one that the rules allow at that moment.

use super::{Model, Pool, State, Waiting, Zygote};
use crate::pool::{Denial, Effect, PoolKey, SlotKey, Start, WaiterKey};

impl Model {
    pub(super) fn apply_effect(&mut self, effect: &Effect) {
        if let Some(batch) = self.granting {
            let goes_on = matches!(effect, Effect::Grant { waiter, .. } if *waiter == batch);
            assert!(goes_on, "{effect:?} comes between the grants of {batch:?}");
        }
        match effect {
            Effect::Spawn { pool, slot } => self.spawn(*pool, *slot),
            Effect::Grant { waiter, slot, start } => self.grant(*waiter, *slot, *start),
            Effect::Deny { waiter, why } => self.deny(*waiter, why),
            Effect::Recycle { slot, next } => self.recycle(*slot, *next),
            Effect::Destroy { slot } => {
                if self.ended == Some(*slot) {
                    self.ended = None;
                    self.become_state(*slot, State::Dying { was_ready: true, since: self.elapsed });
                    self.quarantine();
                } else if let Some(index) = self.owed.iter().position(|owed| owed == slot) {
                    self.owed.remove(index);
                } else {
                    self.destroy(*slot);
                }
            }
        }
    }

    fn spawn(&mut self, key: PoolKey, slot: SlotKey) {
        assert!(!self.draining, "nothing is built while draining");
        assert!(!self.known.contains(&slot), "a key is used twice: {slot:?}");
        assert!((self.zygotes.len() as u32) < self.limits.zygotes_max, "zygotes_max is exceeded");
        assert!(self.placed() < self.limits.builds_max.max(1), "builds_max is exceeded");
        assert!(self.room(key) > 0, "max is exceeded");
        assert!(!self.hangs(key), "more is built where a build hangs");
        let pool = self.pool(key).expect("only a known pool builds");
        let (uid, wants) = (pool.uid, self.wants(pool));
        let reason = wants.iter().position(|count| *count > 0).expect("more is built than wanted");
        for other in self.pools.iter().filter(|other| self.may_build(other)) {
            let wants = self.wants(other);
            assert!(
                wants[..reason].iter().all(|count| *count == 0),
                "{:?} comes before {key:?}: {wants:?}, not {:?}",
                other.key,
                self.wants(pool)
            );
            if wants[reason] > 0 && reason < 3 {
                self.check_turn(reason, uid, key, other);
            }
        }
        self.turns[reason].retain(|other| *other != uid);
        self.turns[reason].push(uid);
        self.known.push(slot);
        let state = State::Spawning { since: self.elapsed };
        self.zygotes.push(Zygote { slot, pool: key, state });
    }

    /// Whether a pool got a build place before another one that wants it for the same reason.
    fn check_turn(&self, reason: usize, uid: u32, key: PoolKey, other: &Pool) {
        let latest = |uid: u32| self.turns[reason].iter().position(|had| *had == uid);
        if other.uid != uid {
            assert!(latest(uid) <= latest(other.uid), "uid {} has waited longer", other.uid);
        } else if reason < 2 && other.key != key {
            let (first, others) = (self.first_lacking(key), self.first_lacking(other.key));
            assert!(first < others, "a waiter of {:?} came earlier", other.key);
        }
    }

    fn grant(&mut self, waiter: WaiterKey, slot: SlotKey, start: Start) {
        let zygote = *self.zygote(slot).expect("only what exists is granted");
        assert_eq!(zygote.state, State::Warm, "only a warm zygote is granted");
        let warm = |slot: &&SlotKey| self.zygote(**slot).is_some_and(|z| z.pool == zygote.pool);
        let last = self.parked.iter().rfind(warm);
        assert_eq!(last, Some(&slot), "the last parked is granted first");
        let index = self.first(zygote.pool).expect("somebody waits");
        assert!(
            index < self.held_up_from(zygote.pool),
            "a batch of another generation came before"
        );
        let warm = self.warm(zygote.pool);
        let waiting = &mut self.queue[index];
        assert_eq!(waiting.key, waiter, "first come, first served");
        assert!(warm >= waiting.count - waiting.granted, "a batch is granted in part");
        assert_eq!(start, waiting.start);
        waiting.granted += 1;
        let whole = waiting.granted == waiting.count;
        self.granting = (!whole).then_some(waiter);
        if whole {
            let Waiting { uid, count, .. } = self.queue.remove(index);
            if count > 1 && start != Start::Warm {
                self.batches_served.push(uid);
            }
        }
        self.become_state(slot, State::Leased);
        let served = &mut self.lineage_mut(zygote.pool).served;
        match start {
            Start::Warm => served.warm += 1,
            Start::Cold(_) => served.cold += 1,
        }
        if whole {
            self.check_quotas(zygote.pool);
        }
    }

    /// What is recycled has just been leased, and somebody may want it.
    fn recycle(&mut self, slot: SlotKey, next: SlotKey) {
        assert_eq!(self.ended.take(), Some(slot), "only what was leased until now is recycled");
        let zygote = *self.zygote(slot).expect("only what exists is recycled");
        let pool = self.pool(zygote.pool).expect("it has slots");
        assert!(pool.settings.reuse, "its pool destroys what was leased");
        assert!(!self.draining && !pool.retired, "nobody wants it any more");
        assert_eq!(self.lineage(pool.key).newest, pool.key, "it has a successor");
        assert!(!self.known.contains(&next), "a key is used twice: {next:?}");
        self.known.push(next);
        for zygote in self.zygotes.iter_mut().filter(|zygote| zygote.slot == slot) {
            zygote.slot = next;
        }
        self.become_state(next, State::Returning { since: self.elapsed });
    }

    fn check_quotas(&self, key: PoolKey) {
        let pool = self.pool(key).expect("it is known");
        let (leases, waiters) = self.asked_by(|other| other.key == key);
        let quota = pool.settings.quota;
        assert!(quota.leases.is_none_or(|limit| leases <= limit), "the pool's quota is exceeded");
        assert!(quota.waiters.is_none_or(|limit| waiters <= limit));
    }

    /// Leases and waiters together, and waiters, of some pools.
    fn asked_by(&self, which: impl Fn(&Pool) -> bool) -> (u32, u32) {
        let of = self.pools.iter().filter(|pool| which(pool));
        of.fold((0, 0), |(leases, waiters), pool| {
            let leased = self.count(Some(pool.key), |state| *state == State::Leased);
            let waiting = self.waiters(pool.key);
            (leases + leased + waiting, waiters + waiting)
        })
    }

    fn deny(&mut self, waiter: WaiterKey, why: &Denial) {
        if let Denial::DeadlineExpired | Denial::BuildFailing { .. } = why {
            self.note_activity();
        }
        let index = self.queue.iter().position(|waiting| waiting.key == waiter);
        let index = index.expect("only who waits is denied");
        let is_first = self.first(self.queue[index].pool) == Some(index);
        let waiting = self.queue.remove(index);
        let (arrives, count) = (self.arriving == Some(waiter), waiting.count);
        let Some(pool) = self.pool(waiting.pool) else {
            assert_eq!(*why, Denial::Draining, "nothing is known of its pool");
            return;
        };
        match why {
            Denial::QueueFull { waiters } => {
                assert!(arrives);
                assert_eq!(self.waiters(pool.key), *waiters);
                assert!(*waiters + count > pool.settings.waiters_max);
            }
            Denial::TooMany { what, limit } => {
                assert!(arrives || is_first, "somebody else comes first");
                let bound = match *what {
                    "pool.max" => self.lineage(pool.key).max,
                    _ => self.limits.zygotes_max,
                };
                assert!(*limit == bound && count > bound);
            }
            Denial::QuotaExceeded { what, limit } => {
                assert!(arrives);
                let of_pool = self.asked_by(|other| other.lineage == pool.lineage);
                let of_uid = self.asked_by(|other| other.uid == pool.uid);
                let quotas = [(pool.settings.quota, of_pool), (self.limits.quota, of_uid)];
                assert!(quotas.iter().any(|(quota, (leases, waiters))| match *what {
                    "leases" => quota.leases == Some(*limit) && leases + count > *limit,
                    "waiters" => quota.waiters == Some(*limit) && waiters + count > *limit,
                    _ => false,
                }));
            }
            Denial::DeadlineExpired => {
                assert!(waiting.deadline.expect("it has one") <= self.elapsed);
            }
            Denial::Draining => assert!(self.draining),
            Denial::BuildFailing { reason } => {
                let newest = self.pool(self.lineage(pool.key).newest);
                let told = newest.and_then(|newest| newest.counts.failing.as_ref());
                assert!(pool.counts.failing.is_some());
                assert_eq!(told.or(pool.counts.failing.as_ref()), Some(reason));
                let coming = self.spawning(Some(pool.key)) + self.returning(Some(pool.key));
                assert!(coming == 0 && self.warm(pool.key) < count && is_first);
            }
        }
    }

    /// Nothing that happened to the zygote demands its end: it is overdue, or not wanted, or makes
    /// room.
    fn destroy(&mut self, slot: SlotKey) {
        let zygote = *self.zygote(slot).expect("only what exists is destroyed");
        let pool = self.pool(zygote.pool).expect("it has slots");
        match zygote.state {
            State::Spawning { since } => {
                let overdue = self.elapsed >= since + pool.settings.spawn_timeout;
                assert!(overdue || (pool.retired && self.idle(pool.key) > 0), "a build is wasted");
                self.become_state(slot, State::Dying { was_ready: false, since: self.elapsed });
            }
            State::Warm => {
                let of = |parked: &&SlotKey| self.zygote(**parked).unwrap().pool == pool.key;
                let stalest = self.parked.iter().find(of);
                assert_eq!(stalest, Some(&slot), "the one parked longest goes first");
                let idle = self.idle(pool.key);
                let beyond = idle > pool.counts.target && self.waiters(pool.key) == 0;
                let surplus = pool.retired && idle > 0;
                let makes_room = self.makes_room(pool) || self.made_room(zygote.pool);
                let lineage = self.lineage(zygote.pool);
                let in_force = lineage.in_force == zygote.pool && lineage.newest == zygote.pool;
                let one_too_many = in_force && self.surplus(lineage) > 0;
                assert!(beyond || surplus || makes_room || one_too_many, "a zygote is wasted");
                self.warm_ended(slot);
                self.become_state(slot, State::Dying { was_ready: true, since: self.elapsed });
            }
            State::Returning { since } => {
                let overdue = self.elapsed >= since + pool.settings.return_timeout;
                assert!(overdue || pool.retired || self.is_in_the_way(pool), "a zygote is wasted");
                self.become_state(slot, State::Dying { was_ready: true, since: self.elapsed });
            }
            state => panic!("{slot:?} is destroyed while it is {state:?}"),
        }
        // One that is dying for no time at all may be given up at once.
        self.quarantine();
    }

    /// Whether somebody waits who can be built for only where a zygote of this pool has been, which is on
    /// its way back.
    fn is_in_the_way(&self, victim: &Pool) -> bool {
        let full = self.zygotes.len() as u32 >= self.limits.zygotes_max;
        let kin = |pool: &&Pool| pool.lineage == victim.lineage && self.room(victim.key) == 0;
        self.pools.iter().any(|pool| {
            let [for_waiters, for_batches, ..] = self.wants(pool);
            (full || kin(&pool)) && for_waiters > 0 || kin(&pool) && for_batches > 0
        })
    }

    /// The same before those were superseded that are so by now: perhaps because what has made room was
    /// the last of what they had.
    fn made_room(&mut self, victim: PoolKey) -> bool {
        let handed_over = self.handed_over.clone();
        let set = |model: &mut Self, retired| {
            for pool in model.pools.iter_mut().filter(|pool| handed_over.contains(&pool.key)) {
                pool.retired = retired;
            }
        };
        set(self, false);
        let made = self.pool(victim).is_some_and(|pool| self.makes_room(pool));
        set(self, true);
        made
    }

    /// Whether a warm zygote of this pool may go for another pool's sake.
    fn makes_room(&self, victim: &Pool) -> bool {
        let wants = |pool: &Pool| self.wants(pool).iter().sum::<u32>() > 0;
        let comes_before = |pool: &Pool| match self.first(victim.key) {
            None => true,
            gathered_for => {
                let [for_waiters, for_batches, ..] = self.wants(pool);
                for_waiters + for_batches > 0 && self.first_lacking(pool.key) < gathered_for
            }
        };
        let is_full = self.zygotes.len() as u32 >= self.limits.zygotes_max;
        let lineage = |pool: &&Pool| pool.lineage == victim.lineage && pool.key != victim.key;
        let mut kin = self.pools.iter().filter(lineage);
        let crowded = |pool: &Pool| {
            self.room(victim.key) == 0 || is_full && self.lineage(pool.key).newest == pool.key
        };
        if kin.any(|pool| wants(pool) && comes_before(pool) && crowded(pool)) {
            return true;
        }
        if !is_full || self.next_batch() == Some(victim.key) {
            return false;
        }
        let waits = |pool: &Pool| self.waiters(pool.key) > 0;
        let spare = |pool: &Pool| if waits(pool) { 0 } else { self.spare(pool) };
        let warm = |pool: &Pool| if waits(pool) { 0 } else { self.warm(pool.key) };
        let gathered = |pool: &Pool| {
            let any = waits(pool) && self.next_batch() != Some(pool.key);
            if any { self.warm(pool.key) } else { 0 }
        };
        let most = |of: &dyn Fn(&Pool) -> u32| self.pools.iter().map(of).max().unwrap_or(0);
        let wanted = |reason: usize| self.pools.iter().any(|pool| self.wants(pool)[reason] > 0);
        match (most(&spare), most(&warm)) {
            (0, 0) => wanted(0) && gathered(victim) == most(&gathered),
            (0, warmest) => wanted(0) && warm(victim) == warmest,
            (spares, _) => (0..3).any(wanted) && spare(victim) == spares,
        }
    }

    /// What a pool where nobody waits could do without.
    pub(super) fn spare(&self, pool: &Pool) -> u32 {
        self.idle(pool.key).saturating_sub(self.floor(pool)).min(self.warm(pool.key))
    }
}
