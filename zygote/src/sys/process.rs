//! Processes made, watched and ended: clone3(2), wait4(2), pidfds, daemons.
#![expect(unsafe_code, reason = "system calls without a wrapper")]

use nix::errno::Errno;
use nix::sys::signal::{
    SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal, raise, sigaction, sigprocmask,
};
use nix::unistd::{ForkResult, Pid};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::process::exit;
use zyg_protocol::message::{ExitStatus, Usage};

/// Which side of a clone runs.
#[derive(Debug)]
pub enum Cloned {
    /// The caller, with the child's number and pidfd.
    Parent {
        /// The child, in the caller's pid namespace.
        pid: Pid,
        /// The child, beyond reuse of its number.
        pidfd: OwnedFd,
    },
    /// The new process: a copy of the caller, memory and descriptors.
    Child,
}

/// Namespaces that every zygote gets for its own. Its network namespace is not among them: it is
/// made by the template, to be owned by the template's user namespace.
const ZYGOTE_NAMESPACES: i32 = libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWCGROUP;

/// Clones the caller into fresh namespaces, as fork(2) does: the child continues here.
///
/// The caller must be single-threaded, as every process of this crate is: the child has only the
/// calling thread, and locks held by others would stay locked.
///
/// # Errors
/// That of clone3(2) (Linux 5.3): `ENOSPC` at a namespace limit (`/proc/sys/user/max_*`), `EPERM`
/// where user namespaces are forbidden, `EAGAIN` at a process limit.
///
/// With `own_network` the child has a network namespace of its own as well.
pub fn clone_zygote(own_network: bool) -> Result<Cloned, Errno> {
    let mut pidfd: libc::c_int = -1;
    // SAFETY: all of clone_args is integers, for which zero is a value.
    let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    let network = if own_network { libc::CLONE_NEWNET } else { 0 };
    arguments.flags = (ZYGOTE_NAMESPACES | network | libc::CLONE_PIDFD) as u64;
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

/// Ends the process behind a pidfd. One that has ended already is no error.
pub fn kill(pidfd: BorrowedFd<'_>) -> Result<(), Errno> {
    let info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: a null siginfo asks for the same as kill(2).
    let result = unsafe {
        libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), libc::SIGKILL, info, 0)
    };
    match Errno::result(result) {
        Ok(_) | Err(Errno::ESRCH) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// A pidfd for a process (pidfd_open(2), Linux 5.3).
///
/// # Errors
/// `ESRCH` where there is no such process.
pub fn open(pid: Pid) -> Result<OwnedFd, Errno> {
    // SAFETY: integers only.
    let fd = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) })?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Sends any signal, real-time ones included (which nix does not know), to a child that has not been
/// reaped, or to the process group that it leads.
///
/// # Errors
/// `EINVAL` for what is no signal, `ESRCH` where the group is empty.
pub fn signal(child: Pid, number: i32, group: bool) -> Result<(), Errno> {
    if number < 1 {
        return Err(Errno::EINVAL);
    }
    let target = if group { -child.as_raw() } else { child.as_raw() };
    // SAFETY: integers only.
    Errno::result(unsafe { libc::kill(target, number) }).map(drop)
}

/// A child that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Its number.
    pub pid: Pid,
    /// How it ended.
    pub status: ExitStatus,
    /// What it used; `wall_us` is left 0.
    pub usage: Usage,
}

/// What [`reap`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reaped {
    /// A child that has ended.
    Ended(Ended),
    /// Children are left, and none has ended.
    Running,
    /// No child is left.
    None,
}

/// Takes one ended child, without waiting (wait4(2)).
pub fn reap() -> Reaped {
    let mut status = 0;
    // SAFETY: all of rusage is integers, for which zero is a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    loop {
        // SAFETY: both pointers outlive the call.
        let pid = unsafe { libc::wait4(-1, &raw mut status, libc::WNOHANG, &raw mut usage) };
        match Errno::result(pid) {
            Ok(0) => return Reaped::Running,
            Ok(pid) => {
                return Reaped::Ended(Ended {
                    pid: Pid::from_raw(pid),
                    status: exit_status(status),
                    usage: usage_of(&usage),
                });
            }
            Err(Errno::EINTR) => {}
            Err(_) => return Reaped::None,
        }
    }
}

