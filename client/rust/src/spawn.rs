//! From a command put together to a process that runs: the request is made of it, sent with its
//! descriptors, and init's answer awaited.

use crate::channel::{Answer, LeaseError, SendError};
use crate::child::{Child, Streams, exit_status, read_both};
use crate::command::{Command, RunError};
use crate::stdio::{Passed, Stdio, Stream};
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::Output;
use std::sync::Arc;
use zyg_protocol::limits::{EXEC_BYTES_MAX, EXEC_DESCRIPTORS_MAX, TARGET_DESCRIPTOR_MAX};
use zyg_protocol::message::{Bytes, CommandId, Exec, Failure, FromInit, Strings};

/// Why a command was not started. None of it runs.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// The environment could not run it; says which step failed, and with what error.
    #[error(transparent)]
    Failed(Failure),
    /// The lease has ended.
    #[error(transparent)]
    Lease(#[from] LeaseError),
    /// A zero byte, which the kernel takes for the end.
    #[error("{what} holds a zero byte")]
    ZeroByte {
        /// Which part of the command.
        what: &'static str,
    },
    /// Arguments and environment exceed every bound.
    #[error(
        "arguments and environment are too large: the command does not fit into \
         {EXEC_BYTES_MAX} bytes"
    )]
    TooBig,
    /// A descriptor number outside the range.
    #[error("descriptor number {0} is not between 0 and {TARGET_DESCRIPTOR_MAX}")]
    DescriptorNumber(i32),
    /// More descriptors than one command may be given.
    #[error(
        "{0} descriptors are to be passed, standard streams included, more than the \
         {EXEC_DESCRIPTORS_MAX} that are allowed"
    )]
    TooManyDescriptors(usize),
    /// The caller's working directory, where the command was to start, is not known.
    #[error("failed to find the current directory: {0}")]
    CurrentDirectory(#[source] io::Error),
    /// A standard stream could not be made.
    #[error("failed to open the command's standard {stream}: {source}")]
    Stream {
        /// `input`, `output` or `error`.
        stream: &'static str,
        /// Why.
        source: io::Error,
    },
    /// A large request could not be stored.
    #[error("failed to store the request in memory: {0}")]
    Store(#[source] io::Error),
    /// The request could not be sent: a descriptor that is not open, in the main, or too many of this
    /// user's on their way.
    #[error("failed to send the request to the environment: {0}")]
    Send(#[source] io::Error),
}

impl SpawnError {
    /// The step that failed in the environment, and its error number; `None` if it did not get so
    /// far. `ENOENT` of [`Step::Execute`](crate::Step::Execute): there is no such program; another
    /// of its errors, or [`Step::Interpreter`](crate::Step::Interpreter): it is there and cannot be
    /// executed.
    #[must_use]
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Failed(failure) => Some(failure),
            _ => None,
        }
    }

    /// The error as a kind of the standard library, that of
    /// [`std::process::Command::spawn`] where it has one.
    #[must_use]
    pub fn kind(&self) -> io::ErrorKind {
        match self {
            Self::Failed(failure) => io::Error::from_raw_os_error(failure.errno).kind(),
            Self::Lease(LeaseError::Ended) => io::ErrorKind::ConnectionAborted,
            Self::Lease(LeaseError::Malformed(_)) => io::ErrorKind::InvalidData,
            Self::ZeroByte { .. } | Self::DescriptorNumber(_) | Self::TooManyDescriptors(_) => {
                io::ErrorKind::InvalidInput
            }
            Self::TooBig => io::ErrorKind::ArgumentListTooLong,
            Self::Lease(LeaseError::Socket(source))
            | Self::CurrentDirectory(source)
            | Self::Stream { source, .. }
            | Self::Store(source)
            | Self::Send(source) => source.kind(),
        }
    }
}

impl From<SpawnError> for io::Error {
    fn from(error: SpawnError) -> Self {
        Self::new(error.kind(), error)
    }
}

impl From<SendError> for SpawnError {
    fn from(error: SendError) -> Self {
        match error {
            SendError::TooLong => Self::TooBig,
            SendError::Store(source) => Self::Store(source),
            SendError::Socket(source) => Self::Send(source),
        }
    }
}

