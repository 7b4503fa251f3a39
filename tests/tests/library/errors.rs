//! What cannot be started says so, as the standard library does.

use crate::{assert_same, both};
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use zyg_tests::Server;
use zygote_client::{LeaseOptions, SpawnError, Step};

fn kind(error: SpawnError) -> ErrorKind {
    std::io::Error::from(error).kind()
}

#[test]
fn what_cannot_be_executed_fails_with_the_same_kind() {
    let server = Server::start();
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str, mode| {
        let path = directory.path().join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    };
    let plain = file("plain", "#!/bin/sh\n", 0o644);
    let interpreter = file("interpreter", "#!/no/such/interpreter\n", 0o755);
    let script = file("script", "#!/bin/sh\necho ran\n", 0o755);
    let lease = server.client().acquire(LeaseOptions::new().cwd(directory.path())).unwrap();
    let cases = [
        ("no-such-program", ErrorKind::NotFound),
        ("/no/such/program", ErrorKind::NotFound),
        ("./missing", ErrorKind::NotFound),
        ("", ErrorKind::NotFound),
        (plain.to_str().unwrap(), ErrorKind::PermissionDenied),
        (directory.path().to_str().unwrap(), ErrorKind::PermissionDenied),
        ("/usr", ErrorKind::PermissionDenied),
        ("/etc/passwd", ErrorKind::PermissionDenied),
        ("/etc/passwd/x", ErrorKind::NotADirectory),
        (interpreter.to_str().unwrap(), ErrorKind::NotFound),
    ];
    for (program, expected) in cases {
        // A directory in PATH that may not be searched would be the reason.
        assert_same(both!(lease, program, |command| command.env("PATH", "/usr/bin:/bin")));
        let error = lease.command(program).env("PATH", "/usr/bin:/bin").spawn().unwrap_err();
        assert_eq!(kind(error), expected, "{program:?}");
    }
    assert_eq!(assert_same(both!(lease, &script, |command| command.arg("x"))), "ran\n");
}

#[test]
fn a_zero_byte_is_refused_wherever_it_is() {
    let server = Server::start();
    let lease = server.client().lease().unwrap();
    assert_same(both!(lease, "tr\0ue", |command| command.arg("x")));
    assert_same(both!(lease, "true", |command| command.arg("a\0b")));
    assert_same(both!(lease, "true", |command| command.env("A", "b\0c")));
    assert_same(both!(lease, "true", |command| command.current_dir("/\0")));
    assert_eq!(kind(lease.command("tr\0ue").spawn().unwrap_err()), ErrorKind::InvalidInput);
}

#[test]
fn an_error_says_which_step_failed() {
    let server = Server::start();
    let lease = server.client().lease().unwrap();
    let step = |error| match error {
        SpawnError::Failed(failure) => failure.step,
        other => panic!("{other}"),
    };
    assert_eq!(
        step(lease.command("/no/such").current_dir("/").spawn().unwrap_err()),
        Step::Execute
    );
    let error = lease.command("true").current_dir("/no/such").spawn().unwrap_err();
    assert_eq!(
        error.to_string(),
        "failed to change to directory /no/such: No such file or directory (os error 2)"
    );
    assert_eq!(step(error), Step::Chdir);
    // A failure costs nothing but the command.
    assert!(lease.command("true").current_dir("/").status().unwrap().success());
}

#[test]
fn descriptors_beyond_the_limits_are_refused_by_name() {
    let server = Server::start();
    let lease = server.client().lease().unwrap();
    let null = || fs::File::open("/dev/null").unwrap();
    for number in [-1, 1024, i32::MAX] {
        let error = lease.command("true").descriptor(number, null()).spawn().unwrap_err();
        assert!(matches!(error, SpawnError::DescriptorNumber(refused) if refused == number));
    }
    let mut many = lease.command("true");
    (3..70).for_each(|number| {
        many.descriptor(number, null());
    });
    assert!(matches!(many.spawn().unwrap_err(), SpawnError::TooManyDescriptors(70)));
}
