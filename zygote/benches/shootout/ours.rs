//! The real policy, `zygote::pool`, driven by its own events and effects.

use crate::contestant::{Contestant, Fact, Micros, Order};
use crate::host::{BUILDERS, ZYGOTES_MAX};
use std::time::Duration;
use zygote::pool::{
    Effect, Event, Limits, Policy, PoolKey, Quota, Settings, SlotKey, Time, WaiterKey,
};

/// The pool of one user, who is the only one.
#[derive(Debug)]
pub struct Ours {
    policy: Policy,
    pool: PoolKey,
    effects: Vec<Effect>,
}

impl Ours {
    /// A pool that is set to that.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let limits = Limits {
            zygotes_max: ZYGOTES_MAX as u32,
            builds_max: BUILDERS,
            build_counts: Duration::from_secs(1),
            quota: Quota::default(),
        };
        let mut policy = Policy::new(limits);
        let pool = policy.add(1000, settings);
        Self { policy, pool, effects: Vec::new() }
    }
}

impl Contestant for Ours {
    fn tell(&mut self, now: Micros, fact: Fact, orders: &mut Vec<Order>) {
        let event = match fact {
            Fact::Arrived(waiter) => Event::AcquireRequested {
                pool: self.pool,
                waiter: WaiterKey(waiter as u64),
                count: 1,
                deadline: None,
                first_use: false,
            },
            Fact::Ready(zygote) => Event::ZygoteReady { slot: SlotKey(zygote) },
            Fact::Ended(zygote) => Event::LeaseEnded { slot: SlotKey(zygote) },
            Fact::Gone(zygote) => Event::ZygoteGone { slot: SlotKey(zygote) },
            Fact::TimePassed => Event::TimePassed,
        };
        let now = Time(Duration::from_micros(now));
        self.policy.handle(now, event, &mut self.effects);
        orders.extend(self.effects.drain(..).map(|effect| match effect {
            Effect::Spawn { slot, .. } => Order::Spawn(slot.0),
            Effect::Grant { waiter, slot, .. } => Order::Grant(waiter.0 as usize, slot.0),
            Effect::Destroy { slot } => Order::Destroy(slot.0),
            Effect::Recycle { .. } => panic!("these pools recycle nothing"),
            Effect::Deny { why, .. } => panic!("no builds fail here and nothing is full: {why:?}"),
        }));
    }

    fn next_deadline(&self) -> Option<Micros> {
        let deadline = self.policy.next_deadline()?;
        // Not before it: the policy would say the same again.
        Some(deadline.0.as_nanos().div_ceil(1_000) as Micros)
    }
}
