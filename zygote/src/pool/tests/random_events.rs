//! Any event at any time about any zygote, true or not: safety alone.

use super::random::{Random, for_each_seed};
use super::{Event, Limits, PoolKey, Quota, Settings, SlotKey, Time, WaiterKey, Watched, ms};
use crate::pool::Pace;
use std::time::Duration;

#[test]
fn no_sequence_of_events_breaks_a_rule() {
    for_each_seed(200, |_, mut random| {
        let mut watched = Watched::new(random_limits(&mut random));
        let mut now = ms(random.below(10_000));
        let uids = 1 + random.below(4);
        for _ in 0..=random.below(5) {
            let settings = random_settings(&mut random);
            watched.add(random.below(uids) as u32, settings);
        }
        for _ in 0..400 {
            now = step(&mut random, now);
            if random.percent(3) {
                change(&mut random, &mut watched, now, uids);
            }
            let event = random_event(&mut random, &watched, now);
            watched.handle(Time(now), event);
        }
        watched.handle(Time(now), Event::DrainStarted);
        assert_eq!(watched.model.waiting(), [], "in the end, everybody is answered");
    });
}

pub(super) fn random_limits(random: &mut Random) -> Limits {
    let quota = random_quota(random);
    // The same all along: the model does not know what it was when a build began.
    let build_counts = ms(40);
    let builds_max = random.below(5) as u32;
    Limits { zygotes_max: 1 + random.below(20) as u32, builds_max, build_counts, quota }
}

fn random_quota(random: &mut Random) -> Quota {
    let limit = |random: &mut Random| random.percent(20).then(|| random.below(6) as u32);
    Quota { leases: limit(random), waiters: limit(random) }
}

/// Mostly one, and of the others mostly so many that they are in each other's way.
pub(super) fn random_count(random: &mut Random) -> u32 {
    if random.percent(75) { 1 } else { random.below(9) as u32 }
}

/// A spawn may take longer than one does in a healthy machine (2 ms in the simulation).
pub(super) fn random_settings(random: &mut Random) -> Settings {
    let max = 1 + random.below(12) as u32;
    let min = if random.percent(30) { 0 } else { random.below(u64::from(max) + 2) as u32 };
    Settings {
        waiters_max: 1 + random.below(8) as u32,
        quota: random_quota(random),
        reuse: random.percent(50),
        spawn_timeout: ms(3 + random.below(500)),
        return_timeout: ms(3 + random.below(500)),
        destroy_timeout: ms(3 + random.below(500)),
        pace: random_pace(random),
        ..Settings::new(min, max)
    }
}

fn random_pace(random: &mut Random) -> Pace {
    Pace {
        epsilon: random.pick(&[0.0, 0.01, 0.1, 0.5]).unwrap_or(0.0),
        quiet: ms(random.pick(&[0, 0, 5]).unwrap_or(0)),
        interval_max: ms(1 + random.below(20)),
        burst_max: 1 + random.below(16) as u32,
        idle: ms(1 + random.below(1_000)),
        tick: ms(1 + random.below(50)),
        half_life: ms(1 + random.below(10_000)),
        sleep: random.percent(30).then(|| ms(1 + random.below(2_000))),
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

/// Something that is said to the policy beside events.
fn change(random: &mut Random, watched: &mut Watched, now: Duration, uids: u64) {
    let pool = random_pool(random, watched);
    let settings = random_settings(random);
    match random.below(12) {
        0 => drop(watched.add(random.below(uids) as u32, settings)),
        1..5 => drop(watched.supersede(pool, settings)),
        5 => watched.retire(pool),
        6..8 => watched.set_limits(random_limits(random)),
        8..10 => watched.forget(pool),
        _ => {
            let (count, ttl) = (random.below(8) as u32, random.within_ms(500));
            watched.reserve(Time(now), pool, count, ttl);
        }
    }
}

fn random_pool(random: &mut Random, watched: &Watched) -> PoolKey {
    let known = watched.model.keys();
    let pool = if random.percent(2) { None } else { random.pick(&known) };
    pool.unwrap_or(PoolKey(random.below(1_000)))
}

fn random_event(random: &mut Random, watched: &Watched, now: Duration) -> Event {
    let slot = random_slot(random, &watched.model.known);
    let waiter = WaiterKey(random.below(30));
    let reason = format!("reason {}", random.below(3));
    let mut pool = random_pool(random, watched);
    match random.below(200) {
        0..60 => {
            if random.percent(90) {
                pool = watched.policy.in_force(pool);
            }
            let deadline = match random.below(3) {
                0 => None,
                1 => Some(Time(now.saturating_sub(random.within_ms(10)))),
                _ => Some(Time(now + random.within_ms(300))),
            };
            let (count, first_use) = (random_count(random), random.percent(10));
            Event::AcquireRequested { pool, waiter, count, deadline, first_use }
        }
        60..75 => Event::WaiterLeft { waiter },
        75..115 => Event::ZygoteReady { slot },
        115..120 => Event::SpawnFailed { slot, reason },
        120..125 => Event::SetupFailed { slot, reason },
        125..135 => Event::ZygoteDied { slot },
        135..160 => Event::LeaseEnded { slot },
        160..190 => Event::ZygoteGone { slot },
        190..192 => Event::TemplateLost { pool, reason },
        192..195 => Event::RecycleRefused { slot },
        195..199 => Event::TimePassed,
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
