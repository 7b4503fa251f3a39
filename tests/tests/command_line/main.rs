//! The `zyg` command where there is something to be said: its errors and their exit codes, the
//! search for a server and a server of one's own, `status`, `reserve`, `drain` and `config`.
#![expect(clippy::unwrap_used, reason = "a test reports by panicking")]

mod config;
mod drain;
mod not_run;
mod private;
mod reserve;
mod serve;
mod sockets;
mod status;
