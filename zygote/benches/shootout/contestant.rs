//! What the host tells a policy and what a policy may order: the same few words for all of them.

/// Microseconds since the trace began.
pub type Micros = u64;

/// One second.
pub const SECOND: Micros = 1_000_000;

/// An arrival's place in its trace.
pub type Waiter = usize;

/// A policy's own name for a zygote, never used again.
pub type Zygote = u64;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fact {
    /// Somebody wants a zygote.
    Arrived(Waiter),
    /// One is built.
    Ready(Zygote),
    /// A lease is over.
    Ended(Zygote),
    /// Nothing is left of one.
    Gone(Zygote),
    /// The policy's own deadline has come.
    TimePassed,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Build one, as soon as a builder is free.
    Spawn(Zygote),
    /// Hand one out.
    Grant(Waiter, Zygote),
    /// Tear one down.
    Destroy(Zygote),
}

/// A policy.
pub trait Contestant {
    /// Takes note of a fact and appends what is to be done about it.
    fn tell(&mut self, now: Micros, fact: Fact, orders: &mut Vec<Order>);

    /// When to tell that time has passed.
    fn next_deadline(&self) -> Option<Micros>;
}
