//! Starting a program by vfork and exec.
//!
//! All that the child needs is prepared by the parent, because the child shares the parent's
//! memory until it executes: it may make system calls and write to [`Outcome`], nothing else. No
//! allocation, no lock, no unwinding.
#![expect(unsafe_code, reason = "vfork's child may do little, and only by raw system calls")]

use super::memory::Pages;
use super::placement;
use nix::errno::Errno;
use nix::sched::CloneFlags;
use nix::unistd::Pid;
use std::ffi::{CStr, CString};
use std::num::NonZeroUsize;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::ptr;
use zyg_protocol::message::{Step, Strings};

/// Bytes of the child's stack. It calls nothing deep; execve(2) needs none of it.
const STACK_BYTES: NonZeroUsize = NonZeroUsize::new(64 * 1024).expect("not zero");

/// A program, ready to be started: every pointer and number that the child will use.
#[derive(Debug)]
pub struct Prepared {
    /// Paths to try, in order (one, unless `PATH` was searched).
    candidates: Vec<CString>,
    argv: Strings,
    env: Strings,
    cwd: CString,
    /// Descriptor and the number that it gets.
    descriptors: Vec<(OwnedFd, RawFd)>,
    /// The terminal to make the controlling one, already among `descriptors`.
    terminal: Option<RawFd>,
    /// Resource, soft and hard limit.
    rlimits: Vec<(u32, u64, u64)>,
    /// The same, for limits that are not to be exceeded.
    caps: Vec<(u32, u64, u64)>,
    umask: u32,
    nice: i8,
    cpus: Option<Vec<u8>>,
    filters: Vec<Vec<u8>>,
}

/// Where the child failed before it executed anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// The step.
    pub step: Step,
    /// Its error.
    pub errno: Errno,
}

impl Prepared {
    /// A program that is executed from the first of `candidates` that can be.
    #[must_use]
    pub fn new(candidates: Vec<CString>, argv: Strings, env: Strings) -> Self {
        Self {
            candidates,
            argv,
            env,
            cwd: c"/".to_owned(),
            descriptors: Vec::new(),
            terminal: None,
            rlimits: Vec::new(),
            caps: Vec::new(),
            umask: 0o022,
            nice: 0,
            cpus: None,
            filters: Vec::new(),
        }
    }

    /// Starts in this directory.
    pub fn cwd(&mut self, cwd: CString) {
        self.cwd = cwd;
    }

    /// Gives the program this descriptor under this number.
    pub fn descriptor(&mut self, descriptor: OwnedFd, number: RawFd) {
        self.descriptors.push((descriptor, number));
    }

    /// Makes the descriptor that will have this number the controlling terminal of a new session.
    pub fn controlling_terminal(&mut self, number: RawFd) {
        self.terminal = Some(number);
    }

    /// Sets a resource limit (setrlimit(2)); limits beyond the caller's own hard one are lowered.
    pub fn rlimit(&mut self, resource: u32, soft: u64, hard: u64) {
        self.rlimits.push((resource, soft, hard));
    }

    /// Lowers a resource limit where it is above these values.
    pub fn cap_rlimit(&mut self, resource: u32, soft: u64, hard: u64) {
        self.caps.push((resource, soft, hard));
    }

    /// Sets the file mode creation mask.
    pub fn umask(&mut self, umask: u32) {
        self.umask = umask & 0o777;
    }

    /// Stands back by this nice value, if it is higher than the caller's own.
    pub fn nice(&mut self, nice: i8) {
        self.nice = nice;
    }

    /// Runs on these CPUs alone, one bit each.
    pub fn cpus(&mut self, mask: Option<Vec<u8>>) {
        self.cpus = mask;
    }

    /// Installs a system call filter (seccomp(2)) right before the program.
    pub fn filter(&mut self, program: Vec<u8>) {
        self.filters.push(program);
    }

    /// Starts it, using `stack` for the child while it shares the caller's memory.
    ///
    /// # Errors
    /// The step that failed and its error number; the child is then gone and reaped.
    pub fn start(mut self, stack: &mut Stack) -> Result<Pid, Outcome> {
        let mut failed: Option<Outcome> = None;
        // The fallback of execvp(3): a file without a known format is a script for sh(1).
        let mut script: Vec<*const libc::c_char> = vec![c"/bin/sh".as_ptr(), ptr::null()];
        script.extend(self.argv.iter().skip(1).map(CStr::as_ptr));
        script.push(ptr::null());
        let argv = pointers(&self.argv);
        let env = pointers(&self.env);
        let mut numbers: Vec<(RawFd, RawFd)> =
            self.descriptors.iter().map(|(from, to)| (from.as_raw_fd(), *to)).collect();
        let child = Box::new(|| {
            let error = match self.arrange(&mut numbers) {
                Ok(()) => self.execute(&argv, &env, &mut script),
                Err(outcome) => outcome,
            };
            // The parent is suspended and reads this after the child is gone.
            failed = Some(error);
            // SAFETY: ends the child without running anything of the parent's exit handlers.
            unsafe { libc::_exit(127) }
        });
        let flags = CloneFlags::CLONE_VM | CloneFlags::CLONE_VFORK;
        // SAFETY: with CLONE_VFORK the caller is suspended until the child has executed or exited,
        // so memory is not used by both at once; the child runs on a stack of its own, and only
        // makes system calls (see `arrange` and `execute`).
        let started = unsafe { nix::sched::clone(child, &mut stack.0, flags, Some(libc::SIGCHLD)) };
        let pid = started.map_err(|errno| Outcome { step: Step::Fork, errno })?;
        match failed {
            None => Ok(pid),
            Some(outcome) => {
                while nix::sys::wait::waitpid(pid, None) == Err(Errno::EINTR) {}
                Err(outcome)
            }
        }
    }

