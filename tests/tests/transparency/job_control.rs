//! On the caller's own terminal, without `--tty`: its keys reach the command.

use crate::run::{WAYS, Way};
use crate::terminal::{INTERRUPT, SUSPEND, Terminal};
use std::process::Command;
use zyg_tests::Server;

#[test]
fn the_streams_are_the_terminal_itself() {
    let server = Server::start();
    for way in WAYS {
        let mut terminal = Terminal::open();
        let script = "for fd in 0 1 2; do test -t $fd && echo $fd; done; stty size; exit 6";
        let mut child = terminal.start(&way.command(&server, &["sh", "-c", script]));
        terminal.shows("0\r\n1\r\n2\r\n31 97\r\n");
        assert_eq!(way.code(child.wait().unwrap()), 6, "{way:?}");
    }
}

#[test]
fn an_interrupt_reaches_every_process_of_the_command() {
    let server = Server::start();
    let inner = "trap \"echo inner; kill -9 \\$!; exit 0\" INT; sleep 1000 & echo ready; wait";
    let script = format!("trap 'echo outer; exit 9' INT; sh -c '{inner}'; echo went on");
    for way in WAYS {
        let mut terminal = Terminal::open();
        let mut child = terminal.start(&way.command(&server, &["sh", "-c", &script]));
        terminal.shows("ready\r\n");
        terminal.typed(INTERRUPT);
        terminal.shows("inner\r\nouter\r\n");
        assert_eq!(way.code(child.wait().unwrap()), 9, "{way:?}");
    }
}

#[test]
fn an_interrupt_ends_a_command_that_does_not_mind() {
    let server = Server::start();
    for way in WAYS {
        let mut terminal = Terminal::open();
        let script = ["sh", "-c", "echo ready; exec sleep 1000"];
        let mut child = terminal.start(&way.command(&server, &script));
        terminal.shows("ready\r\n");
        terminal.typed(INTERRUPT);
        assert_eq!(crate::run::code(child.wait().unwrap()), 130, "{way:?}");
    }
}

/// The command, run by a shell with job control, that tells of its stop and takes it up again.
fn under_a_shell(server: &Server, way: Way, script: &str) -> Command {
    let inner = way.command(server, &["sh", "-c", script]);
    let mut shell = Command::new("sh");
    let jobs = "set -m; \"$@\"; echo stopped $?; fg; echo ended $?";
    shell.args(["-c", jobs, "sh"]).arg(inner.get_program()).args(inner.get_args());
    shell.env("ZYG_SOCKET", server.socket()).env_remove("ZYG_PROFILE");
    shell
}

#[test]
fn a_suspended_command_is_continued_in_the_foreground() {
    let server = Server::start();
    // Two processes, so that the whole group must have been stopped and continued.
    let script = "sh -c 'echo ready; read x; echo got $x'; exit 8";
    for way in WAYS {
        let mut terminal = Terminal::open();
        let mut shell = terminal.start(&under_a_shell(&server, way, script));
        terminal.shows("ready\r\n");
        terminal.typed(SUSPEND);
        terminal.shows("stopped 148\r\n");
        terminal.typed("more\n");
        terminal.shows("got more\r\n");
        terminal.shows("ended 8\r\n");
        assert!(shell.wait().unwrap().success(), "{way:?}");
    }
}

/// Where no shell could continue it, in a session without one, nothing is suspended (setpgid(2),
/// "orphaned process group").
#[test]
fn a_command_without_a_shell_is_not_suspended() {
    let server = Server::start();
    let script = "sh -c 'echo ready; read x; echo got $x'; exit 8";
    for way in WAYS {
        let mut terminal = Terminal::open();
        let mut child = terminal.start(&way.command(&server, &["sh", "-c", script]));
        terminal.shows("ready\r\n");
        terminal.typed(SUSPEND);
        terminal.typed("more\n");
        terminal.shows("got more\r\n");
        assert_eq!(way.code(child.wait().unwrap()), 8, "{way:?}");
    }
}

#[test]
fn a_terminal_that_hangs_up_ends_the_command() {
    let server = Server::start();
    let mut terminal = Terminal::open();
    let script = ["sh", "-c", "echo ready; exec sleep 1000"];
    let mut child = terminal.start(&Way::Zyg.command(&server, &script));
    terminal.shows("ready\r\n");
    let command =
        zyg_tests::eventually("sleep", || server.processes_named("sleep").first().copied());
    let gone = zygote::process_descriptor(command).unwrap();
    drop(terminal);
    assert_eq!(crate::run::code(child.wait().unwrap()), 129);
    zyg_tests::wait_readable(gone, "the command's end");
}
