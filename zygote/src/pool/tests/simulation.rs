//! A policy in a world that goes wrong: builds that are slow, fail or hang, zygotes that die in any
//! state, ends that never come, clients that vanish, reports that come late or twice, templates that
//! crash, a clock that jumps, profiles that change or go, a drain at any time. The rules hold while
//! that lasts; once it stops, all comes to rest.

use super::random::{Random, for_each_seed};
use super::random_events::{random_count, random_limits, random_settings};
use super::{Effect, Event, PoolKey, SlotKey, Time, WaiterKey, Watched, ms};
use crate::pool::Denial;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How long it may take to come to rest once faults have stopped: an open circuit waits for 30 s
/// at the most, a hand-over lasts 10 s, all other times of the settings are below 2 s.
const REST_WITHIN: Duration = ms(60_000);

#[test]
fn faults_break_no_rule_and_end_in_rest() {
    for_each_seed(300, |seed, random| {
        let mut world = World::new(random, seed % 20 == 0);
        world.watched.settles_late = seed % 2 == 1;
        world.run_with_faults(ms(1_500));
        world.run_to_rest();
        world.expect_rest();
        world.expect_service();
    });
}

/// What is due at some time.
#[derive(Debug, Clone)]
enum Due {
    /// It reaches the policy.
    Report(Event),
    BuildEnds(SlotKey),
    ReturnEnds(SlotKey),
    ZygoteDies(SlotKey),
    TeardownEnds(SlotKey),
    ClientArrives,
    ClientVanishes(WaiterKey),
    TemplateCrashes,
    ClockJumps,
    ProfileChanges,
    DrainStarts,
}

/// What really is in a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Zygote {
    Building,
    Parked,
    /// On its way back from a lease.
    Returning,
    Dying,
    /// Its end does not come.
    Stuck,
}

#[derive(Default)]
struct Client {
    /// How many zygotes it wants at once.
    count: u32,
    vanished: bool,
    granted: Vec<SlotKey>,
    denied: Option<Denial>,
}

impl Client {
    fn is_answered(&self) -> bool {
        self.denied.is_some() || !self.granted.is_empty()
    }
}

struct World {
    random: Random,
    watched: Watched,
    zygotes_max: usize,
    /// The generations of each profile and uid, the newest last.
    lineages: Vec<Vec<PoolKey>>,
    /// True time, which the policy never sees.
    now: Duration,
    /// What its clock reads beyond that.
    skew: Duration,
    faults: bool,
    draining: bool,
    /// While builds fail, every one does.
    outage_until: Duration,
    agenda: BTreeMap<(Duration, u64), Due>,
    entries: u64,
    zygotes: BTreeMap<SlotKey, (PoolKey, Zygote)>,
    /// Those whose end the policy has heard of, or has ordered.
    ended: BTreeSet<SlotKey>,
    owned: BTreeSet<SlotKey>,
    clients: BTreeMap<WaiterKey, Client>,
}

impl World {
    fn new(mut random: Random, checks: bool) -> Self {
        let limits = random_limits(&mut random);
        let mut world = Self {
            watched: Watched { checks, ..Watched::new(limits) },
            zygotes_max: limits.zygotes_max as usize,
            lineages: Vec::new(),
            random,
            now: Duration::ZERO,
            skew: ms(1_000_000),
            faults: true,
            draining: false,
            outage_until: Duration::ZERO,
            agenda: BTreeMap::new(),
            entries: 0,
            zygotes: BTreeMap::new(),
            ended: BTreeSet::new(),
            owned: BTreeSet::new(),
            clients: BTreeMap::new(),
        };
        for _ in 0..=world.random.below(3) {
            world.add_pool();
        }
        world
    }

    fn add_pool(&mut self) {
        let settings = random_settings(&mut self.random);
        let uid = self.random.below(3) as u32;
        self.lineages.push(vec![self.watched.add(uid, settings)]);
    }

    fn run_with_faults(&mut self, until: Duration) {
        let dues = [Due::ClientArrives, Due::TemplateCrashes, Due::ClockJumps, Due::ProfileChanges];
        for due in dues {
            self.plan(ms(0), due);
        }
        if self.random.percent(10) {
            let at = self.random.within_ms(1_500);
            self.plan(at, Due::DrainStarts);
        }
        while self.now < until {
            assert!(self.step(), "clients never cease to arrive");
        }
        self.faults = false;
    }

