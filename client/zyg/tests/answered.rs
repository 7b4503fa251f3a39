//! `zyg reserve` and `zyg drain` with a server of the test's own that answers as it is told: what a
//! real one says once in a blue moon among it.
#![expect(clippy::unwrap_used, reason = "a test reports by panicking")]

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket,
};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Output};
use zyg_protocol::codec::{decode, encode};
use zyg_protocol::limits::MESSAGE_BYTES_MAX;
use zyg_protocol::message::{Denial, PoolStatus, Reply, Request, Status};
use zyg_protocol::socket::{receive, send};

fn listener(path: &Path) -> UnixListener {
    let flags = SockFlag::SOCK_CLOEXEC;
    let socket = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None).unwrap();
    bind(socket.as_raw_fd(), &UnixAddr::new(path).unwrap()).unwrap();
    listen(&socket, Backlog::MAXCONN).unwrap();
    // Accepting is the same for every type of Unix socket.
    socket.into()
}

fn hear(session: &OwnedFd) -> Option<Request> {
    let mut buffer = vec![0; MESSAGE_BYTES_MAX];
    let received = receive(session.as_fd(), &mut buffer).unwrap();
    (received.bytes > 0).then(|| decode(&buffer[..received.bytes]).unwrap())
}

fn say(session: &OwnedFd, reply: &Reply) {
    let mut buffer = Vec::new();
    encode(reply, &mut buffer).unwrap();
    send(session.as_fd(), &buffer, &[]).unwrap();
}

/// Runs zyg against a server that answers what it is asked like this, and hangs up when there is no
/// answer.
fn zyg(arguments: &[&str], mut answer: impl FnMut(Request) -> Option<Reply> + Send) -> Output {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("s.sock");
    let listener = listener(&path);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let session = OwnedFd::from(listener.accept().unwrap().0);
            while let Some(reply) = hear(&session).and_then(&mut answer) {
                say(&session, &reply);
            }
        });
        let mut zyg = Command::new(env!("CARGO_BIN_EXE_zyg"));
        zyg.args(arguments).env("ZYG_SOCKET", &path).env_remove("ZYG_PROFILE").output().unwrap()
    })
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// A pool of the caller's.
fn pool(name: &str, warm: u32) -> PoolStatus {
    let uid = nix::unistd::geteuid().as_raw();
    PoolStatus { name: name.into(), uid, warm, ..PoolStatus::default() }
}

#[test]
fn the_exit_code_of_a_drain_says_what_became_of_the_leases() {
    for (ended, stuck, code, words) in [
        (0, 0, 0, "every lease had finished by itself"),
        (2, 0, 3, "2 leases"),
        (0, 1, 4, "1 environment is left"),
        (5, 3, 4, "3 environments are left"),
    ] {
        for json in [false, true] {
            let arguments = if json { &["drain", "--json"][..] } else { &["drain"] };
            let output = zyg(arguments, |request| match request {
                Request::Drain { request, timeout_ms: None } => {
                    Some(Reply::Drained { request, ended, stuck })
                }
                other => panic!("{other:?}"),
            });
            assert_eq!(output.status.code(), Some(code), "{output:?}");
            let said = text(&output.stderr);
            assert!(said.starts_with("zyg: ") && said.lines().count() == 1, "{said}");
            assert!(said.contains(words), "{said}");
            let counts = format!("{{\"ended\":{ended},\"stuck\":{stuck},\"version\":1}}\n");
            assert_eq!(text(&output.stdout), if json { &counts } else { "" });
        }
    }
}

