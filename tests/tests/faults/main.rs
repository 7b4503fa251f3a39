//! What fails, fails alone: every part of zyg is killed, stopped or starved at every step of the
//! hand-over. Whoever waits for it hears a clear error at once, nobody else hears anything, and
//! nothing is left behind.
#![expect(clippy::unwrap_used, reason = "a test reports by panicking")]

mod client_killed;
mod forbidden;
mod init_killed;
mod limits;
mod server_killed;
mod shared;
mod stopped;
mod template_killed;
mod waiting;
