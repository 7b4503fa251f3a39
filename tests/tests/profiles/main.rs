//! Profiles against a real server: what each key does, and that it does it.
//!
//! Every denial has its control: the same act under a profile that allows it, or outside.
#![expect(clippy::unwrap_used, reason = "tests report by panicking")]

mod filter;
mod identity;
mod views;
mod who;

use std::process::Command;
use zyg_tests::{Server, Setup};

/// A server with these profiles beside the built-in ones.
fn server(profiles: &str) -> Server {
    Setup::default().config(profiles).start()
}

/// What a script prints under a profile, whether it succeeds or not.
fn printed(server: &Server, profile: &str, script: &str) -> String {
    let output =
        server.zyg("run").args(["--profile", profile, "--", "sh", "-c", script]).output().unwrap();
    assert!(output.status.code() != Some(125), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

/// What a script prints outside.
fn outside(script: &str) -> String {
    let output = Command::new("sh").args(["-c", script]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

/// Whether a script succeeds under a profile.
fn succeeds(server: &Server, profile: &str, script: &str) -> bool {
    printed(server, profile, &format!("({script}) >/dev/null 2>&1 && echo yes || echo no")) == "yes"
}
