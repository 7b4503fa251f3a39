//! A profile as it is written: with gaps, and with the place where each thing was said.

use super::Server;
use super::capabilities::NET_ADMIN;
use super::profile::{
    Bind, Etc, Home, HostPath, Identity, Limits, Location, Network, Place, PoolSize, Principal,
    Profile, Quota, Recycle, Root, Seccomp, User,
};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

/// Where something was said.
#[derive(Debug, Clone)]
pub(super) struct Origin {
    /// In which profile.
    pub(super) profile: Rc<str>,
    /// Bytes from the file's start; `None` for what is built in.
    pub(super) offset: Option<usize>,
}

/// A value and where it was said.
#[derive(Debug, Clone)]
pub(super) struct Said<T> {
    pub(super) value: T,
    pub(super) origin: Origin,
}

/// What has been said for a key.
#[derive(Debug, Clone, Default)]
pub(super) enum Slot<T> {
    /// Nothing.
    #[default]
    Unset,
    /// Something that is wrong by itself: nothing follows from it, neither is anything inherited.
    Wrong,
    /// This.
    Set(T),
}

/// A key with one value.
pub(super) type Key<T> = Slot<Said<T>>;

/// A key with a list.
pub(super) type List<T> = Key<Vec<Said<T>>>;

impl<T> Slot<T> {
    pub(super) fn get(&self) -> Option<&T> {
        match self {
            Self::Set(value) => Some(value),
            Self::Unset | Self::Wrong => None,
        }
    }

    fn over(self, base: Self) -> Self {
        match self {
            Self::Unset => base,
            said => said,
        }
    }
}

/// `[profile.NAME]`, key by key.
#[derive(Debug, Clone, Default)]
pub(super) struct Draft {
    /// The name of the profile to inherit from. Never inherited itself.
    pub(super) extends: Key<String>,
    pub(super) root: Key<Root>,
    pub(super) root_overlay: Key<bool>,
    pub(super) writable: List<Place>,
    pub(super) read_only: List<HostPath>,
    pub(super) hide: List<Location>,
    pub(super) bind: List<Bind>,
    pub(super) etc: Key<Etc>,
    pub(super) home: Key<Home>,
    pub(super) network: Key<Network>,
    pub(super) recycle: Key<Recycle>,
    pub(super) env: BTreeMap<String, Said<String>>,
    pub(super) hostname: Key<String>,
    pub(super) user: Key<User>,
    /// By number.
    pub(super) capabilities: List<u8>,
    pub(super) seccomp: Key<Seccomp>,
    pub(super) nesting: Key<bool>,
    pub(super) identity: Key<Identity>,
    pub(super) limits: Limits,
    pub(super) allow_uids: List<Principal>,
    pub(super) allow_gids: List<Principal>,
    pub(super) quota_leases: Key<u32>,
    pub(super) quota_waiters: Key<u32>,
    pub(super) pool_min: Key<u32>,
    pub(super) pool_max: Key<u32>,
    pub(super) pool_waiters_max: Key<u32>,
    pub(super) pool_idle: Key<Duration>,
    pub(super) pool_quiet: Key<Duration>,
    pub(super) pool_sleep: Key<Duration>,
    pub(super) pool_learn: Key<bool>,
}

impl Draft {
    /// This one, and what it does not say as in `base`. The tables `env`, `limits`, `quota` and
    /// `pool` are filled in key by key, lists are not added to.
    pub(super) fn over(self, base: Self) -> Self {
        let mut env = base.env;
        env.extend(self.env);
        Self {
            extends: self.extends,
            root: self.root.over(base.root),
            root_overlay: self.root_overlay.over(base.root_overlay),
            writable: self.writable.over(base.writable),
            read_only: self.read_only.over(base.read_only),
            hide: self.hide.over(base.hide),
            bind: self.bind.over(base.bind),
            etc: self.etc.over(base.etc),
            home: self.home.over(base.home),
            network: self.network.over(base.network),
            recycle: self.recycle.over(base.recycle),
            env,
            hostname: self.hostname.over(base.hostname),
            user: self.user.over(base.user),
            capabilities: self.capabilities.over(base.capabilities),
            seccomp: self.seccomp.over(base.seccomp),
            nesting: self.nesting.over(base.nesting),
            identity: self.identity.over(base.identity),
            limits: limits_over(self.limits, base.limits),
            allow_uids: self.allow_uids.over(base.allow_uids),
            allow_gids: self.allow_gids.over(base.allow_gids),
            quota_leases: self.quota_leases.over(base.quota_leases),
            quota_waiters: self.quota_waiters.over(base.quota_waiters),
            pool_min: self.pool_min.over(base.pool_min),
            pool_max: self.pool_max.over(base.pool_max),
            pool_waiters_max: self.pool_waiters_max.over(base.pool_waiters_max),
            pool_idle: self.pool_idle.over(base.pool_idle),
            pool_quiet: self.pool_quiet.over(base.pool_quiet),
            pool_sleep: self.pool_sleep.over(base.pool_sleep),
            pool_learn: self.pool_learn.over(base.pool_learn),
        }
    }
}

