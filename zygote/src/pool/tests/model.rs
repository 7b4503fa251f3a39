//! What the pool should know, kept in the most naive way, and a verdict on each of its answers.
//!
//! The model does not foretell the answer: it checks that each order is one that the rules allow at
//! that moment, and that none is missing at the end.

use super::{Effect, Event, Pool, Settings, SlotKey, Time, WaiterKey, ms};
use crate::pool::{ColdReason, Counts, Denial, Served, Start};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Zygote {
    Spawning { since: Duration },
    Warm,
    Leased,
    Dying { was_ready: bool },
}

struct Waiting {
    key: WaiterKey,
    deadline: Option<Duration>,
    cold: ColdReason,
}

pub(super) struct Model {
    settings: Settings,
    /// The caller's clock at the latest event, and the time that has passed by it: what it jumps
    /// back does not count.
    clock: Duration,
    elapsed: Duration,
    zygotes: BTreeMap<SlotKey, Zygote>,
    /// Every key that was ever ordered.
    pub(super) known: Vec<SlotKey>,
    /// The warm ones, the latest last.
    parked: Vec<SlotKey>,
    queue: Vec<Waiting>,
    /// The one spawn that a failing pool may have under way beside older ones.
    trial: Option<SlotKey>,
    served: Served,
    draining: bool,
    /// Zygotes whose end must be ordered before this event is dealt with.
    owed: BTreeSet<SlotKey>,
    spawned: u32,
    arriving: Option<WaiterKey>,
}

