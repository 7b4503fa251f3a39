//! The orderly end of a server: what it came to, and why it was not begun.

use crate::client::RequestError;
use crate::options::milliseconds;
use std::time::Duration;
use zyg_protocol::limits::DRAIN_MS_MAX;
use zyg_protocol::message::Denial;

/// What a drain came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Leases that were ended because the time was over; all others finished by themselves.
    pub ended: u32,
    /// Environments whose end does not come, because a process in them is in an uninterruptible
    /// sleep: the kernel's to finish.
    pub stuck: u32,
}

/// Why a server was not drained, or it is not known whether it was.
#[derive(Debug, thiserror::Error)]
pub enum DrainError {
    /// For longer than a drain may leave to leases.
    #[error(
        "a drain leaves {} hours at most to the leases in force, not {} s: without a timeout it \
         waits for their own end",
        DRAIN_MS_MAX / 3_600_000,
        .0.as_secs()
    )]
    TooLong(Duration),
    /// The server was not reached, or closed the session without an answer.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The server has said no.
    #[error(transparent)]
    Denied(#[from] Denial),
}

/// The time as it goes out.
pub(crate) fn timeout_ms(timeout: Duration) -> Result<u64, DrainError> {
    let ms = milliseconds(timeout);
    if ms > DRAIN_MS_MAX { Err(DrainError::TooLong(timeout)) } else { Ok(ms) }
}
