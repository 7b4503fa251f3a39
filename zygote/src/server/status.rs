//! How things stand, for people and scripts.

use super::Server;
use std::cmp::Reverse;
use zyg_protocol::limits::MESSAGE_BYTES_MAX;
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
                fates: entry.fates.clone(),
                failing: counts.failing,
            }
        });
        Status {
            pid: std::process::id(),
            uptime_ms: self.started.elapsed().as_millis() as u64,
            sessions: self.sessions.arena.len() as u32,
            profiles: fitting(profiles.collect()),
        }
    }
}

/// Bytes of one pool in a message, beside its name, its reason and its fates.
const ROW_BYTES: usize = 96;

/// Bytes of each of these.
const FATE_BYTES: usize = 10;

/// Bytes of all of them in one message, with room for what stands around them.
const ROWS_BYTES: usize = MESSAGE_BYTES_MAX - 1024;

/// So much of it as fits into a message: long reasons are cut, where there are many, and what comes last
/// is left out, where there are hundreds of pools.
fn fitting(mut pools: Vec<PoolStatus>) -> Vec<PoolStatus> {
    let bare =
        |pool: &PoolStatus| ROW_BYTES + pool.name.len() + FATE_BYTES * pool.fates.iter().count();
    let mut bytes = 0;
    let fits = pools.iter().take_while(|pool| {
        bytes += bare(pool);
        bytes <= ROWS_BYTES
    });
    let fitting = fits.count();
    if fitting < pools.len() {
        log::warn!("the status of {} pools has no room in a message", pools.len() - fitting);
        pools.truncate(fitting);
    }
    let bare: usize = pools.iter().map(bare).sum();
    let failing = pools.iter().filter(|pool| pool.failing.is_some()).count().max(1);
    let each = ROWS_BYTES.saturating_sub(bare) / failing;
    for reason in pools.iter_mut().filter_map(|pool| pool.failing.as_mut()) {
        let end = (0..=each.min(reason.len())).rev().find(|end| reason.is_char_boundary(*end));
        reason.truncate(end.unwrap_or(0));
    }
    pools
}

#[cfg(test)]
mod tests {
    use super::*;
    use zyg_protocol::codec::encode;
    use zyg_protocol::message::{Fate, Fates, Reply};

    fn failing(pools: usize, reason: &str) -> Vec<PoolStatus> {
        let pool = PoolStatus {
            name: "p".repeat(64),
            uid: u32::MAX,
            warm: u32::MAX,
            leased: u32::MAX,
            spawning: u32::MAX,
            dying: u32::MAX,
            waiters: u32::MAX,
            quarantined: u32::MAX,
            target: u32::MAX,
            reserved: u32::MAX,
            generation: u32::MAX,
            retired: true,
            served: Served { warm: u64::MAX, cold: u64::MAX },
            fates: Fate::ALL.map(|fate| (fate, u64::MAX)).into_iter().collect(),
            failing: Some(reason.to_owned()),
        };
        vec![pool; pools]
    }

    fn is_sent(profiles: &[PoolStatus]) -> bool {
        let status = Status { profiles: profiles.to_vec(), ..Status::default() };
        encode(&Reply::Status { request: u64::MAX, status }, &mut Vec::new()).is_ok()
    }

    #[test]
    fn a_status_fits_into_a_message_however_much_fails() {
        let long = "\u{fc}".repeat(2048);
        assert!(!is_sent(&failing(20, &long)), "the control");
        let cut = fitting(failing(20, &long));
        assert!(is_sent(&cut) && cut.len() == 20);
        assert!(cut.iter().all(|pool| pool.failing.as_ref().is_some_and(|it| it.len() > 2000)));
        let few = fitting(failing(3, &long));
        assert!(few.iter().all(|pool| pool.failing.as_ref() == Some(&long)), "nothing is cut");
        let many = fitting(failing(2000, &long));
        assert!(is_sent(&many) && many.len() > 150, "{}", many.len());
        let new = |pool: PoolStatus| PoolStatus { fates: Fates::default(), ..pool };
        let many = fitting(failing(2000, &long).into_iter().map(new).collect());
        assert!(is_sent(&many) && many.len() > 300, "{}", many.len());
    }
}
