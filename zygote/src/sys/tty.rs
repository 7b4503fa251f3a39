//! Pseudoterminals (pty(7), ioctl_tty(2)).
#![expect(unsafe_code, reason = "terminal ioctls have no wrapper")]

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use zyg_protocol::message::TtySize;

/// A new pseudoterminal of the devpts that `multiplexer` belongs to: master, then terminal.
///
/// # Errors
/// `ENOSPC` when the devpts has no number left; those of open(2).
pub fn open_pair(multiplexer: &CStr, size: TtySize) -> Result<(OwnedFd, OwnedFd), Errno> {
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let master = open(multiplexer, flags, Mode::empty())?;
    let unlock: libc::c_int = 0;
    // SAFETY: TIOCSPTLCK reads one integer, which outlives the call.
    Errno::result(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK, &raw const unlock) })?;
    // TIOCGPTPEER (Linux 4.13) opens the terminal without a path, so no path can be replaced.
    // SAFETY: takes open(2)'s flags, returns a descriptor.
    let terminal =
        Errno::result(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, flags.bits()) })?;
    // SAFETY: the kernel has just made this descriptor for us.
    let terminal = unsafe { OwnedFd::from_raw_fd(terminal) };
    set_size(master.as_fd(), size);
    Ok((master, terminal))
}

/// The size of the terminal behind a descriptor; `None` where it is none.
#[must_use]
pub fn size(terminal: BorrowedFd<'_>) -> Option<TtySize> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCGWINSZ writes one winsize, which outlives the call.
    let result = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) };
    Errno::result(result).ok()?;
    Some(TtySize { rows: size.ws_row, columns: size.ws_col })
}

/// Sets a terminal's size. One that has none to set keeps what it has.
pub fn set_size(terminal: BorrowedFd<'_>, size: TtySize) {
    let size =
        libc::winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCSWINSZ reads one winsize, which outlives the call.
    unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) };
}
