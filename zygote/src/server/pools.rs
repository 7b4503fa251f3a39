//! The pools, each with the template and the zygotes that the policy decides about.

use super::logs::Log;
use super::recipes::{self, Facts};
use super::slices::{self, Reserved};
use super::tokens::{Arena, Key};
use super::visible::Writable;
use super::wire::Wire;
use crate::config::{self, Config, Profile};
use crate::filter::Filters;
use crate::pool::{Limits, Policy, PoolKey, Quota, Settings, SlotKey, Time};
use crate::sys::program::OwnProgram;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ops::{Index, IndexMut};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;
use zyg_protocol::message::{Fates, LeaseId, Recipe, Recycle};

/// Orders that may wait for a template that is busy: one for each slot that a pool may have, twice.
const TEMPLATE_OUTBOX_MAX: usize = 1 << 18;

/// How long a template may leave orders unanswered, and not say anything at all. Twenty times what
/// the slowest step of a zygote takes on a machine that is loaded beyond use.
pub(super) const TEMPLATE_SILENCE_MAX: Duration = Duration::from_secs(20);

/// What a template was ordered to put into a slot, until nothing is left there.
#[derive(Debug)]
pub(super) struct Zygote {
    pub slot: SlotKey,
    pub pool: PoolKey,
    /// Which template.
    pub parent: Key,
    /// Dropped to end it. End of file here means that it has ended, or never was.
    pub lifeline: Option<OwnedFd>,
    /// Whether its init has said what it has to say: that it is ready, or why not.
    pub told: bool,
    /// What is awaited of it before it is used again, if anything is.
    pub awaited: Option<Awaited>,
    /// What it has said when it was ready.
    pub reported: Option<Reported>,
    pub lease: Option<LeaseId>,
}

/// What a zygote that may be used again has to go through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Awaited {
    /// Its init is ending the lease.
    Renewal,
    /// Its template is looking at it before anybody has had it.
    FirstInspection,
    /// Its template is looking whether anything is left of a lease.
    Inspection,
}

/// What a zygote reports when it is ready.
#[derive(Debug)]
pub(super) struct Reported {
    /// The client's end of the command channel, until it is granted.
    pub channel: Option<OwnedFd>,
    pub pidfd: OwnedFd,
    /// What tells the end of a lease, where the zygote outlives that.
    pub end: Option<End>,
}

/// A pipe that ends with the lease.
#[derive(Debug)]
pub(super) struct End {
    /// The client's end.
    pub told: OwnedFd,
    /// Closed when nothing is left of the lease.
    pub _kept: OwnedFd,
}

/// A template that runs, or is on its way to.
#[derive(Debug)]
pub(super) struct Template {
    pub pool: PoolKey,
    pub pid: u32,
    /// The process, to end it where the end of its wire does not.
    pub pidfd: OwnedFd,
    pub wire: Wire,
    /// What it logs.
    pub log: Log,
    /// Whether its tree is prepared.
    pub ready: bool,
    /// Orders that it has not answered yet.
    pub owes: u32,
    /// When it was last heard, or first owed something after that.
    pub silent_since: Time,
}

/// One generation of one profile, for one uid.
#[derive(Debug)]
pub(super) struct Entry {
    pub profile: String,
    pub uid: u32,
    /// How often the profile had changed, or was made anew, when this was made.
    pub generation: u32,
    /// What it was made from, to see whether that has changed.
    made_from: (Profile, Filters),
    /// Which directory its root was, as device and inode number.
    root: Option<(u64, u64)>,
    /// When it was made.
    pub made_at: Time,
    /// Whether it is warm however long nobody has asked.
    sleepless: bool,
    pub recipe: Recipe,
    pub writable: Writable,
    /// How long a lease of it lasts at most.
    pub time: Option<Duration>,
    /// Subordinate ids, kept as long as the pool.
    _reserved: Option<Reserved>,
    pub template: Option<Key>,
    /// Why the latest template could not be used.
    pub template_error: Option<String>,
    /// What has become of what its leases have had.
    pub fates: Fates,
}

/// What a pool is made from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Making<'a> {
    pub name: &'a str,
    pub profile: &'a Profile,
    pub filters: &'a Filters,
    pub uid: u32,
    /// Soft and hard descriptor limit that the server was started with.
    pub nofile: (u64, u64),
    /// Whether the user is to find it warm however long he has not asked.
    pub sleepless: bool,
    /// Where the server listens.
    pub socket: &'a Path,
    pub now: Time,
}

/// All pools.
#[derive(Debug)]
pub(super) struct Pools {
    /// What decides about them.
    pub policy: Policy,
    entries: BTreeMap<PoolKey, Entry>,
    /// The latest generation for a profile and uid, retired or not, for as long as anything of it is
    /// left.
    newest: HashMap<(String, u32), PoolKey>,
    /// Those that are to be forgotten when nothing of them is left: another has taken their place, or
    /// their profile is no more.
    retiring: Vec<PoolKey>,
    pub templates: Arena<Template>,
    /// What they are made of. Where it could not be found at the start, the reason is found when one is
    /// needed.
    pub program: Option<OwnProgram>,
    pub zygotes: Arena<Zygote>,
    by_slot: HashMap<SlotKey, Key>,
    /// Zygotes that were let go of, the first one first, and when their templates are to kill those that
    /// are not gone by then.
    pub let_go: VecDeque<(Time, Key)>,
    /// Templates that had more to say than one turn allows.
    pub unheard: Vec<Key>,
}