    fn run_to_rest(&mut self) {
        let from = self.now;
        let steps = (0..100_000).take_while(|_| self.step()).count();
        assert!(steps < 100_000, "it never comes to rest");
        assert!(self.now < from + REST_WITHIN, "it takes {:?} to come to rest", self.now - from);
    }

    /// Goes on to whatever is due next. Returns whether there was anything.
    fn step(&mut self) -> bool {
        let clock = self.now + self.skew;
        let deadline = self.watched.policy.next_deadline();
        let wake = deadline.map(|deadline| self.now + (deadline.0.saturating_sub(clock)));
        // What is left to be settled the server settles within 4 ms, and nothing before.
        let wake = if self.watched.unsettled { Some(self.now + ms(4)) } else { wake };
        let planned = self.agenda.first_key_value().map(|(&(at, _), _)| at);
        match (planned, wake) {
            (None, None) => return false,
            (Some(planned), wake) if wake.is_none_or(|wake| planned <= wake) => {
                self.now = planned;
                let (_, due) = self.agenda.pop_first().expect("it was seen above");
                self.happen(due);
            }
            (_, wake) => {
                self.now = wake.unwrap_or(self.now);
                self.tell(Event::TimePassed);
            }
        }
        true
    }

    fn plan(&mut self, after: Duration, due: Due) {
        self.entries += 1;
        self.agenda.insert((self.now + after, self.entries), due);
    }

    fn happen(&mut self, due: Due) {
        match due {
            Due::Report(event) => self.tell(event),
            Due::BuildEnds(slot) => self.build_ends(slot),
            Due::ReturnEnds(slot) => self.return_ends(slot),
            Due::ZygoteDies(slot) => {
                let is = self.zygotes.get(&slot).map(|(_, zygote)| *zygote);
                if let Some(Zygote::Building | Zygote::Parked | Zygote::Returning) = is {
                    self.report(Event::ZygoteDied { slot });
                    self.tear_down(slot);
                }
            }
            Due::TeardownEnds(slot) => {
                self.zygotes.remove(&slot);
                self.report(Event::ZygoteGone { slot });
            }
            Due::ClientArrives => self.client_arrives(),
            Due::ClientVanishes(waiter) => self.client_vanishes(waiter),
            Due::DrainStarts => {
                self.draining = true;
                self.tell(Event::DrainStarted);
            }
            Due::TemplateCrashes | Due::ClockJumps | Due::ProfileChanges if !self.faults => {}
            Due::TemplateCrashes => self.template_crashes(),
            Due::ClockJumps => self.clock_jumps(),
            Due::ProfileChanges => self.profile_changes(),
        }
    }

    fn clock_jumps(&mut self) {
        self.skew = match self.random.below(3) {
            0 => self.skew + self.random.within_ms(60_000),
            1 => self.skew.saturating_sub(self.random.within_ms(60_000)),
            _ => self.skew.saturating_sub(self.random.within_ms(10)),
        };
        self.tell(Event::TimePassed);
        let next = self.random.within_ms(2_000);
        self.plan(next, Due::ClockJumps);
    }

    fn profile_changes(&mut self) {
        let index = self.random.below(self.lineages.len() as u64) as usize;
        let newest = *self.lineages[index].last().expect("it has a generation");
        match self.random.below(10) {
            0 => self.add_pool(),
            1 => self.watched.retire(newest),
            2..5 => {
                let (count, ttl) = (self.random.below(6) as u32, self.random.within_ms(500));
                self.watched.reserve(Time(self.now + self.skew), newest, count, ttl);
            }
            5 => {
                for pool in self.lineages.concat() {
                    if self.watched.policy.is_over(pool) {
                        self.watched.forget(pool);
                    }
                }
            }
            _ => {
                let settings = random_settings(&mut self.random);
                let successor = self.watched.supersede(newest, settings);
                self.lineages[index].push(successor);
            }
        }
        let next = self.random.within_ms(500);
        self.plan(next, Due::ProfileChanges);
    }

