//! The rules of acquires of several zygotes at once.

use super::stories::{PLENTY, Story, denied, failing, granted, settings};
use super::{Effect, Event, Limits, PoolKey, Quota, Settings, SlotKey, WaiterKey, ms};
use crate::pool::{ColdReason, Denial, Start};

const COLD: Start = Start::Cold(ColdReason::Exhausted);

/// Pools whose queues are long enough.
fn pool(min: u32, max: u32) -> Settings {
    Settings { waiters_max: 99, ..settings(min, max) }
}

/// Room for so few that two batches of more than half are in each other's way.
fn zygotes(zygotes_max: u32) -> Limits {
    Limits { zygotes_max, ..PLENTY }
}

/// Whom the latest answer grants something, once for each zygote.
fn served(story: &Story) -> Vec<u64> {
    let grants = story.effects.iter().filter_map(|effect| match effect {
        Effect::Grant { waiter, .. } => Some(waiter.0),
        _ => None,
    });
    grants.collect()
}

fn slots_of(story: &Story) -> Vec<SlotKey> {
    let grants = story.effects.iter().filter_map(|effect| match effect {
        Effect::Grant { slot, .. } => Some(*slot),
        _ => None,
    });
    grants.collect()
}

#[test]
fn a_batch_that_finds_all_warm_has_them_at_once() {
    let mut story = Story::start(pool(3, 6));
    let slots = story.ready_all();
    story.acquire_many(1, 3);
    let grants = [2, 1, 0].map(|nth| granted(1, slots[nth], Start::Warm));
    assert_eq!(story.effects[..3], grants);
    assert_eq!(story.counts().served.warm, 3);
}

#[test]
fn a_batch_that_finds_too_few_waits_until_it_has_all_and_then_came_cold() {
    let mut story = Story::start(pool(2, 4));
    let warm = story.ready_all();
    story.acquire_many(1, 4);
    assert!(served(&story).is_empty(), "not even those that are warm");
    let built = story.spawns();
    assert_eq!((built.len(), story.counts().warm, story.counts().waiters), (2, 2, 4));
    assert_eq!(story.tell(Event::ZygoteReady { slot: built[0] }), []);
    story.tell(Event::ZygoteReady { slot: built[1] });
    let grants = [built[1], built[0], warm[1], warm[0]].map(|slot| granted(1, slot, COLD));
    assert_eq!(story.effects, grants);
    assert_eq!((story.counts().served.cold, story.counts().waiters), (4, 0));
}

#[test]
fn whoever_comes_after_a_batch_is_served_after_it() {
    let mut story = Story::start(pool(2, 6));
    story.ready_all();
    story.acquire_many(1, 3);
    let built = story.spawns();
    story.acquire(2);
    assert!(served(&story).is_empty(), "the warm ones are gathered");
    let more = story.spawns();
    story.tell(Event::ZygoteReady { slot: more[0] });
    assert_eq!(served(&story), [1, 1, 1], "whichever is ready first");
    story.tell(Event::ZygoteReady { slot: built[0] });
    assert_eq!(served(&story), [2]);
}

#[test]
fn a_batch_that_leaves_or_is_late_makes_way_for_whom_it_kept_waiting() {
    for leaves in [true, false] {
        let mut story = Story::warm(pool(2, 6));
        let (pool, waiter, first_use) = (story.pool, WaiterKey(1), false);
        let deadline = Some(super::Time(ms(50)));
        story.tell(Event::AcquireRequested { pool, waiter, count: 3, deadline, first_use });
        story.acquire(2);
        story.acquire(3);
        if leaves {
            story.tell(Event::WaiterLeft { waiter });
        } else {
            story.wait_ms(50);
            assert_eq!(story.effects[0], denied(1, Denial::DeadlineExpired));
        }
        assert_eq!(served(&story), [2, 3]);
    }
}

#[test]
fn a_deadline_of_now_takes_all_that_it_wants_or_nothing() {
    let mut story = Story::warm(pool(2, 6));
    let (pool, first_use, deadline) = (story.pool, false, Some(super::Time(ms(0))));
    let acquire = |waiter, count| {
        let waiter = WaiterKey(waiter);
        Event::AcquireRequested { pool, waiter, count, deadline, first_use }
    };
    assert_eq!(story.tell(acquire(1, 3)), [denied(1, Denial::DeadlineExpired)]);
    story.tell(acquire(2, 2));
    assert_eq!(served(&story), [2, 2]);
}

