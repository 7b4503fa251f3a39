//! The template's own namespaces.
//!
//! It owns a user namespace that maps one uid and one gid to themselves, and in it two mount
//! namespaces: the host's view, in which mount sources are opened for leases, and the tree that
//! zygotes are cloned with. Network namespaces that it makes are owned by this user namespace too,
//! so no command holds a capability over the one that it runs in.

use crate::failure::At;
use crate::sys;
use nix::fcntl::{OFlag, open};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::stat::Mode;
use nix::unistd::{Gid, Uid, getuid, initgroups, setgroups, setresgid, setresuid};
use std::ffi::CString;
use std::fs;
use std::os::fd::OwnedFd;
use zyg_protocol::message::{Failure, Recipe, Step};

/// Takes on the identity of the uid to be served: its groups, gid and uid, for good.
pub(super) fn become_user(recipe: &Recipe) -> Result<(), Failure> {
    let (uid, gid) = (Uid::from_raw(recipe.uid), Gid::from_raw(recipe.gid));
    if getuid() == uid {
        return Ok(());
    }
    let subject = recipe.uid.to_string();
    let user = recipe.user.as_ref().and_then(|user| CString::new(user.as_str()).ok());
    match user {
        Some(user) => initgroups(&user, gid),
        None => setgroups(&[gid]),
    }
    .at_subject(Step::BecomeUser, &subject)?;
    setresgid(gid, gid, gid).at_subject(Step::BecomeUser, &subject)?;
    setresuid(uid, uid, uid).at_subject(Step::BecomeUser, &subject)?;
    // Leaving uid 0 makes /proc/self root's (PR_SET_DUMPABLE(2const)), and with it the id maps
    // that are written next.
    nix::sys::prctl::set_dumpable(true).at_subject(Step::BecomeUser, &subject)
}

/// The namespaces between which the template moves.
pub(crate) struct Namespaces {
    host_mounts: OwnedFd,
    zygote_mounts: OwnedFd,
    network: OwnedFd,
}

impl Namespaces {
    /// Creates them. Afterwards the caller is in a copy of the host's mount tree that becomes the
    /// zygotes' one.
    pub(super) fn create(uid: u32, gid: u32) -> Result<Self, Failure> {
        unshare(CloneFlags::CLONE_NEWUSER).at(Step::UserNamespace)?;
        write_id_maps(uid, gid)?;
        unshare(CloneFlags::CLONE_NEWNS).at(Step::MountNamespace)?;
        // Nothing that happens here shows on the host, and nothing mounted there later shows here.
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
            .at(Step::PrivateTree)?;
        let host_mounts = own("mnt")?;
        unshare(CloneFlags::CLONE_NEWNS).at(Step::MountNamespace)?;
        unshare(CloneFlags::CLONE_NEWNET).at(Step::NetNamespace)?;
        Ok(Self { host_mounts, zygote_mounts: own("mnt")?, network: own("net")? })
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

    /// Runs `act` in a fresh network namespace that has nothing but `lo`, up, and whose ports below
    /// 1024 are free to bind.
    pub(super) fn in_fresh_network<T>(
        &self,
        act: impl FnOnce() -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let made = fresh_network().and_then(|()| act());
        // Also after an error: the template must not keep a zygote's network namespace alive.
        let back = setns(&self.network, CloneFlags::CLONE_NEWNET).at(Step::NetNamespace);
        let made = made?;
        back.map(|()| made)
    }
}

fn fresh_network() -> Result<(), Failure> {
    unshare(CloneFlags::CLONE_NEWNET).at(Step::NetNamespace)?;
    sys::net::raise_loopback().at(Step::Loopback)?;
    // Per network namespace since Linux 4.11; /proc/sys/net shows the caller's one.
    const PORTS: &str = "/proc/sys/net/ipv4/ip_unprivileged_port_start";
    fs::write(PORTS, "0").at_subject(Step::NetNamespace, PORTS)
}

/// Maps one uid and one gid to themselves (user_namespaces(7)): all that an unprivileged process
/// may, and all that is needed to be the client inside as well as outside.
pub(crate) fn write_id_maps(uid: u32, gid: u32) -> Result<(), Failure> {
    for (file, line) in [
        ("/proc/self/setgroups", "deny".to_owned()),
        ("/proc/self/uid_map", format!("{uid} {uid} 1")),
        ("/proc/self/gid_map", format!("{gid} {gid} 1")),
    ] {
        fs::write(file, line).at_subject(Step::IdMaps, file)?;
    }
    Ok(())
}

fn own(kind: &str) -> Result<OwnedFd, Failure> {
    let path = format!("/proc/self/ns/{kind}");
    open(path.as_str(), OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())
        .at_subject(Step::MountNamespace, &path)
}
