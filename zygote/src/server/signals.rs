//! Signals as readiness: each one that the server minds sets its flag and writes to one pipe.

use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};
use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The signals that a server minds, caught from when this is made: SIGTERM, SIGINT, SIGHUP, SIGCHLD.
#[derive(Debug)]
pub struct Signals {
    pipe: UnixStream,
    stop: Arc<AtomicBool>,
    interrupt: Arc<AtomicBool>,
    reload: Arc<AtomicBool>,
}

/// What the signals since the last look ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// To drain: SIGTERM.
    pub stop: bool,
    /// To end everything at once: SIGINT.
    pub interrupt: bool,
    /// To read the configuration again: SIGHUP.
    pub reload: bool,
}

impl Signals {
    /// Installs the handlers.
    ///
    /// # Errors
    /// Those of socketpair(2) and sigaction(2).
    pub fn install() -> io::Result<Self> {
        let (pipe, writer) = UnixStream::pair()?;
        pipe.set_nonblocking(true)?;
        let [stop, interrupt, reload] = [(); 3].map(|()| Arc::new(AtomicBool::new(false)));
        for (signal, flag) in [(SIGTERM, &stop), (SIGINT, &interrupt), (SIGHUP, &reload)] {
            signal_hook::flag::register(signal, Arc::clone(flag))?;
        }
        for signal in [SIGTERM, SIGINT, SIGHUP, SIGCHLD] {
            signal_hook::low_level::pipe::register(signal, writer.try_clone()?)?;
        }
        Ok(Self { pipe, stop, interrupt, reload })
    }

    /// The pipe, to register it.
    pub fn pipe(&self) -> &UnixStream {
        &self.pipe
    }

    /// Empties the pipe and takes what was asked for. Ended children are to be reaped in any case.
    pub fn take(&mut self) -> Asked {
        let mut sink = [0; 64];
        while self.pipe.read(&mut sink).is_ok_and(|bytes| bytes > 0) {}
        Asked {
            stop: self.stop.swap(false, Ordering::Relaxed),
            interrupt: self.interrupt.swap(false, Ordering::Relaxed),
            reload: self.reload.swap(false, Ordering::Relaxed),
        }
    }
}
