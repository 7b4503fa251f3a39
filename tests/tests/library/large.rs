//! Requests that do not fit into one message travel in memory; the kernel has the last word.

use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use zyg_tests::Server;
use zygote_client::{Lease, SpawnError};

/// Bytes of one variable: the kernel takes less than 128 KiB (`MAX_ARG_STRLEN`, execve(2)).
const VARIABLE_BYTES: usize = 100 * 1024;

fn print_sizes(lease: &Lease, variables: usize) -> Result<String, SpawnError> {
    let mut command = lease.command("/bin/sh");
    let value = "v".repeat(VARIABLE_BYTES);
    command.env_clear().current_dir("/");
    for number in 0..variables {
        command.env(format!("LARGE_{number:03}"), &value);
    }
    // The shell sees it all without executing anything else, which would need room again.
    command.args(["-c", "printf %s ${#LARGE_000}"]);
    match command.output() {
        Ok(output) => Ok(String::from_utf8(output.stdout).unwrap()),
        Err(zygote_client::RunError::Spawn(error)) => Err(error),
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn an_environment_of_megabytes_arrives() {
    let server = Server::start();
    let lease = server.client().lease().unwrap();
    let expected = VARIABLE_BYTES.to_string();
    // Below one message, 1 MiB, and what the stack limit of 8 MiB allows (a quarter: execve(2)).
    for variables in [1, 11, 20] {
        assert_eq!(print_sizes(&lease, variables).unwrap(), expected, "{variables} variables");
    }
}

#[test]
fn five_megabytes_arrive_where_the_stack_may_be_large_enough() {
    let server = Server::start();
    let lease = server.client().lease().unwrap();
    let mut command = lease.command("/bin/sh");
    let unlimited = u64::MAX;
    let resource = nix::libc::RLIMIT_STACK;
    let (_, hard) =
        nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_STACK).unwrap();
    if hard < 32 << 20 {
        return zyg_tests::skip("the hard limit on the stack is too low for a large environment");
    }
    command.rlimit(zygote_client::Rlimit { resource, soft: unlimited, hard: unlimited });
    command.env_clear().current_dir("/").args(["-c", "printf %s ${#LARGE_51}"]);
    for number in 0..52 {
        command.env(format!("LARGE_{number}"), "v".repeat(VARIABLE_BYTES));
    }
    assert_eq!(command.output().unwrap().stdout, VARIABLE_BYTES.to_string().as_bytes());
}

#[test]
fn many_arguments_arrive_in_order() {
    let server = Server::start();
    let lease = server.client().lease().unwrap();
    let arguments: Vec<_> = (0..100_000).map(|number| number.to_string()).collect();
    let mut command = lease.command("sh");
    command.args(["-c", r#"echo $# $1 "${99999}" "${100000}""#, "sh"]).args(&arguments);
    let output = command.current_dir("/").output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "100000 0 99998 99999\n");
}

#[test]
fn more_than_the_kernel_takes_is_refused_by_it() {
    let server = Server::start();
    let lease = server.client().lease().unwrap();
    let too_big = |result: Result<String, SpawnError>| {
        let error = std::io::Error::from(result.unwrap_err());
        assert_eq!(error.kind(), ErrorKind::ArgumentListTooLong, "{error}");
    };
    // Beyond three quarters of 8 MiB, whatever the stack limit; then beyond our own bound.
    too_big(print_sizes(&lease, 70));
    too_big(print_sizes(&lease, 90));
    // One string beyond MAX_ARG_STRLEN, small as the whole is.
    let long = "x".repeat(128 * 1024);
    let error = lease.command("true").arg(&long).current_dir("/").spawn().unwrap_err();
    assert_eq!(std::io::Error::from(error).kind(), ErrorKind::ArgumentListTooLong);
    let outside = std::process::Command::new("true").arg(&long).spawn().unwrap_err();
    assert_eq!(outside.kind(), ErrorKind::ArgumentListTooLong);
    // And the lease goes on.
    let odd = std::ffi::OsStr::from_bytes(b"\xff");
    assert!(lease.command("true").arg(odd).current_dir("/").status().unwrap().success());
}

#[test]
fn a_large_request_keeps_its_descriptors() {
    let server = Server::start();
    let lease = server.client().lease().unwrap();
    let mut command = lease.command("sh");
    command.args(["-c", "cat <&7; ls /proc/self/fd | tr '\\n' ' '"]).current_dir("/");
    command.env("LARGE", "v".repeat(VARIABLE_BYTES));
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "passed ").unwrap();
    command.descriptor(7, std::fs::File::open(file.path()).unwrap());
    let output = command.output().unwrap();
    // 3 is the list's own.
    assert_eq!(String::from_utf8_lossy(&output.stdout), "passed 0 1 2 3 7 ");
}
