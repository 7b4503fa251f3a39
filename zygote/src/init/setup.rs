//! From the clone to ready: the zygote's own mounts over the template's tree, then the end of
//! every privilege that a command could inherit.

use super::layers::Layers;
use super::lock::{self, Lock};
use super::prepare::attach_tree;
use super::renewal::Ground;
use super::{Setup, bounds, whole};
use crate::failure::{At, IntoErrno};
use crate::sys;
use crate::template::{
    Late, PrivatePath, cover_empty, is_awaited, set_up_network, write_id_maps_through,
};
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::stat::{Mode, stat, umask};
use nix::unistd::{sethostname, setsid};
use std::ffi::{CStr, OsStr};
use std::fs::DirBuilder;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use zyg_protocol::message::{Authority, Bytes, Confinement, Failure, Network, Recycle, Step};

const PLAIN: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV);

/// Parts of /proc that are the host's own and writable by the host's uid 0, whatever user
/// namespace it is in (proc(5); the checks there are by kernel uid).
const HOST_CONTROLS: [&CStr; 5] =
    [c"/proc/sys", c"/proc/sysrq-trigger", c"/proc/irq", c"/proc/bus", c"/proc/fs"];

/// What a pid namespace has since Linux 6.14, and its uid 0 may write, for all leases that it serves
/// (proc_sys_kernel(5)).
const PID_MAX: &CStr = c"/proc/sys/kernel/pid_max";

/// What a zygote is once it is set up.
pub(super) struct Made {
    pub layers: Layers,
    pub signals: SignalFd,
    /// What it is made anew from, where it may be used again.
    pub ground: Option<Ground>,
    /// What has locked its mounts, where it may not.
    pub lock: Option<Lock>,
    /// The mount namespace that it has left for that, to be closed when it has said that it is ready.
    pub left: Option<OwnedFd>,
}

/// By a procfs that shows the caller, which is closed as soon as it can be.
pub(super) fn run(setup: &Setup<'_>, procfs: OwnedFd) -> Result<Made, Failure> {
    let recipe = setup.recipe;
    sys::privilege::set_name(super::NAME);
    umask(Mode::empty());
    // The template's session may be at the lowest priority. So its own one is the last thing of a zygote
    // for which nobody waits, and the first of one that is awaited: also where the template's could not
    // be raised.
    let awaited = is_awaited();
    if awaited {
        setsid().at(Step::DropPrivileges)?;
    }
    let inside = inside(&recipe.authority, setup.identity);
    let again = recipe.recycle == Recycle::Whole;
    let locked = lock::is_needed_at_birth(setup);
    // Where another user namespace is to come, the ids of this one are those outside.
    let shown = if locked { setup.identity } else { inside };
    write_id_maps_through(procfs.as_fd(), shown, setup.identity)?;
    let ground = again.then(|| Ground::keep(procfs.as_fd())).transpose()?;
    drop(procfs);
    let mut lock = None;
    let Furnished { mut layers, exposed } = furnish(setup, || {
        lock = Lock::new(recipe)?;
        if recipe.network == Network::Own && lock.is_none() {
            // Through a procfs of its own, since in the host's each file would be one more to look
            // through for the next zygote.
            set_up_network()?;
        }
        bounds::set(recipe, setup.layout.inotify_of_a_user)
    })?;
    let lock_it = |lock: &Lock| lock.lock(&mut layers, recipe, inside, shown);
    let left = lock.as_ref().filter(|_| locked || exposed).map(lock_it).transpose()?;
    mount_terminals()?;
    drop_privileges(&recipe.confinement).at(Step::DropPrivileges)?;
    if !awaited {
        setsid().at(Step::DropPrivileges)?;
    }
    // Whoever speaks to init waits for it. Commands start with the default.
    let _ = sys::process::prefer_short_slices();
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGCHLD);
    let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        .at(Step::Events)?;
    Ok(Made { layers, signals, ground, lock, left })
}

/// A zygote's mounts, but for its terminals.
pub(super) struct Furnished {
    pub layers: Layers,
    /// Whether a private place covers what is no emptiness.
    pub exposed: bool,
}

/// Mounts over the template's tree what is a lease's own but for its terminals, and sets the host name.
/// What is to be written in /proc is written when it is mounted and nothing of it is protected.
pub(super) fn furnish(
    setup: &Setup<'_>,
    write_proc: impl FnOnce() -> Result<(), Failure>,
) -> Result<Furnished, Failure> {
    let recipe = setup.recipe;
    let inside = inside(&recipe.authority, setup.identity);
    let view = &recipe.view;
    let kept = keep_binds(&setup.layout.late)?;
    mount_proc().at(Step::Proc)?;
    write_proc()?;
    if recipe.recycle == Recycle::Whole {
        protect(PID_MAX).at(Step::Proc)?;
    }
    if is_root_outside(setup) {
        HOST_CONTROLS.into_iter().try_for_each(protect).at(Step::Proc)?;
    }
    let mut layers = Layers::create(view.tmp_bytes, view.tmp_inodes).at(Step::Scratch)?;
    if view.root_overlay {
        whole::make_writable(&mut layers)?;
    }
    let mut exposed = false;
    let (late, early): (Vec<_>, Vec<_>) =
        setup.layout.private.iter().partition(|private| private.late);
    for private in early {
        exposed |= !mount_private(&mut layers, private, inside.0)?;
    }
    for path in &setup.layout.layered {
        layers.cover(path).at_subject(Step::Home, path.to_bytes())?;
    }
    for (kept, target) in &kept {
        attach_tree(kept, target)?;
    }
    // Over what is the host's there: where a profile has mounts of its own, all are locked.
    for private in late {
        mount_private(&mut layers, private, inside.0)?;
    }
    finish_view(&setup.layout.late)?;
    if let Some(hostname) = &recipe.hostname {
        sethostname(hostname).at_subject(Step::Hostname, hostname)?;
    }
    Ok(Furnished { layers, exposed })
}

