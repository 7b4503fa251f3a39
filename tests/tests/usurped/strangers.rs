//! Processes that are not the template's are neither killed nor waited for on its word, whatever
//! becomes of the zygotes that it passes them off as. (That they live is seen to after each act, and
//! after the end of the server.)

use crate::usurper::{Act, Order, Scene, Usurper, answer};
use std::os::fd::OwnedFd;
use zyg_protocol::message::{FromTemplate, Lifeline, Request};
use zyg_tests::{RawLease, eventually};

/// A leased zygote whose process is that one, and its slot.
fn leased(usurper: &Usurper<'_>, process: &OwnedFd) -> (u64, RawLease) {
    let Order { slot, lifeline } = usurper.order();
    usurper.keep(usurper.report(&lifeline, process));
    usurper.keep(lifeline);
    (slot, answer(&usurper.client).unwrap())
}

/// Plays an act with each of those who may be pointed at.
fn play(act: impl Fn(&Usurper<'_>, &OwnedFd)) {
    let acts: Vec<_> = (0..3)
        .map(|index| {
            let act = &act;
            move |usurper: &Usurper<'_>| {
                if let Some(process) = usurper.standins.pidfds.get(index) {
                    act(usurper, process);
                }
            }
        })
        .collect();
    let acts: Vec<Act<'_>> = acts.iter().map(|act| ("a stranger", act as _)).collect();
    Scene::new().play(&acts);
}

#[test]
fn not_when_the_lease_is_released() {
    play(|usurper, process| {
        let (slot, lease) = leased(usurper, process);
        usurper.client.say(&Request::Release { lease: lease.granted.lease });
        usurper.assert_condemned(slot);
        usurper.say(&FromTemplate::Gone { slot });
    });
}

#[test]
fn not_when_the_client_hangs_up_and_nobody_reports_the_end() {
    play(|usurper, process| {
        let (slot, lease) = leased(usurper, process);
        drop(lease);
        usurper.client.say(&Request::Release { lease: zyg_protocol::message::LeaseId(slot) });
    });
}

#[test]
fn not_when_the_template_ends_first() {
    play(|usurper, process| {
        let (_, lease) = leased(usurper, process);
        usurper.keep(lease);
        // Not ready, and ready but nobody's. The end of the usurper follows.
        let orders = [(); 2].map(|()| (usurper.order(), usurper.last_request()));
        for (_, request) in &orders {
            usurper.client.say(&Request::Cancel { request: *request });
            assert!(answer(&usurper.client).is_err());
        }
        let [(unready, _), (ready, _)] = orders;
        usurper.keep(usurper.report(&ready.lifeline, process));
        usurper.keep((unready, ready));
        eventually("a warm zygote", || (usurper.pool().warm == 1).then_some(()));
    });
}

#[test]
fn not_when_the_template_is_cast_out() {
    play(|usurper, process| {
        let (_, lease) = leased(usurper, process);
        let Order { lifeline, .. } = usurper.unwanted_order();
        usurper.keep(usurper.report(&lifeline, process));
        usurper.link.send(b"garbage", &[]);
        usurper.assert_cast_out();
        // The end of its lifeline is all that a zygote hears of it.
        lifeline.assert_closed::<Lifeline>();
        drop(lease);
    });
}
