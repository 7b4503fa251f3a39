//! What arrives.

use crate::{alone, borrow, count_descriptors, files};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::fstat;
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use zyg_protocol::limits::{DESCRIPTORS_MAX, MESSAGE_BYTES_MAX};
use zyg_protocol::socket::{self, pair, receive, send};

fn is_close_on_exec(descriptor: &OwnedFd) -> bool {
    let flags = fcntl(descriptor, FcntlArg::F_GETFD).expect("it is open");
    FdFlag::from_bits_retain(flags).contains(FdFlag::FD_CLOEXEC)
}

#[test]
fn both_ends_of_a_pair_are_close_on_exec() {
    let _alone = alone();
    let (left, right) = pair().unwrap();
    assert!(is_close_on_exec(&left) && is_close_on_exec(&right));
}

#[test]
fn a_descriptor_arrives_open_and_close_on_exec_even_if_sent_otherwise() {
    let _alone = alone();
    let (left, right) = pair().unwrap();
    let sent = memfd_create("sent", MFdFlags::empty()).unwrap();
    assert!(!is_close_on_exec(&sent), "the flag must be the receiver's doing");
    let mut file = File::from(sent);
    file.write_all(b"written before").unwrap();
    send(left.as_fd(), b"hello", &[file.as_fd()]).unwrap();
    drop(file);

    let mut buffer = [0; 16];
    let mut received = receive(right.as_fd(), &mut buffer).unwrap();
    assert_eq!(&buffer[..received.bytes], b"hello");
    assert_eq!(received.descriptors.len(), 1);
    let descriptor = received.descriptors.remove(0);
    assert!(is_close_on_exec(&descriptor));
    let (mut file, mut content) = (File::from(descriptor), String::new());
    file.rewind().unwrap();
    file.read_to_string(&mut content).unwrap();
    assert_eq!(content, "written before");
}

#[test]
fn as_many_descriptors_as_allowed_arrive_in_their_order() {
    let _alone = alone();
    let before = count_descriptors();
    let (left, right) = pair().unwrap();
    let sent: Vec<OwnedFd> = (0..DESCRIPTORS_MAX)
        .map(|_| memfd_create("sent", MFdFlags::MFD_CLOEXEC).unwrap())
        .collect();
    send(left.as_fd(), b"x", &socket::borrow(&sent)).unwrap();
    let received = receive(right.as_fd(), &mut [0; 1]).unwrap();
    let inodes = |fds: &[OwnedFd]| fds.iter().map(|fd| fstat(fd).unwrap().st_ino).collect();
    let (there, here): (Vec<_>, Vec<_>) = (inodes(&received.descriptors), inodes(&sent));
    assert_eq!(there, here);
    assert!(received.descriptors.iter().all(is_close_on_exec));
    drop((left, right, sent, received));
    assert_eq!(count_descriptors(), before);
}

#[test]
fn one_descriptor_more_than_allowed_is_not_sent() {
    let _alone = alone();
    let (left, right) = pair().unwrap();
    let surplus = files(DESCRIPTORS_MAX + 1);
    let refused = send(left.as_fd(), b"x", &borrow(&surplus));
    assert_eq!(refused, Err(nix::errno::Errno::E2BIG));
    send(left.as_fd(), b"next", &[]).unwrap();
    let mut buffer = [0; 8];
    assert_eq!(receive(right.as_fd(), &mut buffer).unwrap().bytes, 4);
}

#[test]
fn messages_keep_their_bounds_and_their_own_descriptors() {
    let _alone = alone();
    let (left, right) = pair().unwrap();
    let sent = files(3);
    send(left.as_fd(), b"one", &borrow(&sent[..1])).unwrap();
    send(left.as_fd(), b"none", &[]).unwrap();
    send(left.as_fd(), b"two", &borrow(&sent[1..])).unwrap();
    let mut buffer = [0; 64];
    for (bytes, descriptors) in [(3, 1), (4, 0), (3, 2)] {
        let received = receive(right.as_fd(), &mut buffer).unwrap();
        assert_eq!((received.bytes, received.descriptors.len()), (bytes, descriptors));
    }
}

#[test]
fn the_largest_message_fits_into_the_default_socket_buffer() {
    let _alone = alone();
    let (left, right) = pair().unwrap();
    let (sent, rides) = (vec![7; MESSAGE_BYTES_MAX], files(DESCRIPTORS_MAX));
    send(left.as_fd(), &sent, &borrow(&rides)).unwrap();
    let mut buffer = vec![0; MESSAGE_BYTES_MAX];
    let received = receive(right.as_fd(), &mut buffer).unwrap();
    assert_eq!((received.bytes, received.descriptors.len()), (sent.len(), rides.len()));
    assert!(buffer == sent);
}
