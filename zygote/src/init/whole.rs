//! A whole tree that is writable, privately: each directory at the top under a layer of its own.
//!
//! One layer over `/` would be simpler, and the kernel refuses it in a user namespace, since it
//! would show what the mounts below hide (overlayfs; "locked" mounts, mount_namespaces(7)).

use super::layers::Layers;
use crate::failure::{At, IntoErrno};
use crate::sys::mount::{attach, copy_tree};
use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};
use nix::sys::stat::Mode;
use nix::unistd::{chdir, pivot_root};
use std::ffi::{CStr, CString};
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;
use zyg_protocol::message::{Failure, Step};

/// Where the new root is put together: a directory that every tree has, and that gets a mount of its
/// own afterwards.
const PLACE: &CStr = c"/dev/shm";

/// Shown as they are: each zygote mounts over them.
const PLAIN: [&str; 3] = ["proc", "sys", "dev"];

/// Replaces the root by one in which everything can be written.
pub(super) fn make_writable(layers: &mut Layers) -> Result<(), Failure> {
    let root = layers.make_directory(Mode::from_bits_truncate(0o755)).at(Step::Root)?;
    layers.bind(root, PLACE).at(Step::Root)?;
    let place = Path::new("/dev/shm");
    for entry in fs::read_dir("/").at_subject(Step::Root, "/")? {
        let entry = entry.at_subject(Step::Root, "/")?;
        let (from, name) = (entry.path(), entry.file_name());
        let kind = entry.file_type().at_subject(Step::Root, from.as_os_str().as_bytes())?;
        let to = place.join(&name);
        let shown = if kind.is_symlink() {
            fs::read_link(&from)
                .and_then(|target| symlink(target, &to))
                .map_err(IntoErrno::into_errno)
        } else if kind.is_dir() {
            let layer = !PLAIN.iter().any(|plain| name == *plain);
            fs::create_dir(&to)
                .map_err(IntoErrno::into_errno)
                .and_then(|()| show(layers, &from, &to, layer))
        } else {
            fs::copy(&from, &to).map(drop).map_err(IntoErrno::into_errno)
        };
        shown.at_subject(Step::Layer, from.as_os_str().as_bytes())?;
    }
    chdir(PLACE).at(Step::EnterRoot)?;
    pivot_root(".", ".").at(Step::EnterRoot)?;
    umount2(".", MntFlags::MNT_DETACH).at(Step::EnterRoot)?;
    chdir("/").at(Step::EnterRoot)?;
    layers.reopen().at(Step::EnterRoot)
}

fn show(layers: &mut Layers, from: &Path, to: &Path, layer: bool) -> Result<(), Errno> {
    let tree = copy_tree(&name(from)?)?;
    let target = name(to)?;
    attach(tree.as_fd(), &target)?;
    if !layer {
        return Ok(());
    }
    match layers.cover(&target) {
        // A mount below forbids it: that directory stays read-only.
        Err(Errno::EINVAL | Errno::EPERM) => Ok(()),
        result => result,
    }
}

fn name(path: &Path) -> Result<CString, Errno> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno::EINVAL)
}
