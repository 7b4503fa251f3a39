//! The rules of one pool, one test each.

use super::stories::{Story, denied, failing, granted, settings};
use super::{Effect, Event, Time, WaiterKey, ms};
use crate::pool::{ColdReason, Denial, Start};

#[test]
fn a_new_pool_builds_its_minimum() {
    let story = Story::start(settings(2, 6));
    assert_eq!(story.spawns().len(), 2);
    assert_eq!((story.counts().spawning, story.counts().target), (2, 2));
}

#[test]
fn a_minimum_beyond_the_maximum_is_the_maximum() {
    let story = Story::start(settings(100, 6));
    assert_eq!(story.spawns().len(), 6);
}

#[test]
fn a_warm_zygote_is_granted_at_once_and_replaced() {
    let mut story = Story::warm(settings(2, 6));
    let effects = story.acquire(7).to_vec();
    let [Effect::Grant { waiter: WaiterKey(7), start: Start::Warm, .. }, Effect::Spawn { .. }] =
        effects[..]
    else {
        panic!("{effects:?}");
    };
    assert_eq!(story.counts().served.warm, 1);
}

#[test]
fn the_last_parked_is_granted_first() {
    let mut story = Story::start(settings(2, 6));
    let slots = story.spawns();
    story.tell(Event::ZygoteReady { slot: slots[1] });
    story.tell(Event::ZygoteReady { slot: slots[0] });
    assert_eq!(story.acquire(1)[0], granted(1, slots[0], Start::Warm));
    assert_eq!(story.acquire(2)[0], granted(2, slots[1], Start::Warm));
}

#[test]
fn waiters_are_served_in_the_order_of_arrival_and_told_that_they_came_cold() {
    let mut story = Story::start(settings(2, 6));
    let slots = story.spawns();
    let (pool, waiter, count, deadline) = (story.pool, WaiterKey(1), 1, None);
    story.tell(Event::AcquireRequested { pool, waiter, count, deadline, first_use: true });
    story.acquire(2);
    let first = granted(1, slots[1], Start::Cold(ColdReason::FirstUse));
    assert_eq!(story.tell(Event::ZygoteReady { slot: slots[1] }), [first]);
    let second = granted(2, slots[0], Start::Cold(ColdReason::Exhausted));
    assert_eq!(story.tell(Event::ZygoteReady { slot: slots[0] }), [second]);
    assert_eq!(story.counts().served.cold, 2);
}

#[test]
fn waiters_are_built_for_beyond_the_minimum_and_once() {
    let mut story = Story::start(settings(2, 6));
    for waiter in 1..=3 {
        story.acquire(waiter);
        assert_eq!(story.spawns().len(), 1);
    }
    assert_eq!(story.wait_ms(1), []);
    assert_eq!(story.counts().spawning, 5);
}

#[test]
fn whatever_is_not_gone_counts_against_the_maximum() {
    let mut story = Story::warm(settings(1, 2));
    story.acquire(1);
    let Effect::Grant { slot: leased, .. } = story.effects[0] else { panic!() };
    story.ready_all();
    story.acquire(2);
    assert_eq!(story.spawns(), [], "two are leased");
    story.acquire(3);
    let destroyed = Effect::Destroy { slot: leased };
    assert_eq!(story.tell(Event::LeaseEnded { slot: leased }), [destroyed], "one is dying");
    story.tell(Event::ZygoteGone { slot: leased });
    assert_eq!(story.spawns().len(), 1);
}

#[test]
fn a_full_queue_denies_and_says_how_long_it_is() {
    let mut story = Story::start(settings(2, 6));
    for waiter in 1..=3 {
        story.acquire(waiter);
    }
    assert_eq!(story.acquire(4), [denied(4, Denial::QueueFull { waiters: 3 })]);
}

#[test]
fn a_waiter_is_denied_at_its_deadline() {
    let mut story = Story::start(settings(2, 6));
    story.acquire_until(1, 50);
    assert_eq!(story.deadline_ms(), Some(50));
    assert_eq!(story.wait_ms(49), []);
    assert_eq!(story.wait_ms(1), [denied(1, Denial::DeadlineExpired)]);
}

