//! Requests to run something that cannot be run: each is answered by name, and the lease goes on.

use crate::{assert_still_good, b, beside_a_bystander, exec};
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::libc;
use nix::sys::memfd::{MFdFlags, memfd_create};
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd};
use zyg_protocol::limits::{EXEC_BYTES_MAX, PATH_BYTES_MAX, TARGET_DESCRIPTOR_MAX};
use zyg_protocol::message::{Bytes, Exec, FromInit, Rlimit, Step, Strings, ToInit, TtySize};
use zyg_tests::{RawLease, bytes_of};

/// What is answered: step and error number.
fn failure(lease: &RawLease, message: &ToInit, descriptors: &[BorrowedFd<'_>]) -> (Step, i32) {
    lease.init.say_with(message, descriptors);
    match lease.init.from_init() {
        Some(FromInit::Failed { command: 1, failure }) => {
            assert!(failure.subject.len() <= PATH_BYTES_MAX);
            (failure.step, failure.errno)
        }
        other => panic!("{other:?}"),
    }
}

fn memfd(content: &[u8], seals: SealFlag) -> File {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let mut file = File::from(memfd_create(c"test", flags).unwrap());
    file.write_all(content).unwrap();
    fcntl(&file, FcntlArg::F_ADD_SEALS(seals)).unwrap();
    file
}

fn sealed(content: &[u8]) -> File {
    memfd(content, SealFlag::all().difference(SealFlag::F_SEAL_FUTURE_WRITE))
}

const STORED: ToInit = ToInit::ExecStored { command: 1 };

#[test]
fn a_stored_request_must_be_there_sealed_sound_and_meant() {
    beside_a_bystander(|_, _, lease| {
        let good = bytes_of(&exec(1, &["true"]));
        let read = Step::ReadRequest;
        assert_eq!(failure(&lease, &STORED, &[]), (read, libc::EBADF));
        let null = File::open("/dev/null").unwrap();
        assert_eq!(failure(&lease, &STORED, &[null.as_fd()]).0, read);
        let (pipe, _writer) = std::io::pipe().unwrap();
        assert_eq!(failure(&lease, &STORED, &[pipe.as_fd()]).0, read);
        for seals in [SealFlag::empty(), SealFlag::F_SEAL_SHRINK, SealFlag::F_SEAL_WRITE] {
            let file = memfd(&good, seals);
            assert_eq!(failure(&lease, &STORED, &[file.as_fd()]), (read, libc::EPERM));
        }
        let twice = good.repeat(2);
        for broken in [&b""[..], b"zyg", &good[..good.len() - 1], &twice] {
            let file = sealed(broken);
            assert_eq!(failure(&lease, &STORED, &[file.as_fd()]), (read, libc::EPROTO));
        }
        let other = sealed(&bytes_of(&exec(2, &["true"])));
        assert_eq!(failure(&lease, &STORED, &[other.as_fd()]), (read, libc::EPROTO));
        assert_still_good(&lease);
    });
}

#[test]
fn a_stored_request_has_a_bound() {
    beside_a_bystander(|_, _, lease| {
        for bytes in [EXEC_BYTES_MAX as u64 + 1, 1 << 40] {
            let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
            let file = File::from(memfd_create(c"large", flags).unwrap());
            file.set_len(bytes).unwrap();
            let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_WRITE;
            fcntl(&file, FcntlArg::F_ADD_SEALS(seals)).unwrap();
            let refused = failure(&lease, &STORED, &[file.as_fd()]);
            assert_eq!(refused, (Step::ReadRequest, libc::E2BIG));
        }
        assert_still_good(&lease);
    });
}

#[test]
fn a_stored_request_is_run_like_any_other() {
    beside_a_bystander(|_, _, lease| {
        let file = sealed(&bytes_of(&exec(1, &["true"])));
        lease.init.say_with(&STORED, &[file.as_fd()]);
        assert!(matches!(lease.init.from_init(), Some(FromInit::Started { command: 1, .. })));
    });
}

#[test]
fn descriptors_and_their_numbers_must_match() {
    beside_a_bystander(|_, _, lease| {
        let null = File::open("/dev/null").unwrap();
        let three = [null.as_fd(); 3];
        let numbered = |numbers: &[i32]| {
            ToInit::Exec(Exec { descriptors: numbers.to_vec(), ..exec(1, &["true"]) })
        };
        for (numbers, passed) in [(&[0][..], 0), (&[], 1), (&[0, 1], 3), (&[0, 1, 2, 3], 3)] {
            let refused = failure(&lease, &numbered(numbers), &three[..passed]);
            assert_eq!(refused, (Step::Descriptors, libc::EPROTO));
        }
        for number in [i32::MIN, -1, TARGET_DESCRIPTOR_MAX + 1, i32::MAX] {
            let refused = failure(&lease, &numbered(&[number]), &three[..1]);
            assert_eq!(refused, (Step::Descriptors, libc::EBADF));
        }
        // The control: the highest number is one.
        let test = ["test", "-e", "/proc/self/fd/1023"];
        let highest = Exec { descriptors: vec![TARGET_DESCRIPTOR_MAX], ..exec(1, &test) };
        lease.init.say_with(&ToInit::Exec(highest), &three[..1]);
        assert!(matches!(lease.init.from_init(), Some(FromInit::Started { .. })));
        assert!(matches!(
            lease.init.from_init(),
            Some(FromInit::Exited { status: zyg_protocol::message::ExitStatus::Code(0), .. })
        ));
        assert_still_good(&lease);
    });
}

#[test]
fn of_a_quiet_start_nothing_is_said_but_with_a_terminal() {
    beside_a_bystander(|_, _, lease| {
        let quiet = |args: &[&str]| Exec { quiet: true, ..exec(1, args) };
        let next = || lease.init.from_init().unwrap();
        lease.init.tell(&ToInit::Exec(quiet(&["true"])));
        assert!(matches!(next(), FromInit::Exited { command: 1, .. }));
        let missing = failure(&lease, &ToInit::Exec(quiet(&["/no/such/program"])), &[]);
        assert_eq!(missing, (Step::Execute, libc::ENOENT));
        let size = TtySize { rows: 24, columns: 80 };
        lease.init.tell(&ToInit::Exec(Exec { tty: Some(size), ..quiet(&["true"]) }));
        assert!(matches!(next(), FromInit::Started { command: 1, .. }));
        assert!(matches!(next(), FromInit::Exited { command: 1, .. }));
        assert_still_good(&lease);
    });
}

#[test]
fn strings_that_the_kernel_cannot_take_are_refused() {
    beside_a_bystander(|_, _, lease| {
        let read = (Step::ReadRequest, libc::EINVAL);
        let good = || exec(1, &["true"]);
        let zero = || b("a\0b");
        for bad in [
            Exec { argv: Strings::default(), ..good() },
            Exec { program: zero(), ..good() },
            Exec { cwd: Some(zero()), ..good() },
        ] {
            assert_eq!(failure(&lease, &ToInit::Exec(bad), &[]), read);
        }
        let unknown = Rlimit { resource: 9999, soft: 1, hard: 1 };
        let limited = Exec { rlimits: vec![unknown], ..good() };
        let refused = failure(&lease, &ToInit::Exec(limited), &[]);
        assert_eq!(refused, (Step::Rlimits, libc::EINVAL));
        let empty = Exec { program: b(""), ..good() };
        assert_eq!(failure(&lease, &ToInit::Exec(empty), &[]), (Step::Execute, libc::ENOENT));
        assert_still_good(&lease);
    });
}

#[test]
fn an_answer_fits_into_a_message_whatever_was_asked_for() {
    beside_a_bystander(|_, _, lease| {
        let long = || Bytes::from(vec![b'x'; 1_000_000]);
        let program = Exec { program: long(), ..exec(1, &["true"]) };
        let directory = Exec { cwd: Some(long()), ..exec(1, &["true"]) };
        for (asked, step) in [(program, Step::Execute), (directory, Step::Chdir)] {
            let file = sealed(&bytes_of(&asked));
            let refused = failure(&lease, &STORED, &[file.as_fd()]);
            assert_eq!(refused, (step, libc::ENAMETOOLONG));
        }
        assert_still_good(&lease);
    });
}

#[test]
fn zyg_run_answers_whatever_it_is_asked_for() {
    let server = crate::small_server();
    // Longer than any message, shorter than what execve(2) takes as one argument.
    let name = "x".repeat(100_000);
    let mut run = server.zyg("run");
    run.args(["--", &name]).stderr(std::process::Stdio::null());
    let ended = zyg_tests::soon("the end of zyg run", move || run.status().unwrap());
    assert_eq!(ended.code(), Some(126));
}
