//! A private server for this user: its directory judged, its socket made, its process started.
//!
//! The socket listens before the server runs, so that whoever connects needs no second try, and a
//! lock makes one server of many clients that start at once. The server gets nothing of ours: not
//! the environment, not the working directory, no descriptor but the socket and its log.

use crate::connect::{ConnectError, Connected, Named, check_peer, open, private_socket};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag, openat};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket,
};
use nix::sys::stat::{Mode, SFlag, fstat};
use nix::unistd::{Uid, mkdir};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// All of our environment that a private server gets: where programs and files are, how to speak,
/// how much to log.
const KEPT_VARIABLES: [&str; 5] = ["PATH", "HOME", "LANG", "ZYG_LOG", "XDG_RUNTIME_DIR"];

/// Bytes of the log's end that an error quotes: some twenty lines.
const TAIL_BYTES: u64 = 2048;

/// The file, in the per-user directory, that is locked while a server is started.
const LOCK_FILE: &str = "lock";

/// The file, in the per-user directory, that the last started server logs to.
const LOG_FILE: &str = "server.log";

/// How a private server is started.
#[derive(Debug)]
pub(crate) struct Launch {
    /// The `zyg` program; without a slash, searched in `PATH`.
    pub(crate) program: PathBuf,
    pub(crate) idle_exit: Duration,
}

/// Why a per-user directory is not used. Whoever can write there could put a server of his own in
/// place of ours.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryProblem {
    /// A symbolic link or a file.
    #[error("it is not a directory (a symbolic link is none); remove it, or set XDG_RUNTIME_DIR")]
    NotADirectory,
    /// Another user's.
    #[error(
        "it belongs to uid {owner}, not to you (uid {us}); have it removed, or set XDG_RUNTIME_DIR"
    )]
    Foreign {
        /// Whose it is.
        owner: u32,
        /// Who we are.
        us: u32,
    },
    /// Open to others.
    #[error("others may enter it (mode {mode:03o}); run `chmod 700` on it")]
    Open {
        /// Its permissions.
        mode: u32,
    },
    /// Closed to its owner, as a umask makes it that takes his own rights.
    #[error(
        "you may not use it (mode {mode:03o}); run `chmod 700` on it, and `umask` with a mask that \
         leaves you your own files, such as 077"
    )]
    Closed {
        /// Its permissions.
        mode: u32,
    },
    /// The kernel says no.
    #[error("{0}")]
    Os(#[source] io::Error),
}

/// Connects to this user's private server; starts it if it does not run.
pub(crate) fn connect_private(
    directory: &Path,
    launch: &Launch,
) -> Result<Connected, ConnectError> {
    let handle = claim(directory)
        .map_err(|problem| ConnectError::Directory { path: directory.to_owned(), problem })?;
    let path = private_socket(directory);
    let log = directory.join(LOG_FILE);
    if let Some(socket) = try_open(&path)? {
        return Ok(Connected { socket, log: Some(log) });
    }
    let _lock = lock(&handle)?;
    // Another client may have started one while we waited for the lock.
    if let Some(socket) = try_open(&path)? {
        return Ok(Connected { socket, log: Some(log) });
    }
    start(&handle, &path, &log, launch)?;
    match try_open(&path)? {
        Some(socket) => Ok(Connected { socket, log: Some(log) }),
        None => Err(ConnectError::server_left(log)),
    }
}

