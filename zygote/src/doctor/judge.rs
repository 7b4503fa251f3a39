//! From a failed step and the facts to the layer that forbids it and what to change. Pure.
//!
//! The layers are asked in the order in which the kernel asks them, as far as that is known: a layer
//! that is named must be mended in any case, even if another one lies behind it.

use super::{Facts, Outcome, Step, mend};
use serde::Serialize;
use std::fmt;

/// The oldest kernel that zyg runs on.
pub(super) const KERNEL_MIN: (u32, u32) = (5, 15);

/// What forbids a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layer {
    /// The kernel is too old.
    KernelVersion,
    /// The kernel was built without it.
    KernelConfig,
    /// A sysctl forbids it.
    Sysctl,
    /// AppArmor forbids it.
    Apparmor,
    /// SELinux, or another security module than AppArmor, forbids it.
    Lsm,
    /// A system call filter forbids it: a container's or a service's.
    Seccomp,
    /// The process has changed its root directory.
    Chroot,
    /// Parts of /proc are covered.
    MaskedProc,
    /// Parts of /sys are covered.
    MaskedSys,
    /// A mount lies where it is in the way.
    Mounts,
    /// A resource limit.
    Limit,
    /// The control groups are not mounted or not delegated.
    Cgroup,
    /// The user namespace around us, or the lack of privilege in it.
    OuterNamespace,
    /// `no_new_privs` keeps programs from gaining privileges.
    NoNewPrivs,
    /// A program or a file is missing.
    Missing,
    /// zyg's own service.
    Service,
    /// It cannot be told.
    Unknown,
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::KernelVersion => "kernel-version",
            Self::KernelConfig => "kernel-config",
            Self::Sysctl => "sysctl",
            Self::Apparmor => "apparmor",
            Self::Lsm => "lsm",
            Self::Seccomp => "seccomp",
            Self::Chroot => "chroot",
            Self::MaskedProc => "masked-proc",
            Self::MaskedSys => "masked-sys",
            Self::Mounts => "mounts",
            Self::Limit => "limit",
            Self::Cgroup => "cgroup",
            Self::OuterNamespace => "outer-namespace",
            Self::NoNewPrivs => "no-new-privs",
            Self::Missing => "missing",
            Self::Service => "service",
            Self::Unknown => "unknown",
        })
    }
}

/// Why a step does not work, and what to change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// What forbids it.
    pub layer: Layer,
    /// The layer's own reason, in words; empty where the error says all.
    pub why: String,
    /// What to change, as exactly as can be told.
    pub fix: String,
}

impl Cause {
    pub(super) fn new(layer: Layer, why: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { layer, why: why.into(), fix: fix.into() }
    }
}

/// The error of a failed step, as the kernel reported it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Symptom {
    pub step: Step,
    /// 0 where there is none.
    pub errno: i32,
    /// The signal that ended the step's process; 0 where none did.
    pub signal: i32,
}

/// What forbids a step that has failed.
#[must_use]
pub fn judge(outcome: &Outcome, facts: &Facts) -> Cause {
    let Outcome { step, errno, signal, within, .. } = *outcome;
    if step == Step::OtherUsers {
        // What fails there fails without root's privilege.
        let facts = Facts { admin: false, ..facts.clone() };
        return diagnose(Symptom { step: within.unwrap_or(step), errno, signal }, &facts);
    }
    diagnose(Symptom { step: within.unwrap_or(step), errno, signal }, facts)
}