    /// Tells the policy, and carries out what it orders.
    fn tell(&mut self, event: Event) {
        match &event {
            Event::SpawnFailed { slot, .. }
            | Event::SetupFailed { slot, .. }
            | Event::ZygoteDied { slot }
            | Event::RecycleRefused { slot }
            | Event::ZygoteGone { slot } => drop(self.ended.insert(*slot)),
            _ => {}
        }
        let mut partly = BTreeSet::new();
        for effect in self.watched.handle(Time(self.now + self.skew), event) {
            match effect {
                Effect::Spawn { pool, slot } => self.spawn(pool, slot),
                Effect::Recycle { slot, next } => self.recycle(slot, next),
                Effect::Destroy { slot } => self.destroy(slot),
                Effect::Grant { waiter, slot, .. } => {
                    self.granted(waiter, slot);
                    partly.insert(waiter);
                }
                Effect::Deny { waiter, why } => {
                    let client = self.client(waiter);
                    assert!(!client.is_answered(), "{waiter:?} is answered more than once");
                    client.denied = Some(why);
                }
            }
        }
        for waiter in partly {
            let client = self.client(waiter);
            assert_eq!(client.granted.len(), client.count as usize, "whole or not at all");
        }
    }

    fn granted(&mut self, waiter: WaiterKey, slot: SlotKey) {
        assert!(!self.ended.contains(&slot), "{slot:?} is known to be dead");
        assert!(self.owned.insert(slot), "{slot:?} has two owners");
        let is = self.zygotes.get(&slot).map(|(_, zygote)| *zygote);
        assert_ne!(is, Some(Zygote::Returning), "something may be left in {slot:?}");
        assert!(!self.draining, "a lease is granted while draining");
        let client = self.client(waiter);
        assert!(client.denied.is_none(), "{waiter:?} is answered more than once");
        client.granted.push(slot);
        // One that has vanished would have its lease ended by the server at once.
        let vanished = self.clients[&waiter].vanished;
        let hold = if vanished { ms(0) } else { self.random.within_ms(80) };
        self.plan(hold, Due::Report(Event::LeaseEnded { slot }));
    }

    fn client(&mut self, waiter: WaiterKey) -> &mut Client {
        self.clients.get_mut(&waiter).expect("only who asked is answered")
    }

    /// The policy hears of it: as a rule now, sometimes late, sometimes again.
    fn report(&mut self, event: Event) {
        let mut delay = ms(0);
        if self.faults {
            if self.random.percent(10) {
                delay = self.random.within_ms(300);
            }
            if self.random.percent(10) {
                let again = self.random.within_ms(1_000);
                self.plan(again, Due::Report(event.clone()));
            }
        }
        self.plan(delay, Due::Report(event));
    }

    fn spawn(&mut self, pool: PoolKey, slot: SlotKey) {
        assert!(self.zygotes.len() < self.zygotes_max, "there are more than zygotes_max");
        let was = self.zygotes.insert(slot, (pool, Zygote::Building));
        assert_eq!(was, None, "{slot:?} is spawned twice");
        let hangs = self.faults && self.random.percent(3);
        if !hangs {
            let slow = self.faults && self.random.percent(20);
            let takes = self.random.within_ms(if slow { 700 } else { 2 });
            self.plan(takes, Due::BuildEnds(slot));
        }
        if self.faults && self.random.percent(5) {
            let lives = self.random.within_ms(200);
            self.plan(lives, Due::ZygoteDies(slot));
        }
    }

    fn build_ends(&mut self, slot: SlotKey) {
        let Some((_, zygote @ Zygote::Building)) = self.zygotes.get_mut(&slot) else { return };
        if self.faults && self.random.percent(1) {
            self.outage_until = self.now + self.random.within_ms(1_000);
        }
        let outage = self.faults && self.now < self.outage_until;
        let reason = "the machine has a bad day".to_owned();
        if outage && self.random.percent(50) {
            self.zygotes.remove(&slot);
            self.report(Event::SpawnFailed { slot, reason });
        } else if outage {
            self.report(Event::SetupFailed { slot, reason });
            self.tear_down(slot);
        } else {
            *zygote = Zygote::Parked;
            self.report(Event::ZygoteReady { slot });
        }
    }

    fn destroy(&mut self, slot: SlotKey) {
        self.ended.insert(slot);
        match self.zygotes.get(&slot) {
            None => self.report(Event::ZygoteGone { slot }),
            Some((_, Zygote::Dying | Zygote::Stuck)) => {}
            Some((_, Zygote::Building | Zygote::Parked | Zygote::Returning)) => {
                self.tear_down(slot);
            }
        }
    }

