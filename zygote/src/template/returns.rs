//! Zygotes that come back from a lease: what became of each, and those whose network is still to answer.

use super::inspection::Doubt;
use std::collections::HashMap;
use std::fmt;

/// What became of them. The template logs it with each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Tally {
    again: u64,
    /// Not to be used again, by [`Doubt`].
    processes: u64,
    mounts: u64,
    namespaces: u64,
    cgroup: u64,
    init: u64,
    network: u64,
    unseen: u64,
}

/// Zygotes by the number of their network namespace, and what became of those before them.
#[derive(Debug, Default)]
pub(super) struct Returns {
    pending: HashMap<u64, u64>,
    tally: Tally,
}

impl Returns {
    /// It is as it was, as far as it has been seen: the rest is what its network tells.
    pub fn wait(&mut self, network: u64, slot: u64) {
        self.pending.insert(network, slot);
    }

    /// Whose network has answered.
    pub fn answered(&mut self, network: u64) -> Option<u64> {
        self.pending.remove(&network)
    }

    /// Counts what becomes of one.
    pub fn count(&mut self, outcome: Result<(), Doubt>) {
        let count = match outcome {
            Ok(()) => &mut self.tally.again,
            Err(Doubt::Processes) => &mut self.tally.processes,
            Err(Doubt::Mounts) => &mut self.tally.mounts,
            Err(Doubt::Namespaces) => &mut self.tally.namespaces,
            Err(Doubt::Cgroup) => &mut self.tally.cgroup,
            Err(Doubt::Init) => &mut self.tally.init,
            Err(Doubt::Network) => &mut self.tally.network,
            Err(Doubt::Unseen) => &mut self.tally.unseen,
        };
        *count += 1;
        log::debug!("{}", self.tally);
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { again, processes, mounts, namespaces, cgroup, init, network, unseen } = self;
        write!(
            f,
            "zygotes: {again} used again; destroyed: {processes} for processes left, {mounts} for \
             other mounts, {namespaces} for the same namespaces, {cgroup} for another cgroup, {init} \
             for another init, {network} for their network, {unseen} unseen"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_outcome_is_counted_apart() {
        let mut returns = Returns::default();
        let doubts = [
            Doubt::Processes,
            Doubt::Mounts,
            Doubt::Namespaces,
            Doubt::Cgroup,
            Doubt::Init,
            Doubt::Network,
            Doubt::Unseen,
        ];
        returns.count(Ok(()));
        for (number, doubt) in doubts.into_iter().enumerate() {
            (0..=number).for_each(|_| returns.count(Err(doubt)));
        }
        let told = returns.tally.to_string();
        let counts: Vec<&str> =
            told.split(' ').filter(|word| word.parse::<u64>().is_ok()).collect();
        assert_eq!(counts, ["1", "1", "2", "3", "4", "5", "6", "7"], "{told}");
    }

    #[test]
    fn a_network_answers_once_for_one_zygote() {
        let mut returns = Returns::default();
        returns.wait(7, 1);
        assert_eq!(
            (returns.answered(8), returns.answered(7), returns.answered(7)),
            (None, Some(1), None)
        );
    }
}
