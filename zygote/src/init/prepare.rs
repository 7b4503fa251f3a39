//! A lease's own mounts and host name, put in place before its first command.

use super::layers::Layers;
use super::{Init, Preparation, Setup, bounded, lock, setup};
use crate::failure::{At, failure};
use crate::sys::mount::attach;
use crate::template::c_path;
use nix::errno::Errno;
use nix::sys::prctl::set_dumpable;
use nix::unistd::sethostname;
use std::ffi::{CStr, OsStr};
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use zyg_protocol::message::{Attach, Bytes, Failure, FromInit, Prepare, Step};

impl Init<'_> {
    /// Prepares the lease, once. After a failure nothing runs here: never less than was asked for.
    pub(super) fn prepare(&mut self, prepare: &Prepare, trees: Vec<OwnedFd>) {
        let done = if self.prepared == Preparation::Open {
            put_in_place(&mut self.layers, prepare, trees)
                .and_then(|read_only| Ok((read_only, self.lock_mounts(&prepare.attach)?)))
        } else {
            Err(failure(Step::AttachMount, b"", Errno::EBUSY))
        };
        let mut left = None;
        let message = match done {
            Ok((read_only, namespace)) => {
                left = namespace;
                self.prepared = Preparation::Closed;
                FromInit::Prepared { read_only }
            }
            Err(failure) => {
                self.prepared = Preparation::Failed;
                FromInit::PrepareFailed(bounded(failure))
            }
        };
        self.reply(&message, None);
        drop(left);
    }

    /// Has what the lease's own mounts cover of each other stay covered. Returns what it has left for
    /// that.
    fn lock_mounts(&mut self, attach: &[Attach]) -> Result<Option<OwnedFd>, Failure> {
        let Setup { recipe, identity, .. } = self.setup;
        let Some(lock) = self.lock.as_ref().filter(|_| lock::is_needed(attach)) else {
            return Ok(None);
        };
        let inside = setup::inside(&recipe.authority, *identity);
        // Who is not dumpable may not write its own id maps. No command is there to look meanwhile.
        set_dumpable(true).at(Step::IdMaps)?;
        let left = lock.lock(&mut self.layers, recipe, inside, inside)?;
        setup::drop_privileges(&recipe.confinement).at(Step::DropPrivileges)?;
        Ok(Some(left))
    }
}

fn put_in_place(
    layers: &mut Layers,
    prepare: &Prepare,
    trees: Vec<OwnedFd>,
) -> Result<Vec<Bytes>, Failure> {
    let mut read_only = Vec::new();
    let mut trees = trees.into_iter();
    for attachment in &prepare.attach {
        let tree = if attachment.has_tree() { trees.next() } else { None };
        match (attachment, tree) {
            (Attach::Tree { target }, Some(tree)) => attach_tree(&tree, target)?,
            (Attach::Layer { target }, Some(tree)) => {
                attach_tree(&tree, target)?;
                cover(layers, target, &mut read_only)?;
            }
            (Attach::Cover { target }, None) => cover(layers, target, &mut read_only)?,
            (Attach::Tmpfs { target }, None) => {
                make_mount_point(target, true)?;
                layers
                    .mount_tmpfs(&c_path(target, Step::AttachMount)?)
                    .at_subject(Step::AttachMount, target)?;
            }
            (attachment, _) => {
                let subject = format!("{attachment:?}, whose tree did not arrive");
                return Err(failure(Step::AttachMount, subject.as_bytes(), Errno::EPROTO));
            }
        }
    }
    if let Some(hostname) = &prepare.hostname {
        sethostname(hostname).at_subject(Step::Hostname, hostname)?;
    }
    Ok(read_only)
}

pub(super) fn attach_tree(tree: &OwnedFd, target: &Bytes) -> Result<(), Failure> {
    let kind = nix::sys::stat::fstat(tree).at_subject(Step::AttachMount, target)?;
    let is_directory = kind.st_mode & libc::S_IFMT == libc::S_IFDIR;
    make_mount_point(target, is_directory)?;
    attach(tree.as_fd(), &c_path(target, Step::AttachMount)?).at_subject(Step::AttachMount, target)
}

/// A private layer, or the read-only view that is there where the kernel refuses one: stricter than
/// asked for, and told.
fn cover(layers: &mut Layers, target: &Bytes, read_only: &mut Vec<Bytes>) -> Result<(), Failure> {
    let path = c_path(target, Step::Layer)?;
    match layers.cover(&path) {
        Ok(()) => Ok(()),
        // Only a working directory is covered, so this is what its user has to hear.
        Err(Errno::EINVAL | Errno::EPERM) if is_no_directory(&path) => {
            Err(Errno::ENOTDIR).at_subject(Step::Chdir, target)
        }
        Err(Errno::EINVAL | Errno::EPERM) => {
            read_only.push(target.clone());
            Ok(())
        }
        Err(errno @ (Errno::ENOENT | Errno::ENOTDIR | Errno::EACCES)) => {
            Err(errno).at_subject(Step::Chdir, target)
        }
        Err(errno) => Err(errno).at_subject(Step::Layer, target),
    }
}

fn is_no_directory(path: &CStr) -> bool {
    fs::metadata(OsStr::from_bytes(path.to_bytes())).is_ok_and(|metadata| !metadata.is_dir())
}

/// Makes the mount point where it is missing; in the read-only tree it must exist.
fn make_mount_point(target: &Bytes, directory: bool) -> Result<(), Failure> {
    let path = Path::new(OsStr::from_bytes(target));
    if fs::symlink_metadata(path).is_ok() {
        return Ok(());
    }
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true).mode(0o755);
    let made = if directory {
        builder.create(path)
    } else {
        path.parent().map_or(Ok(()), |parent| builder.create(parent)).and_then(|()| {
            fs::OpenOptions::new().write(true).create_new(true).mode(0o644).open(path).map(drop)
        })
    };
    made.at_subject(Step::MountPoint, target)
}
