//! The rules of pools that use zygotes again.

use super::stories::{PLENTY, Story, granted, settings};
use super::{Effect, Event, Limits, Settings, SlotKey};
use crate::pool::{ColdReason, Start};

fn reusing(min: u32, max: u32) -> Settings {
    Settings { reuse: true, ..settings(min, max) }
}

/// A pool with one lease that has just ended, and its zygote's next name.
fn returning(story: &mut Story, leased: SlotKey) -> SlotKey {
    let effects = story.tell(Event::LeaseEnded { slot: leased }).to_vec();
    let [Effect::Recycle { slot, next }] = effects[..] else { panic!("{effects:?}") };
    assert_eq!(slot, leased);
    assert_ne!(next, leased);
    next
}

fn with_one_returning(settings: Settings) -> (Story, SlotKey) {
    let mut story = Story::warm(settings);
    let leased = story.lease(1);
    let next = returning(&mut story, leased);
    (story, next)
}

#[test]
fn a_zygote_whose_lease_is_over_is_granted_again_when_it_is_ready_and_not_before() {
    let (mut story, next) = with_one_returning(reusing(1, 1));
    assert_eq!((story.counts().returning, story.counts().warm), (1, 0));
    assert_eq!(story.tell(Event::ZygoteReady { slot: next }), []);
    assert_eq!((story.counts().returning, story.counts().warm), (0, 1));
    assert_eq!(story.acquire(2), [granted(2, next, Start::Warm)]);
}

#[test]
fn where_nothing_is_used_again_it_is_destroyed() {
    let mut story = Story::warm(settings(1, 1));
    let slot = story.lease(1);
    assert_eq!(story.tell(Event::LeaseEnded { slot }), [Effect::Destroy { slot }]);
}

#[test]
fn what_is_said_about_an_earlier_lease_changes_nothing() {
    let mut story = Story::warm(reusing(1, 1));
    let first = story.lease(1);
    let second = returning(&mut story, first);
    for slot in [first, second] {
        assert_eq!(story.tell(Event::LeaseEnded { slot }), []);
    }
    assert_eq!(story.tell(Event::ZygoteReady { slot: first }), []);
    assert_eq!(story.counts().returning, 1);
    story.tell(Event::ZygoteReady { slot: second });
    assert_eq!(story.acquire(2), [granted(2, second, Start::Warm)]);
    let slot = first;
    for late in [
        Event::LeaseEnded { slot },
        Event::RecycleRefused { slot },
        Event::ZygoteDied { slot },
        Event::ZygoteGone { slot },
    ] {
        assert_eq!(story.tell(late), []);
    }
    assert_eq!(story.counts().leased, 1);
}

#[test]
fn one_that_is_in_doubt_is_destroyed_and_no_build_has_failed() {
    let (mut story, slot) = with_one_returning(reusing(1, 1));
    let destroyed = [Effect::Destroy { slot }];
    assert_eq!(story.tell(Event::RecycleRefused { slot }), destroyed);
    assert_eq!(story.tell(Event::RecycleRefused { slot }), []);
    assert_eq!((story.counts().dying, story.counts().failing), (1, None));
    story.tell(Event::ZygoteGone { slot });
    assert_eq!(story.spawns().len(), 1, "another one is built at once");
}

#[test]
fn refusals_that_fit_nothing_change_nothing() {
    let mut story = Story::warm(reusing(2, 2));
    let leased = story.lease(1);
    let warm = story.lease(2);
    for slot in [leased, warm] {
        assert_eq!(story.tell(Event::RecycleRefused { slot }), []);
    }
    assert_eq!(story.counts().leased, 2);
}

#[test]
fn one_that_dies_or_takes_too_long_is_destroyed_and_no_build_has_failed() {
    let (mut story, slot) = with_one_returning(reusing(1, 1));
    assert_eq!(story.tell(Event::ZygoteDied { slot }), [Effect::Destroy { slot }]);
    let (mut late, slot) = with_one_returning(reusing(1, 1));
    assert_eq!(late.wait_ms(999), []);
    assert_eq!(late.wait_ms(1), [Effect::Destroy { slot }]);
    let (mut gone, slot) = with_one_returning(reusing(1, 1));
    gone.tell(Event::ZygoteGone { slot });
    assert_eq!(gone.spawns().len(), 1);
    for story in [story, late, gone] {
        assert_eq!((story.counts().returning, story.counts().failing), (0, None));
    }
}

#[test]
fn it_ends_with_its_template_its_pool_and_its_server() {
    let (mut story, slot) = with_one_returning(reusing(1, 1));
    let reason = "the template died".to_owned();
    let lost = Event::TemplateLost { pool: story.pool, reason };
    assert_eq!(story.tell(lost), [Effect::Destroy { slot }]);
    assert_eq!(story.counts().failing, None);
    let (mut story, slot) = with_one_returning(reusing(1, 1));
    assert_eq!(story.tell(Event::DrainStarted), [Effect::Destroy { slot }]);
    let (mut story, slot) = with_one_returning(reusing(1, 1));
    story.watched.retire(story.pool);
    assert_eq!(story.wait_ms(0), [Effect::Destroy { slot }]);
}