#[test]
fn a_deadline_of_now_takes_a_warm_zygote_or_nothing() {
    let mut story = Story::start(settings(2, 6));
    assert_eq!(story.acquire_until(1, 0), [denied(1, Denial::DeadlineExpired)]);
    let slots = story.spawns();
    assert_eq!(slots, [], "nothing is built for it");
    let mut story = Story::warm(settings(2, 6));
    let effects = story.acquire_until(1, 0);
    assert!(matches!(effects[0], Effect::Grant { .. }), "{effects:?}");
}

#[test]
fn a_waiter_that_left_is_not_granted() {
    let mut story = Story::start(settings(2, 6));
    let slot = story.spawns()[0];
    story.acquire_until(1, 50);
    story.tell(Event::WaiterLeft { waiter: WaiterKey(1) });
    assert_eq!(story.tell(Event::ZygoteReady { slot }), []);
    assert_eq!(story.wait_ms(50), []);
}

#[test]
fn a_waiter_that_asks_again_while_it_waits_is_queued_once() {
    let mut story = Story::start(settings(2, 6));
    let slots = story.spawns();
    story.acquire(1);
    assert_eq!(story.acquire(1), []);
    assert_eq!(story.tell(Event::ZygoteReady { slot: slots[0] }).len(), 1);
    assert_eq!(story.tell(Event::ZygoteReady { slot: slots[1] }).len(), 0);
}

#[test]
fn a_dead_zygote_is_never_granted() {
    let mut story = Story::start(settings(2, 6));
    let slots = story.ready_all();
    story.tell(Event::ZygoteDied { slot: slots[1] });
    assert_eq!(story.effects[0], Effect::Destroy { slot: slots[1] });
    assert_eq!(story.counts().dying, 1);
    assert_eq!(story.acquire(1)[0], granted(1, slots[0], Start::Warm));
    let effects = story.acquire(2);
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Grant { .. })), "{effects:?}");
}

#[test]
fn a_zygote_that_is_gone_without_notice_is_replaced() {
    let mut story = Story::start(settings(2, 6));
    let slots = story.ready_all();
    story.tell(Event::ZygoteGone { slot: slots[0] });
    assert_eq!(story.spawns().len(), 1);
    assert_eq!(story.counts().failing, None, "it is no failed build");
}

#[test]
fn a_report_about_an_earlier_zygote_of_the_slot_changes_nothing() {
    let mut story = Story::start(settings(2, 6));
    let slots = story.ready_all();
    story.tell(Event::ZygoteGone { slot: slots[0] });
    let heir = story.ready_all()[0];
    let before = story.counts();
    let slot = slots[0];
    assert_ne!(slot, heir);
    let reason = String::new();
    for event in [
        Event::ZygoteReady { slot },
        Event::SpawnFailed { slot, reason: reason.clone() },
        Event::SetupFailed { slot, reason },
        Event::ZygoteDied { slot },
        Event::LeaseEnded { slot },
        Event::ZygoteGone { slot },
    ] {
        assert_eq!(story.tell(event.clone()), [], "{event:?}");
        assert_eq!(story.counts(), before, "{event:?}");
    }
}

#[test]
fn a_report_that_does_not_fit_the_state_changes_nothing() {
    let mut story = Story::start(settings(2, 6));
    let slot = story.ready_all()[0];
    let before = story.counts();
    for event in [
        Event::ZygoteReady { slot },
        Event::SpawnFailed { slot, reason: String::new() },
        Event::SetupFailed { slot, reason: String::new() },
        Event::LeaseEnded { slot },
        Event::WaiterLeft { waiter: WaiterKey(99) },
    ] {
        assert_eq!(story.tell(event.clone()), [], "{event:?}");
        assert_eq!(story.counts(), before, "{event:?}");
    }
}

#[test]
fn a_spawn_that_takes_too_long_is_destroyed_and_has_failed() {
    let mut story = Story::start(settings(1, 6));
    let slot = story.spawns()[0];
    assert_eq!(story.deadline_ms(), Some(1_000));
    assert_eq!(story.wait_ms(1_000)[0], Effect::Destroy { slot });
    assert_eq!(story.counts().failing.as_deref(), Some("a zygote was not ready within 1000 ms"));
    assert_eq!(story.counts().dying, 1);
    assert_eq!(story.tell(Event::ZygoteReady { slot }), [], "too late");
    story.fail(slot, "it never was");
    assert_eq!(story.counts().dying, 0, "nothing is left to wait for");
}

