//! The queues of all pools: waiters in the order of their arrival, each findable by its key and by
//! its deadline.
//!
//! A pool's queue has two parts. As many waiters as builds are under way for the pool are *covered*,
//! the first ones; a build place is still wanted for those behind them. So the first waiter that has
//! none is known without counting.

use super::PoolKey;
use super::event::ColdReason;
use super::slots::{change_count, count};
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
    /// In the policy's own time.
    pub(super) deadline: Option<Time>,
    /// What a grant will say: whoever queues did not find a warm zygote.
    pub(super) cold: ColdReason,
}

/// One pool's, by ticket: a number that grows with each arrival over all pools.
#[derive(Debug, Default)]
struct Queue {
    covered: BTreeMap<u64, Waiter>,
    uncovered: BTreeMap<u64, Waiter>,
}

/// First in, first out within a pool, with an exit at any point.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    next_ticket: u64,
    queues: BTreeMap<PoolKey, Queue>,
    tickets: HashMap<WaiterKey, (PoolKey, u64)>,
    deadlines: BTreeSet<(Time, WaiterKey)>,
    waiting_by: BTreeMap<u32, u32>,
}

impl Waiters {
    /// Over all pools.
    pub(super) fn total(&self) -> u32 {
        count(self.tickets.len())
    }

    /// In one pool.
    pub(super) fn of(&self, pool: PoolKey) -> u32 {
        self.queues.get(&pool).map_or(0, |queue| count(queue.covered.len() + queue.uncovered.len()))
    }

    /// Of one uid, over all pools.
    pub(super) fn waiting_by(&self, uid: u32) -> u32 {
        self.waiting_by.get(&uid).copied().unwrap_or(0)
    }

    pub(super) fn contains(&self, key: WaiterKey) -> bool {
        self.tickets.contains_key(&key)
    }

    /// Puts a waiter last. Its key must not be in a queue.
    pub(super) fn push(&mut self, waiter: Waiter) {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.tickets.insert(waiter.key, (waiter.pool, ticket));
        if let Some(deadline) = waiter.deadline {
            self.deadlines.insert((deadline, waiter.key));
        }
        change_count(&mut self.waiting_by, waiter.uid, 1);
        self.queues.entry(waiter.pool).or_default().uncovered.insert(ticket, waiter);
    }

    /// Takes the one that has waited longest for a zygote of this pool.
    pub(super) fn pop(&mut self, pool: PoolKey) -> Option<Waiter> {
        let queue = self.queues.get(&pool)?;
        let first = queue.covered.first_key_value().or(queue.uncovered.first_key_value());
        let key = first?.1.key;
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
        let waiter = queue.covered.remove(&ticket).or_else(|| queue.uncovered.remove(&ticket))?;
        if queue.covered.is_empty() && queue.uncovered.is_empty() {
            self.queues.remove(&pool);
        }
        if let Some(deadline) = waiter.deadline {
            self.deadlines.remove(&(deadline, key));
        }
        change_count(&mut self.waiting_by, waiter.uid, -1);
        Some(waiter)
    }

    pub(super) fn next_deadline(&self) -> Option<Time> {
        self.deadlines.first().map(|&(deadline, _)| deadline)
    }

    /// That many builds are under way for the pool.
    pub(super) fn cover(&mut self, pool: PoolKey, builds: u32) {
        let Some(queue) = self.queues.get_mut(&pool) else { return };
        while count(queue.covered.len()) > builds
            && let Some((ticket, waiter)) = queue.covered.pop_last()
        {
            queue.uncovered.insert(ticket, waiter);
        }
        while count(queue.covered.len()) < builds
            && let Some((ticket, waiter)) = queue.uncovered.pop_first()
        {
            queue.covered.insert(ticket, waiter);
        }
    }

    /// How many wait for a build place, and the ticket of the first of them.
    pub(super) fn uncovered(&self, pool: PoolKey) -> Option<(u32, u64)> {
        let queue = self.queues.get(&pool)?;
        let (&ticket, _) = queue.uncovered.first_key_value()?;
        Some((count(queue.uncovered.len()), ticket))
    }
}
