//! All short sequences of events over a tiny configuration, each watched by the model.

use super::random::for_each;
use super::stories::settings;
use super::{Event, Limits, PoolKey, Quota, Settings, SlotKey, Time, WaiterKey, Watched, ms};

/// How many events a sequence has; without optimization there is time for fewer.
const LENGTH: u32 = if cfg!(debug_assertions) { 4 } else { 5 };

const ALPHABET: u64 = 18;

#[test]
fn no_short_sequence_breaks_a_rule() {
    for_each(0..ALPHABET.pow(LENGTH), "sequence", |sequence| {
        let limits =
            Limits { zygotes_max: 3, builds_max: 2, build_counts: ms(2), quota: Quota::default() };
        let mut watched = Watched::new(limits);
        let reusing = Settings { reuse: true, ..settings(1, 2) };
        let mut pool = watched.add(1, reusing);
        let other = watched.add(2, settings(0, 2));
        watched.handle(Time(ms(0)), Event::TimePassed);
        let (mut left, mut now_ms, mut asked) = (sequence, 0, 0);
        for _ in 0..LENGTH {
            let letter = left % ALPHABET;
            left /= ALPHABET;
            if letter == 17 {
                pool = watched.supersede(pool, reusing);
            }
            let event = event(letter, pool, other, &watched, &mut now_ms, &mut asked);
            watched.handle(Time(ms(now_ms)), event);
        }
    });
}

fn event(
    letter: u64,
    newest: PoolKey,
    other: PoolKey,
    watched: &Watched,
    now_ms: &mut u64,
    asked: &mut u64,
) -> Event {
    let pool = watched.policy.in_force(newest);
    let known = &watched.model.known;
    let slot = |nth: usize| known.iter().rev().nth(nth).copied().unwrap_or(SlotKey(7));
    let reason = || "down".to_owned();
    let mut acquire = |pool, count, deadline| {
        *asked += 1;
        let waiter = WaiterKey(*asked);
        Event::AcquireRequested { pool, waiter, count, deadline, first_use: false }
    };
    match letter {
        0 => acquire(pool, 1, None),
        1 => acquire(pool, 1, Some(Time(ms(*now_ms + 1)))),
        2 => acquire(other, 1, None),
        3 => Event::WaiterLeft { waiter: WaiterKey(*asked) },
        4 => Event::ZygoteReady { slot: slot(0) },
        5 => Event::ZygoteReady { slot: slot(1) },
        6 => Event::SpawnFailed { slot: slot(0), reason: reason() },
        7 => Event::ZygoteDied { slot: slot(0) },
        8 => Event::LeaseEnded { slot: slot(0) },
        9 => Event::ZygoteGone { slot: slot(0) },
        10 => Event::ZygoteGone { slot: slot(1) },
        11 => Event::TemplateLost { pool, reason: reason() },
        12 => {
            *now_ms += 1_000;
            Event::TimePassed
        }
        13 => Event::DrainStarted,
        14 => Event::RecycleRefused { slot: slot(0) },
        15 => acquire(pool, 2, None),
        16 => acquire(other, 2, None),
        _ => Event::TimePassed,
    }
}