fn try_open(path: &Path) -> Result<Option<OwnedFd>, ConnectError> {
    match open(path, Named::Search) {
        Ok(socket) => {
            check_peer(path, &socket)?;
            Ok(Some(socket))
        }
        Err(error) if error.is_nobody() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Makes the directory if it is not there, and judges what is there through the very descriptor
/// that is used afterwards.
pub(crate) fn claim(directory: &Path) -> Result<OwnedFd, DirectoryProblem> {
    let os = |errno: Errno| DirectoryProblem::Os(errno.into());
    match mkdir(directory, Mode::S_IRWXU) {
        Ok(()) | Err(Errno::EEXIST) => {}
        Err(errno) => return Err(os(errno)),
    }
    // O_PATH: another user's directory, which could not be opened for reading, can be named too.
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let handle = nix::fcntl::open(directory, flags, Mode::empty()).map_err(os)?;
    let stat = fstat(&handle).map_err(os)?;
    let us = Uid::effective().as_raw();
    let mode = stat.st_mode & 0o777;
    if stat.st_mode & SFlag::S_IFMT.bits() != SFlag::S_IFDIR.bits() {
        Err(DirectoryProblem::NotADirectory)
    } else if stat.st_uid != us {
        Err(DirectoryProblem::Foreign { owner: stat.st_uid, us })
    } else if mode & 0o077 != 0 {
        Err(DirectoryProblem::Open { mode })
    } else if mode != 0o700 && us != 0 {
        Err(DirectoryProblem::Closed { mode })
    } else {
        Ok(handle)
    }
}

fn step<E: Into<io::Error>>(step: &'static str) -> impl Fn(E) -> ConnectError {
    move |source| ConnectError::Start { step, source: source.into() }
}

fn open_inside(directory: &OwnedFd, name: &str, flags: OFlag) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlag::O_CREAT | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat(directory, name, flags, Mode::S_IRUSR | Mode::S_IWUSR)
}

/// Held until it is dropped. The kernel lets go of it too when we die.
fn lock(directory: &OwnedFd) -> Result<Flock<File>, ConnectError> {
    let file = open_inside(directory, LOCK_FILE, OFlag::O_RDWR)
        .map_err(step("open the socket directory's lock"))?;
    let mut file = File::from(file);
    loop {
        match Flock::lock(file, FlockArg::LockExclusive) {
            Ok(lock) => return Ok(lock),
            Err((unlocked, Errno::EINTR)) => file = unlocked,
            Err((_, errno)) => return Err(step("lock the socket directory")(errno)),
        }
    }
}

/// Starts a server on a fresh socket at `path`. Only under the lock.
fn start(
    directory: &OwnedFd,
    path: &Path,
    log: &Path,
    launch: &Launch,
) -> Result<(), ConnectError> {
    let output =
        open_inside(directory, LOG_FILE, OFlag::O_WRONLY | OFlag::O_TRUNC | OFlag::O_APPEND)
            .map_err(step("open the server's log"))?;
    let listening = listening_socket(path)?;
    let outcome = run_server(path, log, launch, listening, output);
    if outcome.is_err() {
        // Nobody will ever accept there. Failing to remove it leaves a stale socket, which the
        // next client replaces.
        let _ = std::fs::remove_file(path);
    }
    outcome
}

/// A fresh socket at `path`, in place of whatever is there.
pub(crate) fn listening_socket(path: &Path) -> Result<OwnedFd, ConnectError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(step("remove the stale socket")(error));
        }
        _ => {}
    }
    let address = UnixAddr::new(path).map_err(|_| ConnectError::PathTooLong(path.to_owned()))?;
    let socket = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)
        .map_err(step("make a socket"))?;
    bind(socket.as_raw_fd(), &address).map_err(step("bind the socket"))?;
    // Whatever the caller's umask is: whoever connects has to write to it (unix(7)).
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o600))
        .map_err(step("open the socket to its user"))?;
    // As long a queue as net.core.somaxconn grants (4096 by default): clients that come while the
    // server is starting wait in it.
    listen(&socket, Backlog::MAXALLOWABLE).map_err(step("listen on the socket"))?;
    Ok(socket)
}

/// Runs `zyg serve`, which leaves a server of its own session behind and exits at once.
fn run_server(
    path: &Path,
    log: &Path,
    launch: &Launch,
    listening: OwnedFd,
    output: OwnedFd,
) -> Result<(), ConnectError> {
    let mut server = server_command(path, launch)?;
    server.stdin(listening).stdout(Stdio::null()).stderr(output);
    let spawned = server.spawn();
    // Our copy of the listening socket must not outlive the server's, or a connect to a server
    // that has died would be queued for ever.
    drop(server);
    let mut process = spawned.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => ConnectError::NoProgram(launch.program.clone()),
        _ => step("execute zyg")(error),
    })?;
    match process.wait() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => {
            let (log, tail) = (log.to_owned(), tail(log));
            Err(ConnectError::ServerFailed { status, log, tail })
        }
        // The caller ignores SIGCHLD or reaps children that it has not made: how this one ended
        // cannot be known. Whether it serves, the first request shows.
        Err(error) if error.raw_os_error() == Some(Errno::ECHILD as i32) => Ok(()),
        Err(error) => Err(step("wait for zyg")(error)),
    }
}

fn server_command(path: &Path, launch: &Launch) -> Result<Command, ConnectError> {
    let mut program = launch.program.clone();
    if program.components().count() > 1 {
        // It is executed in `/`.
        program = std::path::absolute(&program).map_err(step("find the zyg program"))?;
    }
    let idle_ms = launch.idle_exit.as_millis().to_string();
    let mut server = Command::new(program);
    server
        .args(["serve", "--private", "--socket"])
        .arg(path)
        .args(["--socket-on-stdin", "--idle-exit-ms", &idle_ms])
        .env_clear()
        .current_dir("/");
    for name in KEPT_VARIABLES {
        if let Some(value) = std::env::var_os(name) {
            server.env(name, value);
        }
    }
    Ok(server)
}

/// The end of a log; empty where it cannot be read.
pub(crate) fn tail(log: &Path) -> String {
    let read = || -> io::Result<Vec<u8>> {
        let mut file = File::open(log)?;
        let bytes = file.metadata()?.len();
        file.seek(SeekFrom::Start(bytes.saturating_sub(TAIL_BYTES)))?;
        let mut content = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut content)?;
        Ok(content)
    };
    String::from_utf8_lossy(&read().unwrap_or_default()).trim().to_owned()
}

#[cfg(test)]
#[path = "start_tests.rs"]
mod tests;
