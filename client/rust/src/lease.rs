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
use std::sync::Arc;
use std::time::Duration;
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
    read_only: Vec<PathBuf>,
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

/// A lease that init may still be preparing. Dropping it gives the environment back.
#[derive(Debug)]
pub(crate) struct Taken {
    lease: Lease,
    /// `None` where there is nothing to prepare.
    prepared: Option<Awaited<FromInit>>,
}

impl Taken {
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
        let lease = Lease {
            start: granted.start,
            waited: Duration::from_micros(granted.waited_us),
            read_only: Vec::new(),
            cwd: granted
                .start_in
                .or(cwd)
                .map(|path| PathBuf::from(OsString::from_vec(path.into_vec()))),
            pidfd,
            channel: Arc::new(Channel::new(channel)),
            held,
        };
        if granted.attach.is_empty() && hostname.is_none() {
            return Ok(Self { lease, prepared: None });
        }
        let trees: Vec<_> = descriptors.collect();
        let prepared = lease.channel.expect(Answer::Preparation);
        lease.channel.prepare(Prepare { attach: granted.attach, hostname }, &trees)?;
        Ok(Self { lease, prepared: Some(prepared) })
    }

    /// Waits until all is in place.
    pub(crate) fn ready(self) -> Result<Lease, AcquireError> {
        let Self { mut lease, prepared } = self;
        let Some(mut prepared) = prepared else { return Ok(lease) };
        match prepared.wait().map_err(LeaseError::from)?.message {
            FromInit::Prepared { read_only } => {
                let paths = read_only.into_iter().map(|path| OsString::from_vec(path.into_vec()));
                lease.read_only = paths.map(PathBuf::from).collect();
                Ok(lease)
            }
            FromInit::PrepareFailed(failure) => Err(AcquireError::Prepare(failure)),
            _ => unreachable!("only these two are filed under Preparation"),
        }
    }
}

impl Lease {
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

    /// Paths that should be privately writable and stay read-only, because the kernel refuses a
    /// private layer over them.
    #[must_use]
    pub fn read_only(&self) -> &[PathBuf] {
        &self.read_only
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
