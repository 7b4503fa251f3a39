//! Acts upon the kernel, tried in an environment and outside of it by the same program.
//!
//! An act is a few lines of Python on top of `probe.py`, since it must make system calls that no
//! command line tool makes. It is tried in a process of its own, so acts do not disturb each other;
//! what comes of it is a word: `ok`, what the act says itself, or the name of the error.

use nix::libc;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use zygote_client::{Child, Lease};

const PRELUDE: &str = include_str!("probe.py");

const EVERY_ACT: &str = "
for _name, _code in ACTS:
    say(_name + '\\t' + attempt(_code).replace('\\n', ' '))
";

const ALL_AT_ONCE: &str = "
for _name, _code in ACTS:
    say(_name + '\\t' + outcome(_code).replace('\\n', ' '))
";

/// What came of each act, by the act's name.
pub type Findings = BTreeMap<String, String>;

/// An act that an environment refuses, and the control that succeeds outside.
#[derive(Debug, Clone, Copy)]
pub struct Refused {
    /// What is tried.
    pub act: &'static str,
    /// How.
    pub code: &'static str,
    /// What may come of it inside: any of these.
    pub inside: &'static [&'static str],
    /// The control, to come out as `ok` outside; empty for the act itself.
    pub control: &'static str,
}

/// Tries acts. Named values are global variables of the acts.
#[derive(Debug, Default, Clone)]
pub struct Probe {
    values: Map<String, Value>,
    definitions: String,
}

