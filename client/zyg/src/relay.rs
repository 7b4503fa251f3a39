//! `--tty`: the caller's terminal in raw mode, and the command's terminal, each carried to the
//! other.

use anyhow::Context;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::termios::{self, SetArg, Termios};
use nix::unistd::{read, write};
use std::io::{IsTerminal, Stdin, Stdout, stderr, stdin, stdout};
use std::os::fd::{AsFd, OwnedFd};
use zygote_client::{Child, Command, TtySize};

/// Bytes carried at once, and kept for a side that does not take them: what a pipe that polls as
/// writable takes without blocking (`PIPE_BUF`, pipe(7)).
const PIECE_BYTES: usize = 4096;

/// Pieces of output carried before signals and deadline are looked at again.
const PIECES_PER_TURN: usize = 16;

/// What a terminal is taken to be when there is none to ask.
const DEFAULT_SIZE: TtySize = TtySize { rows: 24, columns: 80 };

/// End of transmission: what a terminal in canonical mode takes for end of file (termios(3)).
const END_OF_TRANSMISSION: u8 = 4;

/// What ends a line of input there.
const NEWLINE: u8 = b'\n';

/// The command's terminal, and what is on its way to and from it.
pub struct Relay {
    master: Option<OwnedFd>,
    stdin: Stdin,
    stdout: Stdout,
    /// Restores the caller's terminal when it goes.
    raw: Option<Raw>,
    to_command: Vec<u8>,
    to_caller: Vec<u8>,
    /// The last byte of input, to know whether a line is begun.
    last_input: u8,
    input_open: bool,
    output_open: bool,
}

/// Whether to wait until there is room for output.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wait {
    Yes,
    No,
}

struct Raw(Termios);

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = termios::tcsetattr(stdin(), SetArg::TCSADRAIN, &self.0);
    }
}

impl Relay {
    /// Asks for a terminal of the caller's size.
    pub fn prepare(command: &mut Command<'_>) -> anyhow::Result<Self> {
        command.tty(size_here().unwrap_or(DEFAULT_SIZE));
        Ok(Self {
            master: None,
            stdin: stdin(),
            stdout: stdout(),
            raw: None,
            to_command: Vec::new(),
            to_caller: Vec::new(),
            last_input: NEWLINE,
            input_open: true,
            output_open: true,
        })
    }

