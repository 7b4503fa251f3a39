//! Namespaces: each alone, then all that a zygote is cloned into.

use super::child::Held;
use super::{Doing, Done, Trouble};
use crate::failure::At;
use crate::sys::process;
use crate::template::write_id_maps;
use nix::mount::{MsFlags, mount};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getegid, geteuid};
use std::fs;
use std::os::fd::AsFd;
use zyg_protocol::message::{Failure, Step};

/// Enters a user namespace as a template does.
pub(super) fn enter_user() -> Result<(), Failure> {
    let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
    unshare(CloneFlags::CLONE_NEWUSER).at(Step::UserNamespace)?;
    write_id_maps((uid, gid), (uid, gid))
}

/// Enters a mount namespace too, cut off from the one outside.
pub(super) fn enter_mount() -> Result<(), Failure> {
    enter_user()?;
    unshare(CloneFlags::CLONE_NEWNS).at(Step::MountNamespace)?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
        .at(Step::PrivateTree)
}

pub(super) fn user() -> Done {
    let ids = [geteuid().as_raw(), getegid().as_raw()];
    enter_user()?;
    for (file, id) in ["/proc/self/uid_map", "/proc/self/gid_map"].iter().zip(ids) {
        let map = fs::read_to_string(file).doing(&format!("read {file}"))?;
        let id = id.to_string();
        if !map.split_whitespace().eq([id.as_str(), id.as_str(), "1"]) {
            return Err(Trouble::plain(format!("{file} is not as it was written: {map:?}")));
        }
    }
    Ok(format!("uid {} and gid {} mapped to themselves", ids[0], ids[1]))
}

pub(super) fn other(kind: &str) -> Done {
    let (flag, link) = match kind {
        "mnt" => (CloneFlags::CLONE_NEWNS, "mnt"),
        // The caller itself stays; its children are born there (pid_namespaces(7)).
        "pid" => (CloneFlags::CLONE_NEWPID, "pid_for_children"),
        "net" => (CloneFlags::CLONE_NEWNET, "net"),
        "ipc" => (CloneFlags::CLONE_NEWIPC, "ipc"),
        "uts" => (CloneFlags::CLONE_NEWUTS, "uts"),
        _ => (CloneFlags::CLONE_NEWCGROUP, "cgroup"),
    };
    enter_user()?;
    let link = format!("/proc/self/ns/{link}");
    // A pid namespace without a process yet cannot be read.
    let before = fs::read_link(&link).ok();
    unshare(flag).doing(&format!("create a {kind} namespace"))?;
    let after = fs::read_link(&link).ok();
    if kind != "pid" && (after.is_none() || after == before) {
        return Err(Trouble::plain(format!("{link} is the same as before")));
    }
    Ok("created".to_owned())
}

/// All at once, as zygotes are made; held, seen alive, killed and seen dead by pidfd.
pub(super) fn zygote_clone() -> Done {
    enter_mount()?;
    unshare(CloneFlags::CLONE_NEWNET).at(Step::NetNamespace)?;
    let held = Held::start(|| process::clone_zygote(false), "clone a zygote")?;
    let mut fds = [PollFd::new(held.pidfd.as_fd(), PollFlags::POLLIN)];
    if poll(&mut fds, PollTimeout::ZERO).doing("poll a pidfd")? != 0 {
        return Err(Trouble::plain("a living process is reported dead by its pidfd"));
    }
    process::kill(held.pidfd.as_fd()).doing("kill by pidfd")?;
    held.wait_killed()?;
    Ok("born, killed and seen dead by its pidfd".to_owned())
}
