//! Whose turn it is to get a build place.
//!
//! Among the uids that want one it is the turn of the one whose latest place is the longest ago. So
//! between two places of a uid that goes on wanting, no other uid gets more than one: with `n` uids
//! wanting, a uid's next place comes after `n − 1` others at the most. A uid that never had one
//! comes first, once.
//!
//! Within a uid the pool with the smallest order comes first.

use super::PoolKey;
use std::collections::{BTreeMap, BTreeSet};

/// What a pool wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Want {
    pub(super) uid: u32,
    /// Its place among the pools of the uid: the smallest is first.
    pub(super) order: u64,
    /// How many places; at least one.
    pub(super) count: u32,
}

/// The uids and pools that want build places for one kind of reason.
#[derive(Debug, Default)]
pub(super) struct Turns {
    next_turn: u64,
    /// When each uid had its latest turn.
    latest: BTreeMap<u32, u64>,
    /// Of those that want a place, by latest turn.
    uids: BTreeSet<(u64, u32)>,
    /// Of each uid that wants a place, by order.
    pools: BTreeMap<u32, BTreeSet<(u64, PoolKey)>>,
    wants: BTreeMap<PoolKey, Want>,
    wanted: u64,
}

impl Turns {
    /// A pool wants this from now on.
    pub(super) fn set(&mut self, pool: PoolKey, want: Option<Want>) {
        let was = match want {
            Some(want) => self.wants.insert(pool, want),
            None => self.wants.remove(&pool),
        };
        if was == want {
            return;
        }
        if let Some(Want { uid, order, count }) = was {
            self.wanted -= u64::from(count);
            self.leave(uid, order, pool);
        }
        if let Some(Want { uid, order, count }) = want {
            self.wanted += u64::from(count);
            self.pools.entry(uid).or_default().insert((order, pool));
            self.uids.insert((self.latest_of(uid), uid));
        }
    }

    fn leave(&mut self, uid: u32, order: u64, pool: PoolKey) {
        let Some(pools) = self.pools.get_mut(&uid) else { return };
        pools.remove(&(order, pool));
        if pools.is_empty() {
            self.pools.remove(&uid);
            self.uids.remove(&(self.latest_of(uid), uid));
        }
    }

    /// How many places are wanted altogether.
    pub(super) fn wanted(&self) -> u64 {
        self.wanted
    }

    /// Which pool is to get the next place.
    pub(super) fn next(&self) -> Option<PoolKey> {
        let (_, uid) = self.uids.first()?;
        self.pools.get(uid)?.first().map(|&(_, pool)| pool)
    }

    /// A place was given to this uid. Returns the number of the turn, which grows.
    pub(super) fn taken(&mut self, uid: u32) -> u64 {
        self.next_turn += 1;
        let waits = self.uids.remove(&(self.latest_of(uid), uid));
        self.latest.insert(uid, self.next_turn);
        if waits {
            self.uids.insert((self.next_turn, uid));
        }
        self.next_turn
    }

    /// Forgets a uid that wants nothing.
    pub(super) fn forget(&mut self, uid: u32) {
        if !self.pools.contains_key(&uid) {
            self.latest.remove(&uid);
        }
    }

    fn latest_of(&self, uid: u32) -> u64 {
        self.latest.get(&uid).copied().unwrap_or(0)
    }
}

/// Pools by how many of something they have.
#[derive(Debug, Default)]
pub(super) struct Ranking {
    counts: BTreeMap<PoolKey, u32>,
    order: BTreeSet<(u32, PoolKey)>,
}

impl Ranking {
    /// A pool has so many from now on.
    pub(super) fn set(&mut self, pool: PoolKey, count: u32) {
        let was = match count {
            0 => self.counts.remove(&pool),
            _ => self.counts.insert(pool, count),
        };
        if was == Some(count) {
            return;
        }
        if let Some(was) = was {
            self.order.remove(&(was, pool));
        }
        if count > 0 {
            self.order.insert((count, pool));
        }
    }

    /// The pool that has the most, if one has any.
    pub(super) fn highest(&self) -> Option<PoolKey> {
        self.order.last().map(|&(_, pool)| pool)
    }
}
