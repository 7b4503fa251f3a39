//! Pools that take each other's place: the generations of one profile and uid.
//!
//! ```text
//!              supersede                 taken over                nothing left
//!  in force ──────────────▶ in force, ─────────────────▶ retired ────────────────▶ over
//!                           with a successor
//! ```
//!
//! What is known about the demand belongs to all generations together, and so does the bound on how
//! many zygotes there may be.

use super::demand::Demand;
use super::pools::Pool;
use super::reservations::Reservations;
use super::slots::Holdings;
use super::time::Time;
use super::{Effect, Policy, PoolKey, Served};
use std::time::Duration;

/// The longest that a pool stays in force beside a successor that has shown that it can be built.
pub const HANDOVER_MAX: Duration = Duration::from_secs(10);

/// The name of a lineage: the key of its first pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LineageKey(pub(super) u64);

/// All generations of one profile and uid that are not forgotten.
#[derive(Debug)]
pub(super) struct Lineage {
    /// The oldest first.
    pub(super) members: Vec<PoolKey>,
    pub(super) in_force: PoolKey,
    /// Another than the one in force while a hand-over lasts.
    pub(super) newest: PoolKey,
    /// How many zygotes there may be of all generations together: what the newest says, or has said
    /// before it was forgotten.
    pub(super) max: u32,
    /// When the newest takes over at the latest, unless it is on trial: counted from the first build of a
    /// successor that has succeeded in this hand-over.
    pub(super) hand_over_by: Option<Time>,
    /// Warm zygotes of the pool in force that have ended in this hand-over, most of them to make room for
    /// the newest's.
    pub(super) exchanged: u32,
    pub(super) demand: Demand,
    pub(super) reservations: Reservations,
    pub(super) served: Served,
    /// When there was last an acquire or a lease.
    pub(super) active_at: Time,
}

impl Lineage {
    pub(super) fn new(first: PoolKey, max: u32, now: Time) -> Self {
        Self {
            members: vec![first],
            in_force: first,
            newest: first,
            max,
            hand_over_by: None,
            exchanged: 0,
            demand: Demand::default(),
            reservations: Reservations::default(),
            served: Served::default(),
            active_at: now,
        }
    }

    pub(super) fn hands_over(&self) -> bool {
        self.in_force != self.newest
    }
}

impl Policy {
    pub(super) fn lineage(&self, pool: PoolKey) -> Option<&Lineage> {
        self.lineages.get(&self.pools.get(&pool)?.lineage)
    }

    pub(super) fn lineage_mut(&mut self, pool: PoolKey) -> Option<&mut Lineage> {
        self.lineages.get_mut(&self.pools.get(&pool)?.lineage)
    }

    /// A pool is the newest of its lineage from now on.
    pub(super) fn succeed(&mut self, old: PoolKey, new: PoolKey, max: u32) {
        let Some(lineage) = self.lineage(old) else { return };
        // One that goes on is not to last the longer for it, unless nothing came of it.
        let goes_on = lineage.hands_over() && !self.fails(lineage.newest);
        let Some(lineage) = self.lineage_mut(old) else { return };
        let (in_force, passed_over) = (lineage.in_force, lineage.newest);
        lineage.members.push(new);
        lineage.newest = new;
        lineage.max = max;
        lineage.hand_over_by = lineage.hand_over_by.filter(|_| goes_on);
        if passed_over != in_force {
            self.retire_one(passed_over);
        }
        if self.pools.get(&in_force).is_none_or(|pool| pool.retired) {
            self.put_in_force(new);
        }
        self.touch(new);
    }

    /// The newest takes over as soon as it is as good as the one in force, or when there is no point
    /// in waiting for that. One of which nothing was ever built does not take the place of one of which
    /// something was, however long that lasts, unless that one's builds fail and its own do not.
    pub(super) fn hand_over(&mut self, now: Time, of: PoolKey) {
        let Some(lineage) = self.lineage(of).filter(|lineage| lineage.hands_over()) else { return };
        let (old, new) = (lineage.in_force, lineage.newest);
        let late = self.hand_over_by(of).is_some_and(|by| by <= now);
        let retired = self.pools.get(&new).is_none_or(|pool| pool.retired);
        let over = || match self.is_proven(new) {
            true => late || self.slots.of(new).warm() >= self.equal(now, lineage),
            false => self.is_out(now, old) && !self.fails(new),
        };
        if retired || !self.is_proven(old) || over() {
            self.put_in_force(new);
            self.retire_one(old);
        }
    }

