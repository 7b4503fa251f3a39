//! A running server: whether one answers at its socket.

use super::child::wait_readable;
use super::{Doing, Done, Trouble};
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use zyg_protocol::codec::{Message, decode, encode};
use zyg_protocol::limits::MESSAGE_BYTES_MAX;
use zyg_protocol::message::{Reply, Request};
use zyg_protocol::socket::{receive, send};

pub(super) fn ask(path: &Path) -> Done {
    let what = format!("connect to {}", path.display());
    // Without waiting: a server that does not accept is one that does not answer.
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket =
        socket(AddressFamily::Unix, SockType::SeqPacket, flags, None).doing("make a socket")?;
    let address = UnixAddr::new(path).doing(&what)?;
    connect(socket.as_raw_fd(), &address).doing(&what)?;
    say(&socket, &Request::Status { request: 1 }, "ask the server")?;
    match hear(&socket, "the server")?.0 {
        Reply::Status { status, .. } => {
            Ok(format!("{}: process {} answers", path.display(), status.pid))
        }
        Reply::Refused(refusal) => Err(Trouble::with_errno(Errno::EACCES, refusal.to_string())),
        _ => Err(Trouble::with_errno(Errno::EPROTO, "the server answers something else")),
    }
}

/// Says one message.
pub(super) fn say<M: Message>(socket: &OwnedFd, message: &M, what: &str) -> Result<(), Trouble> {
    let mut bytes = Vec::new();
    encode(message, &mut bytes)
        .map_err(|error| Trouble::plain(format!("failed to {what}: {error}")))?;
    send(socket.as_fd(), &bytes, &[]).doing(what)
}

/// The next message of `whom`.
pub(super) fn hear<M: Message>(socket: &OwnedFd, whom: &str) -> Result<(M, Vec<OwnedFd>), Trouble> {
    let what = format!("hear from {whom}");
    wait_readable(socket.as_fd(), &what)?;
    let mut buffer = vec![0; MESSAGE_BYTES_MAX];
    let received = receive(socket.as_fd(), &mut buffer)
        .map_err(|error| Trouble::plain(format!("failed to {what}: {error}")))?;
    if received.bytes == 0 {
        return Err(Trouble::plain(format!("{whom} left without a word")));
    }
    let message = decode(&buffer[..received.bytes])
        .map_err(|error| Trouble::plain(format!("failed to understand {whom}: {error}")))?;
    Ok((message, received.descriptors))
}
