//! One connection to the server: requests out, each answered under its number, by whatever thread
//! asks. Decides nothing about leases.

use crate::mailbox::{Awaited, Ended, Mail, Mailbox, Post};
use nix::sys::socket::{UnixAddr, getpeername};
use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
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
    /// The server accepts and says nothing.
    #[error(
        "the server at {} does not answer within {} s: it is stopped or hangs; end it and start \
         another one, or name another one with ZYG_SOCKET",
        .socket.display(),
        .waited.as_secs()
    )]
    Silent {
        /// Where it listens.
        socket: PathBuf,
        /// How long it was waited for.
        waited: Duration,
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

/// How long the first answer of all on a session is waited for before the server is asked something that
/// it answers at once: an acquire may wait in its queue for as long as it likes.
const ASKED_AFTER: Duration = Duration::from_secs(1);

/// How long that answer may take. A server that is busy takes milliseconds; one that looks a user up
/// in a directory that is down, a second.
const ANSWERED_WITHIN: Duration = Duration::from_secs(4);

/// A connected session.
#[derive(Debug)]
pub(crate) struct Session {
    mailbox: Arc<Mailbox<Reply>>,
    next: AtomicU64,
    patience: Patience,
}

/// How long a server may take that has never answered.
#[derive(Debug, Clone, Copy)]
struct Patience {
    asked_after: Duration,
    answered_within: Duration,
}

impl Session {
    pub(crate) fn new(socket: OwnedFd) -> Self {
        let patience = Patience { asked_after: ASKED_AFTER, answered_within: ANSWERED_WITHIN };
        Self { mailbox: Mailbox::new(socket), next: AtomicU64::new(1), patience }
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
        self.first(&mut reply)
    }

    /// Waits for an answer, as long as the server answers at all.
    fn first(&self, awaited: &mut Awaited<Reply>) -> Result<Mail<Reply>, SessionError> {
        if self.answered() {
            return Ok(awaited.wait()?);
        }
        let asked_at = Instant::now().checked_add(self.patience.asked_after);
        if let Some(mail) = awaited.wait_until(asked_at)? {
            return Ok(mail);
        }
        if !self.answered() {
            self.ask_whether_it_answers()?;
        }
        Ok(awaited.wait()?)
    }

    fn ask_whether_it_answers(&self) -> Result<(), SessionError> {
        let request = self.numbers(1);
        let mut answer = self.mailbox.expect(request);
        let Patience { asked_after, answered_within } = self.patience;
        let until = Instant::now().checked_add(answered_within);
        // A socket without room is one that nobody reads.
        let sent = self.mailbox.has_room_until(until).map_err(Ended::Os)?;
        if sent {
            self.send(&Request::Status { request })?;
        }
        if !sent || (answer.wait_until(until)?.is_none() && !self.answered()) {
            let (socket, waited) = (self.peer(), asked_after + answered_within);
            return Err(SessionError::Silent { socket, waited });
        }
        Ok(())
    }

    /// Where the server listens; empty where the kernel does not tell.
    fn peer(&self) -> PathBuf {
        let address = getpeername::<UnixAddr>(self.mailbox.socket().as_raw_fd());
        address.ok().and_then(|address| Some(address.path()?.to_owned())).unwrap_or_default()
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

    /// As [`Self::next`], for the first one: of a server that does not answer at all there is none.
    pub(crate) fn first(&mut self, of: &Session) -> Result<Option<Mail<Reply>>, SessionError> {
        if self.missing.is_empty() {
            return Ok(None);
        }
        let mail = of.first(&mut self.awaited)?;
        self.taken(mail).map(Some)
    }

    /// Waits for the next answer, a grant or a denial; `None` when all have come.
    pub(crate) fn next(&mut self) -> Result<Option<Mail<Reply>>, SessionError> {
        if self.missing.is_empty() {
            return Ok(None);
        }
        let mail = self.awaited.wait()?;
        self.taken(mail).map(Some)
    }

    fn taken(&mut self, mail: Mail<Reply>) -> Result<Mail<Reply>, SessionError> {
        let number = match &mail.message {
            Reply::Granted(granted) => granted.request,
            Reply::Denied { request, .. } => *request,
            other => return Err(stray(other)),
        };
        if !self.missing.remove(&number) {
            return Err(SessionError::Malformed("one answer came twice".into()));
        }
        Ok(mail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;
    use zyg_protocol::codec::decode;
    use zyg_protocol::limits::MESSAGE_BYTES_MAX;
    use zyg_protocol::message::{Denial, Status};
    use zyg_protocol::socket::{pair, receive, send};

    /// A session that asks at once, and waits for the answer for so long.
    fn session(answered_within: Duration) -> (Session, OwnedFd) {
        let (ours, theirs) = pair().unwrap();
        let patience = Patience { asked_after: Duration::ZERO, answered_within };
        (Session { patience, ..Session::new(ours) }, theirs)
    }

    fn hear(server: &OwnedFd) -> Request {
        let mut buffer = vec![0; MESSAGE_BYTES_MAX];
        let received = receive(server.as_fd(), &mut buffer).unwrap();
        decode(&buffer[..received.bytes]).unwrap()
    }

    fn say(server: &OwnedFd, reply: &Reply) {
        let mut buffer = Vec::new();
        encode(reply, &mut buffer).unwrap();
        send(server.as_fd(), &buffer, &[]).unwrap();
    }

    #[test]
    fn a_server_that_never_answers_is_waited_for_no_longer_than_that() {
        let (session, server) = session(Duration::from_millis(1));
        let error = session.call(|request| Request::Status { request }).unwrap_err();
        assert!(matches!(error, SessionError::Silent { .. }), "{error}");
        assert!(matches!(hear(&server), Request::Status { request: 1 }));
        assert!(matches!(hear(&server), Request::Status { request: 2 }));
    }

    #[test]
    fn who_waits_in_a_queue_waits_as_long_as_it_takes() {
        let (session, server) = session(Duration::from_secs(60));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let Request::Drain { request, .. } = hear(&server) else { panic!("no drain") };
                let Request::Status { request: asked } = hear(&server) else { panic!("unasked") };
                say(&server, &Reply::Status { request: asked, status: Status::default() });
                say(&server, &Reply::Denied { request, denial: Denial::Draining });
            });
            let asked = session.call(|request| Request::Drain { request, timeout_ms: None });
            let answer = asked.unwrap().message;
            assert!(matches!(answer, Reply::Denied { denial: Denial::Draining, .. }), "{answer:?}");
        });
    }
}
