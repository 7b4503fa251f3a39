//! Commands on a terminal of their own.

use std::fs::File;
use std::io::{Read, Write};
use zyg_tests::{Server, python};
use zygote_client::{Scope, TtySize};

const SIZE: TtySize = TtySize { rows: 33, columns: 77 };

#[test]
fn the_three_streams_are_a_controlling_terminal_of_the_size_asked_for() {
    let server = Server::start();
    let lease = server.client().lease().unwrap();
    let script = "import os\n\
        assert all(os.isatty(number) for number in range(3))\n\
        assert os.getsid(0) == os.getpid() == os.tcgetpgrp(0)\n\
        os.close(os.open('/dev/tty', os.O_RDWR))\n\
        print(os.ttyname(0), *os.get_terminal_size())";
    let mut command = lease.command(python());
    let output = command.args(["-ISc", script]).current_dir("/").tty(SIZE).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "/dev/pts/0 77 33\r\n");
    assert!(output.status.success() && output.stderr.is_empty());
}

#[test]
fn what_is_typed_is_read_and_keys_are_signals() {
    use std::os::unix::process::ExitStatusExt;
    let server = Server::start();
    let lease = server.client().lease().unwrap();
    let mut command = lease.command("sh");
    command.args(["-c", "stty -echo; echo ready; read line; echo got $line; read more"]);
    let mut child = command.current_dir("/").tty(SIZE).spawn().unwrap();
    let mut terminal = File::from(child.terminal.as_ref().unwrap().try_clone().unwrap());
    expect(&mut terminal, "ready\r\n");
    terminal.write_all(b"hello\n").unwrap();
    expect(&mut terminal, "got hello\r\n");
    // Ctrl-C
    terminal.write_all(b"\x03").unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(nix::libc::SIGINT));
}

/// Reads until exactly this has arrived.
fn expect(terminal: &mut File, text: &str) {
    let mut arrived = vec![0; text.len()];
    terminal.read_exact(&mut arrived).unwrap();
    assert_eq!(String::from_utf8_lossy(&arrived), text);
}

#[test]
fn a_change_of_size_is_told() {
    let server = Server::start();
    let lease = server.client().lease().unwrap();
    let mut command = lease.command("sh");
    command.args(["-c", "trap 'stty size; exit 0' WINCH; echo ready; while :; do read line; done"]);
    let mut child = command.current_dir("/").tty(SIZE).spawn().unwrap();
    let mut terminal = File::from(child.terminal.as_ref().unwrap().try_clone().unwrap());
    expect(&mut terminal, "ready\r\n");
    zygote::set_terminal_size(
        std::os::fd::AsFd::as_fd(&terminal),
        TtySize { rows: 11, columns: 22 },
    );
    expect(&mut terminal, "11 22\r\n");
    assert!(child.wait().unwrap().success());
}

#[test]
fn closing_the_terminal_hangs_up() {
    use std::os::unix::process::ExitStatusExt;
    let server = Server::start();
    let lease = server.client().lease().unwrap();
    let mut command = lease.command("sh");
    let mut child = command.args(["-c", "read line"]).current_dir("/").tty(SIZE).spawn().unwrap();
    drop(child.terminal.take());
    let status = child.wait().unwrap();
    assert!(status.signal() == Some(nix::libc::SIGHUP) || !status.success(), "{status}");
    child.signal(9, Scope::Group).unwrap();
}
