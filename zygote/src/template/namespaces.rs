//! The template's own namespaces.
//!
//! In its user namespace (see `authority`) it owns two mount namespaces: the host's view, in which mount sources are opened for leases, and the tree that
//! zygotes are cloned with. Network namespaces that it makes are owned by this user namespace too,
//! so no command holds a capability over the one that it runs in.

use crate::failure::At;
use crate::sys;
use nix::fcntl::{OFlag, open};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::stat::Mode;
use std::fs;
use std::os::fd::OwnedFd;
use zyg_protocol::message::{Failure, Network, Step};

/// The namespaces between which the template moves.
pub(crate) struct Namespaces {
    host_mounts: OwnedFd,
    zygote_mounts: OwnedFd,
    /// The template's own network namespace, and what zygotes get.
    own_network: OwnedFd,
    network: Network,
}

impl Namespaces {
    /// Creates them. Afterwards the caller is in a copy of the host's mount tree that becomes the
    /// zygotes' one.
    pub(super) fn create(network: Network) -> Result<Self, Failure> {
        unshare(CloneFlags::CLONE_NEWNS).at(Step::MountNamespace)?;
        // Nothing that happens here shows on the host, and nothing mounted there later shows here.
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
            .at(Step::PrivateTree)?;
        let host_mounts = own("mnt")?;
        unshare(CloneFlags::CLONE_NEWNS).at(Step::MountNamespace)?;
        if network != Network::Host {
            unshare(CloneFlags::CLONE_NEWNET).at(Step::NetNamespace)?;
        }
        Ok(Self { host_mounts, zygote_mounts: own("mnt")?, own_network: own("net")?, network })
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

    /// Whether a zygote makes its own network namespace.
    pub(super) fn zygote_owns_network(&self) -> bool {
        self.network == Network::Own
    }

    /// Runs `act` in the network namespace that a zygote is to have from the template: a fresh one
    /// with nothing but `lo`, up, and whose ports below 1024 are free to bind, unless the profile
    /// says otherwise.
    pub(super) fn in_zygote_network<T>(
        &self,
        act: impl FnOnce() -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        if self.network != Network::Loopback {
            return act();
        }
        let made = fresh_network().and_then(|()| act());
        // Also after an error: the template must not keep a zygote's network namespace alive.
        let back = setns(&self.own_network, CloneFlags::CLONE_NEWNET).at(Step::NetNamespace);
        let made = made?;
        back.map(|()| made)
    }
}

fn fresh_network() -> Result<(), Failure> {
    unshare(CloneFlags::CLONE_NEWNET).at(Step::NetNamespace)?;
    set_up_network()
}

/// Makes a fresh network namespace, the caller's own one, fit for servers and their tests.
pub(crate) fn set_up_network() -> Result<(), Failure> {
    sys::net::raise_loopback().at(Step::Loopback)?;
    // Per network namespace since Linux 4.11; /proc/sys/net shows the caller's one.
    const PORTS: &str = "/proc/sys/net/ipv4/ip_unprivileged_port_start";
    fs::write(PORTS, "0").at_subject(Step::NetNamespace, PORTS)
}

fn own(kind: &str) -> Result<OwnedFd, Failure> {
    let path = format!("/proc/self/ns/{kind}");
    open(path.as_str(), OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())
        .at_subject(Step::MountNamespace, &path)
}