/// From a draft without gaps and contradictions to the profile that it describes.
impl Draft {
    pub(super) fn finish(&self, server: &Server) -> Profile {
        let home = said(&self.home);
        let network = said(&self.network);
        let mut writable = list(&self.writable);
        let mut env: BTreeMap<_, _> =
            self.env.iter().map(|(name, said)| (name.clone(), said.value.clone())).collect();
        if let Home::Private(path) = &home {
            writable.retain(|place| *place != Place::Home);
            env.entry("HOME".into()).or_insert_with(|| path.display().to_string());
        }
        let named = list(&self.capabilities).into_iter();
        let implied = (network == Network::Own).then_some(NET_ADMIN);
        let pool = self.pool(server);
        Profile {
            root: said(&self.root),
            root_overlay: said(&self.root_overlay),
            writable,
            read_only: list(&self.read_only),
            hide: list(&self.hide),
            bind: list(&self.bind),
            etc: said(&self.etc),
            home,
            network,
            recycle: said(&self.recycle),
            env,
            hostname: self.hostname.get().map(|said| said.value.clone()),
            user: said(&self.user),
            capabilities: named.chain(implied).fold(0, |mask, number| mask | 1 << number),
            seccomp: said(&self.seccomp),
            nesting: said(&self.nesting),
            identity: said(&self.identity),
            limits: self.limits.clone(),
            allow_uids: list(&self.allow_uids),
            allow_gids: list(&self.allow_gids),
            quota: self.quota(pool),
            pool,
        }
    }

    /// A `max` below an inherited `min` lowers that, and so does `zygotes_max`: whoever sets one need
    /// not set the other.
    fn pool(&self, server: &Server) -> PoolSize {
        let (min, max) = (said(&self.pool_min), said(&self.pool_max));
        PoolSize {
            min: min.min(max).min(server.zygotes_max.unwrap_or(max)),
            max,
            waiters_max: said(&self.pool_waiters_max),
            idle: self.pool_idle.get().map(|said| said.value),
            quiet: self.pool_quiet.get().map(|said| said.value),
            sleep: self.pool_sleep.get().map(|said| said.value),
            learn: said(&self.pool_learn),
        }
    }

    fn quota(&self, pool: PoolSize) -> Quota {
        let at_most = |key: &Key<u32>, most: u32| key.get().map(|said| said.value.min(most));
        Quota {
            leases: at_most(&self.quota_leases, pool.max),
            waiters: at_most(&self.quota_waiters, pool.waiters_max),
        }
    }
}

fn said<T: Clone>(key: &Key<T>) -> T {
    key.get().expect("the built-in default says every key that must be said").value.clone()
}

fn list<T: Clone>(list: &List<T>) -> Vec<T> {
    said(list).into_iter().map(|said| said.value).collect()
}

fn limits_over(own: Limits, base: Limits) -> Limits {
    Limits {
        nofile: own.nofile.or(base.nofile),
        nproc: own.nproc.or(base.nproc),
        core: own.core.or(base.core),
        cpu: own.cpu.or(base.cpu),
        fsize: own.fsize.or(base.fsize),
        memlock: own.memlock.or(base.memlock),
        msgqueue: own.msgqueue.or(base.msgqueue),
        sigpending: own.sigpending.or(base.sigpending),
        stack: own.stack.or(base.stack),
        address_space: own.address_space.or(base.address_space),
        data: own.data.or(base.data),
        time: own.time.or(base.time),
        tmp_size: own.tmp_size.or(base.tmp_size),
        tmp_inodes: own.tmp_inodes.or(base.tmp_inodes),
    }
}
