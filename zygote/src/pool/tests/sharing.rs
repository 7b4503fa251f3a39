//! The rules of several pools under one budget, and of what a pool keeps warm beyond its minimum.

use super::stories::{PLENTY, Story, denied, settings};
use super::{Effect, Event, Limits, Quota, Settings, Time, ms};
use crate::pool::{Denial, Pace, RESERVATIONS_MAX};

fn zygotes(zygotes_max: u32) -> Limits {
    Limits { zygotes_max, ..PLENTY }
}

/// A pool that learns, and keeps what it has learned for a second.
fn learning(min: u32, max: u32) -> Settings {
    let pace = Pace { idle: ms(1_000), tick: ms(10), ..Pace::default() };
    Settings { pace, ..settings(min, max) }
}

#[test]
fn no_more_is_built_at_once_than_may_be_over_all_pools() {
    let mut story = Story::within(Limits { builds_max: 2, ..PLENTY }, settings(3, 10));
    let other = story.add(2, settings(3, 10));
    assert_eq!(story.counts().spawning + story.counts_of(other).spawning, 2);
    let known = story.watched.model.known.clone();
    story.tell(Event::ZygoteReady { slot: known[0] });
    assert_eq!(story.spawns().len(), 1);
}

#[test]
fn waiters_come_before_floors_and_floors_before_what_was_learned() {
    let mut story = Story::within(Limits { builds_max: 1, ..PLENTY }, learning(0, 10));
    let learned = story.pool;
    for waiter in 1..=3 {
        story.acquire(waiter);
    }
    // What was ordered first is for the first waiter; meanwhile the others want something as well.
    let floor = story.add(2, settings(1, 10));
    let waiting = story.add(3, settings(0, 10));
    story.acquire_of(waiting, 4);
    let mut order = Vec::new();
    let mut next = story.watched.model.known.last().copied();
    while let Some(slot) = next {
        story.tell(Event::ZygoteReady { slot });
        order.extend(story.builders());
        next = story.spawns().first().copied();
    }
    assert_eq!(order[..4], [waiting, learned, learned, floor]);
    assert!(order[4..].iter().all(|pool| *pool == learned), "{order:?}");
    assert_eq!(story.counts().warm, 3, "three at once were learned");
}

#[test]
fn room_that_any_pool_leaves_is_room_for_all() {
    let mut story = Story::within(zygotes(1), settings(0, 5));
    story.acquire(1);
    story.ready_all();
    let slot = story.watched.model.known[0];
    let other = story.add(2, settings(0, 5));
    assert_eq!(story.acquire_of(other, 2), [], "the only one is leased");
    assert_eq!(story.tell(Event::LeaseEnded { slot }), [Effect::Destroy { slot }]);
    story.tell(Event::ZygoteGone { slot });
    assert_eq!(story.builders(), [other]);
}

#[test]
fn a_warm_zygote_gives_way_to_a_waiter_of_another_pool() {
    let mut story = Story::within(zygotes(3), settings(3, 5));
    let warm = story.ready_all();
    let other = story.add(2, settings(0, 5));
    assert_eq!(story.acquire_of(other, 1), [Effect::Destroy { slot: warm[0] }]);
    assert_eq!(story.tell(Event::TimePassed), [], "one is enough");
    story.tell(Event::ZygoteGone { slot: warm[0] });
    assert_eq!(story.builders(), [other], "a waiter comes before a floor");
}

#[test]
fn what_a_pool_could_spare_goes_before_what_it_needs_for_its_floor() {
    let mut story = Story::within(zygotes(5), settings(3, 5));
    let needed = story.ready_all();
    let spares = story.add(2, settings(0, 5));
    story.watched.reserve(Time(ms(0)), spares, 2, ms(10));
    story.tell(Event::TimePassed);
    let spare = story.ready_all();
    assert_eq!((needed.len(), spare.len()), (3, 2));
    story.now_ms = 10;
    story.tell(Event::TimePassed);
    let third = story.add(3, settings(0, 5));
    assert_eq!(story.acquire_of(third, 1), [Effect::Destroy { slot: spare[0] }]);
}

