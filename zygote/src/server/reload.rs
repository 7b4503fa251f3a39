//! The configuration read again, on SIGHUP: whole, or not at all. A profile that has changed gets a new
//! generation of each of its pools; what is leased goes on in the old one.

use super::pools::{Entry, quota};
use super::{Idle, Server, compile_filters, know_users};
use crate::config::{Config, Recycle};
use crate::pool::{Event, Limits, PoolKey};
use crate::users;
use nix::sched::{CpuSet, sched_getaffinity};
use nix::unistd::Pid;
use std::time::Duration;

impl Server {
    pub(super) fn reload(&mut self) {
        let Some(file) = &self.config_file else {
            log::info!("nothing to reload: the server runs without a configuration file");
            return;
        };
        let read = Config::load_again(file).map_err(|error| error.to_string());
        let read = read.and_then(|config| {
            let filters = know_users(&config).and_then(|()| compile_filters(&config));
            filters.map(|filters| (config, filters)).map_err(|error| error.to_string())
        });
        let (config, filters) = match read {
            Ok(read) => read,
            Err(error) => {
                return log::error!("configuration not reloaded, the old one stays: {error}");
            }
        };
        if config.server.socket != self.config.server.socket {
            log::warn!(
                "the server goes on listening where it listens: restart it to move `socket`"
            );
        }
        let (before, now) = (&self.config.server, &config.server);
        if (before.socket_mode, &before.socket_group) != (now.socket_mode, &now.socket_group) {
            log::warn!("the socket stays as it is: restart the server to change who may connect");
        }
        if !self.private {
            self.idle = now.idle_exit.map(|exit| Idle { exit, lock: None });
        }
        let (limits, sessions_max) = shares(&config, self.nofile.1);
        self.pools.policy.set_limits(limits);
        self.sessions_max = sessions_max;
        self.config = config;
        self.filters = filters;
        // Before pools are made, which are never to sleep for these.
        let preforked = self.know_preforked();
        let sleepless = |uid| self.is_sleepless(uid);
        let outdated = self.pools.outdated(&self.config, &self.filters, sleepless);
        log::info!("configuration reloaded: {} pools change", outdated.len());
        for pool in outdated {
            self.renew(pool);
        }
        self.keep_warm_for(preforked);
        self.tell(Event::TimePassed);
    }

    /// Makes the next generation of a pool, or none where its profile is no more.
    fn renew(&mut self, pool: PoolKey) {
        let entry = &self.pools[pool];
        let (profile, uid, user) =
            (entry.profile.clone(), entry.uid, entry.recipe.authority.user.clone());
        if !self.config.profiles.contains_key(&profile) {
            log::info!("profile {profile} is no more: uid {uid} finishes its leases of it");
            return self.pools.retire(pool);
        }
        match self.add_pool(&profile, uid) {
            Ok(new) => {
                let generation = self.pools[new].generation;
                log::info!("profile {profile} for uid {uid} goes on as generation {generation}");
            }
            // Whoever is not there any more may not have what he had.
            Err(reason) if user.is_some() && users::look_up(uid) == Ok(None) => {
                log::error!("profile {profile} for uid {uid} is no more: {reason}");
                self.pools.retire(pool);
            }
            Err(reason) => {
                log::error!("profile {profile} for uid {uid} stays as it was: {reason}");
            }
        }
    }

    /// Makes the next generation of a pool whose profile has not changed, unless it has just been made:
    /// what is wrong with it may be wrong with the next one as well.
    pub(super) fn make_anew(&mut self, pool: PoolKey) {
        let Entry { profile, uid, made_at, .. } = &self.pools[pool];
        let latest = self.pools.find(profile, *uid) == Some(pool);
        if latest && self.phase.grants() && self.now() >= made_at.after(ANEW_AFTER) {
            self.renew(pool);
        }
    }

    /// Makes the pools that are to be warm before anybody asks.
    pub(super) fn prefork(&mut self) {
        let uids = self.know_preforked();
        self.keep_warm_for(uids);
    }

