//! On a zygote's lifeline: an init says once that it is ready, or why not. Whatever else it says ends
//! its zygote, in whatever state that is, and nothing else.

use crate::usurper::{Act, Fake, Order, Scene, Usurper, answer, is_readable};
use nix::libc;
use std::os::fd::AsFd;
use zyg_protocol::limits::MESSAGE_BYTES_MAX;
use zyg_protocol::message::{Bytes, Failure, FromTemplate, Lifeline, Step, ToTemplate};
use zyg_tests::{Raw, bytes_of, eventually};

const READY: Lifeline = Lifeline::Ready { spawn_us: 1 };

fn unable() -> Lifeline {
    Lifeline::Unable(Failure { step: Step::Dev, errno: libc::EIO, subject: Bytes::new() })
}

/// What is said on a lifeline, and how.
type Offence = (&'static str, Box<dyn Fn(&Raw)>);

/// What ends a zygote that is ready already.
fn offences() -> Vec<Offence> {
    let send = |bytes: Vec<u8>| move |lifeline: &Raw| lifeline.send(&bytes, &[]);
    vec![
        ("ready again", Box::new(|lifeline| lifeline.say(&READY))),
        ("unable after all", Box::new(|lifeline| lifeline.say(&unable()))),
        ("nothing", Box::new(send(Vec::new()))),
        ("garbage", Box::new(send(vec![0xa5; 1000]))),
        ("too much", Box::new(send(vec![0; MESSAGE_BYTES_MAX + 1]))),
        ("half a message", Box::new(send(bytes_of(&READY)[..10].to_vec()))),
        (
            "another conversation",
            Box::new(|lifeline| lifeline.say(&ToTemplate::Spawn { slot: 1, urgent: false })),
        ),
        (
            "descriptors",
            Box::new(|lifeline| lifeline.say_with(&READY, &[lifeline.as_fd(), lifeline.as_fd()])),
        ),
        ("the end", Box::new(hang_up)),
    ]
}

fn hang_up(lifeline: &Raw) {
    use nix::sys::socket::{Shutdown, shutdown};
    use std::os::fd::AsRawFd;
    shutdown(lifeline.as_fd().as_raw_fd(), Shutdown::Both).unwrap();
}

/// Plays each of these against a fresh zygote, first made by `make`.
fn play(make: impl Fn(&Usurper<'_>) -> (Fake, Option<zyg_tests::RawLease>)) {
    let acts: Vec<_> = offences()
        .into_iter()
        .map(|(name, offend)| {
            let make = &make;
            let act = move |usurper: &Usurper<'_>| {
                let (fake, lease) = make(usurper);
                offend(&fake.lifeline);
                usurper.assert_condemned(fake.slot);
                // Nobody is believed who comes after.
                fake.lifeline.say(&READY);
                usurper.say(&FromTemplate::Gone { slot: fake.slot });
                assert_ne!(usurper.ordered(), fake.slot);
                drop(lease);
            };
            (name, act)
        })
        .collect();
    let acts: Vec<Act<'_>> = acts.iter().map(|(name, act)| (*name, act as _)).collect();
    Scene::new().play(&acts);
}

#[test]
fn an_init_that_says_more_while_it_is_leased_ends_its_lease() {
    play(|usurper| {
        let (fake, lease) = usurper.bear_leased();
        (fake, Some(lease))
    });
}

#[test]
fn an_init_that_says_more_while_it_waits_is_never_granted() {
    play(|usurper| {
        let Order { slot, lifeline } = usurper.unwanted_order();
        usurper.keep(usurper.report(&lifeline, &usurper.standins.pidfds[0]));
        eventually("a warm zygote", || (usurper.pool().warm == 1).then_some(()));
        (Fake { slot, lifeline }, None)
    });
}

#[test]
fn an_init_that_is_never_ready_is_never_granted() {
    let acts: &[Act<'_>] = &[
        ("silence", &|usurper| {
            let _held = usurper.order();
            assert!(!is_readable(&usurper.client), "granted");
        }),
        ("garbage first", &|usurper| {
            let Order { slot, lifeline } = usurper.order();
            lifeline.send(&[0xa5; 100], &[]);
            usurper.assert_condemned(slot);
            usurper.report(&lifeline, &usurper.standins.pidfds[0]);
            assert!(!is_readable(&usurper.client), "granted");
        }),
        ("unable, then ready", &|usurper| {
            let Order { slot, lifeline } = usurper.order();
            lifeline.say(&unable());
            usurper.report(&lifeline, &usurper.standins.pidfds[0]);
            usurper.assert_condemned(slot);
            assert!(!is_readable(&usurper.client), "granted");
        }),
        ("gone before it was ready", &|usurper| {
            let Order { slot, lifeline } = usurper.order();
            drop(lifeline);
            // Whether there was anything at all its template says.
            assert!(!is_readable(&usurper.client), "answered");
            usurper.say(&FromTemplate::Gone { slot });
            assert_ne!(usurper.next_order().slot, slot);
        }),
        ("the control: ready", &|usurper| {
            let Order { lifeline, .. } = usurper.order();
            usurper.report(&lifeline, &usurper.standins.pidfds[0]);
            assert!(answer(&usurper.client).is_ok());
        }),
    ];
    Scene::new().play(acts);
}
