//! What breaks the rules: refused whole, every descriptor of it closed.

use crate::{alone, borrow, count_descriptors, files, refusal};
use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, UnixAddr, recvmsg, sendmsg};
use std::fs::File;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::process::Command;
use zyg_protocol::limits::DESCRIPTORS_MAX;
use zyg_protocol::socket::{ReceiveError, pair, receive, send};

/// Descriptors that the kernel lets ride along with one message (`SCM_MAX_FD`).
const KERNEL_MAX: usize = 253;

/// Sends what [`send`] would not: any number of descriptors, in any number of control messages.
fn send_raw(socket: BorrowedFd<'_>, groups: &[&[File]]) -> Result<usize, Errno> {
    let numbers: Vec<Vec<RawFd>> =
        groups.iter().map(|group| group.iter().map(AsRawFd::as_raw_fd).collect()).collect();
    let control: Vec<_> = numbers.iter().map(|n| ControlMessage::ScmRights(n)).collect();
    let iov = [IoSlice::new(b"x")];
    sendmsg::<UnixAddr>(socket.as_raw_fd(), &iov, &control, MsgFlags::empty(), None)
}

#[test]
fn surplus_descriptors_are_refused_and_none_is_kept() {
    let _alone = alone();
    let surplus = files(KERNEL_MAX);
    let before = count_descriptors();
    for count in DESCRIPTORS_MAX + 1..=KERNEL_MAX {
        let (left, right) = pair().unwrap();
        send_raw(left.as_fd(), &[&surplus[..count]]).unwrap();
        let refused = refusal(receive(right.as_fd(), &mut [0; 8]));
        assert!(matches!(refused, ReceiveError::TooManyDescriptors), "{count}: {refused}");
        drop((left, right));
        assert_eq!(count_descriptors(), before, "after {count} descriptors");
    }
}

/// The control of the test above: with room for them, all of those descriptors do arrive.
#[test]
fn the_kernel_delivers_as_many_as_are_refused_here() {
    let _alone = alone();
    let surplus = files(KERNEL_MAX);
    let (left, right) = pair().unwrap();
    send_raw(left.as_fd(), &[&surplus]).unwrap();
    let mut space = cmsg_space!([RawFd; KERNEL_MAX]);
    let mut byte = [0];
    let mut iov = [IoSliceMut::new(&mut byte)];
    let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_CMSG_CLOEXEC;
    let got = recvmsg::<UnixAddr>(right.as_raw_fd(), &mut iov, Some(&mut space), flags).unwrap();
    let numbers = got.cmsgs().unwrap().find_map(|message| match message {
        ControlMessageOwned::ScmRights(numbers) => Some(numbers),
        _ => None,
    });
    let numbers = numbers.expect("descriptors rode along");
    assert_eq!(numbers.len(), KERNEL_MAX);
    for number in numbers {
        nix::unistd::close(number).unwrap();
    }
}

#[test]
fn surplus_descriptors_cannot_hide_in_several_control_messages() {
    let _alone = alone();
    let sent = files(DESCRIPTORS_MAX + 1);
    let before = count_descriptors();
    for split in [1, 32, DESCRIPTORS_MAX] {
        let (left, right) = pair().unwrap();
        let (one, other) = sent.split_at(split);
        send_raw(left.as_fd(), &[one, other]).unwrap();
        let refused = refusal(receive(right.as_fd(), &mut [0; 8]));
        assert!(matches!(refused, ReceiveError::TooManyDescriptors), "{split}: {refused}");
    }
    assert_eq!(count_descriptors(), before);

    let (left, right) = pair().unwrap();
    let (one, other) = sent[1..].split_at(32);
    send_raw(left.as_fd(), &[one, other]).unwrap();
    let received = receive(right.as_fd(), &mut [0; 8]).unwrap();
    assert_eq!(received.descriptors.len(), DESCRIPTORS_MAX);
}

#[test]
fn a_message_longer_than_the_buffer_is_refused_with_its_descriptors() {
    let _alone = alone();
    let (left, right) = pair().unwrap();
    let sent = files(3);
    let before = count_descriptors();
    send(left.as_fd(), &[1; 9], &borrow(&sent)).unwrap();
    let refused = refusal(receive(right.as_fd(), &mut [0; 8]));
    assert!(matches!(refused, ReceiveError::Truncated(8)), "{refused}");
    assert_eq!(count_descriptors(), before);

    send(left.as_fd(), &[2; 8], &[]).unwrap();
    let mut buffer = [0; 8];
    assert_eq!(receive(right.as_fd(), &mut buffer).unwrap().bytes, 8);
    assert_eq!(buffer, [2; 8], "nothing of the refused message is left over");
}

#[test]
fn what_was_never_received_closes_with_the_socket() {
    let _alone = alone();
    let before = count_descriptors();
    let (left, right) = pair().unwrap();
    let (reader, writer) = nix::unistd::pipe().unwrap();
    send(left.as_fd(), b"x", &[writer.as_fd()]).unwrap();
    drop((writer, left, right));
    let end = nix::unistd::read(&reader, &mut [0; 1]);
    assert_eq!(end, Ok(0), "the message in flight keeps the pipe's writing end open");
    drop(reader);
    assert_eq!(count_descriptors(), before);
}

fn files_up_to_the_limit() -> Vec<File> {
    std::iter::from_fn(|| File::open("/dev/null").ok()).take(1000).collect()
}

/// Receives five descriptors where there is room for `room` more, and says how.
fn receive_with_room_for(room: usize) -> ReceiveError {
    const LIMIT: u64 = 64;
    let (left, right) = pair().expect("the limit is far");
    let sent = files(5);
    send(left.as_fd(), b"x", &borrow(&sent)).expect("the limit is far");
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("it can be read");
    setrlimit(Resource::RLIMIT_NOFILE, LIMIT, hard).expect("limits may be lowered");
    let mut filling = files_up_to_the_limit();
    assert!(room < filling.len() && filling.len() < 64, "{} fill the limit", filling.len());
    filling.truncate(filling.len() - room);
    let refused = refusal(receive(right.as_fd(), &mut [0; 8]));
    assert_eq!(files_up_to_the_limit().len(), room, "the refused message has kept a descriptor");
    drop(filling);
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).expect("and raised again");
    refused
}

/// In a process of its own: the limit would hit whatever else runs in this one.
#[test]
fn at_the_descriptor_limit_a_message_is_refused_and_none_of_it_is_kept() {
    const IN_CHILD: &str = "ZYG_TEST_LIMIT_IN_CHILD";
    const NAME: &str =
        "refused::at_the_descriptor_limit_a_message_is_refused_and_none_of_it_is_kept";
    let _alone = alone();
    if std::env::var_os(IN_CHILD).is_some() {
        let before = count_descriptors();
        for room in 0..5 {
            let refused = receive_with_room_for(room);
            let named = matches!(refused, ReceiveError::TooManyDescriptors);
            assert!(named, "with room for {room}: {refused}");
            assert_eq!(count_descriptors(), before, "with room for {room}");
        }
        return;
    }
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", NAME, "--nocapture", "--test-threads=1"])
        .env(IN_CHILD, "1")
        .output()
        .unwrap();
    let shown = String::from_utf8_lossy(&child.stdout);
    let whole = format!("{shown}{}", String::from_utf8_lossy(&child.stderr));
    assert!(child.status.success() && shown.contains("1 passed"), "{}: {whole}", child.status);
}