impl Index<PoolKey> for Pools {
    type Output = Entry;

    fn index(&self, pool: PoolKey) -> &Entry {
        self.entries.get(&pool).expect("a pool stays as long as something of it is left")
    }
}

impl IndexMut<PoolKey> for Pools {
    fn index_mut(&mut self, pool: PoolKey) -> &mut Entry {
        self.entries.get_mut(&pool).expect("a pool stays as long as something of it is left")
    }
}

impl Pools {
    /// None yet.
    pub fn new(limits: Limits) -> Self {
        Self {
            policy: Policy::new(limits),
            entries: BTreeMap::new(),
            newest: HashMap::new(),
            retiring: Vec::new(),
            templates: Arena::default(),
            program: None,
            zygotes: Arena::default(),
            by_slot: HashMap::new(),
            let_go: VecDeque::new(),
            unheard: Vec::new(),
        }
    }

    /// Looks at a template again in the next turn: edge-triggered readiness would not come again for what
    /// is unread.
    pub fn look_again(&mut self, template: Key) {
        if !self.unheard.contains(&template) {
            self.unheard.push(template);
        }
    }

    /// All of them, the oldest first.
    pub fn entries(&self) -> impl Iterator<Item = (PoolKey, &Entry)> {
        self.entries.iter().map(|(pool, entry)| (*pool, entry))
    }

    /// The latest pool for this profile and uid, if there is one that is not retired.
    pub fn find(&self, profile: &str, uid: u32) -> Option<PoolKey> {
        self.latest(profile, uid).filter(|pool| !self.retiring.contains(pool))
    }

    /// The same, retired or not.
    fn latest(&self, profile: &str, uid: u32) -> Option<PoolKey> {
        // A pair of borrowed parts cannot be looked up, and there are few.
        let mut newest = self.newest.iter();
        newest.find(|((name, of), _)| *of == uid && name == profile).map(|(_, pool)| *pool)
    }

    /// Makes a pool, empty and without a template; in the place of the one that there is, if there is,
    /// or of which there is something left: the two share one `max`.
    ///
    /// # Errors
    /// Why environments of this profile cannot be had, in words for a client.
    pub fn add(&mut self, making: Making<'_>) -> Result<PoolKey, String> {
        let Making { name, profile, filters, uid, nofile, sleepless, socket, now } = making;
        let reserved = if recipes::wants_slices(profile) {
            // One more, for the template itself.
            Some(slices::reserve(profile.pool.max + 1)?)
        } else {
            None
        };
        let slices = reserved.as_ref().map(|reserved| reserved.slices);
        let (recipe, writable) =
            recipes::recipe(profile, &Facts { uid, nofile, filters, slices, socket })?;
        let settings = settings(profile, sleepless);
        let (pool, generation) = match self.latest(name, uid) {
            Some(old) => {
                if !self.retiring.contains(&old) {
                    self.retiring.push(old);
                }
                (self.policy.supersede(old, settings), self[old].generation + 1)
            }
            None => (self.policy.add(uid, settings), 0),
        };
        self.newest.insert((name.to_owned(), uid), pool);
        let entry = Entry {
            profile: name.to_owned(),
            uid,
            generation,
            made_from: (profile.clone(), filters.clone()),
            root: root_of(profile),
            made_at: now,
            sleepless,
            recipe,
            writable,
            time: profile.limits.time,
            _reserved: reserved,
            template: None,
            template_error: None,
            fates: Fates::default(),
        };
        self.entries.insert(pool, entry);
        Ok(pool)
    }

    /// The latest pools whose profiles are not what they were made from any more, or are no more, whose
    /// users are in other groups by now, whose roots are other directories, whose builds fail, for which
    /// the host may be to blame and have been mended, and those that sleep, or do not, and should not by
    /// who is to be `sleepless`.
    pub fn outdated(
        &self,
        config: &Config,
        filters: &HashMap<String, Filters>,
        sleepless: impl Fn(u32) -> bool,
    ) -> Vec<PoolKey> {
        let outdated = |pool: &PoolKey| {
            let entry = &self[*pool];
            let ((profile, compiled), name) = (&entry.made_from, &entry.profile);
            let sleeps = profile.pool.sleep.is_some() && entry.sleepless != sleepless(entry.uid);
            sleeps
                || self.has_other_groups(entry)
                || self.policy.counts(*pool).failing.is_some()
                || root_of(profile) != entry.root
                || config.profiles.get(name) != Some(profile)
                || filters.get(name) != Some(compiled)
        };
        let current = self.newest.values().filter(|pool| !self.retiring.contains(pool));
        let mut pools: Vec<_> = current.copied().filter(outdated).collect();
        pools.sort_unstable();
        pools
    }

