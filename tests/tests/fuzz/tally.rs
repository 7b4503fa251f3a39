//! What was said and what came of it.

use std::collections::BTreeMap;
use std::fmt;

/// Counts of a flood.
#[derive(Debug, Default)]
pub struct Tally {
    /// Messages that the kernel took.
    pub sent: u64,
    /// Those of them that are known to have been read by whom they were for: something that was
    /// said after them, or they themselves, had an effect that was seen.
    pub judged: u64,
    /// Sound messages that have to be answered, in conversations that are read.
    pub asked: u64,
    /// Those of them that were answered, each as expected.
    pub answered: u64,
    /// Conversations.
    pub begun: u64,
    /// Everything else, by its name.
    named: BTreeMap<&'static str, u64>,
}

impl Tally {
    pub fn count(&mut self, name: &'static str) {
        *self.named.entry(name).or_default() += 1;
    }

    pub fn of(&self, name: &str) -> u64 {
        self.named.get(name).copied().unwrap_or(0)
    }

    /// Fails unless each of these was met: what is not reached is not tested.
    pub fn assert_met(&self, names: &[&str]) {
        let missed: Vec<_> = names.iter().filter(|name| self.of(name) == 0).collect();
        assert!(missed.is_empty(), "never met: {missed:?} among\n{self}");
    }

    /// Fails unless this share of what had to be answered was, in percent.
    pub fn assert_answered(&self, percent: u64) {
        let enough = self.answered * 100 >= self.asked * percent;
        assert!(enough, "fewer than {percent} of 100 were answered:\n{self}");
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sent, judged, asked, answered, begun, named } = self;
        write!(f, "{sent} messages sent in {begun} conversations, {judged} known to be read; ")?;
        writeln!(f, "{answered} of {asked} questions answered")?;
        named.iter().try_for_each(|(name, count)| writeln!(f, "{count:>9} {name}"))
    }
}
