//! A command that runs: its streams, its signals, its end.

use crate::channel::{Channel, LeaseError};
use crate::command::RunError;
use crate::mailbox::Awaited;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{ChildStderr, ChildStdin, ChildStdout, ExitStatus, Output};
use std::sync::Arc;
use std::time::{Duration, Instant};
use zyg_protocol::message::{CommandId, ExitStatus as Reported, FromInit, Scope, Usage};

/// Bytes read from a pipe at once: what a pipe holds (pipe(7)).
const CHUNK_BYTES: usize = 64 * 1024;

/// SIGKILL, the same on every Linux architecture (signal(7)).
const SIGKILL: i32 = nix::libc::SIGKILL;

/// A command that runs in a lease, or has run.
///
/// As with [`std::process::Child`], dropping it neither ends the command nor waits for it. The
/// lease's end ends it: then every wait fails at once with [`LeaseError::Ended`].
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let lease = zygote_client::Client::connect_or_start()?.lease()?;
/// use std::time::Duration;
/// let mut child = lease.command("sleep").arg("60").spawn()?;
/// if child.wait_timeout(Duration::from_secs(1))?.is_none() {
///     child.kill()?;
/// }
/// println!("{}, {:?}", child.wait()?, child.usage());
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Child {
    /// The writing end of the command's standard input, if that was piped.
    pub stdin: Option<ChildStdin>,
    /// The reading end of the command's standard output, if that was piped.
    pub stdout: Option<ChildStdout>,
    /// The reading end of the command's standard error, if that was piped.
    pub stderr: Option<ChildStderr>,
    /// The master side of the command's terminal, if it was given one. Closing it hangs up on the
    /// command, so it lives as long as this.
    pub terminal: Option<OwnedFd>,
    channel: Arc<Channel>,
    command: CommandId,
    pid: u32,
    ended: Awaited<FromInit>,
    end: Option<(ExitStatus, Usage)>,
    killed: bool,
}

/// Our ends of a command's streams.
#[derive(Debug)]
pub(crate) struct Streams {
    pub(crate) ours: [Option<OwnedFd>; 3],
    pub(crate) terminal: Option<OwnedFd>,
}

/// Sends signals to one command, from any thread, also while another one waits for its end.
#[derive(Debug, Clone)]
pub struct Signals {
    channel: Arc<Channel>,
    command: CommandId,
}

impl Signals {
    /// Sends a signal; a command that has ended gets nothing.
    ///
    /// # Errors
    /// [`LeaseError::Socket`]. That the lease has ended is not reported here.
    pub fn send(&self, signal: i32, scope: Scope) -> Result<(), LeaseError> {
        self.channel.signal(self.command, signal, scope)
    }
}

impl Child {
    pub(crate) fn new(
        channel: Arc<Channel>,
        command: CommandId,
        pid: u32,
        ended: Awaited<FromInit>,
        streams: Streams,
    ) -> Self {
        let [stdin, stdout, stderr] = streams.ours;
        Self {
            stdin: stdin.map(ChildStdin::from),
            stdout: stdout.map(ChildStdout::from),
            stderr: stderr.map(ChildStderr::from),
            terminal: streams.terminal,
            channel,
            command,
            pid,
            ended,
            end: None,
            killed: false,
        }
    }

