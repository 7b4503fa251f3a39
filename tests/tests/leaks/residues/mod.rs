//! Everything that can be left behind, and how to find it again, by kind. Those of one kind are
//! planted in one lease, in this order.

mod files;
mod init;
mod ipc;
mod keys;
mod locks;
mod mounts;
mod network;
mod processes;
mod properties;
mod roots;
mod sockets;
mod tcp;
mod tree;

use crate::residue::Residue;

pub use processes::PROCESSES;

/// All kinds.
pub const KINDS: [(&str, &[Residue]); 13] = [
    ("files", files::FILES),
    ("roots", roots::ROOTS),
    ("tree", tree::TREE),
    ("ipc", ipc::IPC),
    ("tcp", tcp::TCP),
    ("sockets", sockets::SOCKETS),
    ("network", network::NETWORK),
    ("processes", processes::PROCESSES),
    ("properties", properties::PROPERTIES),
    ("init", init::INIT),
    ("locks", locks::LOCKS),
    ("mounts", mounts::MOUNTS),
    ("keys", keys::KEYS),
];
