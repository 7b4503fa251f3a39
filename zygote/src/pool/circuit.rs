//! Whether builds are worth trying.
//!
//! ```text
//!            failure                 due: one spawn
//!  Closed ────────────▶ Open(retry_at) ──────────▶ Trial(slot)
//!    ▲                    │     ▲                   │    │
//!    └────────────────────┘     └───────────────────┘    │
//!    ▲   any success              it failed: wait longer │
//!    └───────────────────────────────────────────────────┘
//! ```
//!
//! A first failure is due for another try at once, so that a single mishap is denied to nobody.
//! From the second on the waits double. Failures of builds that were already under way when the
//! circuit opened say nothing new: they update the reason and leave the wait as it is.

use super::slots::SlotKey;
use super::time::Time;
use std::time::Duration;

/// The wait after a second failure in a row: long beside a build (under 1 ms), short beside what a
/// person notices.
const BACKOFF_MIN: Duration = Duration::from_millis(100);

/// The longest wait: a machine that was repaired is used again within this time.
const BACKOFF_MAX: Duration = Duration::from_secs(30);

#[derive(Debug, Default)]
pub(super) enum Circuit {
    /// Builds work, as far as is known.
    #[default]
    Closed,
    /// Builds fail. Nothing is tried before `retry_at`.
    Open {
        /// In a row; at least 1.
        failures: u32,
        reason: String,
        retry_at: Time,
    },
    /// One spawn is under way to find out.
    Trial { failures: u32, reason: String, slot: SlotKey },
}

impl Circuit {
    /// A build has succeeded.
    pub(super) fn succeeded(&mut self) {
        *self = Self::Closed;
    }

    /// The build in `slot` has failed.
    pub(super) fn failed(&mut self, now: Time, slot: SlotKey, why: String) {
        match self {
            Self::Closed => *self = Self::opened(now, 1, why),
            Self::Trial { failures, slot: tried, .. } if *tried == slot => {
                *self = Self::opened(now, failures.saturating_add(1), why);
            }
            Self::Open { reason, .. } | Self::Trial { reason, .. } => *reason = why,
        }
    }

    /// The build in `slot` was given up, and nobody knows how it would have ended.
    pub(super) fn withdrawn(&mut self, now: Time, slot: SlotKey) {
        if let Self::Trial { failures, reason, slot: tried } = self
            && *tried == slot
        {
            let (failures, reason) = (*failures, std::mem::take(reason));
            *self = Self::Open { failures, reason, retry_at: now };
        }
    }

    fn opened(now: Time, failures: u32, reason: String) -> Self {
        Self::Open { failures, reason, retry_at: now.after(backoff(failures)) }
    }

    /// How many spawns may be ordered at `now`. Each one that is must be told to [`Self::tried`].
    pub(super) fn allows(&self, now: Time) -> u32 {
        match self {
            Self::Closed => u32::MAX,
            Self::Open { retry_at, .. } if *retry_at <= now => 1,
            Self::Open { .. } | Self::Trial { .. } => 0,
        }
    }

    /// A spawn was ordered.
    pub(super) fn tried(&mut self, slot: SlotKey) {
        if let Self::Open { failures, reason, .. } = self {
            *self = Self::Trial { failures: *failures, reason: std::mem::take(reason), slot };
        }
    }

    /// Why there is no point in waiting for a build at `now`, if there is none.
    pub(super) fn refuses(&self, now: Time) -> Option<&str> {
        match self {
            Self::Open { reason, retry_at, .. } if *retry_at > now => Some(reason),
            _ => None,
        }
    }

    /// Why the latest build failed, unless one has succeeded since.
    pub(super) fn reason(&self) -> Option<&str> {
        match self {
            Self::Closed => None,
            Self::Open { reason, .. } | Self::Trial { reason, .. } => Some(reason),
        }
    }

    /// When the next try is due, if one has to be waited for at `now`.
    pub(super) fn retry_at(&self, now: Time) -> Option<Time> {
        match self {
            Self::Open { retry_at, .. } if *retry_at > now => Some(*retry_at),
            _ => None,
        }
    }
}

/// The wait after that many failures in a row: 0, 100 ms, 200 ms, 400 ms … 30 s.
fn backoff(failures: u32) -> Duration {
    match failures.checked_sub(2) {
        None => Duration::ZERO,
        Some(doublings) => {
            BACKOFF_MIN.saturating_mul(2_u32.saturating_pow(doublings)).min(BACKOFF_MAX)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_from_100_ms_to_30_s() {
        let waits = (0..=12).map(|failures| backoff(failures).as_millis());
        let want = [0, 0, 100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000, 30000];
        assert!(waits.eq(want));
        assert_eq!(backoff(u32::MAX), BACKOFF_MAX);
    }
}
