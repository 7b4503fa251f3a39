//! Which network namespaces are used again: those of zygotes that are gone, if they tell nothing.
//!
//! Pure: what a namespace is, and how it is looked at, is the caller's. Numbers are the template's.

use super::account::Doubt;
use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

/// How long a network namespace is left alone before it is looked at: what the kernel still does of its
/// own accord shows by then. For a member of a multicast group that is a report within three ticks (at
/// most 30 ms; `igmp_ifc_start_timer`, `mld_ifc_event`), for a netlink socket its end, after an RCU
/// grace period.
const SETTLE: Duration = Duration::from_millis(50);

/// How long one is kept for an order: whoever orders again and again does so within that.
const KEEP: Duration = Duration::from_secs(5);

/// What became of them. The template logs it with each that it takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub made: u64,
    pub recycled: u64,
    /// Destroyed, by [`Doubt`].
    pub sockets: u64,
    pub traffic: u64,
    pub other: u64,
    pub unknown: u64,
    /// Destroyed since nobody ordered one.
    pub unused: u64,
    /// Destroyed since as many were kept as may be.
    pub full: u64,
}

/// Those that are lent to zygotes, and those that have come back.
#[derive(Debug)]
pub(super) struct Keeper<N> {
    lent: HashMap<u64, N>,
    lent_max: usize,
    /// The first is the oldest.
    kept: VecDeque<Kept<N>>,
    kept_max: usize,
    pub tally: Tally,
}

#[derive(Debug)]
struct Kept<N> {
    namespace: N,
    since: Instant,
}

impl<N> Keeper<N> {
    /// None yet, and never more of either than this.
    pub fn new(lent_max: usize, kept_max: usize) -> Self {
        let (lent, kept) = (HashMap::new(), VecDeque::new());
        Self { lent, lent_max, kept, kept_max, tally: Tally::default() }
    }

    /// Remembers one that goes to a zygote, to be had back under this number. What there is no room for
    /// ends with its zygote.
    pub fn lend(&mut self, number: u64, namespace: N) {
        if self.lent.len() < self.lent_max {
            self.lent.insert(number, namespace);
        } else {
            self.tally.full += 1;
        }
    }

    /// Nothing is left of the zygote that had one. A number that is not known is that of one for which
    /// there was no room.
    pub fn come_back(&mut self, now: Instant, number: u64) {
        let Some(namespace) = self.lent.remove(&number) else { return };
        if self.kept.len() < self.kept_max {
            self.kept.push_back(Kept { namespace, since: now });
        } else {
            self.tally.full += 1;
        }
    }

    /// One that has settled and passes the check. Those that do not pass are dropped.
    pub fn take(
        &mut self,
        now: Instant,
        mut check: impl FnMut(&N) -> Result<(), Doubt>,
    ) -> Option<N> {
        while self.kept.front().is_some_and(|kept| now.duration_since(kept.since) >= SETTLE) {
            let kept = self.kept.pop_front()?;
            match check(&kept.namespace) {
                Ok(()) => {
                    self.tally.recycled += 1;
                    return Some(kept.namespace);
                }
                Err(Doubt::Sockets) => self.tally.sockets += 1,
                Err(Doubt::Traffic) => self.tally.traffic += 1,
                Err(Doubt::Other) => self.tally.other += 1,
                Err(Doubt::Unknown) => self.tally.unknown += 1,
            }
        }
        None
    }

    /// Drops those that nobody has ordered, and returns when to do so again.
    pub fn let_go(&mut self, now: Instant) -> Option<Duration> {
        while let Some(kept) = self.kept.front() {
            let left = KEEP.saturating_sub(now.duration_since(kept.since));
            if !left.is_zero() {
                return Some(left);
            }
            self.kept.pop_front();
            self.tally.unused += 1;
        }
        None
    }
}

