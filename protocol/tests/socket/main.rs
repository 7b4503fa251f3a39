//! Messages and descriptors over a real socket: what rides along arrives, in order and
//! close-on-exec; what breaks the rules is refused whole, and leaves no descriptor behind.

mod ends;
mod refused;
mod rides;

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};
use zyg_protocol::socket::{ReceiveError, Received};

/// Held by every test: they count the process's descriptors.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The descriptors of this process, and one for the listing itself.
fn count_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("/proc is mounted").count()
}

/// As many distinct descriptors.
fn files(count: usize) -> Vec<File> {
    let open = |_| File::open("/dev/null").expect("/dev/null is there");
    (0..count).map(open).collect()
}

fn borrow(files: &[File]) -> Vec<BorrowedFd<'_>> {
    files.iter().map(AsFd::as_fd).collect()
}

fn refusal(received: Result<Received, ReceiveError>) -> ReceiveError {
    received.expect_err("the message breaks a rule")
}
