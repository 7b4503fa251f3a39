//! One message and its descriptors, sent or received over a SEQPACKET socket (unix(7)).
//!
//! Received descriptors are close-on-exec and owned from the first line on. A message that was cut,
//! in bytes or in descriptors, is refused whole: half a message is none.
#![expect(unsafe_code, reason = "control messages are written and read by hand")]

use crate::limits::DESCRIPTORS_MAX;
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// Why nothing could be received.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// Nothing is there now (the socket does not block).
    #[error("nothing to receive yet")]
    WouldBlock,
    /// The message is longer than the buffer.
    #[error("the message is longer than {0} bytes")]
    Truncated(usize),
    /// More descriptors ride along than one message may carry.
    #[error(
        "more than {DESCRIPTORS_MAX} descriptors ride along, or more than can be opened here: raise ulimit -n"
    )]
    TooManyDescriptors,
    /// The kernel says no.
    #[error("failed to receive: {0}")]
    Os(#[from] Errno),
}

/// What arrived.
#[derive(Debug)]
pub struct Received {
    /// Bytes of the message, at the buffer's start; 0 at end of file.
    pub bytes: usize,
    /// The descriptors that rode along.
    pub descriptors: Vec<OwnedFd>,
}

/// A connected pair of SEQPACKET sockets, both close-on-exec and blocking.
///
/// # Errors
/// The error of socketpair(2), `EMFILE` in the main.
pub fn pair() -> Result<(OwnedFd, OwnedFd), Errno> {
    socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
}

/// Sends one message. Never raises SIGPIPE; an interrupted call is made again.
///
/// # Errors
/// The error of sendmsg(2): `EAGAIN` where a socket that does not block is full, `EPIPE` or
/// `ECONNRESET` where nobody is left to read.
pub fn send(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> Result<(), Errno> {
    let mut control = Control([0; CONTROL_BYTES]);
    let mut iov = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    // SAFETY: all of msghdr is integers and pointers, for which zero is a value.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = &raw mut iov;
    header.msg_iovlen = 1;
    if !descriptors.is_empty() {
        header.msg_control = control.0.as_mut_ptr().cast();
        header.msg_controllen = put_descriptors(&mut control, descriptors)?;
    }
    loop {
        // SAFETY: the header points at `bytes`, which the kernel only reads, and at `control`, with
        // their own lengths.
        let sent =
            unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const header, libc::MSG_NOSIGNAL) };
        match Errno::result(sent) {
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// Receives one message into `buffer`.
///
/// # Errors
/// See [`ReceiveError`]. After `Truncated` or `TooManyDescriptors` the message is lost, every
/// descriptor of it closed; the sender has broken the wire's rules and deserves to lose the socket.
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<Received, ReceiveError> {
    // SAFETY: a slice may be written to as a whole.
    unsafe { receive_at(socket, buffer.as_mut_ptr(), buffer.len()) }
}

/// Receives one message of at most `bytes_max` bytes, which is then what `buffer` holds. Of its
/// memory only as much is touched.
///
/// # Errors
/// As of [`receive`].
pub fn receive_into(
    socket: BorrowedFd<'_>,
    buffer: &mut Vec<u8>,
    bytes_max: usize,
) -> Result<Received, ReceiveError> {
    buffer.clear();
    buffer.reserve(bytes_max);
    // SAFETY: there is so much room.
    let received = unsafe { receive_at(socket, buffer.as_mut_ptr(), bytes_max) }?;
    // SAFETY: the kernel has written so many bytes, and no more than there is room for.
    unsafe { buffer.set_len(received.bytes) };
    Ok(received)
}

/// # Safety
/// So many bytes from there on may be written to.
unsafe fn receive_at(
    socket: BorrowedFd<'_>,
    start: *mut u8,
    bytes_max: usize,
) -> Result<Received, ReceiveError> {
    let mut control = Control([0; CONTROL_BYTES]);
    let mut iov = libc::iovec { iov_base: start.cast(), iov_len: bytes_max };
    // SAFETY: all of msghdr is integers and pointers, for which zero is a value.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = &raw mut iov;
    header.msg_iovlen = 1;
    header.msg_control = control.0.as_mut_ptr().cast();
    header.msg_controllen = CONTROL_BYTES;
    let bytes = loop {
        // SAFETY: the header points at what the caller lets be written to, and at `control`, with
        // their own lengths.
        let got =
            unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, libc::MSG_CMSG_CLOEXEC) };
        match Errno::result(got) {
            Ok(bytes) => break usize::try_from(bytes).expect("recvmsg counts up from 0"),
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => return Err(ReceiveError::WouldBlock),
            Err(errno) => return Err(errno.into()),
        }
    };
    // Before the flags are judged: what the kernel has installed is ours to close, even when it
    // had to drop the rest.
    let descriptors = take_descriptors(&header);
    if header.msg_flags & libc::MSG_CTRUNC != 0 {
        return Err(ReceiveError::TooManyDescriptors);
    }
    if header.msg_flags & libc::MSG_TRUNC != 0 {
        return Err(ReceiveError::Truncated(bytes_max));
    }
    Ok(Received { bytes, descriptors })
}

