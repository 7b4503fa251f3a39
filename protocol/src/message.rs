//! What is said, by whom, to whom.
//!
//! | sender → receiver | message | descriptors that ride along |
//! | --- | --- | --- |
//! | client → server | [`Request`] | none |
//! | server → client | [`Reply`] | `Granted`: channel, what tells the end of the lease (a pidfd, or the end of a pipe where the zygote outlives it), then one per [`Attach`] that names one |
//! | client → init | [`ToInit`] | `Prepare`: the grant's trees; `Exec`: the command's own |
//! | init → client | [`FromInit`] | `Started`: the pty's master, if one was asked for |
//! | server → template | [`ToTemplate`] | `Spawn`: init's end of the lifeline; `Inspect`: what init reported for that |
//! | template → server | [`FromTemplate`] | `Opened`: the trees |
//! | init → server | [`Lifeline`] | `Ready`: channel, pidfd, and what `Renewed` has; `Renewed`: ipc and uts namespace, procfs |
//! | server → init | [`ToZygote`] | `Renew`: init's end of the next command channel |
//!
//! Paths, arguments and environment are bytes, as the kernel has them; a [`Bytes`] need not be
//! UTF-8.

mod command;
mod failure;
mod fate;
mod plain;
mod recipe;
mod strings;

pub use command::{Exec, ExitStatus, FromInit, Prepare, Rlimit, Scope, ToInit, TtySize, Usage};
pub use failure::{Failure, Step};
pub use fate::{Fate, Fates};
pub use plain::plain_text;
pub use recipe::{
    Authority, Confinement, FromTemplate, Lifeline, Network, Recipe, Recycle, Root, Slices,
    ToTemplate, ToZygote, Tree, View, ViewBind,
};

pub use strings::{Strings, Unended};

use serde::{Deserialize, Serialize};

/// Bytes that need not be UTF-8: a path, an argument, a `KEY=value`.
pub type Bytes = serde_bytes::ByteBuf;

/// A number that a client chooses to recognise the reply to a request, unique in its session.
pub type RequestId = u64;

/// A number that a client chooses for a command, unique in its lease.
pub type CommandId = u32;

/// The server's name for one lease: never used twice in one server's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LeaseId(pub u64);

/// Client → server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Ask for a zygote. Answered by `Granted` or `Denied`.
    Acquire(Acquire),
    /// Withdraw an acquire that has not been answered yet. Answered by its `Denied(Cancelled)`, or
    /// by the grant that was already under way. Of several at once it withdraws all.
    Cancel {
        /// The acquire's number.
        request: RequestId,
    },
    /// Give a zygote back. Not answered: the grant's second descriptor tells when nothing is left.
    Release {
        /// The lease to end; one of this session's.
        lease: LeaseId,
    },
    /// Ask for the counts of every pool. Answered by `Status`.
    Status {
        /// Comes back in the answer.
        request: RequestId,
    },
    /// Ask for several zygotes at once, alike: all of them or none. Answered by as many `Granted` or
    /// `Denied`, under the acquire's number and those that follow it, and all at the same time. None is
    /// held for a client that waits for the others. A single one may still be `Denied` beside others
    /// that are `Granted`, where it could not be handed over.
    AcquireMany {
        /// What each is to be; its number is the first one's.
        acquire: Acquire,
        /// How many, at least 1 and at most [`ACQUIRES_MAX`](crate::limits::ACQUIRES_MAX).
        count: u32,
    },
    /// Ask that zygotes be kept warm beside what the pool keeps anyway, for some time. Answered by
    /// `Reserved` or `Denied`.
    Reserve {
        /// Comes back in the answer.
        request: RequestId,
        /// The profile's name; `None` for the server's default one.
        profile: Option<String>,
        /// How many; 0 ends what was reserved in this profile by the same user.
        count: u32,
        /// For how many milliseconds from now.
        ttl_ms: u64,
    },
    /// Tell the server to grant no more, to finish its leases, and to end. Answered by `Drained` or
    /// `Denied`.
    Drain {
        /// Comes back in the answer.
        request: RequestId,
        /// Milliseconds after which the leases that are left are ended; `None` for never.
        timeout_ms: Option<u64>,
    },
}

/// What a client asks of the pool.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acquire {
    /// Comes back in the answer.
    pub request: RequestId,
    /// The profile's name; `None` for the server's default one.
    pub profile: Option<String>,
    /// Milliseconds to wait for a zygote before `Denied(DeadlineExpired)`; `None` for no deadline.
    pub wait_ms: Option<u64>,
    /// Milliseconds after the grant at which the server ends the lease; `None` for never.
    pub time_ms: Option<u64>,
    /// What the lease is for, in the client's words: shown to people, never interpreted.
    pub label: String,
    /// The client's working directory, made visible and privately writable.
    pub cwd: Option<Bytes>,
    /// The absolute path of the program to run, whose directory is made visible.
    pub program: Option<Bytes>,
    /// Mounts for this lease, in order.
    pub mounts: Vec<Mount>,
}

