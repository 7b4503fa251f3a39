//! One conversation with somebody real, without ever waiting for it.

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{ControlMessage, MsgFlags, UnixAddr, sendmsg};
use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use zyg_protocol::codec::{Message, decode};
use zyg_protocol::limits::MESSAGE_BYTES_MAX;
use zyg_protocol::socket::{ReceiveError, receive};

/// A SEQPACKET socket that does not block.
#[derive(Debug)]
pub struct Link {
    socket: OwnedFd,
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// It is on its way.
    Sent,
    /// There is no room now.
    Full,
    /// Nobody is there any more.
    Gone,
    /// The kernel lets no more descriptors be on their way (`ETOOMANYREFS`, unix(7)).
    TooManyInFlight,
}

/// What there is to be heard.
#[derive(Debug)]
pub enum Heard<M> {
    Message(M, Vec<OwnedFd>),
    Nothing,
    End,
}

impl Link {
    pub fn over(socket: OwnedFd) -> Self {
        fcntl(&socket, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
        Self { socket }
    }

    /// Says bytes, with more descriptors than the wire's own functions would send if need be.
    pub fn say(&self, bytes: &[u8], descriptors: &[OwnedFd]) -> Said {
        let numbers: Vec<_> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
        let rights = [ControlMessage::ScmRights(&numbers)];
        let control = if numbers.is_empty() { &[][..] } else { &rights[..] };
        let iov = [IoSlice::new(bytes)];
        let flags = MsgFlags::MSG_NOSIGNAL;
        match sendmsg::<UnixAddr>(self.socket.as_raw_fd(), &iov, control, flags, None) {
            Ok(_) => Said::Sent,
            Err(Errno::EAGAIN) => Said::Full,
            Err(Errno::EPIPE | Errno::ECONNRESET) => Said::Gone,
            Err(Errno::ETOOMANYREFS) => Said::TooManyInFlight,
            Err(errno) => panic!("failed to send {} bytes: {errno}", bytes.len()),
        }
    }

    /// The next message. What is heard must be sound: the other side is not the hostile one.
    pub fn hear<M: Message>(&self, buffer: &mut [u8]) -> Heard<M> {
        debug_assert!(buffer.len() >= MESSAGE_BYTES_MAX);
        loop {
            match receive(self.socket.as_fd(), buffer) {
                Ok(received) if received.bytes == 0 => return Heard::End,
                Ok(received) => {
                    let message = decode(&buffer[..received.bytes]).unwrap();
                    return Heard::Message(message, received.descriptors);
                }
                Err(ReceiveError::WouldBlock) => return Heard::Nothing,
                // It left with something of ours unread; what it said before comes next.
                Err(ReceiveError::Os(Errno::ECONNRESET)) => {}
                Err(error) => panic!("failed to hear a message: {error}"),
            }
        }
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
