//! What the policy is told and what it orders.

use super::PoolKey;
use super::slots::SlotKey;
use super::time::Time;
use super::waiters::WaiterKey;

/// A fact, in the past tense. None of them is trusted to be true, timely or said only once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A client wants a zygote, or a batch of them. Answered by exactly one `Deny`, or by as many
    /// `Grant`s as it wants, one right after the other, unless it leaves first.
    AcquireRequested {
        /// Of which pool: the one that is in force for its profile and uid.
        pool: PoolKey,
        /// The caller's name for it, free for use again once it is answered or has left. One that
        /// is still waiting is not queued a second time.
        waiter: WaiterKey,
        /// How many zygotes: all of them or none. Zero counts as one.
        count: u32,
        /// When waiting ends; `None` for never. One that is not later than now asks for what is warm,
        /// or nothing.
        deadline: Option<Time>,
        /// Whether this is the request that the pool was made for.
        first_use: bool,
    },
    /// A waiter is not interested any more. One that is granted already must end its lease instead.
    WaiterLeft {
        /// Which.
        waiter: WaiterKey,
    },
    /// A zygote is parked and waits for a command: a new one, or one that was recycled.
    ZygoteReady {
        /// Its slot.
        slot: SlotKey,
    },
    /// A zygote was not made, and nothing of it exists.
    SpawnFailed {
        /// The slot it was for.
        slot: SlotKey,
        /// The failing step and its error, as a client is to read it.
        reason: String,
    },
    /// A zygote was made and could not set itself up: it exists until `ZygoteGone`.
    SetupFailed {
        /// Its slot.
        slot: SlotKey,
        /// The failing step and its error, as a client is to read it.
        reason: String,
    },
    /// A zygote's lifeline has ended: it exists until `ZygoteGone`, and is of no use.
    ZygoteDied {
        /// Its slot.
        slot: SlotKey,
    },
    /// A lease is over: released, hung up or past its time.
    LeaseEnded {
        /// The slot of the zygote that was leased.
        slot: SlotKey,
    },
    /// A zygote that was to be recycled is not to be used again: it exists until `ZygoteGone`.
    RecycleRefused {
        /// Its slot.
        slot: SlotKey,
    },
    /// Nothing is left of a zygote.
    ZygoteGone {
        /// The slot it was in.
        slot: SlotKey,
    },
    /// The template of a pool is no more. Its leased zygotes live on, its warm and spawning ones do not.
    TemplateLost {
        /// Whose.
        pool: PoolKey,
        /// Why, as a client is to read it.
        reason: String,
    },
    /// Nothing happened; a deadline may have passed.
    TimePassed,
    /// The server is to grant no more, finish its leases and become empty.
    DrainStarted,
}

/// An order, to be carried out in the order given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Build a zygote. Answered by `ZygoteReady`, `SpawnFailed` or `SetupFailed`.
    Spawn {
        /// Whose template is to build it.
        pool: PoolKey,
        /// The slot it is for: a key that was never used before.
        slot: SlotKey,
    },
    /// Hand a zygote to a waiter. A batch gets its zygotes by one such order for each.
    Grant {
        /// Whose it is now.
        waiter: WaiterKey,
        /// Its slot.
        slot: SlotKey,
        /// Whether it was waiting.
        start: Start,
    },
    /// Tell a waiter that it gets none, however many it wants.
    Deny {
        /// Whom.
        waiter: WaiterKey,
        /// Why.
        why: Denial,
    },
    /// Make the zygote of a lease that is over one in which nothing of that is left. Answered by
    /// `ZygoteReady` or `RecycleRefused`, under the slot's next name.
    Recycle {
        /// Its slot, as it was named until now.
        slot: SlotKey,
        /// And from now on: a key that was never used before.
        next: SlotKey,
    },
    /// Kill what is in a slot. Answered by `ZygoteGone` when nothing is left, at once where there
    /// is nothing; by `SpawnFailed` where it turns out that nothing ever was.
    ///
    /// Given once for each zygote, also for one that is dying by itself, so that its end does not
    /// depend on its own good will; and once more when the template is lost, which may have taken
    /// the first order with it.
    Destroy {
        /// Which slot.
        slot: SlotKey,
    },
}

/// Whether a zygote was ready when it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// It was parked, and so were all others of its batch.
    Warm,
    /// The waiter had to queue until one was built, or all that it wants were warm.
    Cold(ColdReason),
}

/// Why a waiter had to queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColdReason {
    /// The pool was made for it.
    FirstUse,
    /// More was asked for at once than was warm.
    Exhausted,
}

/// Why a waiter gets no zygote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Denial {
    /// The queue is as long as it may be.
    QueueFull {
        /// How many wait already, each as often as it wants a zygote.
        waiters: u32,
    },
    /// It wants more at once than there may ever be.
    TooMany {
        /// By which bound: `pool.max` or `zygotes_max`.
        what: &'static str,
        /// How many there may be.
        limit: u32,
    },
    /// The client has, or waits for, as much as it may, or would with what it wants.
    QuotaExceeded {
        /// Of what: `leases` or `waiters`.
        what: &'static str,
        /// How many it may have.
        limit: u32,
    },
    /// Its deadline came first.
    DeadlineExpired,
    /// Nothing is granted any more, or not by this pool.
    Draining,
    /// Builds fail, and the next attempt is not due yet.
    BuildFailing {
        /// Why the latest one failed.
        reason: String,
    },
}
