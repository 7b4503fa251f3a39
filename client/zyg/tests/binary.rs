//! The binary as a program, without a server. Its being here also makes `cargo test` build it, for
//! all other tests.
#![expect(clippy::unwrap_used, reason = "a test reports by panicking")]

use std::process::{Command, Output};

fn zyg(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_zyg"))
        .args(arguments)
        .env("ZYG_SOCKET", "/no/such/zyg.sock")
        .output()
        .unwrap()
}

#[test]
fn the_version_is_told() {
    let output = zyg(&["--version"]);
    assert!(output.status.success());
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        format!("zyg {}\n", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn help_that_is_asked_for_is_no_failure() {
    for arguments in [&["--help"][..], &["help"], &["run", "--help"], &["serve", "-h"]] {
        let output = zyg(arguments);
        assert!(output.status.success() && output.stderr.is_empty(), "{arguments:?}: {output:?}");
        assert!(String::from_utf8_lossy(&output.stdout).contains("Usage: zyg"), "{arguments:?}");
    }
}

#[test]
fn the_exit_codes_of_a_verb_are_in_its_help() {
    for (verb, codes) in [
        ("run", &["124 ", "125 ", "126 ", "127 "][..]),
        ("reserve", &["0 ", "1 ", "125 "]),
        ("serve", &["0 ", "3 ", "4 ", "125 "]),
        ("drain", &["0 ", "3 ", "4 ", "125 "]),
        ("bench", &["0 ", "125 ", "130 "]),
    ] {
        let help = String::from_utf8(zyg(&[verb, "--help"]).stdout).unwrap();
        let (_, told) = help.split_once("xit codes").unwrap();
        let words = told.replace('\n', " ");
        for code in codes {
            assert!(words.contains(&format!(" {code}")), "{code} of {verb} is not in: {help}");
        }
    }
}

/// 2, as of most programs, but for `run`: there it could be the command's own.
#[test]
fn a_misuse_is_a_failure_of_zygs_own() {
    for (arguments, code) in [
        (&["no-such-verb"][..], 2),
        (&["serve", "--no-such-option"], 2),
        (&["reserve"], 2),
        (&["reserve", "some"], 2),
        (&["reserve", "8", "--for", "ever"], 2),
        (&["reserve", "8", "--wait=long"], 2),
        (&["drain", "--timeout", "soon"], 2),
        (&["drain", "now"], 2),
        (&["bench", "--rounds", "0"], 2),
        (&["bench", "--role", "boss"], 2),
        (&["bench", "--only", "aquire"], 125),
        (&["run", "--no-such-option", "true"], 125),
        (&["run"], 125),
        (&["run", "--timeout", "soon", "true"], 125),
    ] {
        let output = zyg(arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {output:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn without_a_server_a_run_says_so_once_and_runs_nothing() {
    let output = zyg(&["run", "--", "echo", "ran"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(125), 0), "{said}");
    assert_eq!(said.matches("/no/such/zyg.sock").count(), 2, "the socket and the advice: {said}");
    assert!(said.lines().count() == 1 && said.contains("unset ZYG_SOCKET"), "{said}");
}

#[test]
fn without_the_named_server_nothing_is_reserved_or_drained() {
    for arguments in [&["reserve", "8"][..], &["reserve", "--wait", "8"], &["drain"]] {
        let output = zyg(arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(125), 0), "{said}");
        assert!(said.lines().count() == 1 && said.contains("/no/such/zyg.sock"), "{said}");
    }
}