    /// Puts the child in order. Runs in the child: system calls only.
    fn arrange(&mut self, numbers: &mut [(RawFd, RawFd)]) -> Result<(), Outcome> {
        let step = |step: Step| move |errno: Errno| Outcome { step, errno };
        // SAFETY: here and below, system calls on integers and on memory prepared by the parent.
        unsafe {
            let mut mask: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&raw mut mask);
            libc::sigprocmask(libc::SIG_SETMASK, &raw const mask, ptr::null_mut());
            if self.terminal.is_some() {
                Errno::result(libc::setsid()).map_err(step(Step::Tty))?;
            } else {
                // A process group of its own, in init's session: its parent is in the session and
                // not in the group, so the group is not orphaned and stop signals work
                // (setpgid(2), "orphaned process group").
                Errno::result(libc::setpgid(0, 0)).map_err(step(Step::Fork))?;
            }
            // Every source away from the targets first: then no dup2 closes one still needed. Not
            // above them all, for the highest target may be the highest number that is allowed.
            for index in 0..numbers.len() {
                let mut at = numbers[index].0;
                while numbers.iter().any(|(_, to)| *to == at) {
                    let moved = libc::fcntl(numbers[index].0, libc::F_DUPFD_CLOEXEC, at + 1);
                    at = Errno::result(moved).map_err(step(Step::Descriptors))?;
                }
                numbers[index].0 = at;
            }
            for (from, to) in numbers.iter() {
                Errno::result(libc::dup2(*from, *to)).map_err(step(Step::Descriptors))?;
            }
            // What is the caller's own is closed when the program is executed, and must be before any
            // path is followed: one may lead through `/proc/self/fd` (CVE-2024-21626).
            close_others(numbers).map_err(step(Step::Descriptors))?;
            if let Some(terminal) = self.terminal {
                let made = libc::ioctl(terminal, libc::TIOCSCTTY, 0);
                Errno::result(made).map_err(step(Step::Tty))?;
            }
            libc::umask(self.umask);
            for (resource, soft, hard) in &self.rlimits {
                limit(*resource, *soft, *hard, false).map_err(step(Step::Rlimits))?;
            }
            for (resource, soft, hard) in &self.caps {
                limit(*resource, *soft, *hard, true).map_err(step(Step::Rlimits))?;
            }
            Errno::result(libc::chdir(self.cwd.as_ptr())).map_err(step(Step::Chdir))?;
        }
        if self.nice > 0 {
            placement::stand_back_by(self.nice);
        }
        if let Some(mask) = &self.cpus {
            // A CPU that has been taken away since then is no reason to fail.
            let _ = placement::run_on(mask);
        }
        for filter in &self.filters {
            super::privilege::install_filter(filter).map_err(step(Step::Filter))?;
        }
        Ok(())
    }

    /// Tries every candidate as execvp(3) does and returns what to report. Runs in the child.
    fn execute(
        &self,
        argv: &[*const libc::c_char],
        env: &[*const libc::c_char],
        script: &mut [*const libc::c_char],
    ) -> Outcome {
        let failed = |errno| Outcome { step: Step::Execute, errno };
        let mut denied = false;
        let mut step = Step::Execute;
        let mut last = Errno::ENOENT;
        let searched = self.candidates.len() > 1;
        for candidate in &self.candidates {
            // A look takes a fifth of what it takes to be refused.
            // SAFETY: a C string, alive in the suspended parent.
            if searched && unsafe { libc::access(candidate.as_ptr(), libc::F_OK) } != 0 {
                last = Errno::last();
                if matches!(last, Errno::ENOENT | Errno::ENOTDIR) {
                    continue;
                }
            }
            // SAFETY: null-terminated arrays of C strings, all alive in the suspended parent.
            unsafe { libc::execve(candidate.as_ptr(), argv.as_ptr(), env.as_ptr()) };
            last = Errno::last();
            match last {
                Errno::ENOEXEC => {
                    script[1] = candidate.as_ptr();
                    // SAFETY: as above.
                    unsafe { libc::execve(c"/bin/sh".as_ptr(), script.as_ptr(), env.as_ptr()) };
                    return failed(Errno::ENOEXEC);
                }
                Errno::EACCES => denied = true,
                // What is there, and said not to be, lacks what is to execute it.
                // SAFETY: as above.
                Errno::ENOENT if unsafe { libc::access(candidate.as_ptr(), libc::F_OK) } == 0 => {
                    step = Step::Interpreter;
                }
                Errno::ENOENT
                | Errno::ENOTDIR
                | Errno::ESTALE
                | Errno::ENODEV
                | Errno::ETIMEDOUT => {}
                _ => return failed(last),
            }
        }
        match step {
            Step::Interpreter => Outcome { step, errno: Errno::ENOENT },
            _ => failed(if denied { Errno::EACCES } else { last }),
        }
    }
}

