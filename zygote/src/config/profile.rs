//! What a profile says, inherited keys and defaults filled in: plain values, each documented with its
//! key.

use crate::users;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// `[profile.NAME]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// `root`: the tree that everything else is laid over.
    pub root: Root,
    /// `root_overlay`: the whole tree is seen read-write, and what is written is discarded. Never
    /// with [`Root::Empty`].
    pub root_overlay: bool,
    /// `writable`: what is privately writable, in the order given, each place once. With a private
    /// [`Profile::home`] without [`Place::Home`], which would be the same.
    pub writable: Vec<Place>,
    /// `read_only`: paths of the host that are seen read-only under the same name. With
    /// [`Root::Empty`] they are the view; with [`Root::Host`] they are exceptions to what is
    /// writable around them; over a directory they are additions. What the host lacks is left out.
    pub read_only: Vec<HostPath>,
    /// `hide`: paths inside that look empty, directories and files. None that another key names is
    /// among them or below. Whether a client's working directory lies below one is for the server to see.
    pub hide: Vec<Location>,
    /// `bind`: paths of the host that are seen elsewhere or really written, each target once. With
    /// [`Identity::Slice`] all are read-only.
    pub bind: Vec<Bind>,
    /// `etc`: what /etc is.
    pub etc: Etc,
    /// `home`: which home directory commands find.
    pub home: Home,
    /// `network`: which network commands are in.
    pub network: Network,
    /// `recycle`: what of an environment is used again after it. Of a network only [`Network::Loopback`]
    /// ever is, and only where [`Profile::seccomp`] confines sockets.
    pub recycle: Recycle,
    /// `env`: variables that every command gets, in place of the client's of the same name. `HOME` is
    /// among them where [`Profile::home`] is private.
    pub env: BTreeMap<String, String>,
    /// `hostname`: the host name inside; `None` for the host's own.
    pub hostname: Option<String>,
    /// `user`: the uid and gid that commands see themselves as.
    pub user: User,
    /// `capabilities`: which a command holds over the namespaces of its environment, as bits by
    /// their numbers (`1 << CAP_X`, capabilities(7)); nothing outside is reached with them.
    /// `CAP_NET_ADMIN` is among them with [`Network::Own`]. Never one by which init or the kernel
    /// could be reached. Goes with either [`Profile::identity`] and any [`Profile::user`].
    pub capabilities: u64,
    /// `seccomp`: the filter of system calls.
    pub seccomp: Seccomp,
    /// `nesting`: whether commands may make user namespaces of their own. Only forbidden where there
    /// is a filter that can do so.
    pub nesting: bool,
    /// `identity`: whose authority the environment has.
    pub identity: Identity,
    /// `limits`: what commands may use.
    pub limits: Limits,
    /// `allow_uids`: who may ask for this profile. Everybody, where this and
    /// [`Profile::allow_gids`] are both empty; otherwise who is in either.
    pub allow_uids: Vec<Principal>,
    /// `allow_gids`: the groups whose members may ask for this profile.
    pub allow_gids: Vec<Principal>,
    /// `quota`: what one uid may have at once.
    pub quota: Quota,
    /// `pool`: how many.
    pub pool: PoolSize,
}

/// `root`
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Root {
    /// `"host"`: the host's files, read-only.
    Host,
    /// `"empty"`: nothing but what [`Profile::read_only`], [`Profile::bind`] and
    /// [`Profile::writable`] bring in; at least one of the first two is not empty.
    Empty,
    /// A directory of the host with a whole tree in it, read-only. Absolute and clean, not `/`.
    Directory(PathBuf),
}

/// A place that is privately writable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// An absolute path: not `/`, no `..`, no `.`, no doubled or trailing slash. Not in `/proc`,
    /// `/sys` or `/dev`, but for `/dev/shm`.
    Path(PathBuf),
    /// `~`: the client's home directory.
    Home,
    /// `.`: the client's working directory.
    WorkingDirectory,
}

/// A path of the host, or several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostPath {
    /// An absolute and clean path, not `/`.
    Exact(PathBuf),
    /// Written with a `*` at its end: whatever in `directory` has a name that starts with `prefix`.
    Matching {
        /// Absolute and clean.
        directory: PathBuf,
        /// Empty for everything in a directory, which is not `/` then.
        prefix: String,
    },
}

/// A path that may start with `~`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// Absolute and clean, not `/`.
    Path(PathBuf),
    /// Written with `~`: relative to the home directory and clean, empty for that itself. Of a path
    /// outside it is the client's; of one inside it is the one that [`Profile::home`] says.
    InHome(PathBuf),
}

