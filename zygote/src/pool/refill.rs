//! What is built next, and what makes room for it.
//!
//! What a pool wants to be built is wanted for one of four reasons, and a build place goes to the
//! first of them that anybody has: waiters, batches, the floor, the target. Among the pools that have
//! the same reason it goes by [`Turns`](super::turns::Turns).

use super::pools::Pool;
use super::time::Time;
use super::turns::{Turns, Want};
use super::{Effect, Policy, PoolKey};

/// Why a zygote is wanted, the most urgent first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// Somebody waits for it: for it alone, or for the next batch.
    Waiters,
    /// Another batch waits for it, or somebody behind one.
    Batches,
    /// Fewer are warm or on their way than `min` or reservations say.
    Floor,
    /// Fewer are warm or on their way than demand suggests.
    Target,
}

impl Class {
    pub(super) const ALL: [Self; 4] = [Self::Waiters, Self::Batches, Self::Floor, Self::Target];
}

/// How many builds a pool wants, for which reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Wants {
    /// Indexed by [`Class`].
    counts: [u32; 4],
    /// When there may be more, if time alone can bring that about.
    again_at: Option<Time>,
}

impl Wants {
    fn of_waiters(&self) -> u32 {
        self.counts[Class::Waiters as usize].saturating_add(self.counts[Class::Batches as usize])
    }

    fn total(&self) -> u32 {
        self.counts.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// No more than that, the most urgent first.
    fn limit(&mut self, mut to: u32) {
        for count in &mut self.counts {
            *count = (*count).min(to);
            to -= *count;
        }
    }
}

impl Policy {
    /// Zygotes of a pool that are warm or will be, when all that wait are served by what is there and
    /// on its way.
    pub(super) fn idle(&self, pool: PoolKey) -> u32 {
        let holdings = self.slots.of(pool);
        (holdings.warm() + holdings.spawning()).saturating_sub(self.waiters.of(pool))
    }

    /// Says what a pool wants from now on, and makes room for it among its generations.
    pub(super) fn publish_wants(
        &mut self,
        now: Time,
        key: PoolKey,
        effects: &mut Vec<Effect>,
    ) -> Option<Time> {
        let mut wants = self.wants(now, key);
        let mut room = self.room_of_lineage(key);
        let left = self.limits.zygotes_max.saturating_sub(self.slots.totals().filled);
        let handing_over = self.lineage(key).filter(|lineage| lineage.hands_over());
        let handing_over = handing_over.filter(|_| wants.of_waiters() == 0);
        let yields = handing_over.is_some_and(|lineage| lineage.in_force == key);
        let takes_over = handing_over.is_some_and(|lineage| lineage.newest == key);
        if yields {
            // The successor's part comes first: what it has is what is going to stay.
            room = room.min(left).saturating_sub(self.missing_of_successor(now, key));
        } else if (room == 0 || takes_over && left == 0)
            && wants.total() > 0
            // Nobody gives way to what has failed: it has a place of its own.
            && !(self.is_on_trial(key) && self.fails(key))
        {
            self.make_room_in_lineage(now, key, wants.of_waiters(), effects);
        }
        wants.limit(room);
        let pool = self.pools.get(&key)?;
        let first = self.waiters.uncovered(key).unwrap_or(0);
        let orders = [first, first, pool.turns[0], pool.turns[1]];
        for ((turns, count), order) in self.turns.iter_mut().zip(wants.counts).zip(orders) {
            let want = Want { uid: pool.uid, order, count };
            turns.set(key, (count > 0).then_some(want));
        }
        wants.again_at
    }

    /// What the successor of a pool in force is still to have; on trial it has a place of its own.
    fn missing_of_successor(&self, now: Time, key: PoolKey) -> u32 {
        let newest = self.lineage(key).map(|lineage| lineage.newest);
        let Some(newest) = newest.filter(|newest| !self.is_on_trial(*newest)) else { return 0 };
        let tries = self.pools.get(&newest).map_or(0, |pool| pool.circuit.allows(now));
        self.target(now, newest).saturating_sub(self.idle(newest)).min(tries)
    }

