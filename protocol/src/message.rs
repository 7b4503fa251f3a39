//! What is said, by whom, to whom.
//!
//! | sender → receiver | message | descriptors that ride along |
//! | --- | --- | --- |
//! | client → server | [`Request`] | none |
//! | server → client | [`Reply`] | `Granted`: channel, pidfd, then one per [`Attach`] that names one |
//! | client → init | [`ToInit`] | `Prepare`: the grant's trees; `Exec`: the command's own |
//! | init → client | [`FromInit`] | `Started`: the pty's master, if one was asked for |
//! | server → template | [`ToTemplate`] | none |
//! | template → server | [`FromTemplate`] | `Spawned`: pidfd, lifeline, channel; `Opened`: the trees |
//! | init → server | [`Lifeline`] | none |
//!
//! Paths, arguments and environment are bytes, as the kernel has them; a [`Bytes`] need not be
//! UTF-8.

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
    /// by the grant that was already under way.
    Cancel {
        /// The acquire's number.
        request: RequestId,
    },
    /// Give a zygote back to be destroyed. Not answered: the pidfd tells when it is gone.
    Release {
        /// The lease to end; one of this session's.
        lease: LeaseId,
    },
    /// Ask for the counts of every pool. Answered by `Status`.
    Status {
        /// Comes back in the answer.
        request: RequestId,
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
    #[error("quota exceeded: {limit} {what} are all that this profile allows each user")]
    QuotaExceeded {
        /// `leases` or `waiters`.
        what: String,
        /// How many.
        limit: u32,
    },
    /// Too many waiters are queued already.
    #[error("queue full: {waiters} acquires wait already")]
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
}

/// Why a session is not served at all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// As many sessions are open as the server has descriptors for.
    #[error(
        "too many sessions: {limit} are open (raise the server's descriptor limit, LimitNOFILE= or ulimit -n)"
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
    /// Zygotes that the pool wants warm.
    pub target: u32,
    /// Leases granted so far.
    pub served: Served,
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

/// Client → init, over the lease's channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToInit {
    /// Put the lease's mounts and host name in place. Answered by `Prepared` or `PrepareFailed`.
    Prepare(Prepare),
    /// Run a command. Answered by `Started` or `Failed`, and after `Started` by `Exited`.
    Exec(Exec),
    /// Run the command whose encoded `Exec` lies in the sealed memfd that is the last descriptor.
    ExecStored {
        /// The command's number, as in the stored request.
        command: CommandId,
    },
    /// Send a signal to a running command. Not answered; a command that is gone gets nothing.
    Signal {
        /// The command's number.
        command: CommandId,
        /// The signal's number.
        signal: i32,
        /// How far it reaches.
        scope: Scope,
    },
}

/// How far a signal reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scope {
    /// The command's first process, as `kill PID` does.
    Process,
    /// The command's process group, as a terminal's keys do.
    Group,
}

/// What a lease needs before its first command.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prepare {
    /// The grant's mounts, in order; their trees ride along.
    pub attach: Vec<Attach>,
    /// A host name for this lease alone.
    pub hostname: Option<String>,
}

/// A command to run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exec {
    /// The client's number for it.
    pub command: CommandId,
    /// What is executed: with a slash, that path; without, searched in `PATH` of `env`.
    pub program: Bytes,
    /// The argument vector, the program's own name first.
    pub argv: Vec<Bytes>,
    /// The environment, `KEY=value` each.
    pub env: Vec<Bytes>,
    /// Where it starts; `None` for `/`.
    pub cwd: Option<Bytes>,
    /// The number that each passed descriptor gets in the command, in the order they ride along.
    pub descriptors: Vec<i32>,
    /// Run it on a new terminal of this size; descriptors 0, 1 and 2 are then the terminal.
    pub tty: Option<TtySize>,
    /// Resource limits to set, lowered to init's own hard limits where they exceed them.
    pub rlimits: Vec<Rlimit>,
    /// File mode creation mask; `None` for 0o022.
    pub umask: Option<u32>,
    /// End everything else in the environment when this command ends, before its end is reported.
    pub sweep: bool,
}

/// A terminal's size in character cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TtySize {
    /// Lines.
    pub rows: u16,
    /// Characters in a line.
    pub columns: u16,
}

/// One resource limit (setrlimit(2)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rlimit {
    /// `RLIMIT_*` by its number.
    pub resource: u32,
    /// The soft limit, in the resource's unit.
    pub soft: u64,
    /// The hard limit, in the resource's unit.
    pub hard: u64,
}

