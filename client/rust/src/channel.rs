//! The direct line to a leased zygote's init: commands and signals out; starts and ends back, each
//! to the thread that waits for it. The server has no part in it.

use crate::flight;
use crate::mailbox::{Awaited, Ended, Mailbox, Post};
use crate::store;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use zyg_protocol::codec::encode;
use zyg_protocol::message::{CommandId, Exec, FromInit, Prepare, Scope, ToInit};

/// Why a lease serves no longer.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// The environment is gone: its time was up, it was released, or the server has ended.
    #[error(
        "the server ended the lease (its time limit was reached, it was released, or the server \
         itself has ended)"
    )]
    Ended,
    /// The environment's init has broken a rule of the wire.
    #[error("the environment sent a malformed message: {0}")]
    Malformed(String),
    /// The kernel says no.
    #[error("failed to exchange messages with the environment: {0}")]
    Socket(#[source] io::Error),
}

impl From<Ended> for LeaseError {
    fn from(ended: Ended) -> Self {
        match ended {
            Ended::Closed => Self::Ended,
            Ended::Refused(refusal) => Self::Malformed(refusal.to_string()),
            Ended::Version(got) => Self::Malformed(format!("wire version {got}")),
            Ended::Malformed(rule) => Self::Malformed(rule),
            Ended::Os(errno) => Self::Socket(errno.into()),
        }
    }
}

impl From<LeaseError> for io::Error {
    fn from(error: LeaseError) -> Self {
        let kind = match &error {
            LeaseError::Ended => io::ErrorKind::ConnectionAborted,
            LeaseError::Malformed(_) => io::ErrorKind::InvalidData,
            LeaseError::Socket(source) => source.kind(),
        };
        Self::new(kind, error)
    }
}

/// What one waits for on a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Answer {
    /// `Prepared` or `PrepareFailed`.
    Preparation,
    /// `Started` or `Failed`.
    Start(CommandId),
    /// `Exited`.
    End(CommandId),
}

impl Post for FromInit {
    type Key = Answer;

    fn addressee(&self, descriptors: usize) -> Result<Answer, Ended> {
        let (answer, riding_max) = match self {
            Self::Prepared { .. } | Self::PrepareFailed(_) => (Answer::Preparation, 0),
            // Whether a terminal was asked for is known to whoever asked.
            Self::Started { command, .. } => (Answer::Start(*command), 1),
            Self::Failed { command, .. } => (Answer::Start(*command), 0),
            Self::Exited { command, .. } => (Answer::End(*command), 0),
        };
        if descriptors > riding_max {
            let rule = format!("{descriptors} descriptors ride along where {riding_max} may");
            return Err(Ended::Malformed(rule));
        }
        Ok(answer)
    }
}

/// Why an `Exec` could not be sent.
#[derive(Debug)]
pub(crate) enum SendError {
    /// Larger than even a memfd may be.
    TooLong,
    /// The memfd could not be made.
    Store(io::Error),
    /// The kernel says no.
    Socket(io::Error),
}

/// A lease's channel, shared by the lease and its children.
#[derive(Debug)]
pub(crate) struct Channel {
    mailbox: Arc<Mailbox<FromInit>>,
    next: AtomicU32,
}

impl Channel {
    pub(crate) fn new(socket: OwnedFd) -> Self {
        Self { mailbox: Mailbox::new(socket), next: AtomicU32::new(1) }
    }

    /// The socket, to be polled.
    pub(crate) fn socket(&self) -> BorrowedFd<'_> {
        self.mailbox.socket()
    }

    /// A number that no other command of this lease has.
    pub(crate) fn number(&self) -> CommandId {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn expect(&self, answer: Answer) -> Awaited<FromInit> {
        self.mailbox.expect(answer)
    }

    /// As [`Mailbox::expect_all`].
    pub(crate) fn expect_all<const N: usize>(
        &self,
        first: Answer,
        others: [Answer; N],
    ) -> Awaited<FromInit> {
        self.mailbox.expect_all(first, others.into_iter())
    }

    /// Sends what init must put in place first; answered under [`Answer::Preparation`].
    pub(crate) fn prepare(&self, prepare: Prepare, trees: &[OwnedFd]) -> Result<(), LeaseError> {
        let mut buffer = Vec::new();
        encode(&ToInit::Prepare(prepare), &mut buffer)
            .map_err(|error| LeaseError::Malformed(format!("its preparation: {error}")))?;
        let trees = zyg_protocol::socket::borrow(trees);
        self.mailbox.send(&buffer, &trees).map_err(|errno| LeaseError::Socket(flight::error(errno)))
    }

    /// Sends a command with its descriptors: in the message itself where it fits, else in a sealed
    /// memfd beside it.
    pub(crate) fn exec(&self, exec: Exec, descriptors: &[BorrowedFd<'_>]) -> Result<(), SendError> {
        let socket_error = |errno| SendError::Socket(flight::error(errno));
        let mut buffer = Vec::new();
        let message = ToInit::Exec(exec);
        if encode(&message, &mut buffer).is_ok() {
            return self.mailbox.send(&buffer, descriptors).map_err(socket_error);
        }
        let ToInit::Exec(exec) = message else { unreachable!("made an Exec three lines above") };
        encode(&exec, &mut buffer).map_err(|_| SendError::TooLong)?;
        let stored = store::sealed(&buffer).map_err(SendError::Store)?;
        let descriptors: Vec<_> = descriptors.iter().copied().chain([stored.as_fd()]).collect();
        let command = exec.command;
        encode(&ToInit::ExecStored { command }, &mut buffer).map_err(|_| SendError::TooLong)?;
        self.mailbox.send(&buffer, &descriptors).map_err(socket_error)
    }

    /// Sends a signal to a command; a command that is gone gets nothing.
    pub(crate) fn signal(
        &self,
        command: CommandId,
        signal: i32,
        scope: Scope,
    ) -> Result<(), LeaseError> {
        let mut buffer = Vec::new();
        encode(&ToInit::Signal { command, signal, scope }, &mut buffer)
            .map_err(|error| LeaseError::Malformed(error.to_string()))?;
        self.mailbox.send(&buffer, &[]).map_err(|errno| LeaseError::Socket(errno.into()))
    }
}