#[test]
fn a_zygote_that_cannot_set_itself_up_is_paid_for_until_it_is_gone() {
    let mut story = Story::start(settings(1, 1));
    let slot = story.spawns()[0];
    let event = Event::SetupFailed { slot, reason: "no /proc".into() };
    assert_eq!(story.tell(event), [Effect::Destroy { slot }]);
    assert_eq!(story.counts().failing.as_deref(), Some("no /proc"));
    story.tell(Event::ZygoteGone { slot });
    assert_eq!(story.spawns().len(), 1);
}

#[test]
fn a_first_failure_is_tried_again_at_once_and_denies_nobody() {
    let mut story = Story::start(settings(0, 6));
    story.acquire(1);
    let slot = story.spawns()[0];
    let again = story.fail(slot, "mishap");
    assert_eq!(story.effects, [Effect::Spawn { pool: story.pool, slot: again[0] }]);
    let effects = story.tell(Event::ZygoteReady { slot: again[0] });
    assert_eq!(effects, [granted(1, again[0], Start::Cold(ColdReason::Exhausted))]);
    assert_eq!(story.counts().failing, None);
}

/// A pool without a minimum whose circuit has opened at time 0, for the next 100 ms.
fn open_circuit() -> Story {
    let mut story = Story::start(settings(0, 6));
    story.acquire(1);
    let first = story.spawns()[0];
    let second = story.fail(first, "disk full")[0];
    story.fail(second, "disk full");
    assert_eq!(story.effects, [denied(1, failing("disk full"))]);
    story
}

#[test]
fn an_open_circuit_denies_at_once_with_the_reason() {
    let mut story = open_circuit();
    story.wait_ms(99);
    assert_eq!(story.acquire(2), [denied(2, failing("disk full"))]);
    assert_eq!(story.counts().failing.as_deref(), Some("disk full"));
}

#[test]
fn an_acquire_after_the_wait_tries_one_spawn_and_its_success_closes_the_circuit() {
    let mut story = open_circuit();
    assert_eq!(story.deadline_ms(), None, "nobody wants a zygote");
    story.wait_ms(100);
    story.acquire(2);
    let trial = story.spawns();
    assert_eq!(trial.len(), 1);
    assert_eq!(story.acquire(3), [], "one trial at a time, and it is worth waiting for");
    story.tell(Event::ZygoteReady { slot: trial[0] });
    assert_eq!(story.effects[0], granted(2, trial[0], Start::Cold(ColdReason::Exhausted)));
    assert_eq!(story.spawns().len(), 1, "now the other one is built for");
    assert_eq!(story.counts().failing, None);
}

#[test]
fn each_failed_trial_doubles_the_wait_up_to_30_s() {
    let mut story = Story::start(settings(1, 6));
    let mut slot = story.spawns()[0];
    slot = story.fail(slot, "down")[0];
    for wait_ms in [100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 30_000, 30_000] {
        assert_eq!(story.fail(slot, "down"), []);
        assert_eq!(story.deadline_ms(), Some(story.now_ms + wait_ms));
        story.wait_ms(wait_ms);
        slot = story.spawns()[0];
    }
}

#[test]
fn failures_of_builds_already_under_way_do_not_lengthen_the_wait() {
    let mut story = Story::start(settings(4, 6));
    let slots = story.spawns();
    let trial = story.fail(slots[0], "one")[0];
    assert_eq!(story.fail(slots[1], "two"), [], "a trial is under way");
    story.fail(trial, "three");
    story.fail(slots[2], "four");
    story.fail(slots[3], "five");
    assert_eq!(story.deadline_ms(), Some(100));
    assert_eq!(story.counts().failing.as_deref(), Some("five"));
}

#[test]
fn waiters_are_kept_while_something_is_on_its_way() {
    let mut story = Story::start(settings(2, 6));
    let slots = story.spawns();
    story.acquire(1);
    let third = story.spawns()[0];
    let trial = story.fail(third, "down")[0];
    story.fail(trial, "down");
    story.fail(slots[0], "down");
    assert_eq!(story.effects, []);
    assert_eq!(story.acquire(2), []);
    let effects = story.fail(slots[1], "down");
    assert_eq!(effects, []);
    assert_eq!(story.effects, [denied(1, failing("down")), denied(2, failing("down"))]);
}

#[test]
fn a_success_of_a_build_already_under_way_closes_the_circuit() {
    let mut story = Story::start(settings(2, 6));
    let slots = story.spawns();
    let trial = story.fail(slots[0], "down")[0];
    story.fail(trial, "down");
    story.tell(Event::ZygoteReady { slot: slots[1] });
    assert_eq!(story.counts().failing, None);
    assert_eq!(story.spawns().len(), 1);
}

