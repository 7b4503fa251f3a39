//! At which priority zygotes are made: while nobody waits for one, at the lowest, so that making them
//! slows no command.
//!
//! A zygote must not stay there, and a nice value cannot be taken back (getpriority(2)). That of a
//! session can, where the kernel weighs whole sessions against each other (sched(7), "The autogroup
//! feature"): a zygote begins in the template's session, and ends in one of its own. Without autogroups,
//! or in a cgroup with a CPU controller, which takes their place, the template works at the priority of
//! any other process.
//!
//! The kernel takes one such change in 100 ms, of all processes together that have no capability over
//! the machine (`proc_sched_autogroup_set_nice` in kernel/sched/autogroup.c), and any process may use that
//! up. So a zygote that somebody waits for leaves the session before it does anything else
//! ([`is_awaited`]); a change that is refused is tried again; and a template that somebody else has kept
//! low once does not lower itself again for a while.

use crate::sys::process::{prefer_short_slices, weigh_session};
use nix::errno::Errno;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The lowest priority, and that of any other process.
const LOWEST: i32 = 19;
const USUAL: i32 = 0;

/// How long the template stays at the usual priority after a zygote that somebody waited for: others
/// are likely to follow. The kernel also takes no more than one change in 100 ms.
const URGENT: Duration = Duration::from_millis(250);

/// How long after a change the kernel refuses every other one.
const CHANGES_APART: Duration = Duration::from_millis(100);

/// How often it is tried to be raised: often enough to come first now and then where others try.
const RETRY: Duration = Duration::from_millis(10);

/// How long that is tried after the last zygote that somebody waited for.
const RETRY_FOR: Duration = Duration::from_secs(5);

/// How long the template does not lower itself after somebody else has kept it from being raised.
const STAY: Duration = Duration::from_secs(60);

/// Whether somebody waits for the zygote that is made next. A zygote is born with a copy of the
/// template's memory, and so with this as it was then.
static AWAITED: AtomicBool = AtomicBool::new(false);

/// In a zygote: whether somebody waited for it when it was cloned.
pub(crate) fn is_awaited() -> bool {
    AWAITED.load(Ordering::Relaxed)
}

/// The priority of the template's session.
#[derive(Debug, Default)]
pub(super) struct Priority {
    low: bool,
    urgent_at: Option<Instant>,
    changed_at: Option<Instant>,
    /// When it is to be tried again to raise it.
    retry_at: Option<Instant>,
    /// Until when it is not lowered, since somebody else has kept it low.
    stay_until: Option<Instant>,
    /// Whether the kernel has none to change.
    refused: bool,
}

impl Priority {
    /// Takes on the priority at which the next zygote is to be made.
    pub fn suit(&mut self, urgent: bool) {
        AWAITED.store(urgent, Ordering::Relaxed);
        self.suit_at(Instant::now(), urgent, weigh_session);
    }

    /// How long until [`Self::retry`] has something to do.
    pub fn retry_in(&self) -> Option<Duration> {
        self.retry_at.map(|at| at.saturating_duration_since(Instant::now()))
    }

    /// Tries to be raised if that is due.
    pub fn retry(&mut self) {
        self.retry_if_due(Instant::now(), weigh_session);
    }

    fn suit_at(&mut self, now: Instant, urgent: bool, weigh: impl Fn(i32) -> Result<(), Errno>) {
        if urgent {
            self.urgent_at = Some(now);
        }
        let low = !urgent
            && !self.was_urgent_within(URGENT, now)
            && self.stay_until.is_none_or(|until| until <= now);
        self.change(now, low, weigh);
    }

    fn retry_if_due(&mut self, now: Instant, weigh: impl Fn(i32) -> Result<(), Errno>) {
        if self.retry_at.take_if(|at| *at <= now).is_some() {
            self.change(now, false, weigh);
        }
    }

    fn change(&mut self, now: Instant, low: bool, weigh: impl Fn(i32) -> Result<(), Errno>) {
        if low == self.low || self.refused {
            return;
        }
        match weigh(if low { LOWEST } else { USUAL }) {
            Ok(()) => {
                (self.low, self.changed_at, self.retry_at) = (low, Some(now), None);
            }
            // Too soon after another change. To be lowered can wait for the next zygote.
            Err(Errno::EAGAIN) if low => {}
            Err(Errno::EAGAIN) => {
                let on = self.was_urgent_within(RETRY_FOR, now);
                self.retry_at = on.then_some(now + RETRY);
                if self.changed_at.is_none_or(|at| now.duration_since(at) > CHANGES_APART) {
                    self.kept_low_by_others(now);
                }
            }
            Err(errno) => {
                self.refused = true;
                log::info!("environments are made at the usual priority: {errno}");
            }
        }
    }

