//! Standard input, output and error are the caller's own.

use crate::run::{Ready, Seen, WAYS, Way, code, fed, same, same_when};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::fs::{self, File};
use std::io::{Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use zyg_tests::{PATIENCE, Server, wait_readable};

/// Every byte, in every alignment.
fn binary(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|index| ((index % 251) ^ (index / 251)) as u8).collect()
}

#[test]
fn ten_megabytes_of_any_bytes_pass_unchanged() {
    let server = Server::start();
    let input = binary(10 * 1024 * 1024);
    for way in WAYS {
        let seen = Seen::of(way, fed(way.command(&server, &["cat"]), &input));
        assert!(seen.stdout == input, "{way:?}: {seen:?}");
        assert_eq!((seen.stderr.len(), seen.code), (0, 0), "{way:?}");
    }
}

#[test]
fn standard_error_is_a_stream_of_its_own() {
    let server = Server::start();
    let input = binary(1024 * 1024);
    let script = ["sh", "-c", "cat >&2; echo out"];
    for way in WAYS {
        let seen = Seen::of(way, fed(way.command(&server, &script), &input));
        assert!(seen.stderr == input, "{way:?}: {seen:?}");
        assert_eq!(seen.stdout, b"out\n", "{way:?}");
    }
}

#[test]
fn output_and_error_on_one_pipe_keep_their_order() {
    let server = Server::start();
    let script = "for i in $(seq 300); do echo out $i; echo err $i >&2; done";
    let [bare, zyg] = WAYS.map(|way| {
        let inner = way.command(&server, &["sh", "-c", script]);
        let mut outer = std::process::Command::new("sh");
        outer.args(["-c", "\"$@\" 2>&1", "sh"]).arg(inner.get_program()).args(inner.get_args());
        Seen::of(way, outer.env("ZYG_SOCKET", server.socket()).output().unwrap())
    });
    assert_eq!(zyg, bare);
    assert!(zyg.stdout.starts_with(b"out 1\nerr 1\nout 2\nerr 2\n"));
}

#[test]
fn the_end_of_input_is_seen() {
    let server = Server::start();
    for input in [&b""[..], b"one line\n", b"no newline at its end"] {
        for way in WAYS {
            let output = fed(way.command(&server, &["wc", "-c"]), input);
            assert_eq!(output.stdout, format!("{}\n", input.len()).as_bytes(), "{way:?}");
        }
    }
    let seen = same_when(&server, &["cat"], |command| command.stdin(Stdio::null()));
    assert_eq!((seen.stdout.len(), seen.code), (0, 0));
}

#[test]
fn a_file_as_input_is_shared_with_its_position() {
    let server = Server::start();
    let path = server.directory().join("input");
    fs::write(&path, "abcdef").unwrap();
    for way in WAYS {
        let mut file = File::open(&path).unwrap();
        let mut command = way.command(&server, &["dd", "bs=3", "count=1", "status=none"]);
        let output = command.stdin(file.try_clone().unwrap()).output().unwrap();
        assert_eq!((&output.stdout[..], way.code(output.status)), (&b"abc"[..], 0), "{way:?}");
        assert_eq!(file.stream_position().unwrap(), 3, "{way:?}");
        let mut rest = String::new();
        file.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "def", "{way:?}");
    }
}

#[test]
fn a_file_as_output_is_shared_with_its_position() {
    let server = Server::start();
    for way in WAYS {
        let path = server.directory().join(format!("{way:?}"));
        let mut file = File::create(&path).unwrap();
        file.write_all(b"before\n").unwrap();
        let mut command = way.command(&server, &["sh", "-c", "echo out; echo err >&2"]);
        command.stdout(file.try_clone().unwrap()).stderr(file.try_clone().unwrap());
        assert!(command.status().unwrap().success());
        file.write_all(b"after\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "before\nout\nerr\nafter\n", "{way:?}");
    }
}

#[test]
fn a_socket_serves_as_input_and_output() {
    let server = Server::start();
    for way in WAYS {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut command = way.command(&server, &["cat"]);
        command.stdin(OwnedFd::from(theirs.try_clone().unwrap())).stdout(OwnedFd::from(theirs));
        let mut child = command.spawn().unwrap();
        drop(command);
        (&ours).write_all(b"over a socket").unwrap();
        ours.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        (&ours).read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "over a socket", "{way:?}");
        assert!(child.wait().unwrap().success(), "{way:?}");
    }
}

