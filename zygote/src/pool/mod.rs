//! The policy over the pools of a server: facts in, orders out.
//!
//! ```text
//!          there is room             ready            granted
//!  Empty ────────────────▶ Spawning ───────▶ Warm ───────────────▶ Leased
//!    ▲                         │               │ ▲                    │ │ released, and
//!    │                         │               │ │    clean           │ ▼ wanted back
//!    │                         │               │ └────────────────── Returning
//!    │                         │ failed, lost   │ died, lost, shrunk,  │ released, hung up,
//!    │                         │ not wanted     │ gives way            │ past its time, died,
//!    │                         ▼               ▼                      ▼ in doubt
//!    ├───────────────────────────────── Dying ◀─────────────────────────
//!    │      nothing is left of it         │ its end does not come
//!    └────────────────────────────── Quarantined
//! ```
//!
//! Pure code. It does no I/O, holds no descriptor, knows no other module of ours, and has no clock:
//! `now` comes in with each event, [`Policy::next_deadline`] goes out. So all that it decides can be
//! tested by telling it stories, and all that it knows is plain data.
//!
//! * `event`: the vocabulary, [`Event`] and [`Effect`];
//! * `settings`: what a server and a pool are set to;
//! * `slots`: zygotes and their states, with the table of their changes;
//! * `waiters`: the queues;
//! * `acquires`: what becomes of an acquire; `batches`: of one for several zygotes; `reports`: what
//!   becomes of what is heard of zygotes; `settling`: what becomes possible or due by either, or by time
//!   alone;
//! * `demand`: how many zygotes are worth keeping; `reservations`: how many are asked for;
//! * `refill`: what is built next and what makes room; `turns`: whose turn it is; `pacing`: how fast;
//! * `circuit`: whether builds are worth trying;
//! * `generations`: pools that take each other's place;
//! * `time`: moments, and what to do about a clock that jumps back.
//!
//! The rules:
//! * A zygote is granted once, to one waiter, and only while it is warm; the last one parked first.
//! * Every waiter is answered once, unless it leaves first; within a pool first come, first served.
//! * A batch gets all of its zygotes at once, or none, and has none while it waits (see `batches`).
//! * What is spawning, warm, leased, returning, dying and quarantined together never exceeds what a
//!   pool and the server may have. No more builds take a place at once than may, each for
//!   `build_counts` at the longest: what hangs is counted on and takes nobody's place, and its pool gets
//!   no other one meanwhile.
//! * Build places go to waiters first, then to batches but the next, then to the floors of pools, then
//!   to what was learned; in each of the four one uid after the other, and to the waiters of one uid
//!   by their arrival.
//! * Nobody starves: of `n` uids that wait, each gets every `n`-th build place at the least, as long
//!   as its pools have room. A waiter with `k` others before it in its uid has its own after at most
//!   `n · (k + 1)` places have been given, each of which is free again after `build_counts` at the
//!   latest. Where the server has no room, somebody's warm zygote gives way, and if its end is not
//!   there within `ENDS_WITHIN`, another one; so only leases keep a waiter waiting for longer, ends
//!   that do not come where there is nothing else to give way, and what is
//!   gathered for the next batch, for as long as leases keep that one waiting. Batches of `n` uids
//!   are served one uid after the other, so that before each there is one of every other uid at most.
//! * The world is unreliable: a report about a zygote that is gone, a repeated one, or one that
//!   does not fit the zygote's state changes nothing. No input panics.
//!
//! An event costs the logarithm of what exists, times the generations of one profile and uid that
//! still have leases, and while batches wait as much as there are pools with one and CPUs; but the loss
//! of a template costs as much as its pool has, and so does drain.

mod acquires;
mod batches;
mod circuit;
mod demand;
mod event;
mod generations;
mod pacing;
mod pools;
mod refill;
mod reports;
mod reservations;
mod settings;
mod settling;
mod slots;
#[cfg(test)]
mod tests;
mod time;
mod turns;
mod waiters;

pub use event::{ColdReason, Denial, Effect, Event, Start};
pub use generations::HANDOVER_MAX;
pub use pools::PoolKey;
pub use reservations::RESERVATIONS_MAX;
pub use settings::{Limits, Pace, Quota, Settings};
pub use slots::SlotKey;
pub use time::Time;
pub use waiters::WaiterKey;

use acquires::Asked;
use generations::{Lineage, LineageKey};
use pools::Pool;
use slots::{Slot, Slots, change_count};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use time::Timeline;
use turns::{Ranking, Turns};
use waiters::Waiters;

