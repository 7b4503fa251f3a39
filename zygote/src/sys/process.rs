//! Processes made, watched and ended: clone3(2), wait4(2), pidfds, daemons.
#![expect(unsafe_code, reason = "system calls without a wrapper")]

use nix::errno::Errno;
use nix::sched::CloneFlags;
use nix::sys::signal::{
    SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal, raise, sigaction, sigprocmask,
};
use nix::sys::wait::{WaitPidFlag, waitpid};
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
    let network = if own_network { libc::CLONE_NEWNET } else { 0 };
    clone_into(ZYGOTE_NAMESPACES | network)
}

/// Clones the caller, as fork(2) does, into a pid namespace of its own, which the caller's user
/// namespace owns. The caller must be single-threaded.
///
/// # Errors
/// As of [`clone_zygote`].
pub fn fork_apart() -> Result<Cloned, Errno> {
    clone_into(libc::CLONE_NEWPID)
}

fn clone_into(namespaces: i32) -> Result<Cloned, Errno> {
    let mut pidfd: libc::c_int = -1;
    // SAFETY: all of clone_args is integers, for which zero is a value.
    let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    arguments.flags = (namespaces | libc::CLONE_PIDFD) as u64;
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

/// Bytes of the stack of a process of [`beside`].
const BESIDE_STACK_BYTES: usize = 64 * 1024;

/// Has `act` done by a child that is born with these flags, shares the caller's memory and descriptors,
/// and is gone when this returns. Nobody hears of it by SIGCHLD.
///
/// # Errors
/// Those of clone(2).
///
/// # Safety
/// `act` makes system calls and writes to memory, and no more: it allocates nothing, and does not panic.
/// The caller has one thread, as every process of this crate has.
pub unsafe fn beside(flags: CloneFlags, mut act: impl FnMut()) -> Result<(), Errno> {
    let mut stack = vec![0; BESIDE_STACK_BYTES];
    let child = Box::new(|| {
        act();
        // SAFETY: ends the child without running anything of the parent's exit handlers.
        unsafe { libc::_exit(0) }
    });
    let shared = CloneFlags::CLONE_VM | CloneFlags::CLONE_VFORK | CloneFlags::CLONE_FILES;
    // SAFETY: with CLONE_VFORK the caller is suspended until the child has exited, so that memory is
    // not used by both at once; the child runs on a stack of its own and does what the caller has promised.
    let child = unsafe { nix::sched::clone(child, &mut stack, flags | shared, None) }?;
    // One that was cloned without an exit signal is only waited for by those who ask for such.
    while waitpid(child, Some(WaitPidFlag::__WALL)) == Err(Errno::EINTR) {}
    Ok(())
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

/// Takes one ended child, without waiting (wait4(2)). The kernel looks at one after the other.
pub fn reap() -> Reaped {
    reap_of(-1)
}

/// Takes this child if it has ended, without waiting and without a look at the others.
pub fn reap_child(child: Pid) -> Reaped {
    reap_of(child.as_raw())
}

fn reap_of(which: libc::pid_t) -> Reaped {
    let mut status = 0;
    // SAFETY: all of rusage is integers, for which zero is a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    loop {
        // SAFETY: both pointers outlive the call.
        let pid = unsafe { libc::wait4(which, &raw mut status, libc::WNOHANG, &raw mut usage) };
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
/// (personality(2)), scheduling policy, slice, nice value and the out-of-memory killer's preference.
/// Where the caller lacks the right to undo one of them it stays.
pub fn reset_scheduling() {
    // SAFETY: integers only.
    unsafe { libc::personality(0) };
    // SAFETY: integers only.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, 0) };
    let _ = schedule(Schedule { slice_ns: DEFAULT_SLICE_NS, inherited: true });
    let _ = std::fs::write("/proc/self/oom_score_adj", "0");
}

/// Lets the calling process go first when it wakes, in exchange for shorter turns: slices of 100 µs,
/// the shortest there are, under the default policy (EEVDF, sched(7); Linux 6.12, no effect before).
/// What it forks starts with the defaults.
///
/// For a process that does little at a time and that others wait for.
///
/// # Errors
/// Those of sched_setattr(2).
pub fn prefer_short_slices() -> Result<(), Errno> {
    const SLICE_NS: u64 = 100_000;
    schedule(Schedule { slice_ns: SLICE_NS, inherited: false })
}

/// Stands back for whoever else wants to run (nice(2)), for good where the caller has no right to
/// undo it.
pub fn stand_back() {
    const NICEST: libc::c_int = 19;
    // SAFETY: integers only.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICEST) };
}

/// Sets the nice value of the session that the caller leads, as one among sessions (sched(7), "The
/// autogroup feature"). It can be taken back, unlike that of a process.
///
/// # Errors
/// `ENOENT` without that feature, `EAGAIN` within 100 ms of another such change on the machine.
pub fn weigh_session(nice: i32) -> Result<(), Errno> {
    let written = std::fs::write("/proc/self/autogroup", nice.to_string());
    written.map_err(|error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))
}

/// The kernel chooses.
const DEFAULT_SLICE_NS: u64 = 0;

/// How a process of the default policy runs.
struct Schedule {
    slice_ns: u64,
    /// Whether what it forks runs so too.
    inherited: bool,
}

/// Sets policy and slice of the calling process and keeps its nice value (sched_setattr(2)).
fn schedule(wanted: Schedule) -> Result<(), Errno> {
    // SAFETY: all of sched_attr is integers, for which zero is a value.
    let mut attributes: libc::sched_attr = unsafe { std::mem::zeroed() };
    let size = size_of_val(&attributes) as u32;
    // SAFETY: the kernel writes no more than `size` bytes, and the structure outlives the call.
    Errno::result(unsafe {
        libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attributes, size, 0)
    })?;
    attributes.size = size;
    attributes.sched_policy = libc::SCHED_OTHER as u32;
    attributes.sched_priority = 0;
    attributes.sched_runtime = wanted.slice_ns;
    attributes.sched_deadline = 0;
    attributes.sched_period = 0;
    attributes.sched_flags =
        if wanted.inherited { 0 } else { libc::SCHED_FLAG_RESET_ON_FORK as u64 };
    // SAFETY: the kernel reads `size` bytes of it.
    Errno::result(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) })
        .map(drop)
}