#[test]
fn more_than_there_may_ever_be_are_denied_at_once() {
    let mut story = Story::within(zygotes(5), pool(0, 4));
    let other = story.add(2, pool(0, 9));
    let too_many = |what, limit| Denial::TooMany { what, limit };
    assert_eq!(story.acquire_many(1, 5), [denied(1, too_many("pool.max", 4))]);
    assert_eq!(story.acquire_many_of(other, 2, 6), [denied(2, too_many("zygotes_max", 5))]);
    story.acquire_many_of(other, 3, 5);
    story.ready_all();
    assert_eq!(story.counts_of(other).leased, 5, "the control");
}

#[test]
fn a_batch_counts_as_many_against_quotas_and_the_length_of_the_queue() {
    let quota = Quota { leases: Some(3), waiters: None };
    let mut story = Story::start(Settings { quota, ..settings(1, 6) });
    story.ready_all();
    story.lease(1);
    let exceeded = Denial::QuotaExceeded { what: "leases", limit: 3 };
    assert_eq!(story.acquire_many(2, 3), [denied(2, exceeded)]);
    story.acquire_many(3, 2);
    assert_eq!(story.counts().waiters, 2);
    let quota = Quota { leases: None, waiters: Some(3) };
    let mut story = Story::within(Limits { quota, ..PLENTY }, pool(0, 6));
    story.acquire(1);
    let exceeded = Denial::QuotaExceeded { what: "waiters", limit: 3 };
    assert_eq!(story.acquire_many(2, 3), [denied(2, exceeded)]);
    let mut story = Story::start(settings(0, 6));
    story.acquire_many(1, 2);
    assert_eq!(story.acquire_many(2, 2), [denied(2, Denial::QueueFull { waiters: 2 })]);
    story.acquire(3);
    assert_eq!(story.counts().waiters, 3);
}

#[test]
fn a_batch_that_has_become_too_large_is_denied_and_who_is_behind_is_served() {
    let mut story = Story::warm(pool(2, 6));
    story.acquire_many(1, 5);
    story.acquire(2);
    story.watched.set_limits(zygotes(4));
    story.tell(Event::TimePassed);
    let too_many = Denial::TooMany { what: "zygotes_max", limit: 4 };
    assert_eq!(story.effects[0], denied(1, too_many));
    assert_eq!(served(&story), [2]);
    let mut story = Story::start(pool(0, 6));
    story.acquire_many(1, 3);
    story.watched.supersede(story.pool, pool(0, 2));
    story.tell(Event::TimePassed);
    assert_eq!(story.effects[0], denied(1, Denial::TooMany { what: "pool.max", limit: 2 }));
}

#[test]
fn failing_builds_deny_a_batch_and_leave_what_was_gathered_to_who_is_behind() {
    let mut story = Story::warm(pool(1, 6));
    story.acquire_many(1, 2);
    let mut building = story.spawns();
    story.acquire(2);
    building.extend(story.spawns());
    for slot in building.clone() {
        building.extend(story.fail(slot, "down"));
    }
    let trial = building.pop().expect("a first failure is tried again");
    story.fail(trial, "down");
    assert_eq!(story.effects[0], denied(1, failing("down")));
    assert_eq!(served(&story), [2]);
}

/// Two pools of two users, each with a batch that wants three of five. The first batch has what is
/// there, and two builds are under way.
fn two_batches() -> (Story, PoolKey) {
    let limits = Limits { builds_max: 2, ..zygotes(5) };
    let mut story = Story::within(limits, pool(0, 5));
    let other = story.add(2, pool(0, 5));
    story.acquire_many(1, 3);
    story.acquire_many_of(other, 2, 3);
    (story, other)
}

#[test]
fn of_two_batches_that_have_no_room_together_one_is_served_after_the_other() {
    let (mut story, other) = two_batches();
    let mut building = story.watched.model.known.clone();
    let mut leased = Vec::new();
    while let Some(slot) = building.pop() {
        story.tell(Event::ZygoteReady { slot });
        building.extend(story.spawns());
        leased.extend(slots_of(&story));
    }
    assert_eq!((story.counts().leased, story.counts_of(other).waiters), (3, 3));
    assert_eq!(story.counts_of(other).warm, 2, "as many as there is room for");
    story.tell(Event::LeaseEnded { slot: leased[0] });
    story.tell(Event::ZygoteGone { slot: leased[0] });
    let slot = story.spawns()[0];
    story.tell(Event::ZygoteReady { slot });
    assert_eq!(served(&story), [2, 2, 2]);
}