#[test]
fn what_was_learned_does_not_keep_another_pool_below_its_floor() {
    let mut story = Story::within(zygotes(4), settings(0, 5));
    let pool = story.pool;
    story.watched.reserve(Time(ms(0)), pool, 4, ms(10));
    story.tell(Event::TimePassed);
    let warm = story.ready_all();
    story.now_ms = 10;
    story.tell(Event::TimePassed);
    let other = story.add(2, settings(1, 5));
    assert_eq!(story.destroyed(), [warm[0]]);
    story.tell(Event::ZygoteGone { slot: warm[0] });
    assert_eq!(story.builders(), [other]);
}

#[test]
fn a_floor_does_not_take_from_another_floor() {
    let mut story = Story::within(zygotes(2), settings(2, 5));
    story.ready_all();
    story.add(2, settings(1, 5));
    assert_eq!(story.effects, []);
}

#[test]
fn a_quota_counts_leases_and_those_that_wait_for_one() {
    let quota = Quota { leases: Some(2), waiters: None };
    let mut story = Story::start(Settings { quota, ..settings(1, 6) });
    story.ready_all();
    story.lease(1);
    story.acquire(2);
    let exceeded = Denial::QuotaExceeded { what: "leases", limit: 2 };
    assert_eq!(story.acquire(3), [denied(3, exceeded)]);
}

#[test]
fn a_quota_of_a_uid_counts_over_all_its_pools_and_nobody_elses() {
    let quota = Quota { leases: Some(2), waiters: Some(1) };
    let mut story = Story::within(Limits { quota, ..PLENTY }, settings(0, 6));
    let (second, foreign) = (story.add(1, settings(0, 6)), story.add(2, settings(0, 6)));
    story.acquire(1);
    let waiters = Denial::QuotaExceeded { what: "waiters", limit: 1 };
    assert_eq!(story.acquire_of(second, 2), [denied(2, waiters)]);
    let slot = story.watched.model.known[0];
    story.tell(Event::ZygoteReady { slot });
    story.acquire_of(second, 3);
    assert_eq!(story.counts_of(second).waiters, 1);
    let leases = Denial::QuotaExceeded { what: "leases", limit: 2 };
    assert_eq!(story.acquire(4), [denied(4, leases)]);
    story.acquire_of(foreign, 5);
    assert_eq!(story.counts_of(foreign).waiters, 1);
}

#[test]
fn an_end_that_does_not_come_is_quarantined_and_still_paid_for() {
    let mut story = Story::warm(settings(0, 1));
    story.acquire(1);
    let slot = story.ready_all()[0];
    story.tell(Event::LeaseEnded { slot });
    assert_eq!(story.counts().dying, 1);
    story.wait_ms(5_000);
    assert_eq!((story.counts().dying, story.counts().quarantined), (0, 1));
    assert_eq!(story.watched.policy.quarantined(), 1);
    assert_eq!(story.acquire(2), [], "there is no room");
    story.tell(Event::ZygoteGone { slot });
    assert_eq!(story.spawns().len(), 1);
}

#[test]
fn an_end_that_takes_long_is_not_waited_for_where_another_makes_room() {
    let mut story = Story::within(zygotes(2), settings(2, 2));
    let stuck = story.ready_all();
    let other = story.add(2, settings(0, 2));
    assert_eq!(story.acquire_of(other, 1), [Effect::Destroy { slot: stuck[0] }]);
    assert_eq!(story.wait_ms(99), []);
    assert_eq!(story.wait_ms(1), [Effect::Destroy { slot: stuck[1] }]);
    assert_eq!(story.counts().quarantined, 0);
    story.tell(Event::ZygoteGone { slot: stuck[1] });
    assert_eq!(story.builders(), [other]);
}

#[test]
fn a_drain_does_not_wait_for_what_is_quarantined() {
    let mut story = Story::warm(settings(1, 1));
    let slot = story.watched.model.known[0];
    story.tell(Event::DrainStarted);
    assert_eq!(story.effects, [Effect::Destroy { slot }]);
    assert!(!story.watched.policy.is_drained());
    story.wait_ms(5_000);
    assert!(story.watched.policy.is_drained());
}

#[test]
fn failing_builds_of_one_pool_do_not_trouble_another() {
    let mut story = Story::start(settings(1, 6));
    let slot = story.spawns()[0];
    let again = story.fail(slot, "down")[0];
    story.fail(again, "down");
    let other = story.add(2, settings(0, 6));
    story.acquire_of(other, 1);
    assert_eq!(story.builders(), [other]);
    assert_eq!(story.counts_of(other).failing, None);
}

