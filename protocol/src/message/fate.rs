//! What becomes of what a lease has had, counted.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What became of a network namespace, or of a whole zygote, when the lease that had it was over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Fate {
    /// A network namespace serves another zygote.
    NetworkRecycled,
    /// One serves the next lease of the zygote that has it.
    NetworkKept,
    /// One is destroyed: sockets were left, or connections in TIME_WAIT.
    NetworkWithSockets,
    /// Something was sent or received, or could not be.
    NetworkWithTraffic,
    /// It tells something else than a new one does.
    NetworkChanged,
    /// It could not be looked at, or there is no account of a new one.
    NetworkUnseen,
    /// Nobody has ordered one.
    NetworkUnused,
    /// As many were kept as may be.
    NetworkInExcess,
    /// A zygote serves another lease.
    ZygoteRecycled,
    /// One is destroyed: its init could not end the lease and begin anew, or was not heard.
    ZygoteNotRenewed,
    /// A process was left beside init.
    ZygoteWithProcesses,
    /// Its mount table was another one.
    ZygoteWithMounts,
    /// A namespace was the one that the lease had.
    ZygoteWithNamespaces,
    /// It was in another cgroup.
    ZygoteInOtherCgroup,
    /// Init itself was not what it was.
    ZygoteWithOtherInit,
    /// Its network told something, or could not be asked.
    ZygoteWithNetwork,
    /// It could not be looked at.
    ZygoteUnseen,
}

impl Fate {
    /// Each of them.
    pub const ALL: [Self; 17] = [
        Self::NetworkRecycled,
        Self::NetworkKept,
        Self::NetworkWithSockets,
        Self::NetworkWithTraffic,
        Self::NetworkChanged,
        Self::NetworkUnseen,
        Self::NetworkUnused,
        Self::NetworkInExcess,
        Self::ZygoteRecycled,
        Self::ZygoteNotRenewed,
        Self::ZygoteWithProcesses,
        Self::ZygoteWithMounts,
        Self::ZygoteWithNamespaces,
        Self::ZygoteInOtherCgroup,
        Self::ZygoteWithOtherInit,
        Self::ZygoteWithNetwork,
        Self::ZygoteUnseen,
    ];
}

/// How many met which fate.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fates(BTreeMap<Fate, u64>);

impl Fates {
    /// Counts one more.
    pub fn count(&mut self, fate: Fate) {
        self.add(fate, 1);
    }

    /// Counts as many more, as far as can be counted.
    pub fn add(&mut self, fate: Fate, more: u64) {
        let counted = self.0.entry(fate).or_default();
        *counted = counted.saturating_add(more);
    }

    /// Counts what somebody else has counted.
    pub fn add_all(&mut self, others: &Self) {
        others.iter().for_each(|(fate, more)| self.add(fate, more));
    }

    /// How many met this one.
    #[must_use]
    pub fn of(&self, fate: Fate) -> u64 {
        self.0.get(&fate).copied().unwrap_or_default()
    }

    /// Those that somebody met, and how many.
    pub fn iter(&self) -> impl Iterator<Item = (Fate, u64)> {
        self.0.iter().map(|(fate, count)| (*fate, *count))
    }

    /// Whether nothing was counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<(Fate, u64)> for Fates {
    fn from_iter<I: IntoIterator<Item = (Fate, u64)>>(counts: I) -> Self {
        let mut fates = Self::default();
        counts.into_iter().for_each(|(fate, count)| fates.add(fate, count));
        fates
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_apart_adds_up_and_never_overflows() {
        let mut fates = Fates::default();
        assert!(fates.is_empty());
        fates.count(Fate::NetworkRecycled);
        fates.add_all(&Fates::from_iter([(Fate::NetworkRecycled, 2), (Fate::ZygoteUnseen, 7)]));
        assert_eq!((fates.of(Fate::NetworkRecycled), fates.of(Fate::ZygoteUnseen)), (3, 7));
        assert_eq!(fates.of(Fate::NetworkKept), 0);
        fates.add(Fate::ZygoteUnseen, u64::MAX);
        assert_eq!(fates.of(Fate::ZygoteUnseen), u64::MAX);
    }
}