/// How the kernel schedules a process, as one value to be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scheduling {
    /// A `sched_attr` with the bounds of utilization (sched_setattr(2); Linux 5.3): policy, nice value,
    /// slice.
    processor: [u64; 7],
    /// Class and level (ioprio_set(2)).
    io: libc::c_long,
}

/// How this process is scheduled.
///
/// # Errors
/// Those of sched_getattr(2) and ioprio_get(2).
pub fn scheduling(process: Pid) -> Result<Scheduling, Errno> {
    const IOPRIO_WHO_PROCESS: libc::c_int = 1;
    let mut processor = [0_u64; 7];
    let (pid, size) = (process.as_raw(), size_of_val(&processor) as libc::c_uint);
    // SAFETY: the kernel writes no more than `size` bytes, and the array outlives the call.
    Errno::result(unsafe {
        libc::syscall(libc::SYS_sched_getattr, pid, processor.as_mut_ptr(), size, 0)
    })?;
    // SAFETY: integers only.
    let io = unsafe { libc::syscall(libc::SYS_ioprio_get, IOPRIO_WHO_PROCESS, pid) };
    Ok(Scheduling { processor, io: Errno::result(io)? })
}

/// Goes on in a child with a session of its own and no descriptor but the standard streams, wherever
/// there is a CPU; the caller's process exits with code 0. (A lock or a pipe that somebody has left open
/// to us would be held for as long as we live.)
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
            super::placement::reset();
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

