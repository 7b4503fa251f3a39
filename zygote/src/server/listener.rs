//! The listening socket: bound here, or handed in by systemd or by the client that started us.

use crate::pool::Time;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::sockopt::{PeerCredentials, PeerPidfd, SockType as SocketType};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, getsockopt, listen, socket,
};
use nix::sys::stat::{Mode, umask};
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use zyg_protocol::message::plain_text;

/// Why there is no listening socket.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each variant's display text is its documentation")]
pub enum ListenError {
    #[error("failed to listen at {path}: another server listens there already")]
    Taken { path: PathBuf },
    #[error(
        "failed to listen at {path}: it exists and is not a socket; move it away or choose another --socket"
    )]
    NotASocket { path: PathBuf },
    #[error("failed to listen at {path}: a socket's path has 107 bytes at most")]
    TooLong { path: PathBuf },
    #[error("failed to listen at {path}: {source}")]
    Bind { path: PathBuf, source: io::Error },
    #[error("failed to listen on the socket that was handed in: it is not a SEQPACKET socket")]
    NotSeqPacket,
}

/// Where clients knock.
#[derive(Debug)]
pub struct Listener {
    socket: OwnedFd,
    path: PathBuf,
    /// What is to be removed at the path when the server goes: the socket that was there when it came.
    /// systemd keeps its own.
    ours: Option<Inode>,
}

/// Device and inode number, which tell one file from all others.
type Inode = (u64, u64);

/// Who may connect to a socket beside its owner.
#[derive(Debug, Clone, Copy)]
pub struct Access {
    /// Permission bits; those of the process' umask where there are none.
    pub mode: Option<u32>,
    /// The group that the socket is given to.
    pub gid: Option<u32>,
}

/// Whether somebody may wait to be let in of whom poll(2) says nothing more, since readiness is told
/// once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Door {
    /// Nobody.
    Watched,
    /// Perhaps: the turn was over before everybody was in.
    Crowded,
    /// Perhaps: a limit of descriptors or memory was met. Tried again then, or when somebody
    /// leaves.
    Stuck {
        /// When.
        until: Time,
    },
}

/// Who knocked, as the kernel says (`SO_PEERCRED`, unix(7)): read once, never asked again.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer {
    pub uid: u32,
    pub pid: i32,
}

impl Peer {
    /// Who it is, for the log: with the program's name where it is certain that the number is still
    /// that process's. `SO_PEERPIDFD` (Linux 6.5, unix(7)) tells: the process that it stands for
    /// lives after its name was read under the number.
    pub fn told(self, socket: &OwnedFd) -> String {
        let Self { uid, pid } = self;
        match self.program(socket) {
            Some(program) => format!("process {pid} ({program}) of uid {uid}"),
            None => format!("process {pid} of uid {uid}"),
        }
    }

    fn program(self, socket: &OwnedFd) -> Option<String> {
        let pidfd = getsockopt(socket, PeerPidfd).ok()?;
        let name = fs::read(format!("/proc/{}/comm", self.pid)).ok()?;
        let mut ended = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
        let lives = poll(&mut ended, PollTimeout::ZERO) == Ok(0);
        lives.then(|| plain_text(name.trim_ascii_end()))
    }
}

impl Listener {
    /// Listens at `path`, replacing a socket that nobody listens on any more.
    ///
    /// # Errors
    /// See [`ListenError`].
    pub fn bind(path: &Path, access: Access) -> Result<Self, ListenError> {
        let failed = |errno: Errno| ListenError::Bind { path: path.into(), source: errno.into() };
        let address = UnixAddr::new(path).map_err(|errno| match errno {
            Errno::ENAMETOOLONG => ListenError::TooLong { path: path.into() },
            errno => failed(errno),
        })?;
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket =
            socket(AddressFamily::Unix, SockType::SeqPacket, flags, None).map_err(failed)?;
        // From the look at what is there until clients can knock, so that of several servers one serves.
        let _turn = turn_at(path);
        make_room(path, &address)?;
        make_socket_file(&socket, &address, access).map_err(failed)?;
        let listener = Self { ours: inode(path), socket, path: path.into() };
        let listening =
            open_to(path, access).and_then(|()| Ok(listen(&listener.socket, Backlog::MAXCONN)?));
        match listening {
            Ok(()) => Ok(listener),
            Err(source) => {
                listener.remove();
                Err(ListenError::Bind { path: path.into(), source })
            }
        }
    }

