//! The server is killed outright, at each step of the hand-over.

use crate::shared::{run_forever, template, with_pool};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::os::unix::ffi::OsStrExt;
use std::process::{Command, Stdio};
use zyg_protocol::message::{Acquire, Bytes, Reply, Request};
use zyg_tests::{Raw, Server, eventually, soon, wait_readable, zyg_binary};
use zygote_client::{AcquireError, Client, LeaseError, RequestError, RunError, SessionError};

/// Kills the server and waits until all that it had started is gone, but for what `afterwards`
/// still has to let go.
fn kill_server(server: &mut Server, afterwards: impl FnOnce()) {
    let census = server.census();
    assert!(!census.is_empty());
    server.signal(Signal::SIGKILL);
    server.wait();
    afterwards();
    census.assert_gone();
}

/// Starts another server at the socket that is left over, uses it, and stops it.
fn assert_replaceable(server: &Server) {
    assert!(server.socket().exists(), "a killed server cannot remove its socket");
    let mut serve = Command::new(zyg_binary());
    serve.arg("serve").arg("--socket").arg(server.socket());
    serve.arg("--config").arg(server.directory().join("zyg.toml"));
    serve.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut successor = serve.spawn().unwrap();
    let client = eventually("listening", || Client::connect(server.socket()).ok());
    let lease = client.lease().unwrap();
    assert!(lease.command("true").status().unwrap().success());
    lease.release().unwrap();
    kill(Pid::from_raw(successor.id() as i32), Signal::SIGTERM).unwrap();
    assert!(successor.wait().unwrap().success());
    assert!(!server.socket().exists());
}

fn assert_session_closed(error: &AcquireError) {
    let closed = AcquireError::Request(RequestError::Session(SessionError::Closed)).to_string();
    assert_eq!(error.to_string(), closed);
}

#[test]
fn before_an_acquire() {
    let mut server = with_pool(1, 2).start_warm();
    let client = server.client();
    client.status().unwrap();
    kill_server(&mut server, || {});
    let refused = soon("the acquire", move || client.lease().unwrap_err());
    assert_session_closed(&refused);
    assert_replaceable(&server);
}

#[test]
fn while_an_acquire_waits_in_the_queue() {
    let mut server = with_pool(1, 1).start_warm();
    let holder = server.client().lease().unwrap();
    let client = server.client();
    let waiter = std::thread::spawn(move || client.lease().unwrap_err());
    eventually("a waiter", || (server.pool().waiters == 1).then_some(()));
    kill_server(&mut server, || {});
    let refused = soon("the acquire", move || waiter.join().unwrap());
    assert_session_closed(&refused);
    drop(holder);
    assert_replaceable(&server);
}

#[test]
fn while_the_mounts_of_an_acquire_are_opened() {
    let mut server = with_pool(1, 1).start_warm();
    let template = template(&server);
    kill(template, Signal::SIGSTOP).unwrap();
    let client = Raw::connect(server.socket());
    let cwd = Some(Bytes::from(server.directory().as_os_str().as_bytes()));
    client.say(&Request::Acquire(Acquire { request: 1, cwd, ..Acquire::default() }));
    // Answered in order: the acquire has been taken up by then.
    client.say(&Request::Status { request: 2 });
    assert!(matches!(client.reply(), Some(Reply::Status { .. })));
    // What is stopped notices nothing until it goes on.
    kill_server(&mut server, || kill(template, Signal::SIGCONT).unwrap());
    assert_eq!(client.reply(), None);
    assert_replaceable(&server);
}

#[test]
fn between_the_grant_and_the_command() {
    let mut server = with_pool(1, 2).start_warm();
    let client = server.client();
    let lease = client.lease().unwrap();
    kill_server(&mut server, || {});
    let (lease, refused) = soon("the command", move || {
        let refused = lease.command("true").status().unwrap_err();
        (lease, refused)
    });
    assert_eq!(refused.to_string(), LeaseError::Ended.to_string());
    soon("the release", move || lease.release().unwrap());
    assert_replaceable(&server);
}

#[test]
fn while_a_command_runs() {
    let mut server = with_pool(1, 2).start_warm();
    let lease = server.client().lease().unwrap();
    let mut child = run_forever(&lease);
    let waiter = std::thread::spawn(move || child.wait().unwrap_err());
    kill_server(&mut server, || {});
    let error = soon("the wait", move || waiter.join().unwrap());
    assert!(matches!(error, LeaseError::Ended), "{error}");
    soon("the release", move || lease.release().unwrap());
    assert_replaceable(&server);
}

#[test]
fn after_a_command_has_ended() {
    let mut server = with_pool(1, 2).start_warm();
    let lease = server.client().lease().unwrap();
    assert!(lease.command("true").status().unwrap().success());
    kill_server(&mut server, || {});
    wait_readable(lease.pidfd(), "the end of the environment");
    let refused = soon("another command", move || lease.command("true").status().unwrap_err());
    assert!(matches!(refused, RunError::Lease(_)), "{refused}");
    assert_eq!(refused.to_string(), LeaseError::Ended.to_string());
    assert_replaceable(&server);
}

#[test]
fn while_twenty_leases_run_at_once() {
    let mut server = with_pool(4, 20).start_warm();
    let client = server.client();
    let leases: Vec<_> = (0..20).map(|_| client.lease().unwrap()).collect();
    let children: Vec<_> = leases.iter().map(run_forever).collect();
    assert_eq!(server.pool().leased, 20);
    kill_server(&mut server, || {});
    for mut child in children {
        let error = soon("the wait", move || child.wait().unwrap_err());
        assert!(matches!(error, LeaseError::Ended), "{error}");
    }
    for lease in leases {
        soon("the release", move || lease.release().unwrap());
    }
    assert_replaceable(&server);
}

#[test]
fn zyg_run_says_so_and_returns_125() {
    let mut server = with_pool(1, 1).start_warm();
    let mut run = server.zyg("run");
    run.args(["--", "sh", "-c", "echo up; exec sleep infinity"]);
    let mut run = run.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait_readable(run.stdout.as_ref().unwrap(), "the command's output");
    kill_server(&mut server, || {});
    let output = soon("the end of zyg run", move || {
        let status = run.wait().unwrap();
        (status, std::io::read_to_string(run.stderr.take().unwrap()).unwrap())
    });
    assert_eq!(output.0.code(), Some(125), "{}", output.1);
    assert!(output.1.contains("the server ended the lease"), "{}", output.1);
}

#[test]
fn a_stopped_template_ends_with_its_server() {
    let mut server = with_pool(2, 3).start_warm();
    let census = server.census();
    assert!(census.len() >= 3, "a template and its zygotes");
    kill(template(&server), Signal::SIGSTOP).unwrap();
    server.signal(Signal::SIGKILL);
    server.wait();
    census.assert_gone();
}
