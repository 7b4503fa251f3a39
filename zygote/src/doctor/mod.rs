//! `zyg doctor`: does each thing that zyg needs, for real, and says of each whether it works, which
//! layer forbids it and what to change.
//!
//! ```text
//! step ──perform──▶ outcome ─┐
//!                            ├─judge──▶ cause ──▶ report
//! machine ───read──▶ facts ──┘
//! ```
//! [`perform`] is called in a fresh process for each step, since most steps change the process for
//! good (namespaces, filters), and one that fails must not disturb the next. Judging and reporting
//! are pure. Nothing here decides whether the server runs: the server does the same things and fails
//! by itself, and explains it with the same [`judge`].

mod acts;
mod facts;
mod judge;
#[cfg(test)]
mod judge_tests;
mod mend;
mod mountinfo;
mod report;
mod step;

pub use facts::{Container, Facts};
pub use judge::{Cause, Layer, judge};
pub(crate) use judge::{Symptom, diagnose};
pub use report::{Entry, Report, State};
pub use step::Step;

use serde::{Deserialize, Serialize};
use std::path::Path;

/// What became of a step: one JSON object on one line between its process and the parent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// Which step.
    pub step: Step,
    /// Whether it works.
    pub ok: bool,
    /// The error number (errno(3)); 0 where there is none.
    pub errno: i32,
    /// The signal that ended the step's process; 0 where none did.
    #[serde(default)]
    pub signal: i32,
    /// The step that failed within this one, where that is known to be another one.
    #[serde(default)]
    pub within: Option<Step>,
    /// What was found, or what failed, in words.
    pub detail: String,
}

impl Outcome {
    /// A step that could not be performed to its end.
    #[must_use]
    pub fn broken(step: Step, errno: i32, signal: i32, detail: String) -> Self {
        Self { step, ok: false, errno, signal, within: None, detail }
    }
}

/// Does one step, here and now. The calling process is of no use for anything else afterwards: it
/// may be in other namespaces and under a filter. It must have one thread.
///
/// `socket` is the server's that is asked in [`Step::Server`].
#[must_use]
pub fn perform(step: Step, socket: &Path) -> Outcome {
    match acts::perform(step, socket) {
        Ok(detail) => Outcome { step, ok: true, errno: 0, signal: 0, within: None, detail },
        Err(trouble) => Outcome {
            step,
            ok: false,
            errno: trouble.errno,
            signal: 0,
            within: trouble.within.filter(|within| *within != step),
            detail: trouble.detail,
        },
    }
}
