//! `zyg drain`: the orderly end of a server, and what its exit codes say.

use nix::sys::signal::Signal;
use std::process::{Child, Command, Output, Stdio};
use zyg_protocol::message::{Reply, Request};
use zyg_tests::{Raw, Server, Setup, connect_as, eventually, is_root, wait_readable};
use zygote_client::{AcquireError, Client, Denial};

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn piped(mut command: Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Waits until the server grants no more.
fn wait_draining(client: &Client) {
    eventually("a draining server", || match client.lease() {
        Err(AcquireError::Denied(Denial::Draining)) => Some(()),
        Err(error) => panic!("{error}"),
        Ok(_granted_before) => None,
    });
}

fn assert_drained(mut server: Server, output: &Output, code: i32) {
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    assert!(output.stdout.is_empty() && text(&output.stderr).lines().count() == 1, "{output:?}");
    let census = server.census();
    assert_eq!(server.wait().code(), Some(code), "the server says the same");
    census.assert_gone();
    assert!(!server.socket().exists(), "it has left its socket");
}

#[test]
fn a_server_without_leases_ends_at_once() {
    let server = Server::start();
    let output = server.zyg("drain").output().unwrap();
    assert!(text(&output.stderr).contains("finished by itself"), "{output:?}");
    assert_drained(server, &output, 0);
}

#[test]
fn leases_in_force_finish_and_no_new_ones_are_granted() {
    let server = Server::start();
    let client = server.client();
    let lease = client.lease().unwrap();
    let mut run = server.zyg("run");
    run.args(["--", "cat"]).stdin(Stdio::piped());
    let mut run = piped(run);
    eventually("two leases", || (server.pool().leased == 2).then_some(()));
    let mut drain = piped(server.zyg("drain"));
    wait_draining(&client);
    // Whoever has one may go on with it.
    assert!(lease.command("true").current_dir("/").status().unwrap().success());
    assert!(drain.try_wait().unwrap().is_none(), "it waits for the leases");
    lease.release().unwrap();
    drop(run.stdin.take());
    assert!(run.wait_with_output().unwrap().status.success());
    let output = drain.wait_with_output().unwrap();
    assert_drained(server, &output, 0);
}

#[test]
fn leases_that_outlast_the_timeout_are_ended_and_counted() {
    let server = Server::start();
    let client = server.client();
    let leases = [client.lease().unwrap(), client.lease().unwrap()];
    let output = server.zyg("drain").args(["--timeout", "100ms"]).output().unwrap();
    for lease in &leases {
        wait_readable(lease.pidfd(), "the end of the lease");
    }
    assert!(text(&output.stderr).contains("2 leases"), "{output:?}");
    assert_drained(server, &output, 3);
}

#[test]
fn the_json_counts_what_happened() {
    let mut server = Server::start();
    let _lease = server.client().lease().unwrap();
    let output = server.zyg("drain").args(["--json", "--timeout", "0"]).output().unwrap();
    assert_eq!(text(&output.stdout), "{\"ended\":1,\"stuck\":0,\"version\":1}\n");
    assert_eq!(output.status.code(), Some(3));
    server.wait();
}

#[test]
fn a_server_that_is_told_to_stop_says_the_same() {
    for (timeout, code) in [("100ms", 3), ("1h", 0)] {
        let config = format!("[server]\ndrain_timeout = \"{timeout}\"\n");
        let mut server = Setup::default().config(&config).start_warm();
        let client = server.client();
        let lease = client.lease().unwrap();
        server.signal(Signal::SIGTERM);
        match code {
            0 => wait_draining(&client),
            _ => wait_readable(lease.pidfd(), "the end of the lease"),
        }
        drop(lease);
        assert_eq!(server.wait().code(), Some(code));
    }
}

#[test]
fn all_who_drain_are_told() {
    let mut server = Server::start();
    let lease = server.client().lease().unwrap();
    let drainers = [Raw::connect(server.socket()), Raw::connect(server.socket())];
    for drainer in &drainers {
        drainer.say(&Request::Drain { request: 1, timeout_ms: None });
        // Answered in turn: the drain has been heard.
        drainer.say(&Request::Status { request: 2 });
        assert!(matches!(drainer.reply(), Some(Reply::Status { request: 2, .. })));
    }
    drop(lease);
    for drainer in &drainers {
        let drained = Reply::Drained { request: 1, ended: 0, stuck: 0 };
        assert_eq!(drainer.reply(), Some(drained));
    }
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn another_user_may_not_drain_the_server_of_all() {
    if !is_root() {
        eprintln!("NOT SHOWN: it takes root, for only a server of root's serves other users");
        return;
    }
    const STRANGER: u32 = 54_321;
    let server = Server::start();
    let stranger = connect_as(STRANGER, server.socket());
    stranger.say(&Request::Drain { request: 1, timeout_ms: Some(0) });
    let Some(Reply::Denied { request: 1, denial }) = stranger.reply() else { panic!("no denial") };
    assert_eq!(denial, Denial::NotYours { uid: STRANGER, serves: 0 });
    server.client().lease().expect("it goes on");
}
