//! The pool's policy in a real server: ahead of the burst, fair under load, replaced without a gap,
//! drained in order, within its budget, never stuck, and as it was after a long and busy life.
#![expect(clippy::unwrap_used, reason = "a test reports by panicking")]

mod batches;
mod budget;
mod burst;
mod draining;
mod generations;
mod mending;
mod pace;
mod reservations;
mod shared;
mod soak;
mod stuck;
