//! How things stand, for people and scripts.

use super::Server;
use std::cmp::Reverse;
use zyg_protocol::message::{PoolStatus, Served, Status};

impl Server {
    pub(super) fn status(&self) -> Status {
        let mut pools: Vec<_> = self.pools.entries().collect();
        // A generation that is retired comes after the one that has taken its place.
        pools.sort_by_key(|(_, entry)| (&entry.profile, entry.uid, Reverse(entry.generation)));
        let profiles = pools.into_iter().map(|(pool, entry)| {
            let counts = self.pools.policy.counts(pool);
            PoolStatus {
                name: entry.profile.clone(),
                uid: entry.uid,
                warm: counts.warm,
                leased: counts.leased,
                // Whatever is on its way to being warm.
                spawning: counts.spawning + counts.returning,
                dying: counts.dying,
                waiters: counts.waiters,
                quarantined: counts.quarantined,
                target: counts.target,
                reserved: counts.reserved,
                generation: entry.generation,
                retired: counts.retired,
                served: Served { warm: counts.served.warm, cold: counts.served.cold },
                failing: counts.failing,
            }
        });
        Status {
            pid: std::process::id(),
            uptime_ms: self.started.elapsed().as_millis() as u64,
            sessions: self.sessions.arena.len() as u32,
            profiles: profiles.collect(),
        }
    }
}
