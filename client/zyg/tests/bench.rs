//! `zyg bench` as a program: that it measures, says what it has to, and leaves nothing behind.
#![expect(clippy::unwrap_used, reason = "a test reports by panicking")]

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use tempfile::TempDir;
use zygote_client::Client;

fn bench(directory: &TempDir, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_zyg"));
    command.arg("bench").args(arguments).env("TMPDIR", directory.path());
    command
}

fn measured(directory: &TempDir, arguments: &[&str]) -> Output {
    let output = bench(directory, arguments).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    output
}

/// Processes whose command line names the directory, and what is in it.
fn left(directory: &Path) -> Vec<String> {
    let name = directory.to_str().unwrap();
    let lines = fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let line = fs::read(entry.unwrap().path().join("cmdline")).ok()?;
        Some(String::from_utf8_lossy(&line).replace('\0', " "))
    });
    let files = fs::read_dir(directory).unwrap().map(|entry| format!("{:?}", entry.unwrap()));
    lines.filter(|line| line.contains(name)).chain(files).collect()
}

#[test]
fn rows_come_with_their_floors_and_goals_and_nothing_is_left() {
    let directory = TempDir::new().unwrap();
    let svg = TempDir::new().unwrap();
    let picture = svg.path().join("bench.svg");
    let only = "acquire,exec_true,cold_acquire,server_cpu,memory";
    let arguments =
        ["--quick", "--rounds", "9", "--zygotes", "8", "--only", only, "--json", "--svg"];
    let output = measured(&directory, &[&arguments[..], &[picture.to_str().unwrap()]].concat());
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let names: Vec<_> = report["rows"].as_array().unwrap().iter().map(|row| &row["name"]).collect();
    let floors = ["seqpacket_rtt", "spawn_true", "clone_exit", "clone_exit_cpu"];
    for name in only.split(',').chain(floors) {
        assert!(names.contains(&&Value::from(name)), "{name} in {names:?}");
    }
    let goals = report["goals"].as_array().unwrap();
    let goal = |name| goals.iter().find(|goal| goal["goal"] == name).unwrap();
    assert_ne!(goal("acquire ÷ seqpacket_rtt")["verdict"], "not measured");
    assert_eq!(goal("churn ÷ churn_bare")["verdict"], "not measured");
    assert!(fs::read_to_string(picture).unwrap().ends_with("</svg>\n"));
    assert_eq!(left(directory.path()), [""; 0]);
}

#[test]
fn a_table_says_how_noisy_it_was() {
    let directory = TempDir::new().unwrap();
    let output = measured(&directory, &["--quick", "--rounds", "9", "--only", "acquire"]);
    let table = String::from_utf8(output.stdout).unwrap();
    for part in ["seqpacket_rtt", "× seqpacket_rtt", "goal", "load average", "seed 1"] {
        assert!(table.contains(part), "{part} in {table}");
    }
    assert!(output.stderr.is_empty(), "progress is for a terminal");
}

/// A bench that takes longer than anybody waits. Whatever happens, it ends with its test.
struct Endless(Child);

impl Endless {
    /// Starts it, and waits until its server listens at the path that is returned.
    fn start(directory: &TempDir) -> (Self, PathBuf) {
        let mut command = bench(directory, &["--only", "acquire", "--rounds", "1000000"]);
        let mut child = Self(command.stdout(Stdio::null()).spawn().unwrap());
        loop {
            let entries = fs::read_dir(directory.path()).unwrap();
            let mut sockets = entries.map(|entry| entry.unwrap().path().join("s.sock"));
            if let Some(socket) = sockets.find(|socket| Client::connect(socket).is_ok()) {
                return (child, socket);
            }
            assert_eq!(child.0.try_wait().unwrap(), None);
            std::thread::yield_now();
        }
    }

    fn told(&mut self, signal: Signal) -> Option<i32> {
        kill(Pid::from_raw(self.0.id() as i32), signal).unwrap();
        self.0.wait().unwrap().code()
    }
}

impl Drop for Endless {
    fn drop(&mut self) {
        if self.0.try_wait().unwrap().is_none() {
            self.told(Signal::SIGINT);
        }
    }
}

#[test]
fn told_to_stop_it_ends_what_it_has_started() {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let directory = TempDir::new().unwrap();
        let (mut bench, _) = Endless::start(&directory);
        assert_eq!(bench.told(signal), Some(130));
        assert_eq!(left(directory.path()), [""; 0], "after {signal}");
    }
}

