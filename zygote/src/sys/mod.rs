//! System calls that no library offers in the form that is needed here: thin, safe on the outside,
//! each with its reason. The only module of this crate with `unsafe`.
//!
//! Nothing here decides anything: a function is one act on the kernel and returns its error number.

pub mod command;
pub mod descriptors;
pub mod entry;
pub mod file;
pub mod memory;
pub mod mount;
pub mod net;
pub mod placement;
pub mod privilege;
pub mod probe;
pub mod process;
pub mod program;
pub mod tty;
