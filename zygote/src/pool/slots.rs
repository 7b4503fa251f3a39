//! The places of a pool, what is in each, and keys that a stale report cannot misuse.
//!
//! | from | to | because |
//! | --- | --- | --- |
//! | Empty | Spawning | more are wanted and there is room |
//! | Spawning | Warm | it is ready |
//! | Warm | Leased | it is granted |
//! | Spawning, Warm, Leased | Dying | it failed, died, was lost or is not wanted any more |
//! | any | Empty | nothing is left of it |
//!
//! Every change of state passes through one function, which keeps the indexes in step. Whatever
//! does not fit a slot's state changes nothing and says so by what it returns.

use super::time::Time;
use std::collections::{BTreeMap, BTreeSet};

/// The name of a slot for the time of one zygote: the slot's index and how often it was filled.
/// What was said about an earlier zygote of the same slot resolves to nothing.
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
        /// When it counts as failed.
        deadline: Time,
    },
    /// Ready to be granted.
    Warm {
        /// Grows with each zygote that is parked: the highest is granted first.
        parked: u64,
    },
    /// A client's own.
    Leased,
    /// Of no use and not gone yet.
    Dying {
        /// Whether it is certain that it ever was: else there may be nothing to wait for.
        was_ready: bool,
    },
}

#[derive(Debug)]
struct Entry {
    /// How often the slot was filled. It wraps after four thousand million zygotes in one slot, by
    /// when no report of the first of them is on its way any more.
    generation: u32,
    slot: Slot,
}

/// All slots of one pool; those that were never filled do not exist yet.
#[derive(Debug)]
pub(super) struct Slots {
    max: u32,
    entries: Vec<Entry>,
    empty: Vec<u32>,
    spawning: BTreeSet<(Time, SlotKey)>,
    warm: BTreeMap<u64, SlotKey>,
    next_parked: u64,
    leased: u32,
    dying: u32,
}

impl Slots {
    pub(super) fn new(max: u32) -> Self {
        Self {
            max,
            entries: Vec::new(),
            empty: Vec::new(),
            spawning: BTreeSet::new(),
            warm: BTreeMap::new(),
            next_parked: 0,
            leased: 0,
            dying: 0,
        }
    }

    pub(super) fn spawning(&self) -> u32 {
        count(self.spawning.len())
    }

    pub(super) fn warm(&self) -> u32 {
        count(self.warm.len())
    }

    pub(super) fn leased(&self) -> u32 {
        self.leased
    }

    pub(super) fn dying(&self) -> u32 {
        self.dying
    }

    /// How many more zygotes may exist: those that are dying are paid for until they are gone.
    pub(super) fn room(&self) -> u32 {
        self.max - (self.spawning() + self.warm() + self.leased + self.dying)
    }

    /// What is in a slot; `Empty` for a key of the past or of nowhere.
    pub(super) fn get(&self, key: SlotKey) -> Slot {
        match self.entries.get(key.index()) {
            Some(entry) if entry.generation == key.generation() => entry.slot,
            _ => Slot::Empty,
        }
    }

    /// Fills an empty slot with a zygote to be. `None` if there is no room.
    pub(super) fn spawn(&mut self, deadline: Time) -> Option<SlotKey> {
        if self.room() == 0 {
            return None;
        }
        let index = self.empty.pop().unwrap_or_else(|| {
            self.entries.push(Entry { generation: 0, slot: Slot::Empty });
            count(self.entries.len() - 1)
        });
        let entry = &mut self.entries[index as usize];
        entry.generation = entry.generation.wrapping_add(1);
        let key = SlotKey::new(index, entry.generation);
        self.change(key, Slot::Spawning { deadline });
        Some(key)
    }

    /// A spawning zygote becomes warm. Returns whether it did.
    pub(super) fn park(&mut self, key: SlotKey) -> bool {
        let spawning = matches!(self.get(key), Slot::Spawning { .. });
        if spawning {
            self.next_parked += 1;
            self.change(key, Slot::Warm { parked: self.next_parked });
        }
        spawning
    }

    /// Leases the zygote that was parked last: its memory is the likeliest to be in a cache.
    pub(super) fn lease(&mut self) -> Option<SlotKey> {
        let (_, &key) = self.warm.last_key_value()?;
        self.change(key, Slot::Leased);
        Some(key)
    }

    /// What is in the slot is to die. Returns what it was; nothing happens if it is `Empty` or
    /// `Dying`.
    pub(super) fn condemn(&mut self, key: SlotKey) -> Slot {
        let was = self.get(key);
        match was {
            Slot::Empty | Slot::Dying { .. } => {}
            Slot::Spawning { .. } => self.change(key, Slot::Dying { was_ready: false }),
            Slot::Warm { .. } | Slot::Leased => self.change(key, Slot::Dying { was_ready: true }),
        }
        was
    }

    /// The slot is empty. Returns what it was.
    pub(super) fn clear(&mut self, key: SlotKey) -> Slot {
        let was = self.get(key);
        if was != Slot::Empty {
            self.change(key, Slot::Empty);
        }
        was
    }

    /// The spawning zygote whose time is up at `now`, the most overdue first.
    pub(super) fn overdue(&self, now: Time) -> Option<SlotKey> {
        self.spawning.first().filter(|(deadline, _)| *deadline <= now).map(|&(_, key)| key)
    }

    /// When the next spawning zygote is overdue.
    pub(super) fn next_deadline(&self) -> Option<Time> {
        self.spawning.first().map(|&(deadline, _)| deadline)
    }

    /// The keys of all slots that are not empty and not leased, in the order of their index.
    pub(super) fn unleased(&self) -> Vec<SlotKey> {
        let keys = self.entries.iter().zip(0..).filter_map(|(entry, index)| match entry.slot {
            Slot::Empty | Slot::Leased => None,
            Slot::Spawning { .. } | Slot::Warm { .. } | Slot::Dying { .. } => {
                Some(SlotKey::new(index, entry.generation))
            }
        });
        keys.collect()
    }

    /// The only place where a state changes. The key must be a current one.
    fn change(&mut self, key: SlotKey, to: Slot) {
        let from = std::mem::replace(&mut self.entries[key.index()].slot, to);
        match from {
            Slot::Empty => {}
            Slot::Spawning { deadline } => {
                self.spawning.remove(&(deadline, key));
            }
            Slot::Warm { parked } => {
                self.warm.remove(&parked);
            }
            Slot::Leased => self.leased -= 1,
            Slot::Dying { .. } => self.dying -= 1,
        }
        match to {
            Slot::Empty => self.empty.push(count(key.index())),
            Slot::Spawning { deadline } => {
                self.spawning.insert((deadline, key));
            }
            Slot::Warm { parked } => {
                self.warm.insert(parked, key);
            }
            Slot::Leased => self.leased += 1,
            Slot::Dying { .. } => self.dying += 1,
        }
    }
}

fn count(length: usize) -> u32 {
    u32::try_from(length).expect("there are no more entries than `max`, a u32")
}
