//! Descriptors of every kind that may be sent to somebody who did not ask for one.

use crate::random::Random;
use nix::fcntl::{FcntlArg, OFlag, SealFlag, fcntl, open};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::eventfd::EventFd;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::Mode;
use nix::unistd::Pid;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use zyg_protocol::socket::{pair, send};

/// Some descriptor; `socket` is the one that it is going to be sent over.
pub fn some(random: &mut Random, socket: BorrowedFd<'_>) -> OwnedFd {
    match random.below(14) {
        0 => std::io::pipe().unwrap().0.into(),
        1 => std::io::pipe().unwrap().1.into(),
        2 => memfd(b"not a message", SealFlag::empty()).into(),
        3 => memfd(&random.bytes(100), SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_WRITE).into(),
        4 => socket.try_clone_to_owned().unwrap(),
        5 => watching(socket),
        6 => EventFd::new().unwrap().into(),
        7 => File::open("/").unwrap().into(),
        8 => open("/", OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).unwrap(),
        9 => zygote::process_descriptor(Pid::this()).unwrap(),
        10 => File::open("/proc/self/ns/mnt").unwrap().into(),
        11 => pair().unwrap().0,
        12 if random.one_in(8) => with_itself_in_flight(),
        _ => File::open("/dev/null").unwrap().into(),
    }
}

/// A file in memory with this content, sealed so.
pub fn memfd(content: &[u8], seals: SealFlag) -> File {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let mut file = File::from(memfd_create(c"fuzz", flags).unwrap());
    file.write_all(content).unwrap();
    fcntl(&file, FcntlArg::F_ADD_SEALS(seals)).unwrap();
    file
}

/// An epoll instance that holds the very socket over which it is sent.
fn watching(socket: BorrowedFd<'_>) -> OwnedFd {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).unwrap();
    // A socket that is hung up can be watched as well; one that cannot is sent unwatched.
    let _ = epoll.add(socket, EpollEvent::new(EpollFlags::EPOLLIN, 0));
    epoll.0
}

/// A socket in whose own buffer it is on its way: only the kernel's garbage collector frees it.
fn with_itself_in_flight() -> OwnedFd {
    let (near, far) = pair().unwrap();
    // Refused where too many are on their way; it is an ordinary socket then.
    let _ = send(near.as_fd(), b"x", &[far.as_fd(), near.as_fd()]);
    far
}
