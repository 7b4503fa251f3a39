//! Client connections: who they are, what they hold, what waits to be sent to them.

use super::listener::Peer;
use super::tokens::{Arena, Key};
use super::wire::Wire;
use crate::pool::WaiterKey;
use std::collections::{HashMap, HashSet};
use zyg_protocol::limits::ACQUIRES_MAX;
use zyg_protocol::message::{LeaseId, RequestId};

/// Replies that may wait for a client that does not read, beside the answers to its acquires, which
/// may be as many as it may ask for at once. A client with that many pending has stopped listening.
pub(super) const OUTBOX_MAX: usize = 256;

/// Acquires of one session that wait, or whose answers do.
pub(super) const UNANSWERED_MAX: usize = ACQUIRES_MAX as usize;

/// One client connection.
#[derive(Debug)]
pub(super) struct Session {
    pub wire: Wire,
    pub peer: Peer,
    /// Leases that end with this session.
    pub leases: HashSet<LeaseId>,
    /// Acquires that are not answered yet, and where they are in the server.
    pub pending: HashMap<RequestId, Pending>,
}

impl Session {
    /// Whether so many more acquires may be answered whenever their answers are there, whether the
    /// client has read others by then or not.
    pub fn may_ask_for(&self, count: usize) -> bool {
        self.pending.len() + self.wire.promised() + count <= UNANSWERED_MAX
    }
}

/// Where an unanswered acquire is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pending {
    /// The template opens its mount sources.
    Opening {
        /// The ticket of that.
        ticket: u64,
    },
    /// It waits in a pool.
    Waiting {
        /// Its name there.
        waiter: WaiterKey,
    },
}

/// All sessions, and those whose messages were not all read when their turn was over.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    pub arena: Arena<Session>,
    pub unread: Vec<Key>,
}
