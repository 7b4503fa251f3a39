//! Zygotes, once they speak for themselves: heard, let go of, mourned.

use super::Server;
use super::pools::{Awaited, Reported};
use super::templates::NO_DESCRIPTOR;
use super::tokens::Key;
use crate::diagnose;
use crate::pool::{Event, SlotKey, Time};
use std::os::fd::{AsFd, OwnedFd};
use zyg_protocol::codec::decode;
use zyg_protocol::message::{Lifeline, ToTemplate};
use zyg_protocol::socket::{ReceiveError, receive};

impl Server {
    /// Hears what init says on its lifeline: ready or unable, once, after each lease that it is to
    /// outlive that it has, and end of file, which is there already if it has `closed`. It ends as
    /// soon as it is heard to say anything else, which is never looked at.
    pub(super) fn hear_zygote(&mut self, key: Key, closed: bool) {
        let Some(zygote) = self.pools.zygotes.get_mut(key) else { return };
        let (slot, parent) = (zygote.slot, zygote.parent);
        let Some(lifeline) = &zygote.lifeline else { return };
        let silent = zygote.told && zygote.awaited != Some(Awaited::Renewal);
        if silent && closed {
            return self.died(key);
        }
        let received = match receive(lifeline.as_fd(), &mut self.buffer) {
            Err(ReceiveError::WouldBlock) => return,
            Ok(received) if received.bytes == 0 => return self.died(key),
            Err(ReceiveError::Os(_)) => return self.died(key),
            received => received,
        };
        if zygote.told {
            let heard = !silent
                && received
                    .is_ok_and(|received| self.renewed(key, received.bytes, received.descriptors));
            // Nothing is to come after that, nor to be there already.
            return if heard { self.hear_zygote(key, closed) } else { self.died(key) };
        }
        zygote.told = true;
        let message = received
            .map_err(|error| match error {
                ReceiveError::TooManyDescriptors => NO_DESCRIPTOR.to_owned(),
                error => error.to_string(),
            })
            .and_then(|it| {
                let said = decode(&self.buffer[..it.bytes]).map_err(|error| error.to_string())?;
                Ok((said, it.descriptors))
            });
        let unable = matches!(message, Ok((Lifeline::Unable(_), _)));
        let report = message.and_then(|(said, descriptors)| report(slot, said, descriptors));
        self.answered(parent);
        let returns = self.returns(key);
        let made = report.and_then(|(reported, evidence)| {
            if returns {
                return self.born_to_return(key, reported, &evidence);
            }
            if !evidence.is_empty() {
                return Err("a zygote comes with two descriptors".to_owned());
            }
            if let Some(zygote) = self.pools.zygotes.get_mut(key) {
                zygote.reported = Some(reported);
            }
            self.warm(slot);
            Ok(())
        });
        if let Err(reason) = made {
            log::error!("a zygote cannot be set up: {reason}");
            match unable {
                true => self.unable(slot, parent, reason),
                false => self.tell(Event::SetupFailed { slot, reason }),
            }
        }
        if closed {
            self.died(key);
        }
    }

    /// A zygote says that it cannot be set up. What its template holds may be out of date: a directory
    /// of the host's that has been made again since is another one. So another template is tried, in
    /// place of this one where nothing was ever built by it, else beside it.
    fn unable(&mut self, slot: SlotKey, parent: Key, reason: String) {
        let pool = self.pools.zygote(slot).map(|zygote| zygote.pool);
        let Some(pool) = pool.filter(|pool| self.pools[*pool].template == Some(parent)) else {
            return self.tell(Event::SetupFailed { slot, reason });
        };
        if self.pools.policy.is_proven(pool) {
            self.tell(Event::SetupFailed { slot, reason });
            return self.make_anew(pool);
        }
        self.pools[pool].template_error = Some(reason);
        self.template_lost(parent);
    }

    /// A zygote is ready to be had.
    pub(super) fn warm(&mut self, slot: SlotKey) {
        log::debug!("slot {:#x} is warm", slot.0);
        self.tell(Event::ZygoteReady { slot });
    }

    /// Init has exited; what it leaves is on its way out. Of one that has never said anything, and
    /// may never have been, its template tells.
    fn died(&mut self, key: Key) {
        let Some(zygote) = self.pools.zygotes.get_mut(key) else { return };
        let (slot, lease, told) = (zygote.slot, zygote.lease, zygote.told);
        let renewing = zygote.awaited == Some(Awaited::Renewal);
        // Which ends the watch: nobody else has this end.
        zygote.lifeline = None;
        if renewing {
            self.count_unrenewed(slot);
        }
        // First, so that nobody wants it back when its lease is over.
        if told {
            self.tell(Event::ZygoteDied { slot });
        }
        if let Some(lease) = lease {
            self.end_lease(lease);
        }
        if self.is_orphan(key) {
            self.destroy_orphan(key);
        }
    }

    /// Whether the template that has made it is gone.
    pub(super) fn is_orphan(&self, key: Key) -> bool {
        let zygote = self.pools.zygotes.get(key);
        zygote.is_some_and(|it| self.pools[it.pool].template != Some(it.parent))
    }

    /// Nothing is left of a zygote.
    pub(super) fn gone(&mut self, slot: SlotKey) {
        self.tell(Event::ZygoteGone { slot });
        if let Some(zygote) = self.pools.forget(slot) {
            if self.pools[zygote.pool].template != Some(zygote.parent)
                && let Some(reported) = &zygote.reported
            {
                // It is watched, and whoever sent it may still hold it.
                self.unwatch(&reported.pidfd);
            }
            if let Some(lease) = zygote.lease {
                self.end_lease(lease);
            }
        }
    }

    /// Has templates kill those of their zygotes that have been let go of and are not gone.
    pub(super) fn kill_the_slow(&mut self, now: Time) {
        while let Some(&(at, key)) = self.pools.let_go.front() {
            let zygote = self.pools.zygotes.get(key).map(|it| (it.slot, it.pool, it.parent));
            if zygote.is_some() && now < at {
                return;
            }
            self.pools.let_go.pop_front();
            let Some((slot, pool, parent)) = zygote.filter(|_| !self.is_orphan(key)) else {
                continue;
            };
            log::debug!("slot {:#x} has not ended by itself", slot.0);
            let ordered = self
                .order(pool, &ToTemplate::Destroy { slot: slot.0 }, &[])
                .and_then(|()| self.ask_for_a_sign(pool));
            if let Err(error) = ordered {
                log::error!("failed to order the end of a zygote: {error}");
                // It reads nothing any more.
                self.template_lost(parent);
            }
        }
    }
}

/// What a zygote reports, and what else it hands out.
///
/// # Errors
/// Why it is of no use, in words for a client.
fn report(
    slot: SlotKey,
    said: Lifeline,
    descriptors: Vec<OwnedFd>,
) -> Result<(Reported, Vec<OwnedFd>), String> {
    match said {
        Lifeline::Ready { spawn_us } => {
            log::debug!("slot {:#x} is ready after {spawn_us} µs", slot.0);
            let mut descriptors = descriptors.into_iter();
            let (Some(channel), Some(pidfd)) = (descriptors.next(), descriptors.next()) else {
                return Err("a zygote comes with two descriptors".to_owned());
            };
            let reported = Reported { channel: Some(channel), pidfd, end: None };
            Ok((reported, descriptors.collect()))
        }
        Lifeline::Unable(failure) => Err(diagnose::advice(&failure)),
        Lifeline::Renewed { .. } => Err("it is renewed before it was ready".to_owned()),
    }
}
