//! What takes another process than the test's own: to stop one and take what it has open, as
//! whoever may trace it can ([`take_over`]), and to be another user for a server ([`connect_as`]).

use crate::{Raw, python, wait_readable};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::{Command, Stdio};
use zyg_protocol::socket::{pair, receive};

const SCRIPT: &str = include_str!("thief.py");

/// A process that stands still, and duplicates of its descriptors.
#[derive(Debug)]
pub struct Taken {
    /// Readable when it has ended.
    pub process: OwnedFd,
    /// By number: what it is (proc_pid_fd(5)), and the thing itself.
    pub descriptors: Vec<(i32, String, OwnedFd)>,
    pid: Pid,
}

impl Taken {
    /// Its sockets, by their numbers.
    pub fn sockets(&mut self) -> Vec<OwnedFd> {
        let (sockets, others) = std::mem::take(&mut self.descriptors)
            .into_iter()
            .partition(|(_, what, _)| what.starts_with("socket:"));
        self.descriptors = others;
        sockets.into_iter().map(|(_, _, socket)| socket).collect()
    }

    /// Lets it run again.
    pub fn go_on(&self) {
        let _ = kill(self.pid, Signal::SIGCONT);
    }
}

impl Drop for Taken {
    /// Ends it: it is not what it was, and nobody else would while it stands still.
    fn drop(&mut self) {
        let mut fds = [PollFd::new(self.process.as_fd(), PollFlags::POLLIN)];
        if poll(&mut fds, PollTimeout::ZERO) == Ok(0) {
            let _ = kill(self.pid, Signal::SIGKILL);
        }
    }
}

/// Stops a process and takes a duplicate of every descriptor that it has.
///
/// # Errors
/// The name of the error: `EPERM` where the caller may not trace it (ptrace(2)); it goes on then.
pub fn take_over(pid: Pid) -> Result<Taken, String> {
    let mut told = run(&["take", &pid.to_string()])?.into_iter();
    let (_, process) = told.next().expect("the process itself comes first");
    let descriptors = told.map(|(what, descriptor)| {
        let (number, what) = what.split_once(' ').unwrap();
        (number.parse().unwrap(), what.to_owned(), descriptor)
    });
    Ok(Taken { process, descriptors: descriptors.collect(), pid })
}

/// A connection to a server as this user, which takes root unless it is the caller itself.
#[must_use]
pub fn connect_as(uid: u32, socket: &Path) -> Raw {
    let told = run(&["connect", &uid.to_string(), socket.to_str().unwrap()]);
    let (_, connected) = told.unwrap().remove(0);
    Raw::of(connected)
}

/// What the script passes on, each with what it says about it.
fn run(arguments: &[&str]) -> Result<Vec<(String, OwnedFd)>, String> {
    let (ours, theirs) = pair().unwrap();
    let mut command = Command::new(python());
    command.args(["-ISc", SCRIPT]).args(arguments).stdin(Stdio::from(theirs));
    let mut child = command.spawn().unwrap();
    drop(command);
    let mut told = Vec::new();
    let mut buffer = [0; 4096];
    let outcome = loop {
        wait_readable(&ours, "what another process passes on");
        let mut received = receive(ours.as_fd(), &mut buffer).unwrap();
        if received.bytes == 0 {
            break Ok(told);
        }
        let text = String::from_utf8_lossy(&buffer[..received.bytes]).into_owned();
        match (text.strip_prefix("failed "), received.descriptors.pop()) {
            (Some(error), _) => break Err(error.to_owned()),
            (None, Some(descriptor)) => told.push((text, descriptor)),
            (None, None) => panic!("{text}"),
        }
    };
    assert!(child.wait().unwrap().success());
    outcome
}
