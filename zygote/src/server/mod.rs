//! The server: one thread, one loop. Readiness becomes events, the pools decide, their effects are
//! carried out, and what comes of that are events again.
//!
//! The path of a request: [`listener`] accepts, [`requests`] reads and checks an acquire,
//! [`visible`] finds what it must see, `templates` opens that, the pool decides, [`effects`]
//! grants. Nothing here clones, mounts, or waits for anything but poll(2).

mod clients;
mod due;
mod effects;
mod held;
mod listener;
mod logs;
mod orphans;
mod pools;
mod recipes;
mod reload;
mod requests;
mod returns;
mod sessions;
mod shutdown;
mod signals;
mod slices;
mod status;
mod templates;
mod tokens;
mod visible;
mod waiting;
mod wire;
mod zygotes;

pub use listener::{Access, ListenError, Listener};
pub use signals::Signals;

use crate::config::{Config, Principal};
use crate::filter::{FilterError, Filters};
use crate::pool::{Effect, Event, PoolKey, SlotKey, Time, WaiterKey};
use crate::sys::program::OwnProgram;
use held::Held;
use listener::Door;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use pools::Pools;
use sessions::Sessions;
use shutdown::Phase;
use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::io;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokens::Source;
use waiting::{Opening, Waiting};
use zyg_protocol::limits::MESSAGE_BYTES_MAX;
use zyg_protocol::message::{LeaseId, RequestId};

/// How a server is to run.
#[derive(Debug)]
pub struct Options {
    /// Profiles and the rest.
    pub config: Config,
    /// Where the configuration was read from, to read it again on SIGHUP.
    pub config_file: Option<PathBuf>,
    /// Where clients knock.
    pub listener: Listener,
    /// Caught before anybody could knock.
    pub signals: Signals,
    /// Started by a client, for its user alone.
    pub private: bool,
    /// When to leave, if ever.
    pub idle: Option<Idle>,
}

/// When and how a server leaves that has nothing to do.
#[derive(Debug, Clone)]
pub struct Idle {
    /// How long to stay without sessions.
    pub exit: Duration,
    /// Locked by whoever makes or removes the socket, where clients start servers by themselves.
    pub lock: Option<PathBuf>,
}

