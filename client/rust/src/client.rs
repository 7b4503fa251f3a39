//! The connection to the server as callers see it: leases and counts for the asking, from any
//! thread. A private server that left for being idle just as it was needed is replaced here, and
//! nobody notices.

use crate::connect::{ConnectError, Connected, Connector};
use crate::drain::{self, DrainError, Drained};
use crate::lease::{AcquireError, Lease};
use crate::mailbox::Mail;
use crate::many::Batch;
use crate::options::{LeaseOptions, bounded, check_profile};
use crate::reserve::{self, ReserveError};
use crate::session::{Session, SessionError, stray};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use zyg_protocol::limits::ACQUIRES_MAX;
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
        let lease = self.acquire_ahead(options)?;
        lease.prepared()?;
        Ok(lease)
    }

    /// As [`Client::acquire`], but does not wait until what was asked for is in place, mounts and host
    /// name: a command can be sent ahead, and starts after it. What [`Lease::prepared`] says has to be
    /// asked for then; after a failure no command runs.
    ///
    /// # Errors
    /// As [`Client::acquire`], but for [`AcquireError::Prepare`].
    pub fn acquire_ahead(&self, options: &LeaseOptions) -> Result<Lease, AcquireError> {
        let mut acquire = options.request()?;
        let (session, reply) = self.answered(|request| {
            acquire.request = request;
            Request::Acquire(acquire.clone())
        })?;
        match reply.message {
            Reply::Granted(granted) => {
                let hostname = options.asked_hostname().map(str::to_owned);
                Lease::new(session, granted, reply.descriptors, acquire.cwd, hostname)
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

    /// Takes `count` environments alike, with one message: all of them or none. Waits in the server's
    /// queue until all are to be had, and holds none until then: two clients who each ask for more than
    /// half of what there may be are served one after the other. The leases come in the order in which
    /// they were granted. More than there may ever be are refused at once.
    ///
    /// Each lease holds two descriptors of this process: what is wanted at once must fit into its
    /// limit (`ulimit -n`), or the session is lost.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use zygote_client::{Client, LeaseOptions};
    ///
    /// let client = Client::connect_or_start()?;
    /// let nodes = client.acquire_many(LeaseOptions::new().profile("networked"), 3)?;
    /// for (number, node) in nodes.iter().enumerate() {
    ///     node.command("./node").arg(number.to_string()).spawn()?;
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`AcquireError`]: the first that one of them met, after the others are withdrawn or given back.
    /// More than [`ACQUIRES_MAX`] are refused without asking.
    pub fn acquire_many(
        &self,
        options: &LeaseOptions,
        count: u32,
    ) -> Result<Vec<Lease>, AcquireError> {
        let most = ACQUIRES_MAX as usize;
        bounded("the number of leases", count as usize, "leases", most)?;
        let mut acquire = options.request()?;
        if count == 0 {
            return Ok(Vec::new());
        }
        let (session, (first, answers)) = self.asked(|session| {
            let mut answers = session.call_many(count, |request| {
                acquire.request = request;
                Request::AcquireMany { acquire: acquire.clone(), count }
            })?;
            Ok((answers.first(session)?, answers))
        })?;
        let hostname = options.asked_hostname().map(str::to_owned);
        Batch::new(session, acquire.cwd, hostname).collect(first, answers)
    }

    /// Asks that `count` environments of a profile (`None` for the server's default one) be kept warm
    /// for this user, whichever program takes them, until `ttl` is over (a day at most): for a caller
    /// who knows what is coming. A count of 0 ends what this user has reserved in the profile. Returns how many the
    /// pool now keeps warm at least, for all reservations together: fewer than `count` where the
    /// profile's `max` is less.
    ///
    /// Does not wait until they are warm: [`Client::status`] tells. The reservation outlives this
    /// connection, not the server.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    ///
    /// let client = zygote_client::Client::connect_or_start()?;
    /// let floor = client.reserve(None, 32, Duration::from_secs(600))?;
    /// assert!(floor >= 32, "the profile's max is {floor}");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`ReserveError`].
    pub fn reserve(
        &self,
        profile: Option<&str>,
        count: u32,
        ttl: Duration,
    ) -> Result<u32, ReserveError> {
        let ttl_ms = reserve::ttl_ms(ttl)?;
        profile.map_or(Ok(()), check_profile)?;
        let profile = profile.map(str::to_owned);
        let (_, reply) = self.answered(|request| {
            let profile = profile.clone();
            Request::Reserve { request, profile, count, ttl_ms }
        })?;
        match reply.message {
            Reply::Reserved { floor, .. } => Ok(floor),
            Reply::Denied { denial, .. } => Err(ReserveError::Denied(denial)),
            other => Err(RequestError::from(stray(&other)).into()),
        }
    }

    /// Tells the server to grant no more, to let the leases in force finish, and to end; waits until
    /// it has. Leases that are left after `timeout` are ended; `None` leaves them all the time that
    /// they take, those of this very client included. For whoever runs the server, or root.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    ///
    /// let client = zygote_client::Connector::new().start(false).connect()?;
    /// let drained = client.drain(Some(Duration::from_secs(30)))?;
    /// println!("{} leases were ended", drained.ended);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`DrainError`]. A server that hangs up without an answer is one: what has become of its leases
    /// is not known then.
    pub fn drain(&self, timeout: Option<Duration>) -> Result<Drained, DrainError> {
        let timeout_ms = timeout.map(drain::timeout_ms).transpose()?;
        let session = Arc::clone(&self.current().session);
        // Never on another session: whoever left needs no draining, and none is started for it.
        let reply = session
            .call(|request| Request::Drain { request, timeout_ms })
            .map_err(RequestError::from)?;
        match reply.message {
            Reply::Drained { ended, stuck, .. } => Ok(Drained { ended, stuck }),
            Reply::Denied { denial, .. } => Err(DrainError::Denied(denial)),
            other => Err(RequestError::from(stray(&other)).into()),
        }
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

    /// The answer to a request, and the session it came on.
    fn answered(
        &self,
        mut request: impl FnMut(RequestId) -> Request,
    ) -> Result<(Arc<Session>, Mail<Reply>), RequestError> {
        self.asked(|session| session.call(&mut request))
    }

    /// What `ask` has of a session, and the session. One that ended before its first answer is
    /// replaced: such a request cannot have been carried out for us, since a lease whose session is
    /// gone is over.
    fn asked<T>(
        &self,
        mut ask: impl FnMut(&Session) -> Result<T, SessionError>,
    ) -> Result<(Arc<Session>, T), RequestError> {
        let mut retries = 0;
        loop {
            let session = Arc::clone(&self.current().session);
            match ask(&session) {
                Ok(answer) => return Ok((session, answer)),
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

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
