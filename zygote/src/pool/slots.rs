//! The places of all pools, what is in each, and keys that a stale report cannot misuse.
//!
//! | from | to | because |
//! | --- | --- | --- |
//! | Empty | Spawning | more are wanted and there is room |
//! | Spawning | Warm | it is ready |
//! | Warm | Leased | it is granted |
//! | Leased | Returning | its lease is over and it is to be used again |
//! | Returning | Warm | nothing of the lease is left |
//! | Spawning, Warm, Leased, Returning | Dying | it failed, died, was lost or is not wanted any more |
//! | Dying | Quarantined | its end does not come |
//! | any | Empty | nothing is left of it |
//!
//! Every change of state passes through one function, which keeps the indexes in step. Whatever
//! does not fit a slot's state changes nothing and says so by what it returns.

use super::PoolKey;
use super::time::Time;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How long the end of a zygote is expected to make room for another: many times as long as one takes.
pub(super) const ENDS_WITHIN: Duration = Duration::from_millis(100);

/// The name of a slot for the time of one tenancy, of a zygote that is new or recycled: the slot's index
/// and how often it has begun one, over all pools. What was said about an earlier tenancy of the same
/// slot resolves to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotKey(pub u64);

impl SlotKey {
    fn new(index: u32, generation: u32) -> Self {
        Self(u64::from(generation) << 32 | u64::from(index))
    }

    fn index(self) -> usize {
        (self.0 & u64::from(u32::MAX)) as usize
    }

    fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

/// What is in a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Slot {
    Empty,
    /// Ordered, and not heard of since.
    Spawning {
        /// Grows with each zygote that is ordered.
        ordered: u64,
        /// What the pool's [`Holdings::effort`] was at the order.
        effort: Duration,
        /// Until when it takes a build place.
        placed_until: Time,
        /// When it counts as failed.
        deadline: Time,
    },
    /// Ready to be granted.
    Warm {
        /// Grows with each zygote that is parked: the highest is granted first.
        parked: u64,
    },
    /// A client's own.
    Leased {
        uid: u32,
    },
    /// On its way from a lease to being warm again.
    Returning {
        /// Grows with each zygote that is on its way.
        returned: u64,
        /// When it is not waited for any more.
        deadline: Time,
    },
    /// Of no use and not gone yet.
    Dying {
        /// Whether it is certain that it ever was: else there may be nothing to wait for.
        was_ready: bool,
        /// Until when its end is expected to make room.
        expected_until: Time,
        /// When it is quarantined.
        deadline: Time,
    },
    /// Of no use, and given up: paid for until it is gone, and waited for by nobody.
    Quarantined {
        was_ready: bool,
    },
}

/// How a zygote has become warm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Parked {
    /// It was built.
    Built {
        /// What that has cost.
        cost: Duration,
    },
    /// It has come back from a lease.
    Returned,
}

#[derive(Debug)]
struct Entry {
    /// How often a tenancy has begun in the slot. It wraps after four thousand million in one slot, by
    /// when no report of the first of them is on its way any more.
    generation: u32,
    pool: PoolKey,
    slot: Slot,
}

/// What one pool has.
#[derive(Debug, Default)]
pub(super) struct Holdings {
    /// The earliest order first.
    spawning: BTreeSet<(u64, SlotKey)>,
    /// Of these, those that take a build place no more.
    hanging: BTreeSet<SlotKey>,
    warm: BTreeMap<u64, SlotKey>,
    leased: u32,
    /// The earliest first.
    returning: BTreeSet<(u64, SlotKey)>,
    dying: BTreeSet<SlotKey>,
    /// Of these, those whose ends are not expected any more.
    late: BTreeSet<SlotKey>,
    quarantined: BTreeSet<SlotKey>,
    /// Grows with time while builds are under way, with two of them at half the speed, and so on.
    /// So the difference over a build is what one build costs, however many overlap.
    effort: Duration,
    effort_at: Time,
}

impl Holdings {
    pub(super) fn spawning(&self) -> u32 {
        count(self.spawning.len())
    }

    /// Whether a build has been under way for so long that it takes no place any more.
    pub(super) fn hangs(&self) -> bool {
        !self.hanging.is_empty()
    }

    pub(super) fn warm(&self) -> u32 {
        count(self.warm.len())
    }

    pub(super) fn leased(&self) -> u32 {
        self.leased
    }

    pub(super) fn returning(&self) -> u32 {
        count(self.returning.len())
    }

