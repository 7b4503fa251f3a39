//! Logs on standard error, which nobody has to read: a server waits for no reader of its log.

use env_logger::{Builder, Env, Target, WriteStyle};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;

/// Bytes of a line at most: what has room wherever there is room at all (pipe(7), `PIPE_BUF`).
const LINE_BYTES_MAX: usize = 4096;

/// Logs of this process, filtered by `ZYG_LOG` in the syntax of `RUST_LOG`.
pub fn to_stderr(default: &str) {
    let mut builder = Builder::from_env(Env::new().filter_or("ZYG_LOG", default));
    if io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none() {
        builder.write_style(WriteStyle::Always);
    }
    let unread = Unread { out: io::stderr(), dropped: 0 };
    // A second initialisation is the only error, and there is no second.
    let _ = builder.target(Target::Pipe(Box::new(unread))).try_init();
}

/// Drops lines for which there is no room, and says so when there is some again.
struct Unread<W> {
    out: W,
    dropped: u64,
}

impl<W: Write + AsFd> Unread<W> {
    fn has_room(&self) -> bool {
        let mut polled = [PollFd::new(self.out.as_fd(), PollFlags::POLLOUT)];
        // Where the reader is gone, or nothing was open, writing fails at once.
        poll(&mut polled, PollTimeout::ZERO) == Ok(1)
    }
}

impl<W: Write + AsFd> Write for Unread<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if !self.has_room() {
            self.dropped += 1;
            return Ok(line.len());
        }
        if self.dropped > 0 {
            let told =
                format!("[{} lines of the log were dropped: nobody read them]\n", self.dropped);
            self.out.write_all(told.as_bytes())?;
            self.dropped = 0;
            return self.write(line);
        }
        let mut end = line.len().min(LINE_BYTES_MAX);
        if end < line.len() {
            // Not within a character, and with room for the end of the line.
            end -= 1;
            while end > 0 && line[end] & 0xc0 == 0x80 {
                end -= 1;
            }
        }
        self.out.write_all(&line[..end])?;
        if end < line.len() {
            self.out.write_all(b"\n")?;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::unistd::pipe;
    use std::fs::File;
    use std::io::Read;

    #[test]
    fn what_nobody_reads_is_dropped_and_counted() {
        let (reader, writer) = pipe().unwrap();
        let mut log = Unread { out: File::from(writer), dropped: 0 };
        let line = [&[b'x'; 99][..], b"\n"].concat();
        let lines = 2 * 65_536 / line.len() as u64;
        for _ in 0..lines {
            log.write_all(&line).unwrap();
        }
        let dropped = log.dropped;
        assert!((1..lines).contains(&dropped), "{dropped} of {lines}");
        let mut reader = File::from(reader);
        let mut read = vec![0; 65_536];
        let had = reader.read(&mut read).unwrap();
        log.write_all(b"last\n").unwrap();
        drop(log);
        let mut rest = String::new();
        reader.read_to_string(&mut rest).unwrap();
        assert_eq!((had + rest.len()) as u64 / 100, lines - dropped);
        let told = format!("[{dropped} lines of the log were dropped: nobody read them]\nlast\n");
        assert!(rest.ends_with(&told), "{rest}");
    }
}
