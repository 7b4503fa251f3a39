//! `--tty`: a terminal of the command's own, and the caller's terminal as a window on it.

use crate::run::{Ready, Seen, Way, fed};
use crate::terminal::{END_OF_FILE, INTERRUPT, SIZE, SUSPEND, Terminal};
use nix::sys::signal::Signal;
use nix::sys::termios::LocalFlags;
use std::io::Read;
use std::process::{Command, Stdio};
use zyg_protocol::message::TtySize;
use zyg_tests::Server;

fn tty(server: &Server, argv: &[&str]) -> Command {
    let mut command = server.zyg("run");
    command.arg("--tty").arg("--").args(argv);
    command
}

fn sh(server: &Server, script: &str) -> Command {
    tty(server, &["sh", "-c", script])
}

#[test]
fn all_three_streams_are_one_terminal_whatever_the_callers_are() {
    let server = Server::start();
    let script = "for fd in 0 1 2; do test -t $fd && echo $fd; done; tty; test -e $(tty); echo $?";
    // The caller's are /dev/null and two pipes.
    let seen = Seen::of(Way::Zyg, sh(&server, script).output().unwrap());
    assert_eq!(String::from_utf8_lossy(&seen.stdout), "0\r\n1\r\n2\r\n/dev/pts/0\r\n0\r\n");
    assert_eq!((seen.stderr.len(), seen.code), (0, 0));
}

#[test]
fn it_is_the_controlling_terminal_of_the_commands_session() {
    let server = Server::start();
    let script = "exec </dev/tty >/dev/tty; set -m && sh -c 'echo job'; echo $?";
    let output = sh(&server, script).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "job\r\n0\r\n");
}

#[test]
fn the_exit_code_is_the_commands() {
    let server = Server::start();
    for (script, code) in [("exit 0", 0), ("exit 42", 42), ("kill -TERM $$", 143)] {
        assert_eq!(sh(&server, script).status().unwrap().code(), Some(code), "{script}");
    }
    assert_eq!(tty(&server, &["no-such-command"]).output().unwrap().status.code(), Some(127));
}

