//! Too much of what is allowed, or at least costs nothing: everybody else is served meanwhile, and
//! what is kept for a template that does not read is bounded.

use crate::usurper::{Act, Scene, Usurper, acquire, is_readable, user};
use nix::errno::Errno;
use nix::libc;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use zyg_protocol::message::{
    Acquire, Bytes, Denial, Failure, FromTemplate, Lifeline, Mount, Reply, Request, Step,
};
use zyg_protocol::socket::send;
use zyg_tests::{Raw, bytes_of, connect_as};

/// Leases of others while it rages.
const LEASES: usize = 10;

/// Says it again and again, while others are served.
fn flood(usurper: &Usurper<'_>, message: &FromTemplate, riding: &[BorrowedFd<'_>]) {
    let bytes = bytes_of(message);
    let (link, client) = (&usurper.link, &usurper.client);
    beside_others(usurper, || {
        match send(link.as_fd(), &bytes, riding) {
            // A user has no more descriptors on their way than one process may have open, whoever
            // has sent them: his other tests, perhaps.
            Ok(()) | Err(Errno::ETOOMANYREFS) => {}
            Err(errno) => panic!("failed to send: {errno}"),
        }
        if !riding.is_empty() {
            // Until these have arrived, or he would be in the way of himself.
            client.say(&Request::Status { request: 0 });
            assert!(client.reply().is_some());
        }
    });
}

/// Does it again and again in a thread of its own, while others are served.
fn beside_others(usurper: &Usurper<'_>, again: impl Fn() + Send + Sync) {
    let over = AtomicBool::new(false);
    std::thread::scope(|threads| {
        threads.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                again();
            }
        });
        let client = usurper.server.client();
        for _ in 0..LEASES {
            let lease = client.lease().unwrap();
            assert!(lease.command("true").status().unwrap().success());
            lease.release().unwrap();
        }
        over.store(true, Ordering::Relaxed);
    });
}

#[test]
fn what_a_template_says_for_nothing_keeps_nobody_waiting() {
    let null = File::open("/dev/null").unwrap();
    let subject = Bytes::from(vec![0x1b; 60_000]);
    let failure = Failure { step: Step::OpenTree, errno: libc::EIO, subject };
    let refused = FromTemplate::OpenFailed { ticket: 1, failure };
    let acts: &[Act<'_>] = &[
        ("the end of nothing", &|usurper| {
            flood(usurper, &FromTemplate::Gone { slot: 7 }, &[]);
        }),
        ("sources that nobody wants", &|usurper| {
            flood(usurper, &FromTemplate::Opened { ticket: 1 }, &[null.as_fd(); 64]);
        }),
        ("refusals that nobody wants", &|usurper| flood(usurper, &refused, &[])),
    ];
    Scene::new().play(acts);
}

#[test]
fn what_inits_say_for_nothing_keeps_nobody_waiting() {
    Scene::new().play(&[("ready, ready, ready", &|usurper| {
        let (fake, _lease) = usurper.bear_leased();
        let ready = bytes_of(&Lifeline::Ready { spawn_us: 1 });
        // Whoever has hung up gets no more of it; the next one has his turn.
        let lifeline: &Raw = &fake.lifeline;
        beside_others(usurper, || lifeline.send(&ready, &[]));
        lifeline.assert_closed::<Lifeline>();
    })]);
}

#[test]
fn what_is_kept_for_a_template_that_never_reads_is_bounded() {
    /// Each order is nearly as large as a message may be.
    const SOURCES: usize = 15;
    /// More of them than the server keeps, and than a socket holds.
    const ORDERS: u64 = 600;
    let mount = Mount::Bind {
        source: format!("/{}", "x".repeat(4_000)).into_bytes().into(),
        target: b"/mnt".to_vec().into(),
        read_only: true,
    };
    Scene::new().play(&[("deafness", &|usurper| {
        let client = connect_as(user(), usurper.server.socket());
        for request in 0..ORDERS {
            let mounts = vec![mount.clone(); SOURCES];
            client.say(&Request::Acquire(Acquire { mounts, ..acquire(request) }));
        }
        client.say(&Request::Status { request: ORDERS });
        let mut denied = 0;
        while let Some(Reply::Denied { denial, .. }) = client.reply() {
            // By name: it asks for more than one user may have opened, or the template reads none.
            let named = match &denial {
                Denial::QuotaExceeded { what, .. } => what.starts_with("mount sources"),
                Denial::BuildFailing { reason } => reason.contains("read"),
                _ => false,
            };
            assert!(named, "{denial}");
            denied += 1;
        }
        assert!((1..ORDERS).contains(&denied), "{denied} of {ORDERS} were denied");
        assert!(!is_readable(&client));
    })]);
}