/// An entry of `bind`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bind {
    /// `source`: where it is on the host. `~` is the client's home directory.
    pub source: Location,
    /// `target`: where it is seen. Not in `/proc`, `/sys` or `/dev`, but for `/dev/shm`.
    pub target: Location,
    /// `read_only`: otherwise what is written there is really written.
    pub read_only: bool,
}

/// `etc`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Etc {
    /// `"host"`: as [`Profile::root`] has it; with [`Root::Empty`] the host's.
    Host,
    /// `"minimal"`: made anew, with what programs fail without: passwd and group with root, the user
    /// and nobody; nsswitch.conf, hosts, the dynamic linker's cache and the certificates of the
    /// host. Never with [`Root::Directory`].
    Minimal,
}

/// `home`
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Home {
    /// `"client"`: the client's own, as far as it is to be seen.
    Client,
    /// An empty directory at this path, private and writable. Absolute and clean.
    Private(PathBuf),
}

/// `network`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// `"loopback"`: a namespace with `lo` alone, which is up and which no command can change.
    Loopback,
    /// `"own"`: a fresh namespace that the environment owns: commands hold `CAP_NET_ADMIN` over it,
    /// and over no other.
    Own,
    /// `"host"`: the host's, with its sockets and interfaces, over which no command holds anything.
    Host,
}

/// `recycle`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recycle {
    /// `"whole"`: the zygote itself, for leases of one trusted user. Processes, mounts, files, ipc and
    /// host name are new; its init, its pid, user and network namespaces go on, if nothing is left there.
    Whole,
    /// `"parts"`: the network namespace, if its account is that of a new one. Everything that a command
    /// could change is new.
    Parts,
    /// `"none"`: nothing; but for the subordinate ids of [`Identity::Slice`], of which there are only so
    /// many.
    None,
}

/// `user`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum User {
    /// `"client"`: the client's own numbers. With [`Identity::Slice`] they are only what is seen.
    Client,
    /// A table with both numbers. Neither is 65534, by which the files of strangers are seen.
    Fixed {
        /// The uid seen inside.
        uid: u32,
        /// The gid seen inside.
        gid: u32,
    },
}

/// `seccomp`
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seccomp {
    /// `"default"`: what namespaces do not cover is denied.
    Default,
    /// `"off"`: no filter. Never where [`Profile::nesting`] is forbidden.
    Off,
    /// A table: the default filter, changed. Names are written as in syscalls(2), whether there
    /// are such calls is not judged here; none is in both lists.
    Changed {
        /// `allow`: calls that the default would deny.
        allow: Vec<String>,
        /// `deny`: calls that the default would let through.
        deny: Vec<String>,
    },
}

/// `identity`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identity {
    /// `"client"`: the client's own kernel uid. What the client may see, commands may.
    Client,
    /// `"slice"`: a range of subordinate kernel uids of each zygote's own, which has no rights to
    /// anything. [`Profile::user`] is only what is seen inside then, so it may be said as well.
    Slice,
}

/// A user or a group that is allowed something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Principal {
    /// By number.
    Id(u32),
    /// By name. Not looked up yet.
    Name(String),
}

/// `[profile.NAME.limits]`. `None` is as the template has it. Resource limits (setrlimit(2)) hold
/// for each process unless said otherwise, both soft and hard, in the kernel's units;
/// [`Limits::UNLIMITED`] where the file says `"unlimited"`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    /// `nofile`: the highest descriptor, plus 1.
    pub nofile: Option<u64>,
    /// `nproc`: processes and threads of one environment, init included: the kernel counts for each
    /// uid in each user namespace (since Linux 5.14). It exempts kernel uid 0, so with
    /// [`Identity::Client`] it does not hold for root.
    pub nproc: Option<u64>,
    /// `core`: bytes of a core dump.
    pub core: Option<u64>,
    /// `cpu`: seconds on a CPU.
    pub cpu: Option<u64>,
    /// `fsize`: bytes of a file.
    pub fsize: Option<u64>,
    /// `memlock`: bytes that may be locked into memory.
    pub memlock: Option<u64>,
    /// `msgqueue`: bytes of POSIX message queues, counted as for `nproc`; exempts nobody.
    pub msgqueue: Option<u64>,
    /// `sigpending`: signals that are queued and timers that may queue one (timer_create(2)), counted
    /// as for `nproc`; exempts nobody.
    pub sigpending: Option<u64>,
    /// `stack`: bytes of the first thread's stack, arguments and environment included.
    pub stack: Option<u64>,
    /// `as`: bytes of address space.
    pub address_space: Option<u64>,
    /// `data`: bytes of private writable memory.
    pub data: Option<u64>,
    /// `time`: how long a lease may last, from 1 ms to a year.
    pub time: Option<Duration>,
    /// `tmp_size`: bytes of each private tmpfs of an environment; half of the machine's memory
    /// without it (tmpfs(5)).
    pub tmp_size: Option<u64>,
    /// `tmp_inodes`: files of each private tmpfs of an environment.
    pub tmp_inodes: Option<u64>,
}