pub(crate) fn diagnose(symptom: Symptom, facts: &Facts) -> Cause {
    let Symptom { step, errno, signal } = symptom;
    match errno {
        _ if signal == libc::SIGSYS => return mend::seccomp(facts),
        libc::EMFILE | libc::ENFILE => return mend::descriptors(facts),
        libc::ETOOMANYREFS => return mend::descriptors_in_flight(),
        libc::ENOSYS => return absent(step, facts),
        _ => {}
    }
    match step {
        Step::Kernel if facts.version().is_some_and(|version| version < KERNEL_MIN) => {
            mend::old_kernel(facts, KERNEL_MIN)
        }
        Step::UserNamespace => user_namespace(errno, facts),
        Step::MountNamespace
        | Step::PidNamespace
        | Step::NetworkNamespace
        | Step::IpcNamespace
        | Step::UtsNamespace
        | Step::CgroupNamespace => namespace(step, errno, facts),
        Step::ZygoteClone => clone(errno, facts),
        Step::PrivateTree | Step::Tmpfs | Step::ReadOnlyBind | Step::Devpts => {
            mount(step, errno, facts)
        }
        Step::OverlayHome | Step::OverlayCwd => overlay(errno, facts),
        Step::OverlayRecreate => recreate(errno, facts),
        Step::Proc => proc(errno, facts),
        Step::Sysfs => sysfs(errno, facts),
        Step::Loopback => generic(errno, facts),
        Step::LowPorts => low_ports(errno, facts),
        Step::NoNewPrivs | Step::Seccomp => confinement(step, errno, facts),
        Step::CgroupV2 => mend::cgroup_not_mounted(),
        Step::CgroupControllers => mend::controllers(facts),
        Step::CgroupChild | Step::CgroupBirth | Step::CgroupKill => cgroup(errno, facts),
        Step::Descriptors => mend::descriptors(facts),
        Step::Processes => mend::processes(facts),
        Step::NamespaceLimits => namespace_limits(facts),
        Step::SubordinateIds => mend::subordinate_ids(facts),
        Step::Newuidmap => mend::newuidmap(errno),
        Step::IdMapRange => id_map_range(errno, facts),
        Step::Server => mend::server(errno),
        Step::OtherUsers => mend::not_all_ids(facts),
        Step::Kernel | Step::Zygote => mend::unknown(),
    }
}

/// The call does not exist: never built, or hidden by a filter that denies what it does not know, as
/// Docker's does.
fn absent(step: Step, facts: &Facts) -> Cause {
    match config(step) {
        _ if facts.version().is_some_and(|version| version < KERNEL_MIN) => {
            mend::old_kernel(facts, KERNEL_MIN)
        }
        _ if facts.filtered => mend::seccomp(facts),
        Some(option) => mend::config(option),
        None => mend::unknown(),
    }
}

/// The kernel's option for what a step needs.
fn config(step: Step) -> Option<&'static str> {
    Some(match step {
        Step::UserNamespace => "CONFIG_USER_NS=y",
        Step::PidNamespace => "CONFIG_PID_NS=y",
        Step::NetworkNamespace | Step::Loopback | Step::LowPorts => "CONFIG_NET_NS=y",
        Step::IpcNamespace => "CONFIG_IPC_NS=y",
        Step::UtsNamespace => "CONFIG_UTS_NS=y",
        Step::CgroupNamespace | Step::CgroupBirth => "CONFIG_CGROUPS=y",
        Step::Tmpfs => "CONFIG_TMPFS=y",
        Step::OverlayHome | Step::OverlayCwd | Step::OverlayRecreate => "CONFIG_OVERLAY_FS=y",
        Step::Proc => "CONFIG_PROC_FS=y",
        Step::Devpts => "CONFIG_UNIX98_PTYS=y",
        Step::Sysfs => "CONFIG_SYSFS=y",
        Step::Seccomp => "CONFIG_SECCOMP_FILTER=y",
        Step::ZygoteClone => "CONFIG_NAMESPACES=y",
        _ => return None,
    })
}

fn user_namespace(errno: i32, facts: &Facts) -> Cause {
    match errno {
        libc::EPERM if facts.chroot => mend::chroot(),
        libc::EPERM if facts.unprivileged_userns_clone == Some(0) && !facts.admin => {
            mend::sysctl("kernel.unprivileged_userns_clone", "0", "set it to 1", "1")
        }
        libc::ENOSPC => exhausted(&["user"], facts),
        libc::EUSERS => mend::nested_too_deeply(),
        libc::EINVAL => mend::config("CONFIG_USER_NS=y"),
        _ => generic(errno, facts),
    }
}

fn namespace(step: Step, errno: i32, facts: &Facts) -> Cause {
    let kind = match step {
        Step::PidNamespace => "pid",
        Step::NetworkNamespace => "net",
        Step::IpcNamespace => "ipc",
        Step::UtsNamespace => "uts",
        Step::CgroupNamespace => "cgroup",
        _ => "mnt",
    };
    match (errno, config(step)) {
        (libc::ENOSPC, _) => exhausted(&[kind], facts),
        (libc::EINVAL, Some(option)) => mend::config(option),
        _ => generic(errno, facts),
    }
}

fn clone(errno: i32, facts: &Facts) -> Cause {
    match errno {
        libc::ENOSPC => exhausted(&super::facts::CLONED, facts),
        libc::EAGAIN => mend::processes(facts),
        _ => user_namespace(errno, facts),
    }
}

/// A namespace limit: the first of these kinds that is 0, else all of them.
fn exhausted(kinds: &[&str], facts: &Facts) -> Cause {
    let forbidden = kinds.iter().find(|kind| facts.namespaces_max.get(**kind) == Some(&0));
    match forbidden {
        Some(kind) => mend::no_namespaces(kind, facts),
        None => mend::few_namespaces(kinds, facts),
    }
}

