//! The listening socket: bound here, or handed in by systemd or by the client that started us.

use crate::pool::Time;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::sockopt::{PeerCredentials, PeerPidfd, SockType as SocketType};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, getsockopt, listen, socket,
};
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;
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
    /// What is to be removed at the path when the server goes: the socket that was there when it came.
    /// systemd keeps its own.
    ours: Option<Inode>,
}

/// Device and inode number, which tell one file from all others.
type Inode = (u64, u64);

/// A socket that listens under a name for which nobody looks, so that whoever may connect can be said
/// before anybody does, and none is ever found that does not listen. Dropped, it is removed.
#[derive(Debug)]
pub struct Unannounced {
    socket: NamedTempFile<OwnedFd>,
    path: PathBuf,
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

impl Unannounced {
    /// Listens beside `path`, where nothing else may listen.
    ///
    /// # Errors
    /// See [`ListenError`].
    pub fn beside(path: &Path) -> Result<Self, ListenError> {
        let failed = |source| ListenError::Bind { path: path.into(), source };
        // Too long a path is found out here, and nobody could connect there.
        UnixAddr::new(path).map_err(|errno| failed(errno.into()))?;
        stale(path)?;
        let directory = directory_of(path);
        let opened = fs::File::open(directory).map_err(failed)?;
        let here = format!("/proc/self/fd/{}", opened.as_raw_fd());
        let listening = |name: &Path| {
            let name = name.file_name().unwrap_or_default();
            Ok(listen_at(&Path::new(&here).join(name))?)
        };
        let socket = tempfile::Builder::new().prefix(".zyg-").make_in(directory, listening);
        Ok(Self { socket: socket.map_err(failed)?, path: path.into() })
    }

    /// Under which name it listens as yet.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.socket.path()
    }

    /// Gives it the name where clients look, in the place of a socket that nobody listens on any more.
    ///
    /// # Errors
    /// See [`ListenError`].
    pub fn announce(self) -> Result<Listener, ListenError> {
        let Self { mut socket, path } = self;
        let failed = |source| ListenError::Bind { path: path.clone(), source };
        loop {
            if let Some(stale) = stale(&path)? {
                take_away(stale, &path)?;
            }
            let ours = inode(socket.path());
            match socket.persist_noclobber(&path) {
                Ok(socket) => return Ok(Listener { socket, path, ours }),
                Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {
                    socket = error.file;
                }
                Err(error) => return Err(failed(error.error)),
            }
        }
    }
}

fn listen_at(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)?;
    bind(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    listen(&socket, Backlog::MAXCONN)?;
    Ok(socket)
}

/// The socket at the path that refuses to be connected to, if there is anything.
///
/// # Errors
/// `Taken` or `NotASocket` where it is something else.
fn stale(path: &Path) -> Result<Option<Inode>, ListenError> {
    let Ok(metadata) = fs::symlink_metadata(path) else { return Ok(None) };
    if !metadata.file_type().is_socket() {
        return Err(ListenError::NotASocket { path: path.into() });
    }
    let flags = SockFlag::SOCK_CLOEXEC;
    let refused = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)
        .and_then(|probe| connect(probe.as_raw_fd(), &UnixAddr::new(path)?));
    match refused {
        Err(Errno::ECONNREFUSED) => Ok(Some((metadata.dev(), metadata.ino()))),
        // Whose server has just left.
        Err(Errno::ENOENT) => Ok(None),
        _ => Err(ListenError::Taken { path: path.into() }),
    }
}

/// Removes a stale socket, and nothing else: another server may have put its own there meanwhile.
fn take_away(stale: Inode, path: &Path) -> Result<(), ListenError> {
    let failed = |source| ListenError::Bind { path: path.into(), source };
    let aside = tempfile::Builder::new().prefix(".zyg-").tempdir_in(directory_of(path));
    let aside = aside.map_err(failed)?;
    let taken = aside.path().join("socket");
    match fs::rename(path, &taken) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        renamed => renamed.map_err(failed)?,
    }
    if inode(&taken) == Some(stale) {
        return Ok(());
    }
    let back = renameat2(AT_FDCWD, &taken, AT_FDCWD, path, RenameFlags::RENAME_NOREPLACE);
    back.map_err(|errno| failed(errno.into()))?;
    Err(ListenError::Taken { path: path.into() })
}

fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."))
}

fn inode(path: &Path) -> Option<Inode> {
    let metadata = fs::symlink_metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}
