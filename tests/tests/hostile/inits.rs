//! What a client says to the init of its lease, out of every rule: it costs the lease at most.

use crate::{assert_still_good, b, beside_a_bystander, exec};
use nix::libc;
use zyg_protocol::codec::Message;
use zyg_protocol::limits::{COMMANDS_MAX, MESSAGE_BYTES_MAX};
use zyg_protocol::message::{Attach, ExitStatus, FromInit, Prepare, Request, Scope, Step, ToInit};
use zyg_tests::{RawLease, bytes_of, soon, wait_readable};

/// Bytes that are no message to an init end the lease; the session is as good as before.
fn ends_the_lease(bytes: &[u8]) {
    beside_a_bystander(|_, session, lease| {
        lease.init.send(bytes, &[]);
        lease.init.assert_closed::<FromInit>();
        wait_readable(&lease.pidfd, "the end of the lease");
        assert_still_good(&session.lease());
    });
}

fn good() -> Vec<u8> {
    bytes_of(&ToInit::Exec(exec(1, &["true"])))
}

#[test]
fn an_empty_message_ends_the_lease() {
    ends_the_lease(&[]);
}

#[test]
fn half_a_header_ends_the_lease() {
    ends_the_lease(&good()[..8]);
}

#[test]
fn half_a_message_ends_the_lease() {
    let good = good();
    ends_the_lease(&good[..good.len() / 2]);
}

#[test]
fn garbage_ends_the_lease() {
    ends_the_lease(&[0xa5; 1000]);
}

#[test]
fn another_version_ends_the_lease() {
    let mut bytes = good();
    bytes[4] = 99;
    ends_the_lease(&bytes);
}

#[test]
fn a_message_of_another_conversation_ends_the_lease() {
    ends_the_lease(&bytes_of(&Request::Status { request: 1 }));
}

#[test]
fn an_oversized_message_ends_the_lease() {
    let mut bytes = good();
    bytes.resize(MESSAGE_BYTES_MAX + 1, 0);
    ends_the_lease(&bytes);
}

fn preparation<M: Message>(lease: &RawLease, message: &M) -> FromInit {
    lease.init.say(message);
    lease.init.from_init().expect("the lease goes on")
}

