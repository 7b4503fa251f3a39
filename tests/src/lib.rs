//! What the tests against a real server share: a server of one's own ([`Server`]), everything that
//! it has started ([`Census`]), and skips that are never silent ([`skip`]).
//!
//! Each test has its own server, socket and directory, so tests neither wait for nor disturb each
//! other, whatever the number of threads.
#![expect(clippy::missing_panics_doc, reason = "a harness reports by panicking")]
#![expect(clippy::unwrap_used, reason = "a harness reports by panicking")]

mod baseline;
mod census;
mod echo;
mod home;
mod probe;
mod raw;
mod server;
mod thief;

pub use baseline::{Baseline, descriptors_of};
pub use census::Census;
pub use echo::Echo;
pub use home::home;
pub use probe::{Findings, Probe, Refused, python};
pub use raw::{Raw, RawLease, bytes_of};
pub use server::{Server, Setup, zyg_binary};
pub use thief::{Taken, connect_as, take_over};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::AsFd;
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// How long anything may take that is waited for. Far beyond what a loaded machine needs: only a
/// test that fails waits so long.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Shell code that makes a root of a plain directory, with what a server needs, on a file system of
/// its own below the working directory. It ends in that root; `here` is where it began.
pub const PLAIN_ROOT: &str = "
        here=$PWD
        mkdir -p tmp
        mount -t tmpfs tmpfs tmp
        mkdir tmp/root
        cd tmp/root
        for name in usr bin lib lib64 etc proc dev sys; do
            if [ -h /$name ]; then
                cp -P /$name $name
            elif [ -d /$name ]; then
                mkdir $name
                mount --rbind /$name $name
            fi
        done";

/// Says that a test cannot show anything here, and why. With `ZYG_TEST_STRICT=1` that is a failure.
pub fn skip(reason: &str) {
    assert!(
        std::env::var_os("ZYG_TEST_STRICT").is_none_or(|strict| strict != "1"),
        "skipped under ZYG_TEST_STRICT=1: {reason}"
    );
    eprintln!("SKIPPED: {reason}");
}

/// Waits until the descriptor is readable or hung up.
pub fn wait_readable(descriptor: impl AsFd, what: &str) {
    let mut fds = [PollFd::new(descriptor.as_fd(), PollFlags::POLLIN)];
    let timeout = PollTimeout::try_from(PATIENCE).unwrap();
    assert_eq!(poll(&mut fds, timeout), Ok(1), "{what} did not happen within {PATIENCE:?}");
}

/// Looks again and again until `look` finds something. For what has no event to wait for. Nothing
/// relies on the pause between two looks; without it, looking would keep the processors from what
/// is looked for.
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "{what} did not happen within {PATIENCE:?}");
        pause();
    }
}

/// The pause between two looks.
fn pause() {
    std::thread::park_timeout(Duration::from_millis(1));
}

/// Whether the tests run as root.
#[must_use]
pub fn is_root() -> bool {
    nix::unistd::getuid().is_root()
}

/// What a call that may block returns. One that does not come back is a failure, not a hang.
pub fn soon<T: Send + 'static>(what: &str, call: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        // Nobody listens any more only when the test has failed.
        let _ = sender.send(call());
    });
    match receiver.recv_timeout(PATIENCE) {
        Ok(result) => result,
        Err(error) => panic!("{what}: {error} within {PATIENCE:?}"),
    }
}
