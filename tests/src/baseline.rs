//! How a server is when nothing goes on, to see that it is so again.

use crate::{Server, eventually};
use nix::unistd::Pid;
use std::fs;
use zygote_client::Client;

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
        wait_quiet(server, &observer);
        let descriptors = descriptors_held(server, &observer);
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
        wait_quiet(self.server, &self.observer);
        assert_eq!(
            descriptors_held(self.server, &self.observer),
            self.descriptors,
            "the server holds another number of descriptors than before:\n{}",
            self.server.log()
        );
    }
}

fn wait_quiet(server: &Server, observer: &Client) {
    server.wait_warm();
    eventually("the end of every other session", || {
        (observer.status().unwrap().sessions == 1).then_some(())
    });
}

/// The descriptors of a quiet server beside the three of each warm zygote (lifeline, channel and
/// pidfd), of which there may be more than before: a waiter that left may have had one built for it.
fn descriptors_held(server: &Server, observer: &Client) -> usize {
    let warm: u32 = observer.status().unwrap().profiles.iter().map(|pool| pool.warm).sum();
    descriptors_of(server.pid()) - 3 * warm as usize
}

/// How many descriptors a process has open (proc_pid_fd(5)).
#[must_use]
pub fn descriptors_of(pid: Pid) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}
