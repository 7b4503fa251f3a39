//! From the end of a lease to ready for another one, where a zygote is used again as a whole.
//!
//! Everything that a command could have touched is dropped, namespace by namespace: its processes are
//! killed, its mounts go with their namespace, its ipc and host name with theirs. What is made in their
//! place is made as at first, from mounts that nobody has seen since the clone. Init, its pid, user and
//! network namespace go on: whether anything is left in them is looked at from outside (`inspection` in
//! the template).

use super::children::Children;
use super::{EVERYONE, Init, Preparation, report, setup};
use crate::failure::At;
use crate::sys::file::tell;
use crate::sys::process::{Reaped, exit_now, reap};
use crate::template::{own_namespace, own_namespace_through};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::sys::utsname::uname;
use nix::unistd::sethostname;
use std::ffi::{CStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;
use zyg_protocol::message::{Failure, Lifeline, Step};

/// The number that the latest process of a pid namespace has got (proc_sys_kernel(5)). A kernel without
/// checkpoints has no such file, and its numbers go on.
const LAST_PID: &CStr = c"/proc/sys/kernel/ns_last_pid";

/// What a zygote is made anew from.
pub(super) struct Ground {
    /// The mount namespace that the clone got, as it was then.
    mounts: OwnedFd,
    host_name: OsString,
}

impl Ground {
    /// Keeps the caller's own, as they are, and goes on in a copy of the mounts. The procfs shows the
    /// caller.
    pub fn keep(procfs: BorrowedFd<'_>) -> Result<Self, Failure> {
        let mounts = own_namespace_through(procfs, "mnt")?;
        let host_name = uname().at(Step::Hostname)?.nodename().to_owned();
        unshare(CloneFlags::CLONE_NEWNS).at(Step::MountNamespace)?;
        Ok(Self { mounts, host_name })
    }

    /// Goes on in namespaces of mounts, ipc and host name that are new.
    fn enter_anew(&self) -> Result<(), Failure> {
        setns(&self.mounts, CloneFlags::CLONE_NEWNS).at(Step::MountNamespace)?;
        let new = CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWUTS;
        unshare(new).at(Step::MountNamespace)?;
        // A copy of the lease's, which may have had another one.
        sethostname(&self.host_name).at(Step::Hostname)
    }
}

/// What is to be looked at from outside: ipc and uts namespace, and what is mounted at /proc.
pub(super) fn evidence() -> Result<[OwnedFd; 3], Failure> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let procfs = open(c"/proc", flags, Mode::empty()).at(Step::Proc)?;
    Ok([own_namespace("ipc")?, own_namespace("uts")?, procfs])
}

impl Init<'_> {
    /// Ends the lease, and is ready for another one, whose commands come through this channel. Where that
    /// cannot be, the zygote ends.
    pub(super) fn renew(&mut self, channel: OwnedFd) {
        let start = Instant::now();
        // From here on nothing is heard of the old client.
        self.channel = channel;
        self.outbox.clear();
        self.buffer.fill(0);
        self.buffer = Vec::new();
        self.end_everyone();
        if let Err(failure) = self.start_anew(start) {
            let _ = report(&self.lifeline, &Lifeline::Unable(failure), &[]);
            exit_now(1);
        }
    }

    /// Kills every process here, and waits until none is left; unless the server goes first.
    fn end_everyone(&mut self) {
        loop {
            match kill(EVERYONE, Signal::SIGKILL) {
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(_) => exit_now(1),
            }
            // Before a look at the children: whoever ends after that is told of again.
            while let Ok(Some(_)) = self.signals.read_signal() {}
            loop {
                match reap() {
                    Reaped::Ended(_) => {}
                    Reaped::Running => break,
                    Reaped::None => return,
                }
            }
            let mut fds = [
                PollFd::new(self.lifeline.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
            ];
            match poll(&mut fds, PollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(_) => exit_now(1),
            }
            if fds[0].revents().is_some_and(|events| !events.is_empty()) {
                exit_now(0);
            }
        }
    }

    fn start_anew(&mut self, start: Instant) -> Result<(), Failure> {
        self.children = Children::default();
        self.unreaped = false;
        self.stack = None;
        self.prepared = Preparation::Open;
        fcntl(&self.channel, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).at(Step::Sockets)?;
        let Some(ground) = &self.ground else { exit_now(1) };
        ground.enter_anew()?;
        let furnished = setup::furnish(self.setup, || {
            // So that numbers tell nothing of the processes that there were.
            let _ = tell(LAST_PID, b"1");
            Ok(())
        })?;
        self.layers = furnished.layers;
        setup::mount_terminals()?;
        let evidence = evidence()?;
        let renewed = Lifeline::Renewed { renew_us: start.elapsed().as_micros() as u64 };
        let descriptors: [BorrowedFd<'_>; 3] = evidence.each_ref().map(AsFd::as_fd);
        match report(&self.lifeline, &renewed, &descriptors) {
            Ok(()) | Err(Errno::EPIPE) => Ok(()),
            Err(errno) => Err(errno).at(Step::Sockets),
        }
    }
}
