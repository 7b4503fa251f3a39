//! How things stand, for people and scripts.

use super::Server;
use zyg_protocol::message::{PoolStatus, Served, Status};

impl Server {
    pub(super) fn status(&self) -> Status {
        let profiles = self.pools.entries.iter().map(|entry| {
            let counts = entry.policy.counts();
            PoolStatus {
                name: entry.profile.clone(),
                uid: entry.uid,
                warm: counts.warm,
                leased: counts.leased,
                spawning: counts.spawning,
                dying: counts.dying,
                waiters: counts.waiters,
                target: counts.target,
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
