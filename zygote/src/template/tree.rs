//! The mount tree that every zygote is cloned with.
//!
//! ```text
//! /            tmpfs, read-only, with the host's top-level names
//! ├ usr etc …  the host's, read-only, with their submounts
//! ├ tmp run …  empty mount points for what is private
//! ├ dev        on the root's tmpfs: six device nodes of the host, links, mount points
//! ├ proc       of a pid namespace that has ended: covered by each zygote's own, which the kernel allows
//! │            only where one is visible (mount_namespaces(7))
//! └ sys        of the template's own, empty, network namespace; read-only
//! ```
//! Small on purpose: each clone copies every mount in it.

use super::parts::{self, Late};
use super::{c_path, etc};
use crate::failure::At;
use crate::sys::mount::{attach, attr, copy_tree, make_read_only, new_procfs, set_attributes};
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::unistd::{chdir, pivot_root};
use std::ffi::{CStr, CString, OsStr};
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use zyg_protocol::message::{Bytes, Failure, Network, Recipe, Root, Step, View};

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
    /// The device of the emptiness that it covers (stat(2)).
    pub emptiness: u64,
    /// Whether it lies in a mount of the profile's that init puts in place.
    pub late: bool,
}

/// What init still has to mount over the tree.
pub(crate) struct Layout {
    pub private: Vec<PrivatePath>,
    /// Directories that show the host's content under a private layer.
    pub layered: Vec<CString>,
    /// Those that were asked to be layered and cannot be.
    pub read_only: Vec<Bytes>,
    /// What lies in a place that each zygote makes anew, and so has to be put there by each.
    pub late: Late,
    /// Whether the profile has mounts of its own, wherever.
    pub has_binds: bool,
    /// What the host allows a user of inotify.
    pub inotify_of_a_user: crate::init::bounds::Inotify,
}

impl Layout {
    /// Builds the tree and enters it. Call in a mount namespace of one's own.
    pub(super) fn build(recipe: &Recipe) -> Result<Self, Failure> {
        let view = &recipe.view;
        let private = private_paths(view);
        // The new tree is put together over a place that these may lie in.
        let binds = parts::open_binds(recipe)?;
        let exceptions = parts::exceptions(view);
        let shown = match &view.root {
            Root::Host => find_host(&private)?,
            Root::Empty => {
                let etc = if view.minimal_etc { &etc::SHOWN[..] } else { &[] };
                let etc = etc.iter().map(|path| Bytes::from(path.as_bytes()));
                find_listed(view.shown.iter().cloned().chain(etc))?
            }
            Root::Directory(_) => Vec::new(),
        };
        let root = start_root(view)?;
        for (path, source) in shown {
            match (show_entry(&root, &path, source), &view.root) {
                (Err(failure), Root::Host) => {
                    log::warn!("{} is not shown in environments: {failure}", path.display());
                }
                (shown, _) => shown?,
            }
        }
        if view.minimal_etc {
            let authority = &recipe.authority;
            let inside = crate::init::inside(authority, (authority.uid, authority.gid));
            etc::build(&root, inside)?;
        }
        let own_dev = matches!(view.root, Root::Directory(_));
        build_dev(&root, own_dev)?;
        build_sys(&root, recipe.network)?;
        build_proc(&root)?;
        let mut private: Vec<PrivatePath> =
            private.into_iter().filter_map(|path| mount_point(&root, path)).collect();
        enter(&root)?;
        // From here on every path is what it will be for commands, symbolic links on it included.
        let places: Vec<&CStr> = private.iter().map(|private| private.path.as_c_str()).collect();
        let mut late = parts::place(view, &binds, &places)?;
        late.read_only = exceptions;
        for PrivatePath { path, late: is_late, .. } in &mut private {
            *is_late = late.has_within(Path::new(OsStr::from_bytes(path.to_bytes())));
        }
        let covered = cover_places(&mut private)?;
        if own_dev {
            make_read_only(c"/dev").at(Step::Dev)?;
        }
        make_read_only(c"/").at(Step::EnterRoot)?;
        let mut layout = Self {
            private,
            layered: Vec::new(),
            read_only: Vec::new(),
            late,
            has_binds: !binds.is_empty(),
            inotify_of_a_user: crate::init::bounds::inotify_of_a_user()?,
        };
        for path in &view.layered {
            layout.add_layered(path, &covered)?;
        }
        replace_proc()?;
        Ok(layout)
    }

