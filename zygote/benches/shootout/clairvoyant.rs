//! How few idle zygotes any policy can have on a trace, even one that knows all arrivals beforehand.
//!
//! A bound, not a policy: each step below can only make it lower than what is possible.
//!
//! Let `p` be the least time that a build takes, `m` the builders, and `k` of `N` arrivals cold. The
//! other `N − k` are granted a zygote that was built by their arrival, and it was idle from then on.
//! * **Earliness.** A builder completes at most one zygote in any span of `p`, so at most `m` are
//!   completed in each *cell* of time of that length. An arrival that gets none of its own cell's
//!   gets one of an earlier cell's, and that one has been idle since the end of that cell at the
//!   latest. So look back from the end: in each cell, what exceeds `m` is carried to the cell before.
//!   The first carry of an arrival costs at least its offset into its cell, each further one `p`;
//!   it is cheapest to carry fresh arrivals first, and of those the ones with the least offset.
//! * **Cold arrivals.** Leaving out one arrival saves at most `p` for each cell in which it makes the
//!   carry smaller by one. Seen as a mountain, the carry consists of horizontal slices, each a run of
//!   cells in which it reaches that height; leaving out one arrival removes the longest slice at
//!   best, and leaving out `k` the `k` longest (an exchange argument: an arrival in the middle of a
//!   slice removes only a part of it, and what is then left to remove is no longer than what was).
//! * **Builds** are idle as well while nobody waits for them. Where somebody waits, what is completed
//!   is his; so of the builds for warm arrivals only those can be free of charge that are under way
//!   when the last waiter is served: at most `m − 1` for each time that anybody waits, of which there
//!   are at most `k`. The others cost `p` each.

use crate::contestant::Micros;
use crate::host::{BUILD_LEAST, BUILDERS};
use crate::trace::Trace;
use std::collections::BTreeMap;

/// The bound of one trace.
#[derive(Debug, Clone)]
pub struct Clairvoyant {
    arrivals: usize,
    duration: f64,
    /// Zygote-microseconds of earliness with so many cold arrivals: `earliness[k]`, 0 beyond.
    earliness: Vec<f64>,
}

impl Clairvoyant {
    /// Of the trace.
    #[must_use]
    pub fn of(trace: &Trace) -> Self {
        let mut cells: BTreeMap<u64, Vec<Micros>> = BTreeMap::new();
        for arrival in &trace.arrivals {
            let (cell, offset) = (arrival.at / BUILD_LEAST, arrival.at % BUILD_LEAST);
            cells.entry(cell).or_default().push(offset);
        }
        let (cost, mut slices) = carry(&cells);
        slices.sort_unstable_by_key(|slice| std::cmp::Reverse(*slice));
        let mut left = cost as f64;
        let mut earliness = vec![left];
        for slice in slices {
            left -= (slice * BUILD_LEAST) as f64;
            if left <= 0.0 {
                break;
            }
            earliness.push(left);
        }
        Self { arrivals: trace.arrivals.len(), duration: trace.duration as f64, earliness }
    }

    /// The fewest idle zygotes, averaged over time, with at most so many cold arrivals.
    #[must_use]
    pub fn idle(&self, cold: usize) -> f64 {
        let earliness = self.earliness.get(cold).copied().unwrap_or(0.0);
        let free = cold * (BUILDERS as usize - 1);
        let builds = self.arrivals.saturating_sub(cold).saturating_sub(free);
        (earliness + builds as f64 * BUILD_LEAST as f64) / self.duration
    }

    /// The fewest cold arrivals with at most so many idle zygotes.
    #[must_use]
    pub fn cold(&self, idle: f64) -> usize {
        let (mut low, mut high) = (0, self.arrivals);
        while low < high {
            let middle = usize::midpoint(low, high);
            if self.idle(middle) <= idle { high = middle } else { low = middle + 1 }
        }
        low
    }

    /// [`Self::cold`] as a share of the arrivals.
    #[must_use]
    pub fn cold_share(&self, idle: f64) -> f64 {
        self.cold(idle) as f64 / self.arrivals as f64
    }
}

/// What is carried back from cell to cell: its cost, and the slices' lengths in cells.
fn carry(cells: &BTreeMap<u64, Vec<Micros>>) -> (u64, Vec<u64>) {
    let capacity = BUILDERS as usize;
    let (mut cost, mut slices) = (0, Vec::new());
    // Where each slice of the present height began, the lowest first.
    let mut open: Vec<u64> = Vec::new();
    let mut next = cells.keys().next_back().copied();
    while let Some(cell) = next {
        let mut fresh = cells.get(&cell).cloned().unwrap_or_default();
        fresh.sort_unstable();
        let carried = (open.len() + fresh.len()).saturating_sub(capacity);
        while open.len() > carried {
            slices.extend(open.pop().map(|begin| begin - cell));
        }
        open.resize(carried, cell);
        fresh.truncate(carried);
        cost += (carried - fresh.len()) as u64 * BUILD_LEAST + fresh.iter().sum::<u64>();
        // Before the trace there is time as well, and somebody who knew would have used it.
        next = if carried > 0 {
            Some(cell.saturating_sub(1)).filter(|before| *before < cell)
        } else {
            cells.range(..cell).next_back().map(|(cell, _)| *cell)
        };
    }
    slices.extend(open.iter().map(|begin| begin + 1));
    (cost, slices)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contestant::SECOND;
    use crate::trace::Arrival;

    fn bound(times: &[Micros]) -> Clairvoyant {
        let arrivals = times.iter().map(|&at| Arrival { at, hold: 0 }).collect();
        Clairvoyant::of(&Trace { arrivals, duration: SECOND })
    }

    #[test]
    fn what_comes_alone_costs_its_build() {
        let bound = bound(&[1_000, 10_000, 20_000]);
        let build = BUILD_LEAST as f64 / SECOND as f64;
        assert!((bound.idle(0) - 3.0 * build).abs() < 1e-9);
        // One that is cold is not built in advance, and may hide the build of another.
        assert!((bound.idle(1) - build).abs() < 1e-9);
        assert_eq!((bound.cold(3.0 * build), bound.cold(build), bound.cold(0.0)), (0, 1, 2));
    }

    #[test]
    fn a_burst_is_built_in_the_cells_before_it() {
        // Six at the end of the 10th cell: two are built in it, two a cell before, two before that.
        let cell = BUILD_LEAST;
        let bound = bound(&[10 * cell - 1; 6]);
        let earliness = 4.0 * (cell - 1) as f64 + 2.0 * cell as f64;
        let builds = 6.0 * cell as f64;
        assert!((bound.idle(0) * SECOND as f64 - earliness - builds).abs() < 1e-6);
        // The longest slice is two cells long.
        let less = bound.earliness[0] - bound.earliness[1];
        assert!((less - 2.0 * cell as f64).abs() < 1e-6);
    }

    #[test]
    fn fewer_idle_zygotes_never_mean_fewer_cold_arrivals() {
        let mut times: Vec<Micros> = (0..3_000).map(|i| i * i % 999_983).collect();
        times.sort_unstable();
        let bound = bound(&times);
        for cold in 0..3_000 {
            assert!(bound.idle(cold + 1) <= bound.idle(cold) + 1e-12);
            assert!(bound.cold(bound.idle(cold)) <= cold);
        }
    }
}
