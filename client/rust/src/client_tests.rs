//! Whole conversations, with a thread that plays server and init by a script.

#[path = "client_tests/ahead.rs"]
mod ahead;

#[path = "client_tests/peer.rs"]
mod peer;

#[path = "client_tests/many.rs"]
mod several;

#[path = "client_tests/orders.rs"]
mod orders;

use super::*;
use crate::channel::LeaseError;
use crate::command::RunError;
use crate::connect::{Places, private_socket};
use crate::spawn::SpawnError;
use crate::start::listening_socket;
use crate::stdio::Stdio;
use peer::{Granting, Peer, play, text};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixListener;
use std::thread::ScopedJoinHandle;
use std::time::Duration;
use tempfile::TempDir;
use zyg_protocol::codec::{Message, decode, encode};
use zyg_protocol::limits::{EXEC_BYTES_MAX, EXEC_DESCRIPTORS_MAX, MESSAGE_BYTES_MAX, WIRE_VERSION};
use zyg_protocol::message::*;
use zyg_protocol::socket;

/// The command's first argument.
fn argument(exec: &Exec) -> &str {
    exec.argv.iter().nth(1).unwrap().to_str().unwrap()
}

#[test]
fn a_lease_is_acquired_prepared_used_and_released() {
    std::thread::scope(|scope| {
        let (client, server) = play(scope, |server| {
            let target = Bytes::from(&b"/data"[..]);
            let attach = vec![Attach::Tree { target: target.clone() }, Attach::Tmpfs { target }];
            let Granting { acquire, init, alive } = server.grant(attach.clone());
            assert_eq!(acquire.profile.as_deref(), Some("strict"));
            assert_eq!(acquire.wait_ms, Some(1000));
            let Some((ToInit::Prepare(prepare), trees)) = init.hear() else { panic!("no prepare") };
            assert_eq!((prepare.attach, trees.len()), (attach, 1));
            assert_eq!(prepare.hostname.as_deref(), Some("box"));
            let read_only = vec![Bytes::from(&b"/"[..])];
            init.say(&FromInit::Prepared { read_only }, &[]);

            let (exec, descriptors) = init.hear_exec();
            assert_eq!(text(&exec.program), "tool");
            assert_eq!(exec.argv, Strings::from_iter(["name", "a", "b"]));
            assert_eq!(exec.env, Strings::from_iter(["K=V"]));
            assert_eq!(exec.cwd.as_ref().map(text), Some("/work/sub"));
            assert_eq!(exec.descriptors, [0, 1, 2]);
            assert!(exec.sweep);
            let mut stdout = File::from(descriptors.into_iter().nth(1).unwrap());
            init.start(&exec);
            stdout.write_all(b"printed").unwrap();
            drop(stdout);
            init.exit(exec.command, 3);

            let Some((Request::Release { lease }, _)) = server.hear() else { panic!("no release") };
            assert_eq!(lease, LeaseId(7));
            drop(alive);
            assert!(init.hear::<ToInit>().is_none(), "the channel is closed");
            assert!(server.hear::<Request>().is_none(), "released once");
        });
        let mut options = LeaseOptions::new();
        options.profile("strict").wait(Duration::from_secs(1)).hostname("box").cwd("/work");
        let lease = client.acquire(&options).unwrap();
        assert_eq!(lease.id(), LeaseId(7));
        assert_eq!(lease.start(), Start::Cold(ColdReason::FirstUse));
        assert_eq!(lease.waited(), Duration::from_micros(250));
        assert_eq!(lease.read_only(), [Path::new("/")]);
        let mut command = lease.command("tool");
        command.arg0("name").args(["a", "b"]).env_clear().env("K", "V").current_dir("sub");
        let output = command.sweep(true).output().unwrap();
        assert_eq!(output.status.code(), Some(3));
        assert_eq!(output.stdout, b"printed");
        lease.release().unwrap();
        drop(client);
        server.join().unwrap();
    });
}

