//! Sessions come, are heard, and go.

use super::Server;
use super::listener::{Door, Peer};
use super::sessions::{OUTBOX_MAX, Pending, Session};
use super::tokens::{Key, Source};
use super::wire::{Wire, WireError, receive_bare};
use crate::pool::Event;
use nix::errno::Errno;
use std::collections::{HashMap, HashSet};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;
use zyg_protocol::codec::{DecodeError, decode};
use zyg_protocol::limits::{MESSAGE_BYTES_MAX, WIRE_VERSION};
use zyg_protocol::message::{Refusal, Reply};

/// Messages read from one session in one turn, so that one client cannot keep the others waiting.
const MESSAGES_PER_TURN: usize = 32;

/// Clients accepted in one turn, for the same reason.
const ACCEPTS_PER_TURN: usize = 128;

/// How soon accepting is tried again after it failed at a limit, if nobody leaves before.
const ACCEPT_AGAIN: Duration = Duration::from_millis(50);

impl Server {
    pub(super) fn accept(&mut self) {
        let was_stuck = matches!(self.door, Door::Stuck { .. });
        self.door = Door::Watched;
        for _ in 0..ACCEPTS_PER_TURN {
            let Some(accepted) = self.listener.as_ref().map(|listener| listener.accept()) else {
                return;
            };
            match accepted {
                Ok((socket, peer)) => self.admit(socket, peer),
                Err(Errno::EAGAIN) => return,
                Err(Errno::ECONNABORTED | Errno::EINTR) => {}
                Err(errno) => {
                    // Those that knock keep waiting, and are let in when somebody has left.
                    if !was_stuck {
                        log::warn!("failed to accept a client, and will try again: {errno}");
                    }
                    self.door = Door::Stuck { until: self.now().after(ACCEPT_AGAIN) };
                    return;
                }
            }
        }
        self.door = Door::Crowded;
    }

    fn admit(&mut self, socket: OwnedFd, peer: Peer) {
        let Ok(wire) = Wire::new(socket, OUTBOX_MAX) else { return };
        let refusal = if self.uid != 0 && peer.uid != self.uid {
            Some(Refusal::NotServed { uid: peer.uid, serves: self.uid })
        } else {
            // The only user of a server of his own shares with nobody.
            let uid = if self.uid == 0 { peer.uid } else { 0 };
            let full = self.sessions.check_room(uid, self.sessions_max).err();
            full.map(|limit| Refusal::TooManySessions { limit: limit as u32 })
        };
        let session = Session { wire, peer, leases: HashSet::new(), pending: HashMap::new() };
        let key = self.sessions.add(session);
        if let Some(refusal) = refusal {
            log::info!("refused {}: {refusal}", self.told(key));
            self.refuse(key, refusal);
            return;
        }
        let token = Source::Session(key).token();
        let session = self.sessions.arena.get_mut(key);
        let watched = session.map(|session| session.wire.watch(self.poll.registry(), token));
        if let Some(Err(error)) = watched {
            log::warn!("failed to watch a session: {error}");
            self.close_session(key);
        }
    }

    /// Who is at the other end of a session, for the log.
    pub(super) fn told(&self, key: Key) -> String {
        let session = self.sessions.arena.get(key);
        session.map(|session| session.peer.told(session.wire.socket())).unwrap_or_default()
    }

    pub(super) fn hear_the_unread(&mut self) {
        for key in std::mem::take(&mut self.sessions.unread) {
            self.hear_session(key);
            self.settle();
        }
    }

    pub(super) fn hear_session(&mut self, key: Key) {
        for _ in 0..MESSAGES_PER_TURN {
            let Some(session) = self.sessions.arena.get(key) else { return };
            match receive_bare(session.wire.socket().as_fd(), &mut self.buffer) {
                Ok(0) => return self.close_session(key),
                Ok(bytes) => match decode(&self.buffer[..bytes]) {
                    Ok(request) => {
                        self.request(key, request);
                        // What is asked next is answered as things stand after this.
                        self.settle();
                    }
                    Err(DecodeError::Version { got }) => {
                        return self.refuse(key, Refusal::WrongVersion { got, want: WIRE_VERSION });
                    }
                    Err(error) => {
                        let reason = error.to_string();
                        return self.refuse(key, Refusal::Malformed { reason });
                    }
                },
                Err(Errno::EAGAIN) => return,
                Err(Errno::EBADMSG) => {
                    let reason = format!(
                        "no request is longer than {MESSAGE_BYTES_MAX} bytes or carries descriptors"
                    );
                    return self.refuse(key, Refusal::Malformed { reason });
                }
                Err(_) => return self.close_session(key),
            }
        }
        self.sessions.unread.push(key);
    }

    pub(super) fn flush_session(&mut self, key: Key) {
        let Some(session) = self.sessions.arena.get_mut(key) else { return };
        if session.wire.flush(self.poll.registry()).is_err() {
            self.close_session(key);
        }
    }

    /// Sends a reply. A client that cannot be told anything is let go.
    pub(super) fn reply(&mut self, key: Key, reply: &Reply) {
        let Some(session) = self.sessions.arena.get_mut(key) else { return };
        let sent = session.wire.send(reply, &[], self.poll.registry(), &mut self.scratch);
        self.let_go_unless(sent, key);
    }

    /// The same for the answer to an acquire that was let in.
    pub(super) fn answer(&mut self, key: Key, answer: &Reply) {
        let Some(session) = self.sessions.arena.get_mut(key) else { return };
        let (registry, scratch) = (self.poll.registry(), &mut self.scratch);
        let sent = session.wire.send_promised(answer, &[], registry, scratch);
        self.let_go_unless(sent, key);
    }

    pub(super) fn let_go_unless(&mut self, sent: Result<(), WireError>, key: Key) {
        let Some(session) = self.sessions.arena.get(key) else { return };
        if let Err(error) = sent {
            let client = session.peer.told(session.wire.socket());
            log::info!("lost {client}: {error}");
            self.close_session(key);
        }
    }

    fn refuse(&mut self, key: Key, refusal: Refusal) {
        log::debug!("a session is refused: {refusal}");
        self.reply(key, &Reply::Refused(refusal));
        self.close_session(key);
    }

    /// Hang-up ends what the session held and withdraws what it asked for.
    pub(super) fn close_session(&mut self, key: Key) {
        let Some(session) = self.sessions.remove(key) else { return };
        self.unwatch(session.wire.socket());
        if let Door::Stuck { .. } = self.door {
            self.door = Door::Stuck { until: self.now() };
        }
        for lease in session.leases {
            self.end_lease_soon(lease);
        }
        for pending in session.pending.into_values() {
            match pending {
                Pending::Opening { ticket } => drop(self.opening.remove(&ticket)),
                Pending::Waiting { waiter } => {
                    // Once for all of a batch.
                    if self.waiting.remove(&waiter).is_some() {
                        self.tell(Event::WaiterLeft { waiter });
                    }
                }
            }
        }
        if self.sessions.arena.len() == 0 {
            self.idle_since = self.now();
        }
    }
}
