//! `zyg config check`: a configuration judged without a server.

use std::fs;
use std::process::{Command, Output};
use tempfile::TempDir;
use zyg_tests::zyg_binary;

fn checked(place: &TempDir, toml: &str) -> Output {
    let file = place.path().join("zyg.toml");
    fs::write(&file, toml).unwrap();
    Command::new(zyg_binary()).args(["config", "check"]).arg(file).output().unwrap()
}

#[test]
fn a_good_file_is_called_good_with_its_profiles() {
    let place = tempfile::tempdir().unwrap();
    let toml = "[server]\nsocket = \"/run/x/zyg.sock\"\n[profile.build]\nhostname = \"build\"\n\
                writable = [\"/tmp\", \"~\", \".\"]\n[profile.build.pool]\nmin = 1\nmax = 2\n";
    for (toml, names) in [("", &["default"][..]), (toml, &["build", "default"])] {
        let output = checked(&place, toml);
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0), "{output:?}");
        assert!(names.iter().all(|name| said.contains(name)), "{said}");
        assert!(said.contains("zyg.toml"), "{said}");
    }
}

#[test]
fn every_mistake_is_named_with_file_line_and_the_nearest_key() {
    let place = tempfile::tempdir().unwrap();
    let toml =
        "[profile.default]\nwritabel = [\"/tmp\"]\n[profile.default.pool]\nmin = 9\nmax = 3\n";
    let output = checked(&place, toml);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{said}");
    for word in ["zyg.toml:2", "writabel", "writable", "zyg.toml:4", "min"] {
        assert!(said.contains(word), "{word} is not in: {said}");
    }
}

#[test]
fn what_is_no_toml_is_told_with_its_place() {
    let place = tempfile::tempdir().unwrap();
    let output = checked(&place, "[server]\nsocket = \n");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("zyg.toml:2"), "{said}");
}

#[test]
fn what_the_kernel_or_the_machine_does_not_know_is_named() {
    let place = tempfile::tempdir().unwrap();
    for (toml, words) in [
        ("[profile.p]\nseccomp = { deny = [\"ptrac\"] }\n", ["profile p", "\"ptrac\""]),
        ("[profile.p]\nseccomp = { allow = [\"bpff\"] }\n", ["profile p", "\"bpff\""]),
        ("[server]\nprefork_for = [\"no-such-user\"]\n", ["prefork_for", "no-such-user"]),
        ("[profile.p]\nallow_uids = [\"no-such-user\"]\n", ["allow_uids", "no-such-user"]),
        (
            "[profile.p]\nallow_gids = [\"root\", \"no-such-group\"]\n",
            ["allow_gids", "no-such-group"],
        ),
    ] {
        let output = checked(&place, toml);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{toml}: {said}");
        for word in words {
            assert!(said.contains(word), "{word} is not in: {said}");
        }
    }
    let known = "[profile.p]\nseccomp = { deny = [\"ptrace\"], allow = [\"bpf\"] }\n";
    assert_eq!(checked(&place, known).status.code(), Some(0), "the control");
}

#[test]
fn what_cannot_be_written_is_a_failure() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("zyg.toml");
    fs::write(&file, "").unwrap();
    let check_to = |out: &str| {
        let mut command = Command::new(zyg_binary());
        command.args(["config", "check"]).arg(&file);
        command.stdout(fs::OpenOptions::new().write(true).open(out).unwrap());
        command.output().unwrap()
    };
    let full = check_to("/dev/full");
    assert_eq!(full.status.code(), Some(125), "{full:?}");
    assert!(String::from_utf8_lossy(&full.stderr).contains("standard output"), "{full:?}");
    assert_eq!(check_to("/dev/null").status.code(), Some(0), "the control");
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let output =
        Command::new(zyg_binary()).args(["config", "check", "/no/such/zyg.toml"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("/no/such/zyg.toml"), "{said}");
    assert_eq!(said.matches("No such file").count(), 1, "once is enough: {said}");
}

#[test]
fn a_server_refuses_what_the_check_refuses() {
    let place = tempfile::tempdir().unwrap();
    assert_eq!(checked(&place, "[sever]\n").status.code(), Some(1));
    let mut serve = Command::new(zyg_binary());
    serve.args(["serve", "--config"]).arg(place.path().join("zyg.toml"));
    let output = serve.arg("--socket").arg(place.path().join("s.sock")).output().unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("sever"), "{output:?}");
}
