//! What the policy should know, kept in the most naive way, and a verdict on each of its answers.
//!
//! The model does not foretell the answer: it checks that each order is one that the rules allow at
//! that moment, and that none is missing at the end. Everything is a plain list that is searched.
//! What was learned from the demand is taken from the policy: `demand` has tests of its own.

mod answers;
mod end;
mod generations;
mod wants;

use super::{Effect, Event, Limits, Policy, PoolKey, Settings, SlotKey, Time, WaiterKey};
use crate::pool::{ColdReason, Counts, RESERVATIONS_MAX, Served, Start};
use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Spawning { since: Duration },
    Warm,
    Leased,
    Returning { since: Duration },
    Dying { was_ready: bool, since: Duration },
    Quarantined { was_ready: bool },
    Gone,
}

#[derive(Debug, Clone, Copy)]
struct Zygote {
    slot: SlotKey,
    pool: PoolKey,
    state: State,
}

#[derive(Debug)]
struct Waiting {
    key: WaiterKey,
    pool: PoolKey,
    uid: u32,
    /// How many it wants, and how many of them it has been granted within this answer.
    count: u32,
    granted: u32,
    deadline: Option<Duration>,
    start: Start,
    /// Batches that had been served when it came.
    batches_before: usize,
}

#[derive(Debug)]
struct Pool {
    key: PoolKey,
    uid: u32,
    settings: Settings,
    /// The first pool of its lineage.
    lineage: PoolKey,
    retired: bool,
    /// Whether anything of it was ever built.
    proven: bool,
    /// What the policy says it is, as of the event that is checked.
    counts: Counts,
}

#[derive(Debug)]
struct Lineage {
    key: PoolKey,
    in_force: PoolKey,
    newest: PoolKey,
    max: u32,
    hand_over_by: Option<Duration>,
    /// Warm zygotes of the pool in force that have ended in this hand-over.
    exchanged: u32,
    reservations: Vec<(Duration, u32)>,
    served: Served,
    active_at: Duration,
}

pub(super) struct Model {
    pub(super) limits: Limits,
    /// The caller's clock at the latest event, and the time that has passed by it: what it jumps
    /// back does not count.
    clock: Duration,
    elapsed: Duration,
    pools: Vec<Pool>,
    lineages: Vec<Lineage>,
    /// In the order in which they were ordered, which is that of building.
    zygotes: Vec<Zygote>,
    /// The warm ones, the latest last.
    parked: Vec<SlotKey>,
    /// The earliest first.
    queue: Vec<Waiting>,
    /// For each reason to build, the uids that had a turn, the latest last.
    turns: [Vec<u32>; 4],
    /// The uids of the batches that have waited and were served.
    batches_served: Vec<u32>,
    draining: bool,
    /// Zygotes whose end must be ordered before this event is dealt with.
    owed: Vec<SlotKey>,
    arriving: Option<WaiterKey>,
    /// Who has been granted only a part of what it wants.
    granting: Option<WaiterKey>,
    /// The zygote whose lease is over by this event, until it is said what becomes of it.
    ended: Option<SlotKey>,
    /// Pools that were superseded with the latest event.
    handed_over: Vec<PoolKey>,
    /// Every key that was ever ordered.
    pub(super) known: Vec<SlotKey>,
}

