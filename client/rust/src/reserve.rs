//! Reservations: what is asked to be kept warm beforehand, and why it is not.

use crate::client::RequestError;
use crate::options::{OptionsError, milliseconds};
use std::time::Duration;
use zyg_protocol::limits::RESERVE_MS_MAX;
use zyg_protocol::message::Denial;

/// Why nothing was reserved.
#[derive(Debug, thiserror::Error)]
pub enum ReserveError {
    /// For longer than a reservation may last.
    #[error(
        "a reservation lasts {} hours at most, not {} s: for longer, raise the profile's `min` \
         (`[profile.NAME.pool]`)",
        RESERVE_MS_MAX / 3_600_000,
        .0.as_secs()
    )]
    TooLong(Duration),
    /// It cannot be asked for like this.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// The server was not reached, or did not answer.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The server has said no.
    #[error(transparent)]
    Denied(#[from] Denial),
}

/// The time as it goes out.
pub(crate) fn ttl_ms(ttl: Duration) -> Result<u64, ReserveError> {
    let ms = milliseconds(ttl);
    if ms > RESERVE_MS_MAX { Err(ReserveError::TooLong(ttl)) } else { Ok(ms) }
}
