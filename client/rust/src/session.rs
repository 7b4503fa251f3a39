//! One connection to the server: requests out, each answered under its number, by whatever thread
//! asks. Decides nothing about leases.

use crate::mailbox::{Awaited, Ended, Mail, Mailbox, Post};
use std::collections::BTreeSet;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use zyg_protocol::codec::{EncodeError, encode};
use zyg_protocol::limits::WIRE_VERSION;
use zyg_protocol::message::{Attach, LeaseId, Refusal, Reply, Request, RequestId};

/// Why the conversation with the server is over, or a request could not be part of it.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The server has hung up: it has ended, or is restarting.
    #[error("the server closed the session")]
    Closed,
    /// The server has refused the session, and says why.
    #[error("the server refuses the session: {0}")]
    Refused(#[source] Refusal),
    /// The server speaks another version of the wire.
    #[error(
        "client and server come from different releases of zyg: the server speaks wire version \
         {got}, this client {want}; install one release of both and restart the server"
    )]
    WrongVersion {
        /// The server's version.
        got: u16,
        /// This client's version.
        want: u16,
    },
    /// The server has broken a rule of the wire; the session is given up.
    #[error("the server sent a malformed message: {0}")]
    Malformed(String),
    /// The request is larger than a message may be.
    #[error("the request is too large: {0}")]
    TooLong(#[source] EncodeError),
    /// The kernel says no.
    #[error("failed to exchange messages with the server: {0}")]
    Socket(#[source] io::Error),
}

impl From<Ended> for SessionError {
    fn from(ended: Ended) -> Self {
        match ended {
            Ended::Closed => Self::Closed,
            Ended::Refused(Refusal::WrongVersion { want, .. }) => {
                Self::WrongVersion { got: want, want: WIRE_VERSION }
            }
            Ended::Refused(refusal) => Self::Refused(refusal),
            Ended::Version(got) => Self::WrongVersion { got, want: WIRE_VERSION },
            Ended::Malformed(rule) => Self::Malformed(rule),
            Ended::Os(errno) => Self::Socket(errno.into()),
        }
    }
}

impl Post for Reply {
    type Key = RequestId;

    fn addressee(&self, descriptors: usize) -> Result<RequestId, Ended> {
        let (request, riding) = match self {
            Self::Granted(granted) => {
                let trees = granted.attach.iter().filter(|attach| Attach::has_tree(attach));
                (granted.request, 2 + trees.count())
            }
            Self::Denied { request, .. }
            | Self::Status { request, .. }
            | Self::Reserved { request, .. }
            | Self::Drained { request, .. } => (*request, 0),
            Self::Refused(refusal) => return Err(Ended::Refused(refusal.clone())),
        };
        if descriptors != riding {
            let rule = format!("{descriptors} descriptors ride along where {riding} belong");
            return Err(Ended::Malformed(rule));
        }
        Ok(request)
    }
}

/// An answer of another type than its request has.
pub(crate) fn stray(reply: &Reply) -> SessionError {
    let kind = match reply {
        Reply::Granted(_) => "grant",
        Reply::Denied { .. } => "denial",
        Reply::Status { .. } => "status",
        Reply::Refused(_) => "refusal",
        Reply::Reserved { .. } => "reservation",
        Reply::Drained { .. } => "end of a drain",
    };
    SessionError::Malformed(format!("a {kind} does not answer this request"))
}

/// A connected session.
#[derive(Debug)]
pub(crate) struct Session {
    mailbox: Arc<Mailbox<Reply>>,
    next: AtomicU64,
}

impl Session {
    pub(crate) fn new(socket: OwnedFd) -> Self {
        Self { mailbox: Mailbox::new(socket), next: AtomicU64::new(1) }
    }

    /// Whether the server has ever answered on it.
    pub(crate) fn answered(&self) -> bool {
        self.mailbox.answered()
    }

    /// Sends what `request` makes of a fresh number, and waits for the answer to it.
    pub(crate) fn call(
        &self,
        request: impl FnOnce(RequestId) -> Request,
    ) -> Result<Mail<Reply>, SessionError> {
        let number = self.numbers(1);
        let mut reply = self.mailbox.expect(number);
        self.send(&request(number))?;
        Ok(reply.wait()?)
    }

    /// Sends what `request` makes of the first of `count` fresh numbers, each of which will have an
    /// answer of its own.
    pub(crate) fn call_many(
        &self,
        count: u32,
        request: impl FnOnce(RequestId) -> Request,
    ) -> Result<Answers, SessionError> {
        let first = self.numbers(count);
        let numbers = first..first + u64::from(count);
        let awaited = self.mailbox.expect_all(first, numbers.clone().skip(1));
        self.send(&request(first))?;
        Ok(Answers { awaited, missing: numbers.collect() })
    }

    /// The first of `count` numbers in a row that no other request of this session has.
    fn numbers(&self, count: u32) -> RequestId {
        self.next.fetch_add(u64::from(count), Ordering::Relaxed)
    }

    fn send(&self, request: &Request) -> Result<(), SessionError> {
        let mut buffer = Vec::new();
        encode(request, &mut buffer).map_err(SessionError::TooLong)?;
        self.mailbox.send(&buffer, &[]).map_err(|errno| SessionError::Socket(errno.into()))
    }

    /// Withdraws an acquire, which has its answer all the same.
    pub(crate) fn cancel(&self, request: RequestId) -> Result<(), SessionError> {
        self.send(&Request::Cancel { request })
    }

    /// Gives a lease back. Errors are of no consequence: a server that cannot be told has ended
    /// the lease already, or ends it with the session.
    pub(crate) fn release(&self, lease: LeaseId) {
        let _ = self.send(&Request::Release { lease });
    }
}

/// The answers to a request that has several, in the order in which they come.
#[derive(Debug)]
pub(crate) struct Answers {
    awaited: Awaited<Reply>,
    /// The numbers of those that have not come.
    missing: BTreeSet<RequestId>,
}

impl Answers {
    /// The numbers that have no answer yet.
    pub(crate) fn missing(&self) -> impl Iterator<Item = RequestId> {
        self.missing.iter().copied()
    }

    /// Waits for the next answer, a grant or a denial; `None` when all have come.
    pub(crate) fn next(&mut self) -> Result<Option<Mail<Reply>>, SessionError> {
        if self.missing.is_empty() {
            return Ok(None);
        }
        let mail = self.awaited.wait()?;
        let number = match &mail.message {
            Reply::Granted(granted) => granted.request,
            Reply::Denied { request, .. } => *request,
            other => return Err(stray(other)),
        };
        if !self.missing.remove(&number) {
            return Err(SessionError::Malformed("one answer came twice".into()));
        }
        Ok(Some(mail))
    }
}
