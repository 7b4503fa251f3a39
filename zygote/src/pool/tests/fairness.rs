//! Who gets the next build place: no uid more than its share, however much it asks for, and nobody
//! left out for long.

use super::random::Random;
use super::stories::{PLENTY, Story, settings};
use super::{Effect, Event, Limits, PoolKey, Settings, WaiterKey, ms};
use std::collections::BTreeMap;

const UIDS: u32 = 8;

/// No zygote is kept, so that each acquire waits for a build.
fn cold(max: u32) -> Settings {
    Settings { waiters_max: 100_000, ..settings(0, max) }
}

#[test]
fn equal_backlogs_get_equal_shares_at_any_time() {
    let mut story = Story::within(Limits { builds_max: 2, ..PLENTY }, cold(1_000));
    story.watched.checks = false;
    let mut pools = vec![story.pool];
    pools.extend((2..=UIDS).map(|uid| story.add(uid, cold(1_000))));
    let mut building = Vec::new();
    // The first uid asks for all that it wants before any other comes.
    for (index, &pool) in pools.iter().enumerate() {
        for nth in 0..100 {
            story.acquire_of(pool, index as u64 * 1_000 + nth);
            building.extend(story.spawns());
        }
    }
    let mut served: BTreeMap<u64, u32> = (0..u64::from(UIDS)).map(|uid| (uid, 0)).collect();
    while let Some(slot) = building.pop() {
        story.tell(Event::ZygoteReady { slot });
        building.extend(story.spawns());
        for effect in &story.effects {
            if let Effect::Grant { waiter: WaiterKey(waiter), .. } = effect {
                *served.get_mut(&(waiter / 1_000)).expect("it asked") += 1;
            }
        }
        let (least, most) = (served.values().min(), served.values().max());
        // Two are built for the first before there is another.
        assert!(most <= least.map(|least| least + 3).as_ref(), "{served:?}");
    }
    assert!(served.values().all(|served| *served == 100), "{served:?}");
}

#[test]
fn between_two_places_of_a_uid_that_waits_no_other_gets_more_than_one() {
    for seed in 0..10 {
        let mut random = Random::seeded(seed);
        let mut story = Story::within(Limits { builds_max: 1, ..PLENTY }, cold(1_000));
        let mut pools = vec![(1, story.pool)];
        pools.extend((0..12).map(|nth| (nth % 5, story.add(nth % 5, cold(1_000)))));
        let mut since: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        let mut asked = 0;
        for _ in 0..150 {
            for _ in 0..random.below(3) {
                asked += 1;
                let (_, pool) = random.pick(&pools).expect("there are some");
                story.acquire_of(pool, asked);
                note_places(&mut story, &pools, &mut since);
            }
            if let Some(slot) = building(&story, &mut random) {
                story.tell(Event::ZygoteReady { slot });
                note_places(&mut story, &pools, &mut since);
            }
        }
    }
}

fn building(story: &Story, random: &mut Random) -> Option<super::SlotKey> {
    let known = &story.watched.model.known;
    let latest = known.last().copied();
    latest.filter(|_| random.percent(90))
}

/// Who got a place since each uid that waits did, or began to wait.
fn note_places(story: &mut Story, pools: &[(u32, PoolKey)], since: &mut BTreeMap<u32, Vec<u32>>) {
    for pool in story.builders() {
        let (uid, _) = *pools.iter().find(|(_, key)| *key == pool).expect("it is one of them");
        for (other, places) in since.iter_mut().filter(|(other, _)| **other != uid) {
            assert!(!places.contains(&uid), "{uid} comes twice before {other}");
            places.push(uid);
        }
        since.insert(uid, Vec::new());
    }
    for uid in 0..5 {
        let waits = pools.iter().filter(|(of, _)| *of == uid).any(|(_, pool)| {
            let counts = story.counts_of(*pool);
            counts.waiters > counts.spawning
        });
        if waits {
            since.entry(uid).or_default();
        } else {
            since.remove(&uid);
        }
    }
}

#[test]
fn within_a_uid_the_earliest_waiter_of_any_pool_comes_first() {
    let mut story = Story::within(Limits { builds_max: 1, ..PLENTY }, cold(10));
    let first = story.pool;
    let second = story.add(1, cold(10));
    let mut order = Vec::new();
    for (waiter, pool) in [(1, first), (2, second), (3, first), (4, second), (5, second)] {
        story.acquire_of(pool, waiter);
        order.extend(story.builders());
    }
    let mut building = story.watched.model.known.clone();
    while let Some(slot) = building.pop() {
        story.tell(Event::ZygoteReady { slot });
        order.extend(story.builders());
        building.extend(story.spawns());
    }
    assert_eq!(order, [first, second, first, second, second]);
}

#[test]
fn a_uid_that_waits_for_room_does_not_hold_up_another() {
    let mut story = Story::within(Limits { builds_max: 2, ..PLENTY }, cold(1));
    let other = story.add(2, cold(10));
    story.acquire(1);
    story.ready_all();
    story.acquire(2);
    assert_eq!(story.spawns(), [], "its pool is full");
    story.acquire_of(other, 3);
    assert_eq!(story.builders(), [other]);
}

#[test]
fn builds_that_hang_keep_nobody_else_waiting() {
    let limits = Limits { builds_max: 2, build_counts: ms(300), ..PLENTY };
    let mut story = Story::within(limits, cold(10));
    let other = story.add(2, cold(10));
    // All places are taken by builds of which nobody ever hears.
    story.acquire(1);
    story.acquire(2);
    story.acquire(3);
    assert_eq!(story.builders(), [], "only the latest answer is kept, and there was no place");
    story.acquire_of(other, 4);
    assert_eq!(story.builders(), []);
    assert_eq!(story.wait_ms(299), []);
    story.wait_ms(1);
    assert_eq!(story.builders(), [other], "and the one that hangs gets no more");
    let hung = story.watched.model.known[0];
    story.tell(Event::ZygoteReady { slot: hung });
    assert_eq!(story.builders(), [], "another one hangs still");
    let pool = story.pool;
    let hung = story.watched.model.known[1];
    story.tell(Event::ZygoteReady { slot: hung });
    assert_eq!(story.builders(), [pool], "for the one who waits");
}

#[test]
fn floors_are_filled_in_turns_as_well() {
    let mut story = Story::within(Limits { builds_max: 1, ..PLENTY }, settings(3, 10));
    let other = story.add(2, settings(3, 10));
    let mut order = vec![story.pool];
    let mut next = story.watched.model.known.last().copied();
    while let Some(slot) = next {
        story.tell(Event::ZygoteReady { slot });
        order.extend(story.builders());
        next = story.spawns().first().copied();
    }
    let pool = story.pool;
    assert_eq!(order, [pool, other, pool, other, pool, other]);
}
