//! A hostile client, at a flood: more than a million messages to a real server and to the inits of
//! real leases, most of them sound, so that they get deep, and the rest spoilt in every way.
//!
//! Every test prints its seed and what came of its messages. `ZYG_FUZZ_SEED` makes a run say the same
//! again, as far as that depends on the client: what it says depends on what it is answered as well,
//! and two processes never meet in the same order twice. `ZYG_FUZZ_MESSAGES` sets the number of
//! messages of all tests together; a longer run is
//!
//! ```sh
//! ZYG_FUZZ_MESSAGES=100000000 cargo test -p zyg-tests --test fuzz -- --nocapture --test-threads=2
//! ```
//!
//! which, unlike `cargo nextest`, sets no limit to the time that a test takes. A message counts only
//! when its receiver is known to have read it.
#![expect(clippy::unwrap_used, reason = "a test reports by panicking")]

mod commands;
mod descriptors;
mod flood;
mod foreign;
mod init;
mod lease;
mod link;
mod mutate;
mod questions;
mod random;
mod requests;
mod server;
mod session;
mod share;
mod tally;
mod values;
mod watch;
