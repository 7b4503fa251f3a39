//! Signals that zyg passes on to the command.

use crate::relay::Relay;
use nix::sys::signal::Signal;
use signal_hook::consts::{
    SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGUSR1, SIGUSR2, SIGWINCH,
};
use signal_hook::iterator::backend::SignalDelivery;
use signal_hook::iterator::exfiltrator::WithOrigin;
use signal_hook::low_level::siginfo::{Cause, Origin};
use std::os::unix::net::UnixStream;
use zygote_client::Scope;

const FORWARDED: [i32; 9] =
    [SIGINT, SIGTERM, SIGQUIT, SIGHUP, SIGUSR1, SIGUSR2, SIGWINCH, SIGTSTP, SIGCONT];

/// The signals that have arrived.
pub struct Signals {
    delivery: SignalDelivery<UnixStream, WithOrigin>,
}

impl Signals {
    /// Takes every forwarded signal over, but those that the caller of zyg has set to be ignored:
    /// `nohup zyg run …` must not pass on what nohup(1) was to keep away.
    ///
    /// To be called before the command starts, so that none that is meant for it ends zyg instead.
    pub fn install() -> std::io::Result<Self> {
        let (read, write) = UnixStream::pair()?;
        let taken = FORWARDED.into_iter().filter(|signal| !zygote::ignores(*signal));
        let delivery = SignalDelivery::with_pipe(read, write, WithOrigin::default(), taken)?;
        Ok(Self { delivery })
    }

    /// Readable when signals have arrived.
    pub fn pipe(&self) -> &UnixStream {
        self.delivery.get_read()
    }

    /// Passes on what has arrived. What the terminal sent, it sent to a whole process group; what
    /// a process sent was for one process.
    pub fn forward(
        &mut self,
        command: &zygote_client::Signals,
        mut relay: Option<&mut Relay>,
    ) -> anyhow::Result<()> {
        let arrived: Vec<Origin> = self.delivery.pending().collect();
        for Origin { signal, cause, .. } in arrived {
            if signal == SIGWINCH
                && let Some(relay) = &relay
            {
                // The kernel tells the command when its own terminal's size changes.
                relay.resize();
                continue;
            }
            let scope = if cause == Cause::Kernel { Scope::Group } else { Scope::Process };
            command.send(signal, scope)?;
            if signal == SIGTSTP {
                // Stopped along with the command, so that a shell takes the terminal back: as it
                // was.
                if let Some(relay) = &mut relay {
                    relay.give_terminal_back();
                }
                zygote::take_default_action(Signal::SIGTSTP)?;
                // The whole group, which the terminal may have stopped. And where the kernel did
                // not stop us, the command must not stay stopped either.
                command.send(SIGCONT, Scope::Group)?;
                if let Some(relay) = &mut relay {
                    relay.take_terminal()?;
                }
            }
        }
        Ok(())
    }
}
