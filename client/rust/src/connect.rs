//! Finding the server: which socket, in which order, and what to say when there is none. Starting
//! one is [`crate::start`]'s.

use crate::client::Client;
use crate::start::{self, DirectoryProblem, Launch};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, UnixAddr, connect, getsockopt, socket, sockopt,
};
use nix::unistd::Uid;
use std::ffi::OsString;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;
use zyg_protocol::limits::WIRE_VERSION;

/// Where the system service listens (systemd/zyg.socket).
pub const SYSTEM_SOCKET: &str = "/run/zyg/zyg.sock";

/// How long a private server stays without anything to do: longer than the pauses between the
/// runs of somebody who edits and tests, shorter than anybody would notice it lingering.
const IDLE_EXIT: Duration = Duration::from_secs(60);

/// How to find the server. The first of these that serves is used:
///
/// 1. the socket named by [`Connector::socket`];
/// 2. the socket named by the environment variable `ZYG_SOCKET`;
/// 3. the system service at `/run/zyg/zyg.sock`;
/// 4. this user's private server in `$XDG_RUNTIME_DIR/zyg`, or in `/tmp/zyg-UID` where that
///    variable names no directory of this user's; it is started if it does not run.
///
/// A server that is named (1, 2) must be there; none is started, and none other is tried.
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
/// let client = zygote_client::Connector::new()
///     .zyg("/opt/zyg/bin/zyg")
///     .idle_exit(Duration::from_secs(600))
///     .connect()?;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct Connector {
    socket: Option<PathBuf>,
    zyg: Option<PathBuf>,
    find_only: bool,
    idle_exit: Duration,
    /// The parts of the search that come from outside; `None` to look them up when connecting.
    places: Option<Places>,
}

/// Where to look, as this process's environment has it.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    /// What `ZYG_SOCKET` names.
    pub(crate) named: Option<PathBuf>,
    pub(crate) system: PathBuf,
    /// The per-user directory.
    pub(crate) private: PathBuf,
}

/// A connection, and where the server's log is if it is a private one.
#[derive(Debug)]
pub(crate) struct Connected {
    pub(crate) socket: OwnedFd,
    pub(crate) log: Option<PathBuf>,
}

/// Why there is no connection to a server.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nothing is there.
    #[error(
        "no server listens at {}: {}",
        .path.display(),
        .named.advice(.path)
    )]
    Missing {
        /// The socket's path.
        path: PathBuf,
        /// Who named it.
        named: Named,
    },
    /// The socket is left over from a server that is gone.
    #[error(
        "no server listens at {} any more, its socket is left over: {}",
        .path.display(),
        .named.advice(.path)
    )]
    Stale {
        /// The socket's path.
        path: PathBuf,
        /// Who named it.
        named: Named,
    },
    /// Something else than a socket is there.
    #[error("{} is not a socket: name the one that `zyg serve` listens on", .0.display())]
    NotASocket(PathBuf),
    /// A socket of another kind is there.
    #[error(
        "{} is not zyg's: a socket of another type than SEQPACKET listens there",
        .0.display()
    )]
    NotZyg(PathBuf),
    /// The file's permissions keep us out.
    #[error(
        "permission denied for {}: its owner, or a member of its group, may connect",
        .0.display()
    )]
    Permission(PathBuf),
    /// The path does not fit into a socket address.
    #[error("{} is too long for a socket's path, of which 107 bytes are allowed", .0.display())]
    PathTooLong(PathBuf),
    /// Somebody else's server listens where only the system's or our own may.
    #[error(
        "the server at {} is not ours: uid {uid} runs it; if that is intended, name it with \
         ZYG_SOCKET",
        .path.display()
    )]
    NotOurs {
        /// The socket's path.
        path: PathBuf,
        /// Whose it is.
        uid: u32,
    },
    /// The per-user directory is not safe to use.
    #[error("refusing to use the socket directory {}: {problem}", .path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        problem: DirectoryProblem,
    },
    /// The program that would be the server is not there.
    #[error(
        "failed to start a private server: there is no program {}; install zyg on PATH, or name \
         it with ZYG_BIN",
        .0.display()
    )]
    NoProgram(PathBuf),
    /// A step of starting a private server failed.
    #[error("failed to start a private server: failed to {step}: {source}")]
    Start {
        /// What was being done.
        step: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// The private server ended with an error instead of serving.
    #[error(
        "the private server did not start ({status}); its log {} {}",
        .log.display(),
        ends(.tail)
    )]
    ServerFailed {
        /// How it ended.
        status: ExitStatus,
        /// Its log's path.
        log: PathBuf,
        /// The log's end.
        tail: String,
    },
    /// The private server starts, and leaves before it answers.
    #[error(
        "the private server leaves before it answers; its log {} {}",
        .log.display(),
        ends(.tail)
    )]
    ServerLeft {
        /// Its log's path.
        log: PathBuf,
        /// The log's end.
        tail: String,
    },
    /// The kernel says no.
    #[error("failed to connect to {}: {source}", .path.display())]
    Os {
        /// The socket's path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Who chose a socket's path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Named {
    /// The caller.
    Caller,
    /// The environment variable `ZYG_SOCKET`.
    Environment,
    /// The search order.
    Search,
}

