//! Sockets at which no server of ours answers: each is told apart, and the message names it.

use nix::sys::socket::{
    AddressFamily, Backlog, Shutdown, SockFlag, SockType, UnixAddr, bind, listen, shutdown, socket,
};
use std::fs;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Output};
use zyg_protocol::codec::encode;
use zyg_protocol::limits::{MESSAGE_BYTES_MAX, WIRE_VERSION};
use zyg_protocol::message::{Refusal, Reply};
use zyg_protocol::socket::{receive, send};
use zyg_tests::{Server, is_root, zyg_binary};

/// `zyg run` and `zyg status` with this socket, named either way.
fn told(path: &Path) -> Vec<String> {
    let zyg = |arguments: &[&str]| {
        let mut command = Command::new(zyg_binary());
        command.args(arguments).env_remove("ZYG_SOCKET").env_remove("ZYG_PROFILE");
        command
    };
    let mut by_variable = zyg(&["run", "--", "echo", "ran"]);
    by_variable.env("ZYG_SOCKET", path);
    let mut by_option = zyg(&["run", "--socket"]);
    by_option.arg(path).args(["--", "echo", "ran"]);
    let mut status = zyg(&["status", "--socket"]);
    status.arg(path);
    [by_variable, by_option, status].map(|mut command| refused(&command.output().unwrap())).into()
}

fn refused(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(125), 0), "{said}");
    assert!(said.starts_with("zyg: "), "{said}");
    said
}

fn assert_told(path: &Path, words: &[&str]) {
    for said in told(path) {
        assert!(said.contains(path.to_str().unwrap()), "{} is not in: {said}", path.display());
        for word in words {
            assert!(said.contains(word), "{word} is not in: {said}");
        }
    }
}

/// A listening socket of zyg's type. (The library's type is for streams, but accepts whatever comes
/// in at its socket.)
fn listener(path: &Path) -> UnixListener {
    let flags = SockFlag::SOCK_CLOEXEC;
    let socket = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None).unwrap();
    bind(socket.as_raw_fd(), &UnixAddr::new(path).unwrap()).unwrap();
    listen(&socket, Backlog::new(16).unwrap()).unwrap();
    socket.into()
}

/// Answers every client's first message in this way, while the rest goes on.
fn while_answering(path: &Path, answer: impl Fn(BorrowedFd<'_>) + Sync, rest: impl FnOnce()) {
    let listener = listener(path);
    std::thread::scope(|threads| {
        threads.spawn(|| {
            while let Ok((client, _)) = listener.accept() {
                let mut buffer = vec![0; MESSAGE_BYTES_MAX];
                if receive(client.as_fd(), &mut buffer).is_ok_and(|got| got.bytes > 0) {
                    answer(client.as_fd());
                }
            }
        });
        // Whatever comes of the rest, the thread is woken from accept(2), with an error.
        let _end = Shut(listener.as_fd());
        rest();
    });
}

struct Shut<'a>(BorrowedFd<'a>);

impl Drop for Shut<'_> {
    fn drop(&mut self) {
        let _ = shutdown(self.0.as_raw_fd(), Shutdown::Both);
    }
}

#[test]
fn a_socket_that_is_missing_is_named_with_the_way_to_have_one() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("no.sock");
    assert_told(&path, &["no server listens", "zyg serve --socket"]);
    assert_told(&place.path().join("no/such/directory/s"), &["no server listens"]);
    let mut by_variable = Command::new(zyg_binary());
    by_variable.args(["run", "--", "true"]).env("ZYG_SOCKET", &path);
    assert!(refused(&by_variable.output().unwrap()).contains("ZYG_SOCKET"));
}

#[test]
fn a_socket_that_is_stale_is_named() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("stale.sock");
    drop(listener(&path));
    assert_told(&path, &["left over", "zyg serve --socket"]);
}

#[test]
fn a_file_that_is_no_socket_is_named() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("file");
    fs::write(&path, "").unwrap();
    assert_told(&path, &["is not a socket"]);
    assert_told(place.path(), &["is not a socket"]);
}

#[test]
fn a_socket_of_another_type_is_named() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("stream.sock");
    let _listener = UnixListener::bind(&path).unwrap();
    assert_told(&path, &["not zyg's", "SEQPACKET"]);
}

#[test]
fn a_socket_that_the_caller_may_not_use_is_named() {
    if is_root() {
        return; // Root may use every socket.
    }
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("closed.sock");
    let _listener = listener(&path);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    assert_told(&path, &["permission denied"]);
}

#[test]
fn a_path_that_fits_no_socket_is_named() {
    let path = Path::new("/tmp").join("x".repeat(120));
    assert_told(&path, &["too long", "107"]);
}

#[test]
fn somebody_who_answers_something_else_is_named() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("other.sock");
    let answer = |client: BorrowedFd<'_>| {
        let _ = send(client, b"HTTP/1.1 400 Bad Request\r\n\r\n", &[]);
    };
    while_answering(&path, answer, || assert_told(&path, &["malformed", "magic"]));
}

#[test]
fn somebody_who_hangs_up_is_named() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("mute.sock");
    while_answering(&path, |_| {}, || assert_told(&path, &["closed the session"]));
}

#[test]
fn somebody_who_says_nothing_is_named() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("silent.sock");
    // It is connected to, and never accepts.
    let _listener = listener(&path);
    std::thread::scope(|threads| {
        // Each takes its time.
        for arguments in [&["run", "--", "echo", "ran"][..], &["status"]] {
            let path = &path;
            threads.spawn(move || {
                let mut command = Command::new(zyg_binary());
                let output = command.args(arguments).env("ZYG_SOCKET", path).output().unwrap();
                let said = refused(&output);
                for word in ["does not answer within 5 s", path.to_str().unwrap()] {
                    assert!(said.contains(word), "{word} is not in: {said}");
                }
            });
        }
    });
}

#[test]
fn a_server_of_another_version_is_told_with_both_versions() {
    let place = tempfile::tempdir().unwrap();
    let (ours, other) = (WIRE_VERSION.to_string(), (WIRE_VERSION + 1).to_string());
    let words = ["release", &*ours, &*other];
    // One that answers in its own version, and one that knows ours enough to refuse it.
    let path = place.path().join("newer.sock");
    let answer = |client: BorrowedFd<'_>| {
        let refusal = Refusal::TooManySessions { limit: 0 };
        let mut bytes = Vec::new();
        encode(&Reply::Refused(refusal), &mut bytes).unwrap();
        bytes[4..6].copy_from_slice(&(WIRE_VERSION + 1).to_le_bytes());
        let _ = send(client, &bytes, &[]);
    };
    while_answering(&path, answer, || assert_told(&path, &words));
    let path = place.path().join("polite.sock");
    let answer = |client: BorrowedFd<'_>| {
        let refusal = Refusal::WrongVersion { got: WIRE_VERSION, want: WIRE_VERSION + 1 };
        let mut bytes = Vec::new();
        encode(&Reply::Refused(refusal), &mut bytes).unwrap();
        let _ = send(client, &bytes, &[]);
    };
    while_answering(&path, answer, || assert_told(&path, &words));
}

#[test]
fn the_option_wins_over_the_variable() {
    let server = Server::start();
    let mut command = Command::new(zyg_binary());
    command.args(["run", "--socket"]).arg(server.socket()).args(["--", "echo", "ran"]);
    let output = command.env("ZYG_SOCKET", "/no/such/socket").output().unwrap();
    assert_eq!(output.stdout, b"ran\n");
}
