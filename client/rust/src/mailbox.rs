//! One socket, several threads that each wait for a message of their own.
//!
//! Leader and followers: a waiter that finds nobody reading becomes the leader and reads the
//! socket; it files what is for others in their trays and wakes exactly those, and when it has its
//! own it wakes one more, who leads from then on. So no thread is ever started here, and a lone
//! caller pays one receive and no wake-up at all.
//!
//! A message is kept only for whoever has said beforehand that it will be wanted
//! ([`Mailbox::expect`]): what a peer can make us store is bounded by what we have asked for.
//! Once the socket has ended, everything that arrived before is still handed out, and every other
//! waiter, present or to come, gets the end's reason.

use crate::flight;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::fmt::Debug;
use std::hash::Hash;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use zyg_protocol::codec::{DecodeError, Message, decode};
use zyg_protocol::limits::MESSAGE_BYTES_MAX;
use zyg_protocol::message::Refusal;
use zyg_protocol::socket::{self, ReceiveError};

/// A message type that says whom it is for.
pub(crate) trait Post: Message {
    /// What tells one awaited message from another.
    type Key: Copy + Eq + Hash + Debug;

    /// Whose message this is; an error ends the conversation for everybody. `descriptors` is the
    /// number that rode along: a message with another number than its type has is malformed.
    fn addressee(&self, descriptors: usize) -> Result<Self::Key, Ended>;
}

/// Why a socket says nothing more.
#[derive(Debug, Clone)]
pub(crate) enum Ended {
    /// The peer has closed it.
    Closed,
    /// The peer has said that it serves us no further.
    Refused(Refusal),
    /// The peer speaks another version of the wire.
    Version(u16),
    /// The peer has broken a rule of the wire.
    Malformed(String),
    /// The kernel says no.
    Os(Errno),
}

/// A message and what rode along.
#[derive(Debug)]
pub(crate) struct Mail<M> {
    pub(crate) message: M,
    pub(crate) descriptors: Vec<OwnedFd>,
}

/// A connected SEQPACKET socket and the trays of those who await something from it.
#[derive(Debug)]
pub(crate) struct Mailbox<M: Post> {
    socket: OwnedFd,
    desk: Mutex<Desk<M>>,
}

#[derive(Debug)]
struct Desk<M: Post> {
    trays: HashMap<M::Key, Tray<M>>,
    /// Keys that were announced together, each until its message comes, with the key of the one tray
    /// that they share.
    sharing: HashMap<M::Key, M::Key>,
    /// Whether somebody leads: only that thread receives from the socket.
    reading: bool,
    /// Whether any message has arrived at all.
    answered: bool,
    ended: Option<Ended>,
}

#[derive(Debug)]
struct Tray<M> {
    mail: VecDeque<Mail<M>>,
    /// How many messages it holds at most.
    room: usize,
    /// Whether its owner sleeps on `wake`.
    waiting: bool,
    wake: Arc<Condvar>,
}

/// The right to one message, or to several that were announced together; given up by dropping it.
#[derive(Debug)]
pub(crate) struct Awaited<M: Post> {
    mailbox: Arc<Mailbox<M>>,
    /// Whose the tray is.
    key: M::Key,
    /// Which keys share the tray; none where it is for one message.
    sharing: Vec<M::Key>,
    wake: Arc<Condvar>,
}

type Arrival<M> = Option<(<M as Post>::Key, Mail<M>)>;

