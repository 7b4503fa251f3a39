//! Descriptors where none belong. Whatever arrives is closed, and its sender refused.

use crate::{beside_a_bystander, small_server};
use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, MsgFlags, UnixAddr, sendmsg};
use std::fs::File;
use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd};
use zyg_protocol::message::{Refusal, Reply, Request};
use zyg_tests::{Baseline, Raw, bytes_of, wait_readable};

/// The most that one message can carry (`SCM_MAX_FD`, unix(7)).
const KERNEL_MAX: usize = 253;

/// Sends a message with `count` descriptors, more than the wire's own functions would.
fn send_with(client: &Raw, bytes: &[u8], count: usize) {
    let null = File::open("/dev/null").unwrap();
    let numbers = vec![null.as_raw_fd(); count];
    let rights = [ControlMessage::ScmRights(&numbers)];
    let flags = MsgFlags::MSG_NOSIGNAL;
    let iov = [IoSlice::new(bytes)];
    match sendmsg::<UnixAddr>(client.as_fd().as_raw_fd(), &iov, &rights, flags, None) {
        // That the other side is gone shows in what it says.
        Ok(_) | Err(Errno::EPIPE | Errno::ECONNRESET) => {}
        Err(errno) => panic!("failed to send {count} descriptors: {errno}"),
    }
}

#[test]
fn a_request_with_descriptors_is_refused() {
    let server = small_server();
    let baseline = Baseline::of(&server);
    for count in [1, 3, 63, 64, 65, KERNEL_MAX] {
        let client = Raw::connect(server.socket());
        send_with(&client, &bytes_of(&Request::Status { request: 1 }), count);
        let refused = client.reply();
        assert!(matches!(refused, Some(Reply::Refused(Refusal::Malformed { .. }))), "{refused:?}");
        assert_eq!(client.reply(), None);
    }
    baseline.assert_restored();
}

#[test]
fn descriptors_without_a_byte_are_refused() {
    let server = small_server();
    let baseline = Baseline::of(&server);
    let client = Raw::connect(server.socket());
    send_with(&client, &[], 5);
    client.assert_closed::<Reply>();
    baseline.assert_restored();
}

#[test]
fn a_flood_of_descriptors_leaves_none_behind() {
    let server = small_server();
    let baseline = Baseline::of(&server);
    // Few at a time: a user has no more on their way at once than one process may have open
    // (`ETOOMANYREFS`, unix(7)), and tests run side by side.
    for _ in 0..100 {
        let client = Raw::connect(server.socket());
        for _ in 0..3 {
            send_with(&client, b"x", 64);
        }
        client.assert_closed::<Reply>();
    }
    baseline.assert_restored();
}

#[test]
fn a_flood_towards_init_ends_the_lease() {
    beside_a_bystander(|_, _, lease| {
        send_with(&lease.init, b"x", KERNEL_MAX);
        send_with(&lease.init, b"x", 64);
        wait_readable(&lease.pidfd, "the end of the lease");
    });
}
