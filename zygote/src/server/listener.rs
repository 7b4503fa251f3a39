//! The listening socket: bound here, or handed in by systemd or by the client that started us.

use crate::pool::Time;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::sockopt::{PeerCredentials, PeerPidfd, SockType as SocketType};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, getsockopt, listen, socket,
};
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
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
    /// Whether the path goes when the server does; systemd keeps its own.
    ours: bool,
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
    pub fn bind(path: &Path) -> Result<Self, ListenError> {
        let failed = |errno: Errno| ListenError::Bind { path: path.into(), source: errno.into() };
        let address = UnixAddr::new(path).map_err(failed)?;
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket =
            socket(AddressFamily::Unix, SockType::SeqPacket, flags, None).map_err(failed)?;
        make_room(path, &address)?;
        bind(socket.as_raw_fd(), &address).map_err(failed)?;
        listen(&socket, Backlog::MAXCONN).map_err(failed)?;
        Ok(Self { socket, path: path.into(), ours: true })
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
        if self.ours {
            let _ = std::fs::remove_file(&self.path);
        }
    }

    /// The socket, to register it.
    pub(super) fn socket(&self) -> &OwnedFd {
        &self.socket
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
    let probe = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None);
    let refused = probe.and_then(|probe| connect(probe.as_raw_fd(), address));
    if refused != Err(Errno::ECONNREFUSED) {
        return Err(ListenError::Taken { path: path.into() });
    }
    fs::remove_file(path).map_err(|source| ListenError::Bind { path: path.into(), source })
}