    pub(super) fn dying(&self) -> u32 {
        count(self.dying.len())
    }

    /// Those of the dying that are likely to be gone soon.
    pub(super) fn expected(&self) -> u32 {
        count(self.dying.len() - self.late.len())
    }

    pub(super) fn quarantined(&self) -> u32 {
        count(self.quarantined.len())
    }

    /// Those that are leased or may be.
    pub(super) fn living(&self) -> u32 {
        self.spawning() + self.warm() + self.leased + self.returning()
    }

    /// All that must be paid for.
    pub(super) fn total(&self) -> u32 {
        self.living() + self.dying() + self.quarantined()
    }

    /// The zygote that has been parked longest: the next ones to be granted are others.
    pub(super) fn stalest(&self) -> Option<SlotKey> {
        self.warm.first_key_value().map(|(_, &key)| key)
    }

    /// The build that was ordered last.
    pub(super) fn latest_build(&self) -> Option<SlotKey> {
        self.spawning.last().map(|&(_, key)| key)
    }

    /// The zygote that has been on its way back for the shortest time.
    pub(super) fn latest_returning(&self) -> Option<SlotKey> {
        self.returning.last().map(|&(_, key)| key)
    }

    /// Whatever is or was on its way to a client, and whatever is on its way to its end.
    pub(super) fn unleased(&self) -> Vec<SlotKey> {
        let coming = self.spawning.iter().chain(&self.returning).map(|(_, key)| key);
        let alive = coming.chain(self.warm.values());
        alive.chain(&self.dying).chain(&self.quarantined).copied().collect()
    }

    fn make_effort(&mut self, now: Time) {
        let passed = now.since(self.effort_at);
        if let Some(each) = passed.checked_div(self.spawning()) {
            self.effort = self.effort.saturating_add(each);
        }
        self.effort_at = now;
    }
}

/// How many slots of all pools are in which state.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Totals {
    pub(super) spawning: u32,
    pub(super) dying: u32,
    pub(super) quarantined: u32,
    /// In whatever state but `Empty`.
    pub(super) filled: u32,
}

/// All slots; those that were never filled do not exist yet.
#[derive(Debug, Default)]
pub(super) struct Slots {
    entries: Vec<Entry>,
    empty: Vec<u32>,
    holdings: BTreeMap<PoolKey, Holdings>,
    /// Over all pools, the earliest first.
    returning: BTreeSet<(u64, SlotKey)>,
    /// Of those that are spawning, returning or dying.
    deadlines: BTreeSet<(Time, SlotKey)>,
    /// Of those that are spawning, the ones that take a build place, by when they do no more.
    placed: BTreeSet<(Time, SlotKey)>,
    /// Of those that are dying, the ones that are likely to be gone soon, by when they are not any more.
    expected: BTreeSet<(Time, SlotKey)>,
    totals: Totals,
    leased_by: BTreeMap<u32, u32>,
    next_number: u64,
}

static NOTHING: Holdings = Holdings {
    spawning: BTreeSet::new(),
    hanging: BTreeSet::new(),
    warm: BTreeMap::new(),
    leased: 0,
    returning: BTreeSet::new(),
    dying: BTreeSet::new(),
    late: BTreeSet::new(),
    quarantined: BTreeSet::new(),
    effort: Duration::ZERO,
    effort_at: Time(Duration::ZERO),
};

impl Slots {
    pub(super) fn totals(&self) -> Totals {
        self.totals
    }

    /// What a pool has; nothing for one that is not known.
    pub(super) fn of(&self, pool: PoolKey) -> &Holdings {
        self.holdings.get(&pool).unwrap_or(&NOTHING)
    }

    /// Leases of a uid, over all pools.
    pub(super) fn leased_by(&self, uid: u32) -> u32 {
        self.leased_by.get(&uid).copied().unwrap_or(0)
    }

    /// What is in a slot; `Empty` for a key of the past or of nowhere.
    pub(super) fn get(&self, key: SlotKey) -> Slot {
        match self.entries.get(key.index()) {
            Some(entry) if entry.generation == key.generation() => entry.slot,
            _ => Slot::Empty,
        }
    }

    /// Whose slot that is; `None` for a key of the past or of nowhere, and for an empty slot.
    pub(super) fn pool_of(&self, key: SlotKey) -> Option<PoolKey> {
        let entry = self.entries.get(key.index())?;
        let current = entry.generation == key.generation() && entry.slot != Slot::Empty;
        current.then_some(entry.pool)
    }