    /// Whether the template of a pool is in other groups than its user is by now.
    fn has_other_groups(&self, entry: &Entry) -> bool {
        let template = entry.template.and_then(|key| self.templates.get(key));
        let taken_on = template.and_then(|template| groups_of_process(template.pid));
        let groups = recipes::groups(&entry.recipe).map(BTreeSet::from_iter);
        taken_on.zip(groups).is_some_and(|(taken_on, groups)| taken_on != groups)
    }

    /// Grants nothing more of a pool than what waits for it already.
    pub fn retire(&mut self, pool: PoolKey) {
        self.policy.retire(pool);
        self.retiring.push(pool);
    }

    /// Whether there are retired pools.
    pub fn is_retiring(&self) -> bool {
        !self.retiring.is_empty()
    }

    /// Takes out the retired pools of which nothing is left, but for those that `needed` names, and
    /// returns their templates.
    pub fn bury(&mut self, needed: impl Fn(PoolKey) -> bool) -> Vec<Key> {
        let policy = &mut self.policy;
        let over = |pool: &PoolKey| policy.is_over(*pool) && !needed(*pool);
        let (over, left) = self.retiring.iter().copied().partition::<Vec<_>, _>(over);
        self.retiring = left;
        if over.is_empty() {
            // As in most turns of the loop while leases of an older generation go on.
            return Vec::new();
        }
        // What there is still of an older generation shares its `max` with what may come.
        let entries = &self.entries;
        self.newest.retain(|(name, uid), newest| {
            let of = |entry: &Entry| entry.uid == *uid && entry.profile == *name;
            let rest = entries.iter().filter(|(pool, entry)| of(entry) && !over.contains(pool));
            let youngest = rest.max_by_key(|(_, entry)| entry.generation);
            *newest = youngest.map_or(*newest, |(pool, _)| *pool);
            youngest.is_some()
        });
        let mut templates = Vec::new();
        for pool in over {
            policy.forget(pool);
            templates.extend(self.entries.remove(&pool).and_then(|entry| entry.template));
        }
        templates
    }

    /// Takes note of a zygote that is about to be ordered.
    pub fn expect(&mut self, zygote: Zygote) -> Key {
        let slot = zygote.slot;
        let key = self.zygotes.insert(zygote);
        self.by_slot.insert(slot, key);
        key
    }

    /// What is in a slot, or was ordered to be.
    pub fn zygote(&self, slot: SlotKey) -> Option<&Zygote> {
        self.zygotes.get(*self.by_slot.get(&slot)?)
    }

    /// What is in a slot has another name from now on, and no lease. Returns its name here.
    pub fn rename(&mut self, slot: SlotKey, next: SlotKey) -> Option<Key> {
        let key = self.by_slot.remove(&slot)?;
        self.by_slot.insert(next, key);
        let zygote = self.zygotes.get_mut(key)?;
        (zygote.slot, zygote.lease) = (next, None);
        Some(key)
    }

    /// Its name here.
    pub fn key_of(&self, slot: SlotKey) -> Option<Key> {
        self.by_slot.get(&slot).copied()
    }

    /// Takes out what was in a slot.
    pub fn forget(&mut self, slot: SlotKey) -> Option<Zygote> {
        self.zygotes.remove(self.by_slot.remove(&slot)?)
    }

    /// Orders that may wait for a template.
    pub fn outbox_max() -> usize {
        TEMPLATE_OUTBOX_MAX
    }
}

/// Which directory a profile's root is, where it has one of its own.
fn root_of(profile: &Profile) -> Option<(u64, u64)> {
    let config::Root::Directory(path) = &profile.root else { return None };
    path.metadata().ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

/// The supplementary groups of a process (proc_pid_status(5)).
fn groups_of_process(pid: u32) -> Option<BTreeSet<u32>> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let groups = status.lines().find_map(|line| line.strip_prefix("Groups:"))?;
    groups.split_whitespace().map(|group| group.parse().ok()).collect()
}

/// What a profile asks of the policy.
fn settings(profile: &Profile, sleepless: bool) -> Settings {
    let mut settings = Settings::new(profile.pool.min, profile.pool.max);
    settings.waiters_max = profile.pool.waiters_max;
    settings.quota = quota(profile.quota);
    settings.reuse = recipes::recycle(profile) == Recycle::Whole;
    settings.pace.idle = profile.pool.idle.unwrap_or(settings.pace.idle);
    settings.pace.quiet = profile.pool.quiet.unwrap_or(settings.pace.quiet);
    settings.pace.sleep = profile.pool.sleep.filter(|_| !sleepless);
    if !profile.pool.learn {
        // Every acquire may find nothing beyond `min`.
        settings.pace.epsilon = 1.0;
    }
    settings
}

/// A quota in the policy's words.
pub(super) fn quota(quota: config::Quota) -> Quota {
    Quota { leases: quota.leases, waiters: quota.waiters }
}
