//! Paths that are changed while they are being resolved for somebody: what a lease is shown is what its
//! client may see, or a refusal. No process with more rights than the client resolves a path for it,
//! so there is nothing to be won by being fast.
//!
//! As root the client is another user of a server of root's, else the caller himself. A thread outside
//! exchanges what a path names, in one step and without a pause (renameat2(2), `RENAME_EXCHANGE`).
#![expect(clippy::unwrap_used, reason = "a test reports by panicking")]

mod control;
mod place;
mod profiles;
mod sources;
mod swapper;
mod targets;
