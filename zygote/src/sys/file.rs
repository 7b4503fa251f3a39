//! Files by which the kernel is told something, as in `/proc`.

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sys::stat::Mode;
use nix::unistd::write;
use std::ffi::CStr;
use std::os::fd::BorrowedFd;

/// Tells the kernel something, in one write. The file must exist, and is not truncated: of what is no
/// real file that would be an act of its own, for nothing.
///
/// # Errors
/// Those of open(2), and of write(2) as the file means them.
pub fn tell(path: &CStr, value: &[u8]) -> Result<(), Errno> {
    tell_at(AT_FDCWD, path, value)
}

/// The same, with the path relative to a directory.
///
/// # Errors
/// As of [`tell`].
pub fn tell_at(directory: BorrowedFd<'_>, path: &CStr, value: &[u8]) -> Result<(), Errno> {
    let file = openat(directory, path, OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty())?;
    match write(file, value)? {
        written if written == value.len() => Ok(()),
        _ => Err(Errno::EIO),
    }
}
