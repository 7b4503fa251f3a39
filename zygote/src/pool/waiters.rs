//! The queues of all pools: waiters in the order of their arrival, each findable by its key and by
//! its deadline.
//!
//! A waiter wants one zygote, or several at once: a *batch*, which is one entry and counts as many.
//!
//! A pool's queue has two parts. What is warm or being built for the pool *covers* waiters, the first
//! ones, each whole; build places are still wanted for those behind them, of whom the first may have
//! a part already. So the first waiter that lacks something is known without counting.

use super::PoolKey;
use super::event::ColdReason;
use super::slots::change_count;
use super::time::Time;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// The caller's name for a waiter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WaiterKey(pub u64);

/// A queued acquire.
#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) key: WaiterKey,
    pub(super) pool: PoolKey,
    pub(super) uid: u32,
    /// How many zygotes it is to get, all at once: at least one.
    pub(super) count: u32,
    /// In the policy's own time.
    pub(super) deadline: Option<Time>,
    /// What a grant will say: whoever queues did not find what it asked for warm.
    pub(super) cold: ColdReason,
}

/// One pool's, by ticket: a number that grows with each arrival over all pools.
#[derive(Debug, Default)]
struct Queue {
    covered: BTreeMap<u64, Waiter>,
    uncovered: BTreeMap<u64, Waiter>,
    /// Tickets of those that want more than one, and how many batches had been served when each came.
    batches: BTreeMap<u64, u64>,
    /// Zygotes that are waited for, and those of them by covered waiters.
    wanted: u32,
    covered_wanted: u32,
    /// Zygotes that are warm or being built.
    coming: u32,
}

impl Queue {
    fn first(&self) -> Option<(&u64, &Waiter)> {
        self.covered.first_key_value().or(self.uncovered.first_key_value())
    }

    /// What the first uncovered waiter has of what it wants.
    fn part(&self) -> u32 {
        self.coming.saturating_sub(self.covered_wanted)
    }
}

/// First in, first out within a pool, with an exit at any point.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    next_ticket: u64,
    queues: BTreeMap<PoolKey, Queue>,
    tickets: HashMap<WaiterKey, (PoolKey, u64)>,
    deadlines: BTreeSet<(Time, WaiterKey)>,
    /// The first batch of each pool that has one.
    first_batches: BTreeSet<(u64, PoolKey)>,
    waiting_by: BTreeMap<u32, u32>,
    /// How many batches have been served that had to wait, and how many with the latest of each uid.
    batches_served: u64,
    latest_batches: BTreeMap<u32, u64>,
}

impl Waiters {
    /// Whether nobody waits in any pool.
    pub(super) fn is_empty(&self) -> bool {
        self.tickets.is_empty()
    }

    /// In one pool, each as often as it wants a zygote.
    pub(super) fn of(&self, pool: PoolKey) -> u32 {
        self.queues.get(&pool).map_or(0, |queue| queue.wanted)
    }

    /// Of one uid, over all pools, counted in the same way.
    pub(super) fn waiting_by(&self, uid: u32) -> u32 {
        self.waiting_by.get(&uid).copied().unwrap_or(0)
    }

    pub(super) fn contains(&self, key: WaiterKey) -> bool {
        self.tickets.contains_key(&key)
    }

    /// Puts a waiter last. Its key must not be in a queue.
    pub(super) fn push(&mut self, waiter: Waiter) {
        let (pool, ticket) = (waiter.pool, self.next_ticket);
        self.next_ticket += 1;
        self.tickets.insert(waiter.key, (pool, ticket));
        if let Some(deadline) = waiter.deadline {
            self.deadlines.insert((deadline, waiter.key));
        }
        change_count(&mut self.waiting_by, waiter.uid, i64::from(waiter.count));
        let queue = self.queues.entry(pool).or_default();
        queue.wanted = queue.wanted.saturating_add(waiter.count);
        if waiter.count > 1 {
            if queue.batches.is_empty() {
                self.first_batches.insert((ticket, pool));
            }
            queue.batches.insert(ticket, self.batches_served);
        }
        queue.uncovered.insert(ticket, waiter);
    }

    /// Takes the one that has waited longest for zygotes of this pool.
    pub(super) fn pop(&mut self, pool: PoolKey) -> Option<Waiter> {
        let key = self.queues.get(&pool)?.first()?.1.key;
        self.remove(key)
    }

    /// Takes one of those whose deadline is not later than `now`, the earliest first.
    pub(super) fn pop_expired(&mut self, now: Time) -> Option<Waiter> {
        let &(deadline, key) = self.deadlines.first()?;
        if deadline > now {
            return None;
        }
        self.remove(key)
    }

