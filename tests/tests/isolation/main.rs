//! What an environment of the default profile keeps apart (DESIGN.md, "What a command sees by
//! default"). Each forbidden act is paired with a control that shows the same act succeed outside,
//! or on something of the command's own.
#![expect(clippy::unwrap_used, reason = "a test reports by panicking")]

mod devices;
mod files;
mod host_controls;
mod init;
mod namespaces;
mod nested;
mod network;
mod privileges;
mod sockets;
