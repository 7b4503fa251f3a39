//! Descriptors by number: needed where a process arranges its whole table.
#![expect(unsafe_code, reason = "whole descriptor tables are arranged by number")]

use crate::failure::IntoErrno;
use nix::errno::Errno;
use nix::sys::socket::{SockFlag, accept4};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// Puts `kept` at the numbers 3, 4, … and closes every other one from 3 on; 1 and 2 become what
/// standard input is, `/dev/null` (see [`close_stdin`]). All of them are close-on-exec afterwards.
///
/// For a process that has just been cloned from one with descriptors that it must not have. The
/// caller must not use, nor drop, any owner of a descriptor that it held before, those of `kept`
/// included.
///
/// # Errors
/// Those of fcntl(2), dup3(2) and close_range(2) (Linux 5.9).
pub fn keep_only<const N: usize>(kept: [BorrowedFd<'_>; N]) -> Result<[OwnedFd; N], Errno> {
    let first_free = 3 + N as RawFd;
    // Above the final numbers first, so that no dup3 below closes one that is still needed.
    let mut raised = [-1; N];
    for (raised, kept) in raised.iter_mut().zip(&kept) {
        // SAFETY: `kept` is open, and F_DUPFD_CLOEXEC takes an integer.
        *raised = Errno::result(unsafe {
            libc::fcntl(kept.as_raw_fd(), libc::F_DUPFD_CLOEXEC, first_free)
        })?;
    }
    // SAFETY: integers only.
    Errno::result(unsafe { libc::fcntl(0, libc::F_SETFD, libc::FD_CLOEXEC) })?;
    for number in 1..3 {
        duplicate_to(0, number, libc::O_CLOEXEC)?;
    }
    for (index, raised) in raised.iter().enumerate() {
        duplicate_to(*raised, 3 + index as RawFd, libc::O_CLOEXEC)?;
    }
    // SAFETY: closes numbers of which no owner is used any more (the caller's promise).
    Errno::result(unsafe { libc::close_range(first_free as u32, u32::MAX, 0) })?;
    // SAFETY: each number was filled above, and nobody else owns it.
    Ok(std::array::from_fn(|index| unsafe { OwnedFd::from_raw_fd(3 + index as RawFd) }))
}

fn duplicate_to(from: RawFd, to: RawFd, flags: i32) -> Result<(), Errno> {
    if from == to {
        return Ok(());
    }
    // SAFETY: integers only; replacing `to` is the purpose.
    Errno::result(unsafe { libc::dup3(from, to, flags) }).map(drop)
}

/// Takes over a descriptor that this process was started with, such as standard input.
///
/// # Errors
/// `EBADF` where it is not open.
pub fn take_inherited(number: RawFd) -> Result<OwnedFd, Errno> {
    // SAFETY: integers only. The duplicate is new, so it has one owner; the original is left to
    // whoever thinks to own it and replaced by the caller.
    let fd = Errno::result(unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 3) })?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Replaces standard input by `/dev/null`, for reading and writing.
///
/// # Errors
/// Those of open(2) and dup3(2).
pub fn close_stdin() -> Result<(), Errno> {
    let null = std::fs::File::options().read(true).write(true).open("/dev/null");
    duplicate_to(null.map_err(IntoErrno::into_errno)?.as_raw_fd(), 0, 0)
}

/// Has no program that this process executes get any descriptor but the standard streams, whatever this
/// process was started with.
///
/// # Errors
/// That of close_range(2) (Linux 5.11 for `CLOSE_RANGE_CLOEXEC`).
pub fn keep_to_oneself() -> Result<(), Errno> {
    // SAFETY: integers only; nothing is closed before a program is executed.
    Errno::result(unsafe { libc::close_range(3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC as i32) })
        .map(drop)
}

/// Accepts a connection (accept4(2)); nix returns a bare number.
///
/// # Errors
/// Those of accept4(2).
pub fn accept(listener: &OwnedFd, flags: SockFlag) -> Result<OwnedFd, Errno> {
    let fd = accept4(listener.as_raw_fd(), flags)?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
