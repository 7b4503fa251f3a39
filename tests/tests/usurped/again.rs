//! Where zygotes are used again: what an init says of a lease that it has ended, and what a template has
//! seen of it. Neither is believed but about what was asked, and once.

use crate::usurper::{Act, Fake, Order, Scene, Usurper, answer, is_readable};
use nix::libc;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use zyg_protocol::message::{
    Bytes, Failure, FromTemplate, Lifeline, Request, Step, ToTemplate, ToZygote,
};
use zyg_protocol::socket::pair;
use zyg_tests::{Raw, RawLease, bytes_of, wait_readable};

const WHOLE: &str = "recycle = \"whole\"\n";

const RENEWED: Lifeline = Lifeline::Renewed { renew_us: 1 };

/// Descriptors by which a template looks at a zygote: here some that show nothing.
const EVIDENCE: usize = 3;

impl Usurper<'_> {
    /// A zygote that is none, reported with what it takes to look at it, and seen. Granted to a client.
    fn bear_seen(&self) -> (Fake, RawLease) {
        let Order { slot, lifeline } = self.order();
        self.report_seen(&lifeline, EVIDENCE);
        assert_eq!(self.asked_to_look(), slot);
        assert!(!is_readable(&self.client), "granted before it was seen");
        self.say(&FromTemplate::Inspected { slot });
        let lease = answer(&self.client).unwrap();
        (Fake { slot, lifeline }, lease)
    }

    /// Reports that it is ready, with so many descriptors to look at it.
    fn report_seen(&self, lifeline: &Raw, evidence: usize) {
        let (ours, theirs) = pair().unwrap();
        self.keep(ours);
        let mut riding = vec![theirs.as_fd(), self.standins.pidfds[0].as_fd()];
        riding.extend(self.evidence(evidence));
        lifeline.say_with(&Lifeline::Ready { spawn_us: 1 }, &riding);
    }

    fn evidence(&self, number: usize) -> Vec<BorrowedFd<'_>> {
        vec![self.standins.pidfds[0].as_fd(); number]
    }

    /// Has the lease of a zygote end: the zygote under its new name, and init's end of its new channel.
    fn end(&self, fake: Fake, lease: &RawLease) -> (Fake, OwnedFd) {
        self.client.say(&Request::Release { lease: lease.granted.lease });
        let (renew, mut descriptors) = fake.lifeline.hear::<ToZygote>().expect("the order");
        assert_eq!((renew, descriptors.len()), (ToZygote::Renew, 1));
        let slot = loop {
            match self.link.hear::<ToTemplate>().expect("the link holds").0 {
                ToTemplate::Rename { slot, next } if slot == fake.slot => break next,
                _ => continue,
            }
        };
        (Fake { slot, ..fake }, descriptors.remove(0))
    }

    /// The next slot that the server wants looked at.
    fn asked_to_look(&self) -> u64 {
        loop {
            let (order, evidence) = self.link.hear::<ToTemplate>().expect("the link holds");
            if let ToTemplate::Inspect { slot } = order {
                assert_eq!(evidence.len(), EVIDENCE);
                return slot;
            }
        }
    }

    fn renewed(&self, fake: &Fake) {
        fake.lifeline.say_with(&RENEWED, &self.evidence(EVIDENCE));
    }
}