#[test]
fn nothing_is_taken_back_that_nobody_wants() {
    let mut story = Story::warm(reusing(1, 1));
    let slot = story.lease(1);
    story.watched.retire(story.pool);
    assert_eq!(story.tell(Event::LeaseEnded { slot }), [Effect::Destroy { slot }], "retired");
    let mut story = Story::warm(reusing(1, 1));
    let slot = story.lease(1);
    story.tell(Event::DrainStarted);
    assert_eq!(story.tell(Event::LeaseEnded { slot }), [Effect::Destroy { slot }], "draining");
    let mut story = Story::warm(reusing(1, 2));
    let slot = story.lease(1);
    story.watched.supersede(story.pool, reusing(1, 2));
    assert_eq!(story.tell(Event::LeaseEnded { slot })[0], Effect::Destroy { slot }, "superseded");
}

/// Those that were asked for a second ago are not asked for again.
#[test]
fn as_many_are_taken_back_as_are_missing_and_were_asked_for_of_late() {
    let mut story = Story::warm(reusing(2, 8));
    let slots: Vec<SlotKey> = (1..=3)
        .map(|waiter| {
            let slot = story.lease(waiter);
            story.ready_all();
            slot
        })
        .collect();
    returning(&mut story, slots[0]);
    story.wait_ms(50);
    returning(&mut story, slots[1]);
    story.wait_ms(950);
    let slot = slots[2];
    assert_eq!(story.tell(Event::LeaseEnded { slot })[0], Effect::Destroy { slot });
}

#[test]
fn what_is_warm_beyond_the_target_after_it_came_back_shrinks_one_by_one() {
    let (mut story, slot) = with_one_returning(reusing(1, 8));
    let built = story.watched.model.known[1];
    story.tell(Event::ZygoteReady { slot: built });
    story.tell(Event::ZygoteReady { slot });
    assert_eq!(story.counts().warm, 2);
    assert_eq!(story.live_ms(150), [Effect::Destroy { slot: built }]);
}

#[test]
fn it_counts_against_the_maximum_and_not_against_builds() {
    let limits = Limits { builds_max: 1, ..PLENTY };
    let mut story = Story::within(limits, reusing(1, 2));
    story.ready_all();
    let slot = story.lease(1);
    assert_eq!(story.spawns().len(), 1);
    returning(&mut story, slot);
    let other = story.add(2, settings(1, 1));
    assert_eq!(story.builders(), [], "one is building already");
    let built = story.watched.model.known[1];
    story.tell(Event::ZygoteReady { slot: built });
    assert_eq!(story.builders(), [other]);
    story.lease(2);
    assert_eq!(story.builders(), [], "one is leased and one returning");
}

#[test]
fn whoever_asks_meanwhile_is_built_for() {
    let (mut story, slot) = with_one_returning(reusing(1, 8));
    story.acquire(2);
    let built = story.spawns();
    assert_eq!(built.len(), 1);
    let effects = story.tell(Event::ZygoteReady { slot }).to_vec();
    assert!(matches!(effects[0], Effect::Grant { .. }), "whichever is ready first: {effects:?}");
}

#[test]
fn it_gives_way_to_a_waiter_that_there_is_no_room_for() {
    let (mut story, slot) = with_one_returning(reusing(1, 1));
    assert_eq!(story.acquire(2), [Effect::Destroy { slot }]);
    story.tell(Event::ZygoteGone { slot });
    assert_eq!(story.spawns().len(), 1);
    let limits = Limits { zygotes_max: 1, ..PLENTY };
    let mut story = Story::within(limits, reusing(1, 8));
    let other = story.add(2, settings(0, 8));
    let first = story.watched.model.known[0];
    story.tell(Event::ZygoteReady { slot: first });
    let slot = story.lease(1);
    let slot = returning(&mut story, slot);
    assert_eq!(story.acquire_of(other, 2), [Effect::Destroy { slot }]);
}

#[test]
fn nothing_is_taken_back_while_somebody_waits_for_its_place() {
    let mut story = Story::warm(reusing(1, 1));
    let slot = story.lease(1);
    story.acquire(2);
    assert_eq!(story.tell(Event::LeaseEnded { slot }), [Effect::Destroy { slot }]);
}

/// What came back was quicker than any build, and says nothing about one.
#[test]
fn a_return_is_not_taken_for_a_build() {
    let mut story = Story::start(reusing(2, 2));
    let slots = story.spawns();
    story.tell(Event::ZygoteReady { slot: slots[0] });
    let leased = story.lease(1);
    story.fail(slots[1], "the disk is full");
    let next = returning(&mut story, leased);
    story.tell(Event::ZygoteReady { slot: next });
    assert_eq!(story.counts().failing.as_deref(), Some("the disk is full"));
}

#[test]
fn a_waiter_is_not_refused_while_one_comes_back() {
    let mut story = Story::start(reusing(2, 2));
    let slots = story.spawns();
    story.tell(Event::ZygoteReady { slot: slots[0] });
    let leased = story.lease(1);
    let again = story.fail(slots[1], "the disk is full");
    story.fail(again[0], "the disk is full");
    let slot = returning(&mut story, leased);
    assert_eq!(story.acquire(2), [], "builds fail, and one may come back");
    let cold = Start::Cold(ColdReason::Exhausted);
    assert_eq!(story.tell(Event::ZygoteReady { slot })[0], granted(2, slot, cold));
}