    fn recycle(&mut self, slot: SlotKey, next: SlotKey) {
        assert!(self.owned.contains(&slot), "{slot:?} is recycled and was not leased");
        let Some((pool, zygote)) = self.zygotes.remove(&slot) else {
            return self.report(Event::ZygoteGone { slot: next });
        };
        let parked = zygote == Zygote::Parked;
        let zygote = if parked { Zygote::Returning } else { zygote };
        let was = self.zygotes.insert(next, (pool, zygote));
        assert_eq!(was, None, "{next:?} is used twice");
        if !parked {
            return self.tear_down(next);
        }
        let slot = next;
        let hangs = self.faults && self.random.percent(3);
        if !hangs {
            let slow = self.faults && self.random.percent(20);
            let takes = self.random.within_ms(if slow { 700 } else { 60 });
            self.plan(takes, Due::ReturnEnds(slot));
        }
    }

    fn return_ends(&mut self, slot: SlotKey) {
        let Some((_, zygote @ Zygote::Returning)) = self.zygotes.get_mut(&slot) else { return };
        if self.faults && self.random.percent(20) {
            self.report(Event::RecycleRefused { slot });
        } else {
            *zygote = Zygote::Parked;
            self.report(Event::ZygoteReady { slot });
        }
    }

    fn tear_down(&mut self, slot: SlotKey) {
        let stuck = self.faults && self.random.percent(1);
        let slow = self.faults && self.random.percent(10);
        if let Some((_, zygote)) = self.zygotes.get_mut(&slot) {
            *zygote = if stuck { Zygote::Stuck } else { Zygote::Dying };
        }
        if !stuck {
            let takes = self.random.within_ms(if slow { 500 } else { 2 });
            self.plan(takes, Due::TeardownEnds(slot));
        }
    }

    /// What was being built may or may not have come to exist.
    fn template_crashes(&mut self) {
        let pool = self.any_pool();
        let built: Vec<SlotKey> = self.zygotes.keys().copied().collect();
        for slot in built {
            if self.zygotes[&slot] == (pool, Zygote::Building) && self.random.percent(50) {
                self.zygotes.remove(&slot);
            }
        }
        self.report(Event::TemplateLost { pool, reason: "the template crashed".into() });
        let next = self.random.within_ms(2_000);
        self.plan(next, Due::TemplateCrashes);
    }

    fn any_pool(&mut self) -> PoolKey {
        let index = self.random.below(self.lineages.len() as u64) as usize;
        self.random.pick(&self.lineages[index]).expect("it has a generation")
    }

    fn client_arrives(&mut self) {
        if !self.faults {
            return;
        }
        let pool = self.any_pool();
        let waiter = self.ask(pool);
        if self.random.percent(20) {
            let stays = self.random.within_ms(50);
            self.plan(stays, Due::ClientVanishes(waiter));
        }
        let burst = self.random.percent(70);
        let next = self.random.within_ms(if burst { 5 } else { 100 });
        self.plan(next, Due::ClientArrives);
    }

    fn ask(&mut self, pool: PoolKey) -> WaiterKey {
        let waiter = WaiterKey(self.clients.len() as u64);
        // Two that want more than half of all are in each other's way for certain.
        let half = self.zygotes_max as u32 / 2 + 1;
        let count = if self.random.percent(5) { half } else { random_count(&mut self.random) };
        let count = count.max(1);
        self.clients.insert(waiter, Client { count, ..Client::default() });
        let patience = self.random.within_ms(500);
        let deadline = self.random.percent(70).then_some(Time(self.now + self.skew + patience));
        let pool = self.watched.policy.in_force(pool);
        let first_use = self.clients.len() == 1;
        self.tell(Event::AcquireRequested { pool, waiter, count, deadline, first_use });
        waiter
    }

    fn client_vanishes(&mut self, waiter: WaiterKey) {
        let client = self.client(waiter);
        client.vanished = true;
        if !client.is_answered() {
            return self.report(Event::WaiterLeft { waiter });
        }
        for slot in client.granted.clone() {
            self.report(Event::LeaseEnded { slot });
        }
    }

    /// Whether a pool cannot have another zygote, whatever it wants.
    fn is_full(&self, pool: PoolKey) -> bool {
        let lineage = self.lineages.iter().find(|members| members.contains(&pool));
        let members = lineage.expect("it is of some lineage");
        let held = self.zygotes.values().filter(|(of, _)| members.contains(of)).count();
        let max = self.watched.policy.lineage(pool).map_or(0, |lineage| lineage.max);
        held >= max as usize || self.zygotes.len() >= self.zygotes_max
    }