    fn wants(&self, now: Time, key: PoolKey) -> Wants {
        let mut wants = Wants::default();
        let Some(pool) = self.pools.get(&key) else { return wants };
        if self.draining {
            return wants;
        }
        let idle = self.idle(key);
        let (floor, target) = (self.floor(now, key), self.target(now, key));
        let [for_waiters, for_batches] = self.lacking(key);
        // Whoever waits for it or not: a trial comes first, and those after it when nobody waits.
        let trial = u32::from(idle == 0 && self.is_on_trial(key));
        let first = if trial > 0 && self.fails(key) { 0 } else { trial };
        let floor = floor.max(trial);
        wants.counts = [
            for_waiters.max(first),
            for_batches,
            floor.saturating_sub(idle.max(first)),
            target.saturating_sub(idle.max(floor)),
        ];
        if wants.total() == 0 {
            return wants;
        }
        // Whatever keeps one build from getting on is likely to keep the next one from it as well.
        wants.limit(if self.slots.of(key).hangs() { 0 } else { pool.circuit.allows(now) });
        wants.again_at = pool.circuit.retry_at(now);
        let for_target = &mut wants.counts[Class::Target as usize];
        if *for_target > 0 {
            match pool.pacing.allows(now, &pool.settings.pace, self.acquired(key)) {
                Ok(allowed) => *for_target = (*for_target).min(allowed),
                Err(due) => {
                    *for_target = 0;
                    wants.again_at = Some(due);
                }
            }
        }
        wants
    }

    fn acquired(&self, key: PoolKey) -> Option<Time> {
        self.lineage(key)?.demand.latest()
    }

    /// Gives one build place away, or has a warm zygote make room. Returns whether it did either.
    pub(super) fn build_one(&mut self, now: Time, effects: &mut Vec<Effect>) -> bool {
        let totals = self.slots.totals();
        let places = self.limits.builds_max.max(1).saturating_sub(self.slots.placed());
        let room = self.limits.zygotes_max.saturating_sub(totals.filled);
        let next = Class::ALL
            .into_iter()
            .find_map(|class| self.turns[class as usize].next().map(|pool| (class, pool)));
        match next {
            None => false,
            Some(_) if places == 0 => false,
            Some((class, pool)) if room > 0 => {
                self.build(now, class, pool, effects);
                true
            }
            Some(_) => self.give_way(now, places, effects),
        }
    }

    fn build(&mut self, now: Time, class: Class, key: PoolKey, effects: &mut Vec<Effect>) {
        let acquired = self.acquired(key);
        let Some(pool) = self.pools.get_mut(&key) else { return };
        let turn = self.turns[class as usize].taken(pool.uid);
        match class {
            Class::Waiters | Class::Batches => {}
            Class::Floor => pool.turns[0] = turn,
            Class::Target => {
                pool.turns[1] = turn;
                pool.pacing.ordered(now, &pool.settings.pace, acquired);
            }
        }
        let deadline = now.after(pool.settings.spawn_timeout);
        let placed_until = now.after(self.limits.build_counts);
        let slot = self.slots.spawn(now, key, placed_until, deadline);
        pool.circuit.tried(slot);
        effects.push(Effect::Spawn { pool: key, slot });
        self.touch(key);
    }

    /// There is no room at all: a warm zygote that its pool does not need for its floor is
    /// destroyed for a pool that is below its own, and for a batch; for a waiter, any other as well, of
    /// the pool that has the most, last one that is gathered for another batch, but first one that is
    /// on its way back. As many zygotes as are on their way out anyhow are not asked for again, unless their
    /// ends take too long, nor more than can be built at once.
    fn give_way(&mut self, now: Time, places: u32, effects: &mut Vec<Effect>) -> bool {
        let [waiters, batches, floors, _] = self.turns.each_ref().map(Turns::wanted);
        let expected = u64::from(self.slots.expected());
        if expected >= (waiters + batches + floors).min(u64::from(places)) {
            return false;
        }
        let (mut pool, mut victim) = (self.spare.highest(), None);
        if expected < waiters {
            pool = pool.or_else(|| self.warm.highest()).or_else(|| self.gathered.highest());
            victim = self.slots.latest_returning();
        }
        let stalest = || pool.and_then(|pool| self.slots.of(pool).stalest());
        let Some(slot) = victim.or_else(stalest) else { return false };
        self.end(now, slot, None, effects);
        true
    }