#[test]
fn as_many_as_were_wanted_at_once_are_kept_warm_and_shrink_one_by_one() {
    let mut story = Story::start(learning(1, 20));
    story.ready_all();
    for waiter in 1..=4 {
        story.acquire(waiter);
    }
    assert_eq!(story.counts().target, 4);
    let known = story.watched.model.known.clone();
    for slot in known {
        story.tell(Event::ZygoteReady { slot });
    }
    story.live_ms(900);
    assert_eq!(story.counts().warm, 4);
    story.live_ms(100);
    assert_eq!((story.counts().target, story.counts().warm), (1, 4));
    for left in [3, 2, 1, 1] {
        story.live_ms(10);
        assert_eq!(story.counts().warm, left);
    }
    story.acquire(9);
    assert_eq!(story.counts().target, 4, "the next acquire brings it back");
}

#[test]
fn a_reservation_is_of_no_more_than_may_be_leased() {
    let of = |leases| Quota { leases: Some(leases), waiters: None };
    let reserved = |mut story: Story| {
        let pool = story.pool;
        story.watched.reserve(Time(ms(0)), pool, 5, ms(100))
    };
    assert_eq!(reserved(Story::start(settings(1, 6))), 5, "the control");
    assert_eq!(reserved(Story::start(Settings { quota: of(3), ..settings(1, 6) })), 3);
    assert_eq!(reserved(Story::within(Limits { quota: of(2), ..PLENTY }, settings(1, 6))), 2);
}

#[test]
fn a_reservation_is_a_floor_for_its_time() {
    let mut story = Story::start(settings(1, 6));
    let pool = story.pool;
    assert_eq!(story.watched.reserve(Time(ms(0)), pool, 3, ms(100)), 3);
    assert_eq!(story.watched.reserve(Time(ms(0)), pool, 2, ms(200)), 5);
    assert_eq!(story.watched.reserve(Time(ms(0)), pool, 2, ms(300)), 6, "max is the most");
    story.tell(Event::TimePassed);
    assert_eq!((story.counts().target, story.counts().reserved), (6, 6));
    story.live_ms(100);
    assert_eq!(story.counts().reserved, 4);
    story.live_ms(100);
    assert_eq!(story.counts().reserved, 2);
    assert_eq!(story.watched.reserve(Time(ms(200)), pool, 0, ms(0)), 0);
    assert_eq!(story.counts().target, 1);
}

#[test]
fn of_too_many_reservations_the_earliest_to_expire_gives_way() {
    let mut story = Story::start(settings(0, 1_000));
    let pool = story.pool;
    for nth in 0..RESERVATIONS_MAX as u64 {
        story.watched.reserve(Time(ms(0)), pool, 1, ms(1_000 + nth));
    }
    let reserved = story.watched.reserve(Time(ms(0)), pool, 10, ms(5_000));
    assert_eq!(reserved as usize, RESERVATIONS_MAX - 1 + 10);
    story.tell(Event::TimePassed);
}

#[test]
fn a_pool_that_nobody_uses_goes_to_sleep_and_wakes_with_the_next_acquire() {
    let pace = Pace { sleep: Some(ms(500)), tick: ms(10), idle: ms(0), ..Pace::default() };
    let mut story = Story::start(Settings { pace, ..settings(2, 6) });
    story.ready_all();
    let slot = story.lease(1);
    story.ready_all();
    story.live_ms(2_000);
    assert_eq!(story.counts().warm, 2, "not while somebody has a lease");
    story.end(slot);
    story.live_ms(490);
    assert_eq!(story.counts().warm, 2);
    story.live_ms(40);
    assert_eq!((story.counts().warm, story.counts().target), (0, 0));
    story.acquire(2);
    assert_eq!(story.spawns().len(), 3, "one to grant and two to keep");
}

#[test]
fn a_change_beside_events_is_acted_upon_at_once() {
    let mut story = Story::within(zygotes(1), settings(2, 6));
    story.ready_all();
    assert_eq!(story.deadline_ms(), None);
    story.watched.set_limits(zygotes(2));
    assert_eq!(story.deadline_ms(), Some(0));
    story.tell(Event::TimePassed);
    assert_eq!(story.spawns().len(), 1);
}
