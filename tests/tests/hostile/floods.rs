//! Too much of what is allowed. Whoever does not read is let go; everybody else is served.

use crate::small_server;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use zyg_protocol::message::{Acquire, Reply, Request};
use zyg_tests::{Baseline, Raw, bytes_of, eventually};

fn hung_up(client: &Raw) -> bool {
    let mut polled = [PollFd::new(client.as_fd(), PollFlags::empty())];
    poll(&mut polled, PollTimeout::ZERO).unwrap() > 0
}

#[test]
fn a_client_that_never_reads_is_let_go() {
    let server = small_server();
    let baseline = Baseline::of(&server);
    let deaf = Raw::connect(server.socket());
    let status = bytes_of(&Request::Status { request: 1 });
    let mut said = 0;
    while !hung_up(&deaf) {
        deaf.send(&status, &[]);
        said += 1;
        assert!(said < 100_000, "whatever it asks is kept for it");
    }
    assert!(server.log().contains("the peer does not read"), "{}", server.log());
    // What had been sent before is still there to be read; it is no more than was asked.
    let mut answers = 0;
    while let Some(Reply::Status { .. }) = deaf.reply() {
        answers += 1;
    }
    assert!((1..said).contains(&answers), "{answers} answers to {said} questions");
    baseline.assert_restored();
}

#[test]
fn a_client_that_reads_no_grant_is_let_go_with_its_leases() {
    let server = small_server();
    let baseline = Baseline::of(&server);
    let deaf = Raw::connect(server.socket());
    for request in 0..3 {
        deaf.say(&Request::Acquire(Acquire { request, ..Acquire::default() }));
    }
    eventually("every environment is its", || (server.pool().leased == 3).then_some(()));
    let status = bytes_of(&Request::Status { request: 9 });
    while !hung_up(&deaf) {
        deaf.send(&status, &[]);
    }
    // It still holds the channels that lie unread in its socket: its leases are over all the same.
    eventually("the end of its leases", || (server.pool().leased == 0).then_some(()));
    drop(deaf);
    baseline.assert_restored();
}

#[test]
fn a_flood_of_questions_keeps_nobody_waiting() {
    let server = small_server();
    let baseline = Baseline::of(&server);
    let over = AtomicBool::new(false);
    std::thread::scope(|threads| {
        for _ in 0..2 {
            threads.spawn(|| {
                let client = Raw::connect(server.socket());
                while !over.load(Ordering::Relaxed) {
                    for request in 0..100 {
                        client.say(&Request::Status { request });
                    }
                    for _ in 0..100 {
                        assert!(matches!(client.reply(), Some(Reply::Status { .. })));
                    }
                }
            });
        }
        for _ in 0..20 {
            let lease = baseline.observer().lease().unwrap();
            assert!(lease.command("true").status().unwrap().success());
            lease.release().unwrap();
        }
        over.store(true, Ordering::Relaxed);
    });
    baseline.assert_restored();
}

#[test]
fn a_thousand_that_come_and_go_leave_nothing() {
    let server = small_server();
    let baseline = Baseline::of(&server);
    for round in 0..1000 {
        let client = Raw::connect(server.socket());
        match round % 4 {
            0 => {}
            1 => client.say(&Request::Status { request: 1 }),
            2 => client.say(&Request::Acquire(Acquire::default())),
            _ => client.send(b"zyg\0", &[]),
        }
    }
    baseline.assert_restored();
}
