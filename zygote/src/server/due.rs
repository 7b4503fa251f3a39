//! Deadlines: until when the loop may wait, and what is due when it wakes.

use super::Server;
use super::listener::Door;
use super::shutdown::{Phase, notify};
use super::waiting::Opening;
use crate::pool::{Event, Time};
use sd_notify::NotifyState;
use std::time::Duration;
use zyg_protocol::message::Denial;

impl Server {
    /// Until the earliest deadline; at once if something is left to be read.
    pub(super) fn timeout(&self) -> Option<Duration> {
        let unread = !self.sessions.unread.is_empty() || !self.pools.unheard.is_empty();
        if unread || self.door == Door::Crowded {
            return Some(Duration::ZERO);
        }
        let now = self.now();
        let policy = self.policy_due();
        let lease = self.lease_deadlines.first().map(|(deadline, _)| *deadline);
        let accept = match self.door {
            Door::Stuck { until } => Some(until),
            Door::Watched | Door::Crowded => None,
        };
        let watchdog = self.watchdog.map(|_| self.watchdog_next);
        let stop = match self.phase {
            Phase::Draining { until } => until,
            Phase::Stopping { until } => Some(until),
            Phase::Serving => self.leave_at(),
        };
        let silence = self.next_silence();
        let opening = self.opening.values().filter_map(Opening::deadline);
        let kill = self.pools.let_go.front().map(|(at, _)| *at);
        let others = [policy, lease, accept, watchdog, stop, silence, kill];
        let earliest = opening.chain(others.into_iter().flatten()).min()?;
        // Which mio rounds up to whole milliseconds, so that the deadline has passed on waking.
        Some(earliest.0.saturating_sub(now.0))
    }

    /// When the policy wants to hear that time has passed.
    fn policy_due(&self) -> Option<Time> {
        self.settle_at.or_else(|| self.pools.policy.next_deadline())
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
        self.give_up_silent(now);
        self.kill_the_slow(now);
        if self.policy_due().is_some_and(|due| due <= now) {
            self.tell(Event::TimePassed);
        }
        if let Some(every) = self.watchdog
            && self.watchdog_next <= now
        {
            self.watchdog_next = now.after(every);
            notify(NotifyState::Watchdog);
        }
        if let Phase::Draining { until } = self.phase {
            self.go_on_draining(until, now);
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
}
