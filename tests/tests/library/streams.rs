//! Standard streams: piped, discarded, inherited, from and to files.

use std::fs::{self, File};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use zyg_tests::Server;
use zygote_client::{Lease, Stdio};

#[test]
fn a_pipe_carries_both_ways() {
    let server = Server::start();
    let lease = server.client().lease().unwrap();
    let mut command = lease.command("cat");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || input.write_all(&vec![b'x'; 1 << 20]).unwrap());
    let mut output = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut output).unwrap();
    writer.join().unwrap();
    assert_eq!(output, vec![b'x'; 1 << 20]);
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_megabyte_on_each_of_two_pipes_is_collected() {
    let server = Server::start();
    let lease = server.client().lease().unwrap();
    let script =
        "head -c 1048576 /dev/zero | tr '\\0' o & head -c 1048576 /dev/zero | tr '\\0' e >&2; wait";
    let output = lease.command("sh").args(["-c", script]).current_dir("/").output().unwrap();
    assert!(output.status.success());
    assert_eq!(output.stdout, vec![b'o'; 1 << 20]);
    assert_eq!(output.stderr, vec![b'e'; 1 << 20]);
    // One after the other, too: neither pipe holds a megabyte.
    let script = "head -c 1048576 /dev/zero >&2; head -c 1048576 /dev/zero";
    let output = lease.command("sh").args(["-c", script]).current_dir("/").output().unwrap();
    assert_eq!((output.stdout.len(), output.stderr.len()), (1 << 20, 1 << 20));
}

#[test]
fn null_is_empty_to_read_and_swallows_what_is_written() {
    let server = Server::start();
    let lease = server.client().lease().unwrap();
    let script = "cat; echo out; echo err >&2";
    let mut command = lease.command("sh");
    command.args(["-c", script]).current_dir("/").stdin(Stdio::null());
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let child = command.spawn().unwrap();
    assert!(child.stdin.is_none() && child.stdout.is_none() && child.stderr.is_none());
    assert!(child.wait_with_output().unwrap().stdout.is_empty());
}

/// Device and inode behind a descriptor of a command.
fn identity(
    lease: &Lease,
    number: i32,
    change: impl FnOnce(&mut zygote_client::Command<'_>),
) -> String {
    let mut command = lease.command("sh");
    let script = format!("told=$(stat -L -c %d:%i /proc/$$/fd/{number}); echo $told >&9");
    let mut told = tempfile::tempfile().unwrap();
    command.args(["-c", &script]).current_dir("/").descriptor(9, told.try_clone().unwrap());
    change(&mut command);
    assert!(command.status().unwrap().success());
    let mut identity = String::new();
    told.rewind().unwrap();
    told.read_to_string(&mut identity).unwrap();
    identity.trim_end().to_owned()
}

#[test]
fn streams_are_inherited_unless_told_otherwise() {
    let server = Server::start();
    let lease = server.client().lease().unwrap();
    for number in 0..3 {
        let own = fs::metadata(format!("/proc/self/fd/{number}")).unwrap();
        let own = format!("{}:{}", own.dev(), own.ino());
        assert_eq!(identity(&lease, number, |_| {}), own, "descriptor {number}");
        let null = fs::metadata("/dev/null").unwrap();
        let discarded = identity(&lease, number, |command| {
            let command = command.stdin(Stdio::null()).stdout(Stdio::null());
            command.stderr(Stdio::null());
        });
        assert_eq!(discarded, format!("{}:{}", null.dev(), null.ino()));
    }
}

#[test]
fn files_serve_as_streams_and_keep_their_offsets() {
    let server = Server::start();
    let lease = server.client().lease().unwrap();
    let mut input = tempfile::tempfile().unwrap();
    let output = tempfile::NamedTempFile::new().unwrap();
    write!(input, "skipped\nread\n").unwrap();
    input.seek(std::io::SeekFrom::Start(8)).unwrap();
    let mut command = lease.command("cat");
    command.stdin(input).stdout(File::create(output.path()).unwrap());
    // Every run continues where the last one stopped, as descriptors do.
    assert!(command.status().unwrap().success());
    assert!(command.status().unwrap().success());
    assert_eq!(fs::read_to_string(output.path()).unwrap(), "read\n");
}

#[test]
fn one_commands_output_is_anothers_input() {
    let server = Server::start();
    let lease = server.client().lease().unwrap();
    let mut first = lease.command("printf");
    let mut first = first.arg("b\\na\\n").stdout(Stdio::piped()).spawn().unwrap();
    let mut second = lease.command("sort");
    let second = second.stdin(first.stdout.take().unwrap()).output().unwrap();
    assert_eq!(second.stdout, b"a\nb\n");
    assert!(first.wait().unwrap().success());
}

#[test]
fn a_closed_pipe_ends_the_writer() {
    use std::os::unix::process::ExitStatusExt;
    let server = Server::start();
    let lease = server.client().lease().unwrap();
    let mut command = lease.command("yes");
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut some = [0; 4];
    child.stdout.take().unwrap().read_exact(&mut some).unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(nix::libc::SIGPIPE));
}

#[test]
fn what_was_printed_before_a_kill_is_collected_and_readers_of_the_input_end() {
    let server = Server::start();
    let lease = server.client().lease().unwrap();
    let mut command = lease.command("sh");
    command.args(["-c", "echo printed; cat; echo more"]).current_dir("/");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    zyg_tests::wait_readable(child.stdout.as_ref().unwrap(), "the first line");
    child.kill().unwrap();
    let output = zyg_tests::soon("the output", move || child.wait_with_output().unwrap());
    assert_eq!(output.stdout, b"printed\n");
    assert!(!output.status.success());
}