#[test]
fn a_batch_that_waits_for_its_own_user_elsewhere_keeps_nobody_waiting() {
    let mut story = Story::within(zygotes(4), pool(0, 4));
    let (other, stranger) = (story.add(1, pool(0, 4)), story.add(2, pool(0, 4)));
    story.acquire_of(other, 1);
    story.ready_all();
    let leased = story.granted().unwrap();
    story.acquire_many(2, 4);
    while !story.ready_all().is_empty() {}
    story.acquire_of(stranger, 3);
    let mut orders = story.effects.clone();
    while let Some(next) = orders.pop().filter(|_| story.granted().is_none()) {
        story.tell(what_comes_of(next));
        orders.extend(story.effects.clone());
    }
    assert_eq!(served(&story), [3]);
    let slot = story.granted().unwrap();
    orders = story.end(slot).to_vec();
    orders.extend(story.end(leased).to_vec());
    while let Some(next) = orders.pop().filter(|_| served(&story).is_empty()) {
        story.tell(what_comes_of(next));
        orders.extend(story.effects.clone());
    }
    assert_eq!(served(&story), [2; 4], "and is served when that is over");
}

/// Whatever is ordered happens, and leases end at once.
fn what_comes_of(ordered: Effect) -> Event {
    match ordered {
        Effect::Spawn { slot, .. } => Event::ZygoteReady { slot },
        Effect::Destroy { slot } => Event::ZygoteGone { slot },
        Effect::Grant { slot, .. } => Event::LeaseEnded { slot },
        other => panic!("{other:?}"),
    }
}

/// Each of three wants most of what there may be. The first user asks for four in two profiles before
/// anybody else comes, and the second one comes back as soon as he is served.
#[test]
fn batches_of_different_users_take_turns() {
    let mut story = Story::within(zygotes(5), pool(0, 5));
    let (own, second, third) =
        (story.add(1, pool(0, 5)), story.add(2, pool(0, 5)), story.add(3, pool(0, 5)));
    let mut orders = Vec::new();
    for (pool, waiter) in
        [(story.pool, 1), (own, 2), (story.pool, 3), (own, 4), (second, 5), (third, 6)]
    {
        story.acquire_many_of(pool, waiter, 3);
        orders.extend(story.effects.clone());
    }
    let mut order = Vec::new();
    while let Some(next) = orders.pop() {
        story.tell(what_comes_of(next));
        order.extend(served(&story));
        orders.extend(story.effects.clone());
        if order.len() == 6 && order.last() == Some(&5) {
            story.acquire_many_of(second, 7, 3);
            orders.extend(story.effects.clone());
        }
    }
    order.dedup();
    assert_eq!(order, [1, 5, 6, 2, 7, 3, 4]);
}

#[test]
fn what_another_batch_has_gathered_gives_way_to_the_next_and_not_the_other_way_round() {
    let mut story = Story::within(zygotes(5), pool(0, 5));
    let other = story.add(2, pool(0, 5));
    let holder = story.add(3, pool(0, 5));
    // The next one waits for leases, so the other one has what room there is.
    story.acquire_many_of(holder, 1, 2);
    let held = story.ready_all();
    story.acquire_many(2, 4);
    story.ready_all();
    assert_eq!(story.counts().warm, 3, "as many as there is room for");
    story.acquire_many_of(other, 3, 3);
    assert_eq!(story.effects, [], "nothing is taken from the next");
    story.tell(Event::LeaseEnded { slot: held[0] });
    story.tell(Event::ZygoteGone { slot: held[0] });
    let pool = story.pool;
    assert_eq!(story.builders(), [pool]);
    // The other way round: what is built for the other while the next lacks nothing.
    let (mut story, other) = two_batches();
    let first = story.watched.model.known.clone();
    story.tell(Event::ZygoteReady { slot: first[0] });
    let third = story.spawns()[0];
    story.tell(Event::ZygoteReady { slot: first[1] });
    let others = story.ready_all();
    assert_eq!((story.counts_of(other).warm, others.len()), (2, 2));
    story.watched.set_limits(Limits { builds_max: 2, ..zygotes(4) });
    story.tell(Event::SpawnFailed { slot: third, reason: "mishap".into() });
    assert_eq!(story.destroyed(), [others[0]]);
}

#[test]
fn a_single_waiter_has_its_turns_beside_the_next_batch() {
    let limits = Limits { builds_max: 1, ..PLENTY };
    let mut story = Story::within(limits, pool(0, 9));
    let (other, third) = (story.add(2, pool(0, 9)), story.add(3, pool(0, 9)));
    story.acquire_many(1, 3);
    story.acquire_many_of(other, 2, 2);
    story.acquire_of(third, 3);
    story.acquire_of(third, 4);
    let mut order = Vec::new();
    let mut next = story.watched.model.known.last().copied();
    while let Some(slot) = next {
        story.tell(Event::ZygoteReady { slot });
        order.extend(story.builders());
        next = story.spawns().first().copied();
    }
    let pool = story.pool;
    assert_eq!(order, [third, pool, third, pool, other, other], "after one for the next batch");
}

