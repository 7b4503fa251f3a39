//! The same program through both libraries: arguments, environment, directory, exit.

use crate::{assert_same, both};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::time::Duration;
use zyg_tests::Server;

/// Prints the arguments, one a line.
const ARGUMENTS: [&str; 2] = ["-c", r#"printf '%s\n' "$0" "$@""#];

#[test]
fn arguments_arrive_as_they_are() {
    let server = Server::start();
    let lease = server.client().lease().unwrap();
    let odd = ["plain", "", "two words", "$HOME", "*", "new\nline", "-c", "quote'\"", "ünïcode"];
    let printed =
        assert_same(both!(lease, "sh", |command| command.args(ARGUMENTS).arg("0").args(odd)));
    assert_eq!(printed, format!("0\n{}\n", odd.join("\n")));
    let bytes: &std::ffi::OsStr = std::os::unix::ffi::OsStrExt::from_bytes(b"\xff\xfe\x80");
    let output = lease.command("printf").args(["%s"]).arg(bytes).output().unwrap();
    assert_eq!(output.stdout, b"\xff\xfe\x80");
}

#[test]
fn the_name_can_be_another_than_the_programs() {
    let server = Server::start();
    let lease = server.client().lease().unwrap();
    let script = ["-c", "tr '\\0' ' ' < /proc/$$/cmdline"];
    let printed = assert_same(both!(lease, "sh", |command| command.arg0("named").args(script)));
    assert!(printed.starts_with("named -c "), "{printed}");
}

#[test]
fn the_environment_is_inherited_and_changed_alike() {
    let server = Server::start();
    let lease = server.client().lease().unwrap();
    let sorted = ["-c", "env | LC_ALL=C sort"];
    assert_same(both!(lease, "sh", |command| command.args(sorted)));
    let printed = assert_same(both!(lease, "sh", |command| {
        command.args(sorted).env("ZYG_A", "1").env("ZYG_B", "two words").env("ZYG_A", "3");
        command.envs([("ZYG_C", ""), ("ZYG_D", "=")]).env_remove("HOME").env_remove("ZYG_B")
    }));
    for line in ["ZYG_A=3\n", "ZYG_C=\n", "ZYG_D==\n"] {
        assert!(printed.contains(line), "{line} in {printed}");
    }
    assert!(!printed.contains("ZYG_B=") && !printed.contains("\nHOME="));
    let printed = assert_same(both!(lease, "/usr/bin/env", |command| {
        command.env("ZYG_A", "1").env_clear().env("ZYG_B", "2")
    }));
    assert_eq!(printed, "ZYG_B=2\n");
}

#[test]
fn a_program_is_searched_in_the_path_of_the_command() {
    let server = Server::start();
    let lease = server.client().lease().unwrap();
    assert_same(both!(lease, "true", |command| command.env("PATH", "/nowhere:/usr/bin")));
    assert_same(both!(lease, "true", |command| command.env("PATH", "/nowhere")));
    assert_same(both!(lease, "true", |command| command.env("PATH", "")));
    assert_same(both!(lease, "true", |command| command.env_remove("PATH")));
    assert_same(both!(lease, "/usr/bin/true", |command| command.env("PATH", "/nowhere")));
    assert_same(both!(lease, "usr/bin/true", |command| command.current_dir("/")));
}

#[test]
fn a_command_starts_in_the_directory_that_is_asked_for() {
    let server = Server::start();
    let lease = server.client().lease().unwrap();
    let here = ["-f", "/proc/self/cwd"];
    assert_same(both!(lease, "readlink", |command| command.args(here)));
    let printed =
        assert_same(both!(lease, "readlink", |command| command.args(here).current_dir("/usr/bin")));
    assert_eq!(printed, "/usr/bin\n");
    assert_same(both!(lease, "readlink", |command| command.args(here).current_dir("..")));
    assert_same(both!(lease, "readlink", |command| command.args(here).current_dir("/no/such")));
    assert_same(both!(lease, "readlink", |command| command.args(here).current_dir("/etc/passwd")));
}

#[test]
fn ends_are_reported_alike() {
    let server = Server::start();
    let lease = server.client().lease().unwrap();
    for script in [
        "exit 0",
        "exit 1",
        "exit 7",
        "exit 255",
        "kill -TERM $$",
        "kill -KILL $$",
        "kill -HUP $$",
        "kill -PIPE $$",
        "kill -USR1 $$",
        "ulimit -c 0; kill -SEGV $$",
        "ulimit -c 0; kill -ABRT $$",
    ] {
        let mut inside = lease.command("sh");
        let inside = inside.args(["-c", script]).current_dir("/tmp").status().unwrap();
        let mut outside = std::process::Command::new("sh");
        let outside = outside.args(["-c", script]).current_dir("/tmp").status().unwrap();
        assert_eq!(inside, outside, "{script}");
        assert!(!inside.core_dumped());
    }
}

#[test]
fn a_core_dump_is_reported() {
    let pattern = std::fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
    if pattern.starts_with(['|', '/']) {
        // Whether a core is kept is up to a program or a directory of the host's.
        return;
    }
    let server = Server::start();
    let lease = server.client().lease().unwrap();
    for (limit, dumped) in [(u64::MAX, true), (0, false)] {
        let mut command = lease.command("sh");
        let resource = nix::libc::RLIMIT_CORE;
        command.rlimit(zygote_client::Rlimit { resource, soft: limit, hard: limit });
        command.args(["-c", "kill -ABRT $$"]).current_dir("/tmp");
        let status = command.status().unwrap();
        assert_eq!(status.signal(), Some(nix::libc::SIGABRT));
        assert_eq!(status.core_dumped(), dumped, "with a limit of {limit}");
    }
}

/// Spawns `cat`, which runs until its input ends, looks at it in the same ways, and ends it.
macro_rules! life {
    ($command:expr, $piped:expr, $end:ident) => {{
        let mut command = $command;
        let mut child = command.stdin($piped).spawn().unwrap();
        assert!(child.id() > 1);
        assert_eq!(child.try_wait().unwrap(), None);
        $end!(child);
        let status = child.wait().unwrap();
        assert_eq!(child.wait().unwrap(), status);
        assert_eq!(child.try_wait().unwrap(), Some(status));
        // A command that has ended is none to be killed, and that is no error.
        child.kill().unwrap();
        status
    }};
}

macro_rules! by_kill {
    ($child:ident) => {
        $child.kill().unwrap()
    };
}

macro_rules! by_end_of_file {
    ($child:ident) => {
        drop($child.stdin.take())
    };
}

macro_rules! by_wait {
    ($child:ident) => {};
}

#[test]
fn a_child_is_waited_for_and_killed_alike() {
    let server = Server::start();
    let lease = server.client().lease().unwrap();
    let (inside, outside) = (|| lease.command("cat"), || std::process::Command::new("cat"));
    let (ours, theirs) = (zygote_client::Stdio::piped, std::process::Stdio::piped);
    let killed = life!(inside(), ours(), by_kill);
    assert_eq!(killed, life!(outside(), theirs(), by_kill));
    assert_eq!(killed.signal(), Some(9));
    let ended = life!(inside(), ours(), by_end_of_file);
    assert_eq!(ended, life!(outside(), theirs(), by_end_of_file));
    assert!(ended.success());
    // Waiting closes what was piped, or neither would return.
    assert_eq!(life!(inside(), ours(), by_wait), life!(outside(), theirs(), by_wait));
}

#[test]
fn waiting_for_a_time_ends_with_the_time_or_the_command() {
    let server = Server::start();
    let lease = server.client().lease().unwrap();
    let (_silent, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let mut command = lease.command("sh");
    let mut child = command.args(["-c", "read line <&9"]).descriptor(9, theirs).spawn().unwrap();
    drop(command);
    assert_eq!(child.wait_timeout(Duration::from_millis(1)).unwrap(), None);
    assert_eq!(child.wait_timeout(Duration::ZERO).unwrap(), None);
    child.kill().unwrap();
    let status = child.wait_timeout(zyg_tests::PATIENCE).unwrap().unwrap();
    assert_eq!(status.signal(), Some(9));
    assert_eq!(child.wait_timeout(Duration::ZERO).unwrap(), Some(status));
    assert_eq!(child.wait_timeout(Duration::MAX).unwrap(), Some(status));
}