/// Says something that ends the zygote.
fn condemned_for(say: impl Fn(&Usurper<'_>, &Fake)) -> impl Fn(&Usurper<'_>) {
    move |usurper| {
        let (fake, lease) = usurper.bear_seen();
        let (fake, channel) = usurper.end(fake, &lease);
        say(usurper, &fake);
        usurper.assert_condemned(fake.slot);
        // Nobody is believed who comes after.
        usurper.renewed(&fake);
        usurper.say(&FromTemplate::Inspected { slot: fake.slot });
        usurper.say(&FromTemplate::Gone { slot: fake.slot });
        wait_readable(&lease.pidfd, "the end of the lease");
        assert_ne!(usurper.ordered(), fake.slot);
        drop(channel);
    }
}

#[test]
fn what_makes_sense_is_believed_once() {
    let acts: &[Act<'_>] = &[
        ("used again", &|usurper| {
            let (fake, lease) = usurper.bear_seen();
            let before = fake.slot;
            let (fake, channel) = usurper.end(fake, &lease);
            assert_ne!(fake.slot, before, "what is still said of the old lease fits nothing");
            assert!(!is_readable(&lease.pidfd), "over before init has said so");
            usurper.renewed(&fake);
            wait_readable(&lease.pidfd, "the end of the lease");
            assert_eq!(usurper.asked_to_look(), fake.slot);
            assert_eq!(usurper.pool().warm, 0, "nobody has it before it was seen");
            usurper.say(&FromTemplate::Inspected { slot: fake.slot });
            usurper.client.say(&Request::Acquire(crate::usurper::acquire(usurper.request())));
            let next = answer(&usurper.client).unwrap();
            assert_ne!(next.granted.lease, lease.granted.lease);
            // Through the new channel alone.
            next.init.send(b"here", &[]);
            wait_readable(&channel, "what the client says");
        }),
        ("seen again and again", &|usurper| {
            let (fake, _lease) = usurper.bear_seen();
            let leased = usurper.pool().leased;
            for slot in [fake.slot, 0, 1, 1 << 32, u64::MAX] {
                usurper.say(&FromTemplate::Inspected { slot });
                usurper.say(&FromTemplate::InDoubt { slot });
            }
            assert_eq!(usurper.pool().leased, leased, "nobody had asked");
        }),
        ("the zygotes of others seen", &|usurper| {
            for slot in (1 << 32..(1 << 32) + 32).chain(2 << 32..(2 << 32) + 32) {
                usurper.say(&FromTemplate::InDoubt { slot });
                usurper.say(&FromTemplate::Inspected { slot });
            }
            assert_ne!(usurper.ordered(), 0);
        }),
        ("in doubt", &|usurper| {
            let (fake, lease) = usurper.bear_seen();
            let (fake, _channel) = usurper.end(fake, &lease);
            usurper.renewed(&fake);
            assert_eq!(usurper.asked_to_look(), fake.slot);
            usurper.say(&FromTemplate::InDoubt { slot: fake.slot });
            usurper.assert_condemned(fake.slot);
        }),
        ("in doubt at first", &|usurper| {
            let Order { slot, lifeline } = usurper.order();
            usurper.report_seen(&lifeline, EVIDENCE);
            assert_eq!(usurper.asked_to_look(), slot);
            usurper.say(&FromTemplate::InDoubt { slot });
            usurper.assert_condemned(slot);
            assert!(!is_readable(&usurper.client), "granted");
        }),
        ("gone while it is on its way", &|usurper| {
            let (fake, lease) = usurper.bear_seen();
            let (fake, _channel) = usurper.end(fake, &lease);
            usurper.say(&FromTemplate::Gone { slot: fake.slot });
            fake.lifeline.assert_closed::<ToZygote>();
            wait_readable(&lease.pidfd, "the end of the lease");
            assert_ne!(usurper.ordered(), fake.slot);
        }),
        ("on its way for ever", &|usurper| {
            let (fake, lease) = usurper.bear_seen();
            let (fake, channel) = usurper.end(fake, &lease);
            // Whoever comes meanwhile has another one made.
            assert_ne!(usurper.ordered(), fake.slot);
            usurper.keep((fake.lifeline, channel));
        }),
    ];
    Scene::with(WHOLE).play(acts);
}

#[test]
fn an_init_that_says_something_else_ends_its_zygote() {
    let unable =
        || Lifeline::Unable(Failure { step: Step::Dev, errno: libc::EIO, subject: Bytes::new() });
    let acts: &[Act<'_>] = &[
        ("nothing to look at", &condemned_for(|_, fake| fake.lifeline.say(&RENEWED))),
        (
            "too little",
            &condemned_for(|usurper, fake| {
                fake.lifeline.say_with(&RENEWED, &usurper.evidence(EVIDENCE - 1));
            }),
        ),
        (
            "too much",
            &condemned_for(|usurper, fake| {
                fake.lifeline.say_with(&RENEWED, &usurper.evidence(EVIDENCE + 1));
            }),
        ),
        ("unable", &condemned_for(move |_, fake| fake.lifeline.say(&unable()))),
        (
            "ready as at first",
            &condemned_for(|usurper, fake| usurper.report_seen(&fake.lifeline, EVIDENCE)),
        ),
        ("an order", &condemned_for(|_, fake| fake.lifeline.say(&ToZygote::Renew))),
        ("garbage", &condemned_for(|_, fake| fake.lifeline.send(&[0xa5; 100], &[]))),
        (
            "half of it",
            &condemned_for(|_, fake| fake.lifeline.send(&bytes_of(&RENEWED)[..10], &[])),
        ),
        (
            "twice",
            &condemned_for(|usurper, fake| {
                usurper.renewed(fake);
                usurper.renewed(fake);
            }),
        ),
    ];
    Scene::with(WHOLE).play(acts);
}

#[test]
fn what_nobody_asked_for_ends_the_lease() {
    let acts: &[Act<'_>] = &[
        ("renewed while it is leased", &|usurper| {
            let (fake, lease) = usurper.bear_seen();
            usurper.renewed(&fake);
            usurper.assert_condemned(fake.slot);
            usurper.say(&FromTemplate::Gone { slot: fake.slot });
            wait_readable(&lease.pidfd, "the end of the lease");
        }),
        ("renewed before it was ready", &|usurper| {
            let Order { slot, lifeline } = usurper.order();
            lifeline.say_with(&RENEWED, &usurper.evidence(EVIDENCE));
            usurper.assert_condemned(slot);
            assert!(!is_readable(&usurper.client), "granted");
        }),
        ("ready with nothing to look at", &|usurper| {
            let Order { slot, lifeline } = usurper.order();
            usurper.report_seen(&lifeline, 0);
            usurper.assert_condemned(slot);
            assert!(!is_readable(&usurper.client), "granted");
        }),
    ];
    Scene::with(WHOLE).play(acts);
}

#[test]
fn where_zygotes_are_not_used_again_nothing_of_it_is_believed() {
    let acts: &[Act<'_>] = &[
        ("renewed", &|usurper| {
            let (fake, _lease) = usurper.bear_leased();
            usurper.renewed(&fake);
            usurper.assert_condemned(fake.slot);
        }),
        ("something to look at", &|usurper| {
            let Order { slot, lifeline } = usurper.order();
            usurper.report_seen(&lifeline, EVIDENCE);
            usurper.assert_condemned(slot);
            assert!(!is_readable(&usurper.client), "granted");
        }),
        ("seen", &|usurper| {
            let slot = usurper.ordered();
            usurper.say(&FromTemplate::Inspected { slot });
            usurper.say(&FromTemplate::InDoubt { slot });
            assert!(!is_readable(&usurper.client), "granted");
        }),
    ];
    Scene::new().play(acts);
}