    /// How many warm zygotes make the newest as good as the pool in force.
    fn equal(&self, now: Time, lineage: &Lineage) -> u32 {
        let warm = self.slots.of(lineage.in_force).warm().saturating_add(lineage.exchanged);
        // What is gathered for a waiter is not there for others.
        let warm = if self.waiters.of(lineage.in_force) > 0 { 0 } else { warm };
        self.target(now, lineage.newest).min(warm)
    }

    /// When a hand-over is over at the latest; one to a pool that is on trial lasts until it is not.
    pub(super) fn hand_over_by(&self, pool: PoolKey) -> Option<Time> {
        let lineage = self.lineage(pool).filter(|lineage| lineage.hands_over())?;
        lineage.hand_over_by.filter(|_| !self.is_on_trial(lineage.newest))
    }

    /// A build of a pool has succeeded. A successor has [`HANDOVER_MAX`] from its first one to be as
    /// good as the one in force, and from each that ends a row of failures.
    pub(super) fn build_succeeded(&mut self, now: Time, of: PoolKey) {
        let fails = self.fails(of);
        if let Some(lineage) = self.lineage_mut(of)
            && lineage.hands_over()
            && lineage.newest == of
            && (fails || lineage.hand_over_by.is_none())
        {
            lineage.hand_over_by = Some(now.after(HANDOVER_MAX));
        }
        if let Some(pool) = self.pools.get_mut(&of) {
            pool.circuit.succeeded();
            pool.proven = true;
        }
    }

    /// Whether the latest build of a pool has failed.
    pub(super) fn fails(&self, pool: PoolKey) -> bool {
        self.pools.get(&pool).is_some_and(|pool| pool.circuit.reason().is_some())
    }

    /// Whether nothing can be had of a pool.
    fn is_out(&self, now: Time, pool: PoolKey) -> bool {
        let holdings = self.slots.of(pool);
        let coming = holdings.warm() + holdings.spawning() + holdings.returning();
        let circuit = self.pools.get(&pool).map(|pool| &pool.circuit);
        coming == 0 && circuit.is_some_and(|circuit| circuit.refuses(now).is_some())
    }

    /// Whether anything was ever built of a pool.
    #[must_use]
    pub fn is_proven(&self, pool: PoolKey) -> bool {
        self.pools.get(&pool).is_some_and(|pool| pool.proven)
    }

    /// Whether a pool that is to take over is to show first that it can be built, which takes one
    /// zygote.
    pub(super) fn is_on_trial(&self, pool: PoolKey) -> bool {
        let newest = |lineage: &Lineage| lineage.hands_over() && lineage.newest == pool;
        let in_doubt = |pool: &Pool| !pool.proven || pool.circuit.reason().is_some();
        self.pools.get(&pool).is_some_and(|pool| in_doubt(pool) && !pool.retired)
            && self.lineage(pool).is_some_and(newest)
            && !self.draining
    }

    /// Why nothing is built for a pool, and not even tried: told of the newest one where that has a
    /// reason of its own, since it is to be mended.
    pub(super) fn why_refused(&self, now: Time, pool: PoolKey) -> Option<&str> {
        let own = self.pools.get(&pool)?.circuit.refuses(now)?;
        let newest = self.lineage(pool).and_then(|lineage| self.pools.get(&lineage.newest));
        Some(newest.and_then(|newest| newest.circuit.reason()).unwrap_or(own))
    }

    fn put_in_force(&mut self, pool: PoolKey) {
        if let Some(lineage) = self.lineage_mut(pool) {
            (lineage.in_force, lineage.hand_over_by, lineage.exchanged) = (pool, None, 0);
        }
        self.touch(pool);
    }

    pub(super) fn retire_one(&mut self, pool: PoolKey) {
        if let Some(retired) = self.pools.get_mut(&pool) {
            retired.retired = true;
        }
        self.touch(pool);
    }

