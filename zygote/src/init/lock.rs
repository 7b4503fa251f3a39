//! Mounts that stay where they are, whatever becomes of the mount namespace.
//!
//! When a mount namespace ends, the kernel takes every mount in it off what it covers, unless it is
//! locked. Who has been handed a descriptor of a directory would find there, from then on, what lay
//! below: the host's `/proc` below the environment's own, what is writable below what is not, what was
//! hidden. A mount is locked by being copied into a mount namespace of a less privileged user namespace
//! (mount_namespaces(7), "Restrictions on mount namespaces"; `disconnect_mount` in fs/namespace.c).
//!
//! So a zygote makes itself a second user namespace, below that of its birth, when all is mounted.

use super::layers::Layers;
use crate::failure::At;
use crate::sys::process::ZYGOTE_NAMESPACES;
use crate::template::{own_namespace, set_up_network_through, write_id_maps};
use nix::fcntl::{OFlag, open};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::Mode;
use std::ffi::CStr;
use std::os::fd::OwnedFd;
use zyg_protocol::message::{Attach, Failure, Network, Recipe, Recycle, Step};

/// Settings of the network, in a procfs, before those of the host are protected.
const SETTINGS: &CStr = c"/proc/sys/net";

/// The namespaces of its own that a zygote of this recipe is cloned with: all but those that it makes
/// when it locks its mounts.
pub(crate) fn born_in(recipe: &Recipe) -> CloneFlags {
    let mut all = ZYGOTE_NAMESPACES;
    all.set(CloneFlags::CLONE_NEWNET, recipe.network == Network::Own);
    // One above that of its commands, where its limits are out of their reach and the mounts of the
    // template are locked for what init mounts, too.
    let late = made_late(recipe).difference(CloneFlags::CLONE_NEWUSER);
    if is_locked(recipe) { all.difference(late) } else { all }
}

/// Those that it makes then, but for that of its mounts: what is its user namespace's own in any case, and
/// what its commands may have capabilities over.
fn made_late(recipe: &Recipe) -> CloneFlags {
    let mut late = CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWUTS;
    late.set(CloneFlags::CLONE_NEWIPC, recipe.confinement.capabilities != 0);
    late.set(CloneFlags::CLONE_NEWNET, recipe.network == Network::Own);
    late
}

/// Whether the mounts of a zygote of this recipe are locked: not of one that is to be renewed, which must
/// be able to take them off again.
fn is_locked(recipe: &Recipe) -> bool {
    recipe.recycle != Recycle::Whole
}

/// Locks a zygote's mounts.
pub(super) struct Lock {
    /// Where a network namespace of its own is set up.
    settings: Option<OwnedFd>,
}

impl Lock {
    /// For a zygote of this recipe; `None` where its mounts are not locked. Call where its /proc is mounted
    /// and nothing of it is protected.
    pub fn new(recipe: &Recipe) -> Result<Option<Self>, Failure> {
        if !is_locked(recipe) {
            return Ok(None);
        }
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let open = || open(SETTINGS, flags, Mode::empty());
        let settings = (recipe.network == Network::Own).then(open).transpose();
        Ok(Some(Self { settings: settings.at_subject(Step::NetNamespace, SETTINGS.to_bytes())? }))
    }

    /// Goes on in copies of the caller's mounts that are locked, in a user namespace below the caller's
    /// that shows the caller's ids, `outside`, as those `inside`, and in what else is made late. The caller's
    /// capability sets are then full and its bounding set, too (user_namespaces(7)).
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
        let new = CloneFlags::CLONE_NEWNS | made_late(recipe);
        // As much a part of what makes a zygote as the clone.
        layers.follow(|| unshare(new)).at(Step::Clone)?;
        write_id_maps(inside, outside)?;
        self.settings.as_ref().map_or(Ok(()), set_up_network_through)?;
        Ok(left)
    }
}

/// Whether one of these covers a part of another, so that what it covers is no emptiness.
pub(super) fn is_needed(attach: &[Attach]) -> bool {
    let over = |attach: &Attach| match attach {
        Attach::Tree { target } | Attach::Tmpfs { target } => Some(target.clone()),
        Attach::Layer { .. } | Attach::Cover { .. } => None,
    };
    let targets: Vec<_> = attach.iter().filter_map(over).collect();
    targets.iter().enumerate().any(|(place, below)| {
        targets.iter().enumerate().any(|(other, above)| {
            let rest = below.strip_prefix(above.as_slice());
            place != other && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
        })
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
        assert!(is_needed(&[tree("/a"), tree("/a/b")]));
        assert!(is_needed(&[tmpfs("/a/b"), tree("/a")]));
        assert!(is_needed(&[tree("/a"), tmpfs("/a")]));
        assert!(!is_needed(&[tree("/a"), tree("/ab"), tmpfs("/b")]));
        assert!(!is_needed(&[tree("/a")]));
        let layer = Attach::Layer { target: Bytes::from(&b"/a/b"[..]) };
        assert!(!is_needed(&[tree("/a"), layer]), "what is below a layer can be no more than read");
    }
}