    /// Keeps a layered path if the kernel will allow a layer over it: not with a locked mount
    /// below, which would show what that mount hides. Those that cover what is private will be.
    fn add_layered(&mut self, path: &Bytes, covered: &[PathBuf]) -> Result<(), Failure> {
        let asked = c_path(path, Step::Home)?;
        let Ok(real) = fs::canonicalize(OsStr::from_bytes(asked.to_bytes())) else {
            let place = asked.to_string_lossy();
            log::warn!("{place} is not shown in environments: there is no such directory in them");
            return Ok(());
        };
        let Ok(real) = CString::new(real.into_os_string().as_encoded_bytes()) else {
            return Ok(());
        };
        if real.to_bytes() == b"/" {
            return Ok(());
        }
        let place = Path::new(OsStr::from_bytes(real.to_bytes()));
        let possible = if covered.iter().any(|path| path.starts_with(place) && path != place) {
            Err(Errno::EINVAL)
        } else {
            crate::init::layers::try_cover(&real)
        };
        match possible {
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

/// The private paths with their modes. Where the host's tree is shown, those that it has as
/// directories, by their real names.
fn private_paths(view: &View) -> Vec<(PathBuf, u32)> {
    let host = view.root == Root::Host;
    let mut paths: Vec<(PathBuf, u32)> = Vec::new();
    for path in &view.private {
        let asked = Path::new(OsStr::from_bytes(path));
        let real = fs::canonicalize(asked).unwrap_or_else(|_| asked.to_owned());
        let path = if host { real } else { asked.to_owned() };
        let mode = match fs::metadata(&path) {
            Ok(metadata) if metadata.is_dir() => metadata.permissions().mode() & 0o7777,
            _ if host => continue,
            _ => 0o755,
        };
        if !paths.iter().any(|(other, _)| *other == path) {
            paths.push((path, mode));
        }
    }
    // A private path before those below it.
    paths.sort();
    paths
}

/// Puts what the tree starts from at a place where it can be completed.
fn start_root(view: &View) -> Result<PathBuf, Failure> {
    let place = WORKPLACES.iter().find(|place| Path::new(place).is_dir());
    let Some(place) = place else {
        return Err(Errno::ENOENT).at_subject(Step::Root, WORKPLACES.join(", "));
    };
    if let Root::Directory(directory) = &view.root {
        let attributes = attr::RDONLY | attr::NOSUID | attr::NODEV;
        show(Path::new(OsStr::from_bytes(directory)), place.as_ref(), attributes)
            .at_subject(Step::Root, directory)?;
    } else {
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        mount(Some("zyg"), *place, Some("tmpfs"), flags, Some("mode=755"))
            .at_subject(Step::Root, place)?;
    }
    Ok(PathBuf::from(place))
}

/// Something of the host's that is to be shown, opened: the new root is put together over a place that
/// may be shown itself.
enum Source {
    Link(PathBuf),
    Tree {
        tree: OwnedFd,
        directory: bool,
    },
    /// A mount point for what is private.
    Nothing,
}

impl Source {
    fn find(path: &Path, kind: fs::FileType) -> Result<Self, Errno> {
        if kind.is_symlink() {
            return fs::read_link(path).map(Self::Link).map_err(errno_of);
        }
        let tree = open_tree(path, attr::RDONLY | attr::NOSUID | attr::NODEV)?;
        Ok(Self::Tree { tree, directory: kind.is_dir() })
    }
}

/// Finds the listed paths of the host. One that the host does not have is not shown.
fn find_listed(listed: impl Iterator<Item = Bytes>) -> Result<Vec<(PathBuf, Source)>, Failure> {
    let mut found = Vec::new();
    for path in listed.flat_map(|pattern| expand(&pattern)) {
        let Ok(kind) = fs::symlink_metadata(&path) else { continue };
        let source = Source::find(&path, kind.file_type());
        let source = source.at_subject(Step::HostDirectory, path.as_os_str().as_bytes())?;
        found.push((path, source));
    }
    Ok(found)
}

/// The paths that a pattern stands for: itself, or with a trailing `*` all that begin so.
pub(super) fn expand(pattern: &Bytes) -> Vec<PathBuf> {
    let Some(prefix) = pattern.strip_suffix(b"*") else {
        return vec![PathBuf::from(OsStr::from_bytes(pattern))];
    };
    let prefix = Path::new(OsStr::from_bytes(prefix));
    let (Some(directory), Some(start)) = (prefix.parent(), prefix.file_name()) else {
        return Vec::new();
    };
    let entries = fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok);
    entries
        .filter(|entry| entry.file_name().as_bytes().starts_with(start.as_bytes()))
        .map(|entry| entry.path())
        .collect()
}

/// Finds each top-level name of the host, but for what is made anew.
fn find_host(private: &[(PathBuf, u32)]) -> Result<Vec<(PathBuf, Source)>, Failure> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/").at_subject(Step::HostDirectory, "/")? {
        let entry = entry.at_subject(Step::HostDirectory, "/")?;
        let path = entry.path();
        if OWN.iter().any(|own| entry.file_name() == *own) {
            continue;
        }
        let kind =
            entry.file_type().at_subject(Step::HostDirectory, path.as_os_str().as_bytes())?;
        let source = if private.iter().any(|(private, _)| *private == path) {
            Ok(Source::Nothing)
        } else {
            Source::find(&path, kind)
        };
        match source {
            Ok(source) => found.push((path, source)),
            // What cannot be shown (a dead network mount, say) stays empty: less is visible, not more.
            Err(errno) => {
                log::warn!("{} is not shown in environments: {errno}", path.display());
                if kind.is_dir() {
                    found.push((path, Source::Nothing));
                }
            }
        }
    }
    Ok(found)
}

