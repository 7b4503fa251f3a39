//! The queue: waiters in the order of their arrival, each findable by its key and by its deadline.

use super::event::ColdReason;
use super::time::Time;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// The caller's name for a waiter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WaiterKey(pub u64);

/// A queued acquire.
#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) key: WaiterKey,
    /// In the pool's own time.
    pub(super) deadline: Option<Time>,
    /// What a grant will say: whoever queues did not find a warm zygote.
    pub(super) cold: ColdReason,
}

/// First in, first out, with an exit at any point.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    next_ticket: u64,
    /// By ticket, a number that grows with each arrival.
    queue: BTreeMap<u64, Waiter>,
    tickets: HashMap<WaiterKey, u64>,
    deadlines: BTreeSet<(Time, u64)>,
}

impl Waiters {
    pub(super) fn len(&self) -> u32 {
        u32::try_from(self.queue.len()).unwrap_or(u32::MAX)
    }

    pub(super) fn contains(&self, key: WaiterKey) -> bool {
        self.tickets.contains_key(&key)
    }

    /// Puts a waiter last. Its key must not be in the queue.
    pub(super) fn push(&mut self, waiter: Waiter) {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.tickets.insert(waiter.key, ticket);
        if let Some(deadline) = waiter.deadline {
            self.deadlines.insert((deadline, ticket));
        }
        self.queue.insert(ticket, waiter);
    }

    /// Takes the one that has waited longest.
    pub(super) fn pop(&mut self) -> Option<Waiter> {
        let (&ticket, _) = self.queue.first_key_value()?;
        self.take(ticket)
    }

    /// Takes one of those whose deadline is not later than `now`, the earliest first.
    pub(super) fn pop_expired(&mut self, now: Time) -> Option<Waiter> {
        let &(deadline, ticket) = self.deadlines.first()?;
        if deadline > now {
            return None;
        }
        self.take(ticket)
    }

    /// Takes one out of the middle; nothing happens if it is not there.
    pub(super) fn remove(&mut self, key: WaiterKey) {
        if let Some(&ticket) = self.tickets.get(&key) {
            self.take(ticket);
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Time> {
        self.deadlines.first().map(|&(deadline, _)| deadline)
    }

    fn take(&mut self, ticket: u64) -> Option<Waiter> {
        let waiter = self.queue.remove(&ticket)?;
        self.tickets.remove(&waiter.key);
        if let Some(deadline) = waiter.deadline {
            self.deadlines.remove(&(deadline, ticket));
        }
        Some(waiter)
    }
}
