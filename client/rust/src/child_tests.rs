use super::*;
use nix::fcntl::OFlag;
use nix::unistd::pipe2;
use std::io::Write;

#[test]
fn ends_read_as_a_parent_would_have_seen_them() {
    let signal = |signal, core_dumped| Reported::Signal { signal, core_dumped };
    assert!(exit_status(Reported::Code(0)).unwrap().success());
    assert_eq!(exit_status(Reported::Code(255)).unwrap().code(), Some(255));
    let killed = exit_status(signal(9, false)).unwrap();
    assert_eq!((killed.code(), killed.signal(), killed.core_dumped()), (None, Some(9), false));
    let aborted = exit_status(signal(6, true)).unwrap();
    assert_eq!((aborted.signal(), aborted.core_dumped()), (Some(6), true));
    for none in [0, -1, 65, 0x7f, 0x100] {
        assert!(matches!(exit_status(signal(none, false)), Err(LeaseError::Malformed(_))));
    }
}

#[test]
fn two_streams_that_fill_up_in_turn_are_both_read_to_their_ends() {
    let (out, mut out_writer) = pipe();
    let (err, mut err_writer) = pipe();
    let contents = std::thread::scope(|scope| {
        scope.spawn(move || {
            // Each more than a pipe holds: a reader of one at a time would never come back.
            for _ in 0..3 {
                out_writer.write_all(&[b'o'; 2 * CHUNK_BYTES]).unwrap();
                err_writer.write_all(&[b'e'; 2 * CHUNK_BYTES]).unwrap();
            }
        });
        read_both([Some(out), Some(err)]).unwrap()
    });
    assert_eq!(contents.map(|content| content.len()), [6 * CHUNK_BYTES; 2]);
}

#[test]
fn streams_that_are_not_there_are_empty() {
    assert_eq!(read_both([None, None]).unwrap(), [Vec::new(), Vec::new()]);
    let (err, mut writer) = pipe();
    writer.write_all(b"e").unwrap();
    drop(writer);
    assert_eq!(read_both([None, Some(err)]).unwrap(), [Vec::new(), b"e".to_vec()]);
}

#[test]
fn a_terminal_that_is_hung_up_is_at_its_end() {
    let terminal = nix::pty::openpty(None, None).unwrap();
    let mut command = File::from(terminal.slave);
    command.write_all(b"hi\n").unwrap();
    drop(command);
    let [out, _] = read_both([Some(terminal.master), None]).unwrap();
    assert_eq!(out, b"hi\r\n");
}

fn pipe() -> (OwnedFd, File) {
    let (read, write) = pipe2(OFlag::O_CLOEXEC).unwrap();
    (read, File::from(write))
}