thread_local! {
    /// Where a leader receives: one for each thread that ever leads, not one for each lease.
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl<M: Post> Mailbox<M> {
    pub(crate) fn new(socket: OwnedFd) -> Arc<Self> {
        let (trays, sharing) = (HashMap::new(), HashMap::new());
        let desk = Desk { trays, sharing, reading: false, answered: false, ended: None };
        Arc::new(Self { socket, desk: Mutex::new(desk) })
    }

    /// The socket, to be polled; reading it is this type's alone.
    pub(crate) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Whether any message has ever arrived.
    pub(crate) fn answered(&self) -> bool {
        self.desk().answered
    }

    /// Announces that a message for `key` will be wanted. To be called before whatever is sent
    /// provokes it.
    pub(crate) fn expect(self: &Arc<Self>, key: M::Key) -> Awaited<M> {
        self.put_up(key, Vec::new())
    }

    /// Announces that a message for `first` and one for each of `others` will be wanted, in whatever
    /// order they come: each wait gives one.
    pub(crate) fn expect_all(
        self: &Arc<Self>,
        first: M::Key,
        others: impl Iterator<Item = M::Key>,
    ) -> Awaited<M> {
        self.put_up(first, std::iter::once(first).chain(others).collect())
    }

    /// Puts a tray up for `key` and those that share it.
    fn put_up(self: &Arc<Self>, key: M::Key, sharing: Vec<M::Key>) -> Awaited<M> {
        let wake = Arc::new(Condvar::new());
        let room = sharing.len().max(1);
        let tray = Tray { mail: VecDeque::new(), room, waiting: false, wake: Arc::clone(&wake) };
        let mut desk = self.desk();
        desk.trays.insert(key, tray);
        desk.sharing.extend(sharing.iter().map(|shares| (*shares, key)));
        drop(desk);
        Awaited { mailbox: Arc::clone(self), key, sharing, wake }
    }

    /// Sends one message. That the peer is gone is not reported here: the wait for its answer
    /// tells, and tells better, since the peer may have said why before it left.
    ///
    /// # Errors
    /// Those of sendmsg(2) and poll(2): `ETOOMANYREFS` where even this process's hard limit lets no
    /// more descriptors be on their way.
    pub(crate) fn send(&self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> Result<(), Errno> {
        let send = || socket::send(self.socket(), bytes, descriptors);
        loop {
            let sent = match send() {
                Err(Errno::ETOOMANYREFS) => {
                    // So that it does not wait, with the limit raised, until there is room.
                    ready(self.socket(), PollFlags::POLLOUT, None)?;
                    flight::with_all_allowed(send)
                }
                sent => sent,
            };
            match sent {
                Err(Errno::EPIPE | Errno::ECONNRESET) => return Ok(()),
                Err(Errno::EAGAIN) => {
                    ready(self.socket(), PollFlags::POLLOUT, None)?;
                }
                other => return other,
            }
        }
    }

    /// Waits until a message can be sent, or the deadline; whether it can. A peer that is gone takes all.
    pub(crate) fn has_room_until(&self, deadline: Option<Instant>) -> Result<bool, Errno> {
        ready(self.socket(), PollFlags::POLLOUT, deadline)
    }

    fn desk(&self) -> MutexGuard<'_, Desk<M>> {
        // Every change to the desk is complete before anything can panic.
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait(
        &self,
        key: M::Key,
        wake: &Condvar,
        deadline: Option<Instant>,
    ) -> Result<Option<Mail<M>>, Ended> {
        let mut desk = self.desk();
        let mut tried = false;
        let outcome = loop {
            if let Some(mail) = desk.take(key) {
                break Ok(Some(mail));
            }
            if let Some(ended) = &desk.ended {
                break Err(ended.clone());
            }
            // Not before one look at the socket, so that a deadline that is past already asks
            // "is it there?".
            if tried && deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                break Ok(None);
            }
            desk = if desk.reading {
                follow(desk, key, wake, deadline)
            } else {
                self.lead(desk, deadline)
            };
            tried = true;
        };
        desk.hand_on();
        outcome
    }

    /// Receives at most one message. The desk is free meanwhile.
    fn lead<'desk>(
        &'desk self,
        mut desk: MutexGuard<'desk, Desk<M>>,
        deadline: Option<Instant>,
    ) -> MutexGuard<'desk, Desk<M>> {
        desk.reading = true;
        drop(desk);
        let arrival = self.read(deadline);
        let mut desk = self.desk();
        // Filed under the same lock under which leading ends: else the next leader could file the
        // end of the socket before this message.
        desk.reading = false;
        desk.file(arrival);
        desk
    }

    /// The next message; `None` if the deadline comes first.
    fn read(&self, deadline: Option<Instant>) -> Result<Arrival<M>, Ended> {
        let mut reset = false;
        loop {
            if deadline.is_some() && !ready(self.socket(), PollFlags::POLLIN, deadline)? {
                return Ok(None);
            }
            let received = BUFFER.with_borrow_mut(|buffer| {
                let received = socket::receive_into(self.socket(), buffer, MESSAGE_BYTES_MAX)?;
                Ok::<_, ReceiveError>((decode_one(buffer), received.descriptors))
            });
            match received {
                Ok((message, descriptors)) => {
                    let message: M = message?;
                    let key = message.addressee(descriptors.len())?;
                    return Ok(Some((key, Mail { message, descriptors })));
                }
                Err(ReceiveError::WouldBlock) => {
                    ready(self.socket(), PollFlags::POLLIN, deadline)?;
                }
                // The peer left with messages of ours unread. What it said before that is still
                // queued behind this error (unix(7), sock_error in net/unix/af_unix.c).
                Err(ReceiveError::Os(Errno::ECONNRESET)) if !reset => reset = true,
                Err(ReceiveError::Os(Errno::ECONNRESET)) => return Err(Ended::Closed),
                Err(ReceiveError::Os(errno)) => return Err(Ended::Os(errno)),
                Err(rule) => return Err(Ended::Malformed(rule.to_string())),
            }
        }
    }
}

