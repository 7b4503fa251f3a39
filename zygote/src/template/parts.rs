//! The parts of a view that a profile asks for by name: its own mounts, what is hidden, and what stays
//! read-only among what is writable.
//!
//! Sources are opened in the host's tree, with the rights of the user who is served. Targets are
//! found in the tree that commands get, so that a symbolic link on the way leads where it leads for
//! them.

use super::c_path;
use super::tree::{c_name, expand};
use crate::failure::At;
use crate::sys::mount::{attach, attr, copy_tree, set_attributes};
use crate::sys::privilege::without_overrides;
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sys::stat::fstat;
use std::ffi::{CStr, CString, OsStr};
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use zyg_protocol::message::{Authority, Bytes, Failure, Recipe, Root, Step, Tree, View, ViewBind};

/// Parts of the view that init puts in place, last of all.
#[derive(Debug, Default)]
pub(crate) struct Late {
    /// Where a mount is kept for zygotes to copy, and where it is to be seen.
    pub binds: Vec<(CString, Bytes)>,
    /// Paths that are to look empty.
    pub hidden: Vec<CString>,
    /// Paths that are to be read-only although what is around them is not.
    pub read_only: Vec<CString>,
}

const PROC: &str = "/proc";

impl Late {
    /// Whether a path lies in one of the binds.
    pub(super) fn has_within(&self, path: &Path) -> bool {
        let target = |target: &Bytes| where_it_leads(Path::new(OsStr::from_bytes(target)));
        self.binds.iter().any(|(_, bind)| path.starts_with(target(bind)))
    }
}

/// Where mounts for [`Late::binds`] are kept: below a mount point that each zygote covers.
const STORE: &str = "/dev/pts";

/// Opens the sources of the profile's own mounts, with the rights of the user who is served.
pub(super) fn open_binds(recipe: &Recipe) -> Result<Vec<OwnedFd>, Failure> {
    let open_one =
        |bind: &ViewBind| open(&Tree { path: bind.source.clone(), read_only: bind.read_only });
    with_the_users_rights(&recipe.authority, || recipe.view.binds.iter().map(open_one).collect())
}

/// What the host has of those paths that are to be read-only where what is around them is not.
pub(super) fn exceptions(view: &View) -> Vec<CString> {
    if view.root == Root::Empty {
        return Vec::new();
    }
    view.shown.iter().flat_map(expand).filter_map(|path| c_name(&path).ok()).collect()
}

/// Puts the profile's own mounts and hidden places into the tree, which is the root by now; those
/// that lie where each zygote has something of its own are left to it. `private` is what is private.
pub(super) fn place(view: &View, binds: &[OwnedFd], private: &[&CStr]) -> Result<Late, Failure> {
    let mut late = Late::default();
    let anew = |path: &Path| {
        let places = view.private.iter().chain(&view.layered);
        view.root_overlay
            || places.map(|place| OsStr::from_bytes(place)).any(|place| path.starts_with(place))
    };
    for (index, (bind, tree)) in view.binds.iter().zip(binds).enumerate() {
        let target = Path::new(OsStr::from_bytes(&bind.target));
        let leads = where_it_leads(target);
        if leads.starts_with(PROC) {
            // Each zygote has its own, and what would be there of the template's is nobody's.
            let subject = [&bind.target, &b", which leads into /proc"[..]].concat();
            return Err(Errno::EINVAL).at_subject(Step::AttachMount, subject);
        }
        if anew(target) || anew(&leads) {
            let store = format!("{STORE}/{index}");
            attach_bind(tree, store.as_bytes())?;
            let store = CString::new(store).map_err(|_| Errno::EINVAL).at(Step::AttachMount)?;
            late.binds.push((store, bind.target.clone()));
        } else {
            attach_bind(tree, &bind.target)?;
        }
    }
    let is_private = |path: &Path| {
        private.iter().any(|place| path.starts_with(OsStr::from_bytes(place.to_bytes())))
    };
    let bound = |path: &Path| {
        let target = |bind: &ViewBind| where_it_leads(Path::new(OsStr::from_bytes(&bind.target)));
        view.binds.iter().any(|bind| path.starts_with(target(bind)))
    };
    for hidden in &view.hidden {
        let path = Path::new(OsStr::from_bytes(hidden));
        let leads = where_it_leads(path);
        if is_private(&leads) && !bound(&leads) {
            // There is nothing of the host's.
            continue;
        }
        let target = c_path(hidden, Step::HostDirectory)?;
        if is_of_a_process(&leads) {
            let subject = [hidden, &b", which each process has of its own in /proc"[..]].concat();
            return Err(Errno::EINVAL).at_subject(Step::HostDirectory, subject);
        }
        // A layer would show what was hidden below it, and /proc is of each zygote's own.
        if leads.starts_with(PROC) || anew(path) || anew(&leads) {
            late.hidden.push(target);
        } else {
            cover_empty(&target).at_subject(Step::HostDirectory, hidden)?;
        }
    }
    Ok(late)
}

