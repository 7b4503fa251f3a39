//! The server of zyg, and the two other roles that its processes have.
//!
//! [`server`] is the loop: sessions, pools, leases. [`template`] prepares a mount tree and clones
//! zygotes. [`init`] is what a zygote runs as pid 1. The roles meet only on sockets, in the words of
//! `zyg-protocol`.

pub mod bench_floor;
pub mod config;
mod diagnose;
pub mod doctor;
mod failure;
pub mod filter;
mod init;
pub mod pool;
pub mod server;
mod subordinate;
mod sys;
pub mod systemd;
pub mod template;
pub mod users;

pub use sys::descriptors::{close_stdin, keep_to_oneself, take_inherited as inherited_descriptor};
pub use sys::entry::enter;
pub use sys::placement::{cpus, nice};
pub use sys::process::{daemonize, ignores, open as process_descriptor, take_default_action};
pub use sys::tty::{set_size as set_terminal_size, size as terminal_size};