#[test]
fn a_plain_lease_is_not_prepared_and_starts_where_the_caller_is() {
    std::thread::scope(|scope| {
        let (client, server) = play(scope, |server| {
            let granting = server.grant(Vec::new());
            (granting.init.run(0), granting)
        });
        let lease = client.lease().unwrap();
        let mut child = lease.command("true").spawn().unwrap();
        assert_eq!(child.id(), 2);
        assert!(child.usage().is_none());
        assert!(child.wait().unwrap().success());
        assert_eq!(child.usage().unwrap().wall_us, 42);
        assert!(child.try_wait().unwrap().unwrap().success(), "its end stays known");
        child.kill().unwrap();
        let (exec, _granting) = server.join().unwrap();
        let here = std::env::current_dir().unwrap();
        assert_eq!(exec.cwd.unwrap(), here.as_os_str().as_bytes());
        assert_eq!(exec.env.iter().count(), std::env::vars_os().count());
        assert_eq!(exec.umask, None);
    });
}

#[test]
fn several_commands_of_one_lease_run_at_once() {
    const COMMANDS: u8 = 6;
    std::thread::scope(|scope| {
        let (client, server) = play(scope, |server| {
            let granting = server.grant(Vec::new());
            let commands: Vec<_> = (0..COMMANDS).map(|_| granting.init.hear_exec().0).collect();
            commands.iter().for_each(|exec| granting.init.start(exec));
            for exec in commands.iter().rev() {
                granting.init.exit(exec.command, argument(exec).parse().unwrap());
            }
            granting
        });
        let lease = client.lease().unwrap();
        std::thread::scope(|scope| {
            for code in 0..COMMANDS {
                let mut command = lease.command("exit");
                scope.spawn(move || {
                    let status = command.arg(code.to_string()).status().unwrap();
                    assert_eq!(status.code(), Some(i32::from(code)));
                });
            }
        });
        server.join().unwrap();
    });
}

#[test]
fn a_wait_with_a_time_ends_with_it_and_can_be_repeated() {
    std::thread::scope(|scope| {
        let (client, server) = play(scope, |server| {
            let granting = server.grant(Vec::new());
            let (exec, _) = granting.init.hear_exec();
            granting.init.start(&exec);
            let signalled = granting.init.hear::<ToInit>().unwrap().0;
            granting.init.exit(exec.command, 0);
            (signalled, granting)
        });
        let lease = client.lease().unwrap();
        let mut child = lease.command("sleep").spawn().unwrap();
        assert!(child.try_wait().unwrap().is_none());
        assert!(child.wait_timeout(Duration::from_millis(5)).unwrap().is_none());
        child.signals().send(15, Scope::Group).unwrap();
        assert!(child.wait_timeout(Duration::MAX).unwrap().unwrap().success());
        let (signalled, _granting) = server.join().unwrap();
        let expected = ToInit::Signal { command: 1, signal: 15, scope: Scope::Group };
        assert_eq!(signalled, expected);
    });
}

#[test]
fn a_command_that_cannot_be_run_says_where_and_why() {
    std::thread::scope(|scope| {
        let (client, server) = play(scope, |server| {
            let granting = server.grant(Vec::new());
            let (exec, _) = granting.init.hear_exec();
            let subject = exec.program.clone();
            let failure = Failure { step: Step::Execute, errno: 2, subject };
            granting.init.say(&FromInit::Failed { command: exec.command, failure }, &[]);
            granting
        });
        let lease = client.lease().unwrap();
        let error = lease.command("nonesuch").spawn().unwrap_err();
        let failure = error.failure().unwrap();
        assert_eq!((failure.step, failure.errno), (Step::Execute, 2));
        let error = std::io::Error::from(error);
        assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
        assert!(error.to_string().starts_with("failed to execute nonesuch: "), "{error}");
        server.join().unwrap();
    });
}

