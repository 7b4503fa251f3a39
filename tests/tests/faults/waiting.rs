//! Time and order: limits of leases, deadlines of waiters, and who comes next.

use crate::shared::{wait_settled, with_pool};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use std::os::fd::AsFd;
use std::time::Duration;
use zyg_protocol::message::{Acquire, Denial, LeaseId, Reply, Request};
use zyg_tests::{Baseline, Echo, Raw, RawLease, Server, soon, wait_readable};
use zygote_client::{AcquireError, LeaseError, LeaseOptions, SpawnError};

/// A session whose acquire, number 1, is in the server's queue.
fn queued(server: &Server) -> Raw {
    let client = Raw::connect(server.socket());
    client.say(&Request::Acquire(Acquire { request: 1, ..Acquire::default() }));
    assert_waiting(&client);
    client
}

/// Its acquire is not answered, though what was asked later is.
fn assert_waiting(client: &Raw) {
    client.say(&Request::Status { request: 2 });
    assert!(matches!(client.reply(), Some(Reply::Status { request: 2, .. })));
}

fn denial(client: &Raw) -> Denial {
    match client.reply() {
        Some(Reply::Denied { request: 1, denial }) => denial,
        other => panic!("not denied: {other:?}"),
    }
}

fn release(client: &Raw, lease: LeaseId) {
    client.say(&Request::Release { lease });
}

/// The holder of the only slot.
fn hold(server: &Server) -> (Raw, RawLease) {
    let holder = Raw::connect(server.socket());
    let lease = holder.lease();
    (holder, lease)
}

#[test]
fn a_time_limit_ends_the_lease() {
    let server = with_pool(1, 1).start_warm();
    let baseline = Baseline::of(&server);
    let mut limited = LeaseOptions::new();
    limited.time_limit(Duration::from_millis(50));
    let lease = baseline.observer().acquire(&limited).unwrap();
    let ended = match lease.command("sleep").arg("infinity").spawn() {
        Ok(mut child) => soon("the end of the lease", move || child.wait().unwrap_err()),
        // On a busy machine it may be over before its command has started.
        Err(SpawnError::Lease(ended)) => ended,
        Err(other) => panic!("{other}"),
    };
    assert!(matches!(ended, LeaseError::Ended), "{ended}");
    wait_readable(lease.pidfd(), "the end of the environment");
    assert!(server.log().contains("has reached its time limit"), "{}", server.log());
    // The session goes on, and the slot is free.
    let next = baseline.observer().lease().unwrap();
    assert!(next.command("true").status().unwrap().success());
    drop((lease, next));
    baseline.assert_restored();
}

#[test]
fn a_time_limit_beyond_all_time_is_none() {
    let server = with_pool(1, 2).start_warm();
    let baseline = Baseline::of(&server);
    let mut limited = LeaseOptions::new();
    limited.time_limit(Duration::MAX);
    let lease = baseline.observer().acquire(&limited).unwrap();
    Echo::start(&lease).assert_answers();
    drop(lease);
    baseline.assert_restored();
}

#[test]
fn a_lease_that_is_released_in_time_is_not_ended_twice() {
    let server = with_pool(1, 1).start_warm();
    let mut limited = LeaseOptions::new();
    limited.time_limit(Duration::from_millis(20));
    let client = server.client();
    client.acquire(&limited).unwrap().release().unwrap();
    let next = client.lease().unwrap();
    let mut echo = Echo::start(&next);
    // Later than the first lease's limit, by the server's clock.
    let late = client.acquire(LeaseOptions::new().wait(Duration::from_millis(30))).unwrap_err();
    assert!(matches!(late, AcquireError::Denied(Denial::DeadlineExpired { wait_ms: 30 })));
    echo.assert_answers();
}

#[test]
fn a_waiter_whose_deadline_comes_first_is_told_so() {
    let server = with_pool(1, 1).start_warm();
    let (_holder, lease) = hold(&server);
    for wait_ms in [0, 1, 30] {
        let client = Raw::connect(server.socket());
        let acquire = Acquire { request: 1, wait_ms: Some(wait_ms), ..Acquire::default() };
        client.say(&Request::Acquire(acquire));
        assert_eq!(denial(&client), Denial::DeadlineExpired { wait_ms });
    }
    assert_eq!(server.pool().waiters, 0);
    assert_eq!(server.pool().leased, 1);
    drop(lease);
}

