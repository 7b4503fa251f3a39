//! `zyg serve` and its socket: one server at each, whoever comes at the same time.

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;
use zyg_tests::{eventually, zyg_binary};
use zygote_client::Client;

fn serve(path: &Path) -> Child {
    let mut command = Command::new(zyg_binary());
    command.args(["serve", "--socket"]).arg(path).stdin(Stdio::null()).stdout(Stdio::null());
    command.stderr(Stdio::piped()).spawn().unwrap()
}

/// The same, and waits until it listens.
fn listening(path: &Path) -> Child {
    let server = serve(path);
    eventually("listening", || Client::connect(path).ok());
    server
}

/// Ends it, and returns what it has said.
fn end(server: Child) -> String {
    let pid = nix::unistd::Pid::from_raw(server.id() as i32);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    let output = server.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

fn names(place: &TempDir) -> Vec<String> {
    let entries = fs::read_dir(place.path()).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// Of servers that are started at the same time, also where one was killed before, one serves, and
/// the others say why not.
#[test]
fn of_many_one_serves() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("s");
    for round in 0..8 {
        let mut servers: Vec<Child> = (0..6).map(|_| serve(&path)).collect();
        eventually("all but one to leave", || {
            let left = |server: &mut Child| server.try_wait().unwrap().is_some();
            (servers.iter_mut().filter_map(|it| left(it).then_some(())).count() == 5).then_some(())
        });
        let serving = |server: &mut Child| server.try_wait().unwrap().is_none();
        let one = servers.iter_mut().position(serving).expect("one serves");
        let mut one = servers.swap_remove(one);
        for other in servers {
            let output = other.wait_with_output().unwrap();
            let said = String::from_utf8(output.stderr).unwrap();
            assert!(said.contains("another server listens there already"), "{said}");
        }
        drop(Client::connect(&path).unwrap().lease().unwrap());
        assert_eq!(names(&place), ["s"], "nothing else is left");
        if round % 2 == 0 {
            // Which leaves the socket.
            one.kill().unwrap();
            one.wait().unwrap();
            assert_eq!(names(&place), ["s"]);
        } else {
            end(one);
            assert!(names(&place).is_empty());
        }
    }
}

#[test]
fn who_leaves_takes_no_other_ones_socket_away() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("s");
    let first = listening(&path);
    fs::rename(&path, place.path().join("away")).unwrap();
    let second = listening(&path);
    let inode = fs::metadata(&path).unwrap().ino();
    end(first);
    assert_eq!(fs::metadata(&path).unwrap().ino(), inode);
    drop(Client::connect(&path).unwrap().lease().unwrap());
    end(second);
    assert_eq!(names(&place), ["away"]);
}

#[test]
fn it_is_never_open_to_others_than_it_is_to_be() {
    let place = tempfile::tempdir().unwrap();
    let (path, config) = (place.path().join("s"), place.path().join("zyg.toml"));
    fs::write(&config, "[server]\nsocket_mode = \"0640\"\n").unwrap();
    let mut command = Command::new(zyg_binary());
    command.args(["serve", "--config"]).arg(&config).arg("--socket").arg(&path);
    let server = command.stderr(Stdio::piped()).spawn().unwrap();
    // As soon as there is anything there.
    let found = eventually("the socket", || fs::metadata(&path).ok());
    assert_eq!(found.permissions().mode() & 0o777, 0o640);
    eventually("listening", || Client::connect(&path).ok());
    end(server);
}

/// Whoever may read a directory can lock it.
#[test]
fn a_directory_that_somebody_keeps_locked_keeps_no_server_from_starting() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("s");
    let directory = fs::File::open(place.path()).unwrap();
    directory.lock().unwrap();
    let server = listening(&path);
    assert!(end(server).contains("locked"));
}

/// Its queue may be full, too.
#[test]
fn a_server_that_stands_still_is_left_in_its_place() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("s");
    let first = listening(&path);
    let pid = nix::unistd::Pid::from_raw(first.id() as i32);
    let signal = |signal| nix::sys::signal::kill(pid, signal).unwrap();
    signal(nix::sys::signal::Signal::SIGSTOP);
    let mut knocking = Vec::new();
    let address = UnixAddr::new(&path).unwrap();
    let full = loop {
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let socket = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None).unwrap();
        match connect(socket.as_raw_fd(), &address) {
            Ok(()) => knocking.push(socket),
            Err(errno) => break errno,
        }
    };
    assert!(matches!(full, Errno::EAGAIN | Errno::EMFILE), "{full}");
    let output = serve(&path).wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("another server listens there already"), "{said}");
    signal(nix::sys::signal::Signal::SIGCONT);
    drop(knocking);
    end(first);
}

/// A FIFO would be waited for, and no signal heeded meanwhile.
#[test]
fn what_is_no_directory_is_no_place_for_a_socket() {
    let place = tempfile::tempdir().unwrap();
    let fifo = place.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let mut server = serve(&fifo.join("s"));
    eventually("its end", || server.try_wait().unwrap());
    let output = server.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && said.contains("Not a directory"), "{said}");
    assert_eq!(names(&place), ["fifo"]);
}

#[test]
fn what_is_no_socket_is_left_alone() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("file");
    fs::write(&path, "mine").unwrap();
    let output = serve(&path).wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && said.contains("not a socket"), "{said}");
    assert_eq!(fs::read(&path).unwrap(), b"mine");
    assert_eq!(names(&place), ["file"]);
}
