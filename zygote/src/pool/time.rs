//! Time as the policy knows it: told by the caller with each event, never read from a clock.

use std::time::Duration;

/// A moment, as the time since an epoch that the caller chooses once and for all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub Duration);

impl Time {
    /// The moment that much later; the end of time where that cannot be expressed.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration))
    }

    /// How much later it is than another moment; nothing if it is not.
    pub(super) fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

/// The policy's own time, which never runs backwards.
///
/// A caller's clock that jumps back is taken to have stood still: what was due in five seconds
/// stays due in five seconds. Hence two readings of one moment, the caller's and the own one, that
/// differ by all that the clock ever jumped back.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    /// The caller's reading at the latest event.
    latest: Time,
    jumped_back: Duration,
}

impl Timeline {
    /// Takes note of the caller's reading, and returns the own one.
    pub(super) fn advance(&mut self, now: Time) -> Time {
        let back = self.latest.0.saturating_sub(now.0);
        self.jumped_back = self.jumped_back.saturating_add(back);
        self.latest = now;
        self.now()
    }

    /// The own reading at the latest event.
    pub(super) fn now(&self) -> Time {
        self.own(self.latest)
    }

    /// The own reading of a moment of the caller's present clock.
    pub(super) fn own(&self, callers: Time) -> Time {
        callers.after(self.jumped_back)
    }

    /// The caller's reading of an own moment.
    pub(super) fn callers(&self, own: Time) -> Time {
        Time(own.0.saturating_sub(self.jumped_back))
    }
}