impl Model {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            clock: Duration::ZERO,
            elapsed: Duration::ZERO,
            pools: Vec::new(),
            lineages: Vec::new(),
            zygotes: Vec::new(),
            parked: Vec::new(),
            queue: Vec::new(),
            turns: [const { Vec::new() }; 4],
            batches_served: Vec::new(),
            draining: false,
            owed: Vec::new(),
            arriving: None,
            granting: None,
            ended: None,
            handed_over: Vec::new(),
            known: Vec::new(),
        }
    }

    pub(super) fn waiting(&self) -> Vec<WaiterKey> {
        self.queue.iter().map(|waiting| waiting.key).collect()
    }

    pub(super) fn keys(&self) -> Vec<PoolKey> {
        self.pools.iter().map(|pool| pool.key).collect()
    }

    // What is said to the policy beside events.

    pub(super) fn add(&mut self, key: PoolKey, uid: u32, settings: Settings, lineage: PoolKey) {
        assert!(self.pools.iter().all(|pool| pool.key < key), "a pool's key is used twice");
        let counts = Counts::default();
        self.pools.push(Pool {
            key,
            uid,
            settings,
            lineage,
            retired: false,
            proven: false,
            counts,
        });
        if key == lineage {
            self.lineages.push(Lineage {
                key,
                in_force: key,
                newest: key,
                max: settings.max,
                hand_over_by: None,
                exchanged: 0,
                reservations: Vec::new(),
                served: Served::default(),
                active_at: self.elapsed,
            });
        }
    }

    pub(super) fn forget(&mut self, key: PoolKey) {
        let over = self.is_over(key);
        self.pools.retain(|pool| pool.key != key || !over);
    }

    pub(super) fn is_over(&self, key: PoolKey) -> bool {
        let waits = self.queue.iter().any(|waiting| waiting.pool == key);
        self.pool(key).is_none_or(|pool| pool.retired && self.held(key) == 0 && !waits)
    }

    pub(super) fn reserve(&mut self, now: Time, key: PoolKey, count: u32, ttl: Duration) -> u32 {
        self.pass(now);
        let Some(retired) = self.pool(key).map(|pool| pool.retired) else { return 0 };
        self.expire_reservations();
        let expires = self.elapsed + ttl;
        let reservations = &mut self.lineage_mut(key).reservations;
        if count == 0 {
            reservations.clear();
        } else {
            if reservations.len() == RESERVATIONS_MAX {
                reservations.remove(0);
            }
            reservations.push((expires, count));
            reservations.sort_by_key(|(expires, _)| *expires);
        }
        if retired || self.draining { 0 } else { self.reserved(key) }
    }

    // What can be looked up.

    fn pool(&self, key: PoolKey) -> Option<&Pool> {
        self.pools.iter().find(|pool| pool.key == key)
    }

    fn lineage(&self, key: PoolKey) -> &Lineage {
        let lineage = self.pool(key).expect("it is known").lineage;
        self.lineages.iter().find(|candidate| candidate.key == lineage).expect("it has one")
    }

    fn lineage_mut(&mut self, key: PoolKey) -> &mut Lineage {
        let lineage = self.pool(key).expect("it is known").lineage;
        self.lineages.iter_mut().find(|candidate| candidate.key == lineage).expect("it has one")
    }

    fn reserved(&self, key: PoolKey) -> u32 {
        let asked: u32 = self.lineage(key).reservations.iter().map(|(_, count)| count).sum();
        let settings = &self.pool(key).expect("it is known").settings;
        asked
            .min(settings.max)
            .min(self.limits.zygotes_max)
            .min(settings.quota.leases.unwrap_or(u32::MAX))
            .min(self.limits.quota.leases.unwrap_or(u32::MAX))
    }

    fn zygote(&self, slot: SlotKey) -> Option<&Zygote> {
        self.zygotes.iter().find(|zygote| zygote.slot == slot && zygote.state != State::Gone)
    }

    fn state(&self, slot: SlotKey) -> State {
        self.zygote(slot).map_or(State::Gone, |zygote| zygote.state)
    }

    fn become_state(&mut self, slot: SlotKey, state: State) {
        self.parked.retain(|parked| *parked != slot);
        if state == State::Gone {
            self.zygotes.retain(|zygote| zygote.slot != slot);
        }
        for zygote in self.zygotes.iter_mut().filter(|zygote| zygote.slot == slot) {
            zygote.state = state;
        }
        if state == State::Warm {
            self.parked.push(slot);
        }
    }

    fn count(&self, pool: Option<PoolKey>, want: fn(&State) -> bool) -> u32 {
        let of = |zygote: &&Zygote| pool.is_none_or(|pool| zygote.pool == pool);
        self.zygotes.iter().filter(of).filter(|zygote| want(&zygote.state)).count() as u32
    }

    fn held(&self, pool: PoolKey) -> u32 {
        self.count(Some(pool), |_| true)
    }

    fn warm(&self, pool: PoolKey) -> u32 {
        self.count(Some(pool), |state| *state == State::Warm)
    }

    fn spawning(&self, pool: Option<PoolKey>) -> u32 {
        self.count(pool, |state| matches!(state, State::Spawning { .. }))
    }

    /// Builds that have not been under way for so long that they take no place any more.
    fn placed(&self) -> u32 {
        let placed = self.zygotes.iter().filter(|zygote| match zygote.state {
            State::Spawning { since } => since + self.limits.build_counts > self.elapsed,
            _ => false,
        });
        placed.count() as u32
    }

    fn hangs(&self, pool: PoolKey) -> bool {
        let mut builds = self.zygotes.iter().filter(|zygote| zygote.pool == pool);
        builds.any(|zygote| match zygote.state {
            State::Spawning { since } => since + self.limits.build_counts <= self.elapsed,
            _ => false,
        })
    }

    fn returning(&self, pool: Option<PoolKey>) -> u32 {
        self.count(pool, |state| matches!(state, State::Returning { .. }))
    }

    fn dying(&self, pool: Option<PoolKey>) -> u32 {
        self.count(pool, |state| matches!(state, State::Dying { .. }))
    }

    fn asleep(&self, pool: &Pool) -> bool {
        let Some(sleep) = pool.settings.pace.sleep else { return false };
        let lineage = self.lineage(pool.key);
        let busy = self.pools.iter().filter(|other| other.lineage == lineage.key).any(|other| {
            self.count(Some(other.key), |state| *state == State::Leased) > 0
                || self.waiters(other.key) > 0
        });
        !busy && self.elapsed >= lineage.active_at + sleep
    }

    fn floor(&self, pool: &Pool) -> u32 {
        if self.draining || pool.retired {
            return 0;
        }
        let min = if self.asleep(pool) { 0 } else { pool.settings.min };
        min.max(self.reserved(pool.key)).min(pool.settings.max)
    }

    /// Whether nothing but the server's budget keeps this pool from building. Pools of which that is
    /// hard to say, because builds fail or hang or another generation comes first, are left out.
    fn may_build(&self, pool: &Pool) -> bool {
        let lineage = self.lineage(pool.key);
        let alone = lineage.in_force == lineage.newest;
        let healthy = pool.counts.failing.is_none() && !self.hangs(pool.key);
        alone && healthy && self.room(pool.key) > 0 && !self.draining
    }

    // Events.

    fn pass(&mut self, now: Time) {
        self.elapsed += now.0.saturating_sub(self.clock);
        self.clock = now.0;
    }

    fn expire_reservations(&mut self) {
        let now = self.elapsed;
        for lineage in &mut self.lineages {
            lineage.reservations.retain(|(expires, _)| *expires > now);
        }
    }

    pub(super) fn check(&mut self, policy: &Policy, now: Time, event: &Event, effects: &[Effect]) {
        self.pass(now);
        (self.arriving, self.ended) = (None, None);
        self.apply_event(event);
        self.expire_reservations();
        self.quarantine();
        for pool in &mut self.pools {
            pool.counts = policy.counts(pool.key);
        }
        self.follow_hand_overs(policy);
        for effect in effects {
            self.apply_effect(effect);
        }
        self.note_activity();
        self.check_counts(policy);
        self.check_nothing_is_missing();
        self.check_builds();
        self.check_deadline(policy);
    }

    fn apply_event(&mut self, event: &Event) {
        match event {
            Event::AcquireRequested { pool, waiter, count, deadline, first_use } => {
                self.arrive(*pool, *waiter, *count, *deadline, *first_use);
            }
            Event::WaiterLeft { waiter } => {
                self.note_activity();
                self.queue.retain(|waiting| waiting.key != *waiter);
            }
            Event::ZygoteReady { slot } => {
                if let State::Spawning { .. } | State::Returning { .. } = self.state(*slot) {
                    self.build_succeeded(*slot);
                    self.become_state(*slot, State::Warm);
                }
            }
            Event::SpawnFailed { slot, .. } => {
                if let State::Spawning { .. }
                | State::Dying { was_ready: false, .. }
                | State::Quarantined { was_ready: false } = self.state(*slot)
                {
                    self.become_state(*slot, State::Gone);
                }
            }
            Event::SetupFailed { slot, .. } => {
                if let State::Spawning { .. } = self.state(*slot) {
                    self.condemn(*slot);
                }
            }
            Event::ZygoteDied { slot } => self.condemn(*slot),
            Event::LeaseEnded { slot } => {
                if self.state(*slot) == State::Leased {
                    self.note_activity();
                    self.ended = Some(*slot);
                }
            }
            Event::RecycleRefused { slot } => {
                if let State::Returning { .. } = self.state(*slot) {
                    self.condemn(*slot);
                }
            }
            Event::ZygoteGone { slot } => {
                self.note_activity();
                self.become_state(*slot, State::Gone);
            }
            Event::TemplateLost { pool, .. } => {
                self.condemn_unleased(|zygote| zygote.pool == *pool);
                let leased = |zygote: &&Zygote| zygote.state != State::Leased;
                let all = self.zygotes.iter().filter(|zygote| zygote.pool == *pool);
                self.owed = all.filter(leased).map(|zygote| zygote.slot).collect();
            }
            Event::TimePassed => {}
            Event::DrainStarted => {
                self.draining = true;
                self.condemn_unleased(|_| true);
            }
        }
    }

    fn arrive(
        &mut self,
        pool: PoolKey,
        key: WaiterKey,
        count: u32,
        deadline: Option<Time>,
        first_use: bool,
    ) {
        if self.queue.iter().any(|waiting| waiting.key == key) {
            return;
        }
        self.arriving = Some(key);
        let deadline = deadline
            .map(|deadline| self.elapsed.saturating_add(deadline.0.saturating_sub(self.clock)));
        let cold = if first_use { ColdReason::FirstUse } else { ColdReason::Exhausted };
        let count = count.max(1);
        let behind = self.waiters(pool) > 0 || self.held_up_from(pool) < self.queue.len();
        let at_once = self.warm(pool) >= count && !behind;
        let start = if at_once { Start::Warm } else { Start::Cold(cold) };
        let uid = self.pool(pool).map_or(0, |pool| pool.uid);
        let batches_before = self.batches_served.len();
        self.queue.push(Waiting {
            key,
            pool,
            uid,
            count,
            granted: 0,
            deadline,
            start,
            batches_before,
        });
    }

    fn condemn(&mut self, slot: SlotKey) {
        let was_ready = match self.state(slot) {
            State::Gone | State::Dying { .. } | State::Quarantined { .. } => return,
            State::Spawning { .. } => false,
            State::Warm => {
                self.warm_ended(slot);
                true
            }
            State::Returning { .. } => true,
            State::Leased => {
                self.note_activity();
                true
            }
        };
        self.become_state(slot, State::Dying { was_ready, since: self.elapsed });
        self.owed.push(slot);
    }

    fn condemn_unleased(&mut self, which: impl Fn(&Zygote) -> bool) {
        for zygote in self.zygotes.clone() {
            if zygote.state != State::Leased && which(&zygote) {
                self.condemn(zygote.slot);
            }
        }
    }

    fn quarantine(&mut self) {
        for zygote in self.zygotes.clone() {
            let timeout = self.pool(zygote.pool).expect("it has slots").settings.destroy_timeout;
            if let State::Dying { was_ready, since } = zygote.state
                && self.elapsed >= since + timeout
            {
                self.become_state(zygote.slot, State::Quarantined { was_ready });
            }
        }
    }

    /// A lineage is active while anybody waits or has a lease.
    fn note_activity(&mut self) {
        let now = self.elapsed;
        let leased = self.zygotes.iter().filter(|zygote| zygote.state == State::Leased);
        let mut busy: Vec<PoolKey> = leased.map(|zygote| zygote.pool).collect();
        busy.extend(self.queue.iter().map(|waiting| waiting.pool));
        for pool in busy {
            if self.pool(pool).is_some() {
                self.lineage_mut(pool).active_at = now;
            }
        }
    }
}
