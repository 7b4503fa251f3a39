//! Our own program, to be executed from where nobody can change it.
//!
//! Whoever executes a program can name it by `/proc/PID/exe`, and with that the mount that it was executed
//! from. A command may execute init's program again, by `#!/proc/self/exe`, and it may belong to the
//! command's user: on a mount that can be written its mode, times and attributes could be changed, and
//! its content where the kernel lets what is executed be written.
#![expect(unsafe_code, reason = "a child that shares the caller's memory")]

use super::mount::{attr, copy_tree, set_attributes};
use super::process::beside;
use crate::failure::{At, failure};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::{FileStat, Mode, fstat};
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use zyg_protocol::message::{Failure, Step};

/// The program of the calling process on a mount of its own, attached to nothing, that is read-only.
#[derive(Debug)]
pub struct OwnProgram(OwnedFd);

impl OwnProgram {
    /// Finds it by its name, and makes the mount: with the caller's rights if it may (open_tree(2)), else
    /// with those of a child in a user and a mount namespace of its own ([`beside`]).
    ///
    /// # Errors
    /// Where namespaces are refused, or the mount; `ENOENT` or `ESTALE` where another program has the name
    /// by now, or none.
    pub fn find() -> Result<Self, Failure> {
        const RUNNING: &CStr = c"/proc/self/exe";
        let name =
            std::fs::read_link("/proc/self/exe").at_subject(Step::OpenTree, RUNNING.to_bytes())?;
        let path = CString::new(name.as_os_str().as_bytes())
            .map_err(|_| failure(Step::OpenTree, RUNNING.to_bytes(), Errno::EINVAL))?;
        let running = open(RUNNING, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())
            .and_then(fstat)
            .at_subject(Step::OpenTree, RUNNING.to_bytes())?;
        let mount = || read_only(&path, &running);
        let made = match mount() {
            Err(Errno::EPERM) => by_a_child(mount)?,
            made => made,
        };
        made.at_subject(Step::OpenTree, path.to_bytes()).map(Self)
    }

    /// What it is to be executed by, by the process that has found it or a child of its.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.0.as_raw_fd()))
    }
}

/// A copy of the mount of one file. Makes system calls only.
fn read_only(path: &CStr, running: &FileStat) -> Result<OwnedFd, Errno> {
    let file = copy_tree(path)?;
    let there = fstat(&file)?;
    if (there.st_dev, there.st_ino) != (running.st_dev, running.st_ino) {
        return Err(Errno::ESTALE);
    }
    set_attributes(file.as_fd(), attr::RDONLY | attr::NOSUID | attr::NODEV)?;
    Ok(file)
}

/// Has `act`, which makes system calls only, done with every right over a mount namespace.
fn by_a_child(act: impl Fn() -> Result<OwnedFd, Errno>) -> Result<Result<OwnedFd, Errno>, Failure> {
    let mut refused = None;
    let mut made = Err(Errno::ECHILD);
    let make = || match unshare(CloneFlags::CLONE_NEWNS) {
        // By its number: the table that it is in is the caller's.
        Ok(()) => made = act().map(IntoRawFd::into_raw_fd),
        Err(errno) => refused = Some(errno),
    };
    // SAFETY: system calls only, and numbers that are written.
    unsafe { beside(CloneFlags::CLONE_NEWUSER, make) }.at(Step::UserNamespace)?;
    match refused {
        Some(errno) => Err(errno).at(Step::MountNamespace),
        // SAFETY: the kernel has made this descriptor for the table that both share, and nobody else
        // knows of it.
        None => Ok(made.map(|number| unsafe { OwnedFd::from_raw_fd(number) })),
    }
}