impl Named {
    fn advice(self, path: &Path) -> String {
        let serve = format!("start one with `zyg serve --socket {}`", path.display());
        match self {
            Self::Environment => format!("{serve} or unset ZYG_SOCKET"),
            Self::Caller => serve,
            // Nobody need know where that is.
            Self::Search => "`zyg run` starts one".to_owned(),
        }
    }
}

fn ends(tail: &str) -> String {
    if tail.is_empty() { "is empty".to_owned() } else { format!("ends:\n{tail}") }
}

impl ConnectError {
    pub(crate) fn server_left(log: PathBuf) -> Self {
        let tail = start::tail(&log);
        Self::ServerLeft { log, tail }
    }

    /// Whether nobody listens, as opposed to somebody who must not or cannot be talked to.
    pub(crate) fn is_nobody(&self) -> bool {
        matches!(self, Self::Missing { .. } | Self::Stale { .. })
    }
}

impl Default for Connector {
    fn default() -> Self {
        Self { socket: None, zyg: None, find_only: false, idle_exit: IDLE_EXIT, places: None }
    }
}

impl Connector {
    /// The whole search, with `zyg` from the environment variable `ZYG_BIN` or else from `PATH`.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Only the server that listens at `path`.
    pub fn socket(&mut self, path: impl AsRef<Path>) -> &mut Self {
        self.socket = Some(path.as_ref().to_owned());
        self
    }

    /// The `zyg` program to start a private server with.
    pub fn zyg(&mut self, program: impl AsRef<Path>) -> &mut Self {
        self.zyg = Some(program.as_ref().to_owned());
        self
    }

    /// Whether to start a private server when none is found; it is, by default.
    pub fn start(&mut self, start: bool) -> &mut Self {
        self.find_only = !start;
        self
    }

    /// How long a private server that is started here stays without anything to do, in whole
    /// milliseconds; a minute by default.
    pub fn idle_exit(&mut self, after: Duration) -> &mut Self {
        self.idle_exit = after;
        self
    }

    #[cfg(test)]
    pub(crate) fn places(&mut self, places: Places) -> &mut Self {
        self.places = Some(places);
        self
    }

    /// Connects.
    ///
    /// # Errors
    /// [`ConnectError`], which says what to do about it.
    pub fn connect(&self) -> Result<Client, ConnectError> {
        let connected = self.find()?;
        let named = self.socket.is_some() || self.look_up().named.is_some();
        Ok(Client::new(connected, (!named).then(|| self.clone())))
    }

    /// One walk through the search order.
    pub(crate) fn find(&self) -> Result<Connected, ConnectError> {
        if let Some(path) = &self.socket {
            return Ok(Connected { socket: open(path, Named::Caller)?, log: None });
        }
        let places = self.look_up();
        if let Some(path) = &places.named {
            return Ok(Connected { socket: open(path, Named::Environment)?, log: None });
        }
        match open(&places.system, Named::Search) {
            Ok(socket) => {
                check_peer(&places.system, &socket)?;
                return Ok(Connected { socket, log: None });
            }
            Err(error) if error.is_nobody() => {}
            Err(ConnectError::Permission(_)) => {}
            Err(error) => return Err(error),
        }
        if self.find_only {
            let path = private_socket(&places.private);
            let socket = open(&path, Named::Search)?;
            check_peer(&path, &socket)?;
            return Ok(Connected { socket, log: None });
        }
        let launch = Launch { program: self.program(), idle_exit: self.idle_exit };
        start::connect_private(&places.private, &launch)
    }

    fn look_up(&self) -> Places {
        self.places.clone().unwrap_or_else(Places::from_environment)
    }

    fn program(&self) -> PathBuf {
        let named = || std::env::var_os("ZYG_BIN").filter(|name| !name.is_empty());
        self.zyg.clone().or_else(|| named().map(PathBuf::from)).unwrap_or_else(|| "zyg".into())
    }
}

