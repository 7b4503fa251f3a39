//! One connection to the server: requests out, each answered under its number, by whatever thread
//! asks. Decides nothing about leases.

use crate::mailbox::{Ended, Mail, Mailbox, Post};
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
            Self::Denied { request, .. } | Self::Status { request, .. } => (*request, 0),
            Self::Refused(refusal) => return Err(Ended::Refused(refusal.clone())),
        };
        if descriptors != riding {
            let rule = format!("{descriptors} descriptors ride along where {riding} belong");
            return Err(Ended::Malformed(rule));
        }
        Ok(request)
    }
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
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let mut buffer = Vec::new();
        encode(&request(number), &mut buffer).map_err(SessionError::TooLong)?;
        let mut reply = self.mailbox.expect(number);
        self.mailbox.send(&buffer, &[]).map_err(|errno| SessionError::Socket(errno.into()))?;
        Ok(reply.wait()?)
    }

    /// Gives a lease back. Errors are of no consequence: a server that cannot be told has ended
    /// the lease already, or ends it with the session.
    pub(crate) fn release(&self, lease: LeaseId) {
        let mut buffer = Vec::new();
        if encode(&Request::Release { lease }, &mut buffer).is_ok() {
            let _ = self.mailbox.send(&buffer, &[]);
        }
    }
}
