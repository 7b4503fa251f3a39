//! What templates log, heard through a pipe: a template may be in its user's hands, and the server's own
//! standard error would be, too.

use super::Server;
use super::tokens::{Key, Source};
use log::Level;
use nix::fcntl::OFlag;
use nix::unistd::pipe2;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;
use zyg_protocol::message::plain_text;

/// Bytes heard of one template in one turn.
const BYTES_PER_TURN: usize = 16 * 1024;

/// Bytes of a line. What is longer is told in pieces.
const LINE_BYTES_MAX: usize = 4096;

/// Lines of one template that are told within [`WINDOW`].
const LINES_MAX: u32 = 1000;
const WINDOW: Duration = Duration::from_secs(1);

/// The log of a template.
#[derive(Debug)]
pub(super) struct Log {
    pipe: File,
    /// What was heard of the next line.
    line: Vec<u8>,
    /// When the present window began, the lines in it, and those of them that were not told.
    window: Duration,
    lines: u32,
    untold: u32,
}

impl Log {
    /// One that nothing was heard of, and the end that the template writes to.
    ///
    /// # Errors
    /// Those of pipe(2).
    pub fn new() -> io::Result<(Self, OwnedFd)> {
        // The template waits for room, so only this end does not wait.
        let (ours, theirs) = pipe2(OFlag::O_CLOEXEC)?;
        nix::fcntl::fcntl(&ours, nix::fcntl::FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        let (pipe, line) = (File::from(ours), Vec::new());
        Ok((Self { pipe, line, window: Duration::ZERO, lines: 0, untold: 0 }, theirs))
    }

    /// To be watched.
    pub fn pipe(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }

    /// Tells what is there, up to a bound. Returns whether there may be more.
    fn tell(&mut self, pid: u32, now: Duration) -> bool {
        let mut buffer = [0; LINE_BYTES_MAX];
        for _ in 0..BYTES_PER_TURN / LINE_BYTES_MAX {
            match self.pipe.read(&mut buffer) {
                Ok(bytes) if bytes > 0 => self.take(&buffer[..bytes], pid, now),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(_) | Err(_) => return false,
            }
        }
        true
    }

    fn take(&mut self, bytes: &[u8], pid: u32, now: Duration) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(piece);
            if piece.ends_with(b"\n") || self.line.len() >= LINE_BYTES_MAX {
                let line = std::mem::take(&mut self.line);
                self.tell_line(line.trim_ascii_end(), pid, now);
            }
        }
    }

    fn tell_line(&mut self, line: &[u8], pid: u32, now: Duration) {
        if now.saturating_sub(self.window) >= WINDOW {
            if self.untold > 0 {
                log::warn!("template {pid}: {} lines more in a second", self.untold);
            }
            (self.window, self.lines, self.untold) = (now, 0, 0);
        }
        self.lines += 1;
        if self.lines > LINES_MAX {
            self.untold += 1;
            return;
        }
        let (level, text) = said(line);
        log::log!(target: "zygote::template", level, "{pid}: {}", plain_text(text));
    }
}

/// The level of a line and what it says, if it is as `env_logger` writes it: `[TIME LEVEL TARGET] TEXT`.
fn said(line: &[u8]) -> (Level, &[u8]) {
    let end = line.iter().position(|byte| *byte == b']');
    let head = end.and_then(|end| line[..end].strip_prefix(b"["));
    let level = head.and_then(|head| {
        let mut words = head.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
        std::str::from_utf8(words.nth(1)?).ok()?.parse().ok()
    });
    match (level, head) {
        (Some(level), Some(head)) => (level, line[head.len() + 2..].trim_ascii_start()),
        _ => (Level::Info, line),
    }
}

impl Server {
    /// Tells what a template has logged.
    pub(super) fn hear_log(&mut self, key: Key) {
        let now = self.now().0;
        let Some(template) = self.pools.templates.get_mut(key) else { return };
        if template.log.tell(template.pid, now) {
            self.pools.look_again(key);
        }
    }

    /// Watches the log of a template.
    ///
    /// # Errors
    /// Those of epoll_ctl(2).
    pub(super) fn watch_log(&mut self, key: Key) -> io::Result<()> {
        let Some(template) = self.pools.templates.get(key) else { return Ok(()) };
        self.watch(&template.log.pipe(), Source::Log(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_told_at_the_level_that_it_has() {
        let line = b"[2026-11-27T14:52:08Z WARN  zygote::template::tree] /a stays read-only";
        assert_eq!(said(line), (Level::Warn, &b"/a stays read-only"[..]));
        for other in [&b"[x] y"[..], b"plain", b"", b"[2026 LOUD z] y", b"[a ERROR"] {
            let (level, text) = said(other);
            assert_eq!((level, text), (Level::Info, other));
        }
    }

    #[test]
    fn a_line_is_whole_or_cut_and_a_flood_is_bounded() {
        let (mut log, theirs) = Log::new().unwrap();
        log.take(b"half", 1, WINDOW);
        assert_eq!((log.lines, &log.line[..]), (0, &b"half"[..]));
        log.take(b" a line\nand", 1, WINDOW);
        assert_eq!((log.lines, &log.line[..]), (1, &b"and"[..]));
        log.take(&[b'x'; 3 * LINE_BYTES_MAX], 1, WINDOW);
        assert!(log.line.len() < LINE_BYTES_MAX && log.lines > 1);
        for _ in 0..2 * LINES_MAX {
            log.take(b"\n", 1, WINDOW);
        }
        assert!(log.untold >= LINES_MAX);
        log.take(b"\n", 1, 2 * WINDOW);
        assert_eq!((log.lines, log.untold), (1, 0));
        drop(theirs);
        assert!(!log.tell(1, WINDOW), "the end");
    }
}
