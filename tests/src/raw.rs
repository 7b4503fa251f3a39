//! A client of bare sockets: says what no library would say, and hears every message as it comes.

use crate::wait_readable;
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use zyg_protocol::codec::{Message, decode, encode};
use zyg_protocol::limits::MESSAGE_BYTES_MAX;
use zyg_protocol::message::{Acquire, FromInit, Granted, Reply, Request, ToInit};
use zyg_protocol::socket::{ReceiveError, receive, send};

/// One end of a SEQPACKET conversation: with the server, or with an init.
#[derive(Debug)]
pub struct Raw {
    socket: OwnedFd,
}

/// A lease in the hand of a raw client.
#[derive(Debug)]
pub struct RawLease {
    /// The conversation with its init.
    pub init: Raw,
    /// Readable when it is gone.
    pub pidfd: OwnedFd,
    /// What was granted.
    pub granted: Granted,
    /// What rode along beside channel and pidfd.
    pub trees: Vec<OwnedFd>,
}

impl Raw {
    /// A conversation that was begun elsewhere.
    #[must_use]
    pub fn of(socket: OwnedFd) -> Self {
        Self { socket }
    }

    /// Connects to a server; waits while its backlog is full.
    #[must_use]
    pub fn connect(path: &Path) -> Self {
        Self::try_connect(path).unwrap()
    }

    /// Connects to a server.
    ///
    /// # Errors
    /// Those of socket(2) and connect(2).
    pub fn try_connect(path: &Path) -> Result<Self, Errno> {
        let flags = SockFlag::SOCK_CLOEXEC;
        let socket = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)?;
        connect(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
        Ok(Self { socket })
    }

    /// Sends these bytes as one message. That the other side is gone is no error: it shows in
    /// what is received.
    pub fn send(&self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) {
        match send(self.socket.as_fd(), bytes, descriptors) {
            Ok(()) | Err(Errno::EPIPE | Errno::ECONNRESET) => {}
            Err(errno) => panic!("failed to send {} bytes: {errno}", bytes.len()),
        }
    }

    /// Says a message.
    pub fn say<M: Message>(&self, message: &M) {
        self.send(&bytes_of(message), &[]);
    }

    /// Says a message with descriptors.
    pub fn say_with<M: Message>(&self, message: &M, descriptors: &[BorrowedFd<'_>]) {
        self.send(&bytes_of(message), descriptors);
    }

    /// The next message and its descriptors; `None` when the other side has closed.
    #[must_use]
    pub fn hear<M: Message>(&self) -> Option<(M, Vec<OwnedFd>)> {
        let mut buffer = vec![0; MESSAGE_BYTES_MAX];
        loop {
            wait_readable(&self.socket, "a message, or the end of the conversation");
            match receive(self.socket.as_fd(), &mut buffer) {
                Ok(received) if received.bytes == 0 => return None,
                Ok(received) => {
                    let message = decode(&buffer[..received.bytes]).unwrap();
                    return Some((message, received.descriptors));
                }
                // It left with something of ours unread; what it said before comes next.
                Err(ReceiveError::Os(Errno::ECONNRESET)) => {}
                Err(error) => panic!("failed to hear a message: {error}"),
            }
        }
    }

    /// The next message of the server's.
    #[must_use]
    pub fn reply(&self) -> Option<Reply> {
        self.hear().map(|(reply, _)| reply)
    }

    /// The next message of an init's.
    #[must_use]
    pub fn from_init(&self) -> Option<FromInit> {
        self.hear().map(|(message, _)| message)
    }

    /// Waits for the end of the conversation; whatever is said before is heard and dropped.
    pub fn assert_closed<M: Message>(&self) {
        while self.hear::<M>().is_some() {}
    }

    /// Asks for a lease with nothing in particular, and takes it.
    #[must_use]
    pub fn lease(&self) -> RawLease {
        self.say(&Request::Acquire(Acquire::default()));
        self.take_lease()
    }

    /// Takes the lease that was asked for: the next message must be its grant.
    #[must_use]
    pub fn take_lease(&self) -> RawLease {
        let (reply, descriptors) = self.hear().expect("the server is there");
        let Reply::Granted(granted) = reply else { panic!("not granted: {reply:?}") };
        let mut descriptors = descriptors.into_iter();
        let init = Self { socket: descriptors.next().unwrap() };
        let pidfd = descriptors.next().unwrap();
        RawLease { init, pidfd, granted, trees: descriptors.collect() }
    }

    /// Says something to an init.
    pub fn tell(&self, message: &ToInit) {
        self.say(message);
    }

    /// Another handle on the same conversation: as long as it is open, nobody hangs up.
    #[must_use]
    pub fn duplicate(&self) -> OwnedFd {
        self.socket.try_clone().unwrap()
    }
}

impl AsFd for Raw {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The encoded message.
#[must_use]
pub fn bytes_of<M: Message>(message: &M) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(message, &mut bytes).unwrap();
    bytes
}
