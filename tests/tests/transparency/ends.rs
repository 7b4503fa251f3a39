//! When `zyg run` has ended, nothing of the command is left.

use crate::run::{Ready, Seen, Way};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use std::os::fd::AsFd;
use std::process::Stdio;
use zyg_tests::{Census, Server, wait_readable};

/// Scripts that leave a process behind which holds standard output; each prints `done` at its end.
const STRAGGLERS: [&str; 6] = [
    "sleep 1000 & echo done",
    "(trap '' TERM HUP INT; sleep 1000; sleep 1000) & echo done",
    "setsid sh -c 'sleep 1000 & sleep 1000' & echo done",
    // As daemon(3) does: the grandchild has init as its parent.
    "sh -c 'setsid sleep 1000 &'; echo done",
    "for i in $(seq 50); do sleep 1000 & done; echo done",
    "sleep 1000 & kill -STOP $!; echo done",
];

#[test]
fn stragglers_are_gone_before_the_exit_is_told() {
    let server = Server::start();
    for script in STRAGGLERS {
        let mut command = server.zyg("run");
        command.args(["--", "sh", "-c", &format!("{script}; exit 7")]).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(7), "{script}");
        // No look later than the exit: the kernel must know already that nobody writes any more.
        let mut stdout = child.stdout.take().unwrap();
        let mut fds = [PollFd::new(stdout.as_fd(), PollFlags::POLLIN)];
        assert_eq!(poll(&mut fds, PollTimeout::ZERO), Ok(1), "{script}");
        let events = fds[0].revents().unwrap();
        assert!(events.contains(PollFlags::POLLHUP), "somebody still writes: {script}");
        assert_eq!(server.processes_named("sleep"), [], "{script}");
        let mut told = String::new();
        std::io::Read::read_to_string(&mut stdout, &mut told).unwrap();
        assert_eq!(told, "done\n", "{script}");
    }
}

/// The control to the rule above: alone, a straggler lives on and holds the pipe.
#[test]
fn without_zyg_a_straggler_outlives_its_command() {
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "sleep 1000 & echo $!"]).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    assert!(child.wait().unwrap().success());
    let mut stdout = std::io::BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    std::io::BufRead::read_line(&mut stdout, &mut line).unwrap();
    let fds = &mut [PollFd::new(stdout.get_ref().as_fd(), PollFlags::POLLIN)];
    assert_eq!(poll(fds, PollTimeout::ZERO), Ok(0), "the pipe is at its end");
    let straggler = nix::unistd::Pid::from_raw(line.trim().parse().unwrap());
    nix::sys::signal::kill(straggler, Signal::SIGKILL).unwrap();
    wait_readable(stdout.get_ref(), "the end of the pipe");
}

#[test]
fn killing_zyg_ends_the_command_and_all_beside_it() {
    let server = Server::start();
    let script = "trap '' TERM HUP; setsid sleep 1000 & sleep 1000 & echo ready; sleep 1000";
    let mut ready = Ready::start(Way::Zyg.command(&server, &["sh", "-c", script]));
    zyg_tests::eventually("three sleeps", || {
        (server.processes_named("sleep").len() == 3).then_some(())
    });
    // The whole environment: its init is the common parent of all.
    let init = parent_of(server.processes_named("sleep")[0]);
    let all = Census::below(init);
    assert!(all.len() >= 4, "{all:?}");
    ready.signal(Signal::SIGKILL);
    ready.child.wait().unwrap();
    all.assert_gone();
    // Nobody holds the output any more.
    let mut rest = String::new();
    std::io::Read::read_to_string(&mut ready.stdout, &mut rest).unwrap();
    assert_eq!(rest, "");
    server.wait_warm();
}

fn parent_of(pid: nix::unistd::Pid) -> nix::unistd::Pid {
    let mut at = pid;
    loop {
        let name = std::fs::read_to_string(format!("/proc/{at}/comm")).unwrap();
        if name.trim() == "zyg-init" {
            return at;
        }
        let stat = std::fs::read_to_string(format!("/proc/{at}/stat")).unwrap();
        let parent = stat.rsplit_once(") ").unwrap().1.split(' ').nth(1).unwrap().parse().unwrap();
        assert!(parent > 1, "no init above {pid}");
        at = nix::unistd::Pid::from_raw(parent);
    }
}

#[test]
fn the_environment_of_a_run_is_gone_with_it() {
    let server = Server::start();
    let write = "echo residue > /tmp/here; echo residue > /dev/shm/here; echo residue > ~/.here-$$";
    for _ in 0..10 {
        let look = "cat /tmp/here /dev/shm/here ~/.here-* 2>/dev/null; true";
        let mut command = server.zyg("run");
        command.args(["--", "sh", "-c", &format!("{look}; {write}")]).current_dir("/");
        let seen = Seen::of(Way::Zyg, command.output().unwrap());
        assert_eq!((&seen.stdout[..], seen.stderr.len(), seen.code), (&b""[..], 0, 0), "{seen:?}");
    }
    server.wait_warm();
}
