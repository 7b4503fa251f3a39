//! A terminal for tests: the master side is the test's, and a session of its own runs on the other.

use nix::fcntl::{OFlag, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::stat::Mode;
use nix::sys::termios::{Termios, tcgetattr};
use nix::unistd::{read, write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command};
use zyg_protocol::message::TtySize;
use zyg_tests::PATIENCE;

/// The size that every terminal here starts with.
pub const SIZE: TtySize = TtySize { rows: 31, columns: 97 };

/// Control characters, as typed.
pub const INTERRUPT: &str = "\x03";
pub const END_OF_FILE: &str = "\x04";
pub const SUSPEND: &str = "\x1a";

/// A terminal, and what it has shown so far.
pub struct Terminal {
    master: OwnedFd,
    pub terminal: OwnedFd,
    shown: String,
}

impl Terminal {
    /// A new one. (openpty(3) has no way to make both sides close-on-exec, without which commands of
    /// tests beside this one would hold them.)
    pub fn open() -> Self {
        let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        let master = posix_openpt(flags).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname_r(&master).unwrap();
        let terminal = open(name.as_str(), flags, Mode::empty()).unwrap();
        let master =
            OwnedFd::from(std::fs::File::from(master.as_fd().try_clone_to_owned().unwrap()));
        let made = Self { master, terminal, shown: String::new() };
        made.resize(SIZE);
        made
    }

    /// Starts a command as the leader of a session on this terminal.
    pub fn start(&self, inner: &Command) -> Child {
        let mut command = Command::new("setsid");
        command.arg("--ctty").arg(inner.get_program()).args(inner.get_args());
        for (key, value) in inner.get_envs() {
            match value {
                Some(value) => command.env(key, value),
                None => command.env_remove(key),
            };
        }
        let side = || self.terminal.try_clone().unwrap();
        command.stdin(side()).stdout(side()).stderr(side()).spawn().unwrap()
    }

    /// Types on the keyboard.
    pub fn typed(&self, text: &str) {
        assert_eq!(write(&self.master, text.as_bytes()), Ok(text.len()));
    }

    /// Waits until the terminal shows the text, and takes everything up to its end: returns what
    /// stood before it.
    pub fn shows(&mut self, text: &str) -> String {
        let mut buffer = [0; 4096];
        let patience = PollTimeout::try_from(PATIENCE).unwrap();
        loop {
            if let Some(at) = self.shown.find(text) {
                let before = self.shown[..at].to_owned();
                self.shown.drain(..at + text.len());
                return before;
            }
            let mut fds = [PollFd::new(self.master.as_fd(), PollFlags::POLLIN)];
            assert_eq!(poll(&mut fds, patience), Ok(1), "no {text:?} in {:?}", self.shown);
            let bytes = read(&self.master, &mut buffer).unwrap();
            self.shown.push_str(&String::from_utf8_lossy(&buffer[..bytes]));
        }
    }

    /// Makes it so large.
    pub fn resize(&self, size: TtySize) {
        zygote::set_terminal_size(self.master.as_fd(), size);
    }

    /// Its settings.
    pub fn settings(&self) -> Termios {
        tcgetattr(&self.terminal).unwrap()
    }
}
