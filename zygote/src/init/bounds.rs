//! Bounds on what the kernel counts for a user and not for an environment, so that one environment
//! cannot use up what is its user's everywhere.
//!
//! What is made in a user namespace counts there and in every one above it, there for whoever has
//! made the one below: in the end for the user that started the template, also where a zygote has a
//! uid of its own. Limits in `/proc/sys/user` hold for the writer's user namespace and all below it
//! (namespaces(7)), so a command that nests does not escape them.

use crate::failure::At;
use std::fs;
use std::io::ErrorKind;
use zyg_protocol::limits::COMMANDS_MAX;
use zyg_protocol::message::{Failure, Recipe, Step};

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
const CGROUP_NAMESPACES: &str = "/proc/sys/user/max_cgroup_namespaces";

/// Namespaces that a command may make in a user namespace of its own.
const NAMESPACES: [&str; 7] = [
    "/proc/sys/user/max_user_namespaces",
    "/proc/sys/user/max_pid_namespaces",
    "/proc/sys/user/max_mnt_namespaces",
    "/proc/sys/user/max_net_namespaces",
    "/proc/sys/user/max_ipc_namespaces",
    "/proc/sys/user/max_uts_namespaces",
    "/proc/sys/user/max_time_namespaces",
];

/// Instances of inotify that the host allows a user (inotify(7)): 128 by the kernel's own default.
const INOTIFY_OF_A_USER: &str = "/proc/sys/fs/inotify/max_user_instances";

/// And those of the environment.
const INOTIFY: &str = "/proc/sys/user/max_inotify_instances";

/// Sets them. Call where the zygote's own /proc is mounted.
pub(super) fn set(recipe: &Recipe) -> Result<(), Failure> {
    write(CGROUP_NAMESPACES, 0)?;
    if let Some(instances) = read(INOTIFY_OF_A_USER)? {
        write(INOTIFY, instances / 2)?;
    }
    if recipe.confinement.command_filters.is_empty() {
        NAMESPACES.into_iter().try_for_each(|path| write(path, NAMESPACES_MAX))?;
    }
    // Otherwise no command can make any: these filters forbid it.
    Ok(())
}

fn read(path: &str) -> Result<Option<u32>, Failure> {
    match fs::read_to_string(path) {
        // A kernel without it.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        result => Ok(result.at_subject(Step::DropPrivileges, path)?.trim().parse().ok()),
    }
}

fn write(path: &str, limit: u32) -> Result<(), Failure> {
    match fs::write(path, limit.to_string()) {
        // A kernel without it.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        result => result.at_subject(Step::DropPrivileges, path),
    }
}
