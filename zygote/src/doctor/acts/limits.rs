//! Limits that are there before zyg starts: not by reaching them, but by reading them.

use super::{Doing, Done, Trouble};
use crate::doctor::facts::{NAMESPACES_MIN, namespaces_max};
use crate::doctor::mountinfo;
use nix::errno::Errno;
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};
use std::fs;
use zyg_protocol::limits::DESCRIPTORS_MAX;

/// Descriptors of a server itself: standard streams, events, signals, listener, templates, and as
/// many as can be in flight in one message.
const SERVER_DESCRIPTORS: u64 = 16 + DESCRIPTORS_MAX as u64;

/// Descriptors of the server's for each zygote: lifeline, channel, pidfd.
const ZYGOTE_DESCRIPTORS: u64 = 3;

/// Zygotes that a pool keeps warm unless it is told otherwise.
const ZYGOTES_MIN: u64 = 4;

/// Processes of one environment that does something, and a server with a pool beside it.
const PROCESSES_MIN: u64 = 256;

pub(super) fn descriptors() -> Done {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).doing("read the descriptor limit")?;
    let zygotes = hard.saturating_sub(SERVER_DESCRIPTORS) / ZYGOTE_DESCRIPTORS;
    let detail = format!("soft {}, hard {}: {zygotes} zygotes", shown(soft), shown(hard));
    if zygotes < ZYGOTES_MIN {
        return Err(Trouble::with_errno(Errno::EMFILE, detail));
    }
    Ok(detail)
}

pub(super) fn processes() -> Done {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NPROC).doing("read the process limit")?;
    let mut least = soft;
    let mut detail = format!("soft {}, hard {}", shown(soft), shown(hard));
    if let Some(max) = pids_max() {
        detail.push_str(&format!(", cgroup {max}"));
        least = least.min(max);
    }
    if least < PROCESSES_MIN {
        return Err(Trouble::with_errno(Errno::EAGAIN, detail));
    }
    Ok(detail)
}

/// The limit of our own cgroup; those above it may be lower.
fn pids_max() -> Option<u64> {
    let mounts = mountinfo::parse(&fs::read_to_string("/proc/self/mountinfo").ok()?);
    let own = mountinfo::own_cgroup(&fs::read_to_string("/proc/self/cgroup").ok()?, &mounts)?;
    fs::read_to_string(own.join("pids.max")).ok()?.trim().parse().ok()
}

pub(super) fn namespaces() -> Done {
    let limits = namespaces_max();
    let shown: Vec<String> = limits.iter().map(|(kind, max)| format!("{kind} {max}")).collect();
    let detail = shown.join(", ");
    match limits.values().min() {
        None => Err(Trouble::with_errno(Errno::ENOENT, "/proc/sys/user cannot be read")),
        Some(least) if *least < NAMESPACES_MIN => Err(Trouble::with_errno(Errno::ENOSPC, detail)),
        Some(_) => Ok(detail),
    }
}

fn shown(limit: u64) -> String {
    if limit == RLIM_INFINITY { "unlimited".to_owned() } else { limit.to_string() }
}
