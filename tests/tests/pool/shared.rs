//! What these tests have in common: pools of a known size, configurations that change, and sums over
//! all rows of a status.

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use zyg_protocol::message::{Acquire, Denial, Reply, Request};
use zyg_tests::{Raw, Server, Setup, eventually};
use zygote_client::{Lease, PoolStatus, Status};

/// The TOML of a default profile whose pool has these bounds, and learns nothing.
pub fn pool(min: u32, max: u32) -> String {
    format!("[profile.default.pool]\nmin = {min}\nmax = {max}\nlearn = false\n")
}

/// A server whose default pool has these bounds, not warm yet.
pub fn with_pool(min: u32, max: u32) -> Setup {
    Setup::default().config(&pool(min, max))
}

/// Has a server read another configuration, and waits until it has judged it.
pub fn reload(server: &Server, toml: &str) {
    let judged = || server.log().matches("reloaded").count();
    let before = judged();
    fs::write(server.directory().join("zyg.toml"), toml).unwrap();
    server.signal(Signal::SIGHUP);
    eventually("another configuration", || (judged() > before).then_some(()));
}

/// The name of the host that a lease is in.
pub fn hostname(lease: &Lease) -> String {
    let output = lease.command("uname").arg("-n").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// The one template.
pub fn template(server: &Server) -> Pid {
    eventually("one template", || match server.processes_named("zyg-template")[..] {
        [template] => Some(template),
        _ => None,
    })
}

/// A pidfd, taken while the process is there.
pub fn held(pid: Pid) -> OwnedFd {
    zygote::process_descriptor(pid).unwrap()
}

/// A process that stands still for as long as this is held.
pub struct Stopped(Pid);

impl Stopped {
    pub fn stop(pid: Pid) -> Self {
        kill(pid, Signal::SIGSTOP).unwrap();
        Self(pid)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        // One that was given up is gone.
        let _ = kill(self.0, Signal::SIGCONT);
    }
}

/// All zygotes that a pool pays for.
pub fn paid_for(pool: &PoolStatus) -> u32 {
    pool.warm + pool.leased + pool.spawning + pool.dying + pool.quarantined
}

pub fn sum(status: &Status, of: impl Fn(&PoolStatus) -> u32) -> u32 {
    status.profiles.iter().map(of).sum()
}

/// An acquire of nothing in particular.
pub fn acquire(request: u64) -> Request {
    Request::Acquire(Acquire { request, ..Acquire::default() })
}

/// So many of them, each for itself, numbered from 1.
pub fn say_acquires(client: &Raw, count: u32) {
    for request in 1..=u64::from(count) {
        client.say(&acquire(request));
    }
}

/// As many at once, which are had together or not at all, numbered from 1.
pub fn acquire_many(count: u32) -> Request {
    Request::AcquireMany { acquire: Acquire { request: 1, ..Acquire::default() }, count }
}

/// The next reply must be a denial.
pub fn denial(client: &Raw) -> Denial {
    match client.reply() {
        Some(Reply::Denied { denial, .. }) => denial,
        other => panic!("not denied: {other:?}"),
    }
}

/// Whether something was said to it.
pub fn has_heard(client: &Raw) -> bool {
    let mut polled = [PollFd::new(client.as_fd(), PollFlags::POLLIN)];
    poll(&mut polled, PollTimeout::ZERO) == Ok(1)
}

/// Waits until that many acquires are queued, over all pools.
pub fn wait_queued(server: &Server, waiters: u32) {
    let client = server.client();
    eventually("the queue", || {
        let queued = sum(&client.status().unwrap(), |pool| pool.waiters);
        (queued == waiters).then_some(())
    });
}

/// Says why a test shows nothing to an ordinary user, and never can.
pub fn only_root() {
    eprintln!("NOT SHOWN: it takes root, for only a server of root's serves other users");
}