/// Whether the process ignores a signal (sigaction(2)).
#[must_use]
pub fn ignores(signal: libc::c_int) -> bool {
    // SAFETY: all of sigaction is integers and pointers, for which zero is a value.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: changes nothing, and writes to a structure that outlives the call.
    let read = unsafe { libc::sigaction(signal, std::ptr::null(), &raw mut action) };
    read == 0 && action.sa_sigaction == libc::SIG_IGN
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    /// Policy, nice value and slice of the calling thread, as the kernel has them.
    fn seen() -> (u32, i32, u64) {
        // SAFETY: all of sched_attr is integers, for which zero is a value.
        let mut attributes: libc::sched_attr = unsafe { std::mem::zeroed() };
        let size = size_of_val(&attributes);
        // SAFETY: the kernel writes no more than `size` bytes, and the structure outlives the call.
        let read =
            unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attributes, size, 0) };
        assert_eq!(read, 0, "{}", Errno::last());
        (attributes.sched_policy, attributes.sched_nice, attributes.sched_runtime)
    }

    /// In a thread of its own, which the kernel schedules for itself.
    fn apart<T: Send>(act: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| scope.spawn(act).join().unwrap())
    }

    #[test]
    fn short_slices_are_for_the_caller_alone() {
        apart(|| {
            let before = seen();
            prefer_short_slices().unwrap();
            let after = seen();
            // Before Linux 6.12 there is no slice to be seen.
            assert!(after.2 == 100_000 || after == before, "{after:?}");
            assert_eq!((after.0, after.1), (before.0, before.1));
            assert_eq!(apart(seen), before);
        });
    }

    #[test]
    fn scheduling_is_reset_to_what_the_kernel_starts_with() {
        apart(|| {
            let before = seen();
            let batch = libc::sched_param { sched_priority: 0 };
            // SAFETY: reads one sched_param, which outlives the call.
            let set = unsafe { libc::sched_setscheduler(0, libc::SCHED_BATCH, &raw const batch) };
            assert_eq!(set, 0);
            assert_ne!(seen(), before, "the control");
            reset_scheduling();
            assert_eq!(seen(), before);
        });
    }

    #[test]
    fn whatever_changes_how_a_process_is_scheduled_shows() {
        apart(|| {
            let own = || scheduling(nix::unistd::gettid()).unwrap();
            let before = own();
            assert_eq!(own(), before);
            // SAFETY: integers only: best effort, level 7, of the calling thread.
            let set = unsafe { libc::syscall(libc::SYS_ioprio_set, 1, 0, 2 << 13 | 7) };
            let idle = own();
            assert!(set == 0 && idle != before, "{idle:?}");
            stand_back();
            assert_ne!(own(), idle);
        });
    }

    #[test]
    fn an_ignored_signal_is_told_from_others() {
        use nix::sys::signal::{SigHandler, Signal, signal};
        assert!(!ignores(libc::SIGURG));
        // SAFETY: no handler runs.
        unsafe { signal(Signal::SIGURG, SigHandler::SigIgn) }.unwrap();
        assert!(ignores(libc::SIGURG));
        // SAFETY: as above.
        unsafe { signal(Signal::SIGURG, SigHandler::SigDfl) }.unwrap();
        assert!(!ignores(libc::SIGURG));
    }

    #[test]
    fn who_stands_back_is_the_nicest() {
        apart(|| {
            stand_back();
            assert_eq!(seen().1, 19);
        });
    }

    #[test]
    fn a_new_procfs_is_nobodys_child_and_of_no_process() {
        // Without the rights, as an ordinary user, there is none, and nothing is left of the attempt.
        match crate::sys::mount::new_procfs() {
            Ok(procfs) => {
                let flags = nix::fcntl::OFlag::O_RDONLY;
                let mode = nix::sys::stat::Mode::empty();
                assert!(nix::fcntl::openat(procfs.as_fd(), "sys/net/ipv4", flags, mode).is_ok());
                let own = std::process::id().to_string();
                let found = nix::fcntl::openat(procfs.as_fd(), own.as_str(), flags, mode);
                assert_eq!(found.unwrap_err(), Errno::ENOENT);
            }
            Err(errno) => assert_eq!(errno, Errno::EPERM),
        }
    }
}
