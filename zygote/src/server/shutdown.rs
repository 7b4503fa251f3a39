//! Deadlines, readiness told to systemd, and the ways in which a server ends.

use super::listener::Door;
use super::{Idle, Opening, Server};
use crate::pool::{Event, Time};
use crate::sys::process::{Reaped, reap};
use nix::fcntl::{Flock, FlockArg};
use sd_notify::NotifyState;
use std::fs::File;
use std::io::ErrorKind;
use std::time::Duration;
use zyg_protocol::message::Denial;

/// Whether the server still grants leases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Serving,
    /// Told to stop: everything ends, by this time at the latest.
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
    /// Until the earliest deadline; at once if something is left to be read.
    pub(super) fn timeout(&self) -> Option<Duration> {
        let unread = !self.sessions.unread.is_empty() || !self.pools.unheard.is_empty();
        if unread || self.door == Door::Crowded {
            return Some(Duration::ZERO);
        }
        let now = self.now();
        let pools = self.pools.entries.iter().filter_map(|entry| entry.policy.next_deadline());
        let lease = self.lease_deadlines.first().map(|(deadline, _)| *deadline);
        let accept = match self.door {
            Door::Stuck { until } => Some(until),
            Door::Watched | Door::Crowded => None,
        };
        let watchdog = self.watchdog.map(|_| self.watchdog_next);
        let stop = match self.phase {
            Phase::Stopping { until } => Some(until),
            Phase::Serving => self.leave_at(),
        };
        let opening = self.opening.values().filter_map(Opening::deadline);
        let earliest = pools
            .chain(opening)
            .chain([lease, accept, watchdog, stop].into_iter().flatten())
            .min()?;
        // Rounded up, so that the deadline has passed on waking.
        Some(earliest.0.saturating_sub(now.0) + Duration::from_millis(1))
    }

    /// When an idle server leaves.
    fn leave_at(&self) -> Option<Time> {
        let idle = self.idle.as_ref()?;
        (self.sessions.arena.len() == 0).then(|| self.idle_since.after(idle.exit))
    }

    /// Does what has become due.
    pub(super) fn take_due(&mut self) {
        let now = self.now();
        match self.door {
            Door::Crowded => self.accept(),
            Door::Stuck { until } if until <= now => self.accept(),
            Door::Stuck { .. } | Door::Watched => {}
        }
        self.hear_the_unheard();
        while let Some((deadline, lease)) = self.lease_deadlines.first().copied()
            && deadline <= now
        {
            let client = self.leases.get(&lease).map(|held| self.told(held.session));
            let client = client.unwrap_or_default();
            log::info!("lease {} of {client} has reached its time limit", lease.0);
            self.end_lease(lease);
        }
        self.give_up_opening(now);
        for pool in 0..self.pools.entries.len() {
            if self.pools.entries[pool].policy.next_deadline().is_some_and(|due| due <= now) {
                self.tell(pool, Event::TimePassed);
            }
        }
        if let Some(every) = self.watchdog
            && self.watchdog_next <= now
        {
            self.watchdog_next = now.after(every);
            notify(NotifyState::Watchdog);
        }
        if self.phase.grants() && self.leave_at().is_some_and(|leave| leave <= now) {
            self.leave();
        }
    }

    /// Answers those whose wait is over before the template has opened their mount sources.
    fn give_up_opening(&mut self, now: Time) {
        let late = |opening: &Opening| opening.deadline().is_some_and(|deadline| deadline <= now);
        let tickets: Vec<u64> = self
            .opening
            .iter()
            .filter(|(_, opening)| late(opening))
            .map(|(ticket, _)| *ticket)
            .collect();
        for ticket in tickets {
            let wait_ms = self.opening.get(&ticket).and_then(|opening| opening.acquire.wait_ms);
            self.not_opened(ticket, Denial::DeadlineExpired { wait_ms: wait_ms.unwrap_or(0) });
        }
    }

    /// Stops for being idle. Under the lock that clients hold while they look for a server, so that
    /// none finds a socket whose server is leaving; if one is looking now, it stays.
    fn leave(&mut self) {
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
        if asked.reload {
            self.reload();
        }
        if asked.stop && self.phase.grants() {
            log::info!("stopping: every lease ends");
            self.remove_socket();
            self.stop();
        }
    }

    /// Reads the configuration again, whole. A bad one changes nothing. Pools that exist keep
    /// theirs.
    fn reload(&mut self) {
        let Some(file) = &self.config_file else {
            log::info!("nothing to reload: the server runs without a configuration file");
            return;
        };
        match crate::config::Config::load(file) {
            Ok(config) => {
                let filters = match super::compile_filters(&config) {
                    Ok(filters) => filters,
                    Err(error) => {
                        return log::error!(
                            "configuration not reloaded, the old one stays: {error}"
                        );
                    }
                };
                self.filters = filters;
                log::info!("configuration reloaded: it holds for pools made from now on");
                self.config = config;
            }
            Err(error) => log::error!("configuration not reloaded, the old one stays: {error}"),
        }
    }

    fn stop(&mut self) {
        notify(NotifyState::Stopping);
        self.phase = Phase::Stopping { until: self.now().after(STOP) };
        for pool in 0..self.pools.entries.len() {
            self.tell(pool, Event::DrainStarted);
        }
        self.settle();
        let leases: Vec<_> = self.leases.keys().copied().collect();
        for lease in leases {
            self.end_lease(lease);
        }
        self.settle();
    }

    pub(super) fn is_over(&self) -> bool {
        let Phase::Stopping { until } = self.phase else { return false };
        let mut left = self.pools.entries.iter().filter(|entry| !entry.policy.is_empty());
        if left.next().is_none() {
            return true;
        }
        if until <= self.now() {
            log::error!("environments are left that do not end; their lifelines end now");
            return true;
        }
        false
    }

    /// Tells systemd once that the first pools are warm, or that they fail: a unit that can serve
    /// denials with their reason is better than one that hangs in its start.
    pub(super) fn tell_readiness(&mut self) {
        let settled = |entry: &super::pools::Entry| {
            let counts = entry.policy.counts();
            counts.warm >= counts.target || counts.failing.is_some()
        };
        if !self.ready_told && self.pools.entries.iter().all(settled) {
            self.ready_told = true;
            notify(NotifyState::Ready);
        }
    }
}

fn notify(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        log::warn!("failed to notify systemd: {error}");
    }
}
