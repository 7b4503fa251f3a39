//! Signals to zyg are signals to the command.

use crate::run::{Ready, WAYS, Way, code};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use std::fs;
use std::process::{Command, Stdio};
use zyg_tests::{Server, eventually};

/// A script that waits in a way that a trap ends at once, and leaves nothing behind alone either.
fn waiting(traps: &str) -> String {
    format!("end() {{ kill -9 $!; wait; exit $1; }}; {traps}; sleep 1000 & echo ready; wait; wait")
}

fn started(server: &Server, way: Way, script: &str) -> Ready {
    Ready::start(way.command(server, &["sh", "-c", script]))
}

#[test]
fn a_signal_reaches_the_command() {
    let server = Server::start();
    for signal in [
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGHUP,
        Signal::SIGUSR1,
        Signal::SIGUSR2,
        Signal::SIGQUIT,
        Signal::SIGWINCH,
    ] {
        let name = signal.as_str().trim_start_matches("SIG");
        let script = waiting(&format!("trap 'echo got {name}; end 5' {name}"));
        for way in WAYS {
            let ready = started(&server, way, &script);
            ready.signal(signal);
            let (rest, status) = ready.finish();
            assert_eq!((rest, way.code(status)), (format!("got {name}\n"), 5), "{way:?}");
        }
    }
}

#[test]
fn a_command_that_a_signal_ends_is_told_as_shells_tell_it() {
    let server = Server::start();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGUSR1] {
        for way in WAYS {
            let ready = started(&server, way, "echo ready; exec sleep 1000");
            ready.signal(signal);
            let (_, status) = ready.finish();
            assert_eq!(code(status), 128 + signal as i32, "{way:?} {signal}");
        }
    }
}

#[test]
fn a_command_that_survives_a_signal_goes_on() {
    let server = Server::start();
    let script = waiting("trap 'echo one; wait' USR1; trap 'echo two; end 0' USR2");
    for way in WAYS {
        let mut ready = started(&server, way, &script);
        for _ in 0..3 {
            ready.signal(Signal::SIGUSR1);
            assert_eq!(ready.line(), "one", "{way:?}");
        }
        ready.signal(Signal::SIGUSR2);
        let (rest, status) = ready.finish();
        assert_eq!((&rest[..], way.code(status)), ("two\n", 0), "{way:?}");
    }
}

/// What nohup(1) keeps away stays away: an ignored signal is not taken over.
#[test]
fn a_signal_that_the_caller_ignores_is_not_passed_on() {
    let server = Server::start();
    let script = waiting("trap 'echo HUP' HUP; trap 'echo USR1; end 0' USR1");
    let inner = Way::Zyg.command(&server, &["sh", "-c", &script]);
    let run = |setup: &str| {
        let mut outer = Command::new("sh");
        outer.args(["-c", &format!("{setup}; exec \"$@\""), "sh"]);
        outer.arg(inner.get_program()).args(inner.get_args());
        outer.env("ZYG_SOCKET", server.socket());
        Ready::start(outer)
    };
    let ready = run("trap '' HUP");
    ready.signal(Signal::SIGHUP);
    ready.signal(Signal::SIGUSR1);
    assert_eq!(ready.finish().0, "USR1\n");

    let mut control = run(":");
    control.signal(Signal::SIGHUP);
    assert_eq!(control.line(), "HUP");
    control.signal(Signal::SIGUSR1);
    assert_eq!(control.finish().0, "USR1\n");
}

/// The state letter of a process (proc_pid_stat(5)).
fn state(pid: nix::unistd::Pid) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

#[test]
fn a_stopped_run_stops_the_command_and_continues_with_it() {
    let server = Server::start();
    let mut command = Way::Zyg.command(&server, &["sh", "-c", "echo ready; exec cat"]);
    command.stdin(Stdio::piped());
    let mut ready = Ready::start(command);
    let command = eventually("cat", || server.processes_named("cat").first().copied());

    ready.signal(Signal::SIGTSTP);
    let stopped = waitpid(ready.pid(), Some(WaitPidFlag::WUNTRACED)).unwrap();
    assert!(matches!(stopped, WaitStatus::Stopped(..)), "{stopped:?}");
    eventually("the command's stop", || (state(command) == Some('T')).then_some(()));

    ready.signal(Signal::SIGCONT);
    let continued = waitpid(ready.pid(), Some(WaitPidFlag::WCONTINUED)).unwrap();
    assert!(matches!(continued, WaitStatus::Continued(..)), "{continued:?}");
    use std::io::Write;
    ready.child.stdin.as_mut().unwrap().write_all(b"on it goes\n").unwrap();
    assert_eq!(ready.line(), "on it goes");
    assert_eq!(ready.finish().1.code(), Some(0));
}