#[test]
fn waiters_are_served_in_the_order_of_their_arrival() {
    let server = with_pool(1, 1).start_warm();
    let baseline = Baseline::of(&server);
    let (mut holder, mut lease) = hold(&server);
    let mut waiters: Vec<Raw> = (0..5).map(|_| queued(&server)).collect();
    while !waiters.is_empty() {
        release(&holder, lease.granted.lease);
        let next = waiters.remove(0);
        lease = next.take_lease();
        for other in &waiters {
            let mut polled = [PollFd::new(other.as_fd(), PollFlags::POLLIN)];
            assert_eq!(poll(&mut polled, PollTimeout::ZERO), Ok(0), "served before its turn");
        }
        holder = next;
    }
    drop((holder, lease));
    baseline.assert_restored();
}

#[test]
fn a_waiter_that_hangs_up_gives_its_place_to_the_next() {
    let server = with_pool(1, 1).start_warm();
    let baseline = Baseline::of(&server);
    let (holder, lease) = hold(&server);
    let gone = queued(&server);
    let next = queued(&server);
    drop(gone);
    release(&holder, lease.granted.lease);
    let taken = next.take_lease();
    assert_eq!(server.pool().leased, 1);
    drop((holder, lease, next, taken));
    baseline.assert_restored();
}

#[test]
fn a_waiter_that_cancels_gives_its_place_to_the_next() {
    let server = with_pool(1, 1).start_warm();
    let baseline = Baseline::of(&server);
    let (holder, lease) = hold(&server);
    let first = queued(&server);
    let next = queued(&server);
    first.say(&Request::Cancel { request: 1 });
    assert_eq!(denial(&first), Denial::Cancelled);
    release(&holder, lease.granted.lease);
    let taken = next.take_lease();
    // Its session is still of use, and so is the number.
    first.say(&Request::Acquire(Acquire { request: 1, ..Acquire::default() }));
    assert_waiting(&first);
    drop((holder, lease, next, taken));
    drop(first.take_lease());
    drop(first);
    baseline.assert_restored();
}

#[test]
fn a_cancel_that_comes_too_late_changes_nothing() {
    let server = with_pool(1, 1).start_warm();
    let client = Raw::connect(server.socket());
    client.say(&Request::Acquire(Acquire { request: 1, ..Acquire::default() }));
    client.say(&Request::Cancel { request: 1 });
    client.say(&Request::Status { request: 2 });
    let (reply, _descriptors) = client.hear::<Reply>().unwrap();
    match reply {
        // Whichever came first; exactly one of them.
        Reply::Granted(_) => assert_eq!(server.pool().leased, 1),
        Reply::Denied { request: 1, denial: Denial::Cancelled } => wait_settled(&server, 0),
        other => panic!("{other:?}"),
    }
    assert!(matches!(client.reply(), Some(Reply::Status { request: 2, .. })));
}

#[test]
fn a_full_queue_is_said_to_be_full() {
    let server = with_pool(1, 1).config("waiters_max = 2\n").start_warm();
    let baseline = Baseline::of(&server);
    let (holder, lease) = hold(&server);
    let waiters = [queued(&server), queued(&server)];
    let surplus = Raw::connect(server.socket());
    surplus.say(&Request::Acquire(Acquire { request: 1, ..Acquire::default() }));
    assert_eq!(denial(&surplus), Denial::QueueFull { waiters: 2 });
    // Room again once one has left.
    let [first, second] = waiters;
    drop((first, surplus));
    let late = queued_eventually(&server);
    release(&holder, lease.granted.lease);
    let taken = second.take_lease();
    drop((holder, lease, second, taken));
    drop(late.take_lease());
    drop(late);
    baseline.assert_restored();
}

/// Queues once the server has noticed that there is room.
fn queued_eventually(server: &Server) -> Raw {
    zyg_tests::eventually("room in the queue", || (server.pool().waiters == 1).then_some(()));
    queued(server)
}

#[test]
fn a_wait_ends_on_time_while_mount_sources_are_being_opened() {
    let server = with_pool(1, 2).start_warm();
    let template = server.processes_named("zyg-template")[0];
    kill(template, Signal::SIGSTOP).unwrap();
    let mut shown = LeaseOptions::new();
    shown.bind("/usr/share", "/mnt").wait(Duration::from_millis(50));
    let client = server.client();
    let denied = soon("the end of the wait", move || client.acquire(&shown).unwrap_err());
    match denied {
        AcquireError::Denied(Denial::DeadlineExpired { wait_ms: 50 }) => {}
        other => panic!("{other}"),
    }
    kill(template, Signal::SIGCONT).unwrap();
    server.client().lease().unwrap();
}
