//! One end of a SEQPACKET conversation on the loop: never blocks, keeps what cannot be sent yet.

use crate::failure::IntoErrno;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{MsgFlags, recvmsg};
use std::collections::VecDeque;
use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use zyg_protocol::codec::{Message, encode};
use zyg_protocol::socket::{ReceiveError, Received, borrow, receive, send};

/// Bytes that may wait on one wire: as many as the largest crowd of ordinary requests needs, and not
/// so many that a peer which does not read, and asks for more all the time, fills the memory.
const OUTBOX_BYTES_MAX: usize = 16 << 20;

/// A socket and what waits to be sent on it.
#[derive(Debug)]
pub(super) struct Wire {
    socket: OwnedFd,
    outbox: VecDeque<Waiting>,
    outbox_max: usize,
    outbox_bytes: usize,
    promised: usize,
    watch: Option<Watch>,
}

/// How a wire is watched.
#[derive(Debug, Clone, Copy)]
struct Watch {
    token: Token,
    /// Whether also for room: each message that the peer takes would wake the loop.
    for_room: bool,
}

/// A message that cannot be sent yet.
#[derive(Debug)]
struct Waiting {
    bytes: Vec<u8>,
    descriptors: Vec<OwnedFd>,
    promised: bool,
}

/// Why a wire is of no use any more.
#[derive(Debug, thiserror::Error)]
pub(super) enum WireError {
    #[error("the peer is gone: {0}")]
    Gone(Errno),
    #[error("the peer does not read: {0} messages wait for it")]
    Full(usize),
    #[error("too many descriptors of this user are on their way (unix(7)): try again")]
    Crowded,
    #[error("failed to keep what rides along until the peer reads: {0}")]
    Copy(io::Error),
    #[error("failed to encode a message: {0}")]
    Encode(#[from] zyg_protocol::codec::EncodeError),
}

/// What it means that sendmsg(2) fails.
impl From<Errno> for WireError {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::ETOOMANYREFS => Self::Crowded,
            errno => Self::Gone(errno),
        }
    }
}

impl Watch {
    fn interest(self) -> Interest {
        if self.for_room { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE }
    }
}

