//! Descriptors on their way between processes. The kernel counts them for each user, and lets nobody
//! send more while there are more than the sender's soft limit of open ones (`ETOOMANYREFS`,
//! unix(7)): what one program of a user's sends, and another does not take, keeps all of his others
//! from sending.

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::io;
use std::sync::{Mutex, PoisonError};

/// Held while the limit is raised, so that nobody takes the raised one for the caller's own.
static RAISED: Mutex<()> = Mutex::new(());

/// Why a message with descriptors cannot be sent now.
#[derive(Debug, thiserror::Error)]
#[error(
    "too many descriptors of this user are on their way between processes, more than this one may \
     have open (ulimit -Hn is {hard}): end the program that sends them and takes none"
)]
struct Crowded {
    hard: u64,
    source: Errno,
}

/// Does `send` with this process's soft descriptor limit raised to its hard one, and lowers it again.
/// A process that another thread starts at that moment inherits the raised one.
///
/// # Errors
/// That of `send`; `ETOOMANYREFS` if there is nothing to raise.
pub(crate) fn with_all_allowed(send: impl FnOnce() -> Result<(), Errno>) -> Result<(), Errno> {
    let _alone = RAISED.lock().unwrap_or_else(PoisonError::into_inner);
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft >= hard {
        return Err(Errno::ETOOMANYREFS);
    }
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    let sent = send();
    // Lowering a soft limit is always allowed (setrlimit(2)).
    let _ = setrlimit(Resource::RLIMIT_NOFILE, soft, hard);
    sent
}

/// What a failure to send comes to, in words that say what to do about it.
pub(crate) fn error(errno: Errno) -> io::Error {
    let error = io::Error::from(errno);
    match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok((_, hard)) if errno == Errno::ETOOMANYREFS => {
            io::Error::new(error.kind(), Crowded { hard, source: errno })
        }
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_the_hard_one_while_something_is_sent_and_then_what_it_was() {
        let limits = || getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        let (_, hard) = limits();
        // Of this whole process, so of the other tests as well.
        let low = hard - 1;
        setrlimit(Resource::RLIMIT_NOFILE, low, hard).unwrap();
        let mut raised = None;
        let sent = with_all_allowed(|| {
            raised = Some(limits());
            Err(Errno::EPIPE)
        });
        assert_eq!((sent, raised, limits()), (Err(Errno::EPIPE), Some((hard, hard)), (low, hard)));
    }

    #[test]
    fn what_cannot_be_sent_names_the_limit() {
        let said = error(Errno::ETOOMANYREFS).to_string();
        assert!(said.starts_with("too many descriptors of this user are on their way"), "{said}");
        assert_eq!(error(Errno::EBADF).raw_os_error(), Some(Errno::EBADF as i32));
    }
}
