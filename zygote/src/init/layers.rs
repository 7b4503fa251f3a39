//! Private writable places: one tmpfs of the zygote, shown piece by piece.
//!
//! A piece is shown as a directory of its own ([`Layers::bind`]), or as the upper part of an
//! overlay over what the tree already shows ([`Layers::cover`], overlayfs in the kernel's
//! documentation). All of it vanishes with the zygote.

use crate::template::mode_of;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::{Mode, mkdirat};
use std::ffi::{CStr, CString, OsStr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Where the tmpfs is mounted until it is covered: a directory that every tree has, and that gets
/// a mount of its own afterwards.
const PLACE: &CStr = c"/dev/pts";

const PLAIN: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV);

/// The tmpfs, and how many pieces of it are in use.
#[derive(Debug)]
pub(crate) struct Layers {
    root: OwnedFd,
    next: u32,
    /// As mount options, each with a comma before it.
    bounds: String,
}

impl Layers {
    /// Mounts the tmpfs, with bounds on what it may hold where the kernel's own are too wide.
    ///
    /// # Errors
    /// Those of mount(2).
    pub fn create(bytes: Option<u64>, inodes: Option<u64>) -> Result<Self, Errno> {
        let mut bounds = String::new();
        if let Some(bytes) = bytes {
            bounds.push_str(&format!(",size={bytes}"));
        }
        if let Some(inodes) = inodes {
            bounds.push_str(&format!(",nr_inodes={inodes}"));
        }
        let options = format!("mode=0700{bounds}");
        mount(Some("zyg"), PLACE, Some("tmpfs"), PLAIN, Some(options.as_str()))?;
        Ok(Self { root: open_path(PLACE)?, next: 0, bounds })
    }

    /// Finds the tmpfs again after the root was replaced by one that shows it at the same place.
    ///
    /// # Errors
    /// Those of open(2).
    pub fn reopen(&mut self) -> Result<(), Errno> {
        self.root = open_path(PLACE)?;
        Ok(())
    }

    /// Makes a piece: an empty directory with this mode.
    ///
    /// # Errors
    /// Those of mkdir(2).
    pub fn make_directory(&mut self, mode: Mode) -> Result<OwnedFd, Errno> {
        let name = CString::new(self.next.to_string()).map_err(|_| Errno::EINVAL)?;
        self.next += 1;
        mkdirat(&self.root, name.as_c_str(), mode)?;
        openat(&self.root, name.as_c_str(), PATH_FLAGS, Mode::empty())
    }

    /// Shows a piece at `target`.
    ///
    /// # Errors
    /// Those of mount(2).
    pub fn bind(&self, piece: BorrowedFd<'_>, target: &CStr) -> Result<(), Errno> {
        mount(Some(through(piece).as_str()), target, None::<&str>, MsFlags::MS_BIND, None::<&str>)
    }

    /// Puts a private writable layer over the directory `target`.
    ///
    /// # Errors
    /// Those of mount(2): `EINVAL` where mounts below `target` are locked, since a layer would show
    /// what they hide.
    pub fn cover(&mut self, target: &CStr) -> Result<(), Errno> {
        let lower = open_path(target)?;
        let path = Path::new(OsStr::from_bytes(target.to_bytes()));
        let piece = self.make_directory(Mode::S_IRWXU)?;
        // The upper directory's mode is what the overlay's root shows.
        mkdirat(&piece, c"upper", Mode::from_bits_truncate(mode_of(path)))?;
        mkdirat(&piece, c"work", Mode::S_IRWXU)?;
        let upper = openat(&piece, c"upper", PATH_FLAGS, Mode::empty())?;
        let work = openat(&piece, c"work", PATH_FLAGS, Mode::empty())?;
        // By descriptor, since overlayfs would take a comma or colon in a path for its own syntax.
        let options = format!(
            "lowerdir={},upperdir={},workdir={},userxattr",
            through(lower.as_fd()),
            through(upper.as_fd()),
            through(work.as_fd()),
        );
        mount(Some("zyg"), target, Some("overlay"), PLAIN, Some(options.as_str()))
    }

    /// Mounts an empty tmpfs at `target`, with the same bounds as the places of [`Layers`] have
    /// together.
    ///
    /// # Errors
    /// Those of mount(2).
    pub fn mount_tmpfs(&self, target: &CStr) -> Result<(), Errno> {
        let options = format!("mode=0755{}", self.bounds);
        mount(Some("zyg"), target, Some("tmpfs"), PLAIN, Some(options.as_str()))
    }
}

/// Whether a layer can be put over `target`, tried for real and taken back.
///
/// # Errors
/// Those of [`Layers::cover`].
pub(crate) fn try_cover(target: &CStr) -> Result<(), Errno> {
    let mut layers = Layers::create(None, None)?;
    let covered = layers.cover(target);
    if covered.is_ok() {
        umount2(target, MntFlags::MNT_DETACH)?;
    }
    umount2(PLACE, MntFlags::MNT_DETACH)?;
    covered
}

const PATH_FLAGS: OFlag = OFlag::O_PATH.union(OFlag::O_DIRECTORY).union(OFlag::O_CLOEXEC);

fn open_path(path: &CStr) -> Result<OwnedFd, Errno> {
    open(path, PATH_FLAGS, Mode::empty())
}

/// A path to what a descriptor refers to (proc_pid_fd(5)).
fn through(descriptor: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", descriptor.as_raw_fd())
}