impl Tally {
    /// Bytes of it in a message.
    pub const BYTES: usize = 8 * 8;

    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let Self { made, recycled, sockets, traffic, other, unknown, unused, full } = self;
        let numbers = [made, recycled, sockets, traffic, other, unknown, unused, full];
        let mut bytes = [0; Self::BYTES];
        for (to, number) in bytes.chunks_exact_mut(8).zip(numbers) {
            to.copy_from_slice(&number.to_ne_bytes());
        }
        bytes
    }

    /// What [`Self::to_bytes`] has made.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; Self::BYTES] = bytes.try_into().ok()?;
        let (words, _) = bytes.as_chunks();
        let [made, recycled, sockets, traffic, other, unknown, unused, full] =
            <[[u8; 8]; 8]>::try_from(words).ok()?.map(u64::from_ne_bytes);
        Some(Self { made, recycled, sockets, traffic, other, unknown, unused, full })
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { made, recycled, sockets, traffic, other, unknown, unused, full } = self;
        write!(
            f,
            "network namespaces: {made} made ahead, {recycled} recycled; destroyed: {sockets} for \
             sockets left, {traffic} for traffic, {other} for another account, {unknown} unseen, \
             {unused} unused, {full} without room"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::rc::Rc;

    fn fine(_: &u32) -> Result<(), Doubt> {
        Ok(())
    }

    #[test]
    fn one_is_used_again_after_it_has_come_back_and_settled() {
        let (mut keeper, start) = (Keeper::new(9, 9), Instant::now());
        keeper.lend(1, 10);
        assert_eq!(keeper.take(start + SETTLE, fine), None, "it is lent");
        keeper.come_back(start, 1);
        assert_eq!(keeper.take(start + SETTLE / 2, fine), None, "it has not settled");
        assert_eq!(keeper.take(start + SETTLE, fine), Some(10));
        assert_eq!(keeper.take(start + SETTLE, fine), None, "it is used by one at a time");
        keeper.come_back(start, 1);
        assert_eq!(keeper.take(start + SETTLE, fine), None, "its number is used up");
        assert_eq!(keeper.tally, Tally { recycled: 1, ..Tally::default() });
    }

    #[test]
    fn what_is_in_doubt_is_dropped_and_counted_and_the_next_one_taken() {
        let (mut keeper, start) = (Keeper::new(9, 9), Instant::now());
        let doubts = [Doubt::Sockets, Doubt::Traffic, Doubt::Other, Doubt::Unknown];
        for number in 0..5 {
            keeper.lend(number, number as usize);
            keeper.come_back(start, number);
        }
        let check = |number: &usize| doubts.get(*number).map_or(Ok(()), |doubt| Err(*doubt));
        assert_eq!(keeper.take(start + SETTLE, check), Some(4));
        let tally =
            Tally { recycled: 1, sockets: 1, traffic: 1, other: 1, unknown: 1, ..Tally::default() };
        assert_eq!(keeper.tally, tally);
    }

    #[test]
    fn what_nobody_orders_is_let_go() {
        let (mut keeper, start) = (Keeper::new(9, 9), Instant::now());
        assert_eq!(keeper.let_go(start), None);
        let namespace = Rc::new(());
        for (number, back) in [(1, start), (2, start + KEEP / 2)] {
            keeper.lend(number, Rc::clone(&namespace));
            keeper.come_back(back, number);
        }
        assert_eq!(keeper.let_go(start), Some(KEEP));
        assert_eq!(keeper.let_go(start + KEEP), Some(KEEP / 2));
        assert_eq!(Rc::strong_count(&namespace), 2, "one is held and one is not");
        assert_eq!(keeper.let_go(start + KEEP * 2), None);
        assert_eq!((Rc::strong_count(&namespace), keeper.tally.unused), (1, 2));
    }

    #[test]
    fn no_more_are_held_than_may_be() {
        let (mut keeper, start) = (Keeper::new(2, 1), Instant::now());
        let namespace = Rc::new(());
        for number in 0..3 {
            keeper.lend(number, Rc::clone(&namespace));
        }
        assert_eq!((Rc::strong_count(&namespace), keeper.tally.full), (3, 1));
        for number in 0..3 {
            keeper.come_back(start, number);
        }
        assert_eq!((Rc::strong_count(&namespace), keeper.tally.full), (2, 2));
    }

    #[test]
    fn a_tally_comes_through_a_message() {
        let tally = Tally { made: 1, recycled: 2, traffic: u64::MAX, full: 3, ..Tally::default() };
        assert_eq!(Tally::from_bytes(&tally.to_bytes()), Some(tally));
        assert_eq!(Tally::from_bytes(&[0; Tally::BYTES - 1]), None);
    }
}
