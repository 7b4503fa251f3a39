//! A pool in a world that goes wrong: builds that are slow, fail or hang, zygotes that die in any
//! state, clients that vanish, reports that come late or twice, a template that crashes, a clock
//! that jumps. The rules hold while that lasts; once it stops, all comes to rest.

use super::random::{Random, for_each_seed};
use super::random_events::random_settings;
use super::{Effect, Event, SlotKey, Time, WaiterKey, Watched, ms};
use std::collections::BTreeMap;
use std::time::Duration;

#[test]
fn faults_break_no_rule_and_end_in_rest() {
    for_each_seed(100, |random| {
        let mut world = World::new(random);
        world.run_with_faults(ms(8_000));
        world.run_to_rest();
        world.expect_rest();
        world.expect_service();
    });
}

/// What is due at some time.
#[derive(Debug, Clone)]
enum Due {
    /// It reaches the pool.
    Report(Event),
    BuildEnds(SlotKey),
    ZygoteDies(SlotKey),
    TeardownEnds(SlotKey),
    ClientArrives,
    ClientVanishes(WaiterKey),
    TemplateCrashes,
    ClockJumps,
}

/// What really is in a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Zygote {
    Building,
    Parked,
    Dying,
}

#[derive(Default)]
struct Client {
    answers: u32,
    vanished: bool,
    granted: Option<SlotKey>,
}

struct World {
    random: Random,
    watched: Watched,
    /// True time, which the pool never sees.
    now: Duration,
    /// What its clock reads beyond that.
    skew: Duration,
    faults: bool,
    /// While builds fail, every one does.
    outage_until: Duration,
    agenda: BTreeMap<(Duration, u64), Due>,
    entries: u64,
    zygotes: BTreeMap<SlotKey, Zygote>,
    clients: BTreeMap<WaiterKey, Client>,
}

impl World {
    fn new(mut random: Random) -> Self {
        Self {
            watched: Watched::new(random_settings(&mut random)),
            random,
            now: Duration::ZERO,
            skew: ms(1_000_000),
            faults: true,
            outage_until: Duration::ZERO,
            agenda: BTreeMap::new(),
            entries: 0,
            zygotes: BTreeMap::new(),
            clients: BTreeMap::new(),
        }
    }

    fn run_with_faults(&mut self, until: Duration) {
        for due in [Due::ClientArrives, Due::TemplateCrashes, Due::ClockJumps] {
            self.plan(ms(0), due);
        }
        while self.now < until {
            assert!(self.step(), "clients never cease to arrive");
        }
        self.faults = false;
    }

    fn run_to_rest(&mut self) {
        let steps = (0..100_000).take_while(|_| self.step()).count();
        assert!(steps < 100_000, "it never comes to rest");
    }