/// Room for one SCM_RIGHTS message of [`DESCRIPTORS_MAX`], aligned as the kernel's headers are.
#[repr(C, align(8))]
struct Control([u8; CONTROL_BYTES]);
// SAFETY: CMSG_SPACE only computes.
const CONTROL_BYTES: usize =
    unsafe { libc::CMSG_SPACE((DESCRIPTORS_MAX * size_of::<RawFd>()) as u32) } as usize;

/// Makes them one SCM_RIGHTS message. Returns how much of the room that takes.
fn put_descriptors(control: &mut Control, descriptors: &[BorrowedFd<'_>]) -> Result<usize, Errno> {
    if descriptors.len() > DESCRIPTORS_MAX {
        return Err(Errno::E2BIG);
    }
    let bytes = (descriptors.len() * size_of::<RawFd>()) as u32;
    let header: *mut libc::cmsghdr = control.0.as_mut_ptr().cast();
    // SAFETY: CMSG_LEN and CMSG_SPACE only compute, CMSG_DATA is what follows the header, and there is
    // room for DESCRIPTORS_MAX of them, aligned for the header.
    unsafe {
        (*header).cmsg_len = libc::CMSG_LEN(bytes) as usize;
        (*header).cmsg_level = libc::SOL_SOCKET;
        (*header).cmsg_type = libc::SCM_RIGHTS;
        let start = libc::CMSG_DATA(header).cast::<RawFd>();
        for (index, descriptor) in descriptors.iter().enumerate() {
            start.add(index).write_unaligned(descriptor.as_raw_fd());
        }
        Ok(libc::CMSG_SPACE(bytes) as usize)
    }
}

fn take_descriptors(header: &libc::msghdr) -> Vec<OwnedFd> {
    let mut descriptors = Vec::new();
    // SAFETY: the kernel has filled the control buffer that `header` describes, and
    // CMSG_FIRSTHDR and CMSG_NXTHDR stay within `msg_controllen`.
    let mut next = unsafe { libc::CMSG_FIRSTHDR(header) };
    while !next.is_null() {
        // SAFETY: `next` is a complete control header inside the buffer (above).
        let (level, kind, bytes) =
            unsafe { ((*next).cmsg_level, (*next).cmsg_type, (*next).cmsg_len) };
        if level == libc::SOL_SOCKET && kind == libc::SCM_RIGHTS {
            // SAFETY: CMSG_LEN(0) is the header's own length, CMSG_DATA what follows it.
            let (start, own) = unsafe { (libc::CMSG_DATA(next), libc::CMSG_LEN(0) as usize) };
            for index in 0..bytes.saturating_sub(own) / size_of::<RawFd>() {
                // SAFETY: the kernel wrote that many numbers, each a descriptor that it has just
                // installed for this process; this is the only place that learns of it.
                descriptors.push(unsafe {
                    OwnedFd::from_raw_fd(start.cast::<RawFd>().add(index).read_unaligned())
                });
            }
        }
        // SAFETY: as for CMSG_FIRSTHDR.
        next = unsafe { libc::CMSG_NXTHDR(header, next) };
    }
    descriptors
}

/// The borrowed form of owned descriptors, as [`send`] wants them.
pub fn borrow(descriptors: &[OwnedFd]) -> Vec<BorrowedFd<'_>> {
    descriptors.iter().map(AsFd::as_fd).collect()
}