/// Mounts the terminals: last, for its files are those of the user namespace that it is mounted in. It
/// covers the mount point that the private places were made through.
pub(super) fn mount_terminals() -> Result<(), Failure> {
    let options = format!("newinstance,ptmxmode=0666,mode=0620,max={}", bounds::TERMINALS_MAX);
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    mount(Some("devpts"), "/dev/pts", Some("devpts"), flags, Some(options.as_str()))
        .at(Step::Devpts)
}

/// Takes copies of the mounts that are kept where the zygote's own are about to cover them.
fn keep_binds(late: &Late) -> Result<Vec<(OwnedFd, Bytes)>, Failure> {
    late.binds
        .iter()
        .map(|(store, target)| {
            let kept = sys::mount::copy_tree(store);
            Ok((kept.at_subject(Step::AttachMount, target)?, target.clone()))
        })
        .collect()
}

/// Hides and protects what lies over the zygote's own layers.
fn finish_view(late: &Late) -> Result<(), Failure> {
    for path in &late.hidden {
        cover_empty(path).at_subject(Step::HostDirectory, path.to_bytes())?;
    }
    for path in &late.read_only {
        protect(path).at_subject(Step::HostDirectory, path.to_bytes())?;
    }
    Ok(())
}

/// Returns whether it covers emptiness.
fn mount_private(layers: &mut Layers, private: &PrivatePath, uid: u32) -> Result<bool, Failure> {
    let empty = is_empty_place(layers, private);
    empty
        .and_then(|empty| show_private(layers, private, uid).map(|()| empty))
        .at_subject(Step::Scratch, private.path.to_bytes())
}

/// Whether nothing is where a private place is to be: not where somebody has put something else there
/// since the template was made. Within another private place, which is empty, there is no such
/// directory until it is made.
fn is_empty_place(layers: &Layers, private: &PrivatePath) -> Result<bool, Errno> {
    let own = layers.device()?;
    match stat(private.path.as_c_str()) {
        Ok(there) => Ok(there.st_dev == private.emptiness || there.st_dev == own),
        Err(Errno::ENOENT) => {
            let path = Path::new(OsStr::from_bytes(private.path.to_bytes()));
            let around = path.ancestors().skip(1).find_map(|around| stat(around).ok());
            let within = around.is_some_and(|around| around.st_dev == own);
            if within {
                let made = DirBuilder::new().recursive(true).mode(0o755).create(path);
                made.map_err(IntoErrno::into_errno)?;
            }
            Ok(within)
        }
        Err(_) => Ok(false),
    }
}

fn show_private(layers: &mut Layers, private: &PrivatePath, uid: u32) -> Result<(), Errno> {
    let piece = layers.make_directory(Mode::from_bits_truncate(private.mode))?;
    if private.path.as_c_str() == c"/run" {
        // What login would have made there (pam_systemd(8)), and what /var/lock points to.
        let own = format!("user/{uid}");
        for (name, mode) in [("user", 0o755), (own.as_str(), 0o700), ("lock", 0o1777)] {
            layers.make_within(piece, name, Mode::from_bits_truncate(mode))?;
        }
    }
    layers.bind(piece, &private.path)
}

/// Whether commands are what the host's controls in /proc are open to.
pub(super) fn is_root_outside(setup: &Setup<'_>) -> bool {
    setup.identity.0 == 0
}

fn mount_proc() -> Result<(), Errno> {
    mount(Some("proc"), "/proc", Some("proc"), PLAIN | MsFlags::MS_NOEXEC, None::<&str>)
}

/// Makes what is there read-only, with all below it.
pub(super) fn protect(path: &CStr) -> Result<(), Errno> {
    match sys::mount::copy_tree(path) {
        Ok(tree) => {
            sys::mount::set_attributes(tree.as_fd(), sys::mount::attr::RDONLY)?;
            sys::mount::attach(tree.as_fd(), path)
        }
        Err(Errno::ENOENT) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// Init keeps its capabilities over its own namespaces; nothing that it executes gets any.
pub(super) fn drop_privileges(confinement: &Confinement) -> Result<(), Errno> {
    sys::privilege::bound_capabilities(confinement.capabilities)?;
    sys::privilege::hand_on_capabilities(confinement.capabilities)?;
    match sys::privilege::fresh_keyring() {
        // Where the filter denies keyctl(2) the template's closed one stays, of no use to anybody.
        Err(Errno::EPERM) if !confinement.filters.is_empty() => {}
        result => result?,
    }
    nix::sys::prctl::set_no_new_privs()?;
    // /proc/1/{mem,fd,root,…} become root's of the template's user namespace, and ptrace(2) asks
    // for a capability over it.
    nix::sys::prctl::set_dumpable(false)
}

/// What a command sees itself as: what the profile says, else, with a slice, an ordinary user, else
/// the client.
pub(crate) fn inside(authority: &Authority, identity: (u32, u32)) -> (u32, u32) {
    const ORDINARY: (u32, u32) = (1000, 1000);
    let own = if authority.slices.is_some() { ORDINARY } else { identity };
    authority.inside.unwrap_or(own)
}