/// A mount that a client asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mount {
    /// The file or directory `source` of the host, at `target`.
    Bind {
        /// Absolute path on the host, resolved with the client's authority.
        source: Bytes,
        /// Absolute path in the environment.
        target: Bytes,
        /// Whether writes are refused.
        read_only: bool,
    },
    /// An empty file system in memory, at `target`.
    Tmpfs {
        /// Absolute path in the environment.
        target: Bytes,
    },
}

/// Server → client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// A zygote is the client's until it is released.
    Granted(Granted),
    /// No zygote, and why.
    Denied {
        /// The acquire's number.
        request: RequestId,
        /// Why.
        denial: Denial,
    },
    /// The counts of every pool.
    Status {
        /// The request's number.
        request: RequestId,
        /// The counts.
        status: Status,
    },
    /// The server refuses the whole session and closes it.
    Refused(Refusal),
    /// Zygotes are kept warm.
    Reserved {
        /// The request's number.
        request: RequestId,
        /// How many the pool now keeps warm at least, for all reservations together: fewer than were
        /// asked for where the profile's `max` is less.
        floor: u32,
    },
    /// The server has drained, and ends now.
    Drained {
        /// The request's number.
        request: RequestId,
        /// Leases that were ended because the time was over.
        ended: u32,
        /// Zygotes whose end does not come (a process in an uninterruptible sleep): the kernel's to
        /// finish.
        stuck: u32,
    },
}

/// A lease in hand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Granted {
    /// The acquire's number.
    pub request: RequestId,
    /// The lease's name.
    pub lease: LeaseId,
    /// Whether the zygote was waiting.
    pub start: Start,
    /// Microseconds between the acquire's arrival and this grant, by the server's clock.
    pub waited_us: u64,
    /// Milliseconds from the grant at which the server ends the lease, by what was asked for or by the
    /// profile, whichever is less; `None` for never.
    pub time_ms: Option<u64>,
    /// Where commands start that would start in the client's working directory, if that is not to be
    /// seen.
    pub start_in: Option<Bytes>,
    /// What init must attach before the first command; the client passes it on in `Prepare`.
    pub attach: Vec<Attach>,
}

/// Whether a zygote was ready when it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Start {
    /// Handed out from the pool.
    Warm,
    /// Built because the pool was empty.
    Cold(ColdReason),
}

/// Why a zygote had to be built on demand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ColdReason {
    /// The first request for this profile and uid: no pool was kept for it yet.
    FirstUse,
    /// More was asked for at once than was warm.
    Exhausted,
}

/// One thing that init puts in place before the first command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Attach {
    /// Mount the next passed tree at `target` as it is.
    Tree {
        /// Absolute path in the environment; made if it lies in a private writable place.
        target: Bytes,
    },
    /// A private writable layer over the next passed tree, at `target`.
    Layer {
        /// Absolute path in the environment; made if it lies in a private writable place.
        target: Bytes,
    },
    /// A private writable layer over what the environment already shows at `target`.
    Cover {
        /// Absolute path in the environment.
        target: Bytes,
    },
    /// An empty file system in memory, at `target`.
    Tmpfs {
        /// Absolute path in the environment; made if it lies in a private writable place.
        target: Bytes,
    },
}

impl Attach {
    /// Whether a descriptor rides along for it.
    #[must_use]
    pub fn has_tree(&self) -> bool {
        matches!(self, Self::Tree { .. } | Self::Layer { .. })
    }
}

