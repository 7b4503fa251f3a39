//! What to run in a lease, put together as with `std::process::Command`. Running it is
//! [`crate::spawn`]'s.

use crate::channel::LeaseError;
use crate::child::Child;
use crate::environment::Environment;
use crate::lease::Lease;
use crate::spawn::SpawnError;
use crate::stdio::Stdio;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output};
use zyg_protocol::message::{Rlimit, TtySize};

/// A command to run in a [`Lease`], put together as with [`std::process::Command`]: it inherits the
/// caller's environment variables and standard streams unless told otherwise, and may be spawned
/// more than once, also at once.
///
/// Two things differ. It starts in the lease's working directory, if it was given one
/// ([`LeaseOptions::cwd`](crate::LeaseOptions::cwd)), else in the caller's; and its umask is 022
/// unless told otherwise, since the caller's cannot be read without changing it.
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let lease = zygote_client::Client::connect_or_start()?.lease()?;
/// let output = lease.command("sh").args(["-c", "echo $GREETING"]).env("GREETING", "hi").output()?;
/// assert_eq!(output.stdout, b"hi\n");
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Command<'lease> {
    pub(crate) lease: &'lease Lease,
    pub(crate) program: OsString,
    pub(crate) arg0: Option<OsString>,
    pub(crate) args: Vec<OsString>,
    pub(crate) environment: Environment,
    pub(crate) directory: Option<PathBuf>,
    pub(crate) stdio: [Option<Stdio>; 3],
    pub(crate) descriptors: BTreeMap<i32, OwnedFd>,
    pub(crate) tty: Option<TtySize>,
    pub(crate) rlimits: Vec<Rlimit>,
    pub(crate) umask: Option<u32>,
    pub(crate) nice: i8,
    pub(crate) cpus: Vec<u8>,
    pub(crate) sweep: bool,
}

/// Why a command has no result.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// It was not started.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    /// Its end is not known, nor, if nobody was to be told, whether it was started.
    #[error(transparent)]
    Lease(#[from] LeaseError),
    /// Its output could not be read.
    #[error("failed to read the command's output: {0}")]
    Output(#[source] io::Error),
}

impl From<RunError> for io::Error {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Spawn(error) => error.into(),
            RunError::Lease(error) => error.into(),
            RunError::Output(source) => Self::new(source.kind(), RunError::Output(source)),
        }
    }
}

impl<'lease> Command<'lease> {
    pub(crate) fn new(lease: &'lease Lease, program: &OsStr) -> Self {
        Self {
            lease,
            program: program.to_owned(),
            arg0: None,
            args: Vec::new(),
            environment: Environment::default(),
            directory: None,
            stdio: [None, None, None],
            descriptors: BTreeMap::new(),
            tty: None,
            rlimits: Vec::new(),
            umask: None,
            nice: 0,
            cpus: Vec::new(),
            sweep: false,
        }
    }