fn exit_status(status: libc::c_int) -> ExitStatus {
    if libc::WIFSIGNALED(status) {
        let signal = libc::WTERMSIG(status);
        ExitStatus::Signal { signal, core_dumped: libc::WCOREDUMP(status) }
    } else {
        ExitStatus::Code(libc::WEXITSTATUS(status) as u8)
    }
}

fn usage_of(usage: &libc::rusage) -> Usage {
    let us = |time: libc::timeval| (time.tv_sec as u64) * 1_000_000 + time.tv_usec as u64;
    Usage {
        user_us: us(usage.ru_utime),
        system_us: us(usage.ru_stime),
        wall_us: 0,
        max_rss_kib: usage.ru_maxrss as u64,
    }
}

/// Resets every signal's disposition and the signal mask, whatever the process was started with:
/// an ignored signal would be inherited by every command (signal(7)).
///
/// By the bare system call, since glibc keeps signals 32 and 33 for itself and refuses to touch
/// them, yet its own posix_spawn(3) leaves them ignored.
pub fn reset_signals() {
    const SIGNAL_MAX: libc::c_long = 64;
    // The kernel's sigaction: handler (SIG_DFL is zero), flags, restorer where there is one, mask.
    let default = [0u64; 4];
    for number in 1..=SIGNAL_MAX {
        let none = std::ptr::null_mut::<u64>();
        // SAFETY: reads one kernel sigaction, which is no larger than `default`, with the size of
        // the kernel's signal set; no handler is installed. KILL and STOP refuse; so be it.
        unsafe { libc::syscall(libc::SYS_rt_sigaction, number, default.as_ptr(), none, 8) };
    }
    let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None);
}

/// Resets what else every command would inherit from whoever started the server: execution domain
/// (personality(2)), nice value and the out-of-memory killer's preference. Where the caller lacks
/// the right to undo one of them it stays.
pub fn reset_scheduling() {
    // SAFETY: integers only.
    unsafe { libc::personality(0) };
    // SAFETY: integers only.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, 0) };
    let _ = std::fs::write("/proc/self/oom_score_adj", "0");
}

/// Goes on in a child with a session of its own and no descriptor but the standard streams; the
/// caller's process exits with code 0. (A lock or a pipe that somebody has left open to us would be
/// held for as long as we live.)
///
/// For the start of a program, before it has opened or started anything.
///
/// # Errors
/// Those of fork(2) and close_range(2) (Linux 5.9).
pub fn daemonize() -> Result<(), Errno> {
    // SAFETY: the process has one thread (the caller's promise), so the child may do anything.
    match unsafe { nix::unistd::fork() }? {
        ForkResult::Parent { .. } => exit(0),
        ForkResult::Child => {
            // SAFETY: nothing here owns a descriptor yet (the caller's promise).
            Errno::result(unsafe { libc::close_range(3, u32::MAX, 0) })?;
            nix::unistd::setsid().map(drop)
        }
    }
}

/// Does to this process what the signal does by default, and puts its handler back: of SIGTSTP,
/// stops it until it is continued, but not in an orphaned process group, where nobody would
/// (setpgid(2)).
///
/// # Errors
/// Those of sigaction(2).
pub fn take_default_action(signal: Signal) -> Result<(), Errno> {
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    // SAFETY: the default action is the kernel's own.
    let before = unsafe { sigaction(signal, &default) }?;
    let raised = raise(signal);
    // SAFETY: this was the action before, so whoever set it has seen to its safety.
    unsafe { sigaction(signal, &before) }?;
    raised
}

/// Which side of a fork runs.
#[derive(Debug)]
pub enum Forked {
    /// The caller.
    Parent {
        /// The child, to be waited for.
        child: Pid,
    },
    /// The new process.
    Child,
}

/// Forks the caller, which must have one thread, as every process of this crate has.
///
/// # Errors
/// That of fork(2).
pub fn fork() -> Result<Forked, Errno> {
    // SAFETY: no other thread exists that could hold a lock, so the child may do anything.
    Ok(match unsafe { nix::unistd::fork() }? {
        ForkResult::Parent { child } => Forked::Parent { child },
        ForkResult::Child => Forked::Child,
    })
}

/// Ends a forked child at once, without running what its parent has registered for its own exit.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: ends the process; nothing of it runs any more.
    unsafe { libc::_exit(code) }
}