    /// Takes over a socket that listens at `path` already, and whether to remove that at the end.
    ///
    /// # Errors
    /// [`ListenError::NotSeqPacket`] where it is another kind of socket, or none.
    pub fn inherit(socket: OwnedFd, path: &Path, ours: bool) -> Result<Self, ListenError> {
        match getsockopt(&socket, SocketType) {
            Ok(SockType::SeqPacket) => {}
            _ => return Err(ListenError::NotSeqPacket),
        }
        let flags = nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK);
        nix::fcntl::fcntl(&socket, flags).map_err(|_| ListenError::NotSeqPacket)?;
        let ours = ours.then(|| inode(path)).flatten();
        Ok(Self { socket, path: path.into(), ours })
    }

    /// The next client, if one waits.
    ///
    /// # Errors
    /// Those of accept4(2): `EAGAIN` when nobody waits, `EMFILE` at the descriptor limit.
    pub(super) fn accept(&self) -> Result<(OwnedFd, Peer), Errno> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = crate::sys::descriptors::accept(&self.socket, flags)?;
        let peer = getsockopt(&socket, PeerCredentials)?;
        Ok((socket, Peer { uid: peer.uid(), pid: peer.pid() }))
    }

    /// Where it listens.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes the socket's path, if it is this server's to remove.
    pub(super) fn remove(&self) {
        if self.ours.is_some() && self.ours == inode(&self.path) {
            let _ = fs::remove_file(&self.path);
        }
    }

    /// The socket, to register it.
    pub(super) fn socket(&self) -> &OwnedFd {
        &self.socket
    }
}

/// Binds, which makes the file: from the first with no more rights than it is to have in the end, and
/// without those of a group that it is not given to yet.
fn make_socket_file(socket: &OwnedFd, address: &UnixAddr, access: Access) -> Result<(), Errno> {
    let Some(mode) = access.mode else { return bind(socket.as_raw_fd(), address) };
    let mode = Mode::from_bits_truncate(mode);
    let group = if access.gid.is_some() { Mode::S_IRWXG } else { Mode::empty() };
    let before = umask((Mode::all() - mode) | group);
    let bound = bind(socket.as_raw_fd(), address);
    umask(before);
    bound
}

fn open_to(path: &Path, access: Access) -> io::Result<()> {
    if access.gid.is_some() {
        chown(path, None, access.gid)?;
    }
    let mode = access.mode.map(fs::Permissions::from_mode);
    mode.map_or(Ok(()), |mode| fs::set_permissions(path, mode))
}

/// How long a server that starts waits for others that start in the same directory.
const TURN: Duration = Duration::from_secs(2);

/// This server's turn to look at what is in the directory and to change it (flock(2)); over when it is
/// dropped. None where the directory cannot be opened, or whoever may read it keeps it locked: that
/// keeps no server from starting.
fn turn_at(path: &Path) -> Option<Flock<fs::File>> {
    let parent = path.parent().filter(|parent| *parent != Path::new(""));
    // Not what is none: a FIFO would be waited for.
    let mut opening = fs::OpenOptions::new();
    opening.read(true).custom_flags(OFlag::O_DIRECTORY.bits());
    let mut directory = opening.open(parent.unwrap_or(Path::new("."))).ok()?;
    let start = Instant::now();
    loop {
        match Flock::lock(directory, FlockArg::LockExclusiveNonblock) {
            Ok(turn) => return Some(turn),
            Err((_, errno)) if errno != Errno::EWOULDBLOCK => return None,
            Err(_) if start.elapsed() >= TURN => {
                log::warn!("somebody keeps the directory of {} locked", path.display());
                return None;
            }
            Err((again, _)) => directory = again,
        }
        let _ = poll(&mut [], 1_u8);
    }
}

/// Removes a stale socket: one that refuses to be connected to.
fn make_room(path: &Path, address: &UnixAddr) -> Result<(), ListenError> {
    let Ok(metadata) = fs::symlink_metadata(path) else {
        return Ok(());
    };
    if !metadata.file_type().is_socket() {
        return Err(ListenError::NotASocket { path: path.into() });
    }
    // Not to wait for a server whose queue is full.
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let probe = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None);
    match probe.and_then(|probe| connect(probe.as_raw_fd(), address)) {
        Err(Errno::ECONNREFUSED) => {
            fs::remove_file(path).map_err(|source| ListenError::Bind { path: path.into(), source })
        }
        // Its server has just left.
        Err(Errno::ENOENT) => Ok(()),
        _ => Err(ListenError::Taken { path: path.into() }),
    }
}

fn inode(path: &Path) -> Option<Inode> {
    let metadata = fs::symlink_metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}
