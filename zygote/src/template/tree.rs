//! The mount tree that every zygote is cloned with.
//!
//! ```text
//! /            tmpfs, read-only, with the host's top-level names
//! ├ usr etc …  the host's, read-only, with their submounts
//! ├ tmp run …  empty mount points for what is private
//! ├ dev        on the root's tmpfs: six device nodes of the host, links, mount points
//! ├ proc       the host's: covered by each zygote's own (the kernel allows a new proc only where
//! │            one is visible, mount_namespaces(7)); locked in place for whoever has no rights here
//! └ sys        of the template's own, empty, network namespace; read-only
//! ```
//! Small on purpose: each clone copies every mount in it.

use super::c_path;
use crate::failure::At;
use crate::sys::mount::{attach, attr, copy_tree, make_read_only, set_attributes};
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::unistd::{chdir, pivot_root};
use std::ffi::{CString, OsStr};
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use zyg_protocol::message::{Bytes, Failure, Recipe, Step, Tree};

/// Where the new root is put together: any directory that is there, since it is only covered until
/// the new root takes its place.
const WORKPLACES: [&str; 4] = ["/tmp", "/run", "/mnt", "/var"];

/// Names at the top of the host's tree that are made anew instead of shown.
const OWN: [&str; 3] = ["proc", "sys", "dev"];

/// Device nodes of the host that every command may use: they hold no state of anybody's.
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// Links that programs expect in /dev (the Linux allocated devices list, "compulsory links").
const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

/// A private, empty, writable directory of each zygote.
pub(crate) struct PrivatePath {
    pub path: CString,
    /// The host's mode for it, sticky bit included.
    pub mode: u32,
}

/// What init still has to mount over the tree.
pub(crate) struct Layout {
    pub private: Vec<PrivatePath>,
    /// Directories that show the host's content under a private layer.
    pub layered: Vec<CString>,
    /// Those that were asked to be layered and cannot be.
    pub read_only: Vec<Bytes>,
}

impl Layout {
    /// Builds the tree and enters it. Call in a mount namespace of one's own.
    pub(super) fn build(recipe: &Recipe) -> Result<Self, Failure> {
        let private = private_paths(&recipe.private);
        let root = mount_root()?;
        show_host(&root, &private)?;
        build_dev(&root)?;
        build_sys(&root);
        let proc = root.join("proc");
        fs::create_dir(&proc).at(Step::Proc)?;
        show("/proc".as_ref(), &proc, 0).at_subject(Step::Proc, "/proc")?;
        let private = private.into_iter().filter_map(|path| mount_point(&root, path)).collect();
        enter(&root)?;
        let mut layout = Self { private, layered: Vec::new(), read_only: Vec::new() };
        for path in &recipe.layered {
            layout.add_layered(path)?;
        }
        Ok(layout)
    }

    /// Keeps a layered path if the kernel will allow a layer over it: not with a locked mount
    /// below, which would show what that mount hides.
    fn add_layered(&mut self, path: &Bytes) -> Result<(), Failure> {
        let asked = c_path(path, Step::Home)?;
        let Ok(real) = fs::canonicalize(OsStr::from_bytes(asked.to_bytes())) else {
            return Ok(());
        };
        let Ok(real) = CString::new(real.into_os_string().as_encoded_bytes()) else {
            return Ok(());
        };
        if real.to_bytes() == b"/" {
            return Ok(());
        }
        match crate::init::layers::try_cover(&real) {
            Ok(()) => self.layered.push(real),
            Err(errno) => {
                let shown = real.to_string_lossy();
                log::warn!("{shown} stays read-only in environments: a layer is refused: {errno}");
                self.read_only.push(Bytes::from(real.into_bytes()));
            }
        }
        Ok(())
    }
}

/// The private paths that the host has as directories, by their real names.
fn private_paths(asked: &[Bytes]) -> Vec<(PathBuf, u32)> {
    let mut paths: Vec<(PathBuf, u32)> = Vec::new();
    for path in asked {
        let Ok(real) = fs::canonicalize(OsStr::from_bytes(path)) else {
            continue;
        };
        match fs::metadata(&real) {
            Ok(metadata) if metadata.is_dir() && !paths.iter().any(|(path, _)| *path == real) => {
                paths.push((real, metadata.permissions().mode() & 0o7777));
            }
            _ => {}
        }
    }
    // A private path before those below it.
    paths.sort();
    paths
}

fn mount_root() -> Result<PathBuf, Failure> {
    let place = WORKPLACES.iter().find(|place| Path::new(place).is_dir());
    let Some(place) = place else {
        return Err(Errno::ENOENT).at_subject(Step::Root, WORKPLACES.join(", "));
    };
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("zyg"), *place, Some("tmpfs"), flags, Some("mode=755"))
        .at_subject(Step::Root, place)?;
    Ok(PathBuf::from(place))
}

