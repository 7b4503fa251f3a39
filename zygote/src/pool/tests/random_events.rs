//! Any event at any time about any zygote, true or not: safety alone.

use super::random::{Random, for_each_seed};
use super::{Event, Settings, SlotKey, Time, WaiterKey, Watched, ms};
use std::time::Duration;

#[test]
fn no_sequence_of_events_breaks_a_rule() {
    for_each_seed(150, |mut random| {
        let mut watched = Watched::new(random_settings(&mut random));
        let mut now = ms(random.below(10_000));
        for _ in 0..400 {
            now = step(&mut random, now);
            let event = random_event(&mut random, &watched, now);
            watched.handle(Time(now), event);
        }
        watched.handle(Time(now), Event::DrainStarted);
        assert_eq!(watched.model.waiting(), [], "in the end, everybody is answered");
    });
}

/// A spawn may take longer than one does in a healthy machine (2 ms in the simulation).
pub(super) fn random_settings(random: &mut Random) -> Settings {
    let max = 1 + random.below(12) as u32;
    Settings {
        min: random.below(u64::from(max) + 2) as u32,
        max,
        waiters_max: 1 + random.below(8) as u32,
        spawn_timeout: ms(3 + random.below(500)),
    }
}

/// Time mostly creeps, sometimes leaps, and now and then runs back.
fn step(random: &mut Random, now: Duration) -> Duration {
    match random.below(100) {
        0..3 => now.saturating_sub(random.within_ms(20_000)),
        3..6 => now + random.within_ms(100_000),
        6..30 => now,
        _ => now + random.within_ms(30),
    }
}

fn random_event(random: &mut Random, watched: &Watched, now: Duration) -> Event {
    let slot = random_slot(random, &watched.model.known);
    let waiter = WaiterKey(random.below(20));
    let reason = format!("reason {}", random.below(3));
    match random.below(200) {
        0..60 => {
            let deadline = match random.below(3) {
                0 => None,
                1 => Some(Time(now.saturating_sub(random.within_ms(10)))),
                _ => Some(Time(now + random.within_ms(300))),
            };
            Event::AcquireRequested { waiter, deadline, first_use: random.percent(10) }
        }
        60..75 => Event::WaiterLeft { waiter },
        75..115 => Event::ZygoteReady { slot },
        115..125 => Event::SpawnFailed { slot, reason },
        125..130 => Event::SetupFailed { slot, reason },
        130..140 => Event::ZygoteDied { slot },
        140..160 => Event::LeaseEnded { slot },
        160..190 => Event::ZygoteGone { slot },
        190..192 => Event::TemplateLost { reason },
        192..199 => Event::TimePassed,
        _ if random.percent(5) => Event::DrainStarted,
        _ => Event::TimePassed,
    }
}

/// Mostly one of the latest, sometimes any that ever was, rarely one that never was.
fn random_slot(random: &mut Random, known: &[SlotKey]) -> SlotKey {
    let latest = &known[known.len().saturating_sub(16)..];
    let slot = match random.below(100) {
        0..2 => None,
        2..20 => random.pick(known),
        _ => random.pick(latest),
    };
    slot.unwrap_or_else(|| SlotKey(random.below(u64::MAX) << random.below(64)))
}
