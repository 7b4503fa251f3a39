//! A server that is told to end grants no more, lets leases finish for as long as it was told, says
//! which it came to, and leaves nothing.

use crate::shared::{acquire, denial, held, only_root, wait_queued, with_pool};
use nix::sys::signal::Signal;
use std::process::Stdio;
use zyg_protocol::message::{Denial, Reply, Request};
use zyg_tests::{Echo, Raw, Server, connect_as, eventually, is_root, wait_readable};
use zygote_client::{Client, Lease};

/// How a server ends when every lease has finished by itself.
const FINISHED: i32 = 0;

/// How a server ends when leases were ended for it.
const LEASES_ENDED: i32 = 3;

/// A server with two leases, one of which has a command that answers.
fn leased(drain_timeout: &str) -> (Server, Client, [Lease; 2], Echo) {
    let server = with_pool(2, 3)
        .config(&format!("[server]\ndrain_timeout = \"{drain_timeout}\"\n"))
        .start_warm();
    let client = server.client();
    let leases = [client.lease().unwrap(), client.lease().unwrap()];
    let echo = Echo::start(&leases[0]);
    (server, client, leases, echo)
}

/// Waits until new leases are denied.
fn wait_draining(server: &Server) {
    let client = Raw::connect(server.socket());
    eventually("draining", || {
        client.say(&acquire(1));
        match client.reply() {
            Some(Reply::Denied { denial: Denial::Draining, .. }) => Some(()),
            Some(Reply::Granted(granted)) => {
                client.say(&Request::Release { lease: granted.lease });
                None
            }
            other => panic!("{other:?}"),
        }
    });
}

/// Waits for the end of a server, and that nothing is left.
fn assert_ends(mut server: Server, code: i32) {
    let census = server.census();
    assert_eq!(server.wait().code(), Some(code), "{}", server.log());
    census.assert_gone();
    assert!(!server.socket().exists());
}

#[test]
fn a_lease_in_force_finishes() {
    let (server, client, leases, mut echo) = leased("1h");
    server.signal(Signal::SIGTERM);
    wait_draining(&server);
    let counts = server.pool();
    assert_eq!((counts.leased, counts.spawning, counts.target), (2, 0, 0));
    eventually("the end of what was warm", || {
        (client.status().unwrap().profiles[0].warm == 0).then_some(())
    });
    echo.assert_answers();
    let [first, second] = leases;
    second.release().unwrap();
    // One is left, and a command can still be started in it.
    eventually("the other's end", || (server.pool().leased == 1).then_some(()));
    assert!(first.command("true").status().unwrap().success());
    echo.assert_answers();
    let census = server.census();
    drop((echo, first));
    assert_ends(server, 0);
    census.assert_gone();
}

#[test]
fn a_lease_that_outlasts_the_time_is_ended_and_that_is_told() {
    let (server, _client, leases, _echo) = leased("100ms");
    let pidfds = leases.each_ref().map(Lease::pidfd);
    let census = server.census();
    server.signal(Signal::SIGTERM);
    for pidfd in pidfds {
        wait_readable(pidfd, "the end of a lease");
    }
    assert!(server.log().contains("2 leases are ended"), "{}", server.log());
    assert_ends(server, LEASES_ENDED);
    census.assert_gone();
}

#[test]
fn a_second_signal_ends_all_at_once() {
    for second in [Signal::SIGTERM, Signal::SIGINT] {
        let (server, _client, _leases, mut echo) = leased("1h");
        let census = server.census();
        server.signal(Signal::SIGTERM);
        wait_draining(&server);
        echo.assert_answers();
        server.signal(second);
        assert_ends(server, LEASES_ENDED);
        census.assert_gone();
    }
}

#[test]
fn a_signal_while_it_drains_by_request_leaves_leases_their_time() {
    let (server, client, leases, mut echo) = leased("1h");
    let mut drain = server.zyg("drain").stderr(Stdio::null()).spawn().unwrap();
    wait_draining(&server);
    server.signal(Signal::SIGTERM);
    // It has been heard when a request that was sent after it is answered.
    drop(server.client().status().unwrap());
    echo.assert_answers();
    drop((echo, leases, client));
    assert_ends(server, FINISHED);
    assert!(drain.wait().unwrap().success());
}

#[test]
fn an_interrupt_ends_all_at_once() {
    let (server, _client, _leases, _echo) = leased("1h");
    let census = server.census();
    server.signal(Signal::SIGINT);
    assert_ends(server, LEASES_ENDED);
    census.assert_gone();
}

