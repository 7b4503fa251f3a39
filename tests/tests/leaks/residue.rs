//! What a residue is, and in which environments what becomes of planting it.

use crate::setting::Setting;
use crate::setting::{Settings, setting_bit};

/// How many exceptions a residue may have: as many as any needs.
const RULES_MAX: usize = 6;

/// Something left behind in a lease.
#[derive(Debug, Clone, Copy)]
pub struct Residue {
    /// What it is.
    pub name: &'static str,
    /// Leaves it behind.
    pub plant: &'static str,
    /// Says `found` or `clean`, and changes nothing.
    pub look: &'static str,
    beside: Settings,
    hosts: Settings,
    rules: [Option<Rule>; RULES_MAX],
}

/// Where planting it fails, for whom, and how.
#[derive(Debug, Clone, Copy)]
struct Rule {
    settings: Settings,
    who: Who,
    outcome: &'static str,
}

/// Who runs the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Anybody,
    Root,
    User,
}

/// One that can be planted everywhere.
pub const fn residue(name: &'static str, plant: &'static str, look: &'static str) -> Residue {
    Residue { name, plant, look, beside: 0, hosts: 0, rules: [None; RULES_MAX] }
}

impl Residue {
    /// There, planting it fails like this.
    pub const fn refused(self, settings: Settings, outcome: &'static str) -> Self {
        self.rule(Rule { settings, who: Who::Anybody, outcome })
    }

    /// There, planting it fails like this where the server is root's.
    pub const fn refused_to_root(self, settings: Settings, outcome: &'static str) -> Self {
        self.rule(Rule { settings, who: Who::Root, outcome })
    }

    /// There, planting it fails like this where the server is an ordinary user's.
    pub const fn refused_to_user(self, settings: Settings, outcome: &'static str) -> Self {
        self.rule(Rule { settings, who: Who::User, outcome })
    }

    /// There, leases that run at the same time see it, since it hangs on something of the host's
    /// that all are shown.
    pub const fn seen_beside(self, settings: Settings) -> Self {
        Self { beside: settings, ..self }
    }

    /// There it would be the host's own, which no lease owns and nobody takes back: not planted.
    pub const fn hosts(self, settings: Settings) -> Self {
        Self { hosts: settings, ..self }
    }

    const fn rule(mut self, rule: Rule) -> Self {
        let mut free = 0;
        while self.rules[free].is_some() {
            free += 1;
        }
        self.rules[free] = Some(rule);
        self
    }

    /// Whether it is to be planted there.
    pub fn planted_in(&self, setting: Setting) -> bool {
        self.hosts & setting_bit(setting) == 0
    }

    /// Whether leases beside the one that has it see it, too.
    pub fn is_seen_beside(&self, setting: Setting) -> bool {
        self.beside & setting_bit(setting) != 0
    }

    /// What the control is to say: `found`, or how planting fails. The first rule that fits counts.
    pub fn control(&self, setting: Setting) -> &'static str {
        let fits = |rule: &Rule| {
            rule.settings & setting_bit(setting) != 0
                && match rule.who {
                    Who::Anybody => true,
                    Who::Root => zyg_tests::is_root(),
                    Who::User => !zyg_tests::is_root(),
                }
        };
        self.rules.iter().flatten().find(|rule| fits(rule)).map_or("found", |rule| rule.outcome)
    }
}
