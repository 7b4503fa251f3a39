//! Zygotes that are used again: told to end their lease, heard, and looked at by their template.
//!
//! From the end of a lease on a zygote's slot has another name, here and with the template. So
//! whatever is still said about the lease before fits nothing any more.

use super::Server;
use super::pools::{Awaited, End, Reported};
use super::templates::NO_DESCRIPTOR;
use super::tokens::Key;
use super::wire::WireError;
use crate::pool::{Event, SlotKey};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::unistd::pipe2;
use std::os::fd::{AsFd, OwnedFd};
use zyg_protocol::codec::{decode, encode};
use zyg_protocol::message::{Fate, Lifeline, Recycle, ToTemplate, ToZygote};
use zyg_protocol::socket::{borrow, pair, send};

/// Descriptors by which a template looks at a zygote.
const EVIDENCE: usize = 3;

impl End {
    /// Of a lease to come.
    ///
    /// # Errors
    /// Those of pipe(2).
    fn new() -> Result<Self, Errno> {
        let (told, kept) = pipe2(OFlag::O_CLOEXEC)?;
        Ok(Self { told, _kept: kept })
    }
}

impl Server {
    /// The lease of a zygote is over. Its init is to end all of it, and gets a new command channel,
    /// which is made here: a socket that is made there would be one of the zygote's network.
    pub(super) fn recycle(&mut self, slot: SlotKey, next: SlotKey) {
        let Some(key) = self.pools.rename(slot, next) else { return self.gone(next) };
        if self.is_orphan(key) {
            return self.not_renewed(next);
        }
        let Some(pool) = self.pools.zygotes.get(key).map(|zygote| zygote.pool) else { return };
        let rename = ToTemplate::Rename { slot: slot.0, next: next.0 };
        if let Err(error) = self.order(pool, &rename, &[]) {
            return self.lose(key, &error);
        }
        let Some(zygote) = self.pools.zygotes.get_mut(key) else { return };
        let told = match (&zygote.lifeline, pair()) {
            (Some(lifeline), Ok((ours, theirs))) => {
                let mut bytes = Vec::new();
                let sent = encode(&ToZygote::Renew, &mut bytes).map_err(|_| Errno::EMSGSIZE);
                sent.and_then(|()| send(lifeline.as_fd(), &bytes, &[theirs.as_fd()])).map(|()| ours)
            }
            (None, _) => Err(Errno::EPIPE),
            (_, Err(errno)) => Err(errno),
        };
        match (told, &mut zygote.reported) {
            (Ok(channel), Some(reported)) => {
                reported.channel = Some(channel);
                zygote.awaited = Some(Awaited::Renewal);
            }
            (told, _) => {
                log::debug!("slot {:#x} is not used again: {told:?}", next.0);
                self.not_renewed(next);
            }
        }
    }

    /// What a zygote says that ends a lease: that it has, by which the lease's client learns it, too.
    /// Returns whether it may say so.
    pub(super) fn renewed(&mut self, key: Key, bytes: usize, evidence: Vec<OwnedFd>) -> bool {
        let Some(zygote) = self.pools.zygotes.get_mut(key) else { return false };
        let slot = zygote.slot;
        let renewed = zygote.awaited == Some(Awaited::Renewal)
            && match decode(&self.buffer[..bytes]) {
                Ok(Lifeline::Renewed { renew_us }) => {
                    log::debug!("slot {:#x} is renewed after {renew_us} µs", slot.0);
                    evidence.len() == EVIDENCE
                }
                Ok(Lifeline::Unable(failure)) => {
                    log::error!("a zygote cannot be renewed: {failure}");
                    false
                }
                Ok(Lifeline::Ready { .. }) | Err(_) => false,
            };
        if !renewed {
            return false;
        }
        zygote.awaited = None;
        let Some(reported) = &mut zygote.reported else { return false };
        reported.end = None;
        match End::new() {
            Ok(end) => reported.end = Some(end),
            Err(errno) => {
                log::error!("{NO_DESCRIPTOR}: {errno}");
                self.not_renewed(slot);
                return true;
            }
        }
        self.have_inspected(key, Awaited::Inspection, &evidence);
        true
    }

