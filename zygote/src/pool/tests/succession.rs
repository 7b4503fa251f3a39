//! The rules of pools that take each other's place.

use super::stories::{PLENTY, Story, denied, granted, settings};
use super::{Effect, Event, Limits, PoolKey, Settings, Time, ms};
use crate::pool::{ColdReason, Denial, HANDOVER_MAX, Start};

/// A pool with its minimum warm, and a successor that was just told of.
fn superseded(old: Settings, new: Settings) -> (Story, PoolKey, PoolKey) {
    let mut story = Story::warm(old);
    let (old, new) = (story.pool, story.watched.supersede(story.pool, new));
    story.tell(Event::TimePassed);
    (story, old, new)
}

#[test]
fn the_old_pool_stays_in_force_until_the_new_one_is_as_warm() {
    let (mut story, old, new) = superseded(settings(2, 9), settings(3, 9));
    let spawns = story.spawns();
    assert_eq!(story.builders(), [new; 3]);
    story.tell(Event::ZygoteReady { slot: spawns[0] });
    assert_eq!(story.watched.policy.in_force(new), old);
    assert_eq!(story.counts_of(old).warm, 2);
    story.tell(Event::ZygoteReady { slot: spawns[1] });
    assert_eq!(story.watched.policy.in_force(new), new);
    assert_eq!(story.watched.policy.in_force(old), new);
    assert_eq!(story.destroyed().len(), 2, "the old ones are of no use");
    assert!(story.counts_of(old).retired);
}

#[test]
fn leases_of_a_retired_pool_finish_and_then_it_is_over() {
    let mut story = Story::warm(settings(1, 9));
    let old = story.pool;
    let slot = story.lease(1);
    story.ready_all();
    let new = story.watched.supersede(old, settings(0, 9));
    story.tell(Event::TimePassed);
    assert_eq!(
        story.watched.policy.in_force(new),
        old,
        "it is on trial, though it wants nothing warm"
    );
    let trial = story.ready_all();
    assert_eq!((trial.len(), story.watched.policy.in_force(new)), (1, new));
    for dying in story.destroyed() {
        story.tell(Event::ZygoteGone { slot: dying });
    }
    assert_eq!(story.counts_of(old).leased, 1);
    assert!(!story.watched.policy.is_over(old));
    story.watched.forget(old);
    assert_eq!(story.counts_of(old).leased, 1, "what is not over is not forgotten");
    story.end(slot);
    assert!(story.watched.policy.is_over(old));
    story.watched.forget(old);
    assert_eq!(story.acquire_of(old, 2), [denied(2, Denial::Draining)]);
}

#[test]
fn a_retired_pool_serves_its_waiters_cold_and_builds_for_nobody_else() {
    let mut story = Story::start(settings(2, 9));
    story.acquire(1);
    let pool = story.pool;
    story.watched.retire(pool);
    story.tell(Event::TimePassed);
    assert_eq!(story.destroyed().len(), 2, "one of three builds is for the waiter");
    let first = story.watched.model.known[0];
    let cold = Start::Cold(ColdReason::Exhausted);
    assert_eq!(story.tell(Event::ZygoteReady { slot: first }), [granted(1, first, cold)]);
    story.acquire(2);
    assert_eq!(story.spawns().len(), 1);
}

#[test]
fn a_new_pool_whose_builds_fail_does_not_take_the_place_of_one_that_serves() {
    let (mut story, old, new) = superseded(settings(2, 9), settings(1, 9));
    let slot = story.spawns()[0];
    let again = story.fail(slot, "no such root")[0];
    story.fail(again, "no such root");
    assert_eq!(story.counts_of(new).failing.as_deref(), Some("no such root"));
    story.fail_for_ms(60_000, &[(new, "no such root")]);
    assert_eq!(story.watched.policy.in_force(new), old, "however long it takes");
    assert_eq!((story.counts_of(old).warm, story.counts_of(old).retired), (2, false));
    let lease = story.lease(1);
    story.ready_all();
    assert_eq!(story.counts_of(old).warm, 2, "it is refilled");
    story.end(lease);
}

