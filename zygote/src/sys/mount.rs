//! The file-descriptor mount interface (open_tree(2), move_mount(2), fsopen(2), mount_setattr(2);
//! Linux 5.12 for the last one), which neither nix nor libc wraps.
#![expect(unsafe_code, reason = "system calls without a wrapper")]

use super::process::beside;
use nix::errno::Errno;
use nix::sched::CloneFlags;
use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

/// Attribute bits of mount_setattr(2).
pub mod attr {
    /// Refuse writes.
    pub const RDONLY: u64 = libc::MOUNT_ATTR_RDONLY;
    /// Ignore set-user-ID bits.
    pub const NOSUID: u64 = libc::MOUNT_ATTR_NOSUID;
    /// Refuse to open device nodes.
    pub const NODEV: u64 = libc::MOUNT_ATTR_NODEV;
    /// Refuse to execute.
    pub const NOEXEC: u64 = libc::MOUNT_ATTR_NOEXEC;
}

/// A detached copy of the mount tree at `path`, all mounts below it included. Symbolic links are
/// followed, with the caller's authority.
///
/// # Errors
/// That of open_tree(2): `EINVAL` where the path is not of the caller's own mount namespace.
pub fn copy_tree(path: &CStr) -> Result<OwnedFd, Errno> {
    let flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC | libc::AT_RECURSIVE as u32;
    // SAFETY: the path is a C string that outlives the call.
    let fd = Errno::result(unsafe {
        libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, path.as_ptr(), flags)
    })?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Sets attributes of a detached tree and of every mount in it.
///
/// # Errors
/// That of mount_setattr(2).
pub fn set_attributes(tree: BorrowedFd<'_>, set: u64) -> Result<(), Errno> {
    let flags = libc::AT_EMPTY_PATH | libc::AT_RECURSIVE;
    set_attributes_at(tree.as_raw_fd(), c"", flags, set)
}

/// Makes the mount at `path`, and not those below it, refuse writes.
///
/// # Errors
/// That of mount_setattr(2).
pub fn make_read_only(path: &CStr) -> Result<(), Errno> {
    set_attributes_at(libc::AT_FDCWD, path, 0, attr::RDONLY)
}

fn set_attributes_at(at: i32, path: &CStr, flags: i32, set: u64) -> Result<(), Errno> {
    let attributes = libc::mount_attr { attr_set: set, attr_clr: 0, propagation: 0, userns_fd: 0 };
    // SAFETY: path and attributes outlive the call, and the size passed is that of the structure.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            at,
            path.as_ptr(),
            flags,
            &raw const attributes,
            size_of_val(&attributes),
        )
    };
    Errno::result(result).map(drop)
}

/// Attaches a detached tree at `target`, following symbolic links there.
///
/// # Errors
/// That of move_mount(2).
pub fn attach(tree: BorrowedFd<'_>, target: &CStr) -> Result<(), Errno> {
    let flags = libc::MOVE_MOUNT_F_EMPTY_PATH | libc::MOVE_MOUNT_T_SYMLINKS;
    // SAFETY: both paths are C strings that outlive the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_FDCWD,
            target.as_ptr(),
            flags,
        )
    };
    Errno::result(result).map(drop)
}

/// A new instance of procfs for the caller's pid namespace, mounted nowhere. (Mounting one again makes
/// an instance of its own since Linux 5.8.)
///
/// # Errors
/// Those of fsopen(2), fsconfig(2) and fsmount(2): `EPERM` without `CAP_SYS_ADMIN` over the user
/// namespaces of the caller's pid and mount namespaces, or where the latter shows no procfs as a whole
/// (mount_namespaces(7)).
pub fn own_procfs() -> Result<OwnedFd, Errno> {
    // SAFETY: the kernel has just made this descriptor for us.
    detached_procfs().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The same, for a caller without rights over its pid namespace. A child makes one in a pid namespace
/// that it is born into (see [`beside`]).
///
/// # Errors
/// As of [`own_procfs`], and those of clone(2).
pub fn new_procfs() -> Result<OwnedFd, Errno> {
    let mut made = Err(Errno::ECHILD);
    // SAFETY: system calls only, and a number that is written.
    unsafe { beside(CloneFlags::CLONE_NEWPID, || made = detached_procfs()) }?;
    // SAFETY: the kernel has made this descriptor for the table that both share, and nobody else
    // knows of it.
    made.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Mounts procfs of the caller's pid namespace, attached to nothing. Makes system calls only.
fn detached_procfs() -> Result<RawFd, Errno> {
    const CREATE: libc::c_uint = 6;
    const CLOSE_ON_EXEC: libc::c_uint = 1;
    let attributes = attr::NOSUID | attr::NODEV | attr::NOEXEC;
    let nothing = ptr::null::<libc::c_char>();
    // SAFETY: a C string, integers, and null where the command takes nothing (fsconfig(2)).
    unsafe {
        let opened = libc::syscall(libc::SYS_fsopen, c"proc".as_ptr(), CLOSE_ON_EXEC);
        let context = Errno::result(opened)?;
        let created = libc::syscall(libc::SYS_fsconfig, context, CREATE, nothing, nothing, 0);
        let mounted = Errno::result(created)
            .map(|_| libc::syscall(libc::SYS_fsmount, context, CLOSE_ON_EXEC, attributes))
            .and_then(Errno::result);
        libc::close(context as RawFd);
        mounted.map(|fd| fd as RawFd)
    }
}