/// How a pool stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "each count is named after the state or key that it counts")]
pub struct Counts {
    pub warm: u32,
    pub leased: u32,
    pub spawning: u32,
    pub returning: u32,
    /// Without those that are quarantined.
    pub dying: u32,
    pub quarantined: u32,
    /// Each as often as it wants a zygote.
    pub waiters: u32,
    /// Zygotes that are wanted warm when nobody waits.
    pub target: u32,
    /// Zygotes that are reserved: no more than the pool may have, nor its user lease.
    pub reserved: u32,
    /// Of the pool's whole lineage, as long as it is the one in force.
    pub served: Served,
    /// Why the latest build failed, unless one has succeeded since.
    pub failing: Option<String>,
    /// Whether it has been superseded, or retired without a successor.
    pub retired: bool,
}

/// Zygotes granted so far, by how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Served {
    /// At once.
    pub warm: u64,
    /// After queueing.
    pub cold: u64,
}

/// The pools of a server under one budget.
#[derive(Debug)]
pub struct Policy {
    limits: Limits,
    timeline: Timeline,
    slots: Slots,
    waiters: Waiters,
    pools: BTreeMap<PoolKey, Pool>,
    lineages: BTreeMap<LineageKey, Lineage>,
    next_pool: u64,
    pools_by: BTreeMap<u32, u32>,
    /// Who wants build places, by [`refill::Class`].
    turns: [Turns; 4],
    /// Pools where nobody waits by their warm zygotes, and by those that are beyond their floor; and
    /// by what is gathered for their waiters, but for the next batch.
    warm: Ranking,
    spare: Ranking,
    gathered: Ranking,
    /// Whose first batch is the next to be served.
    next_batch: Option<PoolKey>,
    alarms: BTreeSet<(Time, PoolKey)>,
    /// Pools to which something has happened that is not seen to yet.
    touched: BTreeSet<PoolKey>,
    /// Acquires of which nothing has been learned yet.
    arrived: Vec<(PoolKey, Time)>,
    draining: bool,
}

