//! Zygotes that come back from a lease: those whose network is still to answer.

use std::collections::HashMap;

/// Zygotes by the number of their network namespace.
#[derive(Debug, Default)]
pub(super) struct Returns {
    pending: HashMap<u64, u64>,
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
}

#[cfg(test)]
mod tests {
    use super::*;

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