    /// A zygote is ready for the first time, in a pool that uses them again: nobody has it before its
    /// template has seen it.
    ///
    /// # Errors
    /// Why it is of no use, in words for a client.
    pub(super) fn born_to_return(
        &mut self,
        key: Key,
        mut reported: Reported,
        evidence: &[OwnedFd],
    ) -> Result<(), String> {
        if evidence.len() != EVIDENCE {
            return Err("a zygote comes with other descriptors than its pool needs".to_owned());
        }
        reported.end = Some(End::new().map_err(|_| NO_DESCRIPTOR.to_owned())?);
        let Some(zygote) = self.pools.zygotes.get_mut(key) else { return Ok(()) };
        zygote.reported = Some(reported);
        self.have_inspected(key, Awaited::FirstInspection, evidence);
        Ok(())
    }

    fn have_inspected(&mut self, key: Key, awaited: Awaited, evidence: &[OwnedFd]) {
        let Some(zygote) = self.pools.zygotes.get_mut(key) else { return };
        zygote.awaited = Some(awaited);
        let (pool, slot) = (zygote.pool, zygote.slot);
        match self.order(pool, &ToTemplate::Inspect { slot: slot.0 }, &borrow(evidence)) {
            Ok(()) => {}
            // What rides along has no room just now: as one of which nobody can say anything.
            Err(error @ (WireError::Crowded | WireError::Copy(_))) => {
                log::debug!("slot {:#x} cannot be inspected: {error}", slot.0);
                self.count_unrenewed(slot);
                if let Some(parent) = self.pools.zygotes.get(key).map(|zygote| zygote.parent) {
                    self.inspected(parent, slot, false);
                }
            }
            Err(error) => self.lose(key, &error),
        }
    }

    /// What its template has seen. It is believed once, about what it was asked.
    pub(super) fn inspected(&mut self, parent: Key, slot: SlotKey, fine: bool) {
        let Some(key) = self.pools.key_of(slot) else { return };
        let Some(zygote) = self.pools.zygotes.get_mut(key) else { return };
        if zygote.parent != parent {
            return;
        }
        let first = match zygote.awaited {
            Some(Awaited::FirstInspection) => true,
            Some(Awaited::Inspection) => false,
            Some(Awaited::Renewal) | None => return,
        };
        zygote.awaited = None;
        match (fine, first) {
            (true, _) => self.warm(slot),
            (false, false) => self.not_again(slot),
            (false, true) => {
                let reason = "its template does not know a zygote that it has made".to_owned();
                self.tell(Event::SetupFailed { slot, reason });
            }
        }
    }

    /// Whether zygotes of this one's pool are used again.
    pub(super) fn returns(&self, key: Key) -> bool {
        let pool = self.pools.zygotes.get(key).map(|zygote| zygote.pool);
        pool.is_some_and(|pool| self.pools[pool].recipe.recycle == Recycle::Whole)
    }

    fn not_again(&mut self, slot: SlotKey) {
        self.tell(Event::RecycleRefused { slot });
    }

    /// The same for one that its template has no say in.
    fn not_renewed(&mut self, slot: SlotKey) {
        self.count_unrenewed(slot);
        self.not_again(slot);
    }

    /// Counts one of which no template will tell what has become of it.
    pub(super) fn count_unrenewed(&mut self, slot: SlotKey) {
        if let Some(pool) = self.pools.zygote(slot).map(|zygote| zygote.pool) {
            self.pools[pool].fates.count(Fate::ZygoteNotRenewed);
        }
    }

    /// Gives up the template of a zygote, which reads nothing any more.
    fn lose(&mut self, key: Key, error: &WireError) {
        log::error!("failed to have a zygote used again: {error}");
        if let Some(parent) = self.pools.zygotes.get(key).map(|zygote| zygote.parent) {
            self.template_lost(parent);
        }
    }
}