#[test]
fn a_command_that_is_too_large_for_a_message_travels_in_a_memfd() {
    let long = "x".repeat(2 * MESSAGE_BYTES_MAX);
    std::thread::scope(|scope| {
        let (client, server) = play(scope, |server| {
            let granting = server.grant(Vec::new());
            let (message, mut descriptors) = granting.init.hear::<ToInit>().unwrap();
            let mut stored = Vec::new();
            File::from(descriptors.pop().unwrap()).read_to_end(&mut stored).unwrap();
            let exec: Exec = decode(&stored).unwrap();
            assert_eq!(message, ToInit::ExecStored { command: exec.command });
            assert_eq!(descriptors.len(), EXEC_DESCRIPTORS_MAX);
            assert_eq!(exec.descriptors.len(), EXEC_DESCRIPTORS_MAX);
            granting.init.start(&exec);
            granting.init.exit(exec.command, 0);
            (exec, granting)
        });
        let lease = client.lease().unwrap();
        let mut command = lease.command("echo");
        command.arg(&long);
        for number in 3..EXEC_DESCRIPTORS_MAX as i32 {
            command.descriptor(number, File::open("/dev/null").unwrap());
        }
        assert!(command.status().unwrap().success());
        let (exec, _granting) = server.join().unwrap();
        assert_eq!(argument(&exec), long);
    });
}

#[test]
fn what_cannot_be_sent_is_refused_by_kind_and_harms_nothing() {
    use std::io::ErrorKind::{ArgumentListTooLong, InvalidInput};
    std::thread::scope(|scope| {
        let (client, server) = play(scope, |server| {
            let granting = server.grant(Vec::new());
            (granting.init.run(0), granting)
        });
        let lease = client.lease().unwrap();
        let null = || File::open("/dev/null").unwrap();
        let error = lease.command("echo").arg("x".repeat(EXEC_BYTES_MAX)).spawn().unwrap_err();
        assert!(matches!(error, SpawnError::TooBig) && error.kind() == ArgumentListTooLong);
        for error in [
            lease.command("a\0b").spawn().unwrap_err(),
            lease.command("a").arg("\0").spawn().unwrap_err(),
            lease.command("a").env("K", "\0").spawn().unwrap_err(),
            lease.command("a").current_dir("\0").spawn().unwrap_err(),
            lease.command("a").descriptor(-1, null()).spawn().unwrap_err(),
            lease.command("a").descriptor(1024, null()).spawn().unwrap_err(),
        ] {
            assert_eq!(error.kind(), InvalidInput, "{error}");
        }
        let mut command = lease.command("a");
        for number in 3..=EXEC_DESCRIPTORS_MAX as i32 {
            command.descriptor(number, null());
        }
        assert!(matches!(command.spawn(), Err(SpawnError::TooManyDescriptors(64))));
        assert!(lease.command("a").status().unwrap().success());
        server.join().unwrap();
    });
}

#[test]
fn standard_streams_are_piped_given_or_the_terminal() {
    std::thread::scope(|scope| {
        let (client, server) = play(scope, |server| {
            let granting = server.grant(Vec::new());
            let init = &granting.init;
            let (exec, mut descriptors) = init.hear_exec();
            assert_eq!(exec.descriptors, [0, 1, 2, 9]);
            init.start(&exec);
            let mut input = String::new();
            File::from(descriptors.remove(0)).read_to_string(&mut input).unwrap();
            drop(descriptors);
            init.exit(exec.command, u8::from(input == "fed"));

            let (exec, descriptors) = init.hear_exec();
            assert_eq!((exec.descriptors.as_slice(), descriptors.len()), (&[][..], 0));
            assert_eq!(exec.tty, Some(TtySize { rows: 24, columns: 80 }));
            let started = FromInit::Started { command: exec.command, pid: 3 };
            init.say(&started, &[granting.alive.as_fd()]);

            let (exec, _) = init.hear_exec();
            init.say(&FromInit::Started { command: exec.command, pid: 4 }, &[init.0.as_fd()]);
            granting
        });
        let lease = client.lease().unwrap();
        let (null, passed) = (|| File::options().write(true).open("/dev/null").unwrap(), 9);
        let mut command = lease.command("cat");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).descriptor(2, null());
        let mut child = command.descriptor(passed, null()).spawn().unwrap();
        assert!(child.stderr.is_none());
        child.stdin.as_mut().unwrap().write_all(b"fed").unwrap();
        // Closes the input first: else neither would ever come to an end.
        assert_eq!(child.wait_with_output().unwrap().status.code(), Some(1));

        let child = lease.command("top").tty(TtySize { rows: 24, columns: 80 }).spawn().unwrap();
        assert!(child.terminal.is_some());
        let error = lease.command("top").spawn().unwrap_err();
        assert!(
            matches!(error, SpawnError::Lease(LeaseError::Malformed(_))),
            "no tty was asked for"
        );
        server.join().unwrap();
    });
}

