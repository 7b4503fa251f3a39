//! One end of a SEQPACKET conversation on the loop: never blocks, keeps what cannot be sent yet.

use crate::failure::IntoErrno;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use zyg_protocol::codec::{Message, encode};
use zyg_protocol::socket::{ReceiveError, Received, borrow, receive, send};

/// A socket and what waits to be sent on it.
#[derive(Debug)]
pub(super) struct Wire {
    socket: OwnedFd,
    outbox: VecDeque<(Vec<u8>, Vec<OwnedFd>)>,
    outbox_max: usize,
}

/// Why a wire is of no use any more.
#[derive(Debug, thiserror::Error)]
pub(super) enum WireError {
    #[error("the peer is gone: {0}")]
    Gone(Errno),
    #[error("the peer does not read: {0} messages wait for it")]
    Full(usize),
    #[error("failed to encode a message: {0}")]
    Encode(#[from] zyg_protocol::codec::EncodeError),
}

impl Wire {
    /// Takes a socket over; at most `outbox_max` messages may wait on it.
    pub fn new(socket: OwnedFd, outbox_max: usize) -> Result<Self, Errno> {
        fcntl(&socket, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map_err(IntoErrno::into_errno)?;
        Ok(Self { socket, outbox: VecDeque::new(), outbox_max })
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
        encode(message, scratch)?;
        if self.outbox.is_empty() {
            match send(self.socket.as_fd(), scratch, &borrow(&descriptors)) {
                Ok(()) => return Ok(()),
                Err(Errno::EAGAIN) => {}
                Err(errno) => return Err(WireError::Gone(errno)),
            }
        }
        if self.outbox.len() >= self.outbox_max {
            return Err(WireError::Full(self.outbox.len()));
        }
        self.outbox.push_back((scratch.clone(), descriptors));
        Ok(())
    }

    /// Sends what waits, as far as there is room.
    ///
    /// # Errors
    /// When the peer is gone.
    pub fn flush(&mut self) -> Result<(), WireError> {
        while let Some((bytes, descriptors)) = self.outbox.front() {
            match send(self.socket.as_fd(), bytes, &borrow(descriptors)) {
                Ok(()) => drop(self.outbox.pop_front()),
                Err(Errno::EAGAIN) => return Ok(()),
                Err(errno) => return Err(WireError::Gone(errno)),
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