/// A program that is called as one that is compared: this shell script, which finds in `$0.runs` how often
/// it has run.
fn stand_in(directory: &TempDir, name: &str, script: &str) -> PathBuf {
    let file = directory.path().join(name);
    let counted = format!("#!/bin/sh\necho >>\"$0.runs\"\nruns=$(wc -l <\"$0.runs\")\n{script}\n");
    fs::write(&file, counted).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    file
}

fn path_with(directory: &TempDir) -> String {
    format!("{}:{}", directory.path().display(), std::env::var("PATH").unwrap())
}

#[test]
fn who_fails_while_it_is_measured_is_given_up_and_told() {
    let (directory, programs) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    stand_in(&programs, "bwrap", "[ $runs -lt 9 ] || exit 7");
    stand_in(&programs, "nsjail", "exit 3");
    let only = ["--quick", "--rounds", "12", "--only", "bwrap, nsjail,acquire", "--json"];
    let output = bench(&directory, &only).env("PATH", path_with(&programs)).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let rows = report["rows"].as_array().unwrap();
    let has = |name: &str| rows.iter().any(|row| row["name"] == name);
    assert!(has("acquire") && has("bare_true") && !has("bwrap") && !has("nsjail"), "{rows:?}");
    let reason = |peer: &str| report["peers"][peer]["unusable"].as_str().unwrap().to_owned();
    assert!(reason("bwrap").contains("exit status: 7"), "{}", reason("bwrap"));
    assert!(reason("nsjail").contains("exit status: 3"), "{}", reason("nsjail"));
    assert_eq!(left(directory.path()), [""; 0]);
}

#[test]
fn who_hangs_while_it_is_measured_keeps_nobody_from_stopping() {
    let (directory, programs) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let hangs = "[ $runs -lt 3 ] || { : >\"$0.hangs\"; sleep 1000; }";
    let program = stand_in(&programs, "bwrap", hangs);
    let mut command = bench(&directory, &["--only", "bwrap"]);
    command.env("PATH", path_with(&programs)).stdout(Stdio::null());
    let mut child = Endless(command.spawn().unwrap());
    while !program.with_extension("hangs").exists() {
        assert_eq!(child.0.try_wait().unwrap(), None);
        std::thread::yield_now();
    }
    assert_eq!(child.told(Signal::SIGTERM), Some(130));
    assert_eq!(left(directory.path()), [""; 0]);
    assert_eq!(left(programs.path()).iter().filter(|line| line.contains("/bin/sh")).count(), 0);
}

#[test]
fn a_picture_that_does_not_come_about_leaves_no_file() {
    let directory = TempDir::new().unwrap();
    let pictures = TempDir::new().unwrap();
    let picture = pictures.path().join("new.svg");
    let svg = ["--svg", picture.to_str().unwrap()];
    let wrong = bench(&directory, &["--only", "wrong"]).args(svg).output().unwrap();
    assert_eq!(wrong.status.code(), Some(125), "{wrong:?}");
    assert!(!picture.exists());
    // One that is there stays.
    fs::write(&picture, "old").unwrap();
    let wrong = bench(&directory, &["--only", "wrong"]).args(svg).output().unwrap();
    assert_eq!(wrong.status.code(), Some(125), "{wrong:?}");
    assert_eq!(fs::read_to_string(&picture).unwrap(), "old");
    // What was measured is told even if it cannot be drawn.
    let full = ["--quick", "--rounds", "9", "--only", "acquire", "--svg", "/dev/full"];
    let full = bench(&directory, &full).output().unwrap();
    assert_eq!(full.status.code(), Some(125), "{full:?}");
    assert!(String::from_utf8_lossy(&full.stdout).contains("seqpacket_rtt"), "{full:?}");
}

#[test]
fn a_server_that_is_named_is_measured_and_stays() {
    let directory = TempDir::new().unwrap();
    let (mut other, socket) = Endless::start(&directory);
    let own = TempDir::new().unwrap();
    let socket = socket.to_str().unwrap();
    let arguments = ["--quick", "--rounds", "9", "--only", "acquire", "--socket", socket];
    measured(&own, &arguments);
    assert_eq!(left(own.path()), [""; 0]);
    let refused = bench(&own, &["--only", "memory", "--socket", socket]).output().unwrap();
    assert_eq!(refused.status.code(), Some(125));
    assert_eq!(other.told(Signal::SIGINT), Some(130));
}

#[test]
fn a_server_that_is_not_there_is_said_so() {
    let directory = TempDir::new().unwrap();
    let output = bench(&directory, &["--socket", "/no/such/zyg.sock"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(125), "{said}");
    assert!(said.lines().count() == 1 && said.contains("/no/such/zyg.sock"), "{said}");
}