#[test]
fn a_new_pool_whose_builds_have_failed_takes_over_when_they_do_not_any_more() {
    let (mut story, old, new) = superseded(settings(2, 9), settings(2, 9));
    story.fail_all(&[(new, "busy")]);
    story.fail_for_ms(15_000, &[(new, "busy")]);
    assert_eq!(story.watched.policy.in_force(new), old);
    while story.spawns().is_empty() {
        story.now_ms = story.deadline_ms().expect("a try is due");
        story.tell(Event::TimePassed);
    }
    let slot = story.spawns()[0];
    story.tell(Event::ZygoteReady { slot });
    assert_eq!(story.watched.policy.in_force(new), old, "it is not as warm yet");
    story.ready_all();
    assert_eq!(story.watched.policy.in_force(new), new);
}

#[test]
fn where_neither_can_be_built_the_new_pool_takes_over_and_says_why() {
    let mut story = Story::start(settings(1, 9));
    let old = story.pool;
    let slot = story.spawns()[0];
    let again = story.fail(slot, "no such root")[0];
    story.fail(again, "no such root");
    let new = story.watched.supersede(old, settings(1, 9));
    story.tell(Event::TimePassed);
    assert_eq!(story.watched.policy.in_force(new), new);
    let slot = story.spawns()[0];
    let again = story.fail(slot, "no other root")[0];
    story.fail(again, "no other root");
    let why = Denial::BuildFailing { reason: "no other root".into() };
    assert_eq!(story.acquire_of(new, 1), [denied(1, why)]);
}

#[test]
fn another_reload_does_not_put_in_force_what_nobody_has_built() {
    let (mut story, old, broken) = superseded(settings(2, 9), settings(2, 9));
    story.fail_all(&[(broken, "no such root")]);
    story.fail_for_ms(60_000, &[(broken, "no such root")]);
    let new = story.watched.supersede(broken, settings(2, 9));
    story.tell(Event::TimePassed);
    assert_eq!(story.builders(), [new; 2]);
    assert_eq!((story.watched.policy.in_force(new), story.counts_of(old).warm), (old, 2));
    story.ready_all();
    assert_eq!(story.watched.policy.in_force(new), new);
}

#[test]
fn a_new_pool_that_wants_nothing_warm_is_tried_all_the_same() {
    let (story, _, new) = superseded(settings(0, 9), settings(0, 9));
    assert_eq!(story.watched.policy.in_force(new), new, "of the old one nothing was built either");
    let mut story = Story::warm(settings(1, 9));
    let first = story.pool;
    let second = story.watched.supersede(first, settings(0, 9));
    story.tell(Event::TimePassed);
    assert_eq!(story.builders(), [second]);
    story.fail_for_ms(60_000, &[(second, "no such root")]);
    assert_eq!(story.watched.policy.in_force(second), first);
}

#[test]
fn one_beyond_max_is_tried_where_all_are_leased() {
    let mut story = Story::warm(settings(1, 1));
    let old = story.pool;
    let lease = story.lease(1);
    let new = story.watched.supersede(old, settings(1, 1));
    story.tell(Event::TimePassed);
    assert_eq!(story.builders(), [new]);
    story.fail_all(&[(new, "no such root")]);
    story.fail_for_ms(60_000, &[(new, "no such root")]);
    assert_eq!(story.watched.policy.in_force(new), old);
    story.end(lease);
    assert_eq!(story.builders(), [old], "what has failed takes nobody's place");
}

#[test]
fn a_new_pool_whose_build_hangs_does_not_take_over() {
    let spawn_timeout = HANDOVER_MAX * 2;
    let (mut story, old, new) =
        superseded(settings(2, 9), Settings { spawn_timeout, ..settings(2, 9) });
    story.live_ms(20_000);
    assert_eq!(
        story.counts_of(new).failing.as_deref(),
        Some("a zygote was not ready within 20000 ms")
    );
    assert_eq!((story.watched.policy.in_force(new), story.counts_of(old).warm), (old, 2));
}

