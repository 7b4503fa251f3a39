//! What a client asks, checked and brought to where it is answered.

use super::held::Leave;
use super::sessions::Pending;
use super::tokens::Key;
use super::visible::{View, view};
use super::{Opening, Server, Waiting};
use crate::config::{DEFAULT_PROFILE, Quota};
use crate::pool::{Event, Time, WaiterKey};
use std::os::fd::OwnedFd;
use std::time::Duration;
use zyg_protocol::limits::{LABEL_BYTES_MAX, MOUNTS_MAX, PROFILE_NAME_BYTES_MAX, WAIT_MS_MAX};
use zyg_protocol::message::{
    Acquire, Denial, LeaseId, Mount, Reply, Request, RequestId, ToTemplate,
};

/// Unanswered acquires that one session may have. A test framework has one for each thread.
const PENDING_MAX: usize = 4096;

impl Server {
    pub(super) fn request(&mut self, key: Key, request: Request) {
        match request {
            Request::Acquire(acquire) => {
                let id = acquire.request;
                if let Err(denial) = self.acquire(key, acquire) {
                    self.deny(key, id, denial);
                }
            }
            Request::Cancel { request } => self.cancel(key, request),
            Request::Release { lease } => self.release(key, lease),
            Request::Status { request } => {
                let status = self.status();
                self.reply(key, &Reply::Status { request, status }, Vec::new());
            }
        }
    }

    pub(super) fn deny(&mut self, key: Key, request: RequestId, denial: Denial) {
        log::debug!("request {request} is denied: {denial}");
        self.reply(key, &Reply::Denied { request, denial }, Vec::new());
    }

    fn acquire(&mut self, key: Key, acquire: Acquire) -> Result<(), Denial> {
        let arrived = self.now();
        let bad = |reason: &str| Err(Denial::BadRequest { reason: reason.to_owned() });
        let Some(session) = self.sessions.arena.get(key) else { return Ok(()) };
        let uid = session.peer.uid;
        if session.pending.contains_key(&acquire.request) {
            return bad("a request of that number is pending already");
        }
        if session.pending.len() >= PENDING_MAX {
            return bad("more acquires are pending than one session may have");
        }
        if acquire.label.len() > LABEL_BYTES_MAX {
            return bad("the label is longer than 256 bytes");
        }
        let name = acquire.profile.as_ref().map_or(0, String::len);
        if name > PROFILE_NAME_BYTES_MAX {
            return bad("the profile's name is longer than 64 bytes");
        }
        if acquire.mounts.len() > MOUNTS_MAX {
            return bad("more mounts are asked for than one lease may have");
        }
        if acquire.wait_ms.is_some_and(|wait| wait > WAIT_MS_MAX) {
            return bad("the wait is longer than a day");
        }
        if !self.phase.grants() {
            return Err(Denial::Draining);
        }
        let profile = acquire.profile.as_deref().unwrap_or(DEFAULT_PROFILE);
        self.check_allowed(profile, uid)?;
        let (pool, first_use) = self.pool_for(profile, uid)?;
        self.check_quota(pool)?;
        if self.sessions.arena.get(key).is_none() {
            return Ok(());
        }
        let entry = &self.pools.entries[pool];
        if entry.recipe.authority.slices.is_some()
            && acquire.mounts.iter().any(|mount| matches!(mount, Mount::Bind { .. }))
        {
            return bad("this profile shows nothing of the client's, so it takes no bind");
        }
        let mut view = view(&acquire, &self.pools.entries[pool].writable)
            .map_err(|reason| Denial::BadRequest { reason })?;
        if view.trees.is_empty() {
            let leave = Leave::default();
            self.enqueue(key, pool, first_use, &acquire, view, Vec::new(), leave, arrived);
            return Ok(());
        }
        let leave = self.held.take(uid, view.trees.len())?;
        let ticket = self.number();
        self.ensure_template(pool).map_err(|reason| Denial::BuildFailing { reason })?;
        let order = ToTemplate::Open { ticket, trees: std::mem::take(&mut view.trees) };
        self.pools
            .order(pool, &order, Vec::new(), &mut self.scratch)
            .map_err(|error| Denial::BuildFailing { reason: error.to_string() })?;
        let request = acquire.request;
        let opening = Opening { session: key, pool, first_use, acquire, view, arrived, leave };
        self.opening.insert(ticket, opening);
        if let Some(session) = self.sessions.arena.get_mut(key) {
            session.pending.insert(request, Pending::Opening { ticket });
        }
        Ok(())
    }

    /// The pool for a profile and uid, made if need be, and whether it was.
    ///
    /// # Errors
    /// No such profile, or one that cannot be had here.
    pub(super) fn pool_for(&mut self, profile: &str, uid: u32) -> Result<(usize, bool), Denial> {
        if let Some(pool) = self.pools.find(profile, uid) {
            return Ok((pool, false));
        }
        let filters = self.filters.get(profile);
        let (Some(recipe), Some(filters)) = (self.config.profiles.get(profile), filters) else {
            let known = self.config.profiles.keys().cloned().collect();
            return Err(Denial::NoSuchProfile { asked: profile.to_owned(), known });
        };
        let pool = self
            .pools
            .add(profile, recipe, uid, self.nofile, filters)
            .map_err(|reason| Denial::BuildFailing { reason })?;
        self.tell(pool, Event::TimePassed);
        Ok((pool, true))
    }

