//! One end of a SEQPACKET conversation on the loop: never blocks, keeps what cannot be sent yet.

use crate::failure::IntoErrno;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{MsgFlags, recvmsg};
use std::collections::VecDeque;
use std::io::IoSliceMut;
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

impl Wire {
    /// Takes a socket over; at most `outbox_max` messages may wait on it beside those that were
    /// promised.
    pub fn new(socket: OwnedFd, outbox_max: usize) -> Result<Self, Errno> {
        fcntl(&socket, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map_err(IntoErrno::into_errno)?;
        Ok(Self { socket, outbox: VecDeque::new(), outbox_max, outbox_bytes: 0, promised: 0 })
    }

    /// Sends a message, or keeps it for when there is room. `scratch` is reused between calls.
    ///
    /// # Errors
    /// When the peer is gone, or does not read while more and more is sent to it.
    pub fn send<M: Message>(
        &mut self,
        message: &M,
        descriptors: Vec<OwnedFd>,
        scratch: &mut Vec<u8>,
    ) -> Result<(), WireError> {
        self.put(message, descriptors, false, scratch)
    }

    /// The same for what the peer was promised, which need not have read what else there is: whoever
    /// promises sees to it that it is not too much.
    ///
    /// # Errors
    /// When the peer is gone.
    pub fn send_promised<M: Message>(
        &mut self,
        message: &M,
        descriptors: Vec<OwnedFd>,
        scratch: &mut Vec<u8>,
    ) -> Result<(), WireError> {
        self.put(message, descriptors, true, scratch)
    }

    /// How many promised messages wait.
    pub fn promised(&self) -> usize {
        self.promised
    }

    fn put<M: Message>(
        &mut self,
        message: &M,
        descriptors: Vec<OwnedFd>,
        promised: bool,
        scratch: &mut Vec<u8>,
    ) -> Result<(), WireError> {
        encode(message, scratch)?;
        if self.outbox.is_empty() {
            match send(self.socket.as_fd(), scratch, &borrow(&descriptors)) {
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
        self.outbox_bytes = bytes;
        self.promised += usize::from(promised);
        self.outbox.push_back(Waiting { bytes: scratch.clone(), descriptors, promised });
        Ok(())
    }

    /// Sends what waits, as far as there is room.
    ///
    /// # Errors
    /// When the peer is gone, or nothing may be sent to it: nobody tells when that has changed.
    pub fn flush(&mut self) -> Result<(), WireError> {
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
        Ok(())
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
        let mut scratch = Vec::new();
        let mut sent = 0;
        while wire.send(&large, Vec::new(), &mut scratch).is_ok() {
            sent += 1;
            assert!(sent < 1000, "no bound");
        }
        assert!(wire.outbox_bytes <= OUTBOX_BYTES_MAX);
        // Read to the end, it has room for as much again.
        let mut buffer = vec![0; zyg_protocol::limits::MESSAGE_BYTES_MAX];
        for _ in 0..sent {
            receive(theirs.as_fd(), &mut buffer).unwrap();
            wire.flush().unwrap();
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
