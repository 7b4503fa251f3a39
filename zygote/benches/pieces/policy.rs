//! What the pool decides about a lease, from the acquire until the next zygote is parked.

use super::Piece;
use std::hint::black_box;
use std::time::Duration;
use zygote::pool::{
    Effect, Event, Limits, Policy, PoolKey, Quota, Settings, SlotKey, Time, WaiterKey,
};

/// Zygotes that are warm meanwhile.
const SIZES: [u32; 3] = [10, 1_000, 10_000];

/// Leases before those that count.
const LEASES_BEFORE: usize = 1_024;

/// One for each size.
pub fn pieces() -> Vec<Piece> {
    let piece = |size| {
        // Made when it is first wanted: the largest takes a while.
        let mut warm = None;
        Piece::new(format!("lease_of_{size}"), move || {
            warm.get_or_insert_with(|| Warm::new(size)).lease();
        })
    };
    SIZES.into_iter().map(piece).collect()
}

/// A policy whose one pool is warm.
struct Warm {
    policy: Policy,
    pool: PoolKey,
    now: Time,
    effects: Vec<Effect>,
    leases: u64,
}

impl Warm {
    fn new(size: u32) -> Self {
        let limits = Limits {
            zygotes_max: size + 16,
            builds_max: 2,
            build_counts: Duration::from_secs(1),
            quota: Quota::default(),
        };
        let mut policy = Policy::new(limits);
        let pool = policy.add(1000, Settings::new(size, size + 16));
        let mut warm = Self { policy, pool, now: Time::default(), effects: Vec::new(), leases: 0 };
        warm.tell(Event::TimePassed);
        warm.build();
        assert_eq!(warm.policy.counts(pool).warm, size);
        // So long as there were few, what they teach is worked out anew more often.
        (0..LEASES_BEFORE).for_each(|_| warm.lease());
        warm
    }

    fn tell(&mut self, event: Event) {
        self.policy.handle(self.now, event, &mut self.effects);
    }

    /// What is ordered to be built is ready a moment later.
    fn build(&mut self) {
        while let Some(effect) = self.effects.pop() {
            if let Effect::Spawn { slot, .. } = effect {
                self.now = self.now.after(Duration::from_micros(300));
                self.tell(Event::ZygoteReady { slot });
            }
        }
    }

    /// An acquire, its release, the end of the zygote and the next one in its place.
    fn lease(&mut self) {
        self.leases += 1;
        let waiter = WaiterKey(self.leases);
        let pool = self.pool;
        self.tell(Event::AcquireRequested {
            pool,
            waiter,
            count: 1,
            deadline: None,
            first_use: false,
        });
        let slot = self.granted();
        self.build();
        self.now = self.now.after(Duration::from_millis(1));
        self.tell(Event::LeaseEnded { slot });
        self.build();
        self.tell(Event::ZygoteGone { slot });
        self.build();
        black_box(&self.policy);
    }

    fn granted(&self) -> SlotKey {
        let granted = self.effects.iter().find_map(|effect| match effect {
            Effect::Grant { slot, .. } => Some(*slot),
            _ => None,
        });
        granted.expect("the pool is warm")
    }
}
