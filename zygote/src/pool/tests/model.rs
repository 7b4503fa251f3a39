//! What the policy should know, kept in the most naive way, and a verdict on each of its answers.
//!
//! The model does not foretell the answer: it checks that each order is one that the rules allow at
//! that moment, and that none is missing at the end. Everything is a plain list that is searched.
//! What was learned from the demand is taken from the policy: `demand` has tests of its own.

use super::{Effect, Event, Limits, Policy, PoolKey, Settings, SlotKey, Time, WaiterKey};
use crate::pool::{ColdReason, Counts, Denial, HANDOVER_MAX, RESERVATIONS_MAX, Served, Start};
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
    deadline: Option<Duration>,
    cold: ColdReason,
}

#[derive(Debug)]
struct Pool {
    key: PoolKey,
    uid: u32,
    settings: Settings,
    /// The first pool of its lineage.
    lineage: PoolKey,
    retired: bool,
    /// What the policy says it is, as of the event that is checked.
    counts: Counts,
}

#[derive(Debug)]
struct Lineage {
    key: PoolKey,
    in_force: PoolKey,
    newest: PoolKey,
    max: u32,
    hand_over_by: Duration,
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
    turns: [Vec<u32>; 3],
    draining: bool,
    /// Zygotes whose end must be ordered before this event is dealt with.
    owed: Vec<SlotKey>,
    arriving: Option<WaiterKey>,
    /// The zygote whose lease is over by this event, until it is said what becomes of it.
    ended: Option<SlotKey>,
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
            turns: [const { Vec::new() }; 3],
            draining: false,
            owed: Vec::new(),
            arriving: None,
            ended: None,
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
        self.pools.push(Pool { key, uid, settings, lineage, retired: false, counts });
        if key == lineage {
            self.lineages.push(Lineage {
                key,
                in_force: key,
                newest: key,
                max: settings.max,
                hand_over_by: self.elapsed,
                reservations: Vec::new(),
                served: Served::default(),
                active_at: self.elapsed,
            });
        }
    }

    pub(super) fn supersede(&mut self, old: PoolKey, new: PoolKey, settings: Settings) {
        let Some(pool) = self.pool(old) else { return };
        let (uid, lineage) = (pool.uid, pool.lineage);
        self.add(new, uid, settings, lineage);
        let by = self.elapsed + HANDOVER_MAX;
        let lineage = self.lineage_mut(new);
        let (in_force, passed_over) = (lineage.in_force, lineage.newest);
        lineage.newest = new;
        lineage.max = settings.max;
        lineage.hand_over_by = by;
        if passed_over != in_force {
            self.retire_one(passed_over);
        }
        if self.pool(in_force).is_none_or(|pool| pool.retired) {
            self.lineage_mut(new).in_force = new;
        }
    }

    pub(super) fn retire(&mut self, key: PoolKey) {
        let Some(lineage) = self.pool(key).map(|pool| pool.lineage) else { return };
        for pool in self.pools.iter_mut().filter(|pool| pool.lineage == lineage) {
            pool.retired = true;
        }
    }

    fn retire_one(&mut self, key: PoolKey) {
        for pool in self.pools.iter_mut().filter(|pool| pool.key == key) {
            pool.retired = true;
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
        let Some((max, retired)) = self.pool(key).map(|pool| (pool.settings.max, pool.retired))
        else {
            return 0;
        };
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
        let most = max.min(self.limits.zygotes_max);
        if retired || self.draining { 0 } else { self.reserved(key).min(most) }
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
        self.lineage(key).reservations.iter().map(|(_, count)| count).sum()
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

    fn waiters(&self, pool: PoolKey) -> u32 {
        self.queue.iter().filter(|waiting| waiting.pool == pool).count() as u32
    }

    /// Warm, or going to be when all that wait are served.
    fn idle(&self, pool: PoolKey) -> u32 {
        self.warm(pool) + self.spawning(Some(pool)).saturating_sub(self.waiters(pool))
    }

    fn room(&self, key: PoolKey) -> u32 {
        let lineage = self.lineage(key);
        let members = self.pools.iter().filter(|pool| pool.lineage == lineage.key);
        lineage.max.saturating_sub(members.map(|pool| self.held(pool.key)).sum())
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

    /// How many builds it wants for each reason, as far as its own state goes.
    fn wants(&self, pool: &Pool) -> [u32; 3] {
        let idle = self.idle(pool.key);
        let floor = self.floor(pool);
        [
            self.waiters(pool.key).saturating_sub(self.spawning(Some(pool.key))),
            floor.saturating_sub(idle),
            pool.counts.target.saturating_sub(idle.max(floor)),
        ]
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
            Event::AcquireRequested { pool, waiter, deadline, first_use } => {
                self.arrive(*pool, *waiter, *deadline, *first_use);
            }
            Event::WaiterLeft { waiter } => {
                self.note_activity();
                self.queue.retain(|waiting| waiting.key != *waiter);
            }
            Event::ZygoteReady { slot } => {
                if let State::Spawning { .. } | State::Returning { .. } = self.state(*slot) {
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

    fn arrive(&mut self, pool: PoolKey, key: WaiterKey, deadline: Option<Time>, first_use: bool) {
        if self.queue.iter().any(|waiting| waiting.key == key) {
            return;
        }
        self.arriving = Some(key);
        let deadline = deadline
            .map(|deadline| self.elapsed.saturating_add(deadline.0.saturating_sub(self.clock)));
        let cold = if first_use { ColdReason::FirstUse } else { ColdReason::Exhausted };
        self.queue.push(Waiting { key, pool, deadline, cold });
    }

    fn condemn(&mut self, slot: SlotKey) {
        let was_ready = match self.state(slot) {
            State::Gone | State::Dying { .. } | State::Quarantined { .. } => return,
            State::Spawning { .. } => false,
            State::Warm | State::Returning { .. } => true,
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

    // Answers.

    /// The newest takes over when it is as good, when it fails, or when its time is up.
    fn follow_hand_overs(&mut self, policy: &Policy) {
        for index in 0..self.pools.len() {
            let (key, lineage) = (self.pools[index].key, self.pools[index].lineage);
            let Lineage { in_force, newest, .. } = *self.lineage(key);
            let told = policy.in_force(key);
            if told != in_force {
                assert_eq!(told, newest, "only the newest takes over");
                let group = self.lineages.iter_mut().find(|candidate| candidate.key == lineage);
                group.expect("it has one").in_force = newest;
                self.retire_one(in_force);
            }
        }
    }

    fn apply_effect(&mut self, effect: &Effect) {
        match effect {
            Effect::Spawn { pool, slot } => self.spawn(*pool, *slot),
            Effect::Grant { waiter, slot, start } => self.grant(*waiter, *slot, *start),
            Effect::Deny { waiter, why } => self.deny(*waiter, why),
            Effect::Recycle { slot, next } => self.recycle(*slot, *next),
            Effect::Destroy { slot } => {
                if self.ended == Some(*slot) {
                    self.ended = None;
                    self.become_state(*slot, State::Dying { was_ready: true, since: self.elapsed });
                    self.quarantine();
                } else if let Some(index) = self.owed.iter().position(|owed| owed == slot) {
                    self.owed.remove(index);
                } else {
                    self.destroy(*slot);
                }
            }
        }
    }

    fn spawn(&mut self, key: PoolKey, slot: SlotKey) {
        assert!(!self.draining, "nothing is built while draining");
        assert!(!self.known.contains(&slot), "a key is used twice: {slot:?}");
        assert!((self.zygotes.len() as u32) < self.limits.zygotes_max, "zygotes_max is exceeded");
        assert!(self.placed() < self.limits.builds_max.max(1), "builds_max is exceeded");
        assert!(self.room(key) > 0, "max is exceeded");
        assert!(!self.hangs(key), "more is built where a build hangs");
        let pool = self.pool(key).expect("only a known pool builds");
        let (uid, wants) = (pool.uid, self.wants(pool));
        let reason = wants.iter().position(|count| *count > 0).expect("more is built than wanted");
        for other in self.pools.iter().filter(|other| self.may_build(other)) {
            let wants = self.wants(other);
            assert!(
                wants[..reason].iter().all(|count| *count == 0),
                "{:?} comes before {key:?}: {wants:?}, not {:?}",
                other.key,
                self.wants(pool)
            );
            if wants[reason] > 0 && reason < 2 {
                self.check_turn(reason, uid, key, other);
            }
        }
        self.turns[reason].retain(|other| *other != uid);
        self.turns[reason].push(uid);
        self.known.push(slot);
        let state = State::Spawning { since: self.elapsed };
        self.zygotes.push(Zygote { slot, pool: key, state });
    }

    /// Whether a pool got a build place before another one that wants it for the same reason.
    fn check_turn(&self, reason: usize, uid: u32, key: PoolKey, other: &Pool) {
        let latest = |uid: u32| self.turns[reason].iter().position(|had| *had == uid);
        if other.uid != uid {
            assert!(latest(uid) <= latest(other.uid), "uid {} has waited longer", other.uid);
        } else if reason == 0 && other.key != key {
            let first = |pool: PoolKey| {
                let queue = self.queue.iter().enumerate();
                let of = queue.filter(|(_, waiting)| waiting.pool == pool);
                of.map(|(index, _)| index).nth(self.spawning(Some(pool)) as usize)
            };
            assert!(first(key) < first(other.key), "a waiter of {:?} came earlier", other.key);
        }
    }

    fn grant(&mut self, waiter: WaiterKey, slot: SlotKey, start: Start) {
        let zygote = *self.zygote(slot).expect("only what exists is granted");
        assert_eq!(zygote.state, State::Warm, "only a warm zygote is granted");
        let warm = |slot: &&SlotKey| self.zygote(**slot).is_some_and(|z| z.pool == zygote.pool);
        let last = self.parked.iter().rfind(warm);
        assert_eq!(last, Some(&slot), "the last parked is granted first");
        let first = self.queue.iter().position(|waiting| waiting.pool == zygote.pool);
        let waiting = self.queue.remove(first.expect("somebody waits"));
        assert_eq!(waiting.key, waiter, "first come, first served");
        let warm = self.arriving == Some(waiter);
        assert_eq!(start, if warm { Start::Warm } else { Start::Cold(waiting.cold) });
        self.become_state(slot, State::Leased);
        let lineage = self.lineage_mut(zygote.pool);
        if warm {
            lineage.served.warm += 1;
        } else {
            lineage.served.cold += 1;
        }
        self.check_quotas(zygote.pool);
    }

    /// What is recycled has just been leased, and somebody may want it.
    fn recycle(&mut self, slot: SlotKey, next: SlotKey) {
        assert_eq!(self.ended.take(), Some(slot), "only what was leased until now is recycled");
        let zygote = *self.zygote(slot).expect("only what exists is recycled");
        let pool = self.pool(zygote.pool).expect("it has slots");
        assert!(pool.settings.reuse, "its pool destroys what was leased");
        assert!(!self.draining && !pool.retired, "nobody wants it any more");
        assert_eq!(self.lineage(pool.key).newest, pool.key, "it has a successor");
        assert!(!self.known.contains(&next), "a key is used twice: {next:?}");
        self.known.push(next);
        for zygote in self.zygotes.iter_mut().filter(|zygote| zygote.slot == slot) {
            zygote.slot = next;
        }
        self.become_state(next, State::Returning { since: self.elapsed });
    }

    fn check_quotas(&self, key: PoolKey) {
        let pool = self.pool(key).expect("it is known");
        let (leases, waiters) = self.asked_by(|other| other.key == key);
        let quota = pool.settings.quota;
        assert!(quota.leases.is_none_or(|limit| leases <= limit), "the pool's quota is exceeded");
        assert!(quota.waiters.is_none_or(|limit| waiters <= limit));
    }

    /// Leases and waiters together, and waiters, of some pools.
    fn asked_by(&self, which: impl Fn(&Pool) -> bool) -> (u32, u32) {
        let of = self.pools.iter().filter(|pool| which(pool));
        of.fold((0, 0), |(leases, waiters), pool| {
            let leased = self.count(Some(pool.key), |state| *state == State::Leased);
            let waiting = self.waiters(pool.key);
            (leases + leased + waiting, waiters + waiting)
        })
    }

    fn deny(&mut self, waiter: WaiterKey, why: &Denial) {
        if let Denial::DeadlineExpired | Denial::BuildFailing { .. } = why {
            self.note_activity();
        }
        let index = self.queue.iter().position(|waiting| waiting.key == waiter);
        let waiting = self.queue.remove(index.expect("only who waits is denied"));
        let arrives = self.arriving == Some(waiter);
        let Some(pool) = self.pool(waiting.pool) else {
            assert_eq!(*why, Denial::Draining, "nothing is known of its pool");
            return;
        };
        match why {
            Denial::QueueFull { waiters } => {
                assert!(arrives);
                assert_eq!(self.waiters(pool.key), *waiters);
                assert!(*waiters >= pool.settings.waiters_max);
            }
            Denial::QuotaExceeded { what, limit } => {
                assert!(arrives);
                let of_pool = self.asked_by(|other| other.lineage == pool.lineage);
                let of_uid = self.asked_by(|other| other.uid == pool.uid);
                let quotas = [(pool.settings.quota, of_pool), (self.limits.quota, of_uid)];
                assert!(quotas.iter().any(|(quota, (leases, waiters))| match *what {
                    "leases" => quota.leases == Some(*limit) && leases >= limit,
                    "waiters" => quota.waiters == Some(*limit) && waiters >= limit,
                    _ => false,
                }));
            }
            Denial::DeadlineExpired => {
                assert!(waiting.deadline.expect("it has one") <= self.elapsed);
            }
            Denial::Draining => assert!(self.draining),
            Denial::BuildFailing { reason } => {
                assert_eq!(pool.counts.failing.as_ref(), Some(reason));
                let coming = self.spawning(Some(pool.key)) + self.returning(Some(pool.key));
                assert_eq!((self.warm(pool.key), coming), (0, 0));
            }
        }
    }

    /// Nothing that happened to the zygote demands its end: it is overdue, or not wanted, or makes
    /// room.
    fn destroy(&mut self, slot: SlotKey) {
        let zygote = *self.zygote(slot).expect("only what exists is destroyed");
        let pool = self.pool(zygote.pool).expect("it has slots");
        match zygote.state {
            State::Spawning { since } => {
                let overdue = self.elapsed >= since + pool.settings.spawn_timeout;
                let surplus = self.spawning(Some(pool.key)) > self.waiters(pool.key);
                assert!(overdue || (pool.retired && surplus), "a build is wasted");
                self.become_state(slot, State::Dying { was_ready: false, since: self.elapsed });
            }
            State::Warm => {
                let of = |parked: &&SlotKey| self.zygote(**parked).unwrap().pool == pool.key;
                let stalest = self.parked.iter().find(of);
                assert_eq!(stalest, Some(&slot), "the one parked longest goes first");
                let beyond = self.idle(pool.key) > pool.counts.target;
                assert!(beyond || pool.retired || self.makes_room(pool), "a zygote is wasted");
                self.become_state(slot, State::Dying { was_ready: true, since: self.elapsed });
            }
            State::Returning { since } => {
                let overdue = self.elapsed >= since + pool.settings.spawn_timeout;
                assert!(overdue || pool.retired || self.is_in_the_way(pool), "a zygote is wasted");
                self.become_state(slot, State::Dying { was_ready: true, since: self.elapsed });
            }
            state => panic!("{slot:?} is destroyed while it is {state:?}"),
        }
        // One that is dying for no time at all may be given up at once.
        self.quarantine();
    }

    /// Whether somebody waits who can be built for only where a zygote of this pool has been, which is on
    /// its way back.
    fn is_in_the_way(&self, victim: &Pool) -> bool {
        let full = self.zygotes.len() as u32 >= self.limits.zygotes_max;
        let kin = |pool: &&Pool| pool.lineage == victim.lineage && self.room(victim.key) == 0;
        let near = |pool: &&Pool| full || kin(pool);
        self.pools.iter().filter(near).any(|pool| self.wants(pool)[0] > 0)
    }

    /// Whether a warm zygote of this pool may go for another pool's sake.
    fn makes_room(&self, victim: &Pool) -> bool {
        let wants = |pool: &Pool| self.wants(pool).iter().sum::<u32>() > 0;
        let lineage = |pool: &&Pool| pool.lineage == victim.lineage && pool.key != victim.key;
        let for_generation = self.pools.iter().filter(lineage).any(wants);
        if for_generation && self.room(victim.key) == 0 {
            return true;
        }
        if (self.zygotes.len() as u32) < self.limits.zygotes_max {
            return false;
        }
        let spare = |pool: &Pool| {
            self.idle(pool.key).saturating_sub(self.floor(pool)).min(self.warm(pool.key))
        };
        let most = |of: &dyn Fn(&Pool) -> u32| self.pools.iter().map(of).max().unwrap_or(0);
        let wanted = |reason: usize| self.pools.iter().any(|pool| self.wants(pool)[reason] > 0);
        match most(&spare) {
            0 => wanted(0) && self.warm(victim.key) == most(&|pool| self.warm(pool.key)),
            spares => (wanted(0) || wanted(1)) && spare(victim) == spares,
        }
    }

    // The end of an event.

    fn check_counts(&self, policy: &Policy) {
        for pool in &self.pools {
            let key = pool.key;
            let lineage = self.lineage(key);
            let in_force = lineage.in_force == key;
            let reserved = self.reserved(key).min(pool.settings.max).min(self.limits.zygotes_max);
            let want = Counts {
                warm: self.warm(key),
                leased: self.count(Some(key), |state| *state == State::Leased),
                spawning: self.spawning(Some(key)),
                returning: self.returning(Some(key)),
                dying: self.dying(Some(key)),
                quarantined: self.count(Some(key), |s| matches!(s, State::Quarantined { .. })),
                waiters: self.waiters(key),
                target: pool.counts.target,
                reserved: if pool.retired || self.draining { 0 } else { reserved },
                served: if in_force { lineage.served } else { Served::default() },
                failing: pool.counts.failing.clone(),
                retired: pool.retired,
            };
            assert_eq!(pool.counts, want, "{key:?}");
            assert!((self.floor(pool)..=pool.settings.max).contains(&pool.counts.target));
            assert!(!pool.retired || pool.counts.target == 0);
            assert_eq!(policy.is_over(key), self.is_over(key));
            assert!(want.waiters <= pool.settings.waiters_max);
        }
        let quarantined = self.count(None, |state| matches!(state, State::Quarantined { .. }));
        assert_eq!(policy.quarantined(), quarantined);
        let alive = self.zygotes.len() as u32 - quarantined;
        assert_eq!(policy.is_drained(), self.draining && alive == 0 && self.queue.is_empty());
    }

    fn check_nothing_is_missing(&self) {
        assert!(self.owed.is_empty(), "not destroyed: {:?}", self.owed);
        assert_eq!(self.ended, None, "nothing has become of it");
        for waiting in &self.queue {
            assert!(waiting.deadline.is_none_or(|deadline| deadline > self.elapsed), "overdue");
            assert!(!self.draining, "nobody waits while draining");
            assert_eq!(self.warm(waiting.pool), 0, "a waiter is kept from a warm zygote");
        }
        for zygote in &self.zygotes {
            let pool = self.pool(zygote.pool).expect("it has slots");
            match zygote.state {
                State::Spawning { since } => {
                    assert!(since + pool.settings.spawn_timeout > self.elapsed, "overdue");
                    let wanted =
                        !pool.retired || self.spawning(Some(pool.key)) <= self.waiters(pool.key);
                    assert!(wanted, "a retired pool builds for nobody");
                }
                State::Returning { since } => {
                    assert!(since + pool.settings.spawn_timeout > self.elapsed, "overdue");
                    assert!(!pool.retired && !self.draining, "a retired pool takes nothing back");
                }
                State::Warm => assert!(!pool.retired, "a retired pool keeps nothing warm"),
                _ => {}
            }
        }
        for lineage in self.lineages.iter().filter(|lineage| lineage.in_force != lineage.newest) {
            let (Some(old), Some(new)) = (self.pool(lineage.in_force), self.pool(lineage.newest))
            else {
                continue;
            };
            let equal = new.counts.target.min(self.warm(old.key));
            assert!(self.warm(new.key) < equal, "the newest is as good");
            assert!(self.elapsed < lineage.hand_over_by, "a hand-over lasts too long");
        }
    }

    /// What can be built is built, and a warm zygote gives way where there is no room.
    fn check_builds(&self) {
        let places = self.limits.builds_max.max(1).saturating_sub(self.placed());
        let room = self.limits.zygotes_max.saturating_sub(self.zygotes.len() as u32);
        let (mut waiters, mut floors) = (0, 0);
        for pool in self.pools.iter().filter(|pool| self.may_build(pool)) {
            let ([for_waiters, for_floor, _], room) = (self.wants(pool), self.room(pool.key));
            waiters += for_waiters.min(room);
            floors += for_floor.min(room.saturating_sub(for_waiters));
        }
        if places > 0 && room > 0 {
            assert_eq!((waiters, floors), (0, 0), "less is built than is wanted");
        }
        let expected = self.dying(None);
        if room == 0 && expected < places.min(waiters) {
            assert!(self.parked.is_empty(), "zygotes idle while somebody waits");
            assert_eq!(self.returning(None), 0, "a waiter waits for what is on its way back");
        }
        if room == 0 && expected < places.min(waiters + floors) {
            let spare = |pool: &&Pool| self.idle(pool.key).min(self.warm(pool.key));
            let spares = |pool: &&Pool| spare(pool) > 0 && self.idle(pool.key) > self.floor(pool);
            assert!(!self.pools.iter().any(|pool| spares(&pool)), "a floor waits for a surplus");
        }
    }

    /// The caller is woken for everything that becomes due.
    fn check_deadline(&self, policy: &Policy) {
        let next = policy.next_deadline().map(|next| next.0);
        assert!(next.is_none_or(|next| next > self.clock), "a deadline lies in the past");
        let zygotes = self.zygotes.iter().filter_map(|zygote| {
            let settings = &self.pool(zygote.pool).expect("it has slots").settings;
            match zygote.state {
                State::Spawning { since } | State::Returning { since } => {
                    Some(since + settings.spawn_timeout)
                }
                State::Dying { since, .. } => Some(since + settings.destroy_timeout),
                _ => None,
            }
        });
        let places = self.zygotes.iter().filter_map(|zygote| match zygote.state {
            State::Spawning { since } => Some(since + self.limits.build_counts),
            _ => None,
        });
        let places = places.filter(|free| *free > self.elapsed);
        let waiters = self.queue.iter().filter_map(|waiting| waiting.deadline);
        let due = zygotes.chain(places).chain(waiters).min();
        if let Some(due) = due.map(|due| self.clock + (due - self.elapsed)) {
            assert!(next.is_some_and(|next| next <= due), "woken too late");
        }
    }
}
