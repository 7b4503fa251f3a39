//! Several leases of one request.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;
use zyg_tests::{Server, Setup, eventually};
use zygote_client::{AcquireError, Client, Denial, Lease, LeaseOptions};

fn wait_nothing_leased(server: &Server) {
    eventually("nothing leased, nothing queued", || {
        let pools = server.client().status().unwrap().profiles;
        pools.iter().all(|pool| pool.leased + pool.waiters == 0).then_some(())
    });
}

fn print(lease: &Lease, script: &str) -> String {
    let output = lease.command("sh").args(["-c", script]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn many_are_had_at_once_each_for_itself() {
    const COUNT: u32 = 12;
    let server = Server::start();
    let client = server.client();
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("shared"), "in").unwrap();
    let mut options = LeaseOptions::new();
    options.cwd(directory.path()).ro_bind(directory.path(), "/tmp/in").hostname("one-of-many");
    let leases = client.acquire_many(&options, COUNT).unwrap();
    let ids: BTreeSet<_> = leases.iter().map(Lease::id).collect();
    assert_eq!((leases.len(), ids.len()), (COUNT as usize, COUNT as usize));
    assert_eq!(server.pool().leased, COUNT);
    let script = "test ! -e own && touch own /tmp/own && cat shared /tmp/in/shared && hostname";
    for lease in &leases {
        assert_eq!(print(lease, script), "ininone-of-many\n");
    }
    assert!(!directory.path().join("own").exists());
    for lease in leases {
        lease.release().unwrap();
    }
    wait_nothing_leased(&server);
}

#[test]
fn more_than_are_warm_are_built() {
    let config = "[profile.default.pool]\nmin = 2\nmax = 300\n";
    let server = Setup::default().config(config).start_warm();
    let leases = server.client().acquire_many(&LeaseOptions::new(), 200).unwrap();
    assert_eq!(leases.len(), 200);
    assert_eq!(print(leases.last().unwrap(), "cd /; echo ran"), "ran\n");
    drop(leases);
    wait_nothing_leased(&server);
}

/// The client holds none afterwards and can have all again.
fn assert_all_given_back(server: &Server, client: &Client, options: &LeaseOptions, all: u32) {
    wait_nothing_leased(server);
    assert_eq!(client.acquire_many(options, all).unwrap().len(), all as usize);
    wait_nothing_leased(server);
}

#[test]
fn none_are_had_where_not_all_are_in_time() {
    let config = "[profile.default.pool]\nmin = 1\nmax = 5\n";
    let server = Setup::default().config(config).start_warm();
    let client = server.client();
    let held = [client.lease().unwrap(), client.lease().unwrap()];
    let mut options = LeaseOptions::new();
    let error = client.acquire_many(options.wait(Duration::from_millis(300)), 5).unwrap_err();
    assert!(matches!(error, AcquireError::Denied(Denial::DeadlineExpired { .. })), "{error}");
    drop(held);
    assert_all_given_back(&server, &client, &LeaseOptions::new(), 5);
}

#[test]
fn more_than_there_may_ever_be_are_denied_at_once() {
    let config = "[profile.default.pool]\nmin = 1\nmax = 3\n";
    let server = Setup::default().config(config).start_warm();
    let client = server.client();
    let error = client.acquire_many(&LeaseOptions::new(), 4).unwrap_err();
    assert!(error.to_string().contains("pool.max is 3"), "{error}");
    assert_all_given_back(&server, &client, &LeaseOptions::new(), 3);
}

#[test]
fn none_are_had_where_the_quota_is_for_fewer() {
    let server = Setup::default().config("[profile.few]\nquota = { leases = 2 }\n").start();
    let client = server.client();
    let mut options = LeaseOptions::new();
    options.profile("few");
    let error = client.acquire_many(&options, 3).unwrap_err();
    assert!(matches!(error, AcquireError::Denied(Denial::QuotaExceeded { .. })), "{error}");
    assert_all_given_back(&server, &client, &options, 2);
}

#[test]
fn none_are_had_where_a_mount_is_refused() {
    let server = Server::start();
    let client = server.client();
    let mut options = LeaseOptions::new();
    let error = client.acquire_many(options.ro_bind("/no/such/thing", "/tmp/x"), 3).unwrap_err();
    assert!(matches!(error, AcquireError::Denied(Denial::MountRefused { .. })), "{error}");
    assert_all_given_back(&server, &client, &LeaseOptions::new(), 3);
}

#[test]
fn as_many_as_may_be_asked_for_are_denied_without_losing_the_session() {
    let config = "[profile.few]\nquota = { leases = 2 }\npool = { min = 0, max = 4096 }\n";
    let server = Setup::default().config(config).start();
    let client = server.client();
    let mut options = LeaseOptions::new();
    options.profile("few");
    let error = client.acquire_many(&options, 4096).unwrap_err();
    assert!(matches!(error, AcquireError::Denied(Denial::QuotaExceeded { .. })), "{error}");
    let options = LeaseOptions::new().profile("none").clone();
    let error = client.acquire_many(&options, 4096).unwrap_err();
    assert!(matches!(error, AcquireError::Denied(Denial::NoSuchProfile { .. })), "{error}");
    client.lease().unwrap();
}

#[test]
fn threads_have_many_each_while_others_have_one() {
    let config = "[profile.default.pool]\nmin = 4\nmax = 64\n";
    let server = Setup::default().config(config).start_warm();
    let client = server.client();
    std::thread::scope(|threads| {
        for thread in 0..4 {
            let client = &client;
            threads.spawn(move || {
                for turn in 0..4 {
                    let count = 1 + (thread + turn) % 5;
                    let many = client.acquire_many(&LeaseOptions::new(), count).unwrap();
                    assert_eq!(many.len(), count as usize);
                    let one = client.lease().unwrap();
                    for lease in many.iter().chain([&one]) {
                        assert_eq!(print(lease, "cd /; echo $PPID"), "1\n");
                    }
                }
            });
        }
    });
    wait_nothing_leased(&server);
}

#[test]
fn a_server_that_ends_in_the_middle_is_an_error() {
    let config = "[profile.default.pool]\nmin = 1\nmax = 2\n";
    let mut server = Setup::default().config(config).start_warm();
    let client = server.client();
    let _held = server.client().lease().unwrap();
    let waits = std::thread::spawn(move || client.acquire_many(&LeaseOptions::new(), 2));
    eventually("a waiter", || (server.pool().waiters == 2).then_some(()));
    server.signal(nix::sys::signal::Signal::SIGKILL);
    let error = waits.join().unwrap().unwrap_err();
    assert!(error.to_string().contains("closed the session"), "{error}");
    server.wait();
}
