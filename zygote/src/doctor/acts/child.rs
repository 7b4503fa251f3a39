//! Children of a step: one that acts and tells, one that is there until it is let go.

use super::{Doing, Done, Trouble};
use crate::doctor::Step;
use crate::sys::process::{self, Cloned};
use crate::template::write_id_maps;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Pid, getegid, geteuid, pipe2};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::exit;

/// How long anything of a step may take that is waited for.
const PATIENCE_MS: u16 = 20_000;

/// Acts in a clone with a zygote's namespaces, as its pid 1 and with its id maps written.
pub(super) fn in_clone(act: impl FnOnce() -> Done) -> Done {
    let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
    let (told, tell) = pipe2(OFlag::O_CLOEXEC).doing("make a pipe")?;
    match process::clone_zygote(false) {
        Err(errno) => {
            Err(errno).doing("clone a zygote").map_err(|trouble| within(Step::ZygoteClone, trouble))
        }
        Ok(Cloned::Child) => {
            drop(told);
            let done =
                write_id_maps((uid, gid), (uid, gid)).map_err(Trouble::from).and_then(|()| act());
            let (errno, detail) = match &done {
                Ok(detail) => (0, detail),
                Err(trouble) => (trouble.errno, &trouble.detail),
            };
            let ok = u8::from(done.is_ok());
            // A parent that is gone needs no answer.
            let _ = File::from(tell).write_all(format!("{ok} {errno} {detail}").as_bytes());
            exit(0)
        }
        Ok(Cloned::Parent { pid, .. }) => {
            drop(tell);
            let mut text = String::new();
            let _ = File::from(told).read_to_string(&mut text);
            let status = reap(pid);
            understand(&text).unwrap_or_else(|| {
                Err(Trouble::plain(format!("the child ended without a word: {status:?}")))
            })
        }
    }
}

fn understand(text: &str) -> Option<Done> {
    let (ok, rest) = text.split_once(' ')?;
    let (errno, detail) = rest.split_once(' ')?;
    let (errno, detail) = (errno.parse().ok()?, detail.to_owned());
    Some(if ok == "1" { Ok(detail) } else { Err(Trouble { errno, within: None, detail }) })
}

fn within(step: Step, trouble: Trouble) -> Trouble {
    Trouble { within: Some(step), ..trouble }
}

/// A child that waits until this is dropped, or until the step's process is gone.
pub(super) struct Held {
    pub pid: Pid,
    pub pidfd: OwnedFd,
    hold: Option<OwnedFd>,
}

impl Held {
    /// Makes it with the clone that is given.
    pub fn start(
        clone: impl FnOnce() -> Result<Cloned, Errno>,
        what: &str,
    ) -> Result<Self, Trouble> {
        let (wait, hold) = pipe2(OFlag::O_CLOEXEC).doing("make a pipe")?;
        match clone().doing(what)? {
            Cloned::Child => {
                drop(hold);
                let _ = File::from(wait).read(&mut [0]);
                exit(0)
            }
            Cloned::Parent { pid, pidfd } => Ok(Self { pid, pidfd, hold: Some(hold) }),
        }
    }

    /// Waits until it has been killed.
    pub fn wait_killed(&self) -> Result<(), Trouble> {
        wait_readable(self.pidfd.as_fd(), "see a killed process end by its pidfd")?;
        match reap(self.pid) {
            Ok(WaitStatus::Signaled(_, nix::sys::signal::Signal::SIGKILL, _)) => Ok(()),
            status => Err(Trouble::plain(format!("a killed process ended otherwise: {status:?}"))),
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        drop(self.hold.take());
        // It may have been reaped already.
        let _ = reap(self.pid);
    }
}

fn reap(pid: Pid) -> Result<WaitStatus, Errno> {
    loop {
        match waitpid(pid, None) {
            Err(Errno::EINTR) => {}
            status => return status,
        }
    }
}

/// Waits until a descriptor is readable or hung up.
pub(super) fn wait_readable(descriptor: BorrowedFd<'_>, what: &str) -> Result<(), Trouble> {
    let mut fds = [PollFd::new(descriptor, PollFlags::POLLIN)];
    loop {
        match poll(&mut fds, PollTimeout::from(PATIENCE_MS)) {
            Ok(0) => return Err(Errno::ETIMEDOUT).doing(what),
            Err(Errno::EINTR) => {}
            result => return result.map(drop).doing(what),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_child_tells_is_understood() {
        assert_eq!(understand("1 0 all is well").unwrap().unwrap(), "all is well");
        let trouble = understand("0 13 failed to do it").unwrap().unwrap_err();
        assert_eq!((trouble.errno, trouble.detail.as_str()), (13, "failed to do it"));
        for half in ["", "1", "1 0", "1 x y"] {
            assert!(understand(half).is_none(), "{half:?}");
        }
    }
}