/// Why the server cannot go on.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each variant's display text is its documentation")]
pub enum ServerError {
    #[error("failed to set up the event loop: {0}")]
    Loop(#[source] io::Error),
    #[error("failed to wait for events: {0}")]
    Wait(#[source] io::Error),
    #[error("failed to adopt orphaned environments (PR_SET_CHILD_SUBREAPER): {0}")]
    Subreaper(nix::errno::Errno),
    #[error("profile {profile}: {error}")]
    Filter {
        /// Whose filter it is.
        profile: String,
        /// Why there is none.
        error: FilterError,
    },
    #[error("failed to be warm for user {0:?}, whom prefork_for names: there is no such user")]
    NoSuchUser(String),
    #[error("socket_group names {0:?}, and there is no such group")]
    NoSuchGroup(String),
    #[error("profile {profile}: {key} names {name:?}, whom the user database does not know")]
    NoSuchPrincipal {
        /// Whose profile.
        profile: String,
        /// In which of its keys.
        key: &'static str,
        /// The user or group.
        name: String,
    },
}

/// How a server has ended that was told to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Leases that were ended because the time to drain was over.
    pub leases_ended: u32,
    /// Environments that were left because their end did not come.
    pub stuck: u32,
}

/// How long what a grant leads to may wait, and the end of a lease whose client has hung up: to learn
/// from it, to take down what was leased, to order the next zygote. The client would wait for the
/// processor meanwhile, or for its own exit, since what is woken for it is woken where it runs. Whatever
/// else happens ends it, first of all that somebody waits.
///
/// So long that a short command is over, and as the kernel's tick at 250 Hz: a timer before that has to
/// be set in the hardware, which takes 15 µs of a virtual machine's time.
const REST_WAITS: Duration = Duration::from_millis(4);

/// Readiness events taken from the kernel at once.
const EVENTS: usize = 1024;

struct Server {
    poll: Poll,
    config: Config,
    config_file: Option<PathBuf>,
    private: bool,
    idle: Option<Idle>,
    /// System call filters, compiled once for each profile.
    filters: HashMap<String, Filters>,
    listener: Option<Listener>,
    /// Where it is found from anywhere.
    socket_path: PathBuf,
    door: Door,
    sessions_max: usize,
    sessions: Sessions,
    pools: Pools,
    /// Users to be warm for however long they have not asked.
    preforked: HashSet<u32>,
    signals: Signals,
    /// Whether a signal has asked to drain.
    stop_asked: bool,
    /// Acquires in a pool's queue.
    waiting: HashMap<WaiterKey, Waiting>,
    /// Acquires whose mount sources are being opened, by ticket.
    opening: HashMap<u64, Opening>,
    /// Mount sources of either.
    held: Held,
    leases: HashMap<LeaseId, Lease>,
    lease_deadlines: BTreeSet<(Time, LeaseId)>,
    /// The last number given to a lease, a waiter or a ticket.
    last_number: u64,
    started: Instant,
    uid: u32,
    /// Soft and hard descriptor limit that the server was started with.
    nofile: (u64, u64),
    phase: Phase,
    /// Who asked to drain, to be told when it is over.
    drained_for: Vec<(tokens::Key, RequestId)>,
    /// Leases that were ended because the time to drain was over.
    leases_ended: u32,
    idle_since: Time,
    ready_told: bool,
    watchdog: Option<Duration>,
    watchdog_next: Time,
    /// Events that the policy is still to be told.
    queue: VecDeque<Event>,
    effects: Vec<Effect>,
    /// Zygotes that are still to be ordered.
    spawns: Vec<(PoolKey, SlotKey)>,
    /// Slots whose clients have hung up, which the policy has not heard yet.
    given_back: Vec<SlotKey>,
    /// When the policy is to hear that, and to settle what grants have led to, if it has not yet.
    settle_at: Option<Time>,
    scratch: Vec<u8>,
    buffer: Vec<u8>,
}

/// A lease in force.
#[derive(Debug)]
struct Lease {
    session: tokens::Key,
    slot: SlotKey,
    deadline: Option<Time>,
}

/// Serves until told to stop, or until idle for long enough.
///
/// # Errors
/// See [`ServerError`]. What concerns one client or one pool is never one: it is told there.
pub fn run(options: Options) -> Result<Ended, ServerError> {
    know_users(&options.config)?;
    let mut server = Server::new(options)?;
    server.prefork();
    server.settle();
    server.order_spawns();
    server.serve()
}

impl Server {
    fn new(options: Options) -> Result<Self, ServerError> {
        nix::sys::prctl::set_child_subreaper(true).map_err(ServerError::Subreaper)?;
        // Everybody waits for this process. Where the kernel knows no slices, it waits as others do.
        let _ = crate::sys::process::prefer_short_slices();
        let nofile = raise_descriptor_limit();
        let poll = Poll::new().map_err(ServerError::Loop)?;
        let filters = compile_filters(&options.config)?;
        let watchdog = sd_notify::watchdog_enabled().map(|limit| limit / 3);
        let (limits, sessions_max) = reload::shares(&options.config, nofile.1);
        let socket_path = options.listener.path();
        let socket_path = socket_path.canonicalize().unwrap_or_else(|_| socket_path.into());
        let mut server = Self {
            poll,
            config: options.config,
            config_file: options.config_file,
            private: options.private,
            idle: options.idle,
            filters,
            listener: Some(options.listener),
            socket_path,
            door: Door::Watched,
            sessions_max,
            sessions: Sessions::default(),
            pools: Pools::new(limits),
            preforked: HashSet::new(),
            signals: options.signals,
            stop_asked: false,
            waiting: HashMap::new(),
            opening: HashMap::new(),
            held: Held::new(nofile.1, !nix::unistd::getuid().is_root()),
            leases: HashMap::new(),
            lease_deadlines: BTreeSet::new(),
            last_number: 0,
            started: Instant::now(),
            uid: nix::unistd::getuid().as_raw(),
            nofile,
            phase: Phase::Serving,
            drained_for: Vec::new(),
            leases_ended: 0,
            idle_since: Time::default(),
            ready_told: false,
            watchdog,
            watchdog_next: Time::default(),
            queue: VecDeque::new(),
            effects: Vec::new(),
            spawns: Vec::new(),
            given_back: Vec::new(),
            settle_at: None,
            scratch: Vec::with_capacity(1024),
            buffer: vec![0; MESSAGE_BYTES_MAX],
        };
        // Before its file is replaced, as by an upgrade.
        server.pools.program = OwnProgram::find().ok();
        if let Some(listener) = &server.listener {
            server.watch(listener.socket(), Source::Listener).map_err(ServerError::Loop)?;
        }
        server.watch(server.signals.pipe(), Source::Signals).map_err(ServerError::Loop)?;
        Ok(server)
    }

