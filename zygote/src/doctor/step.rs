//! The steps by name: what each is for, whether zyg can do without it, and what must work first.

use serde::{Deserialize, Serialize};
use zyg_protocol::message::{Failure, Step as Wire};

/// One thing that is done for real.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the table below says what each one is")]
pub enum Step {
    Kernel,
    UserNamespace,
    MountNamespace,
    PidNamespace,
    NetworkNamespace,
    IpcNamespace,
    UtsNamespace,
    CgroupNamespace,
    PrivateTree,
    Tmpfs,
    ReadOnlyBind,
    OverlayHome,
    OverlayCwd,
    OverlayRecreate,
    ZygoteClone,
    Proc,
    Devpts,
    Sysfs,
    Loopback,
    LowPorts,
    NoNewPrivs,
    Seccomp,
    CgroupV2,
    CgroupControllers,
    CgroupChild,
    CgroupBirth,
    CgroupKill,
    Descriptors,
    Processes,
    NamespaceLimits,
    SubordinateIds,
    Newuidmap,
    IdMapRange,
    Server,
    Zygote,
    OtherUsers,
}

/// What is known of a step.
struct Row {
    step: Step,
    name: &'static str,
    title: &'static str,
    required: bool,
    needs: &'static [Step],
}

const fn must(step: Step, name: &'static str, title: &'static str, needs: &'static [Step]) -> Row {
    Row { step, name, title, required: true, needs }
}

const fn may(step: Step, name: &'static str, title: &'static str, needs: &'static [Step]) -> Row {
    Row { step, name, title, required: false, needs }
}

use Step::*;

/// All steps, in the order in which a zygote needs them. [`Step`]'s order too.
const TABLE: [Row; 36] = [
    must(Kernel, "kernel", "Linux 5.15 or later", &[]),
    must(UserNamespace, "user-namespace", "a user namespace with its id maps written", &[]),
    must(MountNamespace, "mount-namespace", "a mount namespace", &[UserNamespace]),
    must(PidNamespace, "pid-namespace", "a pid namespace", &[UserNamespace]),
    must(NetworkNamespace, "network-namespace", "a network namespace", &[UserNamespace]),
    must(IpcNamespace, "ipc-namespace", "an ipc namespace", &[UserNamespace]),
    must(UtsNamespace, "uts-namespace", "a uts namespace, for host names", &[UserNamespace]),
    must(CgroupNamespace, "cgroup-namespace", "a cgroup namespace", &[UserNamespace]),
    must(PrivateTree, "private-tree", "a mount tree cut off from the host's", &[MountNamespace]),
    must(Tmpfs, "tmpfs", "private files in memory", &[PrivateTree]),
    must(ReadOnlyBind, "read-only-bind", "the host's files shown read-only, recursively", &[Tmpfs]),
    may(OverlayHome, "overlay-home", "a private layer over the home directory", &[Tmpfs]),
    may(OverlayCwd, "overlay-cwd", "a private layer over the working directory", &[Tmpfs]),
    may(OverlayRecreate, "overlay-recreate", "a deleted directory made again in a layer", &[Tmpfs]),
    must(
        ZygoteClone,
        "zygote-clone",
        "all namespaces in one clone, held and killed by pidfd",
        &[PrivateTree, PidNamespace, NetworkNamespace, IpcNamespace, UtsNamespace, CgroupNamespace],
    ),
    must(Proc, "proc", "a fresh /proc in a pid namespace", &[ZygoteClone]),
    must(Devpts, "devpts", "terminals of its own", &[ZygoteClone, Tmpfs]),
    may(Sysfs, "sysfs", "a /sys without the host's network devices", &[NetworkNamespace, Tmpfs]),
    must(Loopback, "loopback", "the loopback device up", &[NetworkNamespace]),
    must(LowPorts, "low-ports", "ports below 1024 free to bind", &[Loopback]),
    must(NoNewPrivs, "no-new-privs", "no privileges by executing", &[]),
    must(Seccomp, "seccomp", "a system call filter", &[]),
    may(CgroupV2, "cgroup-v2", "a cgroup of the unified hierarchy", &[]),
    may(
        CgroupControllers,
        "cgroup-controllers",
        "limits on memory, processes and CPU",
        &[CgroupV2],
    ),
    may(CgroupChild, "cgroup-child", "a cgroup made and removed", &[CgroupV2]),
    may(CgroupBirth, "cgroup-birth", "a process born in a cgroup", &[CgroupChild]),
    may(CgroupKill, "cgroup-kill", "a cgroup killed as a whole", &[CgroupChild]),
    must(Descriptors, "descriptors", "enough descriptors", &[]),
    may(Processes, "processes", "enough processes", &[]),
    may(NamespaceLimits, "namespace-limits", "enough namespaces for a full pool", &[]),
    may(SubordinateIds, "subordinate-ids", "a range of ids in /etc/subuid and /etc/subgid", &[]),
    may(Newuidmap, "newuidmap", "newuidmap and newgidmap, with their privilege", &[]),
    may(
        IdMapRange,
        "id-map-range",
        "a range of ids mapped",
        &[UserNamespace, SubordinateIds, Newuidmap],
    ),
    may(Server, "server", "a server that answers", &[]),
    must(
        Zygote,
        "zygote",
        "a whole environment, and `true` run in it",
        &[Kernel, ReadOnlyBind, Proc, Devpts, LowPorts, NoNewPrivs, Seccomp, Descriptors],
    ),
    may(
        OtherUsers,
        "other-users",
        "an environment for another user, by the system service",
        &[Zygote],
    ),
];

