//! What the policy orders, carried out. What fails comes back to it as an event.

use super::sessions::Pending;
use super::templates::NO_DESCRIPTOR;
use super::tokens::Key;
use super::visible::instead_of_cwd;
use super::waiting::{Waiting, how_many};
use super::wire::WireError;
use super::{Lease, REST_WAITS, Server};
use crate::pool::{self, Effect, Event, SlotKey, WaiterKey};
use std::os::fd::AsFd;
use std::time::Duration;
use zyg_protocol::message::{ColdReason, Denial, Granted, LeaseId, Reply, RequestId, Start};

/// How long a zygote has that was let go of. It takes init a tenth of that to exit if it gets to run at
/// all; it may be waiting for a file system to execute something from.
const KILL_AFTER: Duration = Duration::from_millis(10);

impl Server {
    /// Carries them out, and keeps the vector for the next ones.
    pub(super) fn carry_out(&mut self, mut effects: Vec<Effect>) {
        for effect in effects.drain(..) {
            self.carry_out_one(effect);
        }
        self.effects = effects;
    }

    fn carry_out_one(&mut self, effect: Effect) {
        match effect {
            Effect::Spawn { pool, slot } => self.spawns.push((pool, slot)),
            Effect::Grant { waiter, slot, start } => self.grant(waiter, slot, start),
            Effect::Deny { waiter, why } => self.turn_away(waiter, why),
            Effect::Recycle { slot, next } => self.recycle(slot, next),
            Effect::Destroy { slot } => self.destroy(slot),
        }
    }

    /// Orders what the policy wants built: last in a turn, so that nobody's grant waits for it.
    pub(super) fn order_spawns(&mut self) {
        while !self.spawns.is_empty() {
            for (pool, slot) in std::mem::take(&mut self.spawns) {
                let ordered =
                    self.ensure_template(pool).and_then(|()| self.order_spawn(pool, slot));
                if let Err(reason) = ordered {
                    self.tell(Event::SpawnFailed { slot, reason });
                }
            }
            self.settle();
        }
    }

    /// Hands a zygote to a waiter, or to the next of a batch.
    fn grant(&mut self, waiter: WaiterKey, slot: SlotKey, start: pool::Start) {
        let Some(mut waiting) = self.waiting.remove(&waiter) else {
            // The waiter hung up in this very turn: what it would have got ends with it.
            return self.tell(Event::LeaseEnded { slot });
        };
        self.hand_over(&mut waiting, slot, start);
        let there = self.sessions.arena.get(waiting.session).is_some();
        if there && !waiting.requests.is_empty() {
            self.waiting.insert(waiter, waiting);
        }
    }

    /// The hand-over: one message to the client, with the zygote's channel and pidfd.
    fn hand_over(&mut self, waiting: &mut Waiting, slot: SlotKey, start: pool::Start) {
        let Some((request, view, trees)) = waiting.take_one() else {
            return self.tell(Event::LeaseEnded { slot });
        };
        let lease = LeaseId(self.number());
        let handed = self.pools.key_of(slot).and_then(|key| {
            let zygote = self.pools.zygotes.get_mut(key)?;
            zygote.lease = Some(lease);
            Some((zygote.pool, zygote.reported.as_mut()?.channel.take()?))
        });
        self.forget_pending(waiting.session, request);
        let Some((pool, channel)) = handed else {
            let reason = NO_DESCRIPTOR.to_owned();
            self.answer_denied(waiting.session, request, Denial::BuildFailing { reason });
            return self.tell(Event::LeaseEnded { slot });
        };
        let (now, entry) = (self.now(), &self.pools[pool]);
        let asked = waiting.time_ms.map(Duration::from_millis);
        let time = [asked, entry.time].into_iter().flatten().min();
        let deadline = time.map(|time| now.after(time));
        let waited = now.0.saturating_sub(waiting.arrived.0);
        let granted = Granted {
            request,
            lease,
            start: said_start(start),
            waited_us: waited.as_micros() as u64,
            time_ms: time.map(|time| time.as_millis() as u64),
            start_in: instead_of_cwd(&entry.writable),
            attach: view.settled(&entry.writable),
        };
        if let Some(deadline) = deadline {
            self.lease_deadlines.insert((deadline, lease));
        }
        self.leases.insert(lease, Lease { session: waiting.session, slot, deadline });
        let reported = self.pools.zygote(slot).and_then(|zygote| zygote.reported.as_ref());
        let Some(session) = self.sessions.arena.get_mut(waiting.session) else { return };
        session.leases.insert(lease);
        let Some(reported) = reported else { return };
        let end = reported.end.as_ref().map_or(&reported.pidfd, |end| &end.told);
        let own = [channel.as_fd(), end.as_fd()];
        let with_trees: Vec<_>;
        let descriptors = if trees.is_empty() {
            &own[..]
        } else {
            with_trees = own.into_iter().chain(trees.iter().map(AsFd::as_fd)).collect();
            &with_trees
        };
        let (granted, registry) = (Reply::Granted(granted), self.poll.registry());
        let sent = session.wire.send_promised(&granted, descriptors, registry, &mut self.scratch);
        match sent {
            // Of what else the client has it costs nothing.
            Err(error @ (WireError::Crowded | WireError::Copy(_))) => {
                let denial = Denial::BuildFailing { reason: error.to_string() };
                self.end_lease(lease);
                self.answer_denied(waiting.session, request, denial);
            }
            sent => self.let_go_unless(sent, waiting.session),
        }
    }