/// Init → client, over the lease's channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromInit {
    /// The lease is as `Prepare` asked; names what could not be had and was left stricter.
    Prepared {
        /// Paths that stay read-only because a private layer over them is refused by the kernel.
        read_only: Vec<Bytes>,
    },
    /// The lease could not be prepared, and runs no command.
    PrepareFailed(Failure),
    /// The command runs.
    Started {
        /// The command's number.
        command: CommandId,
        /// Its process number inside the environment.
        pid: u32,
    },
    /// The command could not be run.
    Failed {
        /// The command's number.
        command: CommandId,
        /// Where it failed.
        failure: Failure,
    },
    /// The command has ended.
    Exited {
        /// The command's number.
        command: CommandId,
        /// How.
        status: ExitStatus,
        /// What it used, its reaped descendants included.
        usage: Usage,
    },
}

/// A step that failed, as the kernel reported it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What was being done.
    pub step: Step,
    /// The error number (errno(3)).
    pub errno: i32,
    /// The path or name that it was done to; empty where there is none.
    pub subject: Bytes,
}

/// Every step of building a zygote, preparing a lease and starting a command has a name, so that
/// an error says where. Displayed, it completes "failed to …".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[expect(missing_docs, reason = "each variant's display text is its documentation")]
pub enum Step {
    #[error("become the user whose authority is asked for")]
    BecomeUser,
    #[error("create a user namespace")]
    UserNamespace,
    #[error("write the user namespace's id maps")]
    IdMaps,
    #[error("create a mount namespace")]
    MountNamespace,
    #[error("make the mount tree private")]
    PrivateTree,
    #[error("mount the new root")]
    Root,
    #[error("show a directory of the host read-only")]
    HostDirectory,
    #[error("set up /dev")]
    Dev,
    #[error("set up /sys")]
    Sys,
    #[error("set up /proc")]
    Proc,
    #[error("enter the new root")]
    EnterRoot,
    #[error("create a network namespace")]
    NetNamespace,
    #[error("bring up the loopback device")]
    Loopback,
    #[error("clone a zygote")]
    Clone,
    #[error("make sockets for a zygote")]
    Sockets,
    #[error("mount the private writable places")]
    Scratch,
    #[error("put a private layer over the home directory")]
    Home,
    #[error("mount devpts")]
    Devpts,
    #[error("drop privileges")]
    DropPrivileges,
    #[error("wait for events")]
    Events,
    #[error("set the host name")]
    Hostname,
    #[error("open a mount source")]
    OpenTree,
    #[error("find the mount point")]
    MountPoint,
    #[error("attach a mount")]
    AttachMount,
    #[error("put a private layer over")]
    Layer,
    #[error("read the request")]
    ReadRequest,
    #[error("open a terminal")]
    Tty,
    #[error("pass descriptors")]
    Descriptors,
    #[error("set resource limits")]
    Rlimits,
    #[error("change to directory")]
    Chdir,
    #[error("fork")]
    Fork,
    #[error("execute")]
    Execute,
    #[error("install the system call filter")]
    Filter,
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExitStatus {
    /// It exited with this code.
    Code(u8),
    /// A signal ended it.
    Signal {
        /// The signal's number.
        signal: i32,
        /// Whether a core was dumped.
        core_dumped: bool,
    },
}

/// What a command used (getrusage(2)).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Microseconds on a CPU in user mode.
    pub user_us: u64,
    /// Microseconds on a CPU in the kernel.
    pub system_us: u64,
    /// Microseconds from start to end.
    pub wall_us: u64,
    /// The largest resident set of one process, in KiB.
    pub max_rss_kib: u64,
}

/// Server → template.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToTemplate {
    /// The first message: what to prepare. Answered by `Ready` or `Unable`.
    Build(Box<Recipe>),
    /// Clone a zygote. Answered by `Spawned` or `SpawnFailed`, and at its end by `Gone`.
    Spawn {
        /// The slot it is for.
        slot: u64,
    },
    /// Kill a zygote.
    Destroy {
        /// Its slot.
        slot: u64,
    },
    /// Open mount sources with the template's own authority. Answered by `Opened` or `OpenFailed`.
    Open {
        /// Comes back in the answer.
        ticket: u64,
        /// What to open, in order.
        trees: Vec<Tree>,
    },
}

/// One mount source to open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tree {
    /// Absolute path on the host.
    pub path: Bytes,
    /// Whether the opened tree refuses writes.
    pub read_only: bool,
}

/// What a template prepares.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipe {
    /// Whose authority its zygotes have.
    pub authority: Authority,
    /// What their file tree is made of.
    pub view: View,
    /// Their network.
    pub network: Network,
    /// What commands may do.
    pub confinement: Confinement,
    /// The host name inside; `None` for the host's own.
    pub hostname: Option<String>,
    /// Variables that every command gets, `KEY=value` each, in place of its own of that name.
    pub env: Vec<Bytes>,
}

