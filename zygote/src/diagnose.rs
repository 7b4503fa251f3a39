//! From a failed step to what forbids it and what to change.

use std::fs;
use zyg_protocol::message::{Failure, Step};

/// The failure in words, with the layer that forbids it and the mend where that can be told.
pub(crate) fn advice(failure: &Failure) -> String {
    match cause(failure) {
        Some(cause) => format!("{failure} ({cause})"),
        None => failure.to_string(),
    }
}

fn cause(failure: &Failure) -> Option<String> {
    match (failure.step, failure.errno) {
        (Step::UserNamespace | Step::Clone, libc::EPERM) => Some(user_namespaces_forbidden()),
        (Step::UserNamespace | Step::Clone | Step::MountNamespace, libc::ENOSPC) => {
            Some(namespaces_exhausted(&["user", "pid", "mnt", "ipc", "uts", "cgroup"]))
        }
        (Step::NetNamespace, libc::ENOSPC) => Some(namespaces_exhausted(&["net"])),
        (Step::IdMaps, libc::EPERM | libc::EACCES)
        | (Step::PrivateTree | Step::MountNamespace, libc::EPERM | libc::EACCES)
            if knob("kernel/apparmor_restrict_unprivileged_userns") == Some(1) =>
        {
            Some(APPARMOR.to_owned())
        }
        (Step::Proc, libc::EPERM) => Some(
            "the kernel allows a new /proc only where one is fully visible: in a container, start \
             it with --security-opt systempaths=unconfined"
                .to_owned(),
        ),
        (Step::Clone, libc::EAGAIN) => Some(
            "the process limit is reached: raise ulimit -u, TasksMax= or the pids cgroup's limit"
                .to_owned(),
        ),
        (_, libc::EMFILE | libc::ENFILE) => {
            Some("the descriptor limit is reached: raise ulimit -n or LimitNOFILE=".to_owned())
        }
        _ => None,
    }
}

const APPARMOR: &str = "AppArmor forbids it: install zyg's AppArmor profile, or sysctl \
                        kernel.apparmor_restrict_unprivileged_userns=0";

/// Which layer forbids user namespaces. In the order in which the kernel asks them.
fn user_namespaces_forbidden() -> String {
    if knob("kernel/unprivileged_userns_clone") == Some(0) {
        return "sysctl kernel.unprivileged_userns_clone is 0: set it to 1".to_owned();
    }
    if knob("kernel/apparmor_restrict_unprivileged_userns") == Some(1) {
        return APPARMOR.to_owned();
    }
    if fs::metadata("/.dockerenv").is_ok() || fs::metadata("/run/.containerenv").is_ok() {
        return "the container's seccomp filter forbids it: start the container with \
                --security-opt seccomp=unconfined, or with a profile that allows clone and unshare"
            .to_owned();
    }
    "a seccomp filter, a chroot or a security module forbids it: see whether `unshare -U true` \
     works outside"
        .to_owned()
}

fn namespaces_exhausted(kinds: &[&str]) -> String {
    for kind in kinds {
        if knob(&format!("user/max_{kind}_namespaces")) == Some(0) {
            return format!("sysctl user.max_{kind}_namespaces is 0: raise it");
        }
    }
    let names: Vec<String> =
        kinds.iter().map(|kind| format!("user.max_{kind}_namespaces")).collect();
    format!("a namespace limit is reached: raise sysctl {}", names.join(", "))
}

fn knob(name: &str) -> Option<i64> {
    fs::read_to_string(format!("/proc/sys/{name}")).ok()?.trim().parse().ok()
}