impl Step {
    /// All of them, in the order in which a zygote needs them.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(|row| row.step)
    }

    /// The step of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        TABLE.iter().find(|row| row.name == name).map(|row| row.step)
    }

    /// Its name, as in JSON and on the command line; never changes its meaning.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// What works if it works.
    #[must_use]
    pub fn title(self) -> &'static str {
        self.row().title
    }

    /// Whether zyg can do nothing without it.
    #[must_use]
    pub fn required(self) -> bool {
        self.row().required
    }

    /// What must work for this to mean anything; what that needs is not repeated here.
    #[must_use]
    pub fn needs(self) -> &'static [Self] {
        self.row().needs
    }

    fn row(self) -> &'static Row {
        &TABLE[self as usize]
    }

    /// The step that a template's or an init's failed one amounts to, if it is one of these.
    pub(crate) fn of_failure(failure: &Failure) -> Option<Self> {
        Some(match failure.step {
            Wire::NetNamespace if !failure.subject.is_empty() => LowPorts,
            Wire::UserNamespace | Wire::IdMaps => UserNamespace,
            Wire::MountNamespace => MountNamespace,
            Wire::PrivateTree => PrivateTree,
            Wire::Root | Wire::Scratch => Tmpfs,
            Wire::HostDirectory | Wire::Dev | Wire::OpenTree | Wire::AttachMount => ReadOnlyBind,
            Wire::Home | Wire::Layer => OverlayHome,
            Wire::Sys => Sysfs,
            Wire::Proc => Proc,
            Wire::Devpts => Devpts,
            Wire::NetNamespace => NetworkNamespace,
            Wire::Loopback => Loopback,
            Wire::Clone => ZygoteClone,
            Wire::DropPrivileges => NoNewPrivs,
            Wire::Filter => Seccomp,
            Wire::BecomeUser => OtherUsers,
            _ => return None,
        })
    }
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_steps() {
        for (index, row) in TABLE.iter().enumerate() {
            assert_eq!(row.step as usize, index, "{}", row.name);
        }
    }

    #[test]
    fn a_step_has_one_name_everywhere() {
        for step in Step::all() {
            let json = serde_json::to_value(step).unwrap();
            assert_eq!(json.as_str(), Some(step.name()));
            assert_eq!(Step::from_name(step.name()), Some(step));
        }
        assert_eq!(Step::from_name("no-such-step"), None);
    }

    #[test]
    fn what_a_step_needs_comes_before_it() {
        for step in Step::all() {
            for need in step.needs() {
                assert!((*need as usize) < step as usize, "{step} needs {need}");
                assert!(need.required() || !step.required(), "{step} needs {need}");
            }
        }
    }
}