/// Whether it is a part of /proc that is another one for each process (proc(5)).
fn is_of_a_process(path: &Path) -> bool {
    let mut names = path.strip_prefix(PROC).into_iter().flat_map(Path::components);
    names.next().is_some_and(|name| {
        let name = name.as_os_str();
        let is_number = name.as_bytes().iter().all(u8::is_ascii_digit);
        is_number || name == "self" || name == "thread-self"
    })
}

/// The place that an absolute path names, by whatever links that are on the way already.
fn where_it_leads(path: &Path) -> PathBuf {
    let found = path.ancestors().find_map(|part| Some((part, fs::canonicalize(part).ok()?)));
    let Some((part, real)) = found else { return path.to_owned() };
    path.strip_prefix(part).map_or_else(|_| path.to_owned(), |rest| real.join(rest))
}

/// One of the profile's own mounts. Its target is made where the tree can be written.
fn attach_bind(tree: &OwnedFd, target: &[u8]) -> Result<(), Failure> {
    let place = Path::new(OsStr::from_bytes(target));
    if !place.exists() {
        let kind = fstat(tree).at_subject(Step::MountPoint, target)?.st_mode;
        let made = if kind & libc::S_IFMT == libc::S_IFDIR {
            fs::create_dir_all(place)
        } else {
            place.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(place, ""))
        };
        made.at_subject(Step::MountPoint, target)?;
    }
    c_name(place)
        .and_then(|target| attach(tree.as_fd(), &target))
        .at_subject(Step::AttachMount, target)
}

/// Makes a path look empty: a directory by an empty one over it, anything else by `/dev/null`. What
/// does not exist is hidden already.
pub(crate) fn cover_empty(target: &CStr) -> Result<(), Errno> {
    match fs::metadata(OsStr::from_bytes(target.to_bytes())) {
        Ok(metadata) if metadata.is_dir() => {
            let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
            mount(Some("zyg"), target, Some("tmpfs"), flags, Some("mode=755,size=4k,nr_inodes=2"))
        }
        Ok(_) => {
            let tree = copy_tree(c"/dev/null")?;
            set_attributes(tree.as_fd(), attr::RDONLY | attr::NOSUID)?;
            attach(tree.as_fd(), target)
        }
        Err(_) => Ok(()),
    }
}

/// Runs `act` with no more rights over files than the user has who is served. In its own user
/// namespace a template may pass over the modes of its user's files; the user may not, unless it is
/// root.
pub(super) fn with_the_users_rights<T>(
    authority: &Authority,
    act: impl FnOnce() -> Result<T, Failure>,
) -> Result<T, Failure> {
    if authority.uid == 0 {
        return act();
    }
    without_overrides(act).at(Step::OpenTree).and_then(|done| done)
}

/// Opens one mount source of the host as a detached tree.
pub(super) fn open(tree: &Tree) -> Result<OwnedFd, Failure> {
    let path = c_path(&tree.path, Step::OpenTree)?;
    let opened = copy_tree(&path).at_subject(Step::OpenTree, &tree.path)?;
    let read_only = if tree.read_only { attr::RDONLY } else { 0 };
    set_attributes(opened.as_fd(), attr::NOSUID | attr::NODEV | read_only)
        .at_subject(Step::OpenTree, &tree.path)?;
    Ok(opened)
}
