//! What a client asks, checked and brought to where it is answered.

use super::Server;
use super::effects::said_denial;
use super::held::Leave;
use super::pools::Making;
use super::sessions::Pending;
use super::tokens::Key;
use super::visible::view;
use super::waiting::{Opening, Waiting, how_many};
use crate::config::DEFAULT_PROFILE;
use crate::pool::{Event, PoolKey, WaiterKey};
use std::os::fd::OwnedFd;
use std::time::Duration;
use zyg_protocol::limits::{
    ACQUIRES_MAX, DRAIN_MS_MAX, LABEL_BYTES_MAX, MOUNTS_MAX, PROFILE_NAME_BYTES_MAX,
    RESERVE_MS_MAX, WAIT_MS_MAX,
};
use zyg_protocol::message::{
    Acquire, Denial, LeaseId, Mount, Reply, Request, RequestId, ToTemplate,
};

/// Profiles that are named to whoever asks for one that is not there.
const KNOWN_MAX: usize = 100;

impl Server {
    pub(super) fn request(&mut self, key: Key, request: Request) {
        match request {
            Request::Acquire(acquire) => self.acquire_or_deny(key, acquire),
            Request::AcquireMany { acquire, count } => self.acquire_many(key, acquire, count),
            Request::Cancel { request } => self.cancel(key, request),
            Request::Release { lease } => self.release(key, lease),
            Request::Status { request } => {
                self.settle_at_once();
                let status = self.status();
                self.reply(key, &Reply::Status { request, status });
            }
            Request::Reserve { request, profile, count, ttl_ms } => {
                let reserved = self.reserve(key, profile.as_deref(), count, ttl_ms);
                match reserved {
                    Ok(floor) => self.reply(key, &Reply::Reserved { request, floor }),
                    Err(denial) => self.deny(key, request, denial),
                }
            }
            Request::Drain { request, timeout_ms } => {
                if let Err(denial) = self.drain_for(key, request, timeout_ms) {
                    self.deny(key, request, denial);
                }
            }
        }
    }

    fn acquire_or_deny(&mut self, key: Key, acquire: Acquire) {
        let id = acquire.request;
        if let Err(denial) = self.acquire(key, acquire, 1) {
            self.deny(key, id, denial);
        }
    }

    /// All of them or none, each answered under a number of its own.
    fn acquire_many(&mut self, key: Key, acquire: Acquire, count: u32) {
        let first = acquire.request;
        let numbers = first.checked_add(u64::from(count)).map(|end| first..end);
        let Some(numbers) = numbers.filter(|_| (1..=ACQUIRES_MAX).contains(&count)) else {
            let reason = format!("environments are asked for by 1 to {ACQUIRES_MAX} at once");
            return self.deny(key, first, Denial::BadRequest { reason });
        };
        let Some(session) = self.sessions.arena.get(key) else { return };
        let let_in = session.may_ask_for(count as usize);
        let Err(denial) = self.acquire(key, acquire, count) else { return };
        for request in numbers {
            match let_in {
                true => self.answer_denied(key, request, denial.clone()),
                false => self.deny(key, request, denial.clone()),
            }
        }
    }

    fn reserve(
        &mut self,
        key: Key,
        profile: Option<&str>,
        count: u32,
        ttl_ms: u64,
    ) -> Result<u32, Denial> {
        let Some(session) = self.sessions.arena.get(key) else { return Err(Denial::Cancelled) };
        let uid = session.peer.uid;
        if ttl_ms > RESERVE_MS_MAX {
            let reason = "the reservation is for longer than a day".to_owned();
            return Err(Denial::BadRequest { reason });
        }
        if !self.phase.grants() {
            return Err(Denial::Draining);
        }
        let profile = profile.unwrap_or(DEFAULT_PROFILE);
        self.check_allowed(profile, uid)?;
        let (pool, _) = self.pool_for(profile, uid)?;
        let (now, ttl) = (self.now(), Duration::from_millis(ttl_ms));
        let floor = self.pools.policy.reserve(now, pool, count, ttl);
        log::info!("{floor} environments of profile {profile} are reserved for uid {uid}");
        self.tell(Event::TimePassed);
        Ok(floor)
    }

    /// Begins to drain, or goes on with it, and answers when it is over.
    fn drain_for(
        &mut self,
        key: Key,
        request: RequestId,
        timeout_ms: Option<u64>,
    ) -> Result<(), Denial> {
        let Some(session) = self.sessions.arena.get(key) else { return Ok(()) };
        let uid = session.peer.uid;
        if uid != 0 && uid != self.uid {
            return Err(Denial::NotYours { uid, serves: self.uid });
        }
        if timeout_ms.is_some_and(|timeout| timeout > DRAIN_MS_MAX) {
            let reason = "the timeout is longer than a day".to_owned();
            return Err(Denial::BadRequest { reason });
        }
        if self.drained_for.iter().any(|(session, _)| *session == key) {
            let reason = "the session waits for the end of the server already".to_owned();
            return Err(Denial::BadRequest { reason });
        }
        self.drained_for.retain(|(session, _)| self.sessions.arena.get(*session).is_some());
        log::info!("{} asks to drain", self.told(key));
        self.drained_for.push((key, request));
        self.drain(timeout_ms.map(Duration::from_millis));
        Ok(())
    }

