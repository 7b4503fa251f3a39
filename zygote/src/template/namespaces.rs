//! The template's own mount namespaces.
//!
//! In its user namespace (see `authority`) it owns two of them: a copy of the host's, in which it lives
//! and opens mount sources for leases, and the tree that zygotes are cloned with.

use crate::failure::At;
use nix::fcntl::{AT_FDCWD, OFlag, open, openat};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::stat::Mode;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use zyg_protocol::message::{Failure, Step};

/// The mount namespaces between which the template moves.
pub(super) struct Namespaces {
    home: OwnedFd,
    tree: OwnedFd,
    /// The host's /proc, which the tree does not show.
    procfs: OwnedFd,
}

impl Namespaces {
    /// Creates them. Afterwards the caller is in a copy of the host's mount tree that becomes the
    /// zygotes' one.
    pub(super) fn create() -> Result<Self, Failure> {
        unshare(CloneFlags::CLONE_NEWNS).at(Step::MountNamespace)?;
        // Nothing that happens here shows on the host, and nothing mounted there later shows here.
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
            .at(Step::PrivateTree)?;
        let home = own("mnt")?;
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let procfs = open("/proc", flags, Mode::empty()).at_subject(Step::Proc, "/proc")?;
        unshare(CloneFlags::CLONE_NEWNS).at(Step::MountNamespace)?;
        Ok(Self { home, tree: own("mnt")?, procfs })
    }

    /// The host's /proc, from wherever the caller is.
    pub(super) fn procfs(&self) -> BorrowedFd<'_> {
        self.procfs.as_fd()
    }

    /// Leaves the tree, now that it is built.
    pub(super) fn go_home(&self) -> Result<(), Failure> {
        setns(&self.home, CloneFlags::CLONE_NEWNS).at(Step::MountNamespace)
    }

    /// Runs `act` at the root of the zygotes' tree.
    pub(super) fn in_tree<T>(
        &self,
        act: impl FnOnce() -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        setns(&self.tree, CloneFlags::CLONE_NEWNS).at(Step::MountNamespace)?;
        let result = act();
        if let Err(failure) = self.go_home() {
            // What is opened from here for a lease would not be the host's: never go on.
            log::error!("failed to leave the zygotes' mount tree: {failure}");
            std::process::exit(1);
        }
        result
    }
}

/// The caller's own namespace of this kind (namespaces(7)).
pub(crate) fn own(kind: &str) -> Result<OwnedFd, Failure> {
    own_by(AT_FDCWD, &format!("/proc/self/ns/{kind}"))
}

/// The same, by this procfs, which must show the caller.
pub(crate) fn own_through(procfs: BorrowedFd<'_>, kind: &str) -> Result<OwnedFd, Failure> {
    own_by(procfs, &format!("self/ns/{kind}"))
}

fn own_by(directory: BorrowedFd<'_>, path: &str) -> Result<OwnedFd, Failure> {
    openat(directory, path, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())
        .at_subject(Step::MountNamespace, path)
}
