//! The steps, done. Each runs once, in a process of its own, and leaves nothing behind.

mod cgroup;
mod child;
mod confinement;
mod ids;
mod limits;
mod mounts;
mod namespaces;
mod network;
mod server;
mod zygote;

use super::Step;
use super::judge::KERNEL_MIN;
use crate::doctor::Facts;
use crate::failure::IntoErrno;
use nix::errno::Errno;
use std::path::Path;
use zyg_protocol::message::Failure;

/// What was found, in words, or what failed.
pub(super) type Done = Result<String, Trouble>;

/// A step that failed.
#[derive(Debug)]
pub(super) struct Trouble {
    /// 0 where there is none.
    pub errno: i32,
    /// The step that failed, where it is known.
    pub within: Option<Step>,
    /// In words.
    pub detail: String,
}

impl Trouble {
    /// Something is not as it must be, without the kernel having said so.
    fn plain(detail: impl Into<String>) -> Self {
        Self { errno: 0, within: None, detail: detail.into() }
    }

    /// The same with an error number that stands for it.
    fn with_errno(errno: Errno, detail: impl Into<String>) -> Self {
        Self { errno: errno as i32, within: None, detail: detail.into() }
    }
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        let within = Step::of_failure(&failure);
        Self { errno: failure.errno, within, detail: failure.to_string() }
    }
}

/// Adds what was being done to an error.
trait Doing<T> {
    /// "failed to `what`".
    fn doing(self, what: &str) -> Result<T, Trouble>;
}

impl<T, E: IntoErrno> Doing<T> for Result<T, E> {
    fn doing(self, what: &str) -> Result<T, Trouble> {
        self.map_err(|error| {
            let errno = error.into_errno();
            let error = std::io::Error::from_raw_os_error(errno as i32);
            Trouble::with_errno(errno, format!("failed to {what}: {error}"))
        })
    }
}

pub(super) fn perform(step: Step, socket: &Path) -> Done {
    match step {
        Step::Kernel => kernel(),
        Step::UserNamespace => namespaces::user(),
        Step::MountNamespace => namespaces::other("mnt"),
        Step::PidNamespace => namespaces::other("pid"),
        Step::NetworkNamespace => namespaces::other("net"),
        Step::IpcNamespace => namespaces::other("ipc"),
        Step::UtsNamespace => namespaces::other("uts"),
        Step::CgroupNamespace => namespaces::other("cgroup"),
        Step::PrivateTree => mounts::private_tree(),
        Step::Tmpfs => mounts::tmpfs(),
        Step::ReadOnlyBind => mounts::read_only_bind(),
        Step::OverlayHome => mounts::overlay_home(),
        Step::OverlayCwd => mounts::overlay_cwd(),
        Step::OverlayRecreate => mounts::overlay_recreate(),
        Step::ZygoteClone => namespaces::zygote_clone(),
        Step::Proc => mounts::proc(),
        Step::Devpts => mounts::devpts(),
        Step::Sysfs => mounts::sysfs(),
        Step::Loopback => network::loopback(),
        Step::LowPorts => network::low_ports(),
        Step::NoNewPrivs => confinement::no_new_privs(),
        Step::Seccomp => confinement::seccomp(),
        Step::CgroupV2 => cgroup::own(),
        Step::CgroupControllers => cgroup::controllers(),
        Step::CgroupChild => cgroup::child(),
        Step::CgroupBirth => cgroup::birth(),
        Step::CgroupKill => cgroup::kill(),
        Step::Descriptors => limits::descriptors(),
        Step::Processes => limits::processes(),
        Step::NamespaceLimits => limits::namespaces(),
        Step::SubordinateIds => ids::granted(),
        Step::Newuidmap => ids::programs(),
        Step::IdMapRange => ids::map_range(),
        Step::Server => server::ask(socket),
        Step::Zygote => zygote::own(),
        Step::OtherUsers => zygote::of_another(),
    }
}

fn kernel() -> Done {
    let facts = Facts::read();
    match facts.version() {
        Some(version) if version < KERNEL_MIN => {
            Err(Trouble::plain(format!("Linux {} is too old", facts.release)))
        }
        _ => Ok(format!("Linux {}", facts.release)),
    }
}
