//! What all steps together mean, and how it is shown. Pure.

use super::{Cause, Facts, Outcome, Step, judge};
use std::fmt::Write;

/// How one step stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It works.
    Works,
    /// It does not, and why.
    Missing(Cause),
    /// It was not tried, since this one must work first.
    Untried(Step),
}

/// One step and how it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Which.
    pub step: Step,
    /// How.
    pub state: State,
    /// What was found, or what failed, in words.
    pub detail: String,
}

impl Entry {
    /// What forbids it, if it is missing.
    #[must_use]
    pub fn cause(&self) -> Option<&Cause> {
        match &self.state {
            State::Missing(cause) => Some(cause),
            State::Works | State::Untried(_) => None,
        }
    }

    /// What was found or what failed, and the layer's own reason.
    #[must_use]
    pub fn explained(&self) -> String {
        match self.cause().map(|cause| cause.why.as_str()) {
            Some(why) if !why.is_empty() => format!("{} ({why})", self.detail),
            _ => self.detail.clone(),
        }
    }
}

/// All steps that were gone through, in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    entries: Vec<Entry>,
}

impl Report {
    /// Goes through all steps. `perform` does one, in a process of its own; a step whose needs are
    /// not met is not done.
    pub fn go_through(facts: &Facts, mut perform: impl FnMut(Step) -> Outcome) -> Self {
        let mut report = Self::default();
        for step in Step::all() {
            let unmet = step.needs().iter().find(|need| !report.works(**need));
            let entry = match unmet {
                Some(need) => Entry {
                    step,
                    state: State::Untried(*need),
                    detail: format!("not tried: {need} must work first"),
                },
                None => {
                    let outcome = perform(step);
                    let state = match outcome.ok {
                        true => State::Works,
                        false => State::Missing(judge(&outcome, facts)),
                    };
                    Entry { step, state, detail: outcome.detail }
                }
            };
            report.entries.push(entry);
        }
        report
    }

    /// The steps, in their order.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    fn works(&self, step: Step) -> bool {
        self.entries.iter().any(|entry| entry.step == step && entry.state == State::Works)
    }

    /// Whether everything that zyg cannot do without works.
    #[must_use]
    pub fn can_run(&self) -> bool {
        self.entries.iter().all(|entry| entry.state == State::Works || !entry.step.required())
    }

    /// The verdict in one line: what is missing, by the layers that forbid it.
    #[must_use]
    pub fn verdict(&self) -> String {
        let missing = |required: bool| -> Vec<String> {
            let wanted = self.entries.iter().filter(|entry| entry.step.required() == required);
            wanted
                .filter_map(|entry| Some(format!("{} ({})", entry.step, entry.cause()?.layer)))
                .collect()
        };
        let (required, optional) = (missing(true).join(", "), missing(false).join(", "));
        match (self.can_run(), optional.is_empty()) {
            (false, _) => format!("zyg cannot run here: {required}"),
            (true, true) => "zyg can run here".to_owned(),
            (true, false) => format!("zyg can run here, without: {optional}"),
        }
    }

    /// The report for people: a line for each step, a second and third one for what is missing, the
    /// verdict at the end.
    #[must_use]
    pub fn table(&self) -> String {
        let width = self.entries.iter().map(|entry| entry.step.name().len()).max().unwrap_or(0);
        let mut text = String::new();
        for entry in &self.entries {
            let mark = match (&entry.state, entry.step.required()) {
                (State::Works, _) => "ok",
                (State::Missing(_), true) => "MISSING",
                (State::Missing(_), false) => "missing",
                (State::Untried(_), _) => "-",
            };
            let title = match entry.state {
                State::Works => String::new(),
                State::Missing(_) | State::Untried(_) => format!("{}: ", entry.step.title()),
            };
            let name = entry.step.name();
            let detail = one_line(&entry.explained());
            let _ = writeln!(text, "{mark:<7}  {name:<width$}  {title}{detail}");
            if let Some(cause) = entry.cause() {
                let _ =
                    writeln!(text, "{:>indent$}layer: {}", "", cause.layer, indent = width + 11);
                let _ = writeln!(text, "{:>indent$}fix:   {}", "", cause.fix, indent = width + 11);
            }
        }
        let _ = writeln!(text, "\n{}", self.verdict());
        text
    }
}

/// Text from elsewhere, which may span lines or contain what a terminal would obey.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{Layer, facts};
    use super::*;

    fn works(step: Step) -> Outcome {
        Outcome { step, ok: true, errno: 0, signal: 0, within: None, detail: "fine".to_owned() }
    }

    /// A report of a machine where these steps fail.
    fn with_failing(failing: &[(Step, i32)]) -> (Report, Vec<Step>) {
        let mut tried = Vec::new();
        let report = Report::go_through(&facts::Facts::default(), |step| {
            tried.push(step);
            match failing.iter().find(|(fails, _)| *fails == step) {
                Some((_, errno)) => Outcome::broken(step, *errno, 0, "it\nfails".to_owned()),
                None => works(step),
            }
        });
        (report, tried)
    }

    #[test]
    fn where_all_works_zyg_can_run() {
        let (report, tried) = with_failing(&[]);
        assert!(report.can_run());
        assert_eq!(report.verdict(), "zyg can run here");
        assert_eq!(tried, Step::all().collect::<Vec<_>>());
    }

    #[test]
    fn what_is_optional_may_be_missing() {
        let (report, _) = with_failing(&[(Step::Server, libc::ENOENT)]);
        assert!(report.can_run());
        assert_eq!(report.verdict(), "zyg can run here, without: server (service)");
    }

    #[test]
    fn what_is_required_may_not() {
        let (report, tried) = with_failing(&[(Step::Proc, libc::ENODEV), (Step::Sysfs, libc::EIO)]);
        assert!(!report.can_run());
        assert_eq!(report.verdict(), "zyg cannot run here: proc (kernel-config)");
        // Whole environments need it.
        assert!(!tried.contains(&Step::Zygote) && !tried.contains(&Step::OtherUsers));
        assert!(tried.contains(&Step::Devpts));
    }

    #[test]
    fn what_a_missing_step_is_needed_for_is_not_tried() {
        let (report, tried) = with_failing(&[(Step::UserNamespace, libc::EINVAL)]);
        assert!(!tried.contains(&Step::MountNamespace) && !tried.contains(&Step::LowPorts));
        let proc = report.entries().iter().find(|entry| entry.step == Step::Proc).unwrap();
        assert_eq!(proc.state, State::Untried(Step::ZygoteClone));
        assert_eq!(proc.cause(), None);
        assert_eq!(report.verdict(), "zyg cannot run here: user-namespace (kernel-config)");
    }

    #[test]
    fn the_table_has_a_line_for_each_step_and_ends_with_the_verdict() {
        let (report, _) = with_failing(&[(Step::Tmpfs, libc::ENODEV)]);
        let table = report.table();
        assert_eq!(table.lines().last(), Some("zyg cannot run here: tmpfs (kernel-config)"));
        for step in Step::all() {
            let named = |line: &&str| line.split_whitespace().nth(1) == Some(step.name());
            assert_eq!(table.lines().filter(named).count(), 1, "{step}:\n{table}");
        }
        let (_, missing) = table.split_once("MISSING").unwrap();
        let mut lines = missing.lines();
        assert!(lines.next().unwrap().contains("private files in memory: it fails (the kernel"));
        assert_eq!(lines.next().unwrap().trim(), format!("layer: {}", Layer::KernelConfig));
        let fix = "fix:   boot a kernel that is built with CONFIG_TMPFS=y";
        assert_eq!(lines.next().unwrap().trim(), fix);
    }
}
