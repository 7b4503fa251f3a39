//! One pool: what is known about it beside its slots and its waiters.

use super::circuit::Circuit;
use super::generations::LineageKey;
use super::pacing::Pacing;
use super::settings::Settings;
use super::time::Time;

/// The name of a pool: one generation of a profile, for one uid. Never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PoolKey(pub u64);

#[derive(Debug)]
pub(super) struct Pool {
    pub(super) uid: u32,
    pub(super) settings: Settings,
    pub(super) lineage: LineageKey,
    pub(super) circuit: Circuit,
    /// Whether a build has ever succeeded.
    pub(super) proven: bool,
    pub(super) pacing: Pacing,
    /// It wants nothing warm, and ends when its waiters and leases are served.
    pub(super) retired: bool,
    /// Since when it has had more than its target, or had one destroyed for that reason.
    pub(super) excess_since: Option<Time>,
    /// When it had its latest turns for its floor and for its target.
    pub(super) turns: [u64; 2],
    /// When it is to be looked at, if nothing happens before.
    pub(super) alarm: Option<Time>,
}

impl Pool {
    pub(super) fn new(uid: u32, settings: Settings, lineage: LineageKey) -> Self {
        Self {
            uid,
            settings,
            lineage,
            circuit: Circuit::default(),
            proven: false,
            pacing: Pacing::default(),
            retired: false,
            excess_since: None,
            turns: [0; 2],
            alarm: None,
        }
    }
}