    /// Takes one out of the middle, if it is there.
    pub(super) fn remove(&mut self, key: WaiterKey) -> Option<Waiter> {
        let (pool, ticket) = self.tickets.remove(&key)?;
        let queue = self.queues.get_mut(&pool)?;
        let waiter = match queue.covered.remove(&ticket) {
            Some(waiter) => {
                queue.covered_wanted = queue.covered_wanted.saturating_sub(waiter.count);
                waiter
            }
            None => queue.uncovered.remove(&ticket)?,
        };
        queue.wanted = queue.wanted.saturating_sub(waiter.count);
        if queue.batches.remove(&ticket).is_some() && self.first_batches.remove(&(ticket, pool)) {
            self.first_batches.extend(queue.batches.keys().next().map(|next| (*next, pool)));
        }
        if queue.first().is_none() {
            self.queues.remove(&pool);
        }
        if let Some(deadline) = waiter.deadline {
            self.deadlines.remove(&(deadline, key));
        }
        change_count(&mut self.waiting_by, waiter.uid, -i64::from(waiter.count));
        Some(waiter)
    }

    pub(super) fn next_deadline(&self) -> Option<Time> {
        self.deadlines.first().map(|&(deadline, _)| deadline)
    }

    /// That many zygotes are warm or being built for the pool.
    pub(super) fn cover(&mut self, pool: PoolKey, coming: u32) {
        let Some(queue) = self.queues.get_mut(&pool) else { return };
        queue.coming = coming;
        while queue.covered_wanted > coming
            && let Some((ticket, waiter)) = queue.covered.pop_last()
        {
            queue.covered_wanted -= waiter.count;
            queue.uncovered.insert(ticket, waiter);
        }
        while let Some(first) = queue.uncovered.first_entry()
            && first.get().count <= coming - queue.covered_wanted
        {
            let (ticket, waiter) = first.remove_entry();
            queue.covered_wanted += waiter.count;
            queue.covered.insert(ticket, waiter);
        }
    }

    /// The ticket of the first in a pool, and how many zygotes it wants.
    pub(super) fn first(&self, pool: PoolKey) -> Option<(u64, u32)> {
        let (ticket, waiter) = self.queues.get(&pool)?.first()?;
        Some((*ticket, waiter.count))
    }

    /// The ticket of the first in a pool that lacks a zygote.
    pub(super) fn uncovered(&self, pool: PoolKey) -> Option<u64> {
        self.queues.get(&pool)?.uncovered.first_key_value().map(|(ticket, _)| *ticket)
    }

    /// How many zygotes those in a pool lack who have come before a ticket, or all where there is
    /// none; where it is more than `enough`, it may be that alone that is said.
    pub(super) fn lacking(&self, pool: PoolKey, before: Option<u64>, enough: u32) -> u32 {
        let Some(queue) = self.queues.get(&pool) else { return 0 };
        let Some(before) = before else { return queue.wanted.saturating_sub(queue.coming) };
        let (part, mut wanted) = (queue.part(), 0_u32);
        for waiter in queue.uncovered.range(..before).map(|(_, waiter)| waiter) {
            wanted = wanted.saturating_add(waiter.count);
            if wanted.saturating_sub(part) >= enough {
                break;
            }
        }
        wanted.saturating_sub(part)
    }

    /// The ticket of a pool's first batch, second batch and so on.
    pub(super) fn batch(&self, pool: PoolKey, nth: usize) -> Option<u64> {
        self.queues.get(&pool)?.batches.keys().nth(nth).copied()
    }

    /// How many zygotes the waiter of that ticket wants; none if there is no such waiter.
    pub(super) fn wanted(&self, pool: PoolKey, ticket: u64) -> u32 {
        self.with(pool, ticket).map_or(0, |waiter| waiter.count)
    }

    /// Since when the uid of a batch has been waiting for its turn, counted in batches of all uids: since
    /// it came, or since an earlier one of that uid was served.
    pub(super) fn turn(&self, pool: PoolKey, ticket: u64) -> u64 {
        let came = self.queues.get(&pool).and_then(|queue| queue.batches.get(&ticket));
        let waiter = self.with(pool, ticket);
        let latest = waiter.and_then(|waiter| self.latest_batches.get(&waiter.uid));
        came.max(latest).copied().unwrap_or(0)
    }

    /// A batch of that uid was served.
    pub(super) fn batch_served(&mut self, uid: u32) {
        self.batches_served += 1;
        self.latest_batches.insert(uid, self.batches_served);
    }

    /// Forgets a uid that has no pool.
    pub(super) fn forget(&mut self, uid: u32) {
        self.latest_batches.remove(&uid);
    }

    fn with(&self, pool: PoolKey, ticket: u64) -> Option<&Waiter> {
        let queue = self.queues.get(&pool)?;
        queue.covered.get(&ticket).or_else(|| queue.uncovered.get(&ticket))
    }

    /// The first batch of each pool that has one, in the order of their arrival.
    pub(super) fn first_batches(&self) -> impl Iterator<Item = (u64, PoolKey)> {
        self.first_batches.iter().copied()
    }

    /// Whether no batch waits in any pool.
    pub(super) fn has_no_batch(&self) -> bool {
        self.first_batches.is_empty()
    }
}
