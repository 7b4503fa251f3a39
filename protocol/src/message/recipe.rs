//! Between the server, its templates and their zygotes: what to prepare, and what has come of it.

use super::{Bytes, Failure, Fates, Rlimit};
use serde::{Deserialize, Serialize};

/// Server → template.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToTemplate {
    /// The first message: what to prepare. Answered by `Ready` or `Unable`.
    Build(Box<Recipe>),
    /// Clone a zygote that lives on the lifeline whose other end rides along. Answered by the zygote
    /// itself, on its lifeline, or by `SpawnFailed`; and at its end by `Gone`.
    Spawn {
        /// The slot it is for.
        slot: u64,
        /// Whether somebody waits for it: then it is made at the priority of any other process, else
        /// at the lowest one.
        urgent: bool,
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
    /// The lease of a zygote is over, which may be used again: from here on it has another name. Not
    /// answered, but by `Gone` under that name if it is gone already.
    Rename {
        /// Its slot, as it was named until now.
        slot: u64,
        /// And from now on.
        next: u64,
    },
    /// Look at a zygote that is ready, by what rides along: for the first time before anybody has had it,
    /// then after each lease. Answered by `Inspected` or `InDoubt`.
    Inspect {
        /// Its slot.
        slot: u64,
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
    /// What is used again after a lease; with [`Network::Loopback`].
    pub recycle: Recycle,
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

/// What of an environment is used again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Recycle {
    /// Nothing.
    #[default]
    None,
    /// A network namespace that tells nothing of its zygote.
    Parts,
    /// And a zygote in which nothing is left of its lease.
    Whole,
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
    /// A zygote is as it is to be.
    Inspected {
        /// Its slot.
        slot: u64,
    },
    /// A zygote is not to be used again: something is left of its lease, or may be.
    InDoubt {
        /// Its slot.
        slot: u64,
    },
    /// What became of what leases have had, since this was told last. Nobody has asked for it.
    Became(Fates),
}

/// Server → init, over the lifeline. End of file there means: kill everything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToZygote {
    /// The lease is over: end all of it, and be ready for another one. Answered by `Renewed`.
    Renew,
}

/// Init → server, over the lifeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Lifeline {
    /// The zygote is ready to be handed out: with the client's end of its command channel, and its
    /// pidfd; where it may be used again, also with what `Renewed` comes with.
    Ready {
        /// Microseconds from the clone to here.
        spawn_us: u64,
    },
    /// The zygote could not be set up, or renewed; init exits.
    Unable(Failure),
    /// Nothing is left of the lease, as far as init knows: with what is to be looked at, ipc and uts
    /// namespace and the root of its procfs.
    Renewed {
        /// Microseconds from the order to here.
        renew_us: u64,
    },
}
