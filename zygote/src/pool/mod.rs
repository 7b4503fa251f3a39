//! The policy over the zygotes of one profile and uid: facts in, orders out.
//!
//! Pure code. It does no I/O, holds no descriptor, knows no other module of ours, and has no clock:
//! `now` comes in with each event, [`Pool::next_deadline`] goes out. So all that it decides can be
//! tested by telling it stories, and all that it knows is plain data.
//!
//! * `event`: the vocabulary, [`Event`] and [`Effect`];
//! * `slots`: zygotes and their states, with the table of their changes;
//! * `waiters`: the queue;
//! * `circuit`: whether builds are worth trying;
//! * `demand`: how many zygotes are wanted;
//! * `time`: moments, and what to do about a clock that jumps back.
//!
//! The rules:
//! * A zygote is granted once, to one waiter, and only while it is warm; the last one parked first.
//! * Every waiter is answered once, first come first served, unless it leaves first.
//! * What is spawning, warm, leased and dying together never exceeds [`Settings::max`].
//! * The world is unreliable: a report about a zygote that is gone, a repeated one, or one that
//!   does not fit the zygote's state changes nothing. No input panics.

mod circuit;
mod demand;
mod event;
mod slots;
#[cfg(test)]
mod tests;
mod time;
mod waiters;

pub use event::{ColdReason, Denial, Effect, Event, Start};
pub use slots::SlotKey;
pub use time::Time;
pub use waiters::WaiterKey;

use circuit::Circuit;
use slots::{Slot, Slots};
use std::time::Duration;
use time::Timeline;
use waiters::{Waiter, Waiters};

/// What a pool is set to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Zygotes to keep warm; those beyond `max` are not.
    pub min: u32,
    /// Zygotes that may exist at once, from their spawn until they are gone.
    pub max: u32,
    /// Waiters that may queue.
    pub waiters_max: u32,
    /// How long a spawn may take before it counts as failed.
    pub spawn_timeout: Duration,
}

/// How things stand. `failing` is why the latest build failed, unless one has succeeded since.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "each count is named after the state or key that it counts")]
pub struct Counts {
    pub warm: u32,
    pub leased: u32,
    pub spawning: u32,
    pub dying: u32,
    pub waiters: u32,
    /// Zygotes that are wanted warm when nobody waits.
    pub target: u32,
    pub served: Served,
    pub failing: Option<String>,
}

/// Zygotes granted so far, by how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Served {
    /// At once.
    pub warm: u64,
    /// After queueing.
    pub cold: u64,
}

/// The pool. It builds nothing before its first event, of whatever kind.
#[derive(Debug)]
pub struct Pool {
    settings: Settings,
    timeline: Timeline,
    slots: Slots,
    waiters: Waiters,
    circuit: Circuit,
    served: Served,
    draining: bool,
}