#[test]
fn a_lost_template_takes_all_but_the_leased() {
    let mut story = Story::warm(settings(3, 6));
    story.acquire(1);
    let Effect::Grant { slot: leased, .. } = story.effects[0] else { panic!() };
    let spawning = story.spawns()[0];
    story.tell(Event::TemplateLost { pool: story.pool, reason: "it crashed".into() });
    let destroyed = |effect: &&Effect| matches!(effect, Effect::Destroy { .. });
    assert_eq!(story.effects.iter().filter(destroyed).count(), 3);
    assert!(story.effects.contains(&Effect::Destroy { slot: spawning }));
    assert!(!story.effects.contains(&Effect::Destroy { slot: leased }));
    assert_eq!(story.spawns().len(), 1, "the next template is tried with one");
    assert_eq!((story.counts().leased, story.counts().dying), (1, 3));
    assert_eq!(story.counts().failing.as_deref(), Some("it crashed"));
}

#[test]
fn a_template_lost_while_nothing_was_built_is_no_failed_build() {
    let mut story = Story::warm(settings(2, 6));
    story.tell(Event::TemplateLost { pool: story.pool, reason: "it crashed".into() });
    assert_eq!(story.spawns().len(), 2);
    assert_eq!(story.counts().failing, None);
}

#[test]
fn an_order_to_destroy_is_given_again_when_the_template_is_lost() {
    let mut story = Story::warm(settings(1, 6));
    story.acquire(1);
    let Effect::Grant { slot, .. } = story.effects[0] else { panic!() };
    assert_eq!(story.tell(Event::LeaseEnded { slot }), [Effect::Destroy { slot }]);
    story.tell(Event::TemplateLost { pool: story.pool, reason: "it crashed".into() });
    assert!(story.effects.contains(&Effect::Destroy { slot }));
}

#[test]
fn a_draining_pool_finishes_its_leases_and_becomes_empty() {
    let mut story = Story::warm(settings(1, 2));
    story.acquire(1);
    let Effect::Grant { slot: leased, .. } = story.effects[0] else { panic!() };
    story.acquire(2);
    let spawning = story.counts().spawning;
    assert_eq!(spawning, 1);
    story.tell(Event::DrainStarted);
    assert_eq!(story.effects[0], denied(2, Denial::Draining));
    let Effect::Destroy { slot: unborn } = story.effects[1] else { panic!() };
    assert_eq!(story.counts().failing, None, "what is not wanted has not failed");
    assert_eq!(story.acquire(3), [denied(3, Denial::Draining)]);
    assert_eq!(story.tell(Event::ZygoteGone { slot: unborn }), []);
    assert_eq!(story.counts().leased, 1);
    assert!(!story.watched.policy.is_drained());
    assert_eq!(story.tell(Event::LeaseEnded { slot: leased }), [Effect::Destroy { slot: leased }]);
    story.tell(Event::ZygoteGone { slot: leased });
    assert!(story.watched.policy.is_drained());
    assert_eq!(story.tell(Event::DrainStarted), []);
    assert_eq!(story.deadline_ms(), None);
}

#[test]
fn a_clock_that_jumps_back_has_stood_still() {
    let mut story = Story::start(settings(2, 6));
    story.now_ms = 500;
    story.acquire_until(1, 700);
    story.now_ms = 100;
    story.tell(Event::TimePassed);
    assert_eq!(story.deadline_ms(), Some(300), "200 ms remain");
    assert_eq!(story.wait_ms(199), []);
    assert_eq!(story.wait_ms(1), [denied(1, Denial::DeadlineExpired)]);
}

#[test]
fn the_end_of_time_is_survived() {
    let mut story = Story::start(settings(2, 6));
    let deadline = Some(Time(std::time::Duration::MAX));
    let (pool, waiter, count, first_use) = (story.pool, WaiterKey(1), 1, false);
    story.tell(Event::AcquireRequested { pool, waiter, count, deadline, first_use });
    let mut pool = story.watched.policy;
    let mut effects = Vec::new();
    for now in [std::time::Duration::MAX, ms(0), std::time::Duration::MAX] {
        pool.handle(Time(now), Event::TimePassed, &mut effects);
    }
    assert!(effects.contains(&denied(1, Denial::DeadlineExpired)));
}
