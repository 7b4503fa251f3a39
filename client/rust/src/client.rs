//! The connection to the server as callers see it: leases and counts for the asking, from any
//! thread. A private server that left for being idle just as it was needed is replaced here, and
//! nobody notices.

use crate::connect::{ConnectError, Connected, Connector};
use crate::lease::{AcquireError, Lease};
use crate::mailbox::Mail;
use crate::options::LeaseOptions;
use crate::session::{Session, SessionError};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use zyg_protocol::message::{Reply, Request, RequestId, Status};

/// How often a session that ended before its first answer is replaced by a fresh one. More than
/// once in a row takes a server that leaves within microseconds of its start: a fault, not bad
/// luck.
const RETRIES_MAX: u32 = 3;

/// A connection to the server. Share it between threads by reference or in an
/// [`Arc`]: their requests do not wait for one another.
///
/// Dropping it ends no lease: each [`Lease`] keeps the connection open for itself. When the last of
/// them is gone the connection closes, and with it everything ends that was still held.
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let client = zygote_client::Client::connect_or_start()?;
/// std::thread::scope(|threads| {
///     for _ in 0..4 {
///         threads.spawn(|| client.lease().map(|lease| lease.command("make").status()));
///     }
/// });
/// for pool in client.status()?.profiles {
///     println!("{}: {} warm, {} leased", pool.name, pool.warm, pool.leased);
/// }
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Client {
    current: Mutex<Current>,
    /// How to connect anew; `None` where the caller named one particular server.
    connector: Option<Connector>,
}

#[derive(Debug)]
struct Current {
    session: Arc<Session>,
    /// The log of the server, where it is a private one.
    log: Option<PathBuf>,
}

/// Why a request was not answered.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The conversation is over, or the request could not be part of it.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The server had left, and no other could be had.
    #[error(transparent)]
    Connect(#[from] ConnectError),
}

impl Client {
    /// Connects to the server that listens at `socket`, and to no other: none is started.
    ///
    /// # Errors
    /// [`ConnectError`], which says what to do about it.
    pub fn connect(socket: impl AsRef<Path>) -> Result<Self, ConnectError> {
        Connector::new().socket(socket).connect()
    }

    /// Connects to the server of this machine, or starts a private one for this user:
    /// [`Connector`]'s defaults.
    ///
    /// # Errors
    /// [`ConnectError`], which says what to do about it.
    pub fn connect_or_start() -> Result<Self, ConnectError> {
        Connector::new().connect()
    }

    pub(crate) fn new(connected: Connected, connector: Option<Connector>) -> Self {
        Self { current: Mutex::new(Current::new(connected)), connector }
    }

    /// Takes an environment; waits in the server's queue while none is to be had.
    ///
    /// # Errors
    /// [`AcquireError`]. On every error the environment, if there was one already, is given back.
    pub fn acquire(&self, options: &LeaseOptions) -> Result<Lease, AcquireError> {
        let mut acquire = options.request()?;
        let (session, reply) = self.answered(|request| {
            acquire.request = request;
            Request::Acquire(acquire.clone())
        })?;
        match reply.message {
            Reply::Granted(granted) => {
                let hostname = options.asked_hostname().map(str::to_owned);
                Lease::take(session, granted, reply.descriptors, acquire.cwd, hostname)
            }
            Reply::Denied { denial, .. } => Err(AcquireError::Denied(denial)),
            other => Err(RequestError::from(stray(&other)).into()),
        }
    }

    /// Takes an environment with nothing in particular asked of it.
    ///
    /// # Errors
    /// As [`Client::acquire`].
    pub fn lease(&self) -> Result<Lease, AcquireError> {
        self.acquire(&LeaseOptions::new())
    }

    /// The counts of every pool.
    ///
    /// # Errors
    /// [`RequestError`].
    pub fn status(&self) -> Result<Status, RequestError> {
        match self.answered(|request| Request::Status { request })?.1.message {
            Reply::Status { status, .. } => Ok(status),
            other => Err(stray(&other).into()),
        }
    }

    /// The answer to a request, and the session it came on. A session that ended before its first
    /// answer is replaced: such a request cannot have been carried out for us, since a lease whose
    /// session is gone is over.
    fn answered(
        &self,
        mut request: impl FnMut(RequestId) -> Request,
    ) -> Result<(Arc<Session>, Mail<Reply>), RequestError> {
        let mut retries = 0;
        loop {
            let session = Arc::clone(&self.current().session);
            match session.call(&mut request) {
                Ok(reply) => return Ok((session, reply)),
                Err(SessionError::Closed) if !session.answered() => match &self.connector {
                    Some(connector) if retries < RETRIES_MAX => {
                        retries += 1;
                        self.replace(&session, connector)?;
                    }
                    Some(_) => return Err(self.left()),
                    None => return Err(SessionError::Closed.into()),
                },
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Connects anew, unless another thread has done so since `ended` was looked up.
    fn replace(&self, ended: &Arc<Session>, connector: &Connector) -> Result<(), ConnectError> {
        // Held while connecting: whoever else finds the session ended wants this very one.
        let mut current = self.current();
        if Arc::ptr_eq(&current.session, ended) {
            *current = Current::new(connector.find()?);
        }
        Ok(())
    }

    fn left(&self) -> RequestError {
        match self.current().log.clone() {
            Some(log) => ConnectError::server_left(log).into(),
            None => SessionError::Closed.into(),
        }
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        // It is replaced whole or not at all.
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Current {
    fn new(connected: Connected) -> Self {
        Self { session: Arc::new(Session::new(connected.socket)), log: connected.log }
    }
}

/// An answer of another type than its request has.
fn stray(reply: &Reply) -> SessionError {
    let kind = match reply {
        Reply::Granted(_) => "grant",
        Reply::Denied { .. } => "denial",
        Reply::Status { .. } => "status",
        Reply::Refused(_) => "refusal",
    };
    SessionError::Malformed(format!("a {kind} does not answer this request"))
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
