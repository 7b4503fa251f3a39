//! Batches: acquires of several zygotes at once, each granted whole or not at all.
//!
//! A batch waits in its pool's queue as one entry. What becomes warm meanwhile is *gathered* for it:
//! it stays parked until there are as many as it wants. It holds no lease while it waits, so it keeps
//! no zygote from anybody for longer than the policy lets it. That is what the following is about:
//!
//! * More than there may ever be are denied at once, and when a change of the bounds makes them so.
//! * *The next batch* over all pools builds among single waiters, in turns with them, and nothing takes
//!   away what is gathered for it. It is, of those that leave enough room for themselves, one of the uid
//!   that has waited longest since it came or since its latest batch was served, the first to come.
//! * Other batches build only where there is room, and after whoever waits otherwise. What is gathered
//!   for them gives way to any waiter, if nothing else can.
//! * Of the generations of one profile and uid, which share one `max`, each serves and builds for
//!   those only who have come before the first batch of another, and takes what another has gathered
//!   only for those.
//!
//! So no two batches wait for each other, and none takes back what another has taken from it: of all
//! batches only the next takes what is gathered, and what it has grows with each of its turns until it
//! is granted. Nobody who comes later takes its place. An earlier batch that is passed over waits for
//! leases of its own user, and those only become fewer, since whoever comes to its pool comes after it; or
//! for quarantined zygotes, for which nobody else waits.
//!
//! A single waiter is kept from what one batch has gathered, and from no more: less than that batch
//! wants, which its user might as well have leased.

use super::{Denial, Policy, PoolKey};

impl Policy {
    /// Why a waiter of a pool can never get so many zygotes at once, if it cannot. For one there is
    /// always hope.
    #[must_use]
    pub fn too_many(&self, pool: PoolKey, count: u32) -> Option<Denial> {
        let max = self.lineage(pool).map_or(u32::MAX, |lineage| lineage.max);
        let bounds = [("pool.max", max), ("zygotes_max", self.limits.zygotes_max)];
        let (what, limit) = bounds.into_iter().find(|(_, limit)| count > (*limit).max(1))?;
        Some(Denial::TooMany { what, limit })
    }

    /// The ticket from which on the waiters of a pool come after a batch of another generation of it.
    pub(super) fn held_up_from(&self, pool: PoolKey) -> Option<u64> {
        if self.waiters.has_no_batch() {
            return None;
        }
        let others = self.lineage(pool)?.members.iter().filter(|member| **member != pool);
        others.filter_map(|other| self.waiters.batch(*other, 0)).min()
    }

    /// Whether the first waiter of a pool can be granted what it wants; and how much that is.
    pub(super) fn grantable(&self, pool: PoolKey) -> Option<u32> {
        let (ticket, count) = self.waiters.first(pool)?;
        let enough = self.slots.of(pool).warm() >= count;
        let held_up = || self.held_up_from(pool).is_some_and(|from| from < ticket);
        (enough && !held_up()).then_some(count)
    }

    /// Whether the batch of that ticket could be served without the end of a lease of its own
    /// lineage: it need not wait for its own user.
    pub(super) fn fits(&self, pool: PoolKey, ticket: u64) -> bool {
        let Some(lineage) = self.lineage(pool) else { return false };
        let kept = lineage.members.iter().map(|member| self.slots.of(*member));
        let kept = kept.map(|of| of.leased().saturating_add(of.quarantined()));
        let left = lineage.max.saturating_sub(kept.fold(0, u32::saturating_add));
        self.waiters.wanted(pool, ticket) <= left
    }

    /// Finds out anew which batch is the next of those that nothing keeps from being served but leases
    /// of other users.
    pub(super) fn choose_next_batch(&mut self) {
        let left = self.limits.zygotes_max.saturating_sub(self.slots.totals().quarantined);
        let can_be = |&(ticket, pool): &(u64, PoolKey)| {
            let held_up = self.held_up_from(pool).is_some_and(|from| from < ticket);
            // Its own user's leases are to end first, in whatever pool.
            let own = self.pools.get(&pool).map_or(0, |pool| self.slots.leased_by(pool.uid));
            let left = left.saturating_sub(own);
            !held_up && self.fits(pool, ticket) && self.waiters.wanted(pool, ticket) <= left
        };
        let firsts = self.waiters.first_batches().filter(can_be);
        let next = firsts.min_by_key(|&(ticket, pool)| (self.waiters.turn(pool, ticket), ticket));
        let next = next.map(|(_, pool)| pool);
        if next == self.next_batch {
            return;
        }
        let was = std::mem::replace(&mut self.next_batch, next);
        self.touched.extend(was.into_iter().chain(next));
    }

    /// How many zygotes are still to be built for those who wait for a pool: for single waiters and
    /// the next batch, and, if for none of these, for other batches and those behind them. Of more
    /// than can be built at once it may be fewer.
    pub(super) fn lacking(&self, pool: PoolKey) -> [u32; 2] {
        let Some(first) = self.waiters.uncovered(pool) else { return [0; 2] };
        let enough = self.limits.builds_max.max(1);
        let held_up = self.held_up_from(pool);
        if held_up.is_some_and(|from| from < first) {
            return [0; 2];
        }
        let is_next = self.next_batch == Some(pool);
        let other_batch = self.waiters.batch(pool, usize::from(is_next));
        if other_batch.is_none_or(|batch| first < batch) {
            let before = [other_batch, held_up].into_iter().flatten().min();
            return [self.waiters.lacking(pool, before, enough), 0];
        }
        let worth_it = other_batch.is_some_and(|batch| is_next || self.fits(pool, batch));
        [0, if worth_it { self.waiters.lacking(pool, held_up, enough) } else { 0 }]
    }
}