/// Why an acquire was not granted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Denial {
    /// The server has no profile of that name.
    #[error("no such profile: {asked:?}; this server has {}", .known.join(", "))]
    NoSuchProfile {
        /// What was asked for.
        asked: String,
        /// What there is.
        known: Vec<String>,
    },
    /// The request breaks a rule of the wire that decoding alone cannot see.
    #[error("bad request: {reason}")]
    BadRequest {
        /// Which rule.
        reason: String,
    },
    /// The server runs as an ordinary user, and serves that user alone.
    #[error("this server serves uid {serves} only, and you are uid {uid}")]
    NotServed {
        /// The client's uid.
        uid: u32,
        /// The uid that is served.
        serves: u32,
    },
    /// The profile is not for everybody, and not for this client.
    #[error("uid {uid} may not ask for profile {profile} (its allow_uids and allow_gids)")]
    NotAllowed {
        /// The profile.
        profile: String,
        /// The client's uid.
        uid: u32,
    },
    /// The client has as many as its profile allows each user.
    #[error("quota exceeded: {limit} {what} are all that a user may have{}", where_it_is_set(what))]
    QuotaExceeded {
        /// `leases` or `waiters`, of a profile or of the whole server; or something else, with what to
        /// change.
        what: String,
        /// How many.
        limit: u32,
    },
    /// Too many waiters are queued already.
    #[error("queue full: {waiters} acquires wait already (pool.waiters_max of the profile)")]
    QueueFull {
        /// How many.
        waiters: u32,
    },
    /// The wait that was asked for is over.
    #[error("deadline expired: no environment became free within {wait_ms} ms")]
    DeadlineExpired {
        /// What was asked for, in milliseconds.
        wait_ms: u64,
    },
    /// The client withdrew its request.
    #[error("cancelled")]
    Cancelled,
    /// The server is going down and grants no more leases.
    #[error("the server is draining and grants no new leases")]
    Draining,
    /// No zygote can be built.
    #[error("environments cannot be built: {reason}")]
    BuildFailing {
        /// The failing step, the error and what to change.
        reason: String,
    },
    /// A mount's source cannot be opened by the client's own authority.
    #[error("failed to open mount source {path}: {reason}")]
    MountRefused {
        /// The path.
        path: String,
        /// Why.
        reason: String,
    },
    /// What was asked concerns every user of the server.
    #[error(
        "only root and uid {serves}, whose server this is, may drain it, and you are uid {uid}"
    )]
    NotYours {
        /// The client's uid.
        uid: u32,
        /// The server's uid.
        serves: u32,
    },
}

/// Where a quota is set, which does not say so itself.
fn where_it_is_set(what: &str) -> &'static str {
    match what {
        "leases" => " (quota.leases of the profile, or of [server])",
        "waiters" => " (quota.waiters of the profile, or of [server])",
        _ => "",
    }
}

/// Why a session is not served at all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// As many sessions are open as the server has descriptors for, or as one user may have of them.
    #[error(
        "too many sessions: {limit} are open, of all or of one user (raise the server's descriptor limit, LimitNOFILE= or ulimit -n)"
    )]
    TooManySessions {
        /// How many may be open.
        limit: u32,
    },
    /// The client is not one of those that the server may serve.
    #[error("this server serves uid {serves} only, and you are uid {uid}")]
    NotServed {
        /// The client's uid.
        uid: u32,
        /// The uid that is served.
        serves: u32,
    },
    /// The client speaks another version of the wire.
    #[error(
        "wire version {got} is not spoken here, only {want}: client and server come from different releases of zyg"
    )]
    WrongVersion {
        /// The client's version.
        got: u16,
        /// The server's version.
        want: u16,
    },
    /// The client broke a rule of the wire.
    #[error("malformed message: {reason}")]
    Malformed {
        /// Which rule.
        reason: String,
    },
}

/// The counts of a whole server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The server's process, as the server sees itself.
    pub pid: u32,
    /// Milliseconds since the server started.
    pub uptime_ms: u64,
    /// Open sessions, the asking one included.
    pub sessions: u32,
    /// One row per pool.
    pub profiles: Vec<PoolStatus>,
}

/// The counts of one pool.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolStatus {
    /// The profile's name.
    pub name: String,
    /// The uid whose authority the zygotes have.
    pub uid: u32,
    /// Zygotes ready to be handed out.
    pub warm: u32,
    /// Zygotes in use.
    pub leased: u32,
    /// Zygotes under construction.
    pub spawning: u32,
    /// Zygotes under destruction, still paid for.
    pub dying: u32,
    /// Queued acquires.
    pub waiters: u32,
    /// Zygotes whose end does not come, still paid for.
    pub quarantined: u32,
    /// Zygotes that the pool wants warm.
    pub target: u32,
    /// Of these, those that were asked for in reservations.
    pub reserved: u32,
    /// How often the profile has changed since the server started, as far as this pool is concerned.
    pub generation: u32,
    /// Whether a later generation has taken its place: it finishes its leases and ends.
    pub retired: bool,
    /// Leases granted so far.
    pub served: Served,
    /// What became of what these leases have had.
    pub fates: Fates,
    /// Why zygotes cannot be built at present, if so.
    pub failing: Option<String>,
}

/// Leases granted, by how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Served {
    /// From the pool.
    pub warm: u64,
    /// Built on demand.
    pub cold: u64,
}
