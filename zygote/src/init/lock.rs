//! Mounts that stay where they are, whatever becomes of the mount namespace.
//!
//! When a mount namespace ends, the kernel takes every mount in it off what it covers, unless it is
//! locked. Who has been handed a descriptor of a directory would find there, from then on, what lay
//! below. A mount is locked by being copied into a mount namespace of a less privileged user namespace
//! (mount_namespaces(7), "Restrictions on mount namespaces"; `disconnect_mount` in fs/namespace.c).
//!
//! All of the template's tree is, by the clone. What init mounts over it needs no lock of its own as long
//! as it covers nothing that the environment does not show: private places and `/proc` cover emptiness
//! (`template::tree`), and a layer covers its own lower part, which nobody can write. A lock costs a sixth of
//! a zygote, so it is there where more may be covered: in profiles with mounts of their own, or with
//! something hidden or protected above a layer; the controls of the host; and what a lease mounts.

use super::layers::Layers;
use super::{Setup, setup};
use crate::failure::At;
use crate::template::{Late, Layout, own_namespace, set_up_network_through, write_id_maps};
use nix::fcntl::{OFlag, open};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::Mode;
use std::ffi::{CStr, OsStr};
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use zyg_protocol::message::{Attach, Failure, Network, Recipe, Recycle, Step};

/// Settings of the network, in a procfs, before those of the host are protected.
const SETTINGS: &CStr = c"/proc/sys/net";

/// Locks a zygote's mounts.
pub(super) struct Lock {
    /// Where a network namespace of its own is set up.
    settings: Option<OwnedFd>,
}

impl Lock {
    /// For a zygote of this recipe, now or later; `None` for one that is to be renewed, which must be able
    /// to take its mounts off again. Call where its /proc is mounted and nothing of it is protected.
    pub fn new(recipe: &Recipe) -> Result<Option<Self>, Failure> {
        if recipe.recycle == Recycle::Whole {
            return Ok(None);
        }
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let open = || open(SETTINGS, flags, Mode::empty());
        let settings = (recipe.network == Network::Own).then(open).transpose();
        Ok(Some(Self { settings: settings.at_subject(Step::NetNamespace, SETTINGS.to_bytes())? }))
    }

    /// Goes on in copies of the caller's mounts that are locked, in a user namespace below the caller's
    /// that shows the caller's ids, `outside`, as those `inside`, with a host name of its own; with IPC
    /// objects of its own where commands are to have capabilities, and with a network of its own where
    /// they are to have that. The caller's capability sets are then full and its bounding set, too
    /// (user_namespaces(7)).
    ///
    /// Returns the mount namespace that it has left, to be closed when nobody waits: its end takes an
    /// RCU grace period.
    ///
    /// # Errors
    /// Those of unshare(2), of writing the id maps, and of setting up the network.
    pub fn lock(
        &self,
        layers: &mut Layers,
        recipe: &Recipe,
        inside: (u32, u32),
        outside: (u32, u32),
    ) -> Result<OwnedFd, Failure> {
        let left = own_namespace("mnt")?;
        let mut new = CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWUTS;
        if recipe.confinement.capabilities != 0 {
            new |= CloneFlags::CLONE_NEWIPC;
        }
        if self.settings.is_some() {
            new |= CloneFlags::CLONE_NEWNET;
        }
        // Apart, so that whoever has too few of the one is not told of the other.
        unshare(CloneFlags::CLONE_NEWUSER).at(Step::UserNamespace)?;
        layers.follow(|| unshare(new)).at(Step::MountNamespace)?;
        write_id_maps(inside, outside)?;
        self.settings.as_ref().map_or(Ok(()), set_up_network_through)?;
        Ok(left)
    }
}

/// Whether what a profile has in its tree may be more than what is seen of it.
pub(super) fn is_composed(layout: &Layout) -> bool {
    let Late { binds, hidden, read_only } = &layout.late;
    let late = !(binds.is_empty() && hidden.is_empty() && read_only.is_empty());
    late || layout.has_binds
}

/// Whether a zygote's own mounts must not come off what they cover, or its commands are to have
/// capabilities in a user namespace that does not own its mounts.
pub(super) fn is_needed_at_birth(setup: &Setup<'_>) -> bool {
    let Setup { recipe, layout, .. } = setup;
    let needed = is_composed(layout)
        || recipe.view.root_overlay
        || recipe.confinement.capabilities != 0
        || recipe.network == Network::Own
        || setup::is_root_outside(setup);
    needed && recipe.recycle != Recycle::Whole
}

/// Whether one of these, which are in place, covers a part of another, so that what it covers is no
/// emptiness.
pub(super) fn is_needed_for(attach: &[Attach]) -> bool {
    let over = |attach: &Attach| match attach {
        Attach::Tree { target } | Attach::Tmpfs { target } => {
            let path = Path::new(OsStr::from_bytes(target));
            Some(fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()))
        }
        Attach::Layer { .. } | Attach::Cover { .. } => None,
    };
    if attach.len() < 2 {
        return false;
    }
    let targets: Vec<_> = attach.iter().filter_map(over).collect();
    targets.iter().enumerate().any(|(place, below)| {
        let mut others = targets.iter().enumerate();
        others.any(|(other, above)| place != other && below.starts_with(above))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use zyg_protocol::message::Bytes;

    #[test]
    fn a_mount_over_a_part_of_another_is_seen_whatever_their_order() {
        let tree = |path: &str| Attach::Tree { target: Bytes::from(path.as_bytes()) };
        let tmpfs = |path: &str| Attach::Tmpfs { target: Bytes::from(path.as_bytes()) };
        assert!(is_needed_for(&[tree("/a"), tree("/a/b")]));
        assert!(is_needed_for(&[tmpfs("/a/b"), tree("/a")]));
        assert!(is_needed_for(&[tree("/a"), tmpfs("/a")]));
        assert!(!is_needed_for(&[tree("/a"), tree("/ab"), tmpfs("/b")]));
        assert!(!is_needed_for(&[tree("/a")]));
        let layer = Attach::Layer { target: Bytes::from(&b"/a/b"[..]) };
        assert!(
            !is_needed_for(&[tree("/a"), layer]),
            "what is below a layer can be no more than read"
        );
    }
}