    /// Fills an empty slot with a zygote to be.
    pub(super) fn spawn(
        &mut self,
        now: Time,
        pool: PoolKey,
        placed_until: Time,
        deadline: Time,
    ) -> SlotKey {
        let index = self.empty.pop().unwrap_or_else(|| {
            self.entries.push(Entry { generation: 0, pool, slot: Slot::Empty });
            count(self.entries.len() - 1)
        });
        let entry = &mut self.entries[index as usize];
        entry.generation = entry.generation.wrapping_add(1);
        entry.pool = pool;
        let key = SlotKey::new(index, entry.generation);
        let holdings = self.holdings.entry(pool).or_default();
        holdings.make_effort(now);
        let effort = holdings.effort;
        let ordered = self.number();
        self.change(now, key, Slot::Spawning { ordered, effort, placed_until, deadline });
        key
    }

    /// A zygote that is spawning or returning becomes warm. Returns how, if it did.
    pub(super) fn park(&mut self, now: Time, key: SlotKey) -> Option<Parked> {
        let was = self.get(key);
        if !matches!(was, Slot::Spawning { .. } | Slot::Returning { .. }) {
            return None;
        }
        let parked = self.number();
        let pool = self.entries[key.index()].pool;
        self.change(now, key, Slot::Warm { parked });
        match was {
            Slot::Spawning { effort: at_order, .. } => {
                Some(Parked::Built { cost: self.of(pool).effort.saturating_sub(at_order) })
            }
            _ => Some(Parked::Returned),
        }
    }

    /// Leases the zygote that was parked last: its memory is the likeliest to be in a cache.
    pub(super) fn lease(&mut self, now: Time, pool: PoolKey, uid: u32) -> Option<SlotKey> {
        let (_, &key) = self.of(pool).warm.last_key_value()?;
        self.change(now, key, Slot::Leased { uid });
        Some(key)
    }

    /// A leased zygote is on its way to being warm again. Returns the name that its slot has from now on.
    pub(super) fn take_back(&mut self, now: Time, key: SlotKey, deadline: Time) -> Option<SlotKey> {
        let Slot::Leased { .. } = self.get(key) else { return None };
        let returned = self.number();
        let entry = &mut self.entries[key.index()];
        // Nothing has the name of what is leased: there is no index of those.
        entry.generation = entry.generation.wrapping_add(1);
        let next = SlotKey::new(count(key.index()), entry.generation);
        self.change(now, next, Slot::Returning { returned, deadline });
        Some(next)
    }

    /// What is in the slot is to die. Returns what it was; nothing happens if that was on its way
    /// already.
    pub(super) fn condemn(&mut self, now: Time, key: SlotKey, deadline: Time) -> Slot {
        let was = self.get(key);
        let was_ready = match was {
            Slot::Empty | Slot::Dying { .. } | Slot::Quarantined { .. } => return was,
            Slot::Spawning { .. } => false,
            Slot::Warm { .. } | Slot::Leased { .. } | Slot::Returning { .. } => true,
        };
        let expected_until = now.after(ENDS_WITHIN);
        self.change(now, key, Slot::Dying { was_ready, expected_until, deadline });
        was
    }

    /// The end of a dying zygote is not waited for any more.
    pub(super) fn quarantine(&mut self, now: Time, key: SlotKey) {
        if let Slot::Dying { was_ready, .. } = self.get(key) {
            self.change(now, key, Slot::Quarantined { was_ready });
        }
    }

    /// The slot is empty. Returns what it was.
    pub(super) fn clear(&mut self, now: Time, key: SlotKey) -> Slot {
        let was = self.get(key);
        if was != Slot::Empty {
            self.change(now, key, Slot::Empty);
        }
        was
    }

    /// The zygote that has been on its way back for the shortest time, over all pools.
    pub(super) fn latest_returning(&self) -> Option<SlotKey> {
        self.returning.last().map(|&(_, key)| key)
    }

    /// The spawning, returning or dying zygote whose time is up at `now`, the most overdue first.
    pub(super) fn overdue(&self, now: Time) -> Option<SlotKey> {
        self.deadlines.first().filter(|(deadline, _)| *deadline <= now).map(|&(_, key)| key)
    }

    /// How many builds take a place.
    pub(super) fn placed(&self) -> u32 {
        count(self.placed.len())
    }