#[test]
fn without_a_lease_it_ends_at_once_and_well() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let server = with_pool(2, 3).config("[server]\ndrain_timeout = \"1h\"\n").start_warm();
        // Connected, but with nothing to finish.
        let client = Raw::connect(server.socket());
        let census = server.census();
        server.signal(signal);
        client.assert_closed::<Reply>();
        assert_ends(server, 0);
        census.assert_gone();
    }
}

#[test]
fn who_waits_is_denied() {
    let server = with_pool(1, 1).config("[server]\ndrain_timeout = \"1h\"\n").start_warm();
    let holder = Raw::connect(server.socket());
    let lease = holder.lease();
    let waiters: Vec<_> = (0..3).map(|_| Raw::connect(server.socket())).collect();
    for waiter in &waiters {
        waiter.say(&acquire(1));
    }
    wait_queued(&server, 3);
    server.signal(Signal::SIGTERM);
    for waiter in &waiters {
        assert_eq!(denial(waiter), Denial::Draining);
        // Of other matters it is still heard.
        waiter.say(&Request::Status { request: 2 });
        assert!(matches!(waiter.reply(), Some(Reply::Status { request: 2, .. })));
    }
    holder.say(&Request::Reserve { request: 3, profile: None, count: 1, ttl_ms: 1000 });
    assert_eq!(denial(&holder), Denial::Draining);
    holder.say(&Request::Release { lease: lease.granted.lease });
    assert_ends(server, 0);
}

#[test]
fn who_asks_to_drain_is_answered_after_the_last_lease() {
    let (server, client, leases, mut echo) = leased("1ms");
    let census = server.census();
    let drainer = Raw::connect(server.socket());
    drainer.say(&Request::Drain { request: 7, timeout_ms: None });
    wait_draining(&server);
    drainer.say(&Request::Status { request: 8 });
    // Not yet: what was asked later is answered first.
    assert!(matches!(drainer.reply(), Some(Reply::Status { request: 8, .. })));
    echo.assert_answers();
    drop((echo, leases, client));
    assert_eq!(drainer.reply(), Some(Reply::Drained { request: 7, ended: 0, stuck: 0 }));
    drainer.assert_closed::<Reply>();
    assert_ends(server, 0);
    census.assert_gone();
}

#[test]
fn of_two_who_ask_to_drain_the_shorter_time_holds_and_both_are_answered() {
    const DAY_MS: u64 = 24 * 60 * 60 * 1000;
    for times in [[None, Some(50)], [Some(50), Some(DAY_MS)], [Some(DAY_MS), Some(0)]] {
        let (server, _client, _leases, _echo) = leased("1h");
        let census = server.census();
        let drainers = [Raw::connect(server.socket()), Raw::connect(server.socket())];
        for (drainer, timeout_ms) in drainers.iter().zip(times) {
            drainer.say(&Request::Drain { request: 7, timeout_ms });
        }
        for drainer in &drainers {
            let drained = Reply::Drained { request: 7, ended: 2, stuck: 0 };
            assert_eq!(drainer.reply(), Some(drained), "{times:?}");
        }
        assert_ends(server, LEASES_ENDED);
        census.assert_gone();
    }
}

#[test]
fn a_drain_for_longer_than_a_day_is_refused() {
    let server = with_pool(1, 2).start_warm();
    let client = Raw::connect(server.socket());
    let day_ms = 24 * 60 * 60 * 1000;
    client.say(&Request::Drain { request: 1, timeout_ms: Some(day_ms + 1) });
    assert!(matches!(denial(&client), Denial::BadRequest { .. }));
    drop(client.lease());
}

#[test]
fn who_asked_to_drain_and_has_left_changes_nothing() {
    let (server, _client, leases, mut echo) = leased("1h");
    let drainer = Raw::connect(server.socket());
    drainer.say(&Request::Drain { request: 7, timeout_ms: None });
    wait_draining(&server);
    drop(drainer);
    echo.assert_answers();
    drop((echo, leases));
    assert_ends(server, 0);
}

#[test]
fn another_user_may_not_drain_a_server() {
    const STRANGER: u32 = 61_001;
    if !is_root() {
        return only_root();
    }
    let server = with_pool(1, 2).start_warm();
    let stranger = connect_as(STRANGER, server.socket());
    stranger.say(&Request::Drain { request: 1, timeout_ms: Some(0) });
    assert_eq!(denial(&stranger), Denial::NotYours { uid: STRANGER, serves: 0 });
    // It goes on, for both.
    drop(stranger.lease());
    drop(Raw::connect(server.socket()).lease());
    // The control: root may.
    let process = held(server.pid());
    let own = Raw::connect(server.socket());
    drop(stranger);
    own.say(&Request::Drain { request: 1, timeout_ms: Some(10_000) });
    assert!(matches!(own.reply(), Some(Reply::Drained { .. })));
    wait_readable(process, "the end of the server");
    assert_ends(server, 0);
}
