//! A lease's own mounts and host name, put in place before its first command.

use super::layers::Layers;
use super::{Init, Preparation, Setup, bounded, lock, setup};
use crate::failure::{At, failure};
use crate::sys::mount::{attach, copy_tree};
use crate::template::{Layout, c_path, cover_empty};
use nix::errno::Errno;
use nix::sys::prctl::set_dumpable;
use nix::unistd::sethostname;
use std::ffi::{CStr, CString, OsStr};
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use zyg_protocol::message::{Attach, Bytes, Failure, FromInit, Prepare, Recipe, Step};

impl Init<'_> {
    /// Prepares the lease, once. After a failure nothing runs here: never less than was asked for.
    pub(super) fn prepare(&mut self, prepare: &Prepare, trees: Vec<OwnedFd>) {
        let done = if self.prepared == Preparation::Open {
            self.mount(prepare, trees)
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

    /// Mounts what the lease asks for. Returns what stays read-only that was to have a layer, and the mount
    /// namespace that it has left, if it has locked its mounts.
    fn mount(
        &mut self,
        prepare: &Prepare,
        trees: Vec<OwnedFd>,
    ) -> Result<(Vec<Bytes>, Option<OwnedFd>), Failure> {
        let Setup { recipe, layout, .. } = self.setup;
        let attach = &prepare.attach;
        let kept = keep_covered(&layout.late.binds, attach)?;
        let placed = put_in_place(&mut self.layers, prepare, trees)?;
        for (tree, target) in kept {
            attach_tree(&tree, target)?;
        }
        let hidden = hide_again(recipe, layout, attach)?;
        let covers = placed.covers
            || hidden
            || lock::is_needed_for(attach)
            || lock::is_composed(layout) && !attach.is_empty();
        let left = if covers { self.lock_mounts()? } else { None };
        Ok((placed.read_only, left))
    }

    /// Has what the lease's own mounts cover stay covered. Returns what it has left for that.
    fn lock_mounts(&mut self) -> Result<Option<OwnedFd>, Failure> {
        let Setup { recipe, identity, .. } = self.setup;
        let Some(lock) = &self.lock else { return Ok(None) };
        let inside = setup::inside(&recipe.authority, *identity);
        // Who is not dumpable may not write its own id maps. No command is there to look meanwhile.
        set_dumpable(true).at(Step::IdMaps)?;
        let left = lock.lock(&mut self.layers, recipe, inside, inside)?;
        setup::drop_privileges(&recipe.confinement).at(Step::DropPrivileges)?;
        Ok(Some(left))
    }
}

/// Copies of the profile's own mounts that lie below a working directory, which is about to cover them.
fn keep_covered<'a>(
    binds: &'a [(CString, Bytes)],
    attach: &[Attach],
) -> Result<Vec<(OwnedFd, &'a Bytes)>, Failure> {
    let real = |path: &Bytes| {
        let path = Path::new(OsStr::from_bytes(path));
        fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
    };
    let mut kept = Vec::new();
    for (_, bind) in binds {
        let covered = attach.iter().any(|attach| match attach {
            Attach::Layer { target } | Attach::Cover { target } => {
                let (bind, cwd) = (real(bind), real(target));
                bind.starts_with(&cwd) && bind != cwd
            }
            Attach::Tree { .. } | Attach::Tmpfs { .. } => false,
        });
        if covered {
            let tree = copy_tree(&c_path(bind, Step::AttachMount)?);
            kept.push((tree.at_subject(Step::AttachMount, bind)?, bind));
        }
    }
    Ok(kept)
}

/// How a lease's own mounts are in place.
struct Placed {
    /// What stays read-only that was to have a layer.
    read_only: Vec<Bytes>,
    /// Whether one of them covers what is more than an emptiness of the environment's own.
    covers: bool,
}

fn put_in_place(
    layers: &mut Layers,
    prepare: &Prepare,
    trees: Vec<OwnedFd>,
) -> Result<Placed, Failure> {
    let mut read_only = Vec::new();
    let mut trees = trees.into_iter();
    let own = layers.device().at(Step::AttachMount)?;
    let mut covers = false;
    for attachment in &prepare.attach {
        let tree = if attachment.has_tree() { trees.next() } else { None };
        if let Attach::Tree { target } | Attach::Layer { target } | Attach::Tmpfs { target } =
            attachment
        {
            let there = fs::metadata(OsStr::from_bytes(target));
            covers |= there.is_ok_and(|there| there.dev() != own);
        }
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
    Ok(Placed { read_only, covers })
}

/// Has what is to look empty, and what is to be read-only, look and be so again where one of these has
/// brought it in with what is around it. Whether one has. What a client has asked to see there by its very
/// name is to be seen.
fn hide_again(recipe: &Recipe, layout: &Layout, attach: &[Attach]) -> Result<bool, Failure> {
    let path = |bytes: &[u8]| fs::canonicalize(OsStr::from_bytes(bytes));
    let shown = |attach: &Attach| match attach {
        Attach::Tree { target } | Attach::Layer { target } | Attach::Cover { target } => {
            path(target).ok()
        }
        Attach::Tmpfs { .. } => None,
    };
    let shown: Vec<PathBuf> = attach.iter().filter_map(shown).collect();
    let brought_in = |name: &[u8]| {
        let Ok(real) = path(name) else { return false };
        // By the name as well: it may be a link that leads elsewhere.
        let named = Path::new(OsStr::from_bytes(name));
        let below = |path: &Path, shown: &Path| path.starts_with(shown) && path != shown;
        let asked_for = shown.contains(&real);
        !asked_for && shown.iter().any(|shown| below(&real, shown) || below(named, shown))
    };
    let mut again = false;
    for name in recipe.view.hidden.iter().filter(|name| brought_in(name)) {
        cover_empty(&c_path(name, Step::HostDirectory)?).at_subject(Step::HostDirectory, name)?;
        again = true;
    }
    for name in layout.late.read_only.iter().filter(|name| brought_in(name.to_bytes())) {
        setup::protect(name).at_subject(Step::HostDirectory, name.to_bytes())?;
        again = true;
    }
    Ok(again)
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