    fn forget_pending(&mut self, session: Key, request: RequestId) {
        if let Some(session) = self.sessions.arena.get_mut(session)
            && let Some(Pending::Waiting { .. }) = session.pending.get(&request)
        {
            session.pending.remove(&request);
        }
    }

    fn turn_away(&mut self, waiter: WaiterKey, why: pool::Denial) {
        let Some(waiting) = self.waiting.remove(&waiter) else { return };
        let denial = said_denial(why, how_many(&waiting.requests), waiting.wait_ms);
        for request in waiting.requests {
            self.forget_pending(waiting.session, request);
            self.answer_denied(waiting.session, request, denial.clone());
        }
    }

    /// Lets go of a zygote, which ends it. One that does not see that, or is about to see it for too
    /// long, its template kills, since it is its child. One that never came to be is gone already.
    fn destroy(&mut self, slot: SlotKey) {
        self.spawns.retain(|(_, unordered)| *unordered != slot);
        let Some(key) = self.pools.key_of(slot) else { return self.gone(slot) };
        if self.is_orphan(key) {
            return self.destroy_orphan(key);
        }
        let kill_at = self.now().after(KILL_AFTER);
        self.pools.let_go.push_back((kill_at, key));
        if let Some(zygote) = self.pools.zygotes.get_mut(key) {
            zygote.lifeline = None;
        }
    }

    /// Ends a lease, whoever wants it to.
    pub(super) fn end_lease(&mut self, id: LeaseId) {
        if let Some(slot) = self.forget_lease(id) {
            self.tell(Event::LeaseEnded { slot });
        }
    }

    /// The same for a lease whose client has hung up. It is likely to be on its way out.
    pub(super) fn end_lease_soon(&mut self, id: LeaseId) {
        if !self.waiting.is_empty() {
            return self.end_lease(id);
        }
        if let Some(slot) = self.forget_lease(id) {
            self.given_back.push(slot);
            let now = self.now();
            self.settle_at.get_or_insert(now.after(REST_WAITS));
        }
    }

    fn forget_lease(&mut self, id: LeaseId) -> Option<SlotKey> {
        let lease = self.leases.remove(&id)?;
        if let Some(deadline) = lease.deadline {
            self.lease_deadlines.remove(&(deadline, id));
        }
        if let Some(session) = self.sessions.arena.get_mut(lease.session) {
            session.leases.remove(&id);
        }
        Some(lease.slot)
    }
}

fn said_start(start: pool::Start) -> Start {
    match start {
        pool::Start::Warm => Start::Warm,
        pool::Start::Cold(pool::ColdReason::FirstUse) => Start::Cold(ColdReason::FirstUse),
        pool::Start::Cold(pool::ColdReason::Exhausted) => Start::Cold(ColdReason::Exhausted),
    }
}

/// A denial of the policy's in a client's words, given how many it has asked for and how long it would
/// have waited.
pub(super) fn said_denial(why: pool::Denial, count: u32, wait_ms: Option<u64>) -> Denial {
    match why {
        pool::Denial::TooMany { what, limit } => {
            let reason = format!(
                "{count} environments at once are more than there may be ({what} is {limit})"
            );
            Denial::BadRequest { reason }
        }
        pool::Denial::QueueFull { waiters } => Denial::QueueFull { waiters },
        pool::Denial::QuotaExceeded { what, limit } => {
            Denial::QuotaExceeded { what: what.to_owned(), limit }
        }
        pool::Denial::DeadlineExpired => Denial::DeadlineExpired { wait_ms: wait_ms.unwrap_or(0) },
        pool::Denial::Draining => Denial::Draining,
        pool::Denial::BuildFailing { reason } => Denial::BuildFailing { reason },
    }
}
