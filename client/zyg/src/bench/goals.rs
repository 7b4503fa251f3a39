//! What zyg is to reach, as ratios of rows of one run, and whether it does.

use super::stats::{Ratio, Sorted};
use serde_json::{Value, json};

/// A number that a row is to reach.
#[derive(Debug, Clone, Copy)]
pub struct Goal {
    pub of: &'static str,
    /// Which quantile of it.
    share: f64,
    /// In units of which row's median; `None` for the row's own unit.
    pub to: Option<&'static str>,
    limit: f64,
    bound: Bound,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bound {
    AtMost,
    AtLeast,
}

const fn ratio(of: &'static str, to: &'static str, limit: f64) -> Goal {
    Goal { of, share: 0.5, to: Some(to), limit, bound: Bound::AtMost }
}

/// All of them.
pub const GOALS: [Goal; 10] = [
    ratio("acquire", "seqpacket_rtt", 1.5),
    Goal { share: 0.99, ..ratio("acquire", "seqpacket_rtt", 10.0) },
    ratio("exec_true", "spawn_true", 1.15),
    ratio("zyg_run_true", "bare_true", 2.3),
    ratio("zyg_run_true", "bwrap", 0.45),
    Goal { bound: Bound::AtLeast, ..ratio("churn", "churn_bare", 0.7) },
    ratio("cycle", "clone_exit_cpu", 1.8),
    ratio("cold_acquire", "bwrap", 0.2),
    Goal { to: None, ..ratio("memory", "", 128.0) },
    Goal { to: None, ..ratio("server_cpu", "", 30.0) },
];

/// Whether a goal is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Reached,
    NotReached,
    /// The interval holds the limit.
    Close,
    /// What it is put in relation to has drifted, or may have: whatever came out may be the machine's
    /// doing. Or something came out that cannot be.
    Refused,
    /// There are too few samples for an interval.
    TooFew,
    /// A row is missing.
    Unmeasured,
}

impl Verdict {
    pub fn text(self) -> &'static str {
        match self {
            Self::Reached => "reached",
            Self::NotReached => "not reached",
            Self::Close => "too close to tell",
            Self::Refused => "no verdict",
            Self::TooFew => "too few samples",
            Self::Unmeasured => "not measured",
        }
    }
}

/// A goal, and what was measured.
#[derive(Debug, Clone, Copy)]
pub struct Judged {
    pub goal: Goal,
    pub measured: Option<Ratio>,
    pub verdict: Verdict,
}

impl Goal {
    /// What is measured, as people write it.
    pub fn subject(&self) -> String {
        let quantile = if self.share == 0.5 { "" } else { " p99" };
        match self.to {
            Some(to) => format!("{}{quantile} ÷ {to}", self.of),
            None => {
                let unit = super::row::kind(self.of).map(|kind| kind.unit.to_string());
                format!("{}, {}", self.of, unit.unwrap_or_default())
            }
        }
    }

    /// The limit, as people write it.
    pub fn bound(&self) -> String {
        let sign = if self.bound == Bound::AtMost { '≤' } else { '≥' };
        format!("{sign} {}", self.limit)
    }

    /// The row that has to have been steady.
    pub fn relies_on(&self) -> Option<&'static str> {
        self.to.or_else(|| super::row::kind(self.of)?.floor)
    }

    /// Judges by rows of one run; `steady` tells of those that are known to have been.
    pub fn judge<'a>(
        &self,
        row: impl Fn(&str) -> Option<&'a Sorted>,
        steady: impl Fn(&str) -> bool,
    ) -> Judged {
        let measured = row(self.of).and_then(|of| match self.to {
            Some(to) => Some(Ratio::at(of, self.share, row(to)?)),
            None => Some(Ratio::alone(of)),
        });
        let verdict = match measured {
            None => Verdict::Unmeasured,
            Some(_) if !self.relies_on().is_none_or(steady) => Verdict::Refused,
            Some(Ratio { low, high, .. }) if !(low.is_finite() && high.is_finite()) => {
                Verdict::TooFew
            }
            // Nothing takes no memory, nor gives any.
            Some(Ratio { low, .. }) if low <= 0.0 => Verdict::Refused,
            Some(ratio) => self.verdict(ratio),
        };
        Judged { goal: *self, measured, verdict }
    }

    fn verdict(&self, Ratio { low, high, .. }: Ratio) -> Verdict {
        let (worst, best) = match self.bound {
            Bound::AtMost => (high, low),
            Bound::AtLeast => (low, high),
        };
        let reached = |value: f64| match self.bound {
            Bound::AtMost => value <= self.limit,
            Bound::AtLeast => value >= self.limit,
        };
        match (reached(worst), reached(best)) {
            (true, _) => Verdict::Reached,
            (false, true) => Verdict::Close,
            (false, false) => Verdict::NotReached,
        }
    }
}