#[test]
fn the_leases_end_is_known_to_every_waiter_at_once() {
    std::thread::scope(|scope| {
        let (client, server) = play(scope, |server| {
            let granting = server.grant(Vec::new());
            let (exec, _) = granting.init.hear_exec();
            granting.init.start(&exec);
        });
        let lease = client.lease().unwrap();
        let mut child = lease.command("sleep").spawn().unwrap();
        let error = child.wait().unwrap_err();
        assert!(error.to_string().starts_with("the server ended the lease"), "{error}");
        let error = lease.command("true").status().unwrap_err();
        assert!(matches!(error, RunError::Lease(LeaseError::Ended)));
        assert_eq!(std::io::Error::from(error).kind(), std::io::ErrorKind::ConnectionAborted);
        let error = lease.command("true").spawn().unwrap_err();
        assert!(matches!(error, SpawnError::Lease(LeaseError::Ended)));
        assert_eq!(std::io::Error::from(error).kind(), std::io::ErrorKind::ConnectionAborted);
        server.join().unwrap();
        lease.release().unwrap();
    });
}

#[test]
fn an_environment_that_cannot_be_prepared_is_given_back() {
    std::thread::scope(|scope| {
        let (client, server) = play(scope, |server| {
            let _granting = ahead::grant_in_vain(&server);
            server.hear::<Request>().unwrap().0
        });
        let error = client.lease().unwrap_err();
        assert!(matches!(error, AcquireError::Prepare(Failure { step: Step::Layer, .. })));
        assert_eq!(server.join().unwrap(), Request::Release { lease: LeaseId(7) });
    });
}