/// Whose authority a template and its zygotes have.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authority {
    /// The uid that it runs as.
    pub uid: u32,
    /// That uid's primary gid.
    pub gid: u32,
    /// The user's name, for its supplementary groups; `None` where the uid has no name.
    pub user: Option<String>,
    /// The uid and gid that a command sees itself as; `None` for those that it has.
    pub inside: Option<(u32, u32)>,
    /// Subordinate ids, one of each kind for each zygote, instead of the uid's own.
    pub slices: Option<Slices>,
}

/// A range of subordinate ids (subuid(5)) that nobody else uses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slices {
    /// The first uid.
    pub first_uid: u32,
    /// The first gid.
    pub first_gid: u32,
    /// How many of each there are.
    pub count: u32,
}

/// What a file tree is made of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// What it starts from.
    pub root: Root,
    /// Whether all of it is writable, privately.
    pub root_overlay: bool,
    /// Absolute paths of the host, shown read-only; with a trailing `*`, all that begin so.
    pub shown: Vec<Bytes>,
    /// Absolute paths that look empty.
    pub hidden: Vec<Bytes>,
    /// The profile's own mounts.
    pub binds: Vec<ViewBind>,
    /// Whether `/etc` is made anew, with nothing of the host's users.
    pub minimal_etc: bool,
    /// Absolute paths that are private, empty and writable.
    pub private: Vec<Bytes>,
    /// Absolute paths that show the host's content under a private writable layer.
    pub layered: Vec<Bytes>,
    /// Bytes that the private places of one zygote may hold together; `None` for the kernel's
    /// default, half of the memory.
    pub tmp_bytes: Option<u64>,
    /// Files that they may hold together.
    pub tmp_inodes: Option<u64>,
}

/// What a file tree starts from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Root {
    /// The host's tree, read-only.
    #[default]
    Host,
    /// Nothing but what is shown.
    Empty,
    /// A directory that holds a whole tree.
    Directory(Bytes),
}

/// A mount of a profile's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewBind {
    /// Absolute path on the host.
    pub source: Bytes,
    /// Absolute path in the environment.
    pub target: Bytes,
    /// Whether writes are refused.
    pub read_only: bool,
}

/// A zygote's network.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Network {
    /// Only `lo`, up, in a namespace that no command has a capability over.
    #[default]
    Loopback,
    /// A namespace that the zygote itself owns.
    Own,
    /// The host's.
    Host,
}

/// What commands may do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confinement {
    /// The capabilities that commands have over their own namespaces, one bit each
    /// (capabilities(7)).
    pub capabilities: u64,
    /// System call filters for the template and everything that comes of it, as the kernel wants
    /// them (seccomp(2)).
    pub filters: Vec<Bytes>,
    /// Those that each command gets beside these.
    pub command_filters: Vec<Bytes>,
    /// The descriptor limit that commands get, soft and hard.
    pub descriptors: (u64, u64),
    /// Resource limits that no command exceeds.
    pub rlimits: Vec<Rlimit>,
}

/// Template → server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromTemplate {
    /// The mount tree is prepared.
    Ready {
        /// Microseconds that it took.
        build_us: u64,
        /// Which of the recipe's layered paths stay read-only, because the kernel refuses a private
        /// layer over them (a locked mount below, overlayfs(5)).
        read_only: Vec<Bytes>,
    },
    /// The mount tree cannot be prepared; the template exits.
    Unable(Failure),
    /// A zygote was cloned; it reports for itself on its lifeline.
    Spawned {
        /// The slot it is for.
        slot: u64,
    },
    /// A zygote could not be cloned.
    SpawnFailed {
        /// The slot it was for.
        slot: u64,
        /// Where it failed.
        failure: Failure,
    },
    /// A zygote and everything in it is gone.
    Gone {
        /// Its slot.
        slot: u64,
    },
    /// The sources are open; one descriptor each rides along.
    Opened {
        /// The request's number.
        ticket: u64,
    },
    /// A source could not be opened.
    OpenFailed {
        /// The request's number.
        ticket: u64,
        /// Where it failed.
        failure: Failure,
    },
}

/// Init → server, over the lifeline. End of file there, seen by init, means: kill everything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Lifeline {
    /// The zygote is ready to be handed out.
    Ready {
        /// Microseconds from the clone to here.
        spawn_us: u64,
    },
    /// The zygote could not be set up; init exits.
    Unable(Failure),
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "failed to {}", self.step)?;
        if !self.subject.is_empty() {
            write!(f, " {}", String::from_utf8_lossy(&self.subject))?;
        }
        write!(f, ": {}", std::io::Error::from_raw_os_error(self.errno))
    }
}

impl std::error::Error for Failure {}
