//! How a server is when nothing goes on, to see that it is so again.

use crate::{Server, eventually};
use nix::unistd::Pid;
use std::fs;
use zygote_client::{Client, PoolStatus};

/// A quiet moment of a server: its pool warm, nobody connected but the one who looks.
#[derive(Debug)]
pub struct Baseline<'a> {
    server: &'a Server,
    observer: Client,
    descriptors: usize,
}

impl<'a> Baseline<'a> {
    /// Waits until the server is quiet, and remembers what it holds then.
    #[must_use]
    pub fn of(server: &'a Server) -> Self {
        let observer = server.client();
        let descriptors = descriptors_when_quiet(server, &observer);
        Self { server, observer, descriptors }
    }

    /// The one session that stays open.
    #[must_use]
    pub fn observer(&self) -> &Client {
        &self.observer
    }

    /// Waits until the server is quiet again: it answers on the session that it had all along, its
    /// pool is warm, every other session is closed. It must then hold exactly as many descriptors
    /// as before, and still hand out environments that work.
    pub fn assert_restored(&self) {
        let lease = self.observer.lease().unwrap();
        assert!(lease.command("true").status().unwrap().success());
        lease.release().unwrap();
        assert_eq!(
            descriptors_when_quiet(self.server, &self.observer),
            self.descriptors,
            "the server holds another number of descriptors than before:\n{}",
            self.server.log()
        );
    }
}

/// Waits until nobody is connected but the observer, every pool is warm, and nothing is on its way.
/// Returns the descriptors that the server has then beside those of warm zygotes, of which there may be
/// more than before: a waiter that left may have had one built for it. Each has three (lifeline, channel
/// and pidfd), and where it is used again two of a pipe.
fn descriptors_when_quiet(server: &Server, observer: &Client) -> usize {
    let settled = |pool: &PoolStatus| {
        let moving = pool.leased + pool.spawning + pool.dying + pool.waiters;
        moving == 0 && pool.warm >= pool.target
    };
    let warm = eventually("a quiet server", || {
        let status = observer.status().unwrap();
        let quiet = status.sessions == 1 && status.profiles.iter().all(settled);
        let each = |pool: &PoolStatus| if server.uses_again(&pool.name) { 5 } else { 3 };
        quiet.then(|| status.profiles.iter().map(|it| each(it) * it.warm as usize).sum::<usize>())
    });
    descriptors_of(server.pid()) - warm
}

/// How many descriptors a process has open (proc_pid_fd(5)).
#[must_use]
pub fn descriptors_of(pid: Pid) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}
