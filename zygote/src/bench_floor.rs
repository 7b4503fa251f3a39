//! What an environment cannot be cheaper than: the same clone, and nothing in it. For `zyg bench`.
//!
//! The caller must have one thread, as for every clone of this crate.

use crate::sys::process::{Cloned, clone_zygote, exit_now};
use nix::errno::Errno;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use nix::sys::wait::waitpid;
use std::time::{Duration, Instant};

/// What clones have cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spent {
    /// Time on the clock.
    pub wall: Duration,
    /// CPU time of the caller and of what it has cloned, until each was reaped.
    pub cpu: Duration,
}

/// Clones a process into the namespaces that a zygote has, which exits at once, and reaps it;
/// `count` times in a row. `network` says whether each has a network namespace of its own as well.
///
/// # Errors
/// Those of clone3(2), such as `ENOSPC` at a namespace limit, and of waitpid(2).
pub fn clone_and_exit(network: bool, count: u32) -> Result<Spent, Errno> {
    let (cpu, start) = (cpu()?, Instant::now());
    for _ in 0..count {
        match clone_zygote(network)? {
            Cloned::Child => exit_now(0),
            Cloned::Parent { pid, .. } => waitpid(pid, None).map(drop)?,
        }
    }
    Ok(Spent { wall: start.elapsed(), cpu: self::cpu()?.saturating_sub(cpu) })
}

fn cpu() -> Result<Duration, Errno> {
    let mut micros = 0;
    for who in [UsageWho::RUSAGE_SELF, UsageWho::RUSAGE_CHILDREN] {
        let usage = getrusage(who)?;
        micros += usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    }
    Ok(Duration::from_micros(micros as u64))
}
