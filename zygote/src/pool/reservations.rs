//! What callers who know their parallelism have asked to be kept warm, each for its time.

use super::time::Time;
use std::collections::BTreeMap;

/// Reservations of one pool at once. One more takes the place of the earliest to expire: whoever
/// reserves most urgently is whoever has just asked.
pub const RESERVATIONS_MAX: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Reservations {
    /// By when they expire and in which order they came.
    counts: BTreeMap<(Time, u64), u32>,
    made: u64,
    total: u64,
}

impl Reservations {
    pub(super) fn add(&mut self, expires: Time, count: u32) {
        if self.counts.len() >= RESERVATIONS_MAX {
            self.end_first();
        }
        self.made += 1;
        self.counts.insert((expires, self.made), count);
        self.total += u64::from(count);
    }

    pub(super) fn clear(&mut self) {
        self.counts.clear();
        self.total = 0;
    }

    /// Those whose time is up at `now` are over.
    pub(super) fn expire(&mut self, now: Time) {
        while self.next_expiry().is_some_and(|expires| expires <= now) {
            self.end_first();
        }
    }

    pub(super) fn next_expiry(&self) -> Option<Time> {
        self.counts.first_key_value().map(|(&(expires, _), _)| expires)
    }

    /// All together.
    pub(super) fn total(&self) -> u32 {
        u32::try_from(self.total).unwrap_or(u32::MAX)
    }

    fn end_first(&mut self) {
        if let Some((_, count)) = self.counts.pop_first() {
            self.total -= u64::from(count);
        }
    }
}
