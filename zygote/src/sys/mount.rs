//! The file-descriptor mount interface (open_tree(2), move_mount(2), mount_setattr(2); Linux 5.12
//! for the last one), which neither nix nor libc wraps.
#![expect(unsafe_code, reason = "system calls without a wrapper")]

use nix::errno::Errno;
use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

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