fn namespace_limits(facts: &Facts) -> Cause {
    let limits = facts.namespaces_max.iter();
    let few = limits.filter(|(_, max)| **max < super::facts::NAMESPACES_MIN);
    let kinds: Vec<&str> = few.map(|(kind, _)| kind.as_str()).collect();
    if facts.namespaces_max.is_empty() {
        mend::masked_proc(facts)
    } else {
        exhausted(&kinds, facts)
    }
}

fn mount(step: Step, errno: i32, facts: &Facts) -> Cause {
    match (errno, config(step)) {
        (libc::ENODEV, Some(option)) => mend::config(option),
        (libc::ENOSPC, _) => mend::mounts_max(),
        _ => generic(errno, facts),
    }
}

fn overlay(errno: i32, facts: &Facts) -> Cause {
    match errno {
        libc::ENODEV => mend::no_overlay(),
        libc::EINVAL | libc::ELOOP => mend::locked_mounts(),
        _ => generic(errno, facts),
    }
}

/// The kernel's tmpfs has user xattrs since Linux 6.6.
fn recreate(errno: i32, facts: &Facts) -> Cause {
    match errno {
        libc::ENODEV => mend::no_overlay(),
        libc::EPERM | libc::EACCES => generic(errno, facts),
        _ if facts.version().is_some_and(|version| version < (6, 6)) => mend::old_tmpfs(facts),
        _ => mend::config("CONFIG_TMPFS_XATTR=y"),
    }
}

fn proc(errno: i32, facts: &Facts) -> Cause {
    match errno {
        libc::EPERM if !facts.covered_proc.is_empty() => mend::masked_proc(facts),
        libc::ENODEV => mend::config("CONFIG_PROC_FS=y"),
        // The template's own is of a pid namespace that is made for it.
        libc::ENOSPC => exhausted(&["pid"], facts),
        libc::EAGAIN => mend::processes(facts),
        _ => generic(errno, facts),
    }
}

fn sysfs(errno: i32, facts: &Facts) -> Cause {
    match errno {
        libc::EPERM => mend::masked_sys(facts),
        libc::ENODEV => mend::config("CONFIG_SYSFS=y"),
        _ => generic(errno, facts),
    }
}

fn low_ports(errno: i32, facts: &Facts) -> Cause {
    match errno {
        libc::EROFS | libc::ENOENT | libc::EACCES | libc::EPERM
            if !facts.covered_proc.is_empty() =>
        {
            mend::masked_proc(facts)
        }
        _ => generic(errno, facts),
    }
}

fn confinement(step: Step, errno: i32, facts: &Facts) -> Cause {
    match (errno, config(step)) {
        (libc::EINVAL, Some(option)) => mend::config(option),
        _ => generic(errno, facts),
    }
}

fn cgroup(errno: i32, facts: &Facts) -> Cause {
    match errno {
        libc::EAGAIN => mend::cgroup_full(),
        _ => mend::not_delegated(facts),
    }
}

fn id_map_range(errno: i32, facts: &Facts) -> Cause {
    if facts.no_new_privs {
        mend::no_new_privs()
    } else if !facts.outermost {
        mend::not_all_ids(facts)
    } else {
        generic(errno, facts)
    }
}

/// A refusal that is no rule of the step's own. A security module refuses with `EACCES`, a filter
/// with `EPERM` in the main.
fn generic(errno: i32, facts: &Facts) -> Cause {
    let label = facts.apparmor.as_deref();
    // The profile that Ubuntu puts a process into that makes a user namespace without one.
    let stripped = label.is_some_and(|label| label.starts_with("unprivileged_userns "));
    let restricted = facts.apparmor_restricts && label == Some("unconfined") && !facts.admin;
    let confined = label.filter(|label| label.ends_with("(enforce)"));
    match (errno, confined) {
        (libc::EACCES | libc::EPERM, _) if restricted || stripped => {
            mend::apparmor_restricts(facts)
        }
        (libc::EACCES, Some(label)) => mend::apparmor_profile(label, facts),
        (libc::EACCES, None) if facts.selinux => mend::selinux(),
        (libc::EPERM, _) if facts.filtered => mend::seccomp(facts),
        (libc::EPERM, Some(label)) => mend::apparmor_profile(label, facts),
        (libc::EPERM, None) if facts.selinux => mend::selinux(),
        (libc::EPERM | libc::EACCES, _) => mend::unknown_refusal(),
        _ => mend::unknown(),
    }
}
