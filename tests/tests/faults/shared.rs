//! What the faults have in common: small pools, and commands that run for ever.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use zyg_tests::{Server, Setup, eventually};
use zygote_client::{Child, Lease, Stdio};

/// A server whose default pool has these bounds, not warm yet.
pub fn with_pool(min: u32, max: u32) -> Setup {
    Setup::default()
        .config(&format!("[profile.default.pool]\nmin = {min}\nmax = {max}\nlearn = false\n"))
}

/// A command that runs until its environment ends, without a stream of ours.
pub fn run_forever(lease: &Lease) -> Child {
    let mut sleep = lease.command("sleep");
    sleep.arg("infinity").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    sleep.spawn().unwrap()
}

/// The number, in this process's pid namespace, of the process behind a pidfd (its fdinfo,
/// pidfd_open(2)).
pub fn pid_behind(pidfd: BorrowedFd<'_>) -> Pid {
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd())).unwrap();
    let line = info.lines().find_map(|line| line.strip_prefix("Pid:")).unwrap();
    Pid::from_raw(line.trim().parse().unwrap())
}

/// Sends a signal to a process, and returns a pidfd of it taken before.
pub fn signal(pid: Pid, signal: Signal) -> OwnedFd {
    let pidfd = zygote::process_descriptor(pid).unwrap();
    kill(pid, signal).unwrap();
    pidfd
}

/// The template that was started last, as the log has it: a zygote that was born in this moment has a
/// template's name as well.
pub fn template(server: &Server) -> Pid {
    eventually("a template", || {
        let log = server.log();
        let number =
            |line: &str| line.split_once(" template ")?.1.split_once(" starts for")?.0.parse().ok();
        let started = Pid::from_raw(log.lines().rev().find_map(number)?);
        server.processes_named("zyg-template").contains(&started).then_some(started)
    })
}

/// Waits until that many leases are out and nothing is on its way.
pub fn wait_settled(server: &Server, leased: u32) {
    eventually("a settled pool", || {
        let pool = server.pool();
        let settled = pool.spawning + pool.dying + pool.waiters == 0;
        (settled && pool.leased == leased && pool.warm >= pool.target).then_some(())
    });
}
