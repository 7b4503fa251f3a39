//! Client library of zyg: a fresh, isolated Linux environment for every test, for the price of a
//! ping.
//!
//! A [`Client`] asks the server for a [`Lease`]; a lease runs any number of [`Command`]s, which
//! look and behave like [`std::process::Command`]; when it is dropped, everything that they have
//! touched is gone.
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use zygote_client::{Client, LeaseOptions};
//!
//! // Finds the server of this machine, or starts a private one.
//! let client = Client::connect_or_start()?;
//! // An environment in which the working directory is writable, privately.
//! let lease = client.acquire(LeaseOptions::new().cwd("."))?;
//! let output = lease.command("cargo").args(["test", "--offline"]).output()?;
//! assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
//! # Ok(()) }
//! ```
//!
//! The path of a request is the path through the modules: `connect` and `start` find the server,
//! `session` speaks to it, `options` and `lease` turn a wish into an environment, `command`,
//! `spawn` and `child` run something in it over its `channel`. `many` is several leases at once;
//! `reserve` and `drain` are asked of the server, not of a lease. `mailbox`, below them all, lets
//! several threads wait on one socket. No thread is ever started here, and nothing is unsafe.

mod channel;
mod child;
mod client;
mod command;
mod connect;
mod drain;
mod environment;
mod flight;
mod lease;
mod mailbox;
mod many;
mod options;
mod reserve;
mod session;
mod spawn;
mod start;
mod stdio;
mod store;

pub use channel::LeaseError;
pub use child::{Child, Signals};
pub use client::{Client, RequestError};
pub use command::{Command, RunError};
pub use connect::{ConnectError, Connector, Named, SYSTEM_SOCKET, default_socket, private_socket};
pub use drain::{DrainError, Drained};
pub use lease::{AcquireError, Lease};
pub use options::{LeaseOptions, OptionsError};
pub use reserve::ReserveError;
pub use session::SessionError;
pub use spawn::SpawnError;
pub use start::DirectoryProblem;
pub use stdio::Stdio;
pub use zyg_protocol::codec::EncodeError;
pub use zyg_protocol::limits::ACQUIRES_MAX;
pub use zyg_protocol::message::{
    ColdReason, Denial, Failure, Fate, Fates, LeaseId, PoolStatus, Refusal, Rlimit, Scope, Served,
    Start, Status, Step, TtySize, Usage,
};