    /// Goes on to whatever is due next. Returns whether there was anything.
    fn step(&mut self) -> bool {
        let clock = self.now + self.skew;
        let deadline = self.watched.pool.next_deadline();
        let wake = deadline.map(|deadline| self.now + (deadline.0.saturating_sub(clock)));
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
            Due::ZygoteDies(slot) => {
                if matches!(self.zygotes.get(&slot), Some(Zygote::Building | Zygote::Parked)) {
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
            Due::TemplateCrashes => self.template_crashes(),
            Due::ClockJumps => self.clock_jumps(),
        }
    }

    fn clock_jumps(&mut self) {
        if !self.faults {
            return;
        }
        self.skew = match self.random.below(3) {
            0 => self.skew + self.random.within_ms(60_000),
            1 => self.skew.saturating_sub(self.random.within_ms(60_000)),
            _ => self.skew.saturating_sub(self.random.within_ms(10)),
        };
        self.tell(Event::TimePassed);
        let next = self.random.within_ms(4_000);
        self.plan(next, Due::ClockJumps);
    }

    /// Tells the pool, and carries out what it orders.
    fn tell(&mut self, event: Event) {
        for effect in self.watched.handle(Time(self.now + self.skew), event) {
            match effect {
                Effect::Spawn { slot } => self.spawn(slot),
                Effect::Destroy { slot } => self.destroy(slot),
                Effect::Grant { waiter, slot, .. } => {
                    self.answer(waiter).granted = Some(slot);
                    // One that has vanished would have its lease ended by the server at once.
                    let vanished = self.clients[&waiter].vanished;
                    let hold = if vanished { ms(0) } else { self.random.within_ms(80) };
                    self.plan(hold, Due::Report(Event::LeaseEnded { slot }));
                }
                Effect::Deny { waiter, .. } => {
                    self.answer(waiter);
                }
            }
        }
    }

    fn answer(&mut self, waiter: WaiterKey) -> &mut Client {
        let client = self.clients.get_mut(&waiter).expect("only who asked is answered");
        client.answers += 1;
        assert_eq!(client.answers, 1, "{waiter:?} is answered more than once");
        client
    }

    /// The pool hears of it: as a rule now, sometimes late, sometimes again.
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

    fn spawn(&mut self, slot: SlotKey) {
        let was = self.zygotes.insert(slot, Zygote::Building);
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
        if self.zygotes.get(&slot) != Some(&Zygote::Building) {
            return;
        }
        if self.faults && self.random.percent(1) {
            self.outage_until = self.now + self.random.within_ms(1_500);
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
            self.zygotes.insert(slot, Zygote::Parked);
            self.report(Event::ZygoteReady { slot });
        }
    }

    fn destroy(&mut self, slot: SlotKey) {
        match self.zygotes.get(&slot) {
            None => self.report(Event::ZygoteGone { slot }),
            Some(Zygote::Dying) => {}
            Some(Zygote::Building | Zygote::Parked) => self.tear_down(slot),
        }
    }

    fn tear_down(&mut self, slot: SlotKey) {
        self.zygotes.insert(slot, Zygote::Dying);
        let slow = self.faults && self.random.percent(10);
        let takes = self.random.within_ms(if slow { 500 } else { 2 });
        self.plan(takes, Due::TeardownEnds(slot));
    }

    /// What was being built may or may not have come to exist.
    fn template_crashes(&mut self) {
        if !self.faults {
            return;
        }
        for (slot, zygote) in self.zygotes.clone() {
            if zygote == Zygote::Building && self.random.percent(50) {
                self.zygotes.remove(&slot);
            }
        }
        self.report(Event::TemplateLost { reason: "the template crashed".into() });
        let next = self.random.within_ms(5_000);
        self.plan(next, Due::TemplateCrashes);
    }

    fn client_arrives(&mut self) {
        if !self.faults {
            return;
        }
        let waiter = self.ask();
        if self.random.percent(20) {
            let stays = self.random.within_ms(50);
            self.plan(stays, Due::ClientVanishes(waiter));
        }
        let burst = self.random.percent(70);
        let next = self.random.within_ms(if burst { 5 } else { 200 });
        self.plan(next, Due::ClientArrives);
    }

    fn ask(&mut self) -> WaiterKey {
        let waiter = WaiterKey(self.clients.len() as u64);
        self.clients.insert(waiter, Client::default());
        let patience = self.random.within_ms(500);
        let deadline = self.random.percent(70).then_some(Time(self.now + self.skew + patience));
        let first_use = self.clients.len() == 1;
        self.tell(Event::AcquireRequested { waiter, deadline, first_use });
        waiter
    }

    fn client_vanishes(&mut self, waiter: WaiterKey) {
        let client = self.clients.get_mut(&waiter).expect("it arrived");
        client.vanished = true;
        match (client.answers, client.granted) {
            (0, _) => self.report(Event::WaiterLeft { waiter }),
            (_, Some(slot)) => self.report(Event::LeaseEnded { slot }),
            (_, None) => {}
        }
    }

    fn expect_rest(&self) {
        let counts = self.watched.pool.counts();
        assert_eq!((counts.waiters, counts.leased), (0, 0), "{counts:?}");
        assert_eq!((counts.spawning, counts.dying), (0, 0), "{counts:?}");
        assert!(counts.warm >= counts.target, "warm does not reach its target: {counts:?}");
        assert_eq!(counts.warm as usize, self.zygotes.len(), "zygotes are lost from sight");
        for (waiter, client) in &self.clients {
            assert!(client.answers == 1 || client.vanished, "{waiter:?} is never answered");
        }
    }

    /// After the longest wait of an open circuit, whoever asks is served.
    fn expect_service(&mut self) {
        self.now += ms(30_000);
        let waiter = WaiterKey(u64::MAX);
        self.clients.insert(waiter, Client::default());
        self.tell(Event::AcquireRequested { waiter, deadline: None, first_use: false });
        self.run_to_rest();
        assert!(self.clients[&waiter].granted.is_some(), "a pool at rest serves nobody");
        self.expect_rest();
    }
}
