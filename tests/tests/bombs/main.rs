//! Bombs: commands that use up whatever there is. Each is refused by name where a limit of its
//! profile or of the kernel holds, and where none holds it is lit small; either way the server, a
//! bystander's lease and new leases go on while it burns, and with its lease all of it is gone.
//!
//! What only cgroups can bound (memory of all kinds together, CPU, processes of root) is not shown
//! to be bounded here, only to be cleared.
#![expect(clippy::unwrap_used, reason = "a test reports by panicking")]

mod descriptors;
mod files;
mod flight;
mod ipc;
mod memory;
mod namespaces;
mod processes;
mod scene;
mod terminals;
mod time;
