//! The way into a program, past the standard library's. On its way that one reads where the main
//! thread's stack lies, from `/proc/self/maps`, to name a stack overflow when it comes to one; a tenth
//! of all that `zyg run -- true` takes. A stack that is too deep is a SIGSEGV without it as well.
#![expect(unsafe_code, reason = "the C library calls a function by its name")]

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::sys::signal::{SigHandler, Signal, signal};
use nix::sys::stat::Mode;
use std::io::Write;
use std::os::fd::{BorrowedFd, IntoRawFd, RawFd};

/// Makes `fn() -> u8` the program: what it returns is the exit code.
///
/// With the GNU C library [`enter`](crate::enter) is what is in between. Others do not hand a
/// program's arguments on but to the `main` that they call, so there it is the standard library.
#[macro_export]
macro_rules! entry {
    ($program:path) => {
        #[cfg(all(not(test), target_env = "gnu"))]
        #[unsafe(no_mangle)]
        extern "C" fn main(_count: i32, _arguments: *const *const std::ffi::c_char) -> i32 {
            $crate::enter($program)
        }

        #[cfg(not(all(not(test), target_env = "gnu")))]
        fn main() -> std::process::ExitCode {
            $program().into()
        }
    };
}

/// Runs a program in what the standard library promises: standard input, output and error are open,
/// SIGPIPE is ignored, and what was printed is out when it ends.
pub fn enter(program: fn() -> u8) -> i32 {
    if fill_standard_descriptors().is_err() {
        // As the standard library does: whatever is opened next would be taken for one of them.
        std::process::abort();
    }
    // SAFETY: no handler is installed.
    let _ = unsafe { signal(Signal::SIGPIPE, SigHandler::SigIgn) };
    let code = program();
    let _ = std::io::stdout().flush();
    code.into()
}

/// Opens `/dev/null` in the place of those that are closed.
fn fill_standard_descriptors() -> Result<(), Errno> {
    for number in 0..3 as RawFd {
        // SAFETY: it is asked whether it is open, and not used if it is not.
        let standard = unsafe { BorrowedFd::borrow_raw(number) };
        if fcntl(standard, FcntlArg::F_GETFD) == Err(Errno::EBADF) {
            // The lowest number that is free, which is this one. Nobody closes it.
            let _ = open("/dev/null", OFlag::O_RDWR, Mode::empty())?.into_raw_fd();
        }
    }
    Ok(())
}