    /// Whatever is done at the lowest priority meanwhile is at least begun soon.
    fn kept_low_by_others(&mut self, now: Instant) {
        if self.stay_until.is_none() {
            let what = "the kernel does not let a template raise its session's priority just now";
            log::info!("{what}: another process keeps changing that of a session");
            let _ = prefer_short_slices();
        }
        self.stay_until = Some(now + STAY);
    }

    fn was_urgent_within(&self, time: Duration, now: Instant) -> bool {
        self.urgent_at.is_some_and(|at| now.duration_since(at) < time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    const MS: Duration = Duration::from_millis(1);
    const NOTHING: [i32; 0] = [];

    /// What the kernel says, and what it was asked for.
    struct Kernel {
        says: Result<(), Errno>,
        asked: RefCell<Vec<i32>>,
    }

    impl Kernel {
        fn new() -> Self {
            Self { says: Ok(()), asked: RefCell::default() }
        }

        fn weigh(&self, nice: i32) -> Result<(), Errno> {
            self.asked.borrow_mut().push(nice);
            self.says
        }

        fn asked(&self) -> Vec<i32> {
            self.asked.take()
        }
    }

    #[test]
    fn it_is_lowered_for_nobody_and_raised_for_whom_waits() {
        let (mut priority, kernel, start) = (Priority::default(), Kernel::new(), Instant::now());
        let mut suit = |ms, urgent| {
            priority.suit_at(start + ms * MS, urgent, |nice| kernel.weigh(nice));
            kernel.asked()
        };
        assert_eq!(suit(0, false), [LOWEST]);
        assert_eq!(suit(1, false), NOTHING);
        assert_eq!(suit(2, true), [USUAL]);
        assert_eq!(suit(251, false), NOTHING, "others are likely to follow");
        assert_eq!(suit(252, false), [LOWEST]);
    }

    #[test]
    fn what_was_refused_is_tried_again_while_somebody_may_wait() {
        let (mut priority, mut kernel, start) =
            (Priority::default(), Kernel::new(), Instant::now());
        priority.suit_at(start, false, |nice| kernel.weigh(nice));
        assert_eq!((kernel.asked(), priority.retry_at), (vec![LOWEST], None));
        kernel.says = Err(Errno::EAGAIN);
        priority.suit_at(start, true, |nice| kernel.weigh(nice));
        assert_eq!((kernel.asked(), priority.retry_at), (vec![USUAL], Some(start + RETRY)));
        priority.retry_if_due(start + RETRY / 2, |nice| kernel.weigh(nice));
        assert_eq!(kernel.asked(), NOTHING, "not before it is due");
        priority.retry_if_due(start + RETRY, |nice| kernel.weigh(nice));
        assert_eq!((kernel.asked(), priority.retry_at), (vec![USUAL], Some(start + RETRY * 2)));
        assert_eq!(priority.stay_until, None, "it was its own change that was too soon");
        priority.retry_if_due(start + RETRY_FOR, |nice| kernel.weigh(nice));
        assert_eq!((kernel.asked(), priority.retry_at), (vec![USUAL], None), "not for ever");
    }

    #[test]
    fn whom_somebody_else_has_kept_low_stays_when_he_is_raised() {
        let (mut priority, mut kernel, start) =
            (Priority::default(), Kernel::new(), Instant::now());
        priority.suit_at(start, false, |nice| kernel.weigh(nice));
        kernel.says = Err(Errno::EAGAIN);
        let urgent = start + CHANGES_APART + MS;
        priority.suit_at(urgent, true, |nice| kernel.weigh(nice));
        kernel.says = Ok(());
        priority.retry_if_due(urgent + RETRY, |nice| kernel.weigh(nice));
        assert_eq!((kernel.asked(), priority.low), (vec![LOWEST, USUAL, USUAL], false));
        priority.suit_at(urgent + STAY - MS, false, |nice| kernel.weigh(nice));
        assert_eq!(kernel.asked(), NOTHING);
        priority.suit_at(urgent + STAY, false, |nice| kernel.weigh(nice));
        assert_eq!(kernel.asked(), [LOWEST]);
    }

    #[test]
    fn a_kernel_that_has_none_to_change_is_asked_once() {
        let (mut priority, mut kernel, start) =
            (Priority::default(), Kernel::new(), Instant::now());
        kernel.says = Err(Errno::ENOENT);
        for _ in 0..2 {
            priority.suit_at(start, false, |nice| kernel.weigh(nice));
        }
        assert_eq!(kernel.asked(), [LOWEST]);
    }
}