#[test]
fn threads_share_one_session() {
    const THREADS: u64 = 8;
    std::thread::scope(|scope| {
        let (client, server) = play(scope, |server| {
            let mut requests: Vec<_> =
                (0..THREADS).map(|_| server.hear::<Request>().unwrap().0).collect();
            while let Some(Request::Status { request }) = requests.pop() {
                let status = Status { uptime_ms: request, ..Status::default() };
                server.say(&Reply::Status { request, status }, &[]);
            }
        });
        let mut answers: Vec<_> = std::thread::scope(|scope| {
            let ask = || client.status().unwrap().uptime_ms;
            let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(ask)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        answers.sort_unstable();
        assert!(answers.iter().copied().eq(1..=THREADS), "{answers:?}");
        server.join().unwrap();
    });
}

#[test]
fn a_denial_is_an_answer_and_a_refusal_is_the_end() {
    std::thread::scope(|scope| {
        let (client, server) = play(scope, |server| {
            let request = server.hear_acquire().request;
            server.say(&Reply::Denied { request, denial: Denial::Draining }, &[]);
            let _ = server.hear_acquire();
            server.say(&Reply::Refused(Refusal::TooManySessions { limit: 9 }), &[]);
        });
        assert!(matches!(client.lease(), Err(AcquireError::Denied(Denial::Draining))));
        for _ in 0..2 {
            let error = client.lease().unwrap_err().to_string();
            assert!(error.contains("too many sessions: 9"), "{error}");
        }
        server.join().unwrap();
    });
}

#[test]
fn a_server_of_another_release_is_called_that() {
    let refusal = Refusal::WrongVersion { got: WIRE_VERSION, want: 9 };
    let mut old = Vec::new();
    encode(&Reply::Refused(refusal.clone()), &mut old).unwrap();
    let new = [&old[..4], &9_u16.to_le_bytes(), &old[6..]].concat();
    for bytes in [&old, &new] {
        std::thread::scope(|scope| {
            let (client, server) = play(scope, |server| {
                // Refused at once: the client's request may find nobody left.
                socket::send(server.0.as_fd(), bytes, &[]).unwrap();
            });
            server.join().unwrap();
            let error = client.status().unwrap_err();
            let RequestError::Session(SessionError::WrongVersion { got: 9, want }) = &error else {
                panic!("{error}")
            };
            assert_eq!(*want, WIRE_VERSION);
            assert!(error.to_string().contains("different releases"), "{error}");
        });
    }
}

#[test]
fn a_grant_with_other_descriptors_than_it_names_is_malformed() {
    std::thread::scope(|scope| {
        let (client, server) = play(scope, |server| {
            let request = server.hear_acquire().request;
            let granted = Granted {
                request,
                lease: LeaseId(1),
                start: Start::Warm,
                waited_us: 0,
                time_ms: None,
                start_in: None,
                attach: Vec::new(),
            };
            server.say(&Reply::Granted(granted), &[server.0.as_fd()]);
        });
        let error = client.lease().unwrap_err();
        let AcquireError::Request(RequestError::Session(SessionError::Malformed(_))) = error else {
            panic!("{error}")
        };
        server.join().unwrap();
    });
}

#[test]
fn an_end_without_a_word_is_told_at_once_where_the_server_was_named() {
    std::thread::scope(|scope| {
        let (client, server) = play(scope, drop);
        let error = client.status().unwrap_err();
        assert_eq!(error.to_string(), "the server closed the session");
        server.join().unwrap();
    });
}

/// A private server that hangs up on the first `leaving` clients and then serves one.
fn leave_then_serve(leaving: u32) -> (Result<Status, RequestError>, u32) {
    let place = TempDir::new().unwrap();
    let private = place.path().join("private");
    nix::unistd::mkdir(&private, nix::sys::stat::Mode::S_IRWXU).unwrap();
    // Accepting is the same for every type of Unix socket.
    let listening = UnixListener::from(listening_socket(&private_socket(&private)).unwrap());
    let places = Places { named: None, system: place.path().join("none"), private };
    std::thread::scope(|scope| {
        let server = scope.spawn(move || {
            for accepted in 0.. {
                let peer = Peer(listening.accept().unwrap().0.into());
                let Some((Request::Status { request }, _)) = peer.hear() else { return accepted };
                if accepted == leaving {
                    peer.say(&Reply::Status { request, status: Status::default() }, &[]);
                }
            }
            unreachable!("the client ends it by hanging up unasked")
        });
        let mut connector = Connector::new();
        let client = connector.places(places).connect().unwrap();
        let outcome = client.status();
        drop(client);
        // Unasked: the server's sign to stop.
        drop(connector.connect());
        (outcome, server.join().unwrap())
    })
}

#[test]
fn a_session_that_ends_before_its_first_answer_is_replaced() {
    for leaving in [0, 1, RETRIES_MAX] {
        let (outcome, accepted) = leave_then_serve(leaving);
        assert_eq!(outcome.unwrap(), Status::default());
        assert_eq!(accepted, leaving + 1);
    }
}

#[test]
fn a_server_that_leaves_every_time_is_given_up() {
    let (outcome, accepted) = leave_then_serve(RETRIES_MAX + 1);
    let error = outcome.unwrap_err();
    assert!(matches!(error, RequestError::Connect(ConnectError::ServerLeft { .. })), "{error}");
    assert_eq!(accepted, RETRIES_MAX + 1);
}