    /// A build that has been under way for too long takes a place no more. Returns whose it is.
    pub(super) fn free_place(&mut self, now: Time) -> Option<PoolKey> {
        let (_, key) = *self.placed.first().filter(|(until, _)| *until <= now)?;
        self.placed.pop_first();
        let pool = self.entries[key.index()].pool;
        self.holdings.entry(pool).or_default().hanging.insert(key);
        Some(pool)
    }

    /// How many are likely to be gone soon.
    pub(super) fn expected(&self) -> u32 {
        count(self.expected.len())
    }

    /// An end that has taken too long is not expected any more. Returns whose it is.
    pub(super) fn expect_no_more(&mut self, now: Time) -> Option<PoolKey> {
        let (_, key) = *self.expected.first().filter(|(until, _)| *until <= now)?;
        self.expected.pop_first();
        let pool = self.entries[key.index()].pool;
        self.holdings.entry(pool).or_default().late.insert(key);
        Some(pool)
    }

    /// When the next of these is overdue, a place is free, or an end expected no more.
    pub(super) fn next_deadline(&self) -> Option<Time> {
        let firsts = [self.deadlines.first(), self.placed.first(), self.expected.first()];
        firsts.into_iter().flatten().map(|&(at, _)| at).min()
    }

    /// Forgets a pool that has nothing.
    pub(super) fn forget(&mut self, pool: PoolKey) {
        self.holdings.remove(&pool);
    }

    fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    /// The only place where a state changes. The key must be a current one.
    fn change(&mut self, now: Time, key: SlotKey, to: Slot) {
        let entry = &mut self.entries[key.index()];
        let from = std::mem::replace(&mut entry.slot, to);
        let holdings = self.holdings.entry(entry.pool).or_default();
        holdings.make_effort(now);
        match from {
            Slot::Empty => self.totals.filled += 1,
            Slot::Spawning { ordered, placed_until, deadline, .. } => {
                holdings.spawning.remove(&(ordered, key));
                holdings.hanging.remove(&key);
                self.placed.remove(&(placed_until, key));
                self.deadlines.remove(&(deadline, key));
                self.totals.spawning -= 1;
            }
            Slot::Warm { parked } => drop(holdings.warm.remove(&parked)),
            Slot::Leased { uid } => {
                holdings.leased -= 1;
                change_count(&mut self.leased_by, uid, -1);
            }
            Slot::Returning { returned, deadline } => {
                holdings.returning.remove(&(returned, key));
                self.returning.remove(&(returned, key));
                self.deadlines.remove(&(deadline, key));
            }
            Slot::Dying { expected_until, deadline, .. } => {
                holdings.dying.remove(&key);
                holdings.late.remove(&key);
                self.expected.remove(&(expected_until, key));
                self.deadlines.remove(&(deadline, key));
                self.totals.dying -= 1;
            }
            Slot::Quarantined { .. } => {
                holdings.quarantined.remove(&key);
                self.totals.quarantined -= 1;
            }
        }
        match to {
            Slot::Empty => {
                self.empty.push(count(key.index()));
                self.totals.filled -= 1;
            }
            Slot::Spawning { ordered, placed_until, deadline, .. } => {
                holdings.spawning.insert((ordered, key));
                self.placed.insert((placed_until, key));
                self.deadlines.insert((deadline, key));
                self.totals.spawning += 1;
            }
            Slot::Warm { parked } => drop(holdings.warm.insert(parked, key)),
            Slot::Leased { uid } => {
                holdings.leased += 1;
                change_count(&mut self.leased_by, uid, 1);
            }
            Slot::Returning { returned, deadline } => {
                holdings.returning.insert((returned, key));
                self.returning.insert((returned, key));
                self.deadlines.insert((deadline, key));
            }
            Slot::Dying { expected_until, deadline, .. } => {
                holdings.dying.insert(key);
                self.expected.insert((expected_until, key));
                self.deadlines.insert((deadline, key));
                self.totals.dying += 1;
            }
            Slot::Quarantined { .. } => {
                holdings.quarantined.insert(key);
                self.totals.quarantined += 1;
            }
        }
    }
}

/// Counts up or down under a name; what is zero is not kept.
pub(super) fn change_count(counts: &mut BTreeMap<u32, u32>, name: u32, by: i64) {
    let count = counts.entry(name).or_default();
    *count = u32::try_from(i64::from(*count).saturating_add(by).max(0)).unwrap_or(u32::MAX);
    if *count == 0 {
        counts.remove(&name);
    }
}

pub(super) fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