#[test]
fn a_mishap_of_the_old_pool_does_not_put_a_broken_one_in_force() {
    let mut story = Story::warm(settings(1, 9));
    let (first, second) = (story.pool, story.watched.supersede(story.pool, settings(1, 9)));
    story.tell(Event::TimePassed);
    let both = [(first, "busy"), (second, "no such root")];
    story.fail_all(&both);
    story.lease(1);
    story.fail_all(&both);
    story.fail_for_ms(10_000, &both);
    // Whoever asks is told what is to be mended.
    let why = Denial::BuildFailing { reason: "no such root".into() };
    assert_eq!(story.acquire_of(first, 2), [denied(2, why)]);
    assert_eq!(story.watched.policy.in_force(second), first, "it can be built again one day");
}

#[test]
fn a_trial_does_not_wait_for_all_who_wait() {
    let mut story = Story::within(Limits { builds_max: 1, ..PLENTY }, settings(1, 99));
    let old = story.pool;
    story.ready_all();
    for waiter in 0..4 {
        story.acquire(waiter);
    }
    let new = story.watched.supersede(old, settings(1, 99));
    let (mut tried, mut effects) = (false, story.tell(Event::TimePassed).to_vec());
    for _ in 0..3 {
        effects = story
            .tell(Event::ZygoteReady { slot: *story.watched.model.known.last().unwrap() })
            .to_vec();
        tried |= story.builders().contains(&new);
    }
    assert!(tried, "{effects:?}");
}

/// All that there is may be leased when a configuration comes that nobody has built yet.
#[test]
fn a_new_pool_shows_that_it_can_be_built_before_it_takes_over() {
    let mut story = Story::warm(settings(1, 1));
    let old = story.pool;
    story.lease(1);
    let new = story.watched.supersede(old, settings(1, 2));
    story.tell(Event::TimePassed);
    assert_eq!(story.watched.policy.in_force(new), old);
    story.ready_all();
    assert_eq!(story.watched.policy.in_force(new), new);
}

#[test]
fn a_hand_over_does_not_last_for_ever() {
    let spawn_timeout = HANDOVER_MAX * 2;
    let (mut story, old, new) =
        superseded(settings(2, 9), Settings { spawn_timeout, ..settings(2, 9) });
    // One has shown that it can be built.
    let slot = story.spawns()[0];
    story.tell(Event::ZygoteReady { slot });
    story.live_ms(9_999);
    assert_eq!(story.watched.policy.in_force(new), old);
    story.live_ms(1);
    assert_eq!(story.watched.policy.in_force(new), new);
}

#[test]
fn warm_zygotes_of_the_old_pool_make_room_one_for_each() {
    let (mut story, old, new) = superseded(settings(4, 4), settings(4, 4));
    let mut effects = story.effects.clone();
    let mut steps = 0;
    while story.watched.policy.in_force(new) == old {
        let counts = (story.counts_of(old), story.counts_of(new));
        let warm = counts.0.warm + counts.1.warm;
        let held = warm + counts.1.spawning + counts.0.dying;
        assert!(
            warm >= 3 && (4..=5).contains(&held),
            "one is beyond that for the trial: {counts:?}"
        );
        let Some(effect) = effects.pop() else { panic!("nothing is left to do") };
        match effect {
            Effect::Destroy { slot } => story.tell(Event::ZygoteGone { slot }),
            Effect::Spawn { slot, .. } => story.tell(Event::ZygoteReady { slot }),
            _ => panic!("{effect:?}"),
        };
        effects.extend(story.effects.clone());
        steps += 1;
        assert!(steps < 20);
    }
    assert_eq!(story.counts_of(new).warm, 4, "it took over when it had as many as there were");
}

