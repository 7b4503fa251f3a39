//! What has become of what leases have had, until the server is told.

use super::TELL_AFTER;
use std::time::{Duration, Instant};
use zyg_protocol::message::{Fate, Fates};

/// Counts since the last report.
#[derive(Debug, Default)]
pub(super) struct Report {
    fates: Fates,
    told_at: Option<Instant>,
}

impl Report {
    /// Counts one.
    pub fn count(&mut self, fate: Fate) {
        self.fates.count(fate);
    }

    /// Counts what others have counted.
    pub fn add(&mut self, fates: &Fates) {
        self.fates.add_all(fates);
    }

    /// How long until something is to be told.
    pub fn due_in(&self) -> Option<Duration> {
        let left = |at: Instant| TELL_AFTER.saturating_sub(at.elapsed());
        (!self.fates.is_empty()).then(|| self.told_at.map_or(Duration::ZERO, left))
    }

    /// What is to be told by now.
    pub fn due(&mut self) -> Option<Fates> {
        self.due_in().filter(Duration::is_zero)?;
        self.told_at = Some(Instant::now());
        Some(std::mem::take(&mut self.fates))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_told_once_and_what_follows_soon_waits() {
        let mut report = Report::default();
        assert_eq!((report.due_in(), report.due()), (None, None));
        report.count(Fate::NetworkUnused);
        assert_eq!(report.due(), Some(Fates::from_iter([(Fate::NetworkUnused, 1)])));
        assert_eq!(report.due(), None);
        report.add(&Fates::from_iter([(Fate::NetworkKept, 2)]));
        report.told_at = Some(Instant::now() + TELL_AFTER);
        assert!(report.due().is_none() && report.due_in().is_some_and(|left| !left.is_zero()));
        report.told_at = Instant::now().checked_sub(TELL_AFTER);
        assert_eq!(report.due(), Some(Fates::from_iter([(Fate::NetworkKept, 2)])));
    }
}