/// Sleeps until woken for `key`, or the deadline.
fn follow<'desk, M: Post>(
    mut desk: MutexGuard<'desk, Desk<M>>,
    key: M::Key,
    wake: &Condvar,
    deadline: Option<Instant>,
) -> MutexGuard<'desk, Desk<M>> {
    desk.set_waiting(key, true);
    let mut desk = match deadline {
        None => wake.wait(desk).unwrap_or_else(PoisonError::into_inner),
        Some(deadline) => {
            let left = deadline.saturating_duration_since(Instant::now());
            wake.wait_timeout(desk, left).unwrap_or_else(PoisonError::into_inner).0
        }
    };
    desk.set_waiting(key, false);
    desk
}

impl<M: Post> Desk<M> {
    fn take(&mut self, key: M::Key) -> Option<Mail<M>> {
        self.trays.get_mut(&key)?.mail.pop_front()
    }

    fn set_waiting(&mut self, key: M::Key, waiting: bool) {
        if let Some(tray) = self.trays.get_mut(&key) {
            tray.waiting = waiting;
        }
    }

    fn file(&mut self, arrival: Result<Arrival<M>, Ended>) {
        match arrival {
            Ok(None) => {}
            Ok(Some((key, mail))) => {
                self.answered = true;
                let key = self.sharing.remove(&key).unwrap_or(key);
                match self.trays.get_mut(&key) {
                    Some(tray) if tray.mail.len() < tray.room => {
                        tray.mail.push_back(mail);
                        tray.call();
                    }
                    Some(_) => self.end(Ended::Malformed("one answer came twice".into())),
                    // Whoever wanted it has lost interest.
                    None => {}
                }
            }
            Err(ended) => self.end(ended),
        }
    }

    fn end(&mut self, ended: Ended) {
        self.ended = Some(ended);
        self.trays.values().for_each(Tray::call);
    }

    /// Called by every waiter that leaves: while somebody still waits, somebody must read. A
    /// waiter that is chosen and leaves for another reason passes by here too.
    fn hand_on(&self) {
        if self.reading || self.ended.is_some() {
            return;
        }
        if let Some(tray) = self.trays.values().find(|tray| tray.waiting && tray.mail.is_empty()) {
            tray.call();
        }
    }
}

impl<M> Tray<M> {
    /// Wakes the owner. One that does not sleep looks before it does; to notify it all the same would
    /// be a system call for nobody.
    fn call(&self) {
        if self.waiting {
            self.wake.notify_one();
        }
    }
}

impl<M: Post> Awaited<M> {
    /// Waits for the message, or for the next one.
    pub(crate) fn wait(&mut self) -> Result<Mail<M>, Ended> {
        loop {
            if let Some(mail) = self.wait_until(None)? {
                return Ok(mail);
            }
        }
    }

    /// Waits for the message until the deadline; at least looks whether it is there.
    pub(crate) fn wait_until(
        &mut self,
        deadline: Option<Instant>,
    ) -> Result<Option<Mail<M>>, Ended> {
        self.mailbox.wait(self.key, &self.wake, deadline)
    }
}

impl<M: Post> Drop for Awaited<M> {
    fn drop(&mut self) {
        let mut desk = self.mailbox.desk();
        for key in &self.sharing {
            desk.sharing.remove(key);
        }
        let tray = desk.trays.remove(&self.key);
        drop(desk);
        // After the desk is free again: closing descriptors may take its time.
        drop(tray);
    }
}

impl From<Errno> for Ended {
    fn from(errno: Errno) -> Self {
        Self::Os(errno)
    }
}

fn decode_one<M: Message>(bytes: &[u8]) -> Result<M, Ended> {
    if bytes.is_empty() {
        return Err(Ended::Closed);
    }
    decode(bytes).map_err(|error| match error {
        DecodeError::Version { got } => Ended::Version(got),
        rule => Ended::Malformed(rule.to_string()),
    })
}

/// Waits until `socket` can do what `flags` say, an error or a hang-up included; false if the
/// deadline comes first.
pub(crate) fn ready(
    socket: BorrowedFd<'_>,
    flags: PollFlags,
    deadline: Option<Instant>,
) -> Result<bool, Errno> {
    let mut polled = [PollFd::new(socket, flags)];
    loop {
        match poll(&mut polled, timeout(deadline)) {
            Ok(0) if deadline.is_some_and(|deadline| Instant::now() >= deadline) => {
                return Ok(false);
            }
            Ok(0) | Err(Errno::EINTR) => {}
            Ok(_) => return Ok(true),
            Err(errno) => return Err(errno),
        }
    }
}

/// Rounded up to poll(2)'s milliseconds, so that a wait is never cut short into a busy loop.
fn timeout(deadline: Option<Instant>) -> PollTimeout {
    let Some(deadline) = deadline else { return PollTimeout::NONE };
    let left = deadline.saturating_duration_since(Instant::now());
    PollTimeout::try_from(left.as_micros().div_ceil(1000)).unwrap_or(PollTimeout::MAX)
}

#[cfg(test)]
#[path = "mailbox_tests.rs"]
mod tests;
