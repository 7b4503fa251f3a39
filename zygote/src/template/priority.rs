//! At which priority zygotes are made: while nobody waits for one, at the lowest, so that making them
//! slows no command.
//!
//! A zygote must not stay there, and a nice value cannot be taken back (getpriority(2)). That of a
//! session can, where the kernel weighs whole sessions against each other (sched(7), "The autogroup
//! feature"): a zygote begins in the template's session, and ends in one of its own. Without autogroups,
//! or in a cgroup with a CPU controller, which takes their place, the template works at the priority of
//! any other process.

use crate::sys::process::weigh_session;
use nix::errno::Errno;
use std::time::{Duration, Instant};

/// The lowest priority, and that of any other process.
const LOWEST: i32 = 19;
const USUAL: i32 = 0;

/// How long the template stays at the usual priority after a zygote that somebody waited for: others
/// are likely to follow. The kernel also takes no more than one change in 100 ms.
const URGENT: Duration = Duration::from_millis(250);

/// The priority of the template's session.
#[derive(Debug, Default)]
pub(super) struct Priority {
    low: bool,
    urgent_at: Option<Instant>,
    /// Whether the kernel has none to change.
    refused: bool,
}

impl Priority {
    /// Takes on the priority at which the next zygote is to be made.
    pub fn suit(&mut self, urgent: bool) {
        let now = Instant::now();
        if urgent {
            self.urgent_at = Some(now);
        }
        let recent = self.urgent_at.is_some_and(|at| now.duration_since(at) < URGENT);
        let low = !urgent && !recent;
        if low == self.low || self.refused {
            return;
        }
        match weigh_session(if low { LOWEST } else { USUAL }) {
            Ok(()) => self.low = low,
            // Too soon after another change: with the next zygote, then.
            Err(Errno::EAGAIN) => {}
            Err(errno) => {
                self.refused = true;
                log::info!("environments are made at the usual priority: {errno}");
            }
        }
    }
}