    pub(super) fn deny(&mut self, key: Key, request: RequestId, denial: Denial) {
        log::debug!("request {request} is denied: {denial}");
        self.reply(key, &Reply::Denied { request, denial });
    }

    /// The same for an acquire that was let in.
    pub(super) fn answer_denied(&mut self, key: Key, request: RequestId, denial: Denial) {
        log::debug!("request {request} is denied: {denial}");
        self.answer(key, &Reply::Denied { request, denial });
    }

    /// Brings `count` environments alike into the queue as one, or on their way to it: under the
    /// acquire's number and those that follow it.
    fn acquire(&mut self, key: Key, acquire: Acquire, count: u32) -> Result<(), Denial> {
        let arrived = self.now();
        let first = acquire.request;
        let requests = first..=first.saturating_add(u64::from(count.saturating_sub(1)));
        let bad = |reason: &str| Err(Denial::BadRequest { reason: reason.to_owned() });
        let Some(session) = self.sessions.arena.get(key) else { return Ok(()) };
        let uid = session.peer.uid;
        if requests.clone().any(|request| session.pending.contains_key(&request)) {
            return bad("a request of that number is pending already");
        }
        if !session.may_ask_for(count as usize) {
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
        let (newest, first_use) = self.pool_for(profile, uid)?;
        let pool = self.pools.policy.in_force(newest);
        if let Some(why) = self.pools.policy.too_many(pool, count) {
            return Err(said_denial(why, count, None));
        }
        let entry = &self.pools[pool];
        if entry.recipe.authority.slices.is_some()
            && acquire.mounts.iter().any(|mount| matches!(mount, Mount::Bind { .. }))
        {
            return bad("this profile shows nothing of the client's, so it takes no bind");
        }
        let mut view = view(&acquire, &self.pools[pool].writable)
            .map_err(|reason| Denial::BadRequest { reason })?;
        let asked = std::mem::take(&mut view.trees);
        let mut opening = Opening {
            session: key,
            requests,
            pool,
            first_use,
            acquire,
            view,
            trees: Vec::new(),
            ordered: 0,
            arrived,
            leave: Leave::default(),
        };
        if asked.is_empty() {
            self.enqueue(opening);
            return Ok(());
        }
        // To start its template would be a try as well.
        let now = self.now();
        if self.pools[pool].template.is_none()
            && let Some(reason) = self.pools.policy.refuses(now, pool)
        {
            return Err(Denial::BuildFailing { reason: reason.to_owned() });
        }
        opening.leave = self.held.take(uid, asked.len() * count as usize)?;
        let ticket = self.number();
        self.ensure_template(pool).map_err(|reason| Denial::BuildFailing { reason })?;
        let order = ToTemplate::Open { ticket, trees: asked };
        for _ in 0..count {
            self.order(pool, &order, &[])
                .map_err(|error| Denial::BuildFailing { reason: error.to_string() })?;
            opening.ordered += 1;
        }
        self.note_pending(&opening, Pending::Opening { ticket });
        self.opening.insert(ticket, opening);
        Ok(())
    }

    fn note_pending(&mut self, opening: &Opening, pending: Pending) {
        if let Some(session) = self.sessions.arena.get_mut(opening.session) {
            session.pending.extend(opening.requests.clone().map(|request| (request, pending)));
        }
    }

    /// The latest pool for a profile and uid, made if need be, and whether it was.
    ///
    /// # Errors
    /// No such profile, or one that cannot be had here.
    pub(super) fn pool_for(&mut self, profile: &str, uid: u32) -> Result<(PoolKey, bool), Denial> {
        if let Some(pool) = self.pools.find(profile, uid) {
            return Ok((pool, false));
        }
        if !self.config.profiles.contains_key(profile) {
            // As many as surely fit into a message.
            let known = self.config.profiles.keys().take(KNOWN_MAX).cloned().collect();
            return Err(Denial::NoSuchProfile { asked: profile.to_owned(), known });
        }
        let pool = self.add_pool(profile, uid);
        Ok((pool.map_err(|reason| Denial::BuildFailing { reason })?, true))
    }

    /// Makes a pool of the configuration's present profile of that name.
    ///
    /// # Errors
    /// Why there is none, in words for a client.
    pub(super) fn add_pool(&mut self, name: &str, uid: u32) -> Result<PoolKey, String> {
        let (profile, filters) = (self.config.profiles.get(name), self.filters.get(name));
        let (Some(profile), Some(filters)) = (profile, filters) else {
            return Err(format!("there is no profile {name} any more"));
        };
        let sleepless = self.is_sleepless(uid);
        let (nofile, socket, now) = (self.nofile, self.socket_path.as_path(), self.now());
        let making = Making { name, profile, filters, uid, nofile, sleepless, socket, now };
        let pool = self.pools.add(making)?;
        self.tell(Event::TimePassed);
        Ok(pool)
    }

    /// Whether this uid's pools are warm however long it has not asked.
    pub(super) fn is_sleepless(&self, uid: u32) -> bool {
        uid == self.uid || self.preforked.contains(&uid)
    }

    /// Whether this uid may ask for the profile: it, or one of its groups, is listed, or nobody is.
    fn check_allowed(&self, profile: &str, uid: u32) -> Result<(), Denial> {
        let Some(recipe) = self.config.profiles.get(profile) else { return Ok(()) };
        if recipe.allows(uid) {
            return Ok(());
        }
        Err(Denial::NotAllowed { profile: profile.to_owned(), uid })
    }

    /// Goes on with an acquire whose mount sources are open.
    pub(super) fn opened(&mut self, ticket: u64, trees: Vec<OwnedFd>) {
        // Nobody waits for it any more when the session has closed or the request was withdrawn.
        let Some(opening) = self.opening.get_mut(&ticket) else { return };
        let asked = opening.view.attach.iter().filter(|attach| attach.has_tree()).count();
        if trees.len() != asked {
            log::error!("a template opened {} trees, not what it was asked for", trees.len());
            let reason = "the template broke the wire's rules".to_owned();
            return self.not_opened(ticket, Denial::BuildFailing { reason });
        }
        opening.trees.extend(trees);
        opening.ordered = opening.ordered.saturating_sub(1);
        if opening.ordered == 0
            && let Some(opening) = self.opening.remove(&ticket)
        {
            self.enqueue(opening);
        }
    }

    /// Tells a client whose mount sources cannot be opened.
    pub(super) fn not_opened(&mut self, ticket: u64, denial: Denial) {
        let Some(opening) = self.opening.remove(&ticket) else { return };
        self.deny_pending(opening.session, opening.requests, &denial);
    }

    /// Denies what is not answered yet of an acquire that was let in.
    fn deny_pending(
        &mut self,
        key: Key,
        requests: impl IntoIterator<Item = RequestId>,
        denial: &Denial,
    ) {
        for request in requests {
            if let Some(session) = self.sessions.arena.get_mut(key) {
                session.pending.remove(&request);
            }
            self.answer_denied(key, request, denial.clone());
        }
    }

    fn enqueue(&mut self, opening: Opening) {
        let waiter = WaiterKey(self.number());
        self.note_pending(&opening, Pending::Waiting { waiter });
        let Opening {
            session,
            requests,
            pool,
            first_use,
            acquire,
            view,
            trees,
            arrived,
            leave,
            ..
        } = opening;
        let (wait_ms, time_ms) = (acquire.wait_ms, acquire.time_ms);
        // From here on it waits for an environment, and not for its mount sources any more.
        let deadline = wait_ms.map(|wait| self.now().after(Duration::from_millis(wait)));
        let (count, _leave) = (how_many(&requests), leave);
        let waiting = Waiting { session, requests, arrived, wait_ms, time_ms, view, trees, _leave };
        self.waiting.insert(waiter, waiting);
        self.tell(Event::AcquireRequested { pool, waiter, count, deadline, first_use });
    }

    /// Withdraws an acquire: of several at once, all, since they are had together or not at all.
    fn cancel(&mut self, key: Key, request: RequestId) {
        let Some(session) = self.sessions.arena.get(key) else { return };
        // One that was answered meanwhile has its answer under way.
        let Some(pending) = session.pending.get(&request).copied() else { return };
        let requests = match pending {
            Pending::Opening { ticket } => {
                self.opening.remove(&ticket).map(|opening| opening.requests)
            }
            Pending::Waiting { waiter } => {
                self.tell(Event::WaiterLeft { waiter });
                self.waiting.remove(&waiter).map(|waiting| waiting.requests)
            }
        };
        self.deny_pending(key, requests.unwrap_or(request..=request), &Denial::Cancelled);
    }

    /// Ends a lease of this session; another's number, or one that has ended, changes nothing.
    fn release(&mut self, key: Key, lease: LeaseId) {
        let Some(session) = self.sessions.arena.get_mut(key) else { return };
        if session.leases.remove(&lease) {
            self.end_lease(lease);
        }
    }
}
