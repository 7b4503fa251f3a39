//! The command's environment is the caller's, to the byte.

use crate::run::{Seen, Way, same_when};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::process::Command;
use zyg_tests::{Server, zyg_binary};

/// Prints every variable, a zero after each.
const PRINT: [&str; 2] = ["env", "-0"];

/// The variables that were printed, in an order that does not matter.
fn variables(seen: &Seen) -> Vec<Vec<u8>> {
    assert_eq!((seen.stderr.len(), seen.code), (0, 0), "{seen:?}");
    let mut all: Vec<_> = seen.stdout.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect();
    all.sort();
    all
}

fn both(server: &Server, arrange: impl Fn(&mut Command) -> &mut Command) -> Vec<Vec<u8>> {
    let [bare, zyg] = [Way::Bare, Way::Zyg].map(|way| {
        let mut command = way.command(server, &PRINT);
        arrange(&mut command);
        variables(&Seen::of(way, command.output().unwrap()))
    });
    assert!(zyg == bare, "{} variables under zyg, {} alone", zyg.len(), bare.len());
    zyg
}

#[test]
fn the_environment_is_the_callers() {
    let server = Server::start();
    let all = both(&server, |command| {
        command.env("EMPTY", "").env("LINES", "a\nb\n").env("EQUALS", "=a==b=");
        command.env("a name", "of words").env("1", "2").env("BASH_FUNC_f%%", "() { :; }");
        command.env(OsStr::from_bytes(b"N\xff"), OsStr::from_bytes(b"\xfe\x01\x7f"));
        command.env_remove("LANG")
    });
    for expected in [&b"EMPTY="[..], b"LINES=a\nb\n", b"EQUALS==a==b=", b"N\xff=\xfe\x01\x7f"] {
        assert!(all.iter().any(|variable| variable == expected), "{expected:?}");
    }
}

#[test]
fn an_empty_environment_is_empty() {
    let server = Server::start();
    let output = Command::new(zyg_binary())
        .args(["run", "--socket"])
        .arg(server.socket())
        .args(["--", "/usr/bin/env"])
        .env_clear()
        .output()
        .unwrap();
    assert_eq!((output.stdout, output.stderr), (vec![], vec![]));
    assert!(output.status.success());
}

#[test]
fn a_megabyte_of_many_variables_passes() {
    let server = Server::start();
    let all = both(&server, |command| {
        for number in 0..16_000 {
            command.env(format!("VARIABLE_{number}"), "v".repeat(48));
        }
        command
    });
    assert!(all.iter().map(Vec::len).sum::<usize>() > 1024 * 1024 - 64 * 1024);
    assert!(all.len() > 16_000);
}

#[test]
fn a_single_variable_of_a_hundred_kilobytes_passes() {
    let server = Server::start();
    let value: Vec<u8> = (0..100 * 1024).map(|index| (index % 255 + 1) as u8).collect();
    let value = OsString::from_vec(value);
    let all = both(&server, |command| command.env("LARGE", &value));
    assert!(all.iter().any(|variable| variable.len() == 100 * 1024 + "LARGE=".len()));
}

/// What `zyg run OPTIONS -- env -0` prints is what `env OPTIONS env -0` prints.
fn as_env_does(zyg: &[&str], env: &[&str]) {
    let server = Server::start();
    let given = |command: &mut Command| {
        command.env("ZYG_SOCKET", server.socket()).env("A", "a").env("B", "b");
    };
    let mut with_zyg = server.zyg("run");
    with_zyg.args(zyg).args(["--", "/usr/bin/env", "-0"]);
    let mut with_env = Command::new("env");
    with_env.env_remove("ZYG_PROFILE").args(env).args(["/usr/bin/env", "-0"]);
    let [zyg, env] = [(Way::Zyg, with_zyg), (Way::Bare, with_env)].map(|(way, mut command)| {
        given(&mut command);
        variables(&Seen::of(way, command.output().unwrap()))
    });
    assert_eq!(zyg, env);
}

#[test]
fn setenv_adds_and_replaces() {
    as_env_does(&["--setenv", "A=1", "--setenv", "C=x=y"], &["A=1", "C=x=y"]);
    as_env_does(&["--setenv", "A=1", "--setenv", "A=2", "--setenv=D="], &["A=1", "A=2", "D="]);
}

#[test]
fn unsetenv_removes() {
    as_env_does(&["--unsetenv", "A", "--unsetenv", "NO_SUCH"], &["-u", "A", "-u", "NO_SUCH"]);
}

#[test]
fn of_setenv_and_unsetenv_the_last_holds() {
    as_env_does(&["--setenv", "A=1", "--unsetenv", "A"], &["-u", "A"]);
    as_env_does(&["--unsetenv", "A", "--setenv", "A=1"], &["A=1"]);
}

#[test]
fn clearenv_leaves_what_setenv_adds() {
    as_env_does(&["--clearenv"], &["-i"]);
    as_env_does(&["--setenv", "A=1", "--clearenv"], &["-i", "A=1"]);
}

#[test]
fn the_search_for_the_program_uses_the_commands_own_path() {
    let server = Server::start();
    let directory = tempfile::tempdir_in("/tmp").unwrap();
    crate::arguments::script(&directory.path().join("only-here"), "#!/bin/sh\necho found\n");
    let mut setenv = OsString::from("PATH=");
    setenv.push(directory.path());
    let output =
        server.zyg("run").arg("--setenv").arg(setenv).args(["--", "only-here"]).output().unwrap();
    assert_eq!(output.stdout, b"found\n");
    let unset = server.zyg("run").args(["--unsetenv", "PATH", "--", "env"]).output().unwrap();
    assert!(unset.status.success(), "the default of execvp(3) holds: {unset:?}");
}

#[test]
fn setenv_without_a_value_is_refused() {
    let server = Server::start();
    for wrong in ["A", "=A", ""] {
        let output =
            server.zyg("run").args(["--setenv", wrong, "--", "echo", "ran"]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(125), "{wrong:?}");
        assert!(said.contains("KEY=VALUE") && output.stdout.is_empty(), "{wrong:?}: {said}");
    }
}

#[test]
fn zyg_variables_reach_the_command() {
    let server = Server::start();
    let argv = ["sh", "-c", "echo $ZYG_SOCKET"];
    let seen = same_when(&server, &argv, |command| command);
    assert_eq!(seen.stdout, format!("{}\n", server.socket().display()).as_bytes());
}