    /// Finds out whom the configuration names to be warm for, and returns all for whom that is.
    fn know_preforked(&mut self) -> Vec<u32> {
        let named = &self.config.server.prefork_for;
        let users = named.iter().filter_map(|name| users::named(name));
        self.preforked = users.map(|user| user.uid).collect();
        let own = (self.uid != 0 || self.private).then_some(self.uid);
        own.into_iter().chain(self.preforked.iter().copied()).collect()
    }

    fn keep_warm_for(&mut self, uids: Vec<u32>) {
        for uid in uids {
            match self.pool_for(crate::config::DEFAULT_PROFILE, uid) {
                Ok((_, false)) => {}
                Ok((_, true)) => log::info!("keeping environments warm for uid {uid}"),
                Err(denial) => log::error!("nothing is kept warm for uid {uid}: {denial}"),
            }
        }
    }

    /// Lets go of generations of which nothing is left.
    pub(super) fn bury_pools(&mut self) {
        if !self.pools.is_retiring() {
            return;
        }
        let opening = &self.opening;
        let needed = |pool| opening.values().any(|opening| opening.pool == pool);
        for key in self.pools.bury(needed) {
            let Some(template) = self.pools.templates.remove(key) else { continue };
            log::info!("template {} is not needed any more", template.pid);
            // It exits when its wire ends.
            self.unwatch(template.wire.socket());
        }
    }
}

/// How long a generation lasts that is not what was configured anew.
const ANEW_AFTER: Duration = Duration::from_secs(1);

/// How long a build takes the place of another: a thousand times as long as one takes.
const BUILD_COUNTS: Duration = Duration::from_secs(1);

/// What all pools share, and how many sessions there may be, where the server has so many descriptors.
pub(super) fn shares(config: &Config, descriptors: u64) -> (Limits, usize) {
    /// Of a zygote: its lifeline, its pidfd, and its command channel until that is granted.
    const EACH: u64 = 3;
    /// Of one that is used again: also what tells its client the end of the lease.
    const EACH_AGAIN: u64 = EACH + 2;
    /// For the loop, the listener, templates, logs and what is in flight.
    const RESERVED: u64 = 128;
    /// Sessions that there may be in any case.
    const SESSIONS_MIN: u64 = 16;
    let (reserved, least) = (RESERVED.min(descriptors / 4), SESSIONS_MIN.min(descriptors / 4));
    let again = config.profiles.values().any(|profile| profile.recycle == Recycle::Whole);
    let each = if again { EACH_AGAIN } else { EACH };
    let spare = descriptors.saturating_sub(reserved + least);
    // A quarter, unless one pool alone may be larger: sessions are cheap, and there are more of them.
    let largest = config.profiles.values().map(|profile| u64::from(profile.pool.max)).max();
    let usual = (spare / 4 / each).max(largest.unwrap_or(0));
    let asked = config.server.zygotes_max.map_or(usual, u64::from);
    let zygotes = asked.min(spare / each).max(1);
    let limits = Limits {
        zygotes_max: u32::try_from(zygotes).unwrap_or(u32::MAX),
        builds_max: cpus(),
        build_counts: BUILD_COUNTS,
        quota: quota(config.server.quota),
    };
    let sessions = spare.saturating_sub(each * zygotes) + least;
    (limits, usize::try_from(sessions).unwrap_or(usize::MAX))
}

/// CPUs that the server may run on (sched_getaffinity(2)).
fn cpus() -> u32 {
    sched_getaffinity(Pid::from_raw(0)).map_or(1, |allowed| {
        let cpus = 0..CpuSet::count();
        cpus.filter(|cpu| allowed.is_set(*cpu) == Ok(true)).count() as u32
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zygotes_and_sessions_share_the_descriptors() {
        let mut config = Config::default();
        for (descriptors, zygotes, sessions) in
            [(20_000, 1_654, 14_910), (1_024, 73, 677), (256, 58, 18), (48, 8, 12), (0, 1, 0)]
        {
            let (limits, most) = shares(&config, descriptors);
            assert_eq!((limits.zygotes_max, most), (zygotes, sessions), "of {descriptors}");
        }
        config.server.zygotes_max = Some(10);
        let (limits, most) = shares(&config, 20_000);
        assert_eq!((limits.zygotes_max, most), (10, 19_842));
    }
}
