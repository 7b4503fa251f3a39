//! What the policy is set to: the budget of a server, and the wishes of each pool.

use std::time::Duration;

/// Of the whole server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Zygotes that may exist at once over all pools, from their spawn until they are gone.
    pub zygotes_max: u32,
    /// Builds that may be under way at once over all pools: the number of CPUs. Zero counts as one.
    pub builds_max: u32,
    /// How long a build counts among those, long beside what one takes: one that hangs, whoever sees
    /// to it that it does, keeps nobody else's from being tried.
    pub build_counts: Duration,
    /// What one uid may have, over all its pools.
    pub quota: Quota,
}

/// What one uid may have; `None` for as much as there is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Quota {
    /// Leases at once. Those that are waited for count as well, so that asking for many at once is
    /// no way around it.
    pub leases: Option<u32>,
    /// Acquires that wait at once, a batch as often as it wants a zygote.
    pub waiters: Option<u32>,
}

/// What a pool is set to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// Zygotes to keep warm; those beyond `max` are not.
    pub min: u32,
    /// Zygotes that may exist at once, from their spawn until they are gone.
    pub max: u32,
    /// Waiters that may queue, a batch as often as it wants a zygote.
    pub waiters_max: u32,
    /// What the pool's uid may have of this pool.
    pub quota: Quota,
    /// Whether a zygote whose lease is over is recycled, where it is wanted, rather than destroyed.
    pub reuse: bool,
    /// How long a spawn may take before it counts as failed.
    pub spawn_timeout: Duration,
    /// How long the way back from a lease may take before the zygote is destroyed instead.
    pub return_timeout: Duration,
    /// How long a zygote may be dying before it is quarantined.
    pub destroy_timeout: Duration,
    /// How the part between `min` and `max` is managed.
    pub pace: Pace,
}

impl Settings {
    /// These bounds, and the default for all else.
    #[must_use]
    pub fn new(min: u32, max: u32) -> Self {
        Self {
            min,
            max,
            waiters_max: 1024,
            quota: Quota::default(),
            reuse: false,
            // Two hundred times what a slow machine needs.
            spawn_timeout: Duration::from_secs(20),
            // It takes 52 ms where the lease's processes end; building a new one takes two.
            return_timeout: Duration::from_secs(1),
            // A teardown takes under a millisecond; one that takes this long waits for a device.
            destroy_timeout: Duration::from_secs(10),
            pace: Pace::default(),
        }
    }
}

/// How the part between `min` and `max` is managed. The defaults are those that the policy
/// shoot-out justifies.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pace {
    /// The share of acquires that may find the pool empty.
    pub epsilon: f64,
    /// The part above the floor is refilled after that long without an acquire, doubling from one
    /// build per tick to `burst_max`. Zero for at once and `burst_max` from the start, which is the
    /// default: builds run at the lowest CPU priority, so the host itself sees to it that they
    /// disturb nobody, and whoever waits for quiet first is empty when the next burst comes.
    pub quiet: Duration,
    /// While there is no quiet, the part above the floor gets one build in each such interval.
    pub interval_max: Duration,
    /// Builds above the floor in one tick, at most.
    pub burst_max: u32,
    /// How long what was learned is kept warm without an acquire.
    pub idle: Duration,
    /// The interval in which one zygote too many is destroyed, and in which `burst_max` counts.
    pub tick: Duration,
    /// After that long, an acquire counts half in what is learned.
    pub half_life: Duration,
    /// After that long without an acquire or a lease, even `min` is given up until the next
    /// acquire; reservations are not. `None` for never.
    pub sleep: Option<Duration>,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            epsilon: 0.01,
            quiet: Duration::ZERO,
            interval_max: Duration::from_millis(50),
            burst_max: 1024,
            idle: Duration::from_secs(10),
            tick: Duration::from_millis(100),
            half_life: Duration::from_secs(300),
            sleep: None,
        }
    }
}