/// Closes every descriptor that is no target. Runs in the child.
///
/// # Safety
/// Integers only; safe in a vfork's child whose descriptors are its own.
unsafe fn close_others(numbers: &mut [(RawFd, RawFd)]) -> Result<(), Errno> {
    let close = |first: u32, last: u32| {
        // SAFETY: integers only; whoever owns these owns them in the parent's table.
        first > last || unsafe { libc::close_range(first, last, 0) } == 0
    };
    numbers.sort_unstable_by_key(|(_, to)| *to);
    let mut next = 0;
    for to in numbers.iter().map(|(_, to)| *to as u32) {
        if to > next && !close(next, to - 1) {
            return Err(Errno::last());
        }
        next = next.max(to + 1);
    }
    if close(next, u32::MAX) { Ok(()) } else { Err(Errno::last()) }
}

/// Sets one limit, lowered to what the caller's hard limit allows, and if it is only to `lower`, to
/// the caller's soft one as well. Runs in the child.
///
/// # Safety
/// System calls on integers only; safe in a vfork's child.
unsafe fn limit(resource: u32, soft: u64, hard: u64, lower: bool) -> Result<(), Errno> {
    // SAFETY: all of rlimit is integers; the pointers outlive the calls.
    unsafe {
        let mut current: libc::rlimit = std::mem::zeroed();
        Errno::result(libc::getrlimit(resource, &raw mut current))?;
        let hard = hard.min(current.rlim_max);
        let soft = if lower { soft.min(current.rlim_cur) } else { soft };
        let wanted = libc::rlimit { rlim_cur: soft.min(hard), rlim_max: hard };
        // As most are, which are the client's own.
        if (wanted.rlim_cur, wanted.rlim_max) == (current.rlim_cur, current.rlim_max) {
            return Ok(());
        }
        Errno::result(libc::setrlimit(resource, &raw const wanted)).map(drop)
    }
}

fn pointers(strings: &Strings) -> Vec<*const libc::c_char> {
    strings.iter().map(CStr::as_ptr).chain([ptr::null()]).collect()
}

/// The stack on which a child runs until it executes; one serves any number of starts in turn.
#[derive(Debug)]
pub struct Stack(Pages);

impl Stack {
    /// Has the kernel give it the page that every child needs.
    pub fn touch(&mut self) {
        if let Some(first) = self.0.last_mut() {
            *first = 0;
        }
    }
}

impl Default for Stack {
    fn default() -> Self {
        Self(Pages::zeroed(STACK_BYTES))
    }
}

/// Where `program` may be found, in the order to try: itself if it has a slash, else in every
/// directory of `path` (execvp(3); an empty directory is the current one).
#[must_use]
pub fn candidates(program: &CStr, path: Option<&[u8]>) -> Vec<CString> {
    /// What execvp(3) searches when `PATH` is not set (confstr(3), `_CS_PATH`).
    const DEFAULT_PATH: &[u8] = b"/bin:/usr/bin";
    let name = program.to_bytes();
    if name.contains(&b'/') || name.is_empty() {
        return vec![program.to_owned()];
    }
    path.unwrap_or(DEFAULT_PATH)
        .split(|byte| *byte == b':')
        .filter_map(|directory| {
            let mut candidate = directory.to_vec();
            if !candidate.is_empty() {
                candidate.push(b'/');
            }
            candidate.extend_from_slice(name);
            CString::new(candidate).ok()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(program: &CStr, path: Option<&[u8]>) -> Vec<String> {
        candidates(program, path).iter().map(|c| c.to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn a_program_with_a_slash_is_not_searched() {
        assert_eq!(shown(c"./a", Some(b"/bin")), ["./a"]);
        assert_eq!(shown(c"/bin/a", Some(b"/usr/bin")), ["/bin/a"]);
    }

    #[test]
    fn a_program_without_one_is_searched_in_order() {
        assert_eq!(shown(c"a", Some(b"/x::/y")), ["/x/a", "a", "/y/a"]);
        assert_eq!(shown(c"a", None), ["/bin/a", "/usr/bin/a"]);
    }

    #[test]
    fn an_empty_program_finds_nothing() {
        assert_eq!(shown(c"", Some(b"/bin")), [""]);
    }
}