    /// The command's process number inside the environment; outside it means nothing.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.pid
    }

    /// Waits for the command's end. Closes its standard input first, if that was piped and is
    /// still here, so that a command that reads to the end does end.
    ///
    /// # Errors
    /// [`LeaseError`], at once when the lease ends.
    pub fn wait(&mut self) -> Result<ExitStatus, LeaseError> {
        self.close_input();
        if let Some((status, _)) = self.end {
            return Ok(status);
        }
        let mail = self.ended.wait()?;
        let status = self.finish(&mail.message);
        drop(self.stdin.take());
        status
    }

    /// The command's end, if it has come to one.
    ///
    /// # Errors
    /// As [`Child::wait`].
    pub fn try_wait(&mut self) -> Result<Option<ExitStatus>, LeaseError> {
        self.wait_until(Instant::now())
    }

    /// Waits for the command's end, so long and no longer; `None` if it did not come. Closes its
    /// standard input first, as [`Child::wait`] does.
    ///
    /// # Errors
    /// As [`Child::wait`].
    pub fn wait_timeout(&mut self, longest: Duration) -> Result<Option<ExitStatus>, LeaseError> {
        match Instant::now().checked_add(longest) {
            Some(deadline) => {
                self.close_input();
                self.wait_until(deadline)
            }
            None => self.wait().map(Some),
        }
    }

    fn wait_until(&mut self, deadline: Instant) -> Result<Option<ExitStatus>, LeaseError> {
        if let Some((status, _)) = self.end {
            return Ok(Some(status));
        }
        match self.ended.wait_until(Some(deadline))? {
            Some(mail) => self.finish(&mail.message).map(Some),
            None => Ok(None),
        }
    }

    /// Not after a kill, which may still be on its way: a command that reads to the end would come
    /// to that end first, and seem to have ended by itself.
    fn close_input(&mut self) {
        if !self.killed {
            drop(self.stdin.take());
        }
    }

    fn finish(&mut self, message: &FromInit) -> Result<ExitStatus, LeaseError> {
        let FromInit::Exited { status, usage, .. } = message else {
            unreachable!("only this one is filed under End");
        };
        let status = exit_status(*status)?;
        self.end = Some((status, *usage));
        Ok(status)
    }

    /// Reads everything that the command prints to its piped streams, waits for its end, and
    /// returns both. Of a command on a terminal, what it prints there counts as standard output.
    ///
    /// # Errors
    /// [`RunError`], at once when the lease ends.
    pub fn wait_with_output(mut self) -> Result<Output, RunError> {
        if self.killed {
            self.wait()?;
        }
        drop(self.stdin.take());
        let out = self.stdout.take().map(OwnedFd::from).or_else(|| self.terminal.take());
        let err = self.stderr.take().map(OwnedFd::from);
        let [stdout, stderr] = read_both([out, err]).map_err(RunError::Output)?;
        let status = self.wait()?;
        Ok(Output { status, stdout, stderr })
    }

    /// Kills the command with SIGKILL: its first process, not what that has started. A command
    /// that has ended gets nothing.
    ///
    /// # Errors
    /// As [`Signals::send`].
    pub fn kill(&mut self) -> Result<(), LeaseError> {
        self.killed = true;
        self.signal(SIGKILL, Scope::Process)
    }

    /// Sends a signal to the command, or to its process group; a command that has ended gets
    /// nothing.
    ///
    /// # Errors
    /// As [`Signals::send`].
    pub fn signal(&self, signal: i32, scope: Scope) -> Result<(), LeaseError> {
        if self.end.is_some() {
            return Ok(());
        }
        self.channel.signal(self.command, signal, scope)
    }

    /// A sender of signals that other threads may have.
    #[must_use]
    pub fn signals(&self) -> Signals {
        Signals { channel: Arc::clone(&self.channel), command: self.command }
    }

    /// What the command has used, once its end is known.
    #[must_use]
    pub fn usage(&self) -> Option<Usage> {
        self.end.map(|(_, usage)| usage)
    }

    /// A descriptor for a poll(2) loop: readable when [`Child::try_wait`] may have news, for a
    /// thread that is the only one to wait for commands of this lease. Never to be read.
    #[must_use]
    pub fn readiness(&self) -> BorrowedFd<'_> {
        self.channel.socket()
    }
}

/// The wait status (waitpid(2)) that a parent would have seen. A signal number that is none would
/// read as something else there.
pub(crate) fn exit_status(reported: Reported) -> Result<ExitStatus, LeaseError> {
    const SIGNAL_MAX: i32 = 64;
    const CORE_DUMPED: i32 = 0x80;
    match reported {
        Reported::Code(code) => Ok(ExitStatus::from_raw(i32::from(code) << 8)),
        Reported::Signal { signal, core_dumped } if (1..=SIGNAL_MAX).contains(&signal) => {
            Ok(ExitStatus::from_raw(signal | if core_dumped { CORE_DUMPED } else { 0 }))
        }
        Reported::Signal { signal, .. } => {
            Err(LeaseError::Malformed(format!("a command ended by signal {signal}")))
        }
    }
}

/// Reads two streams to their ends, whichever has something to read.
pub(crate) fn read_both(streams: [Option<OwnedFd>; 2]) -> io::Result<[Vec<u8>; 2]> {
    let mut files = streams.map(|stream| stream.map(File::from));
    let mut contents = [Vec::new(), Vec::new()];
    let mut chunk = vec![0; CHUNK_BYTES];
    while files.iter().any(Option::is_some) {
        for index in readable(&files)? {
            let Some(file) = &mut files[index] else { continue };
            match file.read(&mut chunk) {
                Ok(0) => files[index] = None,
                Ok(bytes) => contents[index].extend_from_slice(&chunk[..bytes]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The end of a terminal: nobody has its other side open any more (pty(7)).
                Err(error) if error.raw_os_error() == Some(Errno::EIO as i32) => {
                    files[index] = None;
                }
                Err(error) => return Err(error),
            }
        }
    }
    Ok(contents)
}

/// Waits until one of the files has something to read, or is at its end; which of them.
fn readable(files: &[Option<File>; 2]) -> io::Result<Vec<usize>> {
    let open = files.iter().enumerate().filter_map(|(index, file)| Some((index, file.as_ref()?)));
    let (indices, mut polled): (Vec<usize>, Vec<PollFd<'_>>) =
        open.map(|(index, file)| (index, PollFd::new(file.as_fd(), PollFlags::POLLIN))).unzip();
    loop {
        match poll(&mut polled, PollTimeout::NONE) {
            Ok(_) => break,
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    let ready = |(_, polled): &(usize, PollFd<'_>)| polled.any().unwrap_or(true);
    Ok(indices.into_iter().zip(polled).filter(ready).map(|(index, _)| index).collect())
}

#[cfg(test)]
#[path = "child_tests.rs"]
mod tests;