    /// Adds an argument.
    pub fn arg(&mut self, arg: impl AsRef<OsStr>) -> &mut Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    pub fn args(&mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> &mut Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// The name that the program is told to have (`argv[0]`), instead of the one it is found by.
    pub fn arg0(&mut self, name: impl AsRef<OsStr>) -> &mut Self {
        self.arg0 = Some(name.as_ref().to_owned());
        self
    }

    /// Sets an environment variable.
    pub fn env(&mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> &mut Self {
        self.environment.set(key.as_ref(), value.as_ref());
        self
    }

    /// Sets environment variables.
    pub fn envs(
        &mut self,
        variables: impl IntoIterator<Item = (impl AsRef<OsStr>, impl AsRef<OsStr>)>,
    ) -> &mut Self {
        for (key, value) in variables {
            self.environment.set(key.as_ref(), value.as_ref());
        }
        self
    }

    /// Unsets an environment variable.
    pub fn env_remove(&mut self, key: impl AsRef<OsStr>) -> &mut Self {
        self.environment.remove(key.as_ref());
        self
    }

    /// Unsets all environment variables, those set so far included.
    pub fn env_clear(&mut self) -> &mut Self {
        self.environment.clear();
        self
    }

    /// Where the command starts. A relative path is taken from where it would start otherwise.
    pub fn current_dir(&mut self, directory: impl AsRef<Path>) -> &mut Self {
        self.directory = Some(directory.as_ref().to_owned());
        self
    }

    /// The command's standard input.
    pub fn stdin(&mut self, stdio: impl Into<Stdio>) -> &mut Self {
        self.stdio[0] = Some(stdio.into());
        self
    }

    /// The command's standard output.
    pub fn stdout(&mut self, stdio: impl Into<Stdio>) -> &mut Self {
        self.stdio[1] = Some(stdio.into());
        self
    }

    /// The command's standard error.
    pub fn stderr(&mut self, stdio: impl Into<Stdio>) -> &mut Self {
        self.stdio[2] = Some(stdio.into());
        self
    }

    /// Passes a descriptor under a number, 0 to 1023; 0, 1 and 2 are the standard streams. With
    /// the streams, 63 can be passed.
    pub fn descriptor(&mut self, number: i32, descriptor: impl Into<OwnedFd>) -> &mut Self {
        let descriptor = descriptor.into();
        match usize::try_from(number).ok().and_then(|stream| self.stdio.get_mut(stream)) {
            Some(stream) => *stream = Some(descriptor.into()),
            None => {
                self.descriptors.insert(number, descriptor);
            }
        }
        self
    }

    /// Runs the command on a new terminal of this size, its controlling terminal. Its three
    /// standard streams are that terminal, whatever was said of them;
    /// [`Child::terminal`](crate::Child::terminal) is the other side.
    pub fn tty(&mut self, size: TtySize) -> &mut Self {
        self.tty = Some(size);
        self
    }

    /// Sets a resource limit, `RLIMIT_*` of setrlimit(2); lowered to the environment's own hard
    /// limit where it exceeds that.
    pub fn rlimit(&mut self, limit: Rlimit) -> &mut Self {
        self.rlimits.push(limit);
        self
    }

    /// The file mode creation mask; 0o022 without it.
    pub fn umask(&mut self, mask: u32) -> &mut Self {
        self.umask = Some(mask);
        self
    }

    /// The nice value (nice(2)), 0 to 19; 0 without it. That of the server is the least that there is.
    pub fn nice(&mut self, nice: i8) -> &mut Self {
        self.nice = nice;
        self
    }

    /// The CPUs that the command may run on, one bit each as sched_setaffinity(2) has them: those of
    /// them that the server may. All of the server's without it, or where it may run on none of them.
    pub fn cpus(&mut self, mask: impl Into<Vec<u8>>) -> &mut Self {
        self.cpus = mask.into();
        let used = self.cpus.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        self.cpus.truncate(used);
        self
    }

    /// Whether everything else in the environment ends when this command does, before its end is
    /// reported: then nothing that it left behind holds a pipe open.
    pub fn sweep(&mut self, sweep: bool) -> &mut Self {
        self.sweep = sweep;
        self
    }

    /// Starts the command. Streams about which nothing was said are the caller's.
    ///
    /// # Errors
    /// [`SpawnError`]; nothing runs then.
    pub fn spawn(&mut self) -> Result<Child, SpawnError> {
        let inherit = Stdio::inherit;
        self.spawn_with([inherit(), inherit(), inherit()])
    }

    /// Runs the command to its end. Streams about which nothing was said are the caller's.
    ///
    /// # Errors
    /// [`RunError`].
    pub fn status(&mut self) -> Result<ExitStatus, RunError> {
        if self.tty.is_some() {
            return Ok(self.spawn()?.wait()?);
        }
        Ok(self.run([Stdio::inherit(), Stdio::inherit(), Stdio::inherit()], false)?.status)
    }

    /// Runs the command to its end and collects what it prints. About standard input nothing
    /// said is `/dev/null`; about the other two, a pipe.
    ///
    /// # Errors
    /// [`RunError`].
    pub fn output(&mut self) -> Result<Output, RunError> {
        let defaults = [Stdio::null(), Stdio::piped(), Stdio::piped()];
        if self.tty.is_some() {
            return self.spawn_with(defaults)?.wait_with_output();
        }
        self.run(defaults, true)
    }
}
