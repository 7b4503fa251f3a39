//! Floods of messages to the inits of real leases.

use crate::flood::{Mix, flood};
use crate::lease::Conversation;
use crate::share;
use crate::tally::Tally;
use crate::watch::beside_a_neighbour;

/// Leases held at once: less than there may be, since ending one takes a while.
const LEASES: usize = 5;

fn flooded(leases: usize, area: &str, mix: Mix, messages: u64) -> Tally {
    beside_a_neighbour(area, messages, |server, pace, random| {
        flood::<Conversation>(server, leases, mix, messages, pace, random)
    })
}

#[test]
fn sound_messages_to_init_at_a_flood_are_all_answered_as_they_must_be() {
    let mix = Mix { mutate_one_in: 3000, descriptors_one_in: 0, deaf_one_in: 12, life: 3000 };
    let tally = flooded(LEASES, "sound messages to init", mix, share::of(share::TO_INIT));
    tally.assert_answered(85);
    tally.assert_met(&[
        "prepared",
        "not prepared",
        "started",
        "exited",
        "failed: request",
        "failed: descriptors",
        "failed: limits",
        "failed: directory",
        "failed: not now",
        "failed: execute",
        "left in good order",
        "hung up in the middle",
        "heard no more while deaf",
    ]);
}

#[test]
fn one_lease_at_a_time_lasts_through_a_flood() {
    let mix = Mix { mutate_one_in: 0, descriptors_one_in: 0, deaf_one_in: 0, life: 60_000 };
    let tally = flooded(1, "one init", mix, share::of(share::TO_ONE_INIT));
    tally.assert_answered(90);
    tally.assert_met(&["started", "exited", "failed: request", "failed: execute"]);
}

#[test]
fn spoilt_messages_to_init_cost_their_sender_the_lease_alone() {
    let mix = Mix { mutate_one_in: 30, descriptors_one_in: 0, deaf_one_in: 0, life: 400 };
    let tally = flooded(LEASES, "spoilt messages to init", mix, share::of(share::SPOILT_TO_INIT));
    tally.assert_answered(80);
    tally.assert_met(&["closed", "survived a mutation", "started", "failed: request"]);
}
