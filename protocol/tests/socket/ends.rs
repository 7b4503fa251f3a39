//! Sockets without a message, and without a peer.

use crate::{alone, borrow, count_descriptors, files, refusal};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use zyg_protocol::socket::{ReceiveError, pair, receive, send};

fn set_nonblocking(socket: &OwnedFd) {
    fcntl(socket, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).expect("a socket takes the flag");
}

#[test]
fn end_of_file_is_no_bytes_and_no_descriptors() {
    let _alone = alone();
    let (left, right) = pair().unwrap();
    send(left.as_fd(), b"last", &[]).unwrap();
    drop(left);
    let mut buffer = [0; 8];
    assert_eq!(receive(right.as_fd(), &mut buffer).unwrap().bytes, 4);
    let end = receive(right.as_fd(), &mut buffer).unwrap();
    assert_eq!((end.bytes, end.descriptors.len()), (0, 0));
}

/// SEQPACKET cannot tell the two apart (recv(2)), so no message of zyg's is empty, and who sends
/// one has hung up.
#[test]
fn an_empty_message_is_end_of_file_and_its_descriptors_are_owned() {
    let _alone = alone();
    let (left, right) = pair().unwrap();
    let sent = files(2);
    let before = count_descriptors();
    send(left.as_fd(), b"", &borrow(&sent)).unwrap();
    let received = receive(right.as_fd(), &mut [0; 8]).unwrap();
    assert_eq!((received.bytes, received.descriptors.len()), (0, 2));
    drop(received);
    assert_eq!(count_descriptors(), before);
}

#[test]
fn a_socket_that_does_not_block_says_so_in_both_directions() {
    let _alone = alone();
    let (left, right) = pair().unwrap();
    set_nonblocking(&left);
    set_nonblocking(&right);
    let nothing = refusal(receive(right.as_fd(), &mut [0; 8]));
    assert!(matches!(nothing, ReceiveError::WouldBlock), "{nothing}");

    let sent = (0..100_000).take_while(|_| send(left.as_fd(), &[0; 1024], &[]).is_ok()).count();
    assert!(sent > 0, "an empty socket takes a message");
    assert_eq!(send(left.as_fd(), &[0; 1024], &[]), Err(Errno::EAGAIN));
    for _ in 0..sent {
        assert_eq!(receive(right.as_fd(), &mut [0; 1024]).unwrap().bytes, 1024);
    }
    let nothing = refusal(receive(right.as_fd(), &mut [0; 8]));
    assert!(matches!(nothing, ReceiveError::WouldBlock), "{nothing}");
}

#[test]
fn a_peer_that_left_mail_unread_is_told_from_one_that_read_all() {
    let _alone = alone();
    let (left, right) = pair().unwrap();
    send(left.as_fd(), b"unread", &[]).unwrap();
    drop(right);
    let reset = refusal(receive(left.as_fd(), &mut [0; 8]));
    assert!(matches!(reset, ReceiveError::Os(Errno::ECONNRESET)), "{reset}");
    assert_eq!(receive(left.as_fd(), &mut [0; 8]).unwrap().bytes, 0, "end of file after that");
}

/// Whether SIGPIPE is pending for this thread, which blocks it: even an ignored signal is then
/// kept (signal(7)), so that neither a handler nor Rust's ignoring of it can hide it.
fn take_pending_sigpipe(signals: &SignalFd) -> bool {
    signals.read_signal().expect("a signalfd can be read").is_some()
}

#[test]
fn sending_to_nobody_is_an_error_and_no_signal() {
    let _alone = alone();
    let mut set = SigSet::empty();
    set.add(Signal::SIGPIPE);
    set.thread_block().unwrap();
    let signals = SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK).unwrap();

    let (reader, writer) = nix::unistd::pipe().unwrap();
    drop(reader);
    File::from(writer).write_all(b"x").expect_err("nobody reads");
    assert!(take_pending_sigpipe(&signals), "the control raises SIGPIPE");

    let (left, right) = pair().unwrap();
    drop(right);
    assert_eq!(send(left.as_fd(), b"x", &[]), Err(Errno::EPIPE));
    assert_eq!(send(left.as_fd(), b"x", &borrow(&files(1))), Err(Errno::EPIPE));
    assert!(!take_pending_sigpipe(&signals));
}