impl Model {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            settings,
            clock: Duration::ZERO,
            elapsed: Duration::ZERO,
            zygotes: BTreeMap::new(),
            known: Vec::new(),
            parked: Vec::new(),
            queue: Vec::new(),
            trial: None,
            served: Served::default(),
            draining: false,
            owed: BTreeSet::new(),
            spawned: 0,
            arriving: None,
        }
    }

    pub(super) fn waiting(&self) -> Vec<WaiterKey> {
        self.queue.iter().map(|waiting| waiting.key).collect()
    }

    pub(super) fn check(&mut self, pool: &Pool, now: Time, event: &Event, effects: &[Effect]) {
        self.elapsed += now.0.saturating_sub(self.clock);
        self.clock = now.0;
        self.spawned = 0;
        self.arriving = None;
        self.apply_event(event);
        let counts = pool.counts();
        self.forget_trial(&counts);
        for effect in effects {
            self.apply_effect(effect, &counts);
        }
        self.check_counts(&counts);
        self.check_nothing_is_missing(&counts);
        self.check_refill(&counts);
        self.check_deadline(pool);
    }

    fn apply_event(&mut self, event: &Event) {
        match event {
            Event::AcquireRequested { waiter, deadline, first_use } => {
                self.arrive(*waiter, *deadline, *first_use);
            }
            Event::WaiterLeft { waiter } => self.queue.retain(|waiting| waiting.key != *waiter),
            Event::ZygoteReady { slot } => {
                if let Some(Zygote::Spawning { .. }) = self.zygotes.get(slot) {
                    self.zygotes.insert(*slot, Zygote::Warm);
                    self.parked.push(*slot);
                    self.trial = None;
                }
            }
            Event::SpawnFailed { slot, .. } => {
                let unborn = Zygote::Dying { was_ready: false };
                let spawned = |zygote: &Zygote| {
                    matches!(zygote, Zygote::Spawning { .. }) || *zygote == unborn
                };
                if self.zygotes.get(slot).is_some_and(spawned) {
                    self.zygotes.remove(slot);
                }
            }
            Event::SetupFailed { slot, .. } => {
                if let Some(Zygote::Spawning { .. }) = self.zygotes.get(slot) {
                    self.condemn(*slot);
                }
            }
            Event::ZygoteDied { slot } => self.condemn(*slot),
            Event::LeaseEnded { slot } => {
                if self.zygotes.get(slot) == Some(&Zygote::Leased) {
                    self.condemn(*slot);
                }
            }
            Event::ZygoteGone { slot } => {
                self.zygotes.remove(slot);
                self.parked.retain(|parked| parked != slot);
            }
            Event::TemplateLost { .. } => {
                self.condemn_unleased();
                let dying = self.zygotes.iter().filter(|(_, z)| matches!(z, Zygote::Dying { .. }));
                self.owed = dying.map(|(slot, _)| *slot).collect();
            }
            Event::TimePassed => {}
            Event::DrainStarted => {
                self.draining = true;
                self.condemn_unleased();
            }
        }
    }

    fn arrive(&mut self, key: WaiterKey, deadline: Option<Time>, first_use: bool) {
        if self.queue.iter().any(|waiting| waiting.key == key) {
            return;
        }
        self.arriving = Some(key);
        let deadline = deadline
            .map(|deadline| self.elapsed.saturating_add(deadline.0.saturating_sub(self.clock)));
        let cold = if first_use { ColdReason::FirstUse } else { ColdReason::Exhausted };
        self.queue.push(Waiting { key, deadline, cold });
    }

    fn condemn(&mut self, slot: SlotKey) {
        let was_ready = match self.zygotes.get(&slot) {
            None | Some(Zygote::Dying { .. }) => return,
            Some(Zygote::Spawning { .. }) => false,
            Some(Zygote::Warm | Zygote::Leased) => true,
        };
        self.zygotes.insert(slot, Zygote::Dying { was_ready });
        self.parked.retain(|parked| *parked != slot);
        self.owed.insert(slot);
    }

    fn condemn_unleased(&mut self) {
        for (slot, zygote) in self.zygotes.clone() {
            if zygote != Zygote::Leased {
                self.condemn(slot);
            }
        }
    }

    fn apply_effect(&mut self, effect: &Effect, counts: &Counts) {
        match effect {
            Effect::Spawn { slot } => {
                assert!(!self.draining, "a draining pool builds nothing");
                assert!(!self.known.contains(slot), "a key is used twice: {slot:?}");
                assert!(self.zygotes.len() < self.settings.max as usize, "max is exceeded");
                if counts.failing.is_some() {
                    assert_eq!(self.trial, None, "a failing pool tries one spawn at a time");
                    self.trial = Some(*slot);
                }
                self.known.push(*slot);
                self.spawned += 1;
                self.zygotes.insert(*slot, Zygote::Spawning { since: self.elapsed });
            }
            Effect::Grant { waiter, slot, start } => self.grant(*waiter, *slot, *start),
            Effect::Deny { waiter, why } => self.deny(*waiter, why, counts),
            Effect::Destroy { slot } => {
                if !self.owed.remove(slot) {
                    let zygote = self.zygotes.insert(*slot, Zygote::Dying { was_ready: false });
                    let Some(Zygote::Spawning { since }) = zygote else {
                        panic!("{slot:?} is destroyed while it is {zygote:?}");
                    };
                    assert!(self.elapsed >= since + self.settings.spawn_timeout);
                }
            }
        }
    }

    /// A trial is over when its zygote is no longer spawning, or when another build has succeeded.
    fn forget_trial(&mut self, counts: &Counts) {
        let overdue = |since| self.elapsed >= since + self.settings.spawn_timeout;
        let runs = self.trial.is_some_and(|trial| match self.zygotes.get(&trial) {
            Some(Zygote::Spawning { since }) => !overdue(*since),
            _ => false,
        });
        if counts.failing.is_none() || !runs {
            self.trial = None;
        }
    }

    fn grant(&mut self, waiter: WaiterKey, slot: SlotKey, start: Start) {
        let zygote = self.zygotes.insert(slot, Zygote::Leased);
        assert_eq!(zygote, Some(Zygote::Warm), "only a warm zygote is granted");
        assert_eq!(self.parked.pop(), Some(slot), "the last parked is granted first");
        let waiting = self.queue.remove(0);
        assert_eq!(waiting.key, waiter, "first come, first served");
        if self.arriving == Some(waiter) {
            assert_eq!(start, Start::Warm);
            self.served.warm += 1;
        } else {
            assert_eq!(start, Start::Cold(waiting.cold));
            self.served.cold += 1;
        }
    }

    fn deny(&mut self, waiter: WaiterKey, why: &Denial, counts: &Counts) {
        let index = self.queue.iter().position(|waiting| waiting.key == waiter);
        let waiting = self.queue.remove(index.expect("only who waits is denied"));
        match why {
            Denial::QueueFull { waiters } => {
                assert_eq!(self.arriving, Some(waiter));
                assert_eq!(self.queue.len(), *waiters as usize);
                assert_eq!(*waiters, self.settings.waiters_max);
            }
            Denial::DeadlineExpired => {
                assert!(waiting.deadline.expect("it has one") <= self.elapsed);
            }
            Denial::Draining => assert!(self.draining),
            Denial::BuildFailing { reason } => {
                assert_eq!(counts.failing.as_ref(), Some(reason));
                assert_eq!((counts.warm, counts.spawning), (0, 0), "there is hope yet");
            }
        }
    }

    fn check_counts(&self, counts: &Counts) {
        let count = |want: fn(&Zygote) -> bool| {
            self.zygotes.values().filter(|zygote| want(zygote)).count() as u32
        };
        let want = Counts {
            warm: count(|zygote| matches!(zygote, Zygote::Warm)),
            leased: count(|zygote| matches!(zygote, Zygote::Leased)),
            spawning: count(|zygote| matches!(zygote, Zygote::Spawning { .. })),
            dying: count(|zygote| matches!(zygote, Zygote::Dying { .. })),
            waiters: self.queue.len() as u32,
            target: if self.draining { 0 } else { self.settings.min.min(self.settings.max) },
            served: self.served,
            failing: counts.failing.clone(),
        };
        assert_eq!(*counts, want);
        assert!(counts.waiters <= self.settings.waiters_max);
    }

    fn check_nothing_is_missing(&self, counts: &Counts) {
        assert!(self.owed.is_empty(), "not destroyed: {:?}", self.owed);
        assert!(counts.waiters == 0 || counts.warm == 0, "a waiter is kept from a warm zygote");
        for waiting in &self.queue {
            assert!(waiting.deadline.is_none_or(|deadline| deadline > self.elapsed), "overdue");
            assert!(!self.draining, "a draining pool lets nobody wait");
        }
        for zygote in self.zygotes.values() {
            if let Zygote::Spawning { since } = zygote {
                assert!(*since + self.settings.spawn_timeout > self.elapsed, "overdue");
            }
        }
    }

    fn check_refill(&self, counts: &Counts) {
        let coming = counts.warm + counts.spawning;
        let wanted = counts.target + counts.waiters;
        if self.spawned > 0 {
            assert!(coming <= wanted, "more is built than is wanted");
        }
        if counts.failing.is_none() {
            let bound = self.settings.max - counts.leased - counts.dying;
            assert!(coming >= wanted.min(bound), "less is built than is wanted");
        }
    }

    /// The caller is woken for everything that becomes due, and never for nothing.
    fn check_deadline(&self, pool: &Pool) {
        let next = pool.next_deadline().map(|next| next.0);
        assert!(next.is_none_or(|next| next > self.clock), "a deadline lies in the past");
        let spawns = self.zygotes.values().filter_map(|zygote| match zygote {
            Zygote::Spawning { since } => Some(*since + self.settings.spawn_timeout),
            _ => None,
        });
        let due = spawns.chain(self.queue.iter().filter_map(|waiting| waiting.deadline)).min();
        match (due.map(|due| self.clock + (due - self.elapsed)), next) {
            (Some(due), Some(next)) => assert!(next <= due, "woken too late"),
            (Some(_), None) => panic!("not woken at all"),
            (None, Some(next)) => {
                let failing = pool.counts().failing;
                assert!(failing.is_some(), "woken for nothing");
                assert!(next <= self.clock + ms(30_000), "a retry is too far away");
            }
            (None, None) => {}
        }
    }
}