    /// Takes the command's terminal over, now that it runs.
    pub fn begin(&mut self, child: &mut Child) -> anyhow::Result<()> {
        let master = child.terminal.take().context("the command came without its terminal")?;
        nix::fcntl::fcntl(&master, nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK))?;
        self.master = Some(master);
        self.take_terminal()
    }

    /// Sets the caller's terminal to raw mode: what is typed is the command's terminal's to judge.
    pub fn take_terminal(&mut self) -> anyhow::Result<()> {
        if stdin().is_terminal() {
            let before = termios::tcgetattr(stdin()).context("failed to read terminal settings")?;
            let mut raw = before.clone();
            termios::cfmakeraw(&mut raw);
            termios::tcsetattr(stdin(), SetArg::TCSADRAIN, &raw)
                .context("failed to set the terminal to raw mode")?;
            self.raw = Some(Raw(before));
        }
        Ok(())
    }

    /// Restores the caller's terminal.
    pub fn give_terminal_back(&mut self) {
        self.raw = None;
    }

    /// What to wait for on the caller's side and on the command's. A side that is closed would always
    /// be ready, so it is left out.
    pub fn interest(&self) -> Vec<PollFd<'_>> {
        let Some(master) = &self.master else { return Vec::new() };
        let mut fds = Vec::new();
        if self.input_open && self.to_command.is_empty() {
            fds.push(PollFd::new(self.stdin.as_fd(), PollFlags::POLLIN));
        }
        if !self.to_caller.is_empty() {
            fds.push(PollFd::new(self.stdout.as_fd(), PollFlags::POLLOUT));
        }
        let mut terminal = PollFlags::empty();
        terminal.set(PollFlags::POLLIN, self.to_caller.is_empty());
        terminal.set(PollFlags::POLLOUT, !self.to_command.is_empty());
        if self.output_open && !terminal.is_empty() {
            fds.push(PollFd::new(master.as_fd(), terminal));
        }
        fds
    }

    /// Carries what can be carried without waiting, and not for ever: whoever waits for the command
    /// has signals and a deadline to see to.
    pub fn carry(&mut self) {
        self.take_input();
        self.give_input();
        for _ in 0..PIECES_PER_TURN {
            self.give_output(Wait::No);
            if !self.to_caller.is_empty() || !self.take_output() {
                break;
            }
        }
    }

    fn take_input(&mut self) {
        let mut fds = [PollFd::new(self.stdin.as_fd(), PollFlags::POLLIN)];
        let wanted = self.input_open && self.to_command.is_empty();
        // The caller's input may be shared with other processes, so it stays in blocking mode.
        if !wanted || poll(&mut fds, PollTimeout::ZERO) != Ok(1) {
            return;
        }
        let mut piece = [0; PIECE_BYTES];
        match read(self.stdin.as_fd(), &mut piece) {
            Ok(0) => {
                self.input_open = false;
                // In the middle of a line the first one only hands over what there is of it.
                let times = if self.last_input == NEWLINE { 1 } else { 2 };
                self.to_command.extend([END_OF_TRANSMISSION].repeat(times));
            }
            Ok(bytes) => {
                self.last_input = piece[bytes - 1];
                self.to_command.extend_from_slice(&piece[..bytes]);
            }
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(_) => self.input_open = false,
        }
    }

    fn give_input(&mut self) {
        let Some(master) = &self.master else { return };
        while !self.to_command.is_empty() {
            match write(master, &self.to_command) {
                Ok(bytes) => drop(self.to_command.drain(..bytes)),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return,
                Err(_) => self.to_command.clear(),
            }
        }
    }

    /// Reads a piece of what the command has written; whether there was one. A terminal that
    /// everybody has closed reads as an error (`EIO`, pty(7)).
    fn take_output(&mut self) -> bool {
        let Some(master) = self.master.as_ref().filter(|_| self.output_open) else { return false };
        let mut piece = [0; PIECE_BYTES];
        match read(master, &mut piece) {
            Ok(bytes) if bytes > 0 => {
                self.to_caller.extend_from_slice(&piece[..bytes]);
                return true;
            }
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Ok(_) | Err(_) => self.output_open = false,
        }
        false
    }

    /// Hands the caller what was read.
    fn give_output(&mut self, wait: Wait) {
        let patience = if wait == Wait::No { PollTimeout::ZERO } else { PollTimeout::NONE };
        let mut fds = [PollFd::new(self.stdout.as_fd(), PollFlags::POLLOUT)];
        // The caller's output may be shared with other processes, so it stays in blocking mode.
        if self.to_caller.is_empty() || poll(&mut fds, patience) != Ok(1) {
            return;
        }
        match write(self.stdout.as_fd(), &self.to_caller) {
            Ok(bytes) => drop(self.to_caller.drain(..bytes)),
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            Err(_) => {
                // Nobody reads any more: the command is hung up on, or it would wait for ever.
                self.to_caller.clear();
                self.output_open = false;
                self.master = None;
            }
        }
    }

    /// Carries the rest of the output, after the command and everything beside it has ended.
    pub fn finish(&mut self) {
        while !self.to_caller.is_empty() || self.take_output() {
            self.give_output(Wait::Yes);
        }
        self.give_terminal_back();
    }

    /// Gives the command's terminal the size that the caller's has now.
    pub fn resize(&self) {
        if let (Some(master), Some(size)) = (&self.master, size_here()) {
            zygote::set_terminal_size(master.as_fd(), size);
        }
    }
}

/// The size of the caller's terminal, wherever it is still connected.
fn size_here() -> Option<TtySize> {
    zygote::terminal_size(stdin().as_fd())
        .or_else(|| zygote::terminal_size(stdout().as_fd()))
        .or_else(|| zygote::terminal_size(stderr().as_fd()))
}