impl Probe {
    /// Without a value.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a value.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.values.insert(name.to_owned(), value.into());
        self
    }

    /// Adds definitions that the acts use.
    #[must_use]
    pub fn with_definitions(mut self, code: &str) -> Self {
        self.definitions.push_str(code);
        self
    }

    /// Adds a path.
    #[must_use]
    pub fn with_path(self, name: &str, path: &Path) -> Self {
        let path = path.to_str().unwrap();
        self.with(name, path)
    }

    /// Tries acts in an environment.
    #[must_use]
    pub fn inside(&self, lease: &Lease, acts: &[(&str, &str)]) -> Findings {
        self.run_inside(lease, EVERY_ACT, acts)
    }

    /// Tries acts in an environment, all in the first process: for many that change nothing.
    #[must_use]
    pub fn at_once_inside(&self, lease: &Lease, acts: &[(&str, &str)]) -> Findings {
        self.run_inside(lease, ALL_AT_ONCE, acts)
    }

    fn run_inside(&self, lease: &Lease, code: &str, acts: &[(&str, &str)]) -> Findings {
        let script = self.script(code);
        let mut command = lease.command(python());
        command.args(["-ISc", LOADER]).current_dir("/").stdin(zygote_client::Stdio::piped());
        command.stdout(zygote_client::Stdio::piped()).stderr(zygote_client::Stdio::piped());
        let mut child = command.spawn().unwrap();
        feed(child.stdin.take().unwrap(), &script, acts);
        findings(&child.wait_with_output().unwrap())
    }

    /// Tries acts outside.
    #[must_use]
    pub fn outside(&self, acts: &[(&str, &str)]) -> Findings {
        let script = self.script(EVERY_ACT);
        let mut command = Command::new(python());
        command.args(["-ISc", LOADER]).stdin(Stdio::piped());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        feed(child.stdin.take().unwrap(), &script, acts);
        findings(&child.wait_with_output().unwrap())
    }

    /// Tries one act in an environment.
    #[must_use]
    pub fn one_inside(&self, lease: &Lease, code: &str) -> String {
        self.inside(lease, &[("act", code)]).remove("act").unwrap()
    }

    /// Tries one act outside.
    #[must_use]
    pub fn one_outside(&self, code: &str) -> String {
        self.outside(&[("act", code)]).remove("act").unwrap()
    }

    /// Tries every act inside, where it must be refused, and every control outside, where it must
    /// succeed.
    pub fn assert_refused(&self, lease: &Lease, rows: &[Refused]) {
        let acts: Vec<_> = rows.iter().map(|row| (row.act, row.code)).collect();
        let inside = self.inside(lease, &acts);
        let controls: Vec<_> = rows
            .iter()
            .map(|row| (row.act, if row.control.is_empty() { row.code } else { row.control }))
            .collect();
        let outside = self.outside(&controls);
        let mut wrong = Vec::new();
        for row in rows {
            let (refused, allowed) = (&inside[row.act], &outside[row.act]);
            if !row.inside.contains(&refused.as_str()) {
                wrong.push(format!("{}: {refused} inside, not {:?}", row.act, row.inside));
            }
            if allowed != "ok" {
                wrong.push(format!("{}: the control came out as {allowed}", row.act));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    /// Starts code that stays in an environment: it runs until it is killed or its standard input
    /// ends. Returns when it has said its first line, and that line.
    #[must_use]
    pub fn resident(&self, lease: &Lease, code: &str) -> (Child, String) {
        let mut command = lease.command(python());
        command.args(["-ISc", LOADER]).current_dir("/").stdin(zygote_client::Stdio::piped());
        command.stdout(zygote_client::Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        writeln!(stdin, "{}", json!({ "script": self.script(code), "acts": [] })).unwrap();
        child.stdin = Some(stdin);
        let line = first_line(child.stdout.as_mut().unwrap());
        (child, line)
    }

    /// Starts code that stays outside, as [`Probe::resident`] does inside.
    #[must_use]
    pub fn resident_outside(&self, code: &str) -> (std::process::Child, String) {
        let mut command = Command::new(python());
        command.args(["-ISc", LOADER]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stdin = child.stdin.as_mut().unwrap();
        writeln!(stdin, "{}", json!({ "script": self.script(code), "acts": [] })).unwrap();
        let line = first_line(child.stdout.as_mut().unwrap());
        (child, line)
    }

    fn script(&self, code: &str) -> String {
        let numbers: Map<_, _> =
            NUMBERS.iter().map(|(name, number)| ((*name).to_owned(), json!(number))).collect();
        // A JSON string is a Python string literal, too.
        let literal = |map| Value::String(Value::Object(map).to_string());
        let (numbers, values) = (literal(numbers), literal(self.values.clone()));
        let load = format!("NUMBERS, VALUES = json.loads({numbers}), json.loads({values})");
        format!("{PRELUDE}\n{load}\nglobals().update(VALUES)\n{}\n{code}", self.definitions)
    }
}

/// Takes everything from standard input, so that nothing of a probe shows in its arguments.
const LOADER: &str = "import json, sys; _job = json.loads(sys.stdin.readline()); \
                      ACTS = _job['acts']; exec(_job['script'])";

/// System calls that probes make and no library function covers.
const NUMBERS: [(&str, libc::c_long); 16] = [
    ("add_key", libc::SYS_add_key),
    ("bpf", libc::SYS_bpf),
    ("io_uring_setup", libc::SYS_io_uring_setup),
    ("keyctl", libc::SYS_keyctl),
    ("move_mount", libc::SYS_move_mount),
    ("open_by_handle_at", libc::SYS_open_by_handle_at),
    ("open_tree", libc::SYS_open_tree),
    ("perf_event_open", libc::SYS_perf_event_open),
    ("pidfd_getfd", libc::SYS_pidfd_getfd),
    ("pidfd_open", libc::SYS_pidfd_open),
    ("pivot_root", libc::SYS_pivot_root),
    ("process_vm_readv", libc::SYS_process_vm_readv),
    ("ptrace", libc::SYS_ptrace),
    ("request_key", libc::SYS_request_key),
    ("setns", libc::SYS_setns),
    ("userfaultfd", libc::SYS_userfaultfd),
];

/// The interpreter: Debian's, where there is one, for the one that a version manager puts first in
/// `PATH` may lie where only its owner can read.
#[must_use]
pub fn python() -> &'static str {
    const DEBIAN: &str = "/usr/bin/python3";
    if Path::new(DEBIAN).exists() { DEBIAN } else { "python3" }
}

fn feed(mut stdin: impl Write, script: &str, acts: &[(&str, &str)]) {
    writeln!(stdin, "{}", json!({ "script": script, "acts": acts })).unwrap();
}

fn findings(output: &Output) -> Findings {
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the probe failed: {}\n{complaint}", output.status);
    let lines = String::from_utf8(output.stdout.clone()).unwrap();
    let pairs = lines.lines().filter_map(|line| line.split_once('\t'));
    pairs.map(|(name, found)| (name.to_owned(), found.to_owned())).collect()
}

fn first_line(stdout: impl Read) -> String {
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line).unwrap();
    assert!(line.ends_with('\n'), "the resident ended before it was ready");
    line.trim_end().to_owned()
}
