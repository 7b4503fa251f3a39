//! The pools, each with the template and the zygotes that it decides about.

use super::recipes::{self, Facts};
use super::slices::{self, Reserved};
use super::tokens::{Arena, Key};
use super::visible::Writable;
use super::wire::{Wire, WireError};
use crate::config::{Profile, Quota};
use crate::filter::Filters;
use crate::pool::{Pool, Settings, SlotKey};
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::time::Duration;
use zyg_protocol::message::{LeaseId, Recipe, ToTemplate};

/// How long a zygote may take to get ready. Two hundred times what a slow machine needs.
const SPAWN_TIMEOUT: Duration = Duration::from_secs(20);

/// Orders that may wait for a template that is busy: one for each slot that a pool may have, twice.
const TEMPLATE_OUTBOX_MAX: usize = 1 << 18;

/// A zygote as the server knows it.
#[derive(Debug)]
pub(super) struct Zygote {
    pub pool: usize,
    pub slot: SlotKey,
    /// Dropped to end it when no template is left to kill it. End of file here means it has ended.
    pub lifeline: Option<OwnedFd>,
    /// The client's end of the command channel, until it is granted.
    pub channel: Option<OwnedFd>,
    pub pidfd: OwnedFd,
    pub lease: Option<LeaseId>,
    /// Whether its init has said what it has to say: that it is ready, or why not.
    pub told: bool,
}

/// A template that runs, or is on its way to.
#[derive(Debug)]
pub(super) struct Template {
    pub pool: usize,
    pub pid: u32,
    pub wire: Wire,
    /// Whether its tree is prepared.
    pub ready: bool,
}

/// One profile and uid.
#[derive(Debug)]
pub(super) struct Entry {
    pub profile: String,
    pub uid: u32,
    pub policy: Pool,
    pub recipe: Recipe,
    pub writable: Writable,
    /// How long a lease of it lasts at most.
    pub time: Option<Duration>,
    pub quota: Quota,
    /// Subordinate ids, kept as long as the pool.
    pub _reserved: Option<Reserved>,
    pub template: Option<Key>,
    /// Why the latest template could not be used.
    pub template_error: Option<String>,
    pub zygotes: HashMap<SlotKey, Key>,
    /// Which template was told to fill a slot, until nothing is left in it.
    pub parents: HashMap<SlotKey, Key>,
    /// The server's ends of lifelines whose zygotes are ordered and not reported yet.
    pub lifelines: HashMap<SlotKey, OwnedFd>,
}

/// All pools. One is never removed, so its number stays its name.
#[derive(Debug, Default)]
pub(super) struct Pools {
    pub entries: Vec<Entry>,
    pub templates: Arena<Template>,
    pub zygotes: Arena<Zygote>,
    /// Templates that had more to say than one turn allows.
    pub unheard: Vec<Key>,
}

impl Pools {
    /// The number of the pool for this profile and uid, if there is one.
    pub fn find(&self, profile: &str, uid: u32) -> Option<usize> {
        self.entries.iter().position(|entry| entry.uid == uid && entry.profile == profile)
    }

    /// Makes a pool, empty and without a template.
    ///
    /// # Errors
    /// Why environments of this profile cannot be had, in words for a client.
    pub fn add(
        &mut self,
        name: &str,
        profile: &Profile,
        uid: u32,
        nofile: (u64, u64),
        filters: &Filters,
    ) -> Result<usize, String> {
        let reserved = if recipes::wants_slices(profile) {
            // One more, for the template itself.
            Some(slices::reserve(profile.pool.max + 1)?)
        } else {
            None
        };
        let slices = reserved.as_ref().map(|reserved| reserved.slices);
        let (recipe, writable) = recipes::recipe(profile, &Facts { uid, nofile, filters, slices });
        let settings = Settings {
            min: profile.pool.min,
            max: profile.pool.max,
            waiters_max: profile.pool.waiters_max,
            spawn_timeout: SPAWN_TIMEOUT,
        };
        self.entries.push(Entry {
            profile: name.to_owned(),
            uid,
            policy: Pool::new(settings),
            recipe,
            writable,
            time: profile.limits.time,
            quota: profile.quota,
            _reserved: reserved,
            template: None,
            template_error: None,
            zygotes: HashMap::new(),
            parents: HashMap::new(),
            lifelines: HashMap::new(),
        });
        Ok(self.entries.len() - 1)
    }

    /// Sends an order to a pool's template, with what rides along. A pool without one gets nothing; nor does one whose
    /// template has just ended, which is yet to be heard of and may have said why.
    ///
    /// # Errors
    /// Those of the wire.
    pub fn order(
        &mut self,
        pool: usize,
        message: &ToTemplate,
        descriptors: Vec<OwnedFd>,
        scratch: &mut Vec<u8>,
    ) -> Result<(), WireError> {
        let template = self.entries[pool].template.and_then(|key| self.templates.get_mut(key));
        match template.map(|template| template.wire.send(message, descriptors, scratch)) {
            None | Some(Err(WireError::Gone(_))) => Ok(()),
            Some(sent) => sent,
        }
    }

    /// Orders that may wait for a template.
    pub fn outbox_max() -> usize {
        TEMPLATE_OUTBOX_MAX
    }
}
