//! What is being done, on one line of a terminal's standard error; nothing where nobody watches.

use std::cell::Cell;
use std::io::{IsTerminal, Write, stderr};
use std::time::{Duration, Instant};

/// How often the line changes: writing it is work that the samples would see.
const INTERVAL: Duration = Duration::from_millis(250);

/// The line.
#[derive(Debug)]
pub struct Progress {
    watched: bool,
    shown: Cell<Option<Instant>>,
}

impl Progress {
    pub fn new() -> Self {
        // One that knows no control sequences has no line that could change.
        let dumb = std::env::var_os("TERM").is_none_or(|kind| kind == "dumb");
        Self { watched: stderr().is_terminal() && !dumb, shown: Cell::new(None) }
    }

    /// Says how far it is, if nothing was said just before.
    pub fn show(&self, what: &str, done: usize, of: usize) {
        let due = self.shown.get().is_none_or(|shown| shown.elapsed() >= INTERVAL);
        if self.watched && due {
            let _ = write!(stderr(), "\r\x1b[K{what}: {done} of {of}");
            let _ = stderr().flush();
            self.shown.set(Some(Instant::now()));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown.get().is_some() {
            let _ = write!(stderr(), "\r\x1b[K");
        }
    }
}