    fn serve(mut self) -> Result<Ended, ServerError> {
        let mut events = Events::with_capacity(EVENTS);
        // Where nothing is to be warm first, no event will come to tell it after.
        self.tell_readiness();
        loop {
            let timeout = self.timeout();
            match self.poll.poll(&mut events, timeout) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(ServerError::Wait(error)),
            }
            for event in &events {
                if let Some(source) = Source::of(event.token()) {
                    self.dispatch(source, event.is_writable(), event.is_read_closed());
                }
            }
            self.hear_the_unread();
            self.take_due();
            self.settle();
            self.order_spawns();
            self.bury_pools();
            self.tell_readiness();
            if let Some(ended) = self.over() {
                return Ok(ended);
            }
        }
    }

    fn dispatch(&mut self, source: Source, writable: bool, closed: bool) {
        match source {
            Source::Listener => self.accept(),
            Source::Signals => self.take_signals(),
            Source::Session(key) => {
                if writable {
                    self.flush_session(key);
                }
                self.hear_session(key);
            }
            Source::Template(key) => {
                if writable {
                    self.flush_template(key);
                }
                self.hear_template(key);
            }
            Source::Log(key) => self.hear_log(key),
            Source::Zygote(key) => self.hear_zygote(key, closed),
            Source::Remains(key) => self.remains_gone(key),
        }
        self.settle();
    }

    /// Tells the policy what is queued, and carries out what it orders, until nothing is left.
    fn settle(&mut self) {
        while let Some(event) = self.queue.pop_front() {
            let now = self.now();
            let acquire = matches!(event, Event::AcquireRequested { .. });
            // What was given back counts against nobody who asks now.
            if self.settle_at.is_some() && !(acquire && self.given_back.is_empty()) {
                self.settle_policy(now);
            }
            let mut effects = std::mem::take(&mut self.effects);
            self.pools.policy.note(now, event, &mut effects);
            let granted = |effect: &Effect| matches!(effect, Effect::Grant { .. });
            let served = acquire && !effects.is_empty() && effects.iter().all(granted);
            self.carry_out(effects);
            if served {
                self.settle_at.get_or_insert(now.after(REST_WAITS));
            } else {
                self.settle_policy(now);
            }
        }
    }

    /// Has the policy do what has become possible or due, now that it hears which leases have ended.
    fn settle_policy(&mut self, now: Time) {
        self.settle_at = None;
        let mut effects = std::mem::take(&mut self.effects);
        for slot in self.given_back.drain(..) {
            self.pools.policy.note(now, Event::LeaseEnded { slot }, &mut effects);
        }
        self.pools.policy.settle(now, &mut effects);
        self.carry_out(effects);
    }