/// Shows it below the root, read-only.
fn show_entry(root: &Path, path: &Path, source: Source) -> Result<(), Failure> {
    let target = root.join(path.strip_prefix("/").unwrap_or(path));
    let show = || {
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent).map_err(errno_of)?;
        }
        match source {
            Source::Link(to) => symlink(to, &target).map_err(errno_of),
            Source::Nothing => fs::create_dir(&target).map_err(errno_of),
            Source::Tree { tree, directory } => {
                let placed =
                    if directory { fs::create_dir(&target) } else { fs::write(&target, "") };
                placed.map_err(errno_of)?;
                attach(tree.as_fd(), &c_name(&target)?)
            }
        }
    };
    show().at_subject(Step::HostDirectory, path.as_os_str().as_bytes())
}

fn show(source: &Path, target: &Path, attributes: u64) -> Result<(), Errno> {
    attach(open_tree(source, attributes)?.as_fd(), &c_name(target)?)
}

fn open_tree(source: &Path, attributes: u64) -> Result<OwnedFd, Errno> {
    let tree = copy_tree(&c_name(source)?)?;
    if attributes != 0 {
        set_attributes(tree.as_fd(), attributes)?;
    }
    Ok(tree)
}

/// `/dev`, on the root's tmpfs, or where the root is a directory of the host on one of its own.
fn build_dev(root: &Path, own: bool) -> Result<(), Failure> {
    let dev = root.join("dev");
    if own {
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
        mount(Some("zyg"), &dev, Some("tmpfs"), flags, Some("mode=755"))
            .at_subject(Step::Dev, "/dev")?;
    } else {
        fs::create_dir(&dev).at_subject(Step::Dev, "/dev")?;
    }
    for directory in ["pts", "shm"] {
        fs::create_dir(dev.join(directory)).at_subject(Step::Dev, directory)?;
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

/// The host's, for as long as the tree is built.
fn build_proc(root: &Path) -> Result<(), Failure> {
    let proc = root.join("proc");
    if !proc.is_dir() {
        fs::create_dir(&proc).at_subject(Step::Proc, "/proc")?;
    }
    show("/proc".as_ref(), &proc, 0).at_subject(Step::Proc, "/proc")
}

/// Puts one in its place that is to be covered by each zygote's own: without one the kernel would allow
/// none (mount_namespaces(7)). It is of a pid namespace that has ended, so nobody is to be found there.
fn replace_proc() -> Result<(), Failure> {
    let replace = || {
        let procfs = new_procfs()?;
        umount2("/proc", MntFlags::MNT_DETACH)?;
        attach(procfs.as_fd(), c"/proc")
    };
    replace().at(Step::Proc)
}

/// Has what is private cover nothing but emptiness. Returns where that took a mount.
fn cover_places(private: &mut [PrivatePath]) -> Result<Vec<PathBuf>, Failure> {
    let device = |path: &Path| fs::metadata(path).map(|there| there.dev());
    let is_empty =
        |path: &Path| fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none());
    // What is made anew is on one filesystem.
    let own = device("/dev".as_ref()).at_subject(Step::Dev, "/dev")?;
    let mut covered = Vec::new();
    for PrivatePath { path, emptiness, .. } in private {
        let place = Path::new(OsStr::from_bytes(path.to_bytes()));
        // One that is not there lies in another one.
        let Ok(there) = device(place) else { continue };
        if there != own || !is_empty(place) {
            parts::cover_empty(path).at_subject(Step::Scratch, path.to_bytes())?;
            covered.push(place.to_owned());
        }
        *emptiness = device(place).at_subject(Step::Scratch, path.to_bytes())?;
    }
    Ok(covered)
}

/// A sysfs of the template's own network namespace shows no interface of the host's; with the
/// host's network it is the host's. Where the host's own /sys is masked, as in many containers, none
/// may be mounted: it stays empty.
fn build_sys(root: &Path, network: Network) -> Result<(), Failure> {
    let target = root.join("sys");
    if !target.is_dir() {
        fs::create_dir(&target).at_subject(Step::Sys, "/sys")?;
    }
    let mounted = if network == Network::Host {
        let attributes = attr::RDONLY | attr::NOSUID | attr::NODEV | attr::NOEXEC;
        show("/sys".as_ref(), &target, attributes)
    } else {
        let flags =
            MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        mount(Some("sysfs"), &target, Some("sysfs"), flags, None::<&str>)
    };
    if let Err(errno) = mounted {
        log::warn!("/sys stays empty in environments: the kernel refuses a sysfs here: {errno}");
    }
    Ok(())
}

/// The mount point of a private path, made if it lies on the new root itself.
fn mount_point(root: &Path, (path, mode): (PathBuf, u32)) -> Option<PrivatePath> {
    let inside = root.join(path.strip_prefix("/").ok()?);
    if !inside.is_dir() && fs::create_dir_all(&inside).is_err() {
        log::warn!("{} cannot be made private: it has no mount point", path.display());
        return None;
    }
    Some(PrivatePath { path: c_name(&path).ok()?, mode, emptiness: 0, late: false })
}

/// Makes the new root the root of this mount namespace and lets go of the old one.
fn enter(root: &Path) -> Result<(), Failure> {
    chdir(root).at(Step::EnterRoot)?;
    pivot_root(".", ".").at(Step::EnterRoot)?;
    umount2(".", MntFlags::MNT_DETACH).at(Step::EnterRoot)?;
    chdir("/").at(Step::EnterRoot)
}

pub(super) fn c_name(path: &Path) -> Result<CString, Errno> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno::EINVAL)
}

fn errno_of(error: std::io::Error) -> Errno {
    crate::failure::IntoErrno::into_errno(error)
}