fn assert_nothing_runs(lease: &RawLease) {
    lease.init.tell(&ToInit::Exec(exec(1, &["true"])));
    match lease.init.from_init() {
        Some(FromInit::Failed { command: 1, failure }) => {
            assert_eq!(failure.step, Step::Fork);
            assert!(failure.to_string().contains("could not be prepared"), "{failure}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_lease_is_prepared_once() {
    beside_a_bystander(|_, _, lease| {
        let prepare = ToInit::Prepare(Prepare::default());
        assert!(matches!(preparation(&lease, &prepare), FromInit::Prepared { .. }));
        assert!(matches!(preparation(&lease, &prepare), FromInit::PrepareFailed(_)));
        assert_nothing_runs(&lease);
    });
}

#[test]
fn a_lease_is_prepared_before_its_first_command() {
    beside_a_bystander(|_, _, lease| {
        assert_still_good(&lease);
        let prepare = ToInit::Prepare(Prepare::default());
        assert!(matches!(preparation(&lease, &prepare), FromInit::PrepareFailed(_)));
        assert_nothing_runs(&lease);
    });
}

#[test]
fn a_preparation_that_cannot_be_made_is_told() {
    let tree = Attach::Tree { target: b("/tmp/x") };
    let tmpfs = |target: &[u8]| Attach::Tmpfs { target: target.to_vec().into() };
    let with = |attach: Attach| Prepare { attach: vec![attach], hostname: None };
    let named = |name: String| Prepare { attach: Vec::new(), hostname: Some(name) };
    for prepare in [
        with(tree),
        with(tmpfs(b"/usr/nonesuch")),
        with(tmpfs(b"/tmp/a\0b")),
        with(tmpfs(&vec![b'x'; 60_000])),
        with(Attach::Tree { target: vec![b'x'; 60_000].into() }),
        named("h".repeat(65)),
        named("h".repeat(60_000)),
    ] {
        beside_a_bystander(|_, _, lease| {
            let told = preparation(&lease, &ToInit::Prepare(prepare));
            assert!(matches!(told, FromInit::PrepareFailed(_)), "{told:?}");
            assert_nothing_runs(&lease);
        });
    }
}

#[test]
fn the_257th_command_at_once_is_refused_by_name() {
    beside_a_bystander(|_, _, lease| {
        let (mut started, mut refused) = (0, 0);
        for command in 1..=300 {
            lease.init.tell(&ToInit::Exec(exec(command, &["sleep", "infinity"])));
            match lease.init.from_init().unwrap() {
                FromInit::Started { .. } => started += 1,
                FromInit::Failed { failure, .. } => {
                    assert_eq!((failure.step, failure.errno), (Step::Fork, libc::EAGAIN));
                    assert!(failure.to_string().contains("more commands at once"), "{failure}");
                    refused += 1;
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((started, refused), (COMMANDS_MAX, 300 - COMMANDS_MAX));
        // Those that run go on; where one ends, there is room for another.
        kill(&lease, 17);
        assert_still_good(&lease);
    });
}

fn kill(lease: &RawLease, command: u32) {
    lease.init.tell(&ToInit::Signal { command, signal: libc::SIGKILL, scope: Scope::Process });
    match lease.init.from_init() {
        Some(FromInit::Exited { command: ended, status, .. }) => {
            assert_eq!(ended, command);
            let killed = ExitStatus::Signal { signal: libc::SIGKILL, core_dumped: false };
            assert_eq!(status, killed);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_signal_to_nobody_or_of_no_kind_does_nothing() {
    beside_a_bystander(|_, _, lease| {
        lease.init.tell(&ToInit::Exec(exec(1, &["sleep", "infinity"])));
        assert!(matches!(lease.init.from_init(), Some(FromInit::Started { command: 1, .. })));
        for scope in [Scope::Process, Scope::Group] {
            for command in [0, 2, u32::MAX] {
                lease.init.tell(&ToInit::Signal { command, signal: libc::SIGKILL, scope });
            }
            for signal in [i32::MIN, -libc::SIGKILL, -1, 0, 65, 1000, i32::MAX] {
                lease.init.tell(&ToInit::Signal { command: 1, signal, scope });
            }
        }
        // The control: the first that means something ends it.
        kill(&lease, 1);
        // Its number is free again, and nothing is sent to what had it before.
        lease.init.tell(&ToInit::Signal { command: 1, signal: 9, scope: Scope::Process });
        lease.init.tell(&ToInit::Exec(exec(1, &["true"])));
        assert!(matches!(lease.init.from_init(), Some(FromInit::Started { command: 1, .. })));
        assert!(matches!(
            lease.init.from_init(),
            Some(FromInit::Exited { command: 1, status: ExitStatus::Code(0), .. })
        ));
    });
}

#[test]
fn a_number_that_runs_cannot_be_used_again() {
    beside_a_bystander(|_, _, lease| {
        lease.init.tell(&ToInit::Exec(exec(1, &["sleep", "infinity"])));
        assert!(matches!(lease.init.from_init(), Some(FromInit::Started { command: 1, .. })));
        lease.init.tell(&ToInit::Exec(exec(1, &["true"])));
        match lease.init.from_init() {
            Some(FromInit::Failed { command: 1, failure }) => {
                assert_eq!(failure.errno, libc::EEXIST);
            }
            other => panic!("{other:?}"),
        }
        kill(&lease, 1);
    });
}

#[test]
fn a_client_that_never_reads_from_init_harms_its_lease_alone() {
    beside_a_bystander(|server, session, lease| {
        // Each is answered, none is read: at some point init reads no more, and this blocks until
        // the lease ends.
        let init = lease.init;
        let talk = std::thread::spawn(move || {
            let command = bytes_of(&ToInit::Exec(exec(1, &["nonesuch"])));
            for _ in 0..20_000 {
                init.send(&command, &[]);
            }
        });
        for _ in 0..20 {
            let other = server.client().lease().unwrap();
            assert!(other.command("true").status().unwrap().success());
            other.release().unwrap();
        }
        session.say(&Request::Release { lease: lease.granted.lease });
        wait_readable(&lease.pidfd, "the end of the lease");
        soon("the end of the talk", move || talk.join().unwrap());
    });
}