    /// As if all was told and settled that waits: for whoever asks how things stand.
    fn settle_at_once(&mut self) {
        if self.settle_at.is_some() {
            self.tell(Event::TimePassed);
            self.settle();
        }
    }

    fn tell(&mut self, event: Event) {
        self.queue.push_back(event);
    }

    /// Time since the start: the one clock of the server.
    fn now(&self) -> Time {
        Time(self.started.elapsed())
    }

    fn number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    fn watch(&self, fd: &impl AsRawFd, source: Source) -> io::Result<()> {
        let mut fd = SourceFd(&fd.as_raw_fd());
        self.poll.registry().register(&mut fd, source.token(), Interest::READABLE)
    }

    fn unwatch(&self, fd: &impl AsRawFd) {
        // It is closed next, which removes it as well; a passed duplicate elsewhere would not.
        let _ = self.poll.registry().deregister(&mut SourceFd(&fd.as_raw_fd()));
    }
}

/// Whether a server could run with this configuration, as far as that can be told beforehand.
///
/// # Errors
/// A system call filter that cannot be made, or a user or group that does not exist. A server starts
/// without those whom a profile is to be for: the database may come to know them.
pub fn check(config: &Config) -> Result<(), ServerError> {
    compile_filters(config)?;
    know_users(config)?;
    socket_group(config)?;
    know_principals(config)
}

/// The id of the group that the socket is to be given to, if any is.
///
/// # Errors
/// [`ServerError::NoSuchGroup`].
pub fn socket_group(config: &Config) -> Result<Option<u32>, ServerError> {
    let known = |group: &String| {
        crate::users::group_named(group).ok_or_else(|| ServerError::NoSuchGroup(group.clone()))
    };
    config.server.socket_group.as_ref().map(known).transpose()
}

/// Whether all users and groups exist whom profiles are to be for.
fn know_principals(config: &Config) -> Result<(), ServerError> {
    let user = |name: &str| crate::users::named(name).is_some();
    let group = |name: &str| crate::users::group_named(name).is_some();
    let unknown = |principals: &[Principal], known: fn(&str) -> bool| {
        principals.iter().find_map(|principal| match principal {
            Principal::Name(name) if !known(name) => Some(name.clone()),
            Principal::Name(_) | Principal::Id(_) => None,
        })
    };
    for (profile, recipe) in &config.profiles {
        let user = unknown(&recipe.allow_uids, user).map(|name| ("allow_uids", name));
        let group = unknown(&recipe.allow_gids, group).map(|name| ("allow_gids", name));
        if let Some((key, name)) = user.or(group) {
            return Err(ServerError::NoSuchPrincipal { profile: profile.clone(), key, name });
        }
    }
    Ok(())
}

/// The filters of every profile.
fn compile_filters(config: &Config) -> Result<HashMap<String, Filters>, ServerError> {
    let compile = |(name, profile): (&String, &_)| match recipes::filters(profile) {
        Ok(filters) => Ok((name.clone(), filters)),
        Err(error) => Err(ServerError::Filter { profile: name.clone(), error }),
    };
    config.profiles.iter().map(compile).collect()
}

/// Whether all users exist that are to find environments warm.
fn know_users(config: &Config) -> Result<(), ServerError> {
    let known = |name: &String| crate::users::named(name).is_some();
    let unknown = config.server.prefork_for.iter().find(|name| !known(name));
    unknown.map_or(Ok(()), |name| Err(ServerError::NoSuchUser(name.clone())))
}

/// Raises the soft descriptor limit to the hard one, and returns both as they were: commands get
/// those back.
fn raise_descriptor_limit() -> (u64, u64) {
    match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok((soft, hard)) => {
            let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
            (soft, hard)
        }
        Err(_) => (1024, 1024),
    }
}