    /// Whether stuck zygotes leave too little room for what the first waiter of a pool wants, or for
    /// a batch of another generation that came before.
    fn is_kept_waiting(&self, pool: PoolKey) -> bool {
        let policy = &self.watched.policy;
        let Some((ticket, count)) = policy.waiters.first(pool) else { return false };
        let lineage = policy.lineage(pool).expect("somebody waits there");
        let held_up = |other: &PoolKey| {
            let batch = policy.waiters.batch(*other, 0).filter(|batch| *batch < ticket);
            batch.is_some() && self.is_kept_waiting(*other)
        };
        let stuck = |of: &dyn Fn(PoolKey) -> bool| {
            let stuck =
                |(of_pool, zygote): &&(PoolKey, Zygote)| *zygote == Zygote::Stuck && of(*of_pool);
            self.zygotes.values().filter(stuck).count()
        };
        let of_lineage = stuck(&|of| lineage.members.contains(&of)) + count as usize;
        of_lineage > lineage.max as usize
            || stuck(&|_| true) + count as usize > self.zygotes_max
            || lineage.members.iter().any(held_up)
    }

    fn expect_rest(&self) {
        let policy = &self.watched.policy;
        let stuck = self.zygotes.values().filter(|(_, zygote)| *zygote == Zygote::Stuck).count();
        assert_eq!(policy.quarantined() as usize, stuck);
        let (mut warm, mut waiting) = (0, 0);
        for pool in self.lineages.concat() {
            let counts = policy.counts(pool);
            let unrest = counts.leased + counts.spawning + counts.returning + counts.dying;
            assert_eq!(unrest, 0, "{counts:?}");
            // Where stuck zygotes leave too little room, one without a deadline waits for them.
            let kept_waiting = self.is_full(pool) || self.is_kept_waiting(pool);
            assert!(counts.waiters == 0 || kept_waiting, "{counts:?}");
            waiting += counts.waiters as usize;
            assert_eq!(policy.in_force(policy.in_force(pool)), policy.in_force(pool));
            let full = counts.target > 0 && self.is_full(pool);
            assert!(counts.warm >= counts.target || full, "not at its target: {counts:?}");
            let gathers = counts.waiters > 0;
            assert!(counts.warm <= counts.target || gathers, "it does not shrink: {counts:?}");
            let kept = counts.quarantined + counts.waiters > 0;
            assert!(!counts.retired || policy.is_over(pool) || kept);
            warm += counts.warm as usize;
        }
        assert_eq!(warm + stuck, self.zygotes.len(), "zygotes are lost from sight");
        assert_eq!(policy.is_drained(), self.draining);
        let unanswered = |client: &&Client| !client.is_answered() && !client.vanished;
        let wanted = self.clients.values().filter(unanswered).map(|client| client.count as usize);
        assert_eq!(wanted.sum::<usize>(), waiting, "not answered");
    }

    /// After the longest wait of an open circuit, whoever asks is served, unless it may not be.
    fn expect_service(&mut self) {
        self.now += ms(30_000);
        self.tell(Event::TimePassed);
        self.run_to_rest();
        for index in 0..self.lineages.len() {
            let newest = *self.lineages[index].last().expect("it has a generation");
            let stuck = self.zygotes.values().filter(|(_, zygote)| *zygote == Zygote::Stuck);
            let pool = self.watched.policy.in_force(newest);
            let known = self.watched.policy.pools.contains_key(&pool);
            let full = stuck.count() >= self.zygotes_max
                || known && self.watched.policy.counts(pool).warm == 0 && self.is_full(pool);
            let (waiter, count) = (WaiterKey(self.clients.len() as u64), 1);
            self.clients.insert(waiter, Client { count, ..Client::default() });
            let deadline = Some(Time(self.now + self.skew + ms(1_000)));
            let first_use = false;
            let before = self.is_kept_waiting(pool);
            self.tell(Event::AcquireRequested { pool, waiter, count, deadline, first_use });
            let full = full || before || self.is_kept_waiting(pool);
            self.run_to_rest();
            let client = &self.clients[&waiter];
            match &client.denied {
                None => assert!(client.is_answered(), "it is not answered"),
                Some(Denial::QuotaExceeded { .. }) => {}
                Some(Denial::Draining) => assert!(self.draining || !known),
                Some(why) => assert!(full, "a policy at rest denies: {why:?}"),
            }
        }
        self.expect_rest();
    }
}