/// Where all zygotes that there may be are of the old one, whatever its `max`.
#[test]
fn a_full_server_is_no_reason_to_wait_nor_for_a_gap() {
    let full = Limits { zygotes_max: 4, ..PLENTY };
    let mut story = Story::within(full, settings(4, 64));
    let old = story.pool;
    story.ready_all();
    let new = story.watched.supersede(old, settings(4, 64));
    story.tell(Event::TimePassed);
    let (mut effects, mut least) = (story.effects.clone(), 4);
    while let Some(effect) = effects.pop() {
        match effect {
            Effect::Destroy { slot } => story.tell(Event::ZygoteGone { slot }),
            Effect::Spawn { slot, .. } => story.tell(Event::ZygoteReady { slot }),
            _ => panic!("{effect:?}"),
        };
        effects.extend(story.effects.clone());
        least = least.min(story.counts_of(old).warm + story.counts_of(new).warm);
    }
    assert_eq!((story.watched.policy.in_force(new), story.counts_of(new).warm), (new, 4));
    assert_eq!(least, 3, "one is exchanged after the other");
}

#[test]
fn a_hand_over_that_goes_on_lasts_no_longer_for_the_next_reload() {
    let spawn_timeout = HANDOVER_MAX * 2;
    let slow = Settings { spawn_timeout, ..settings(2, 99) };
    let (mut story, _, mut newest) = superseded(slow, slow);
    for _ in 0..4 {
        // One of the two that it is to have, and the other hangs.
        let slot = story.spawns()[0];
        story.tell(Event::ZygoteReady { slot });
        story.live_ms(2_499);
        newest = story.watched.supersede(newest, slow);
        assert_ne!(story.watched.policy.in_force(newest), newest);
        story.tell(Event::TimePassed);
    }
    let slot = story.spawns()[0];
    story.tell(Event::ZygoteReady { slot });
    story.live_ms(4);
    assert_eq!(story.watched.policy.in_force(newest), newest);
}

#[test]
fn after_one_that_hangs_the_next_has_all_its_time() {
    let spawn_timeout = HANDOVER_MAX * 2;
    let slow = Settings { spawn_timeout, ..settings(2, 9) };
    let (mut story, old, hangs) = superseded(slow, slow);
    story.live_ms(15_000);
    let new = story.watched.supersede(hangs, slow);
    story.tell(Event::TimePassed);
    assert_eq!(story.watched.policy.in_force(new), old, "nobody has built it");
    let slot = story.spawns()[0];
    story.tell(Event::ZygoteReady { slot });
    story.live_ms(9_999);
    assert_eq!(story.watched.policy.in_force(new), old, "it is not as warm");
    story.live_ms(1);
    assert_eq!(story.watched.policy.in_force(new), new);
}

/// All there is is leased, and so is what was built beyond that to try.
#[test]
fn what_cannot_be_tried_has_the_next_place_and_does_not_take_over_before() {
    let mut story = Story::warm(settings(1, 2));
    let old = story.pool;
    let leases = [story.lease(1), {
        story.ready_all();
        story.lease(2)
    }];
    let broken = story.watched.supersede(old, settings(1, 1));
    story.tell(Event::TimePassed);
    assert_eq!(story.builders(), [], "max is less now");
    story.live_ms(60_000);
    assert_eq!(story.watched.policy.in_force(broken), old, "however long that lasts");
    story.acquire_of(old, 3);
    story.end(leases[0]);
    assert_eq!(story.builders(), [broken], "it comes before who waits");
    story.fail_all(&[(broken, "no such root")]);
    assert_eq!(story.watched.policy.in_force(broken), old);
    story.end(leases[1]);
    assert_eq!(story.builders(), [old]);
}

#[test]
fn what_was_built_to_try_is_not_leased_beyond_max() {
    let mut story = Story::warm(settings(1, 1));
    let old = story.pool;
    let lease = story.lease(1);
    let new = story.watched.supersede(old, settings(1, 1));
    story.tell(Event::TimePassed);
    let trial = story.ready_all();
    assert_eq!(story.watched.policy.in_force(new), new, "it can be built");
    assert_eq!(story.destroyed(), trial);
    story.tell(Event::ZygoteGone { slot: trial[0] });
    assert_eq!(story.acquire_of(new, 2), []);
    story.end(lease);
    assert_eq!(story.builders(), [new]);
    let slot = story.spawns()[0];
    let cold = Start::Cold(ColdReason::Exhausted);
    assert_eq!(story.tell(Event::ZygoteReady { slot }), [granted(2, slot, cold)]);
}

