//! Client connections: who they are, what they hold, what waits to be sent to them.

use super::listener::Peer;
use super::tokens::{Arena, Key};
use super::wire::Wire;
use crate::pool::WaiterKey;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use zyg_protocol::limits::ACQUIRES_MAX;
use zyg_protocol::message::{LeaseId, RequestId};

/// Replies that may wait for a client that does not read, beside the answers to its acquires, which
/// may be as many as it may ask for at once. A client with that many pending has stopped listening.
pub(super) const OUTBOX_MAX: usize = 256;

/// Acquires of one session that wait, or whose answers do.
pub(super) const UNANSWERED_MAX: usize = ACQUIRES_MAX as usize;

/// Sessions that any user may have where a quarter of all would be less, and half of them are not.
const FEW: usize = 16;

/// Sessions that are left for root, to see what is going on and to end it.
const ROOTS: usize = 8;

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
    by_uid: HashMap<u32, usize>,
}

impl Sessions {
    /// Lets one in.
    pub fn add(&mut self, session: Session) -> Key {
        *self.by_uid.entry(session.peer.uid).or_default() += 1;
        self.arena.insert(session)
    }

    /// Takes one out.
    pub fn remove(&mut self, key: Key) -> Option<Session> {
        let session = self.arena.remove(key)?;
        if let Entry::Occupied(mut count) = self.by_uid.entry(session.peer.uid) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
        Some(session)
    }

    /// Whether a user of the server's may have one more of `most` that there may be. No user but root
    /// has more than a quarter of them, or more than a few, and some are left for root.
    ///
    /// # Errors
    /// The bound that is met.
    pub fn check_room(&self, uid: u32, most: usize) -> Result<(), usize> {
        let own = self.by_uid.get(&uid).copied().unwrap_or(0);
        let (own_max, all_max) = match uid {
            0 => (most, most),
            _ => ((most / 4).max(FEW.min(most / 2)), most - ROOTS.min(most / 4)),
        };
        match (own < own_max, self.arena.len() < all_max) {
            (true, true) => Ok(()),
            (false, _) => Err(own_max),
            (_, false) => Err(all_max),
        }
    }
}
