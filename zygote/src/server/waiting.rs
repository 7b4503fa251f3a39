//! Acquires on their way to a grant: of one environment, or of several alike, which are one acquire
//! under as many numbers.

use super::held::Leave;
use super::tokens::Key;
use super::visible::View;
use crate::pool::{PoolKey, Time};
use std::ops::RangeInclusive;
use std::os::fd::OwnedFd;
use std::time::Duration;
use zyg_protocol::message::{Acquire, RequestId};

/// What opening mount sources may take of a client that waits for less: it is no wait for an
/// environment, and there may be a warm one. Half a millisecond is usual, and a hundred times that on
/// a host where everybody computes.
const OPENING_TAKES: Duration = Duration::from_millis(250);

/// An acquire in a pool's queue, of one environment or of several alike.
#[derive(Debug)]
pub(super) struct Waiting {
    pub session: Key,
    /// The numbers of those that are not granted yet.
    pub requests: RangeInclusive<RequestId>,
    pub arrived: Time,
    pub wait_ms: Option<u64>,
    pub time_ms: Option<u64>,
    pub view: View,
    /// Of all of them, as many for each.
    pub trees: Vec<OwnedFd>,
    pub _leave: Leave,
}

impl Waiting {
    /// The next one to be granted: its number, what it is to see, and the mount sources of that.
    pub fn take_one(&mut self) -> Option<(RequestId, View, Vec<OwnedFd>)> {
        let left = how_many(&self.requests) as usize;
        let request = self.requests.next()?;
        if left == 1 {
            return Some((
                request,
                std::mem::take(&mut self.view),
                std::mem::take(&mut self.trees),
            ));
        }
        // They are alike, so it does not matter which.
        let trees = self.trees.split_off(self.trees.len() - self.trees.len() / left);
        Some((request, self.view.clone(), trees))
    }
}

/// An acquire whose mount sources are being opened, each time by an order of its own.
#[derive(Debug)]
pub(super) struct Opening {
    pub session: Key,
    pub requests: RangeInclusive<RequestId>,
    pub pool: PoolKey,
    pub first_use: bool,
    pub acquire: Acquire,
    pub view: View,
    /// What is open already.
    pub trees: Vec<OwnedFd>,
    /// Orders that are not answered yet.
    pub ordered: u32,
    pub arrived: Time,
    pub leave: Leave,
}

impl Opening {
    /// When its client stops waiting.
    pub fn deadline(&self) -> Option<Time> {
        let wait = self.acquire.wait_ms.map(Duration::from_millis)?;
        Some(self.arrived.after(wait.max(OPENING_TAKES)))
    }
}

/// How many numbers that are.
pub(super) fn how_many(requests: &RangeInclusive<RequestId>) -> u32 {
    match requests.is_empty() {
        true => 0,
        // At most `ACQUIRES_MAX`.
        false => (requests.end() - requests.start() + 1) as u32,
    }
}
