//! Bounds on what the kernel counts for a user and not for an environment, so that one environment
//! cannot use up what is its user's everywhere.
//!
//! What is made in a user namespace counts there and in every one above it, there for whoever has
//! made the one below: in the end for the user that started the template, also where a zygote has a
//! uid of its own. Limits in `/proc/sys/user` hold for the writer's user namespace and all below it
//! (namespaces(7)), so a command that nests does not escape them.

use crate::failure::{At, failure};
use crate::sys::file::tell_at;
use libc::RLIMIT_NOFILE;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use std::ffi::CStr;
use std::fs;
use std::io::ErrorKind;
use std::os::fd::{AsFd, OwnedFd};
use zyg_protocol::limits::COMMANDS_MAX;
use zyg_protocol::message::{Failure, Recipe, Rlimit, Step};

/// Pseudo-terminals of one environment: one for each command that init may run at once. All that
/// are not the host's own share 3,072 (`kernel.pty.max` less `kernel.pty.reserve`, ptys(7)).
pub(super) const TERMINALS_MAX: usize = COMMANDS_MAX;

/// Namespaces of one kind that an environment may have nested in it. A browser makes some tens; a
/// user may have as many as a quarter of the processes that fit into memory (96,365 of each kind on
/// a machine of 24 GiB).
const NAMESPACES_MAX: u32 = 1024;

/// A command that makes itself a user namespace has every capability in that, and with a cgroup
/// namespace of its own it could mount the host's cgroup tree, where files are checked by kernel
/// uid: one write to `cgroup.kill` ends what is outside.
const CGROUP_NAMESPACES: &CStr = c"max_cgroup_namespaces";

/// Namespaces that a command may make in a user namespace of its own.
const NAMESPACES: [&CStr; 7] = [
    c"max_user_namespaces",
    c"max_pid_namespaces",
    c"max_mnt_namespaces",
    c"max_net_namespaces",
    c"max_ipc_namespaces",
    c"max_uts_namespaces",
    c"max_time_namespaces",
];

/// What the host allows a user of inotify (inotify(7)), and those of the environment: instances, 128
/// by the kernel's own default, and watches.
const INOTIFY: [(&str, &CStr); 2] = [
    ("/proc/sys/fs/inotify/max_user_instances", c"max_inotify_instances"),
    ("/proc/sys/fs/inotify/max_user_watches", c"max_inotify_watches"),
];

/// Where these are. It is opened once, since the way to each takes as long as the write.
const LIMITS: &CStr = c"/proc/sys/user";

/// Descriptors of a user's that his commands leave free for what hands his leases over.
const ROOM_MAX: u64 = 1024;

/// Descriptors in one message (`SCM_MAX_FD`, unix(7)). Whether more may be sent is asked before they
/// are counted, so a sender gets so far beyond its limit.
const MESSAGE: u64 = 253;

/// What the host allows a user of inotify when the template is made, for [`set`]; `None` where the
/// kernel does not say.
pub(crate) type Inotify = [Option<u32>; INOTIFY.len()];

/// Reads it.
pub(crate) fn inotify_of_a_user() -> Result<Inotify, Failure> {
    let read_one = |path: &str| match fs::read_to_string(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        read => Ok(read.at_subject(Step::DropPrivileges, path)?.trim().parse().ok()),
    };
    let [(instances, _), (watches, _)] = INOTIFY;
    Ok([read_one(instances)?, read_one(watches)?])
}

/// Sets them. Call where the zygote's own /proc is mounted.
pub(super) fn set(recipe: &Recipe, inotify_of_a_user: Inotify) -> Result<(), Failure> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let limits = open(LIMITS, flags, Mode::empty());
    let limits = limits.at_subject(Step::DropPrivileges, LIMITS.to_bytes())?;
    limit(&limits, CGROUP_NAMESPACES, 0)?;
    for ((_, name), of_a_user) in INOTIFY.into_iter().zip(inotify_of_a_user) {
        if let Some(most) = of_a_user {
            limit(&limits, name, most / 2)?;
        }
    }
    if recipe.confinement.command_filters.is_empty() {
        NAMESPACES.into_iter().try_for_each(|name| limit(&limits, name, NAMESPACES_MAX))?;
    }
    // Otherwise no command can make any: these filters forbid it.
    Ok(())
}

/// The descriptor limit of commands, where the server was started with this one, soft and hard;
/// `None` where it is to be inherited.
///
/// Descriptors on their way over Unix sockets count for each kernel uid, and nobody may send more
/// while there are more than his own soft limit (`ETOOMANYREFS`, unix(7)). Server, template and init
/// work at the hard one, and commands below it, so that one that sends as many as it can does not keep
/// its user's leases from being handed over.
pub(super) fn descriptors((soft, hard): (u64, u64)) -> Option<Rlimit> {
    if hard == 0 {
        return None;
    }
    let room = (hard / 4).min(ROOM_MAX);
    // Where one message exceeds the room, it is no use and would only be missed.
    let hard = if room > MESSAGE { hard - room } else { hard };
    Some(Rlimit { resource: RLIMIT_NOFILE, soft: soft.min(hard), hard })
}

fn limit(limits: &OwnedFd, name: &CStr, limit: u32) -> Result<(), Failure> {
    match tell_at(limits.as_fd(), name, limit.to_string().as_bytes()) {
        // A kernel without it.
        Err(Errno::ENOENT) => Ok(()),
        told => told.map_err(|errno| {
            let path = [LIMITS.to_bytes(), b"/", name.to_bytes()].concat();
            failure(Step::DropPrivileges, &path, errno)
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(soft: u64, hard: u64) -> (u64, u64) {
        let limit = descriptors((soft, hard)).unwrap();
        assert_eq!(limit.resource, RLIMIT_NOFILE);
        (limit.soft, limit.hard)
    }

    #[test]
    fn a_command_that_sends_all_it_can_leaves_room() {
        assert_eq!(of(1024, 1_048_576), (1024, 1_047_552));
        assert_eq!(of(524_288, 524_288), (523_264, 523_264));
        assert_eq!(of(1024, 4096), (1024, 3072));
        for hard in 1016..10_000 {
            assert!(of(hard, hard).1 + MESSAGE < hard, "{hard}");
        }
    }

    #[test]
    fn a_limit_that_has_no_room_to_spare_is_kept() {
        for hard in [1, 16, 300, 1015] {
            assert_eq!(of(hard, hard), (hard, hard));
        }
        assert_eq!(descriptors((0, 0)), None);
    }
}