/// `yes | head -1` ends: the command dies of SIGPIPE, as it would alone.
#[test]
fn a_reader_that_leaves_ends_the_command() {
    let server = Server::start();
    for way in WAYS {
        let mut command = way.command(&server, &["yes"]);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let mut start = [0; 2];
        stdout.read_exact(&mut start).unwrap();
        assert_eq!(&start, b"y\n");
        drop(stdout);
        assert_eq!(code(child.wait().unwrap()), 128 + 13, "{way:?}");
    }
}

#[test]
fn a_writer_sees_that_the_command_has_closed_its_input() {
    let server = Server::start();
    for way in WAYS {
        let mut command =
            way.command(&server, &["sh", "-c", "exec <&-; echo ready; exec sleep 1000"]);
        let mut ready = Ready::start({
            command.stdin(Stdio::piped());
            command
        });
        let stdin = ready.child.stdin.take().unwrap();
        let mut fds = [PollFd::new(stdin.as_fd(), PollFlags::empty())];
        let patience = PollTimeout::try_from(PATIENCE).unwrap();
        assert_eq!(poll(&mut fds, patience), Ok(1), "{way:?}: the other end is still open");
        end(ready);
    }
}

#[test]
fn a_reader_sees_that_the_command_has_closed_its_output() {
    let server = Server::start();
    for way in WAYS {
        let script = "echo ready; exec >&-; exec sleep 1000";
        let mut ready = Ready::start(way.command(&server, &["sh", "-c", script]));
        wait_readable(ready.stdout.get_ref(), "the end of the output");
        assert_eq!(ready.line(), "", "{way:?}");
        end(ready);
    }
}

fn end(mut ready: Ready) {
    ready.signal(nix::sys::signal::SIGTERM);
    ready.child.wait().unwrap();
}

/// A stream that is closed when zyg starts is `/dev/null` in the command. (The language's runtime
/// opens that before main begins, so that no file takes the number by accident.)
#[test]
fn a_closed_stream_is_empty_and_takes_everything() {
    let server = Server::start();
    let run = |redirection: &str, argv: &[&str]| {
        let inner = Way::Zyg.command(&server, argv);
        let mut outer = std::process::Command::new("sh");
        outer.args(["-c", &format!("\"$@\" {redirection}"), "sh"]);
        outer.arg(inner.get_program()).args(inner.get_args());
        Seen::of(Way::Zyg, outer.env("ZYG_SOCKET", server.socket()).output().unwrap())
    };
    let seen = run("<&-", &["sh", "-c", "cat; echo $?"]);
    assert_eq!((&seen.stdout[..], seen.stderr.len(), seen.code), (&b"0\n"[..], 0, 0));
    let seen = run(">&-", &["sh", "-c", "echo lost; echo $? >&2"]);
    assert_eq!((seen.stdout.len(), &seen.stderr[..], seen.code), (0, &b"0\n"[..], 0));
    let seen = run("2>&-", &["sh", "-c", "echo lost >&2; echo $?; exit 4"]);
    assert_eq!((&seen.stdout[..], seen.stderr.len(), seen.code), (&b"0\n"[..], 0, 4));
    let seen = run("<&- >&- 2>&-", &["sh", "-c", "cat; exit 5"]);
    assert_eq!((seen.stdout.len(), seen.stderr.len(), seen.code), (0, 0, 5));
}

#[test]
fn the_command_has_the_three_streams_and_no_other_descriptor() {
    let server = Server::start();
    // Expanded by the shell itself, which has opened the directory as the last one, whose number
    // is not its own any more.
    let script = "for fd in /proc/$$/fd/*; do test -e $fd && echo ${fd##*/}; done; :";
    let mut command = Way::Zyg.command(&server, &["sh", "-c", script]);
    assert_eq!(command.output().unwrap().stdout, b"0\n1\n2\n");

    let given = |argv: &[&str], way: Way| {
        let inner = way.command(&server, argv);
        let mut outer = std::process::Command::new("sh");
        outer.args(["-c", "exec 7</dev/null; exec \"$@\"", "sh"]);
        outer.arg(inner.get_program()).args(inner.get_args());
        outer.env("ZYG_SOCKET", server.socket()).output().unwrap()
    };
    let look = ["sh", "-c", "test -e /proc/$$/fd/7"];
    assert!(given(&look, Way::Bare).status.success(), "the control has it");
    assert_eq!(given(&look, Way::Zyg).status.code(), Some(1));
}

#[test]
fn what_was_printed_is_there_when_the_command_ends() {
    let server = Server::start();
    let seen = same(&server, &["seq", "200000"]);
    assert!(seen.stdout.ends_with(b"\n200000\n"));
}