#[test]
fn the_time_of_a_drain_is_passed_on() {
    let output = zyg(&["drain", "--timeout", "1m"], |request| match request {
        Request::Drain { request, timeout_ms: Some(60_000) } => {
            Some(Reply::Drained { request, ended: 0, stuck: 0 })
        }
        other => panic!("{other:?}"),
    });
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn a_drain_that_was_not_carried_out_is_a_failure_of_zygs_own() {
    let denied = zyg(&["drain"], |request| match request {
        Request::Drain { request, .. } => {
            Some(Reply::Denied { request, denial: Denial::NotYours { uid: 5, serves: 0 } })
        }
        other => panic!("{other:?}"),
    });
    let hung_up = zyg(&["drain"], |_| None);
    let too_long = zyg(&["drain", "--timeout", "25h"], |other| panic!("{other:?}"));
    for (output, words) in [
        (denied, "only root and uid 0"),
        (hung_up, "the server closed the session"),
        (too_long, "without a timeout"),
    ] {
        let said = text(&output.stderr);
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(125), ""), "{said}");
        assert!(said.lines().count() == 1 && said.contains(words), "{said}");
    }
}

#[test]
fn a_wait_returns_as_soon_as_enough_of_ones_own_are_warm() {
    let mut looks = 0;
    let output =
        zyg(&["reserve", "-p", "p", "8", "--wait", "--for=90s"], |request| match request {
            Request::Reserve { request, profile, count: 8, ttl_ms: 90_000 } => {
                assert_eq!(profile.as_deref(), Some("p"));
                Some(Reply::Reserved { request, floor: 12 })
            }
            Request::Status { request } => {
                looks += 1;
                // Not another profile's, another user's or an earlier generation's.
                let profiles = vec![
                    pool("other", 99),
                    PoolStatus { uid: 1_234_567, ..pool("p", 99) },
                    PoolStatus { retired: true, ..pool("p", 99) },
                    pool("p", 5 + looks),
                ];
                Some(Reply::Status { request, status: Status { profiles, ..Status::default() } })
            }
            other => panic!("{other:?}"),
        });
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""));
    assert_eq!(text(&output.stdout), "8 environments of profile p are kept warm for 90s\n");
    assert_eq!(looks, 3);
}

#[test]
fn a_wait_in_vain_says_why_nothing_gets_warm() {
    let output = zyg(&["reserve", "8", "--wait=50ms", "--json"], |request| match request {
        Request::Reserve { request, profile: None, .. } => {
            Some(Reply::Reserved { request, floor: 4 })
        }
        Request::Status { request } => {
            let failing = Some("no namespaces here".to_owned());
            let profiles = vec![PoolStatus { failing, ..pool("default", 1) }];
            Some(Reply::Status { request, status: Status { profiles, ..Status::default() } })
        }
        other => panic!("{other:?}"),
    });
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said: Vec<_> = text(&output.stderr).lines().collect();
    assert_eq!(
        said,
        [
            "zyg: 8 were asked for: `max` and `quota` of profile default, and `zygotes_max` and `quota` \
             of the server, allow no more than 4",
            "zyg: 1 of 4 environments of profile default are warm after 50ms: they cannot be built: \
             no namespaces here",
        ]
    );
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let expected = serde_json::json!({
        "version": 1, "profile": "default", "asked": 8, "kept": 4, "floor": 4, "for_ms": 600_000,
        "warm": 1, "failing": "no namespaces here",
    });
    assert_eq!(told, expected);
}

#[test]
fn what_is_not_reserved_is_a_failure_of_zygs_own() {
    let draining = zyg(&["reserve", "8"], |request| match request {
        Request::Reserve { request, .. } => {
            Some(Reply::Denied { request, denial: Denial::Draining })
        }
        other => panic!("{other:?}"),
    });
    let hung_up = zyg(&["reserve", "8", "--wait"], |request| match request {
        Request::Reserve { request, .. } => Some(Reply::Reserved { request, floor: 8 }),
        _ => None,
    });
    let too_long = zyg(&["reserve", "8", "--for=25h"], |other| panic!("{other:?}"));
    for (output, words) in [
        (draining, "draining"),
        (hung_up, "the server closed the session"),
        (too_long, "raise the profile's `min`"),
    ] {
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(125), "{said}");
        assert!(said.lines().count() == 1 && said.contains(words), "{said}");
    }
}