    /// A retired pool keeps nothing but what its waiters are to get.
    pub(super) fn clear_out(&mut self, now: Time, pool: PoolKey, effects: &mut Vec<Effect>) {
        let surplus = |holdings: &Holdings, waiters: u32| {
            let beyond = holdings.warm() + holdings.spawning() > waiters;
            let last = || holdings.latest_build().or(holdings.stalest());
            holdings.latest_returning().or_else(|| last().filter(|_| beyond))
        };
        while let Some(slot) = surplus(self.slots.of(pool), self.waiters.of(pool)) {
            self.end(now, slot, None, effects);
        }
    }

    /// The trial of a pool may have been one more than there may be. When the pool is in force, that is
    /// for nobody to lease: one warm zygote less for it.
    pub(super) fn end_surplus(&mut self, now: Time, pool: PoolKey, effects: &mut Vec<Effect>) {
        let Some(lineage) = self.lineage(pool) else { return };
        if lineage.members.len() == 1 || lineage.hands_over() || lineage.in_force != pool {
            return;
        }
        let members = lineage.members.iter().map(|member| self.slots.of(*member).living());
        let surplus = members.fold(0, u32::saturating_add).saturating_sub(lineage.max);
        for _ in 0..surplus {
            let Some(slot) = self.slots.of(pool).stalest() else { return };
            self.end(now, slot, None, effects);
        }
    }

    /// How many more zygotes the generations of a pool may have together. The newest says how many
    /// there may be, and one more for its trial, its first zygote or another try; what there is beyond
    /// that is not ended for it.
    pub(super) fn room_of_lineage(&self, pool: PoolKey) -> u32 {
        let Some(lineage) = self.lineage(pool) else { return 0 };
        let held = lineage.members.iter().map(|member| self.slots.of(*member).total());
        let has_own_place = |newest| !self.is_proven(newest) && self.slots.of(newest).total() > 0;
        let tried = lineage.hands_over()
            && self.is_on_trial(lineage.newest)
            && (lineage.newest == pool || has_own_place(lineage.newest));
        let most = lineage.max.saturating_add(tried.into());
        most.saturating_sub(held.fold(0, u32::saturating_add))
    }

    /// Takes note of the end of a warm zygote: what the pool in force has lost meanwhile, its successor is
    /// to have before it takes over.
    pub(super) fn warm_ended(&mut self, pool: PoolKey) {
        let hands_over = |lineage: &&mut Lineage| lineage.hands_over() && lineage.in_force == pool;
        if let Some(lineage) = self.lineage_mut(pool).filter(hands_over) {
            lineage.exchanged = lineage.exchanged.saturating_add(1);
        }
    }

    /// Where the lineage has no room for a pool's builds, another generation's warm zygotes make
    /// some. For waiters as many at once as can be built at once, and first those that are on their
    /// way back, of whichever generation: it takes less time to build another one than to see that
    /// nothing is left in one. Else one after the other, each built for before the next goes, so that
    /// there is no time at which neither has any. What is gathered for a waiter goes only for who has
    /// come before that.
    pub(super) fn make_room_in_lineage(
        &mut self,
        now: Time,
        pool: PoolKey,
        waiters: u32,
        effects: &mut Vec<Effect>,
    ) {
        let Some(lineage) = self.lineage(pool) else { return };
        let mut others: Vec<PoolKey> = lineage.members.clone();
        let dying = others.iter().map(|member| self.slots.of(*member).dying()).sum::<u32>();
        let expected = others.iter().map(|member| self.slots.of(*member).expected()).sum::<u32>();
        let (places, expected) = match waiters {
            0 => (1, dying + self.slots.of(pool).spawning()),
            _ => (self.limits.builds_max.max(1).min(waiters), expected),
        };
        let all = others.clone();
        let since = self.waiters.uncovered(pool).filter(|_| waiters > 0);
        others.retain(|other| {
            let comes_before = |(first, _)| since.is_some_and(|since| since < first);
            *other != pool && self.waiters.first(*other).is_none_or(comes_before)
        });
        for _ in expected..places {
            let returning = all.iter().find_map(|any| self.slots.of(*any).latest_returning());
            let stalest = || others.iter().find_map(|other| self.slots.of(*other).stalest());
            let Some(slot) = returning.filter(|_| waiters > 0).or_else(stalest) else { return };
            self.end(now, slot, None, effects);
        }
    }
}
