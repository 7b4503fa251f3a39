//! The template's own mount namespaces.
//!
//! In its user namespace (see `authority`) it owns two of them: the host's view, in which mount
//! sources are opened for leases, and the tree that zygotes are cloned with.

use crate::failure::At;
use nix::fcntl::{OFlag, open};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::stat::Mode;
use std::os::fd::OwnedFd;
use zyg_protocol::message::{Failure, Step};

/// The mount namespaces between which the template moves.
pub(super) struct Namespaces {
    host_mounts: OwnedFd,
    zygote_mounts: OwnedFd,
}

impl Namespaces {
    /// Creates them. Afterwards the caller is in a copy of the host's mount tree that becomes the
    /// zygotes' one.
    pub(super) fn create() -> Result<Self, Failure> {
        unshare(CloneFlags::CLONE_NEWNS).at(Step::MountNamespace)?;
        // Nothing that happens here shows on the host, and nothing mounted there later shows here.
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
            .at(Step::PrivateTree)?;
        let host_mounts = own("mnt")?;
        unshare(CloneFlags::CLONE_NEWNS).at(Step::MountNamespace)?;
        Ok(Self { host_mounts, zygote_mounts: own("mnt")? })
    }

    /// Notes the zygotes' mount namespace, now that its root is what it will be: setns(2) goes to
    /// the root that the namespace has at that time.
    pub(super) fn tree_is_built(&mut self) -> Result<(), Failure> {
        self.zygote_mounts = own("mnt")?;
        Ok(())
    }

    /// Runs `act` in the host's view of the mounts, with no more rights than the template's uid.
    pub(super) fn on_the_host<T>(&self, act: impl FnOnce() -> T) -> Result<T, Failure> {
        setns(&self.host_mounts, CloneFlags::CLONE_NEWNS).at(Step::MountNamespace)?;
        let result = act();
        if let Err(errno) = setns(&self.zygote_mounts, CloneFlags::CLONE_NEWNS) {
            // A zygote cloned from here would see the host's tree: never go on.
            log::error!("failed to return to the zygotes' mount tree: {errno}");
            std::process::exit(1);
        }
        Ok(result)
    }
}

/// The caller's own namespace of this kind (namespaces(7)).
pub(crate) fn own(kind: &str) -> Result<OwnedFd, Failure> {
    let path = format!("/proc/self/ns/{kind}");
    open(path.as_str(), OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())
        .at_subject(Step::MountNamespace, &path)
}