impl Command<'_> {
    /// Starts the command, with `defaults` for the streams about which nothing was said.
    pub(crate) fn spawn_with(&self, defaults: [Stdio; 3]) -> Result<Child, SpawnError> {
        let channel = self.lease.channel();
        let number = channel.number();
        let mut started = channel.expect(Answer::Start(number));
        let ended = channel.expect(Answer::End(number));
        let ours = self.send(number, defaults, false)?;
        let mail = started.wait().map_err(LeaseError::from)?;
        let (pid, terminal) = self.judge_start(mail.message, mail.descriptors)?;
        Ok(Child::new(Arc::clone(channel), number, pid, ended, Streams { ours, terminal }))
    }

    /// Runs the command to its end, without a word of its start. Returns what it prints if that is
    /// to be collected.
    pub(crate) fn run(&self, defaults: [Stdio; 3], collect: bool) -> Result<Output, RunError> {
        let channel = self.lease.channel();
        let number = channel.number();
        let (start, end) = (Answer::Start(number), Answer::End(number));
        let mut outcome = channel.expect_all(end, [start]);
        let [input, mut out, mut err] = self.send(number, defaults, true)?;
        // A command that reads to the end shall come to it.
        drop(input);
        let [stdout, stderr] = if collect {
            read_both([out.take(), err.take()]).map_err(RunError::Output)?
        } else {
            [Vec::new(), Vec::new()]
        };
        loop {
            let mail = outcome.wait().map_err(LeaseError::from)?;
            if let FromInit::Exited { status, .. } = mail.message {
                return Ok(Output { status: exit_status(status)?, stdout, stderr });
            }
            // Of a start nobody wants to know.
            self.judge_start(mail.message, mail.descriptors)?;
        }
    }

    /// Sends the request, with `defaults` for the streams about which nothing was said. Returns our
    /// ends of the streams.
    fn send(
        &self,
        number: CommandId,
        defaults: [Stdio; 3],
        quiet: bool,
    ) -> Result<[Option<OwnedFd>; 3], SpawnError> {
        let channel = self.lease.channel();
        let standard = (io::stdin(), io::stdout(), io::stderr());
        let inherited = [standard.0.as_fd(), standard.1.as_fd(), standard.2.as_fd()];
        let mut ours = [None, None, None];
        let mut passed = Vec::new();
        for stream in Stream::ALL.into_iter().filter(|_| self.tty.is_none()) {
            let index = stream as usize;
            let stdio = self.stdio[index].as_ref().unwrap_or(&defaults[index]);
            let (theirs, end) = stdio.connect(stream, inherited[index]).map_err(|source| {
                SpawnError::Stream { stream: ["input", "output", "error"][index], source }
            })?;
            passed.push((stream.number(), theirs));
            ours[index] = end;
        }
        passed.extend(
            self.descriptors.iter().map(|(&to, from)| (to, Passed::Borrowed(from.as_fd()))),
        );
        check_descriptors(&passed)?;

        let mut exec = self.exec(number, passed.iter().map(|(to, _)| *to).collect())?;
        exec.quiet = quiet;
        let descriptors: Vec<_> = passed.iter().map(|(_, from)| from.as_fd()).collect();
        channel.exec(exec, &descriptors)?;
        // The command's ends of the pipes: while we hold them, no end of file is ever seen.
        drop(passed);
        Ok(ours)
    }

    fn judge_start(
        &self,
        answer: FromInit,
        mut descriptors: Vec<OwnedFd>,
    ) -> Result<(u32, Option<OwnedFd>), SpawnError> {
        let pid = match answer {
            FromInit::Started { pid, .. } => pid,
            FromInit::Failed { failure, .. } => return Err(SpawnError::Failed(failure)),
            _ => unreachable!("only these two are filed under Start"),
        };
        let terminal = descriptors.pop();
        if terminal.is_some() != self.tty.is_some() {
            let rule = "a terminal where none was asked for, or none where one was";
            return Err(LeaseError::Malformed(rule.to_owned()).into());
        }
        Ok((pid, terminal))
    }

    fn exec(&self, command: CommandId, descriptors: Vec<i32>) -> Result<Exec, SpawnError> {
        let program = bytes("the program's name", &self.program)?;
        let mut argv = Strings::default();
        let name = self.arg0.as_ref().unwrap_or(&self.program);
        argv.push(&[without_zero("argument 0", name)?]);
        for arg in &self.args {
            argv.push(&[without_zero("an argument", arg)?]);
        }
        if self.environment.has_zero_byte() {
            return Err(SpawnError::ZeroByte { what: "an environment variable" });
        }
        let env = self.environment.resolve(std::env::vars_os());
        Ok(Exec {
            command,
            program,
            argv,
            env,
            cwd: Some(bytes("the working directory", self.start_directory()?.as_os_str())?),
            descriptors,
            tty: self.tty,
            rlimits: self.rlimits.clone(),
            umask: self.umask,
            nice: self.nice,
            cpus: self.cpus.clone().into(),
            sweep: self.sweep,
            quiet: false,
        })
    }

    fn start_directory(&self) -> Result<PathBuf, SpawnError> {
        if let Some(directory) = self.directory.as_ref().filter(|path| path.is_absolute()) {
            return Ok(directory.clone());
        }
        let base = match self.lease.cwd() {
            Some(cwd) => cwd.to_owned(),
            None => std::env::current_dir().map_err(SpawnError::CurrentDirectory)?,
        };
        Ok(match &self.directory {
            Some(directory) => base.join(directory),
            None => base,
        })
    }
}

fn check_descriptors(passed: &[(i32, Passed<'_>)]) -> Result<(), SpawnError> {
    let outside = |number: &i32| !(0..=TARGET_DESCRIPTOR_MAX).contains(number);
    if let Some(number) = passed.iter().map(|(number, _)| *number).find(outside) {
        return Err(SpawnError::DescriptorNumber(number));
    }
    if passed.len() > EXEC_DESCRIPTORS_MAX {
        return Err(SpawnError::TooManyDescriptors(passed.len()));
    }
    Ok(())
}

fn bytes(what: &'static str, text: &OsStr) -> Result<Bytes, SpawnError> {
    without_zero(what, text).map(Bytes::from)
}

fn without_zero<'a>(what: &'static str, text: &'a OsStr) -> Result<&'a [u8], SpawnError> {
    if text.as_bytes().contains(&0) {
        return Err(SpawnError::ZeroByte { what });
    }
    Ok(text.as_bytes())
}
