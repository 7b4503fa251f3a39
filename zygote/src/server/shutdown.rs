//! Readiness told to systemd, and the ways in which a server ends: idle, drained, or at once.

use super::{Ended, Idle, Server};
use crate::pool::{Event, Time};
use crate::sys::process::{Reaped, reap};
use nix::fcntl::{Flock, FlockArg};
use sd_notify::NotifyState;
use std::fs::File;
use std::io::ErrorKind;
use std::time::Duration;
use zyg_protocol::message::{Denial, Reply};

/// Whether the server still grants leases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Serving,
    /// Leases finish, and none is granted any more.
    Draining {
        /// When those that are left are ended.
        until: Option<Time>,
    },
    /// Everything ends, by this time at the latest.
    Stopping {
        until: Time,
    },
}

impl Phase {
    pub fn grants(self) -> bool {
        self == Self::Serving
    }
}

/// How long a stopping server waits for its zygotes to be gone. Those that are not by then end with
/// the server's side of their lifelines.
const STOP: Duration = Duration::from_secs(10);

impl Server {
    /// When an idle server leaves.
    pub(super) fn leave_at(&self) -> Option<Time> {
        let idle = self.idle.as_ref()?;
        let needed = self.sessions.arena.len() > 0 || self.is_reserved();
        (!needed).then(|| self.idle_since.after(idle.exit))
    }

    /// Whether somebody has asked for environments that are still to be kept warm.
    fn is_reserved(&self) -> bool {
        self.pools.entries().any(|(pool, _)| self.pools.policy.counts(pool).reserved > 0)
    }

    /// Stops for being idle. Under the lock that clients hold while they look for a server, so that
    /// none finds a socket whose server is leaving; if one is looking now, it stays.
    pub(super) fn leave(&mut self) {
        let Some(Idle { lock, .. }) = &self.idle else { return };
        let opened = lock.as_ref().map(File::open);
        self.idle_since = self.now();
        let locked = opened
            .map(|opened| opened.map(|file| Flock::lock(file, FlockArg::LockExclusiveNonblock)));
        let _locked = match locked {
            None => None,
            Some(Ok(Ok(locked))) => Some(locked),
            // Nobody looks for a server where there is no lock to hold: its directory was removed.
            Some(Err(error)) if error.kind() == ErrorKind::NotFound => None,
            Some(_) => return,
        };
        // Whoever connected before the lock was taken is served first.
        self.accept();
        if self.sessions.arena.len() == 0 {
            log::info!("leaving after being idle");
            self.remove_socket();
            self.stop();
        }
    }

    fn remove_socket(&mut self) {
        if let Some(listener) = self.listener.take() {
            self.unwatch(listener.socket());
            listener.remove();
        }
    }

    pub(super) fn take_signals(&mut self) {
        let asked = self.signals.take();
        while let Reaped::Ended(ended) = reap() {
            log::debug!("process {} has ended: {:?}", ended.pid, ended.status);
        }
        if asked.reload && self.phase.grants() {
            self.reload();
        } else if asked.reload {
            log::info!("nothing is reloaded while the server drains");
        }
        let again = asked.stop && self.stop_asked;
        self.stop_asked |= asked.stop;
        if asked.interrupt || again {
            self.drain(Some(Duration::ZERO));
        } else if asked.stop {
            self.drain(Some(self.config.server.drain_timeout));
        }
    }

    /// Grants no more, and ends when the last lease has, or when the time is over. Asked again while
    /// it drains, the shorter time holds.
    pub(super) fn drain(&mut self, timeout: Option<Duration>) {
        let now = self.now();
        let asked = timeout.map(|timeout| now.after(timeout));
        let until = match self.phase {
            Phase::Stopping { .. } => return,
            Phase::Serving => {
                notify(NotifyState::Stopping);
                log::info!("draining: {} leases are left to finish", self.leases.len());
                self.tell(Event::DrainStarted);
                let opening: Vec<_> = self.opening.keys().copied().collect();
                for ticket in opening {
                    self.not_opened(ticket, Denial::Draining);
                }
                asked
            }
            Phase::Draining { until } => [until, asked].into_iter().flatten().min(),
        };
        self.phase = Phase::Draining { until };
        self.settle();
        self.go_on_draining(until, now);
    }

    /// Stops when no lease is left, or the time for them is over.
    pub(super) fn go_on_draining(&mut self, until: Option<Time>, now: Time) {
        let over = until.is_some_and(|until| until <= now);
        if !over && !self.leases.is_empty() {
            return;
        }
        self.leases_ended = self.leases.len() as u32;
        if self.leases_ended > 0 {
            log::warn!("{} leases are ended: the time to drain is over", self.leases_ended);
        }
        self.remove_socket();
        self.stop();
    }

    fn stop(&mut self) {
        self.phase = Phase::Stopping { until: self.now().after(STOP) };
        self.tell(Event::DrainStarted);
        self.settle();
        let leases: Vec<_> = self.leases.keys().copied().collect();
        for lease in leases {
            self.end_lease(lease);
        }
        self.settle();
    }

    /// How the server has ended, once it has.
    pub(super) fn over(&mut self) -> Option<Ended> {
        let Phase::Stopping { until } = self.phase else { return None };
        let drained = self.pools.policy.is_drained();
        if !drained && self.now() < until {
            return None;
        }
        let stuck = self.pools.zygotes.len() as u32;
        if stuck > 0 {
            log::error!("{stuck} environments are left that do not end; their lifelines end now");
        }
        let ended = Ended { leases_ended: self.leases_ended, stuck };
        for (session, request) in std::mem::take(&mut self.drained_for) {
            let answer = Reply::Drained { request, ended: ended.leases_ended, stuck };
            self.reply(session, &answer);
        }
        Some(ended)
    }

    /// Tells systemd once that the first pools are warm, or that they fail: a unit that can serve
    /// denials with their reason is better than one that hangs in its start.
    pub(super) fn tell_readiness(&mut self) {
        if self.ready_told {
            return;
        }
        let settled = |(pool, _)| {
            let counts = self.pools.policy.counts(pool);
            counts.warm >= counts.target || counts.failing.is_some()
        };
        // There may be no room for all that pools are to have.
        let full = self.pools.policy.is_full();
        if full || self.pools.entries().all(settled) {
            self.ready_told = true;
            notify(NotifyState::Ready);
        }
    }
}

pub(super) fn notify(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        log::warn!("failed to notify systemd: {error}");
    }
}
