//! What the pools order, carried out. What fails comes back to them as an event.

use super::sessions::Pending;
use super::templates::NO_DESCRIPTOR;
use super::visible::instead_of_cwd;
use super::{Lease, Server};
use crate::pool::{self, Effect, Event, SlotKey, WaiterKey};
use std::os::fd::OwnedFd;
use std::time::Duration;
use zyg_protocol::message::{ColdReason, Denial, Granted, LeaseId, Reply, Start, ToTemplate};

impl Server {
    pub(super) fn carry_out(&mut self, pool: usize, effect: Effect) {
        match effect {
            Effect::Spawn { slot } => self.spawn(pool, slot),
            Effect::Grant { waiter, slot, start } => self.grant(pool, waiter, slot, start),
            Effect::Deny { waiter, why } => self.turn_away(waiter, why),
            Effect::Destroy { slot } => self.destroy(pool, slot),
        }
    }

    fn spawn(&mut self, pool: usize, slot: SlotKey) {
        let ordered = self.ensure_template(pool).and_then(|()| self.order_spawn(pool, slot));
        let entry = &mut self.pools.entries[pool];
        match (ordered, entry.template) {
            (Ok(()), Some(template)) => drop(entry.parents.insert(slot, template)),
            (Ok(()), None) => {}
            (Err(reason), _) => self.tell(pool, Event::SpawnFailed { slot, reason }),
        }
    }

    /// The hand-over: one message to the client, with the zygote's channel and pidfd.
    fn grant(&mut self, pool: usize, waiter: WaiterKey, slot: SlotKey, start: pool::Start) {
        let key = self.pools.entries[pool].zygotes.get(&slot).copied();
        let waiting = self.waiting.remove(&waiter);
        let zygote = key.and_then(|key| self.pools.zygotes.get_mut(key));
        let Some(waiting) = waiting else {
            // The waiter hung up in this very turn: what it would have got ends with it.
            return self.tell(pool, Event::LeaseEnded { slot });
        };
        let lease = LeaseId(self.last_number + 1);
        self.last_number += 1;
        let handed = zygote.and_then(|zygote| {
            let pidfd = zygote.pidfd.try_clone().ok()?;
            zygote.lease = Some(lease);
            Some((zygote.channel.take()?, pidfd))
        });
        let Some((channel, pidfd)) = handed else {
            self.forget_pending(&waiting);
            let reason = NO_DESCRIPTOR.to_owned();
            self.deny(waiting.session, waiting.request, Denial::BuildFailing { reason });
            return self.tell(pool, Event::LeaseEnded { slot });
        };
        let now = self.now();
        let asked = waiting.time_ms.map(Duration::from_millis);
        let time = [asked, self.pools.entries[pool].time].into_iter().flatten().min();
        let deadline = time.map(|time| now.after(time));
        if let Some(deadline) = deadline {
            self.lease_deadlines.insert((deadline, lease));
        }
        self.leases.insert(lease, Lease { session: waiting.session, pool, slot, deadline });
        self.forget_pending(&waiting);
        if let Some(session) = self.sessions.arena.get_mut(waiting.session) {
            session.leases.insert(lease);
        }
        let waited = now.0.saturating_sub(waiting.arrived.0);
        let granted = Granted {
            request: waiting.request,
            lease,
            start: said_start(start),
            waited_us: waited.as_micros() as u64,
            start_in: instead_of_cwd(&self.pools.entries[pool].writable),
            attach: waiting.view.settled(&self.pools.entries[pool].writable),
        };
        let descriptors: Vec<OwnedFd> = [channel, pidfd].into_iter().chain(waiting.trees).collect();
        self.reply(waiting.session, &Reply::Granted(granted), descriptors);
    }

    fn forget_pending(&mut self, waiting: &super::Waiting) {
        if let Some(session) = self.sessions.arena.get_mut(waiting.session)
            && let Some(Pending::Waiting { .. }) = session.pending.get(&waiting.request)
        {
            session.pending.remove(&waiting.request);
        }
    }

    fn turn_away(&mut self, waiter: WaiterKey, why: pool::Denial) {
        let Some(waiting) = self.waiting.remove(&waiter) else { return };
        self.forget_pending(&waiting);
        let denial = match why {
            pool::Denial::QueueFull { waiters } => Denial::QueueFull { waiters },
            pool::Denial::DeadlineExpired => {
                Denial::DeadlineExpired { wait_ms: waiting.wait_ms.unwrap_or(0) }
            }
            pool::Denial::Draining => Denial::Draining,
            pool::Denial::BuildFailing { reason } => Denial::BuildFailing { reason },
        };
        self.deny(waiting.session, waiting.request, denial);
    }

    /// The template kills its own child. When that template is no more, the end of the lifeline
    /// does; one that never came to be is gone already.
    fn destroy(&mut self, pool: usize, slot: SlotKey) {
        let entry = &self.pools.entries[pool];
        let parent = entry.parents.get(&slot).copied();
        if parent.is_some() && parent == entry.template {
            let order = ToTemplate::Destroy { slot: slot.0 };
            let ordered = self.pools.order(pool, &order, Vec::new(), &mut self.scratch);
            if let (Err(error), Some(template)) = (ordered, parent) {
                log::error!("failed to order the end of a zygote: {error}");
                // It reads nothing any more.
                self.template_lost(template);
            }
            return;
        }
        match entry.zygotes.get(&slot).copied() {
            Some(key) => self.destroy_orphan(key),
            None => self.gone(pool, slot),
        }
    }

    /// Ends a lease, whoever wants it to.
    pub(super) fn end_lease(&mut self, id: LeaseId) {
        let Some(lease) = self.leases.remove(&id) else { return };
        if let Some(deadline) = lease.deadline {
            self.lease_deadlines.remove(&(deadline, id));
        }
        if let Some(session) = self.sessions.arena.get_mut(lease.session) {
            session.leases.remove(&id);
        }
        self.tell(lease.pool, Event::LeaseEnded { slot: lease.slot });
    }
}

fn said_start(start: pool::Start) -> Start {
    match start {
        pool::Start::Warm => Start::Warm,
        pool::Start::Cold(pool::ColdReason::FirstUse) => Start::Cold(ColdReason::FirstUse),
        pool::Start::Cold(pool::ColdReason::Exhausted) => Start::Cold(ColdReason::Exhausted),
    }
}