#[test]
fn the_size_is_the_callers_and_follows_it() {
    let server = Server::start();
    let mut terminal = Terminal::open();
    let script =
        "trap 'stty size; kill -9 $!; exit 0' WINCH; stty size; sleep 1000 & echo ready; wait";
    let mut child = terminal.start(&sh(&server, script));
    let before = terminal.shows("ready\r\n");
    assert_eq!(before, format!("{} {}\r\n", SIZE.rows, SIZE.columns));
    terminal.resize(TtySize { rows: 50, columns: 132 });
    terminal.shows("50 132\r\n");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn the_callers_terminal_is_raw_meanwhile_and_restored_at_the_end() {
    let server = Server::start();
    // By its own exit, by a signal, by a deadline, and where nothing could be executed.
    for (options, script) in [
        (&["--tty"][..], "echo ready; read x; exit 0"),
        (&["--tty"], "echo ready; read x; kill -KILL $$"),
        (&["--tty", "--timeout", "1s"], "echo ready; sleep 1000"),
    ] {
        let mut terminal = Terminal::open();
        let before = terminal.settings();
        assert!(before.local_flags.contains(LocalFlags::ICANON | LocalFlags::ECHO));
        let mut command = server.zyg("run");
        command.args(options).args(["--", "sh", "-c", script]);
        let mut child = terminal.start(&command);
        terminal.shows("ready\r\n");
        zyg_tests::eventually("raw mode", || {
            let now = terminal.settings().local_flags;
            (!now.intersects(LocalFlags::ICANON | LocalFlags::ECHO | LocalFlags::ISIG))
                .then_some(())
        });
        terminal.typed("x\r");
        child.wait().unwrap();
        assert!(terminal.settings() == before, "{script}: {:?}", terminal.settings());
    }
    let terminal = Terminal::open();
    let before = terminal.settings();
    assert_eq!(terminal.start(&tty(&server, &["/etc"])).wait().unwrap().code(), Some(126));
    assert!(terminal.settings() == before);
}

#[test]
fn keys_are_the_commands_terminals_to_judge() {
    let server = Server::start();
    let mut terminal = Terminal::open();
    let script = "trap 'echo interrupted; kill -9 $!; exit 3' INT; sleep 1000 & echo ready; wait";
    let mut child = terminal.start(&sh(&server, script));
    terminal.shows("ready\r\n");
    terminal.typed(INTERRUPT);
    terminal.shows("interrupted\r\n");
    assert_eq!(child.wait().unwrap().code(), Some(3));
}

#[test]
fn a_shell_inside_has_job_control() {
    let server = Server::start();
    let mut terminal = Terminal::open();
    let script =
        "set -m; sh -c 'echo ready; read x; echo got $x'; echo stopped $?; fg; echo end $?";
    let mut child = terminal.start(&sh(&server, script));
    terminal.shows("ready\r\n");
    terminal.typed(SUSPEND);
    terminal.shows("stopped 148\r\n");
    terminal.typed("more\r");
    terminal.shows("got more\r\n");
    terminal.shows("end 0\r\n");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn the_end_of_the_callers_input_is_the_end_of_the_commands() {
    let server = Server::start();
    // Echo off, so that only what the command prints is seen.
    let script = "stty -echo; echo ready; wc -c";
    for (input, count) in [(&b""[..], 0), (b"line\n", 5), (b"two\nlines", 9), (b"no newline", 10)] {
        let mut ready = Ready::start({
            let mut command = sh(&server, script);
            command.stdin(Stdio::piped());
            command
        });
        let mut stdin = ready.child.stdin.take().unwrap();
        std::io::Write::write_all(&mut stdin, input).unwrap();
        drop(stdin);
        let (rest, status) = ready.finish();
        assert_eq!((rest.trim(), status.code()), (&*count.to_string(), Some(0)), "{input:?}");
    }
    let mut terminal = Terminal::open();
    let mut child = terminal.start(&sh(&server, "stty -echo; echo ready; cat; echo end"));
    terminal.shows("ready\r\n");
    terminal.typed(&format!("typed\r{END_OF_FILE}"));
    terminal.shows("typed\r\nend\r\n");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn all_output_is_carried_before_the_exit() {
    let server = Server::start();
    let expected: String = (1..=100_000).map(|number| format!("{number}\r\n")).collect();
    let output = tty(&server, &["seq", "100000"]).output().unwrap();
    assert!(output.stdout == expected.as_bytes(), "{} bytes", output.stdout.len());
    for _ in 0..20 {
        let output = sh(&server, "printf 'the last words'").output().unwrap();
        assert_eq!(output.stdout, b"the last words");
    }
}

#[test]
fn much_input_is_carried() {
    let server = Server::start();
    let input: String = (0..20_000).map(|number| format!("{number}\n")).collect();
    let output = fed(sh(&server, "stty -echo -icrnl; wc -l"), input.as_bytes());
    assert!(String::from_utf8_lossy(&output.stdout).ends_with("20000\r\n"), "{output:?}");
}

#[test]
fn a_reader_that_leaves_ends_the_command() {
    let server = Server::start();
    let mut child = tty(&server, &["yes"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut start = [0; 3];
    stdout.read_exact(&mut start).unwrap();
    assert_eq!(&start, b"y\r\n");
    drop(stdout);
    // Hung up on, as by a terminal that is closed.
    assert_eq!(child.wait().unwrap().code(), Some(128 + 1));
}

#[test]
fn a_flood_of_output_keeps_no_signal_and_no_deadline_waiting() {
    let server = Server::start();
    let mut command = server.zyg("run");
    command.args(["--tty", "--timeout", "300ms", "--", "yes"]).stdout(Stdio::null());
    assert_eq!(command.status().unwrap().code(), Some(124));

    // A reader that has stopped reading does not keep them waiting either.
    let mut child = tty(&server, &["yes"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut start = [0; 3];
    child.stdout.as_mut().unwrap().read_exact(&mut start).unwrap();
    let pid = nix::unistd::Pid::from_raw(child.id() as i32);
    nix::sys::signal::kill(pid, Signal::SIGTERM).unwrap();
    zyg_tests::eventually("the end of yes", || {
        server.processes_named("yes").is_empty().then_some(())
    });
    drop(child.stdout.take());
    child.wait().unwrap();
}

#[test]
fn a_stopped_run_gives_the_terminal_back_meanwhile() {
    let server = Server::start();
    let mut terminal = Terminal::open();
    let before = terminal.settings();
    let inner = sh(&server, "echo ready; read x; echo got $x");
    let mut shell = Command::new("sh");
    let jobs = "set -m; \"$@\"; stty -a | grep -o '.icanon'; echo stopped $?; fg; echo ended $?";
    shell.args(["-c", jobs, "sh"]).arg(inner.get_program()).args(inner.get_args());
    shell.env("ZYG_SOCKET", server.socket()).env_remove("ZYG_PROFILE");
    let mut shell = terminal.start(&shell);
    terminal.shows("ready\r\n");
    let pid = zyg_tests::eventually("zyg", || {
        let below = zyg_tests::Census::below(nix::unistd::Pid::from_raw(shell.id() as i32));
        below.pids().first().copied()
    });
    nix::sys::signal::kill(pid, Signal::SIGTSTP).unwrap();
    terminal.shows(" icanon\r\n");
    terminal.shows("stopped 0\r\n");
    terminal.typed("x\n");
    terminal.shows("got x\r\n");
    terminal.shows("ended 0\r\n");
    shell.wait().unwrap();
    assert!(terminal.settings() == before);
}
