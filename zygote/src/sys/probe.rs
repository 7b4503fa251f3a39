//! What only `zyg doctor` asks of the kernel.
#![expect(unsafe_code, reason = "system calls without a wrapper")]

use super::process::Cloned;
use nix::errno::Errno;
use nix::unistd::Pid;
use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Of linux/sched.h; libc's constant is too narrow for it.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Clones the caller as fork(2) does, the child being born in a cgroup (`CLONE_INTO_CGROUP`, Linux
/// 5.7). The caller must be single-threaded.
///
/// # Errors
/// That of clone3(2): `EACCES` where the cgroup is not the caller's to fill, `EAGAIN` at its limit.
pub fn clone_into_cgroup(cgroup: BorrowedFd<'_>) -> Result<Cloned, Errno> {
    let mut pidfd: libc::c_int = -1;
    // SAFETY: all of clone_args is integers, for which zero is a value.
    let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    arguments.flags = CLONE_INTO_CGROUP | libc::CLONE_PIDFD as u64;
    arguments.cgroup = cgroup.as_raw_fd() as u64;
    arguments.pidfd = &raw mut pidfd as u64;
    arguments.exit_signal = libc::SIGCHLD as u64;
    // SAFETY: without CLONE_VM the child has a copy of the caller's memory, stack included, and
    // goes on from here as after fork(2); the caller has one thread, so no lock is held by another.
    let result =
        unsafe { libc::syscall(libc::SYS_clone3, &raw const arguments, size_of_val(&arguments)) };
    match Errno::result(result)? {
        0 => Ok(Cloned::Child),
        pid => Ok(Cloned::Parent {
            pid: Pid::from_raw(pid as i32),
            // SAFETY: CLONE_PIDFD has stored a new descriptor there.
            pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) },
        }),
    }
}

/// Whether a program gains capabilities when it is executed (capabilities(7), "File capabilities").
pub fn has_file_capabilities(program: &CStr) -> bool {
    let name = c"security.capability";
    let nothing = std::ptr::null_mut();
    // SAFETY: both names are C strings; with a size of zero nothing is written.
    unsafe { libc::getxattr(program.as_ptr(), name.as_ptr(), nothing, 0) > 0 }
}