    /// Whether a pool has use for the zygote of a lease that is over.
    ///
    /// To see that nothing is left in it takes tens of milliseconds, and to build one takes one. So
    /// what is on its way back counts neither for waiters nor as warm, and where anybody waits for
    /// a place it is not worth one. Else as many are taken back as are missing to the target, and
    /// those that have been asked for of late: by the time that they are back, as many are asked
    /// for again.
    pub(super) fn wants_back(&self, now: Time, key: PoolKey) -> bool {
        let Some(Pool { settings, retired: false, .. }) = self.pools.get(&key) else {
            return false;
        };
        if !settings.reuse || self.draining {
            return false;
        }
        let Some(lineage) = self.lineage(key) else { return false };
        let superseded = lineage.newest != key;
        let waits = self.waiters.uncovered(key).is_some();
        let full = self.slots.totals().filled >= self.limits.zygotes_max;
        let [waiters, batches, ..] = self.turns.each_ref().map(Turns::wanted);
        let elsewhere = full && waiters + batches > 0;
        if superseded || waits || elsewhere {
            return false;
        }
        let wanted = self.target(now, key).saturating_add(lineage.demand.of_late(now));
        self.idle(key) + self.slots.of(key).returning() < wanted
    }

    /// Destroys a zygote that is beyond the target, one per tick. Returns when the next one's time
    /// is up.
    pub(super) fn shrink(
        &mut self,
        now: Time,
        key: PoolKey,
        effects: &mut Vec<Effect>,
    ) -> Option<Time> {
        let excess = self.idle(key).saturating_sub(self.target(now, key));
        // While anybody waits, what is warm is gathered.
        let too_many = excess > 0 && self.waiters.of(key) == 0;
        let stalest = self.slots.of(key).stalest().filter(|_| too_many);
        let pool = self.pools.get_mut(&key)?;
        let Some(slot) = stalest else {
            pool.excess_since = None;
            return None;
        };
        let since = *pool.excess_since.get_or_insert(now);
        let due = since.after(pool.settings.pace.tick);
        if now < due {
            return Some(due);
        }
        pool.excess_since = Some(now);
        self.end(now, slot, None, effects);
        None
    }

    /// Says which pools could spare what.
    pub(super) fn rank(&mut self, now: Time, key: PoolKey) {
        let warm = self.slots.of(key).warm();
        let spare = self.idle(key).saturating_sub(self.floor(now, key)).min(warm);
        let (warm, spare, gathered) = match self.waiters.of(key) {
            0 => (warm, spare, 0),
            _ if self.next_batch == Some(key) => (0, 0, 0),
            _ => (0, 0, warm),
        };
        self.warm.set(key, warm);
        self.spare.set(key, spare);
        self.gathered.set(key, gathered);
    }

    /// How many zygotes a pool is to have warm in any case: at most `max`.
    pub(super) fn floor(&self, now: Time, key: PoolKey) -> u32 {
        let Some(Pool { settings, retired: false, .. }) = self.pools.get(&key) else { return 0 };
        let min = if self.sleeps_at(key).is_some_and(|at| at <= now) { 0 } else { settings.min };
        if self.draining { 0 } else { min.max(self.reserved(key)).min(settings.max) }
    }

    /// How many zygotes a pool is to have warm: what it has learned, at least its floor and at most
    /// `max`.
    pub(super) fn target(&self, now: Time, key: PoolKey) -> u32 {
        let Some(Pool { settings, retired: false, .. }) = self.pools.get(&key) else { return 0 };
        let floor = self.floor(now, key);
        if self.draining || self.sleeps_at(key).is_some_and(|at| at <= now) {
            return floor;
        }
        let learned = self.lineage(key).map(|lineage| lineage.demand.target(now, &settings.pace).0);
        learned.unwrap_or(0).max(floor).min(settings.max)
    }

    /// When a pool goes to sleep, unless something happens: not while anybody has a lease or waits.
    pub(super) fn sleeps_at(&self, key: PoolKey) -> Option<Time> {
        let after = self.pools.get(&key)?.settings.pace.sleep?;
        let lineage = self.lineage(key)?;
        let busy = |pool: &PoolKey| self.slots.of(*pool).leased() > 0 || self.waiters.of(*pool) > 0;
        if lineage.members.iter().any(busy) {
            return None;
        }
        Some(lineage.active_at.after(after))
    }
}
