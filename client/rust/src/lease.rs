//! One leased environment, from the grant to the end: it is prepared, handed out, released.

use crate::channel::{Answer, Channel, LeaseError};
use crate::client::RequestError;
use crate::command::Command;
use crate::mailbox::{Awaited, ready};
use crate::options::OptionsError;
use crate::session::{Session, SessionError};
use nix::poll::PollFlags;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use zyg_protocol::message::{Bytes, Denial, Failure, FromInit, Granted, LeaseId, Prepare, Start};

/// An environment of one's own, until it is released or dropped.
///
/// Dropping it gives it back without waiting: the server kills everything in it, a [`Child`] that
/// is still held included, whose wait then fails with [`LeaseError::Ended`].
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let client = zygote_client::Client::connect_or_start()?;
/// let lease = client.lease()?;
/// lease.command("touch").arg("/tmp/here").status()?;
/// assert!(lease.command("test").args(["-e", "/tmp/here"]).status()?.success());
/// lease.release()?; // returns when nothing of it is left
/// # Ok(()) }
/// ```
///
/// [`Child`]: crate::Child
#[derive(Debug)]
pub struct Lease {
    start: Start,
    waited: Duration,
    deadline: Option<Instant>,
    preparation: Mutex<Preparation>,
    cwd: Option<PathBuf>,
    pidfd: OwnedFd,
    channel: Arc<Channel>,
    held: Held,
}

/// The claim on the lease: gives it back when it is dropped, once and on every path.
#[derive(Debug)]
struct Held {
    session: Arc<Session>,
    id: LeaseId,
}

/// Why no lease was had.
#[derive(Debug, thiserror::Error)]
pub enum AcquireError {
    /// It cannot be asked for like this.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// The server was not reached, or did not answer.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The server has said no.
    #[error(transparent)]
    Denied(#[from] Denial),
    /// The environment could not be made as asked; nothing has run in it.
    #[error("failed to prepare the environment: {0}")]
    Prepare(#[source] Failure),
    /// The environment was gone before it was prepared.
    #[error(transparent)]
    Lease(#[from] LeaseError),
}

/// What init puts in place before the first command, as far as is known.
#[derive(Debug)]
enum Preparation {
    Awaited(Awaited<FromInit>),
    /// With the paths that stay read-only.
    Done(Vec<PathBuf>),
    Failed(Failure),
}

impl Lease {
    /// Makes a lease of a grant, and passes on what init must put in place.
    pub(crate) fn new(
        session: Arc<Session>,
        granted: Granted,
        descriptors: Vec<OwnedFd>,
        cwd: Option<Bytes>,
        hostname: Option<String>,
    ) -> Result<Self, AcquireError> {
        // Before anything can fail: from here on every return gives it back.
        let held = Held { session, id: granted.lease };
        let mut descriptors = descriptors.into_iter();
        let (Some(channel), Some(pidfd)) = (descriptors.next(), descriptors.next()) else {
            let rule = "a grant without channel and pidfd".to_owned();
            return Err(RequestError::from(SessionError::Malformed(rule)).into());
        };
        let mut lease = Self {
            start: granted.start,
            waited: Duration::from_micros(granted.waited_us),
            deadline: granted
                .time_ms
                .and_then(|time| Instant::now().checked_add(Duration::from_millis(time))),
            preparation: Mutex::new(Preparation::Done(Vec::new())),
            cwd: granted
                .start_in
                .or(cwd)
                .map(|path| PathBuf::from(OsString::from_vec(path.into_vec()))),
            pidfd,
            channel: Arc::new(Channel::new(channel)),
            held,
        };
        if granted.attach.is_empty() && hostname.is_none() {
            return Ok(lease);
        }
        let trees: Vec<_> = descriptors.collect();
        lease.preparation =
            Mutex::new(Preparation::Awaited(lease.channel.expect(Answer::Preparation)));
        lease.channel.prepare(Prepare { attach: granted.attach, hostname }, &trees)?;
        Ok(lease)
    }

    /// Waits until all that was asked for is in place. Only after
    /// [`Client::acquire_ahead`](crate::Client::acquire_ahead) it may not be yet.
    ///
    /// # Errors
    /// [`AcquireError::Prepare`] if it cannot be: nothing runs in the environment then.
    /// [`AcquireError::Lease`] if the environment was gone before.
    pub fn prepared(&self) -> Result<(), AcquireError> {
        let mut preparation = self.preparation();
        if let Preparation::Awaited(answer) = &mut *preparation {
            *preparation = match answer.wait().map_err(LeaseError::from)?.message {
                FromInit::Prepared { read_only } => {
                    let paths =
                        read_only.into_iter().map(|path| OsString::from_vec(path.into_vec()));
                    Preparation::Done(paths.map(PathBuf::from).collect())
                }
                FromInit::PrepareFailed(failure) => Preparation::Failed(failure),
                _ => unreachable!("only these two are filed under Preparation"),
            };
        }
        match &*preparation {
            Preparation::Failed(failure) => Err(AcquireError::Prepare(failure.clone())),
            Preparation::Awaited(_) | Preparation::Done(_) => Ok(()),
        }
    }

    fn preparation(&self) -> MutexGuard<'_, Preparation> {
        self.preparation.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The server's name for the lease.
    #[must_use]
    pub fn id(&self) -> LeaseId {
        self.held.id
    }

    /// Whether the environment was waiting, or had to be built.
    #[must_use]
    pub fn start(&self) -> Start {
        self.start
    }

    /// The time from the request's arrival to the grant, by the server's clock.
    #[must_use]
    pub fn waited(&self) -> Duration {
        self.waited
    }

    /// When the server ends the lease, by the time that was asked for or the profile's limit; `None`
    /// for never. The server's clock began a little before.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Paths that should be privately writable and stay read-only, because the kernel refuses a
    /// private layer over them. Known once the lease is [prepared](Lease::prepared).
    #[must_use]
    pub fn read_only(&self) -> Vec<PathBuf> {
        match &*self.preparation() {
            Preparation::Done(read_only) => read_only.clone(),
            Preparation::Awaited(_) | Preparation::Failed(_) => Vec::new(),
        }
    }

    /// Readable, in the sense of poll(2), once everything in the environment is gone. Where
    /// environments are used again (`recycle = "whole"`) it is the end of a pipe, else the pidfd of
    /// the environment's init (pidfd_open(2)).
    #[must_use]
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// A command to run in this environment: with a slash in it, the path of a program inside;
    /// without, a name to be searched in the `PATH` of the command's own environment variables.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command<'_> {
        Command::new(self, program.as_ref())
    }

    /// Gives the environment back, and waits until nothing of it is left. Dropping the lease gives
    /// it back just as well, without the wait.
    ///
    /// # Errors
    /// That of poll(2). The lease is over in any case.
    pub fn release(self) -> io::Result<()> {
        let Self { held, channel, pidfd, .. } = self;
        drop((held, channel));
        ready(pidfd.as_fd(), PollFlags::POLLIN, None)?;
        Ok(())
    }

    pub(crate) fn channel(&self) -> &Arc<Channel> {
        &self.channel
    }

    pub(crate) fn cwd(&self) -> Option<&Path> {
        self.cwd.as_deref()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.session.release(self.id);
    }
}