#[test]
fn a_new_pool_that_fails_after_its_first_build_takes_nothing_more_from_the_old_one() {
    let (mut story, old, new) = superseded(settings(4, 4), settings(4, 4));
    let slot = story.spawns()[0];
    story.tell(Event::ZygoteReady { slot });
    while story.builders().is_empty() {
        // They are exchanged one by one.
        let slot = story.destroyed()[0];
        story.tell(Event::ZygoteGone { slot });
    }
    assert_eq!(story.builders(), [new]);
    story.fail_all(&[(new, "no such root")]);
    assert_eq!(story.counts_of(old).spawning, 1, "it is refilled as far as there is room");
    for slot in story.watched.model.known.clone() {
        story.tell(Event::ZygoteReady { slot });
    }
    let mut tried = 0;
    while story.now_ms < 60_000 {
        story.now_ms = story.deadline_ms().expect("a try is due");
        story.wait_ms(0);
        assert_eq!(story.destroyed(), [], "there is a place to try, and none is made");
        tried += story.builders().iter().filter(|builds| **builds == new).count();
        story.fail_all(&[(new, "no such root")]);
    }
    assert!(tried > 5, "{tried}");
    assert_eq!((story.watched.policy.in_force(new), story.counts_of(old).warm), (old, 3));
}

#[test]
fn of_three_generations_the_middle_one_is_skipped() {
    let (mut story, old, middle) = superseded(settings(2, 9), settings(2, 9));
    let newest = story.watched.supersede(middle, settings(2, 9));
    story.tell(Event::TimePassed);
    assert!(story.counts_of(middle).retired);
    assert_eq!(story.destroyed().len(), 2, "nobody wants what the middle one was building");
    assert_eq!(story.watched.policy.in_force(newest), old);
    for slot in story.spawns() {
        story.tell(Event::ZygoteReady { slot });
    }
    assert_eq!(story.watched.policy.in_force(newest), newest);
}

#[test]
fn reservations_demand_and_what_was_served_go_on() {
    let mut story = Story::warm(Settings { ..settings(2, 9) });
    let old = story.pool;
    story.lease(1);
    story.watched.reserve(Time(ms(0)), old, 3, ms(60_000));
    let new = story.watched.supersede(old, settings(1, 9));
    story.tell(Event::TimePassed);
    let known = story.watched.model.known.clone();
    for slot in known {
        story.tell(Event::ZygoteReady { slot });
    }
    assert_eq!(story.watched.policy.in_force(new), new);
    assert_eq!(story.counts_of(new).target, 3);
    assert_eq!(story.counts_of(new).served.warm, 1);
    assert_eq!(story.counts_of(old).served.warm, 0, "it is counted once");
}

#[test]
fn a_pool_that_comes_back_after_it_was_retired_is_in_force_at_once() {
    let mut story = Story::warm(settings(2, 9));
    let old = story.pool;
    story.watched.retire(old);
    story.tell(Event::TimePassed);
    let new = story.watched.supersede(old, settings(2, 9));
    assert_eq!(story.watched.policy.in_force(old), new);
    story.tell(Event::TimePassed);
    assert_eq!(story.builders(), [new; 2]);
}

#[test]
fn what_is_said_about_an_unknown_pool_changes_nothing() {
    let mut story = Story::within(PLENTY, settings(0, 9));
    let unknown = PoolKey(u64::MAX);
    assert_eq!(story.acquire_of(unknown, 1), [denied(1, Denial::Draining)]);
    story.tell(Event::TemplateLost { pool: unknown, reason: String::new() });
    story.watched.retire(unknown);
    story.watched.forget(unknown);
    assert_eq!(story.watched.reserve(Time(ms(0)), unknown, 3, ms(9)), 0);
    let orphan = story.watched.supersede(unknown, settings(3, 9));
    assert_eq!(story.tell(Event::TimePassed), []);
    assert_eq!(story.acquire_of(orphan, 1), [denied(1, Denial::Draining)]);
    assert!(story.watched.policy.is_over(orphan));
}
