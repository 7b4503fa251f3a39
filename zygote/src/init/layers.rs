//! Private writable places: one tmpfs of the zygote, shown piece by piece.
//!
//! A piece is shown as a directory of its own ([`Layers::bind`]), or as the upper part of an
//! overlay over what the tree already shows ([`Layers::cover`], overlayfs in the kernel's
//! documentation). All of it vanishes with the zygote.

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::{
    FchmodatFlags, Mode, UtimensatFlags, fchmodat, fstat, mkdirat, stat, utimensat,
};
use nix::sys::time::TimeSpec;
use nix::unistd::{chdir, fchdir};
use std::ffi::{CStr, OsStr};
use std::os::fd::{AsRawFd, OwnedFd};
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

    /// Follows the tmpfs into the mount namespace that `enter` goes on in, a copy of the caller's.
    ///
    /// # Errors
    /// Those of `enter`, fchdir(2) and open(2).
    pub fn follow(&mut self, enter: impl FnOnce() -> Result<(), Errno>) -> Result<(), Errno> {
        fchdir(&self.root)?;
        // The working directory is taken along, and nothing else is (unshare(2), CLONE_NEWNS).
        let entered = enter().and_then(|()| open_path(c"."));
        chdir(c"/")?;
        self.root = entered?;
        Ok(())
    }

    /// The device number of the tmpfs (stat(2)).
    ///
    /// # Errors
    /// Those of fstat(2).
    pub fn device(&self) -> Result<u64, Errno> {
        fstat(&self.root).map(|stat| stat.st_dev)
    }

    /// Makes a piece: an empty directory with this mode.
    ///
    /// # Errors
    /// Those of mkdir(2).
    pub fn make_directory(&mut self, mode: Mode) -> Result<Piece, Errno> {
        let piece = Piece(self.next);
        self.next += 1;
        mkdirat(&self.root, piece.0.to_string().as_str(), mode)?;
        Ok(piece)
    }

    /// Makes a directory in a piece.
    ///
    /// # Errors
    /// Those of mkdir(2).
    pub fn make_within(&self, piece: Piece, name: &str, mode: Mode) -> Result<(), Errno> {
        mkdirat(&self.root, format!("{}/{name}", piece.0).as_str(), mode)
    }

    /// Shows a piece at `target`.
    ///
    /// # Errors
    /// Those of mount(2).
    pub fn bind(&self, piece: Piece, target: &CStr) -> Result<(), Errno> {
        let source = piece.0.to_string();
        self.within(|| {
            mount(Some(source.as_str()), target, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        })
    }

    /// Puts a private writable layer over the directory `target`.
    ///
    /// # Errors
    /// Those of mount(2): `EINVAL` where mounts below `target` are locked, since a layer would show
    /// what they hide. `ENOENT` where it is no absolute path.
    pub fn cover(&mut self, target: &CStr) -> Result<(), Errno> {
        let path = Path::new(OsStr::from_bytes(target.to_bytes()));
        if !path.is_absolute() {
            return Err(Errno::ENOENT);
        }
        let (upper, work) = (format!("{}.upper", self.next), format!("{}.work", self.next));
        self.next += 1;
        self.make_alike(&upper, target)?;
        mkdirat(&self.root, work.as_str(), Mode::S_IRWXU)?;
        let lower = Lower::find(target)?;
        let options =
            format!("lowerdir={},upperdir={upper},workdir={work},userxattr", lower.as_option());
        self.within(|| mount(Some("zyg"), target, Some("overlay"), PLAIN, Some(options.as_str())))
    }

    /// Makes a directory that looks as the other one does: as the upper one of an overlay it is what the
    /// overlay shows in its place.
    fn make_alike(&self, name: &str, other: &CStr) -> Result<(), Errno> {
        let Ok(shown) = stat(other) else {
            return mkdirat(&self.root, name, Mode::from_bits_truncate(0o755));
        };
        let mode = Mode::from_bits_truncate(shown.st_mode);
        mkdirat(&self.root, name, mode)?;
        if mode.contains(Mode::S_ISGID) {
            // Which mkdir(2) does not take. Of a group that is not the caller's it would mean nothing.
            fchmodat(&self.root, name, mode, FchmodatFlags::FollowSymlink)?;
        }
        let modified = TimeSpec::new(shown.st_mtime, shown.st_mtime_nsec);
        let flags = UtimensatFlags::FollowSymlink;
        utimensat(&self.root, name, &TimeSpec::UTIME_OMIT, &modified, flags)
    }

    /// Runs `act` with the tmpfs as working directory, so that pieces have short names, whatever is
    /// mounted over it; and not through `/proc`, where every name costs memory for as long as init
    /// lives.
    fn within(&self, act: impl FnOnce() -> Result<(), Errno>) -> Result<(), Errno> {
        fchdir(&self.root)?;
        let done = act();
        chdir(c"/").and(done)
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

/// A directory of its own in the tmpfs, by its number.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Piece(u32);

/// What is to lie under a layer.
enum Lower<'a> {
    Named(&'a str),
    /// By descriptor, since overlayfs would take a comma, a colon or a backslash in a path for its
    /// own syntax.
    Open(OwnedFd),
}

impl<'a> Lower<'a> {
    fn find(path: &'a CStr) -> Result<Self, Errno> {
        match path.to_str() {
            Ok(name) if !name.contains([',', ':', '\\']) => Ok(Self::Named(name)),
            _ => open_path(path).map(Self::Open),
        }
    }

    fn as_option(&self) -> String {
        match self {
            Self::Named(name) => (*name).to_owned(),
            // proc_pid_fd(5).
            Self::Open(descriptor) => format!("/proc/self/fd/{}", descriptor.as_raw_fd()),
        }
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