/// Shows each top-level name of the host, read-only, but for what is private or made anew.
fn show_host(root: &Path, private: &[(PathBuf, u32)]) -> Result<(), Failure> {
    for entry in fs::read_dir("/").at_subject(Step::HostDirectory, "/")? {
        let entry = entry.at_subject(Step::HostDirectory, "/")?;
        let (source, target) = (entry.path(), root.join(entry.file_name()));
        let own = OWN.iter().any(|own| entry.file_name() == *own);
        let kind =
            entry.file_type().at_subject(Step::HostDirectory, source.as_os_str().as_bytes())?;
        let shown = if own {
            Ok(())
        } else if private.iter().any(|(path, _)| *path == source) {
            fs::create_dir(&target).map_err(errno_of)
        } else if kind.is_symlink() {
            fs::read_link(&source).and_then(|to| symlink(to, &target)).map_err(errno_of)
        } else {
            let placed =
                if kind.is_dir() { fs::create_dir(&target) } else { fs::write(&target, "") };
            let attributes = attr::RDONLY | attr::NOSUID | attr::NODEV;
            placed.map_err(errno_of).and_then(|()| show(&source, &target, attributes))
        };
        // What cannot be shown (a dead network mount, say) stays empty: less is visible, not more.
        if let Err(errno) = shown {
            log::warn!("{} is not shown in environments: {errno}", source.display());
        }
    }
    Ok(())
}

fn show(source: &Path, target: &Path, attributes: u64) -> Result<(), Errno> {
    let tree = copy_tree(&c_name(source)?)?;
    if attributes != 0 {
        set_attributes(tree.as_fd(), attributes)?;
    }
    attach(tree.as_fd(), &c_name(target)?)
}

fn build_dev(root: &Path) -> Result<(), Failure> {
    let dev = root.join("dev");
    for directory in [dev.clone(), dev.join("pts"), dev.join("shm")] {
        fs::create_dir(&directory).at_subject(Step::Dev, "/dev")?;
    }
    for name in DEVICES {
        let (source, target) = (Path::new("/dev").join(name), dev.join(name));
        if source.exists() {
            fs::write(&target, "").at_subject(Step::Dev, name)?;
            // Read-only, so that the host's node cannot be changed (chmod(2)); a device is
            // written all the same.
            show(&source, &target, attr::RDONLY | attr::NOSUID | attr::NOEXEC)
                .at_subject(Step::Dev, name)?;
        }
    }
    for (name, to) in LINKS {
        symlink(to, dev.join(name)).at_subject(Step::Dev, name)?;
    }
    Ok(())
}

/// A sysfs of the template's own network namespace shows no interface of the host's. Where the
/// host's own /sys is masked, as in many containers, none may be mounted: it stays empty.
fn build_sys(root: &Path) {
    let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let target = root.join("sys");
    let mounted = fs::create_dir(&target)
        .map_err(errno_of)
        .and_then(|()| mount(Some("sysfs"), &target, Some("sysfs"), flags, None::<&str>));
    if let Err(errno) = mounted {
        log::warn!("/sys stays empty in environments: the kernel refuses a sysfs here: {errno}");
    }
}

/// The mount point of a private path, made if it lies on the new root itself.
fn mount_point(root: &Path, (path, mode): (PathBuf, u32)) -> Option<PrivatePath> {
    let inside = root.join(path.strip_prefix("/").ok()?);
    if !inside.is_dir() && fs::create_dir_all(&inside).is_err() {
        log::warn!("{} cannot be made private: it has no mount point", path.display());
        return None;
    }
    Some(PrivatePath { path: c_name(&path).ok()?, mode })
}

/// Makes the new root the root of this mount namespace and lets go of the old one.
fn enter(root: &Path) -> Result<(), Failure> {
    chdir(root).at(Step::EnterRoot)?;
    pivot_root(".", ".").at(Step::EnterRoot)?;
    umount2(".", MntFlags::MNT_DETACH).at(Step::EnterRoot)?;
    chdir("/").at(Step::EnterRoot)?;
    make_read_only(c"/").at(Step::EnterRoot)
}

/// Opens one mount source of the host for a lease, as a detached tree.
pub(super) fn open(tree: &Tree) -> Result<OwnedFd, Failure> {
    let path = c_path(&tree.path, Step::OpenTree)?;
    let opened = copy_tree(&path).at_subject(Step::OpenTree, &tree.path)?;
    let read_only = if tree.read_only { attr::RDONLY } else { 0 };
    set_attributes(opened.as_fd(), attr::NOSUID | attr::NODEV | read_only)
        .at_subject(Step::OpenTree, &tree.path)?;
    Ok(opened)
}

fn c_name(path: &Path) -> Result<CString, Errno> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno::EINVAL)
}

fn errno_of(error: std::io::Error) -> Errno {
    crate::failure::IntoErrno::into_errno(error)
}

/// The owner and mode of a directory, for a layer's upper directory to look the same.
pub(crate) fn mode_of(path: &Path) -> u32 {
    fs::metadata(path).map_or(0o755, |metadata| metadata.mode() & 0o7777)
}