/// `[profile.NAME.quota]`: what one uid may have at once; `None` for as much as the pool has. And
/// `[server.quota]`: the same over all profiles, where `None` is for no such bound.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Quota {
    /// `leases`: at least 1; at most [`PoolSize::max`], for the server `zygotes_max`.
    pub leases: Option<u32>,
    /// `waiters`: at least 1; at most [`PoolSize::waiters_max`] where there is one.
    pub waiters: Option<u32>,
}

/// `[profile.NAME.pool]`: bounds for each user served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolSize {
    /// `min`: zygotes to keep warm, not above `max`.
    pub min: u32,
    /// `max`: zygotes that may exist at once, dying ones included; at least 1.
    pub max: u32,
    /// `waiters_max`: acquires that may queue; at least 1.
    pub waiters_max: u32,
    /// `idle`: how long zygotes beyond `min` may go unused before the pool shrinks, from 1 ms to a
    /// year; `None` for the pool's own choice.
    pub idle: Option<Duration>,
    /// `quiet`: how long after the latest acquire zygotes beyond `min` are built, up to a minute; while
    /// there is no such quiet, one in 50 ms. `None` for the pool's own choice, which is at once.
    pub quiet: Option<Duration>,
    /// `sleep`: how long after a user's last lease the pool gives up even `min`, until he asks again,
    /// from 1 ms to a year and not shorter than `idle`; `None` for never. Neither for whom
    /// `prefork_for` names nor for the server's own user.
    pub sleep: Option<Duration>,
    /// `learn`: whether more than `min` are kept warm where so many are asked for at once.
    pub learn: bool,
}

impl Limits {
    /// `RLIM_INFINITY` (setrlimit(2)).
    pub const UNLIMITED: u64 = u64::MAX;

    /// The resource limits that are set, each with its `RLIMIT_*` number.
    #[must_use]
    pub fn rlimits(&self) -> Vec<(u32, u64)> {
        let all = [
            (libc::RLIMIT_NOFILE, self.nofile),
            (libc::RLIMIT_NPROC, self.nproc),
            (libc::RLIMIT_CORE, self.core),
            (libc::RLIMIT_CPU, self.cpu),
            (libc::RLIMIT_FSIZE, self.fsize),
            (libc::RLIMIT_MEMLOCK, self.memlock),
            (libc::RLIMIT_MSGQUEUE, self.msgqueue),
            (libc::RLIMIT_SIGPENDING, self.sigpending),
            (libc::RLIMIT_STACK, self.stack),
            (libc::RLIMIT_AS, self.address_space),
            (libc::RLIMIT_DATA, self.data),
        ];
        all.into_iter().filter_map(|(resource, limit)| Some((resource, limit?))).collect()
    }
}

impl HostPath {
    /// Whether this names the path.
    #[must_use]
    pub fn names(&self, path: &Path) -> bool {
        match self {
            Self::Exact(exact) => exact == path,
            Self::Matching { directory, prefix } => {
                let name = path.file_name().map(std::ffi::OsStr::as_encoded_bytes);
                path.parent() == Some(directory)
                    && name.is_some_and(|name| name.starts_with(prefix.as_bytes()))
            }
        }
    }
}

impl Location {
    /// The path, where that is the home directory.
    #[must_use]
    pub fn with_home(&self, home: &Path) -> PathBuf {
        match self {
            Self::Path(path) => path.clone(),
            Self::InHome(path) => home.join(path).components().collect(),
        }
    }
}

impl Profile {
    /// Whether this uid may ask for the profile: it or one of its groups is listed, or nobody is.
    /// Names are looked up now, so that a group's new member needs no reload; what getent(1) says of
    /// them holds for some seconds.
    #[must_use]
    pub fn allows(&self, uid: u32) -> bool {
        if self.allow_uids.is_empty() && self.allow_gids.is_empty() {
            return true;
        }
        let user = users::with_uid(uid);
        let is_user = |principal: &Principal| match principal {
            Principal::Id(id) => *id == uid,
            Principal::Name(name) => user.as_ref().is_some_and(|user| user.name == *name),
        };
        if self.allow_uids.iter().any(is_user) {
            return true;
        }
        let Some(user) = &user else { return false };
        let groups = users::groups_of(&user.name, user.gid);
        self.allow_gids.iter().any(|principal| {
            let gid = match principal {
                Principal::Id(id) => Some(*id),
                Principal::Name(name) => users::group_named(name),
            };
            gid.is_some_and(|gid| groups.contains(&gid))
        })
    }
}
