//! `zyg run -- X` is as `X`: the same command run both ways, and all that its caller can see of it
//! compared.
#![expect(clippy::unwrap_used, reason = "a test reports by panicking")]

mod arguments;
mod directory;
mod ends;
mod environment;
mod exit;
mod inherited;
mod job_control;
mod options;
mod run;
mod signals;
mod streams;
mod terminal;
mod tty;
