//! A server that is told to stop ends everything, says so to whoever waits, and leaves with the code
//! that says whether leases were ended for it.

use crate::shared::{run_forever, template, with_pool};
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::{self, File};
use std::process::{Command, Stdio};
use zyg_tests::{Census, Server, eventually, soon, wait_readable, zyg_binary};
use zygote_client::{AcquireError, Client, Denial, LeaseError};

fn stops_on(signal: Signal) {
    let at_once = "[server]\ndrain_timeout = \"0s\"\n";
    let mut server = with_pool(2, 3).config(at_once).start_warm();
    let client = server.client();
    let leases: Vec<_> = (0..3).map(|_| client.lease().unwrap()).collect();
    let children: Vec<_> = leases.iter().map(run_forever).collect();
    let waiting = server.client();
    let waiter = std::thread::spawn(move || waiting.lease().unwrap_err());
    eventually("a waiter", || (server.pool().waiters == 1).then_some(()));
    let census = server.census();
    server.signal(signal);
    assert_eq!(server.wait().code(), Some(3), "{}", server.log());
    census.assert_gone();
    assert!(!server.socket().exists());
    let refused = soon("the acquire", move || waiter.join().unwrap());
    assert!(matches!(refused, AcquireError::Denied(Denial::Draining)), "{refused}");
    for mut child in children {
        let error = soon("the wait", move || child.wait().unwrap_err());
        assert!(matches!(error, LeaseError::Ended), "{error}");
    }
    assert_nothing_in_its_directory(&server);
}

/// Nothing but what the test itself has put there.
fn assert_nothing_in_its_directory(server: &Server) {
    let mut names: Vec<_> = fs::read_dir(server.directory())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["log", "zyg.toml"]);
}

#[test]
fn by_sigterm() {
    stops_on(Signal::SIGTERM);
}

#[test]
fn by_sigint() {
    stops_on(Signal::SIGINT);
}

#[test]
fn twice_is_once() {
    let mut server = with_pool(2, 3).start_warm();
    let census = server.census();
    let template = template(&server);
    // So that it cannot be gone before the second signal comes.
    kill(template, Signal::SIGSTOP).unwrap();
    server.signal(Signal::SIGTERM);
    eventually("the stop", || (!server.socket().exists()).then_some(()));
    server.signal(Signal::SIGTERM);
    kill(template, Signal::SIGCONT).unwrap();
    assert_eq!(server.wait().code(), Some(0), "{}", server.log());
    census.assert_gone();
}

#[test]
fn a_private_server_leaves_though_its_directory_is_gone() {
    let directory = tempfile::Builder::new().prefix("zyg-test-").tempdir().unwrap();
    let socket = directory.path().join("s.sock");
    let mut serve = Command::new(zyg_binary());
    serve.args(["serve", "--private", "--idle-exit-ms", "20", "--socket"]).arg(&socket);
    serve.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let lock = directory.path().join("lock");
    // Held as by a client that looks for a server: it stays until somebody is in.
    let looking = Flock::lock(File::create(&lock).unwrap(), FlockArg::LockExclusive).unwrap();
    assert!(serve.status().unwrap().success());
    let client = eventually("listening", || Client::connect(&socket).ok());
    let server = Pid::from_raw(client.status().unwrap().pid as i32);
    drop(looking);
    drop(client.lease().unwrap());
    let census = Census::below(server);
    assert!(!census.is_empty());
    let ended = zygote::process_descriptor(server).unwrap();
    fs::remove_dir_all(directory.path()).unwrap();
    drop(client);
    wait_readable(ended, "the end of the server");
    census.assert_gone();
}
