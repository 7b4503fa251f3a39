//! A command with and without zyg, and what is seen of it.

use std::ffi::OsStr;
use std::fmt;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use zyg_tests::Server;

/// The two ways to run a command.
pub const WAYS: [Way; 2] = [Way::Bare, Way::Zyg];

/// With zyg or without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// The control: the command itself.
    Bare,
    /// The command under `zyg run --`.
    Zyg,
}

impl Way {
    /// The command, to be completed by the caller, in the same environment either way.
    pub fn command<S: AsRef<OsStr>>(self, server: &Server, argv: &[S]) -> Command {
        let mut command = match self {
            Self::Bare => Command::new(&argv[0]),
            Self::Zyg => {
                let mut zyg = server.zyg("run");
                zyg.arg("--").arg(&argv[0]);
                zyg
            }
        };
        command.args(&argv[1..]);
        command.env("ZYG_SOCKET", server.socket()).env_remove("ZYG_PROFILE");
        command
    }

    /// What a caller of this way hears of such an end.
    pub fn code(self, status: ExitStatus) -> i32 {
        match self {
            Self::Bare => code(status),
            Self::Zyg => status.code().expect("zyg itself exits"),
        }
    }
}

/// The exit code by which shells tell of an end.
pub fn code(status: ExitStatus) -> i32 {
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap()
}

/// What the caller of a command sees of it.
#[derive(PartialEq, Eq)]
pub struct Seen {
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    pub code: i32,
}

impl Seen {
    /// Of a command that has ended.
    pub fn of(way: Way, output: Output) -> Self {
        Self { stdout: output.stdout, stderr: output.stderr, code: way.code(output.status) }
    }
}

impl fmt::Debug for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let start = |bytes: &[u8]| {
            let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(4096)]).into_owned();
            format!("{shown:?} ({} bytes)", bytes.len())
        };
        write!(f, "exit {}\nout {}\nerr ", self.code, start(&self.stdout))?;
        write!(f, "{}", start(&self.stderr))
    }
}

/// Runs the command both ways, arranged alike, and returns what was seen of either.
pub fn same_when<S: AsRef<OsStr> + fmt::Debug>(
    server: &Server,
    argv: &[S],
    arrange: impl Fn(&mut Command) -> &mut Command,
) -> Seen {
    let [bare, zyg] = WAYS.map(|way| {
        let mut command = way.command(server, argv);
        arrange(&mut command);
        Seen::of(way, command.output().unwrap())
    });
    let shown: String = format!("{argv:?}").chars().take(1000).collect();
    assert!(zyg == bare, "{shown}\nunder zyg: {zyg:?}\nalone: {bare:?}");
    zyg
}

/// Runs the command both ways and returns what was seen of either.
pub fn same<S: AsRef<OsStr> + fmt::Debug>(server: &Server, argv: &[S]) -> Seen {
    same_when(server, argv, |command| command)
}

/// The same for a script of sh(1) with arguments.
pub fn same_script<S: AsRef<OsStr>>(server: &Server, script: &str, arguments: &[S]) -> Seen {
    let start = ["sh", "-c", script, "sh"].map(OsStr::new);
    let argv: Vec<_> = start.into_iter().chain(arguments.iter().map(AsRef::as_ref)).collect();
    same(server, &argv)
}

/// Runs a command on this input.
pub fn fed(mut command: Command, input: &[u8]) -> Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    std::thread::scope(|threads| {
        // A command that does not want it all may end before.
        threads.spawn(move || drop(stdin.write_all(input)));
        child.wait_with_output().unwrap()
    })
}

/// A command that has said `ready`.
pub struct Ready {
    pub child: Child,
    pub stdout: BufReader<ChildStdout>,
}

impl Ready {
    /// Starts it and waits for its line.
    pub fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let mut ready = Self { child, stdout };
        assert_eq!(ready.line(), "ready");
        ready
    }

    /// Its next line of output; empty at the end.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Its process number.
    pub fn pid(&self) -> nix::unistd::Pid {
        nix::unistd::Pid::from_raw(self.child.id() as i32)
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        nix::sys::signal::kill(self.pid(), signal).unwrap();
    }

    /// The rest of its output, and its end.
    pub fn finish(mut self) -> (String, ExitStatus) {
        drop(self.child.stdin.take());
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).unwrap();
        (rest, self.child.wait().unwrap())
    }
}