impl Judged {
    /// For programs.
    pub fn json(&self) -> Value {
        json!({
            "goal": self.goal.subject(),
            "limit": self.goal.bound(),
            "measured": self.measured.map(|Ratio { p50, low, high }| {
                json!({ "p50": p50, "low": low, "high": high })
            }),
            "verdict": self.verdict.text(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::row::kind;

    fn spread(centre: f64) -> Sorted {
        Sorted::new((0..101).map(|sample| centre * (0.9 + 0.002 * f64::from(sample))).collect())
    }

    fn judged(goal: &Goal, of: f64, to: f64, drifted: bool) -> Verdict {
        let (of, to) = (spread(of), spread(to));
        goal.judge(|name| Some(if name == goal.of { &of } else { &to }), |_| !drifted).verdict
    }

    #[test]
    fn goals_are_about_rows_that_there_are() {
        for goal in GOALS {
            assert!(kind(goal.of).is_some(), "{}", goal.of);
            assert!(goal.to.is_none_or(|to| kind(to).is_some()), "{:?}", goal.to);
        }
    }

    #[test]
    fn a_goal_is_reached_or_not_by_its_whole_interval() {
        let at_most = ratio("exec_true", "spawn_true", 1.15);
        assert_eq!(judged(&at_most, 100.0, 100.0, false), Verdict::Reached);
        assert_eq!(judged(&at_most, 115.0, 100.0, false), Verdict::Close);
        assert_eq!(judged(&at_most, 150.0, 100.0, false), Verdict::NotReached);
        let at_least = Goal { bound: Bound::AtLeast, ..ratio("churn", "churn_bare", 0.7) };
        assert_eq!(judged(&at_least, 90.0, 100.0, false), Verdict::Reached);
        assert_eq!(judged(&at_least, 70.0, 100.0, false), Verdict::Close);
        assert_eq!(judged(&at_least, 40.0, 100.0, false), Verdict::NotReached);
    }

    #[test]
    fn where_a_floor_drifted_no_verdict_is_given_either_way() {
        let goal = ratio("exec_true", "spawn_true", 1.15);
        for of in [100.0, 150.0] {
            assert_eq!(judged(&goal, of, 100.0, true), Verdict::Refused);
        }
    }

    #[test]
    fn only_the_row_that_drifted_takes_its_verdict_away() {
        let goal = ratio("exec_true", "spawn_true", 1.15);
        let row = spread(100.0);
        let verdict = |drifted| goal.judge(|_| Some(&row), |name| name != drifted).verdict;
        assert_eq!(verdict("spawn_true"), Verdict::Refused);
        assert_eq!(verdict("churn_bare"), Verdict::Reached);
    }

    #[test]
    fn what_was_not_measured_is_neither_reached_nor_not() {
        let goal = ratio("zyg_run_true", "bwrap", 0.45);
        let of = spread(1.0);
        let judged = goal.judge(|name| (name == goal.of).then_some(&of), |_| true);
        assert_eq!(judged.verdict, Verdict::Unmeasured);
        assert!(judged.json()["measured"].is_null());
    }

    #[test]
    fn what_cannot_be_or_comes_of_too_few_samples_is_no_verdict() {
        let memory = GOALS[8];
        let verdict = |samples: Vec<f64>| {
            let of = Sorted::new(samples);
            memory.judge(|_| Some(&of), |_| true).verdict
        };
        assert_eq!(verdict(vec![50.0; 8]), Verdict::Reached);
        assert_eq!(verdict(vec![50.0; 5]), Verdict::TooFew);
        assert_eq!(verdict(vec![-20.0, 50.0, 60.0, 60.0, 60.0, 60.0]), Verdict::Refused);
    }

    #[test]
    fn a_goal_of_its_own_unit_says_which() {
        assert_eq!(GOALS[8].subject(), "memory, KiB");
        assert_eq!(GOALS[1].subject(), "acquire p99 ÷ seqpacket_rtt");
        assert_eq!(GOALS[5].bound(), "≥ 0.7");
    }
}
