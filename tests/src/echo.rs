//! A command that shows that its lease lives.

use crate::wait_readable;
use std::io::{BufRead, BufReader, Write};
use std::process::ChildStdout;
use zygote_client::{Child, Lease, Stdio};

/// A command that answers each line with the same line.
#[derive(Debug)]
pub struct Echo {
    /// The command.
    pub child: Child,
    answers: BufReader<ChildStdout>,
}

impl Echo {
    /// Starts it.
    #[must_use]
    pub fn start(lease: &Lease) -> Self {
        let mut cat = lease.command("cat");
        let mut child = cat.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        Self { child, answers }
    }

    /// That it still answers.
    pub fn assert_answers(&mut self) {
        self.child.stdin.as_mut().unwrap().write_all(b"are you there?\n").unwrap();
        wait_readable(self.answers.get_ref(), "an answer");
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        assert_eq!(answer, "are you there?\n");
    }
}