impl Pool {
    /// An empty pool.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            timeline: Timeline::default(),
            slots: Slots::new(settings.max),
            waiters: Waiters::default(),
            circuit: Circuit::default(),
            served: Served::default(),
            draining: false,
        }
    }

    /// Takes note of an event, and appends what is to be done about it, in order.
    pub fn handle(&mut self, now: Time, event: Event, effects: &mut Vec<Effect>) {
        let now = self.timeline.advance(now);
        match event {
            Event::AcquireRequested { waiter, deadline, first_use } => {
                let deadline = deadline.map(|deadline| self.timeline.own(deadline));
                let cold = if first_use { ColdReason::FirstUse } else { ColdReason::Exhausted };
                self.acquire(Waiter { key: waiter, deadline, cold }, effects);
            }
            Event::WaiterLeft { waiter } => self.waiters.remove(waiter),
            Event::ZygoteReady { slot } => {
                if self.slots.park(slot) {
                    self.circuit.succeeded();
                }
            }
            Event::SpawnFailed { slot, reason } => self.spawn_failed(now, slot, reason),
            Event::SetupFailed { slot, reason } => {
                if matches!(self.slots.get(slot), Slot::Spawning { .. }) {
                    self.destroy(now, slot, reason, effects);
                }
            }
            Event::ZygoteDied { slot } => {
                self.destroy(now, slot, "a zygote died before it was ready".into(), effects);
            }
            Event::LeaseEnded { slot } => {
                if self.slots.get(slot) == Slot::Leased {
                    self.destroy(now, slot, String::new(), effects);
                }
            }
            Event::ZygoteGone { slot } => self.zygote_gone(now, slot),
            Event::TemplateLost { reason } => self.template_lost(now, &reason, effects),
            Event::TimePassed => {}
            Event::DrainStarted => self.drain(effects),
        }
        self.settle(now, effects);
    }

    /// When to tell the pool that time has passed, if it hears of nothing else before. By the
    /// caller's clock as of the latest event, and always later than that.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Time> {
        let now = self.timeline.now();
        let retry = self.circuit.retry_at(now).filter(|_| self.shortfall() > 0);
        let deadlines = [self.waiters.next_deadline(), self.slots.next_deadline(), retry];
        deadlines.into_iter().flatten().min().map(|own| self.timeline.callers(own))
    }

    /// How things stand.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts {
            warm: self.slots.warm(),
            leased: self.slots.leased(),
            spawning: self.slots.spawning(),
            dying: self.slots.dying(),
            waiters: self.waiters.len(),
            target: self.target(),
            served: self.served,
            failing: self.circuit.reason().map(str::to_owned),
        }
    }

    /// Whether no zygote and no waiter is left: after `DrainStarted`, whether it is finished.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.room() == self.settings.max && self.waiters.len() == 0
    }

    fn target(&self) -> u32 {
        if self.draining { 0 } else { self.settings.min.min(self.settings.max) }
    }

    /// Spawns that are wanted and have room.
    fn shortfall(&self) -> u32 {
        let (warm, spawning) = (self.slots.warm(), self.slots.spawning());
        let wanted = demand::shortfall(self.target(), self.waiters.len(), warm, spawning);
        wanted.min(self.slots.room())
    }

    /// Whoever finds a warm zygote gets it; nobody can be waiting for it then (see [`Self::settle`]).
    fn acquire(&mut self, waiter: Waiter, effects: &mut Vec<Effect>) {
        let Waiter { key, .. } = waiter;
        if self.waiters.contains(key) {
            return;
        }
        if self.draining {
            effects.push(Effect::Deny { waiter: key, why: Denial::Draining });
        } else if let Some(slot) = self.slots.lease() {
            self.served.warm += 1;
            effects.push(Effect::Grant { waiter: key, slot, start: Start::Warm });
        } else if self.waiters.len() >= self.settings.waiters_max {
            let why = Denial::QueueFull { waiters: self.waiters.len() };
            effects.push(Effect::Deny { waiter: key, why });
        } else {
            self.waiters.push(waiter);
        }
    }

    /// Nothing exists in the slot. One that is known to have been ready cannot have failed to
    /// spawn: it stays paid for until it is said to be gone.
    fn spawn_failed(&mut self, now: Time, slot: SlotKey, reason: String) {
        match self.slots.get(slot) {
            Slot::Spawning { .. } => {
                self.slots.clear(slot);
                self.circuit.failed(now, slot, reason);
            }
            Slot::Dying { was_ready: false } => {
                self.slots.clear(slot);
            }
            Slot::Empty | Slot::Warm { .. } | Slot::Leased | Slot::Dying { was_ready: true } => {}
        }
    }

    /// Orders the end of what is in the slot. If it was not ready yet, its build has failed for
    /// `reason`.
    fn destroy(&mut self, now: Time, slot: SlotKey, reason: String, effects: &mut Vec<Effect>) {
        match self.slots.condemn(slot) {
            Slot::Empty | Slot::Dying { .. } => return,
            Slot::Spawning { .. } => self.circuit.failed(now, slot, reason),
            Slot::Warm { .. } | Slot::Leased => {}
        }
        effects.push(Effect::Destroy { slot });
    }

    fn zygote_gone(&mut self, now: Time, slot: SlotKey) {
        if let Slot::Spawning { .. } = self.slots.clear(slot) {
            self.circuit.failed(now, slot, "a zygote was gone before it was ready".into());
        }
    }

    /// What is dying is ordered to die once more: the first order may have been lost as well.
    fn template_lost(&mut self, now: Time, reason: &str, effects: &mut Vec<Effect>) {
        for slot in self.slots.unleased() {
            if let Slot::Dying { .. } = self.slots.get(slot) {
                effects.push(Effect::Destroy { slot });
            } else {
                self.destroy(now, slot, reason.to_owned(), effects);
            }
        }
    }

    /// Those that are spawning end here as well: nobody is left to want them. They have not failed.
    fn drain(&mut self, effects: &mut Vec<Effect>) {
        self.draining = true;
        while let Some(waiter) = self.waiters.pop() {
            effects.push(Effect::Deny { waiter: waiter.key, why: Denial::Draining });
        }
        for slot in self.slots.unleased() {
            if !matches!(self.slots.condemn(slot), Slot::Dying { .. }) {
                effects.push(Effect::Destroy { slot });
            }
        }
    }

    /// Does what has become possible or due, whatever the event was. Afterwards there are warm
    /// zygotes or waiters, never both.
    fn settle(&mut self, now: Time, effects: &mut Vec<Effect>) {
        while let Some(waiter) = self.waiters.pop_expired(now) {
            effects.push(Effect::Deny { waiter: waiter.key, why: Denial::DeadlineExpired });
        }
        while let Some(slot) = self.slots.overdue(now) {
            let allowed_ms = self.settings.spawn_timeout.as_millis();
            let reason = format!("a zygote was not ready within {allowed_ms} ms");
            self.destroy(now, slot, reason, effects);
        }
        self.grant(effects);
        self.refill(now, effects);
        self.refuse(now, effects);
    }

    fn grant(&mut self, effects: &mut Vec<Effect>) {
        while self.waiters.len() > 0
            && let Some(slot) = self.slots.lease()
            && let Some(waiter) = self.waiters.pop()
        {
            self.served.cold += 1;
            let start = Start::Cold(waiter.cold);
            effects.push(Effect::Grant { waiter: waiter.key, slot, start });
        }
    }

    fn refill(&mut self, now: Time, effects: &mut Vec<Effect>) {
        let deadline = now.after(self.settings.spawn_timeout);
        for _ in 0..self.shortfall().min(self.circuit.allows(now)) {
            let Some(slot) = self.slots.spawn(deadline) else { return };
            self.circuit.tried(slot);
            effects.push(Effect::Spawn { slot });
        }
    }

    /// Waiting is pointless while the circuit is open and nothing is on its way.
    fn refuse(&mut self, now: Time, effects: &mut Vec<Effect>) {
        let Some(reason) = self.circuit.refuses(now).filter(|_| self.slots.spawning() == 0) else {
            return;
        };
        while let Some(waiter) = self.waiters.pop() {
            let why = Denial::BuildFailing { reason: reason.to_owned() };
            effects.push(Effect::Deny { waiter: waiter.key, why });
        }
    }
}