impl Policy {
    /// Without any pool.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            timeline: Timeline::default(),
            slots: Slots::default(),
            waiters: Waiters::default(),
            pools: BTreeMap::new(),
            lineages: BTreeMap::new(),
            next_pool: 0,
            pools_by: BTreeMap::new(),
            turns: Default::default(),
            warm: Ranking::default(),
            spare: Ranking::default(),
            gathered: Ranking::default(),
            next_batch: None,
            alarms: BTreeSet::new(),
            touched: BTreeSet::new(),
            arrived: Vec::new(),
            draining: false,
        }
    }

    /// Changes the budget. What exists beyond it is not ended for it, but nothing is built until
    /// there is room.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
        // There may be room now, another number may be reserved, and what a batch wants may be more than
        // there may ever be.
        self.touched.extend(self.pools.keys());
    }

    /// Whether there are as many zygotes as there may be, none of which is on its way or going.
    #[must_use]
    pub fn is_full(&self) -> bool {
        let totals = self.slots.totals();
        totals.filled >= self.limits.zygotes_max && totals.spawning + totals.dying == 0
    }

    /// Makes a pool for a user. It builds nothing before the next event, of whatever kind.
    pub fn add(&mut self, uid: u32, settings: Settings) -> PoolKey {
        let key = self.new_key();
        let lineage = LineageKey(key.0);
        self.lineages.insert(lineage, Lineage::new(key, settings.max, self.timeline.now()));
        self.insert(key, Pool::new(uid, settings, lineage));
        key
    }

    /// Makes a pool that takes the place of `old`: the same profile and uid, in a new generation.
    ///
    /// While the hand-over lasts, `old` stays in force. It is over when the new one has as many
    /// warm zygotes as its target says or as the old one has and has lost meanwhile but to leases,
    /// whichever is less; or [`HANDOVER_MAX`] after its first build has succeeded. A new one of which
    /// nothing was built yet, or whose builds fail, is on trial: one is built whatever its target, and
    /// before anything was it takes over only where the old one cannot be built either and it is not
    /// known to fail. When it is over, the new one is in force, and the old one is retired.
    /// Both together never exceed the new `max`, and one more for a trial, by anything that is built
    /// from now on: where that, or the server, has no room for the new one's builds, warm zygotes of
    /// the old one make it, one for each. Leases never exceed it, but for those that there are and
    /// those of what was warm.
    ///
    /// A pool that is superseded while it is itself a successor is retired at once, and its
    /// predecessor stays in force until the newest takes over, for no longer than it would have unless
    /// the builds of the former failed. What was learned of the demand, reservations and served counts
    /// are those of all generations together.
    ///
    /// The successor of a pool that is not known is itself not known.
    pub fn supersede(&mut self, old: PoolKey, settings: Settings) -> PoolKey {
        let key = self.new_key();
        if let Some(&Pool { uid, lineage, .. }) = self.pools.get(&old) {
            self.insert(key, Pool::new(uid, settings, lineage));
            self.succeed(old, key, settings.max);
        }
        key
    }

    /// Retires a pool without a successor, and all generations of it: its profile is no more. It
    /// wants nothing warm, serves the waiters that it has or gets, and is over when nothing of it is
    /// left.
    pub fn retire(&mut self, pool: PoolKey) {
        let members = self.lineage(pool).map(|lineage| lineage.members.clone());
        for member in members.unwrap_or_default() {
            self.retire_one(member);
        }
    }

    /// Which pool acquires for the lineage of `newest` are to be told to: the one in force.
    #[must_use]
    pub fn in_force(&self, newest: PoolKey) -> PoolKey {
        self.lineage(newest).map_or(newest, |lineage| lineage.in_force)
    }

    /// Whether a retired pool has nothing left: no slot and no waiter. So is one that is not known.
    #[must_use]
    pub fn is_over(&self, pool: PoolKey) -> bool {
        let retired = self.pools.get(&pool).is_none_or(|pool| pool.retired);
        retired && self.slots.of(pool).total() == 0 && self.waiters.of(pool) == 0
    }

    /// Forgets a pool that is over; another one is kept. Its key is never used again: events about
    /// it are ignored, except that an acquire is denied.
    pub fn forget(&mut self, key: PoolKey) {
        if !self.is_over(key) {
            return;
        }
        let Some(pool) = self.pools.remove(&key) else { return };
        if let Some(lineage) = self.lineages.get_mut(&pool.lineage) {
            lineage.members.retain(|member| *member != key);
            if lineage.members.is_empty() {
                self.lineages.remove(&pool.lineage);
            }
        }
        if let Some(alarm) = pool.alarm {
            self.alarms.remove(&(alarm, key));
        }
        self.touched.remove(&key);
        self.slots.forget(key);
        self.warm.set(key, 0);
        self.spare.set(key, 0);
        self.gathered.set(key, 0);
        change_count(&mut self.pools_by, pool.uid, -1);
        let last = !self.pools_by.contains_key(&pool.uid);
        for turns in &mut self.turns {
            turns.set(key, None);
            if last {
                turns.forget(pool.uid);
            }
        }
        if last {
            self.waiters.forget(pool.uid);
        }
    }

    /// Keeps `count` zygotes warm for `ttl`, in addition to other reservations of this pool and as
    /// far as `max`, the budget and the user's quotas of leases allow; zero ends all its reservations.
    /// Returns how many are reserved now. Of more than [`RESERVATIONS_MAX`] the earliest to expire gives
    /// way.
    ///
    /// A reservation is one of the pool's whole lineage. Like [`Self::add`], it builds nothing
    /// before the next event.
    pub fn reserve(&mut self, now: Time, pool: PoolKey, count: u32, ttl: Duration) -> u32 {
        let now = self.timeline.advance(now);
        let Some(lineage) = self.lineage_mut(pool) else { return 0 };
        lineage.reservations.expire(now);
        match count {
            0 => lineage.reservations.clear(),
            _ => lineage.reservations.add(now.after(ttl), count),
        }
        self.touch(pool);
        self.reserved(pool)
    }

    /// Why nothing is built for a pool at present, and not even tried.
    pub fn refuses(&mut self, now: Time, pool: PoolKey) -> Option<&str> {
        let now = self.timeline.advance(now);
        self.why_refused(now, pool)
    }

    /// Takes note of an event, and appends what is to be done about it, in order.
    pub fn handle(&mut self, now: Time, event: Event, effects: &mut Vec<Effect>) {
        self.note(now, event, effects);
        self.settle(now, effects);
    }

    /// As [`Self::handle`], but leaves to [`Self::settle`] all that need not be done at once: who asks
    /// and finds a warm zygote has it after this. That is next, unless more such acquires are noted
    /// first, or ends of leases.
    pub fn note(&mut self, now: Time, event: Event, effects: &mut Vec<Effect>) {
        let now = self.timeline.advance(now);
        match event {
            Event::AcquireRequested { pool, waiter, count, deadline, first_use } => {
                let cold = if first_use { ColdReason::FirstUse } else { ColdReason::Exhausted };
                let asked = Asked { pool, waiter, count: count.max(1), deadline, cold };
                self.acquire(now, &asked, effects);
            }
            Event::WaiterLeft { waiter } => {
                if let Some(waiter) = self.waiters.remove(waiter) {
                    self.active(now, waiter.pool);
                }
            }
            Event::ZygoteReady { slot } => self.zygote_ready(now, slot),
            Event::SpawnFailed { slot, reason } => self.spawn_failed(now, slot, reason),
            Event::SetupFailed { slot, reason } => {
                if matches!(self.slots.get(slot), Slot::Spawning { .. }) {
                    self.end(now, slot, Some(reason), effects);
                }
            }
            Event::ZygoteDied { slot } => {
                let reason = "a zygote died before it was ready".to_owned();
                self.end(now, slot, Some(reason), effects);
            }
            Event::LeaseEnded { slot } => self.lease_ended(now, slot, effects),
            Event::RecycleRefused { slot } => {
                if matches!(self.slots.get(slot), Slot::Returning { .. }) {
                    self.end(now, slot, None, effects);
                }
            }
            Event::ZygoteGone { slot } => {
                self.clear(now, slot, "a zygote was gone before it was ready".into());
            }
            Event::TemplateLost { pool, reason } => self.template_lost(now, pool, &reason, effects),
            Event::TimePassed => {}
            Event::DrainStarted => self.drain(now, effects),
        }
    }

    /// When to tell that time has passed, if nothing else is heard before: by the caller's clock as
    /// of the latest event, and at once where a change made by other means than an event is still to
    /// be acted upon.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Time> {
        if !self.touched.is_empty() {
            return Some(self.timeline.callers(self.timeline.now()));
        }
        let alarm = self.alarms.first().map(|&(at, _)| at);
        let deadlines = [self.waiters.next_deadline(), self.slots.next_deadline(), alarm];
        deadlines.into_iter().flatten().min().map(|own| self.timeline.callers(own))
    }

    /// How a pool stands; nothing of everything for one that is not known.
    #[must_use]
    pub fn counts(&self, key: PoolKey) -> Counts {
        let Some(pool) = self.pools.get(&key) else { return Counts::default() };
        let holdings = self.slots.of(key);
        let in_force = self.lineage(key).filter(|lineage| lineage.in_force == key);
        Counts {
            warm: holdings.warm(),
            leased: holdings.leased(),
            spawning: holdings.spawning(),
            returning: holdings.returning(),
            dying: holdings.dying(),
            quarantined: holdings.quarantined(),
            waiters: self.waiters.of(key),
            target: self.target(self.timeline.now(), key),
            reserved: self.reserved(key),
            served: in_force.map_or(Served::default(), |lineage| lineage.served),
            failing: pool.circuit.reason().map(str::to_owned),
            retired: pool.retired,
        }
    }

    /// After `DrainStarted`: whether no waiter is left, and no zygote but quarantined ones.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        let totals = self.slots.totals();
        self.draining && totals.filled == totals.quarantined && self.waiters.is_empty()
    }

    /// Zygotes whose end does not come, over all pools.
    #[must_use]
    pub fn quarantined(&self) -> u32 {
        self.slots.totals().quarantined
    }

    fn new_key(&mut self) -> PoolKey {
        self.next_pool += 1;
        PoolKey(self.next_pool)
    }

    fn insert(&mut self, key: PoolKey, pool: Pool) {
        change_count(&mut self.pools_by, pool.uid, 1);
        self.pools.insert(key, pool);
        self.touched.insert(key);
    }

    fn reserved(&self, key: PoolKey) -> u32 {
        let Some(Pool { settings, retired: false, .. }) = self.pools.get(&key) else { return 0 };
        let reserved = self.lineage(key).map_or(0, |lineage| lineage.reservations.total());
        let quotas = [settings.quota.leases, self.limits.quota.leases].into_iter().flatten();
        let most = quotas.fold(settings.max.min(self.limits.zygotes_max), u32::min);
        if self.draining { 0 } else { reserved.min(most) }
    }

    /// Something has happened to a pool: it and its other generations are to be seen to.
    fn touch(&mut self, key: PoolKey) {
        let Some(pool) = self.pools.get(&key) else { return };
        if let Some(lineage) = self.lineages.get(&pool.lineage) {
            self.touched.extend(&lineage.members);
        }
    }
}