impl Wire {
    /// Takes a socket over; at most `outbox_max` messages may wait on it beside those that were
    /// promised.
    pub fn new(socket: OwnedFd, outbox_max: usize) -> Result<Self, Errno> {
        fcntl(&socket, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map_err(IntoErrno::into_errno)?;
        Ok(Self {
            socket,
            outbox: VecDeque::new(),
            outbox_max,
            outbox_bytes: 0,
            promised: 0,
            watch: None,
        })
    }

    /// Has the loop hear what comes, and for as long as messages wait, that there is room for them.
    ///
    /// # Errors
    /// Those of epoll_ctl(2).
    pub fn watch(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let watch = Watch { token, for_room: !self.outbox.is_empty() };
        registry.register(&mut SourceFd(&self.socket.as_raw_fd()), token, watch.interest())?;
        self.watch = Some(watch);
        Ok(())
    }

    /// Tells the loop to hear of room, or not to any more, where that has changed. What there is already
    /// is told again.
    fn rewatch(&mut self, registry: &Registry) -> Result<(), WireError> {
        let for_room = !self.outbox.is_empty();
        let Some(watch) = self.watch.as_mut().filter(|watch| watch.for_room != for_room) else {
            return Ok(());
        };
        watch.for_room = for_room;
        registry
            .reregister(&mut SourceFd(&self.socket.as_raw_fd()), watch.token, watch.interest())
            .map_err(|error| WireError::Gone(error.into_errno()))
    }

    /// Sends a message, or keeps it for when there is room, of which `registry` has the loop told.
    /// `scratch` is reused between calls.
    ///
    /// # Errors
    /// When the peer is gone, or does not read while more and more is sent to it.
    pub fn send<M: Message>(
        &mut self,
        message: &M,
        descriptors: &[BorrowedFd<'_>],
        registry: &Registry,
        scratch: &mut Vec<u8>,
    ) -> Result<(), WireError> {
        self.put(message, descriptors, false, registry, scratch)
    }

    /// The same for what the peer was promised, which need not have read what else there is: whoever
    /// promises sees to it that it is not too much.
    ///
    /// # Errors
    /// When the peer is gone.
    pub fn send_promised<M: Message>(
        &mut self,
        message: &M,
        descriptors: &[BorrowedFd<'_>],
        registry: &Registry,
        scratch: &mut Vec<u8>,
    ) -> Result<(), WireError> {
        self.put(message, descriptors, true, registry, scratch)
    }

    /// How many promised messages wait.
    pub fn promised(&self) -> usize {
        self.promised
    }

    fn put<M: Message>(
        &mut self,
        message: &M,
        descriptors: &[BorrowedFd<'_>],
        promised: bool,
        registry: &Registry,
        scratch: &mut Vec<u8>,
    ) -> Result<(), WireError> {
        encode(message, scratch)?;
        if self.outbox.is_empty() {
            match send(self.socket.as_fd(), scratch, descriptors) {
                Ok(()) => return Ok(()),
                Err(Errno::EAGAIN) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        let bytes = self.outbox_bytes + scratch.len();
        let full = !promised && self.outbox.len() - self.promised >= self.outbox_max;
        if full || bytes > OUTBOX_BYTES_MAX {
            return Err(WireError::Full(self.outbox.len()));
        }
        let owned = descriptors.iter().map(|descriptor| descriptor.try_clone_to_owned());
        let descriptors = owned.collect::<io::Result<_>>().map_err(WireError::Copy)?;
        self.outbox_bytes = bytes;
        self.promised += usize::from(promised);
        self.outbox.push_back(Waiting { bytes: scratch.clone(), descriptors, promised });
        self.rewatch(registry)
    }

    /// Sends what waits, as far as there is room.
    ///
    /// # Errors
    /// When the peer is gone, or nothing may be sent to it: nobody tells when that has changed.
    pub fn flush(&mut self, registry: &Registry) -> Result<(), WireError> {
        while let Some(Waiting { bytes, descriptors, promised }) = self.outbox.front() {
            match send(self.socket.as_fd(), bytes, &borrow(descriptors)) {
                Ok(()) => {
                    self.outbox_bytes -= bytes.len();
                    self.promised -= usize::from(*promised);
                    self.outbox.pop_front();
                }
                Err(Errno::EAGAIN) => return Ok(()),
                Err(errno) => return Err(errno.into()),
            }
        }
        self.rewatch(registry)
    }

    /// Receives one message.
    ///
    /// # Errors
    /// See [`ReceiveError`].
    pub fn receive(&self, buffer: &mut [u8]) -> Result<Received, ReceiveError> {
        receive(self.socket.as_fd(), buffer)
    }

    /// The socket, to register it.
    pub fn socket(&self) -> &OwnedFd {
        &self.socket
    }
}

/// Receives one message from who may send no descriptors: none is taken in, so that none has to be
/// closed either, which may take as long as its file system likes (close(2), FUSE_FLUSH).
///
/// # Errors
/// `EAGAIN` where nothing is there, `EBADMSG` for a message that is too long or carries descriptors.
pub(super) fn receive_bare(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<usize, Errno> {
    let mut iov = [IoSliceMut::new(buffer)];
    loop {
        match recvmsg::<()>(socket.as_raw_fd(), &mut iov, None, MsgFlags::MSG_DONTWAIT) {
            Ok(got) if got.flags.intersects(MsgFlags::MSG_CTRUNC | MsgFlags::MSG_TRUNC) => {
                return Err(Errno::EBADMSG);
            }
            Ok(got) => return Ok(got.bytes),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zyg_protocol::message::ToTemplate;
    use zyg_protocol::socket::pair;

    #[test]
    fn what_waits_for_a_peer_that_does_not_read_is_bounded_in_bytes() {
        let (ours, theirs) = pair().unwrap();
        let mut wire = Wire::new(ours, usize::MAX).unwrap();
        let tree = zyg_protocol::message::Tree { path: vec![b'x'; 60_000].into(), read_only: true };
        let large = ToTemplate::Open { ticket: 1, trees: vec![tree] };
        let poll = mio::Poll::new().unwrap();
        let mut scratch = Vec::new();
        let mut sent = 0;
        while wire.send(&large, &[], poll.registry(), &mut scratch).is_ok() {
            sent += 1;
            assert!(sent < 1000, "no bound");
        }
        assert!(wire.outbox_bytes <= OUTBOX_BYTES_MAX);
        // Read to the end, it has room for as much again.
        let mut buffer = vec![0; zyg_protocol::limits::MESSAGE_BYTES_MAX];
        for _ in 0..sent {
            receive(theirs.as_fd(), &mut buffer).unwrap();
            wire.flush(poll.registry()).unwrap();
        }
        assert_eq!((wire.outbox.len(), wire.outbox_bytes), (0, 0));
    }

    #[test]
    fn a_crowd_on_the_way_is_not_taken_for_the_peers_end() {
        assert!(matches!(WireError::from(Errno::ETOOMANYREFS), WireError::Crowded));
        assert!(matches!(WireError::from(Errno::EPIPE), WireError::Gone(Errno::EPIPE)));
    }

    #[test]
    fn descriptors_where_none_belong_are_not_taken_in() {
        let (ours, theirs) = pair().unwrap();
        let mut buffer = [0; 8];
        assert_eq!(receive_bare(ours.as_fd(), &mut buffer), Err(Errno::EAGAIN));
        send(theirs.as_fd(), b"bare", &[]).unwrap();
        assert_eq!(receive_bare(ours.as_fd(), &mut buffer), Ok(4));
        send(theirs.as_fd(), b"ride", &[theirs.as_fd()]).unwrap();
        assert_eq!(receive_bare(ours.as_fd(), &mut buffer), Err(Errno::EBADMSG));
        send(theirs.as_fd(), b"too long", &[]).unwrap();
        assert_eq!(receive_bare(ours.as_fd(), &mut buffer[..4]), Err(Errno::EBADMSG));
        drop(theirs);
        assert_eq!(receive_bare(ours.as_fd(), &mut buffer), Ok(0));
    }
}
