//! Which network namespaces are used again: those of zygotes that are gone, if they tell nothing.
//!
//! And whether that of a zygote tells nothing which is to be used again as a whole.
//!
//! Pure: what a namespace is, and how it is looked at, is the caller's. Numbers are the template's.

use super::account::Doubt;
use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};
use zyg_protocol::message::{Fate, Fates};

/// How long a network namespace is left alone before it is looked at: what the kernel still does of its
/// own accord shows by then. For a member of a multicast group that is a report within three ticks (at
/// most 30 ms; `igmp_ifc_start_timer`, `mld_ifc_event`), for a netlink socket its end, after an RCU
/// grace period.
const SETTLE: Duration = Duration::from_millis(50);

/// How long one is kept for an order: whoever orders again and again does so within that.
const KEEP: Duration = Duration::from_secs(5);

/// As many as are kept: 2,500 in a second come back and settle, for 30 MiB in the seconds after.
pub(super) const KEPT_MAX: usize = 128;

/// Those that are lent to zygotes, and those that have come back.
#[derive(Debug)]
pub(super) struct Keeper<N> {
    lent: HashMap<u64, N>,
    lent_max: usize,
    /// The first is the oldest.
    kept: VecDeque<Kept<N>>,
    kept_max: usize,
    /// Those that are asked about, and since when. The first is the oldest.
    questions: VecDeque<(Instant, u64)>,
    /// What became of them, until it is told.
    pub fates: Fates,
}

#[derive(Debug)]
struct Kept<N> {
    namespace: N,
    since: Instant,
}

impl<N> Keeper<N> {
    /// None yet, and never more of either than this.
    pub fn new(lent_max: usize, kept_max: usize) -> Self {
        let (lent, kept, questions) = (HashMap::new(), VecDeque::new(), VecDeque::new());
        let fates = Fates::default();
        Self { lent, lent_max, kept, kept_max, questions, fates }
    }

    /// Remembers one that goes to a zygote, to be had back under this number. What there is no room for
    /// ends with its zygote.
    pub fn lend(&mut self, number: u64, namespace: N) {
        if self.lent.len() < self.lent_max {
            self.lent.insert(number, namespace);
        } else {
            self.fates.count(Fate::NetworkInExcess);
        }
    }

    /// Nothing is left of the zygote that had one. A number that is not known is that of one for which
    /// there was no room.
    pub fn come_back(&mut self, now: Instant, number: u64) {
        let Some(namespace) = self.lent.remove(&number) else { return };
        if self.kept.len() < self.kept_max {
            self.kept.push_back(Kept { namespace, since: now });
        } else {
            self.fates.count(Fate::NetworkInExcess);
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
                    self.fates.count(Fate::NetworkRecycled);
                    return Some(kept.namespace);
                }
                Err(doubt) => self.fates.count(doubt.into()),
            }
        }
        None
    }

    /// The lease of a zygote is over, and the zygote may have its namespace for another one.
    pub fn ask(&mut self, now: Instant, number: u64) {
        self.questions.push_back((now, number));
    }

    /// What comes of the oldest question about a namespace that has settled.
    pub fn answer(
        &mut self,
        now: Instant,
        check: impl FnOnce(&N) -> Result<(), Doubt>,
    ) -> Option<(u64, Result<(), Doubt>)> {
        let number = self.questions.front().filter(|(asked, _)| now - *asked >= SETTLE)?.1;
        self.questions.pop_front();
        let answer = self.lent.get(&number).map_or(Err(Doubt::Unknown), check);
        self.fates.count(answer.err().map_or(Fate::NetworkKept, Fate::from));
        Some((number, answer))
    }

    /// How long until there is something to answer.
    pub fn settles_in(&self, now: Instant) -> Option<Duration> {
        self.questions.front().map(|(asked, _)| SETTLE.saturating_sub(now.duration_since(*asked)))
    }

    /// Drops those that nobody has ordered, and returns when to do so again.
    pub fn let_go(&mut self, now: Instant) -> Option<Duration> {
        while let Some(kept) = self.kept.front() {
            let left = KEEP.saturating_sub(now.duration_since(kept.since));
            if !left.is_zero() {
                return Some(left);
            }
            self.kept.pop_front();
            self.fates.count(Fate::NetworkUnused);
        }
        None
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
        assert_eq!(keeper.fates, Fates::from_iter([(Fate::NetworkRecycled, 1)]));
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
        let met = doubts.map(Fate::from).into_iter().chain([Fate::NetworkRecycled]);
        assert_eq!(keeper.fates, met.map(|fate| (fate, 1)).collect());
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
        assert_eq!((Rc::strong_count(&namespace), keeper.fates.of(Fate::NetworkUnused)), (1, 2));
    }

    #[test]
    fn no_more_are_held_than_may_be() {
        let (mut keeper, start) = (Keeper::new(2, 1), Instant::now());
        let namespace = Rc::new(());
        for number in 0..3 {
            keeper.lend(number, Rc::clone(&namespace));
        }
        assert_eq!((Rc::strong_count(&namespace), keeper.fates.of(Fate::NetworkInExcess)), (3, 1));
        for number in 0..3 {
            keeper.come_back(start, number);
        }
        assert_eq!((Rc::strong_count(&namespace), keeper.fates.of(Fate::NetworkInExcess)), (2, 2));
    }

    #[test]
    fn a_question_is_answered_once_and_when_the_namespace_has_settled() {
        let (mut keeper, start) = (Keeper::new(9, 9), Instant::now());
        keeper.lend(1, 10);
        keeper.lend(2, 20);
        assert_eq!((keeper.settles_in(start), keeper.answer(start + SETTLE, fine)), (None, None));
        keeper.ask(start, 1);
        keeper.ask(start + SETTLE / 2, 2);
        assert_eq!(keeper.settles_in(start), Some(SETTLE));
        assert_eq!(keeper.answer(start + SETTLE / 2, fine), None, "it has not settled");
        assert_eq!(keeper.answer(start + SETTLE, fine), Some((1, Ok(()))));
        assert_eq!(keeper.answer(start + SETTLE, fine), None);
        assert_eq!(keeper.settles_in(start + SETTLE), Some(SETTLE / 2));
        let doubt = |_: &u32| Err(Doubt::Traffic);
        assert_eq!(keeper.answer(start + SETTLE * 2, doubt), Some((2, Err(Doubt::Traffic))));
        let met = [(Fate::NetworkKept, 1), (Fate::NetworkWithTraffic, 1)];
        assert_eq!(keeper.fates, Fates::from_iter(met));
    }

    #[test]
    fn of_one_that_is_not_known_nothing_is_proven() {
        let (mut keeper, start) = (Keeper::new(1, 9), Instant::now());
        for number in [1, 2] {
            keeper.lend(number, 10);
            keeper.ask(start, number);
        }
        keeper.come_back(start, 1);
        for number in [1, 2] {
            let answer = keeper.answer(start + SETTLE, fine);
            assert_eq!(answer, Some((number, Err(Doubt::Unknown))));
        }
        assert_eq!(keeper.take(start + SETTLE, fine), Some(10), "it serves another zygote");
    }
}