    /// Whether this uid may ask for the profile: it, or one of its groups, is listed, or nobody is.
    fn check_allowed(&self, profile: &str, uid: u32) -> Result<(), Denial> {
        let Some(recipe) = self.config.profiles.get(profile) else { return Ok(()) };
        if recipe.allows(uid) {
            return Ok(());
        }
        Err(Denial::NotAllowed { profile: profile.to_owned(), uid })
    }

    /// Whether the pool's user may have one more lease, or wait for one.
    /// Those that are still to be granted count as well, so that asking for many at once is no way
    /// around it.
    fn check_quota(&mut self, pool: usize) -> Result<(), Denial> {
        if self.pools.entries[pool].quota == Quota::default() {
            return Ok(());
        }
        // What was asked before, in this very turn, is to be counted.
        self.settle();
        let opening = self.opening.values().filter(|opening| opening.pool == pool).count() as u32;
        let entry = &self.pools.entries[pool];
        let counts = entry.policy.counts();
        let asked = counts.waiters + opening;
        let exceeded =
            |what: &str, limit: u32| Denial::QuotaExceeded { what: what.to_owned(), limit };
        if let Some(limit) = entry.quota.leases.filter(|limit| counts.leased + asked >= *limit) {
            return Err(exceeded("leases", limit));
        }
        if let Some(limit) = entry.quota.waiters.filter(|limit| asked >= *limit) {
            return Err(exceeded("waiters", limit));
        }
        Ok(())
    }

    /// Goes on with an acquire whose mount sources are open.
    pub(super) fn opened(&mut self, ticket: u64, trees: Vec<OwnedFd>) {
        // Nobody waits for it any more when the session has closed or the request was withdrawn.
        let Some(opening) = self.opening.get(&ticket) else { return };
        let asked = opening.view.attach.iter().filter(|attach| attach.has_tree()).count();
        if trees.len() != asked {
            log::error!("a template opened {} trees, not what it was asked for", trees.len());
            let reason = "the template broke the wire's rules".to_owned();
            return self.not_opened(ticket, Denial::BuildFailing { reason });
        }
        let Some(opening) = self.opening.remove(&ticket) else { return };
        let Opening { session, pool, first_use, acquire, view, arrived, leave } = opening;
        self.enqueue(session, pool, first_use, &acquire, view, trees, leave, arrived);
    }

    /// Tells a client whose mount sources cannot be opened.
    pub(super) fn not_opened(&mut self, ticket: u64, denial: Denial) {
        let Some(opening) = self.opening.remove(&ticket) else { return };
        if let Some(session) = self.sessions.arena.get_mut(opening.session) {
            session.pending.remove(&opening.acquire.request);
        }
        self.deny(opening.session, opening.acquire.request, denial);
    }

    #[expect(clippy::too_many_arguments, reason = "all of a request on its way into the queue")]
    fn enqueue(
        &mut self,
        session: Key,
        pool: usize,
        first_use: bool,
        acquire: &Acquire,
        view: View,
        trees: Vec<OwnedFd>,
        leave: Leave,
        arrived: Time,
    ) {
        let waiter = WaiterKey(self.number());
        let request = acquire.request;
        let (wait_ms, time_ms) = (acquire.wait_ms, acquire.time_ms);
        let deadline = wait_ms.map(|wait| arrived.after(Duration::from_millis(wait)));
        let _leave = leave;
        let waiting = Waiting { session, request, arrived, wait_ms, time_ms, view, trees, _leave };
        self.waiting.insert(waiter, waiting);
        if let Some(session) = self.sessions.arena.get_mut(session) {
            session.pending.insert(request, Pending::Waiting { pool, waiter });
        }
        self.tell(pool, Event::AcquireRequested { waiter, deadline, first_use });
    }

    fn cancel(&mut self, key: Key, request: RequestId) {
        let Some(session) = self.sessions.arena.get_mut(key) else { return };
        // One that was answered meanwhile has its answer under way.
        let Some(pending) = session.pending.remove(&request) else { return };
        match pending {
            Pending::Opening { ticket } => drop(self.opening.remove(&ticket)),
            Pending::Waiting { pool, waiter } => {
                self.waiting.remove(&waiter);
                self.tell(pool, Event::WaiterLeft { waiter });
            }
        }
        self.deny(key, request, Denial::Cancelled);
    }

    /// Ends a lease of this session; another's number, or one that has ended, changes nothing.
    fn release(&mut self, key: Key, lease: LeaseId) {
        let Some(session) = self.sessions.arena.get_mut(key) else { return };
        if session.leases.remove(&lease) {
            self.end_lease(lease);
        }
    }
}
