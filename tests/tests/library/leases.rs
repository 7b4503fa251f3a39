//! Leases: several at a time, from several threads, and how they end.

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};
use zyg_tests::{Server, soon, wait_readable};
use zygote_client::{AcquireError, Denial, Lease, LeaseError, LeaseOptions, RunError, Stdio};

fn is_over(lease: &Lease) -> bool {
    let mut fds = [PollFd::new(lease.pidfd(), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::ZERO).unwrap() == 1
}

#[test]
fn several_threads_share_one_client() {
    let server = Server::start();
    let client = server.client();
    std::thread::scope(|threads| {
        for thread in 0..8 {
            let client = &client;
            threads.spawn(move || {
                for turn in 0..5 {
                    let lease = client.lease().unwrap();
                    let said = format!("{thread} {turn}\n");
                    let mut write = lease.command("sh");
                    let script = "test ! -e /tmp/said && cat > /tmp/said && cat /tmp/said";
                    write.args(["-c", script]).current_dir("/").stdin(Stdio::piped());
                    let mut child = write.stdout(Stdio::piped()).spawn().unwrap();
                    let mut input = child.stdin.take().unwrap();
                    std::io::Write::write_all(&mut input, said.as_bytes()).unwrap();
                    drop(input);
                    let output = child.wait_with_output().unwrap();
                    assert_eq!(String::from_utf8(output.stdout).unwrap(), said);
                }
            });
        }
    });
}

#[test]
fn several_threads_share_one_lease() {
    let server = Server::start();
    let lease = server.client().lease().unwrap();
    std::thread::scope(|threads| {
        for thread in 0..8 {
            let lease = &lease;
            threads.spawn(move || {
                for turn in 0..10 {
                    let code = (thread * 10 + turn) % 256;
                    let mut command = lease.command("sh");
                    let script = format!("echo {code}; exit {code}");
                    let output = command.args(["-c", &script]).current_dir("/").output().unwrap();
                    assert_eq!(output.status.code(), Some(code));
                    assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("{code}\n"));
                }
            });
        }
    });
}

#[test]
fn leases_at_a_time_do_not_disturb_each_other() {
    let server = Server::start();
    let client = server.client();
    let leases: Vec<_> = (0..6).map(|_| client.lease().unwrap()).collect();
    for (number, lease) in leases.iter().enumerate() {
        let script = format!("echo {number} > /tmp/number");
        assert!(
            lease.command("sh").args(["-c", &script]).current_dir("/").status().unwrap().success()
        );
    }
    for (number, lease) in leases.iter().enumerate() {
        let output = lease.command("cat").arg("/tmp/number").current_dir("/").output().unwrap();
        assert_eq!(output.stdout, format!("{number}\n").into_bytes());
    }
    let mut ids: Vec<_> = leases.iter().map(Lease::id).collect();
    ids.dedup();
    assert_eq!(ids.len(), 6);
}

#[test]
fn dropping_a_lease_ends_everything_in_it() {
    let server = Server::start();
    let lease = server.client().lease().unwrap();
    let mut command = lease.command("sh");
    let mut child = command
        .args(["-c", "trap '' TERM HUP INT; echo; while :; do read line <&3; done 3<&0"])
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    wait_readable(child.stdout.as_ref().unwrap(), "the command's start");
    let pidfd = lease.pidfd().try_clone_to_owned().unwrap();
    assert!(!is_over(&lease));
    drop(lease);
    wait_readable(&pidfd, "the end of the lease");
    assert!(matches!(child.wait(), Err(LeaseError::Ended)));
    assert!(matches!(child.try_wait(), Err(LeaseError::Ended)));
    assert!(matches!(child.wait_timeout(Duration::MAX), Err(LeaseError::Ended)));
    let error = child.wait_with_output().unwrap_err();
    assert!(matches!(&error, RunError::Lease(LeaseError::Ended)), "{error}");
    assert_eq!(std::io::Error::from(error).kind(), ErrorKind::ConnectionAborted);
}

#[test]
fn releasing_returns_when_nothing_is_left() {
    let server = Server::start();
    let lease = server.client().lease().unwrap();
    let mut command = lease.command("sh");
    command.args(["-c", "sleep 1000 & sleep 1000"]).current_dir("/");
    let child = command.spawn().unwrap();
    let pidfd = lease.pidfd().try_clone_to_owned().unwrap();
    lease.release().unwrap();
    let mut fds = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
    assert_eq!(poll(&mut fds, PollTimeout::ZERO), Ok(1));
    drop(child);
}

#[test]
fn a_lease_outlives_its_client() {
    let server = Server::start();
    let client = server.client();
    let lease = client.lease().unwrap();
    drop(client);
    assert!(lease.command("true").current_dir("/").status().unwrap().success());
}

#[test]
fn a_time_limit_ends_the_lease_and_whoever_waits() {
    let server = Server::start();
    let limit = Duration::from_millis(300);
    let start = Instant::now();
    let lease = server.client().acquire(LeaseOptions::new().time_limit(limit)).unwrap();
    let mut child = lease.command("sleep").arg("1000").current_dir("/").spawn().unwrap();
    let error = soon("the end of the wait", move || child.wait().unwrap_err());
    assert!(matches!(error, LeaseError::Ended), "{error}");
    assert!(start.elapsed() >= limit, "{:?}", start.elapsed());
    wait_readable(lease.pidfd(), "the end of the lease");
    let error = lease.command("true").current_dir("/").spawn().unwrap_err();
    assert_eq!(std::io::Error::from(error).kind(), ErrorKind::ConnectionAborted);
}

#[test]
fn a_wait_for_a_lease_ends_with_its_deadline() {
    let config = "[profile.default.pool]\nmin = 1\nmax = 1\n";
    let server = zyg_tests::Setup::default().config(config).start();
    let client = server.client();
    let held = client.lease().unwrap();
    let wait = Duration::from_millis(50);
    let error = client.acquire(LeaseOptions::new().wait(wait)).unwrap_err();
    assert!(
        matches!(error, AcquireError::Denied(Denial::DeadlineExpired { wait_ms: 50 })),
        "{error}"
    );
    // The control: once it is given back, the same request is served.
    drop(held);
    client.acquire(LeaseOptions::new().wait(zyg_tests::PATIENCE)).unwrap();
}