impl Places {
    fn from_environment() -> Self {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        Self {
            named: variable("ZYG_SOCKET").map(PathBuf::from),
            system: PathBuf::from(SYSTEM_SOCKET),
            private: private_directory(variable("XDG_RUNTIME_DIR"), Uid::effective()),
        }
    }
}

/// The per-user directory. A runtime directory that is not this user's own is left alone: it is
/// the one of whoever called `su` or `sudo`, or of a session that has ended.
fn private_directory(runtime: Option<OsString>, uid: Uid) -> PathBuf {
    let ours = |path: &PathBuf| {
        let owned = |meta: std::fs::Metadata| meta.is_dir() && meta.uid() == uid.as_raw();
        path.is_absolute() && std::fs::metadata(path).is_ok_and(owned)
    };
    match runtime.map(PathBuf::from).filter(ours) {
        Some(runtime) => runtime.join("zyg"),
        None => PathBuf::from(format!("/tmp/zyg-{uid}")),
    }
}

/// Those namespaces by which the same path, address or id is another thing.
const NAMESPACES: [&str; 4] = ["mnt", "net", "pid", "user"];

/// The private server's socket in its directory, `zyg` in `$XDG_RUNTIME_DIR` for one. In its name are the version of the wire, so that
/// clients of two releases do not get in each other's way, and the caller's namespaces: a server shows
/// the files and the network that it has itself, which in a container, say, are not those outside,
/// though the directory may be the same.
#[must_use]
pub fn private_socket(directory: &Path) -> PathBuf {
    let mut place = DefaultHasher::new();
    for name in NAMESPACES {
        let namespace = std::fs::metadata(format!("/proc/self/ns/{name}"));
        namespace.map_or(0, |meta| meta.ino()).hash(&mut place);
    }
    directory.join(format!("v{WIRE_VERSION}-{:08x}.sock", place.finish() as u32))
}

/// Where a server listens that is not told where: as root at the system's socket, else at the user's
/// own one, whose directory is made if it is missing.
///
/// # Errors
/// [`ConnectError::Directory`] where that directory is not the user's alone.
pub fn default_socket() -> Result<PathBuf, ConnectError> {
    let places = Places::from_environment();
    if Uid::effective().is_root() {
        return Ok(places.system);
    }
    start::claim(&places.private)
        .map_err(|problem| ConnectError::Directory { path: places.private.clone(), problem })?;
    Ok(private_socket(&places.private))
}

/// Connects to one socket.
pub(crate) fn open(path: &Path, named: Named) -> Result<OwnedFd, ConnectError> {
    let owned = || path.to_owned();
    let address = UnixAddr::new(path).map_err(|errno| match errno {
        Errno::ENAMETOOLONG => ConnectError::PathTooLong(owned()),
        errno => ConnectError::Os { path: owned(), source: errno.into() },
    })?;
    let os = |errno: Errno| ConnectError::Os { path: owned(), source: errno.into() };
    let socket = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)
        .map_err(os)?;
    loop {
        return match connect(socket.as_raw_fd(), &address) {
            Ok(()) => Ok(socket),
            // A connect to a Unix socket that was interrupted has not begun.
            Err(Errno::EINTR) => continue,
            Err(Errno::ENOENT | Errno::ENOTDIR) => {
                Err(ConnectError::Missing { path: owned(), named })
            }
            Err(Errno::ECONNREFUSED) if !is_socket(path) => Err(ConnectError::NotASocket(owned())),
            Err(Errno::ECONNREFUSED) => Err(ConnectError::Stale { path: owned(), named }),
            Err(Errno::EPROTOTYPE) => Err(ConnectError::NotZyg(owned())),
            Err(Errno::EACCES | Errno::EPERM) => Err(ConnectError::Permission(owned())),
            Err(errno) => Err(os(errno)),
        };
    }
}

/// Whether it is a socket, or cannot be looked at: unlinked just now, in the main.
fn is_socket(path: &Path) -> bool {
    std::fs::metadata(path).map_or(true, |meta| meta.file_type().is_socket())
}

/// Refuses a server that neither root nor we ourselves run. Not for a socket that was named:
/// whoever names it vouches for it, and in a container root's own has another uid.
pub(crate) fn check_peer(path: &Path, socket: &OwnedFd) -> Result<(), ConnectError> {
    let peer = getsockopt(socket, sockopt::PeerCredentials)
        .map_err(|errno| ConnectError::Os { path: path.to_owned(), source: errno.into() })?;
    if peer.uid() != 0 && peer.uid() != Uid::effective().as_raw() {
        return Err(ConnectError::NotOurs { path: path.to_owned(), uid: peer.uid() });
    }
    Ok(())
}

#[cfg(test)]
#[path = "connect_tests.rs"]
mod tests;
