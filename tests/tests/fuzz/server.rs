//! Floods of requests to a server, over many sessions at once.

use crate::flood::{Mix, flood};
use crate::session::Session;
use crate::share;
use crate::tally::Tally;
use crate::watch::beside_a_neighbour;

/// Sessions open at once.
const SESSIONS: usize = 40;

fn flooded(area: &str, mix: Mix, messages: u64) -> Tally {
    flooded_by(SESSIONS, area, mix, messages)
}

/// A flood of so many messages by so many sessions, with a neighbour's work beside it.
fn flooded_by(sessions: usize, area: &str, mix: Mix, messages: u64) -> Tally {
    beside_a_neighbour(area, messages, |server, pace, random| {
        flood::<Session>(server, sessions, mix, messages, pace, random)
    })
}

#[test]
fn sound_requests_at_a_flood_are_all_answered_as_they_must_be() {
    let mix = Mix { mutate_one_in: 1000, descriptors_one_in: 0, deaf_one_in: 0, life: 3000 };
    let tally = flooded("sound requests", mix, share::of(share::SOUND));
    tally.assert_answered(85);
    tally.assert_met(&[
        "granted: warm",
        "granted: cold",
        "denied: no such profile",
        "denied: bad request",
        "denied: not allowed",
        "denied: quota",
        "denied: queue full",
        "denied: deadline",
        "denied: cancelled",
        "denied: mount refused",
        "status",
        "left in good order",
        "hung up in the middle",
    ]);
}

#[test]
fn few_sessions_that_last_are_answered_all_along() {
    let mix = Mix { mutate_one_in: 20_000, descriptors_one_in: 0, deaf_one_in: 0, life: 60_000 };
    let tally = flooded_by(3, "few sessions", mix, share::of(share::ALONE));
    tally.assert_answered(95);
    tally.assert_met(&["granted: warm", "status", "denied: bad request", "denied: quota"]);
}

#[test]
fn sessions_that_come_and_go_at_a_flood_are_served_as_well() {
    let mix = Mix { mutate_one_in: 1000, descriptors_one_in: 0, deaf_one_in: 50, life: 30 };
    let tally = flooded("brief sessions", mix, share::of(share::BRIEF));
    tally.assert_answered(50);
    tally.assert_met(&["granted: warm", "left in good order", "hung up in the middle"]);
}

#[test]
fn spoilt_requests_cost_their_sender_the_session_alone() {
    let mix = Mix { mutate_one_in: 30, descriptors_one_in: 0, deaf_one_in: 0, life: 400 };
    let tally = flooded("spoilt requests", mix, share::of(share::SPOILT));
    tally.assert_answered(80);
    tally.assert_met(&[
        "refused: malformed",
        "refused: version",
        "survived a mutation",
        "granted: warm",
        "closed",
    ]);
}

#[test]
fn clients_that_never_read_are_let_go_beside_those_that_do() {
    let mix = Mix { mutate_one_in: 500, descriptors_one_in: 0, deaf_one_in: 3, life: 1000 };
    let tally = flooded("slow readers", mix, share::of(share::DEAF));
    tally.assert_answered(80);
    tally.assert_met(&["closed while deaf", "granted: warm", "left in good order"]);
}

#[test]
fn descriptors_of_every_kind_are_refused_and_closed() {
    let mix = Mix { mutate_one_in: 200, descriptors_one_in: 20, deaf_one_in: 20, life: 300 };
    let tally = flooded("descriptors", mix, share::of(share::DESCRIPTORS));
    tally.assert_answered(75);
    tally.assert_met(&["spoilt: with descriptors", "refused: malformed", "granted: warm"]);
}