/// Two others take whatever is free, give it back at once and ask again.
#[test]
fn a_batch_is_served_within_its_turns_though_single_waiters_never_cease_to_come() {
    const WANTED: u32 = 3;
    let mut story = Story::within(zygotes(4), pool(0, 4));
    let others = [story.add(2, pool(0, 4)), story.add(3, pool(0, 4))];
    let (mut asked, mut places) = (1, 0);
    let mut orders = Vec::new();
    for nth in 0..4 {
        asked += 1;
        story.acquire_of(others[nth % 2], asked);
        orders.extend(story.effects.clone());
    }
    story.acquire_many(1, WANTED);
    orders.extend(story.effects.clone());
    for nth in 0..4 {
        asked += 1;
        story.acquire_of(others[nth % 2], asked);
    }
    while story.counts().leased < WANTED {
        match orders.remove(0) {
            Effect::Spawn { slot, .. } => {
                places += 1;
                story.tell(Event::ZygoteReady { slot });
            }
            Effect::Destroy { slot } => {
                story.tell(Event::ZygoteGone { slot });
            }
            Effect::Grant { waiter, slot, .. } => {
                story.tell(Event::LeaseEnded { slot });
                orders.extend(story.effects.clone());
                asked += 1;
                story.acquire_of(others[waiter.0 as usize % 2], asked);
            }
            other => panic!("{other:?}"),
        }
        orders.extend(story.effects.clone());
    }
    // The first four are not for it, and of those that follow every third is.
    assert!(places <= 4 + 3 * WANTED, "{places} places");
}

#[test]
fn a_single_waiter_is_kept_from_nothing_but_what_the_next_batch_has_gathered() {
    let mut story = Story::within(zygotes(6), pool(0, 6));
    let (other, third) = (story.add(2, pool(0, 6)), story.add(3, pool(0, 6)));
    let holder = story.add(4, pool(0, 6));
    story.acquire_of(holder, 1);
    story.ready_all();
    story.acquire_many(2, 3);
    let kept = story.spawns();
    story.tell(Event::ZygoteReady { slot: kept[0] });
    story.acquire_many_of(other, 3, 3);
    let gathered = story.spawns();
    assert_eq!(gathered.len(), 2, "as many as there is room for");
    for slot in &gathered {
        story.tell(Event::ZygoteReady { slot: *slot });
    }
    assert_eq!(story.acquire_of(third, 4), [Effect::Destroy { slot: gathered[0] }]);
    story.tell(Event::ZygoteGone { slot: gathered[0] });
    assert_eq!(story.builders(), [third]);
    story.ready_all();
    assert_eq!(story.acquire_of(third, 5), [Effect::Destroy { slot: gathered[1] }]);
    story.tell(Event::ZygoteGone { slot: gathered[1] });
    story.ready_all();
    assert_eq!(story.acquire_of(third, 6), [], "only the next one's is left");
}

#[test]
fn a_batch_that_waits_for_its_own_user_keeps_no_other_from_being_the_next() {
    let mut story = Story::within(zygotes(5), pool(0, 3));
    story.acquire(1);
    let slot = story.ready_all()[0];
    let other = story.add(2, pool(0, 5));
    // One of its own pool's three is leased.
    story.acquire_many(2, 3);
    assert_eq!(story.effects, [], "nothing is built for what cannot be");
    story.acquire_many_of(other, 3, 3);
    story.ready_all();
    assert_eq!(story.counts_of(other).leased, 3);
    story.end(slot);
    assert_eq!(story.counts().spawning, 2, "what room there is");
}

#[test]
fn a_batch_that_waits_in_an_older_generation_is_served_first() {
    let mut story = Story::start(pool(0, 4));
    let old = story.pool;
    story.watched.reserve(super::Time(ms(0)), old, 3, ms(10));
    story.wait_ms(0);
    story.ready_all();
    story.wait_ms(10);
    let slot = story.lease(1);
    story.acquire_many(2, 4);
    let new = story.watched.supersede(old, pool(1, 4));
    story.tell(Event::TimePassed);
    assert_eq!(story.counts_of(old).warm, 2);
    story.ready_all();
    assert_eq!(story.watched.policy.in_force(new), new, "what is gathered is not for others");
    story.acquire_of(new, 3);
    let counts = (story.counts_of(old), story.counts_of(new));
    assert_eq!((counts.0.warm, counts.1.warm, counts.1.waiters), (2, 1, 1), "{counts:?}");
    let (mut order, mut orders) =
        (Vec::new(), vec![Effect::Grant { waiter: WaiterKey(1), slot, start: Start::Warm }]);
    while let Some(next) = orders.pop() {
        story.tell(what_comes_of(next));
        order.extend(served(&story));
        orders.extend(story.effects.clone());
    }
    assert_eq!(order, [2, 2, 2, 2, 3]);
}
