//! Templates and the zygotes that they clone: started, heard, mourned.

use super::Server;
use super::pools::{Ordered, Pools, TEMPLATE_SILENCE_MAX, Template, Zygote};
use super::tokens::{Key, Source};
use super::wire::{Wire, WireError, receive_bare};
use crate::diagnose;
use crate::failure::failure;
use crate::pool::{Event, PoolKey, SlotKey, Time};
use crate::sys::process;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::Pid;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::{Command, Stdio};
use zyg_protocol::codec::decode;
use zyg_protocol::message::{
    Denial, Failure, FromTemplate, Lifeline, Step, ToTemplate, plain_text,
};
use zyg_protocol::socket::{ReceiveError, pair};

/// Messages heard from one template in one turn.
const MESSAGES_PER_TURN: usize = 256;

/// Why an environment that a template has made does not get to a client.
pub(super) const NO_DESCRIPTOR: &str = "the server has no descriptor left to hand an environment \
                                        over: raise its ulimit -n or LimitNOFILE=";

/// What a template is started as: our own binary in another role.
const OWN_BINARY: &str = "/proc/self/exe";

impl Server {
    /// Starts a pool's template unless it has one.
    ///
    /// # Errors
    /// Why not, in words for a client.
    pub(super) fn ensure_template(&mut self, pool: PoolKey) -> Result<(), String> {
        if self.pools[pool].template.is_some() {
            return Ok(());
        }
        self.start_template(pool).map_err(|error| {
            if let Some(key) = self.pools[pool].template.take() {
                self.pools.templates.remove(key);
            }
            let reason = diagnose::advice_on_start(&error);
            log::error!("{reason}");
            reason
        })
    }

    fn start_template(&mut self, pool: PoolKey) -> std::io::Result<()> {
        let (ours, theirs) = pair()?;
        let mut command = Command::new(OWN_BINARY);
        command.arg(crate::template::ROLE).env_clear().stdin(theirs).stdout(Stdio::null());
        command.current_dir("/");
        command.envs(std::env::var_os("ZYG_LOG").map(|filter| ("ZYG_LOG", filter)));
        let pid = command.spawn()?.id();
        // Nobody has reaped it yet, so the number is its own.
        let pidfd = process::open(Pid::from_raw(pid as i32))?;
        let (wire, now) = (Wire::new(ours, Pools::outbox_max())?, self.now());
        let template =
            Template { pool, pid, pidfd, wire, ready: false, owes: 0, silent_since: now };
        let key = self.pools.templates.insert(template);
        let entry = &mut self.pools[pool];
        entry.template = Some(key);
        entry.template_error = None;
        log::info!("template {pid} starts for profile {} and uid {}", entry.profile, entry.uid);
        let order = ToTemplate::Build(Box::new(entry.recipe.clone()));
        if let Some(template) = self.pools.templates.get_mut(key) {
            template.wire.watch(self.poll.registry(), Source::Template(key).token())?;
        }
        self.order(pool, &order, &[]).map_err(std::io::Error::other)
    }

    /// Sends an order to a pool's template, with what rides along. A pool without one gets nothing;
    /// nor does one whose template has just ended, which is yet to be heard of and may have said why.
    ///
    /// # Errors
    /// Those of the wire.
    pub(super) fn order(
        &mut self,
        pool: PoolKey,
        order: &ToTemplate,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), WireError> {
        let now = self.now();
        let template = self.pools[pool].template.and_then(|key| self.pools.templates.get_mut(key));
        let Some(template) = template else { return Ok(()) };
        // The end of a zygote is told whether it was ordered or not.
        if !matches!(order, ToTemplate::Destroy { .. }) {
            if template.owes == 0 {
                template.silent_since = now;
            }
            template.owes = template.owes.saturating_add(1);
        }
        match template.wire.send(order, descriptors, self.poll.registry(), &mut self.scratch) {
            Err(WireError::Gone(_)) => Ok(()),
            sent => sent,
        }
    }

    /// Orders a zygote of a pool's template. Its lifeline is made here and not there, so that nobody
    /// but this thread has this end of it: with a descriptor of the same socket a template in its
    /// user's hands could make a read here wait, and everybody with it.
    ///
    /// # Errors
    /// Why not, in words for a client.
    pub(super) fn order_spawn(&mut self, pool: PoolKey, slot: SlotKey) -> Result<(), String> {
        let made = pair().and_then(|(ours, theirs)| {
            fcntl(&ours, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map(|_| (ours, theirs))
        });
        let (ours, theirs) =
            made.map_err(|errno| diagnose::advice(&failure(Step::Sockets, b"", errno)))?;
        let urgent = self.pools.policy.counts(pool).waiters > 0;
        let order = ToTemplate::Spawn { slot: slot.0, urgent };
        self.order(pool, &order, &[theirs.as_fd()]).map_err(|error| error.to_string())?;
        let Some(parent) = self.pools[pool].template else { return Ok(()) };
        let ordered = Ordered { pool, parent, lifeline: Some(ours), zygote: None };
        self.pools.ordered.insert(slot, ordered);
        Ok(())
    }

    pub(super) fn flush_template(&mut self, key: Key) {
        let Some(template) = self.pools.templates.get_mut(key) else { return };
        let Err(error) = template.wire.flush(self.poll.registry()) else { return };
        log::debug!("orders for template {} are lost: {error}", template.pid);
        // One that is gone is heard next, and may have said why.
        if !matches!(error, WireError::Gone(_)) {
            let pool = template.pool;
            self.pools[pool].template_error = Some(error.to_string());
            self.template_lost(key);
        }
    }

    pub(super) fn hear_template(&mut self, key: Key) {
        for _ in 0..MESSAGES_PER_TURN {
            let Some(template) = self.pools.templates.get(key) else { return };
            let pool = template.pool;
            match template.wire.receive(&mut self.buffer) {
                Ok(received) if received.bytes > 0 => {
                    self.heard_from(key);
                    let heard = decode(&self.buffer[..received.bytes])
                        .map_err(|error| error.to_string())
                        .and_then(|message| self.template_said(key, message, received.descriptors));
                    if let Err(rule) = heard {
                        let reason = format!("the template broke the wire's rules: {rule}");
                        self.pools[pool].template_error = Some(reason);
                        return self.template_lost(key);
                    }
                }
                Err(ReceiveError::WouldBlock) => return,
                // It left with orders unread; what it said before that is queued behind this error,
                // which is told once (unix(7)).
                Err(ReceiveError::Os(Errno::ECONNRESET)) => {}
                Err(ReceiveError::TooManyDescriptors) => self.descriptors_lost(pool),
                Ok(_) | Err(_) => return self.template_lost(key),
            }
            self.settle();
        }
        // Edge-triggered readiness would not come again for what is unread: look again next turn.
        self.pools.unheard.push(key);
    }

    /// A template's message came, and the server was at its limit: what rode along is closed. A
    /// zygote whose they were ends with its lifeline, and [`Self::gone`] tells why. Whose they were
    /// is not known any more, so that all zygotes end that are not reported yet, and all acquires
    /// whose mount sources are being opened must ask again.
    fn descriptors_lost(&mut self, pool: PoolKey) {
        log::error!("{NO_DESCRIPTOR}");
        for ordered in self.pools.ordered.values_mut().filter(|ordered| ordered.pool == pool) {
            ordered.lifeline = None;
        }
        self.open_no_more(pool, NO_DESCRIPTOR);
    }

    /// Takes note of what a template says. One may be in its user's hands, so it is believed about
    /// what it was asked alone, and only once.
    ///
    /// # Errors
    /// The rule that it breaks, in words for a client.
    fn template_said(
        &mut self,
        key: Key,
        message: FromTemplate,
        descriptors: Vec<OwnedFd>,
    ) -> Result<(), String> {
        let Some(template) = self.pools.templates.get(key) else { return Ok(()) };
        let pool = template.pool;
        let first = matches!(message, FromTemplate::Ready { .. } | FromTemplate::Unable(_));
        let repeated = template.ready || self.pools[pool].template_error.is_some();
        if first == repeated {
            return Err("it is ready once, and before anything else".to_owned());
        }
        let carries = matches!(message, FromTemplate::Spawned { .. } | FromTemplate::Opened { .. });
        if !carries && !descriptors.is_empty() {
            return Err("descriptors ride along where none belong".to_owned());
        }
        let Some(template) = self.pools.templates.get_mut(key) else { return Ok(()) };
        if !matches!(message, FromTemplate::Gone { .. }) {
            template.owes = template.owes.saturating_sub(1);
        }
        match message {
            FromTemplate::Ready { build_us, read_only } => {
                template.ready = true;
                let entry = &mut self.pools[pool];
                log::info!("template of uid {} is ready after {build_us} µs", entry.uid);
                entry.writable.layered.retain(|path| !read_only.contains(path));
            }
            FromTemplate::Unable(failure) => {
                let advice = diagnose::advice(&failure);
                log::error!("a template cannot be prepared: {advice}");
                self.pools[pool].template_error = Some(advice);
            }
            FromTemplate::Spawned { slot } => {
                return self.born(key, SlotKey(slot), descriptors);
            }
            FromTemplate::SpawnFailed { slot, failure } => {
                return self.not_born(key, SlotKey(slot), failure);
            }
            FromTemplate::Gone { slot } if self.ordered_of(key, SlotKey(slot)) => {
                self.gone(SlotKey(slot));
            }
            FromTemplate::Opened { ticket } if self.opens(pool, ticket) => {
                self.opened(ticket, descriptors);
            }
            FromTemplate::OpenFailed { ticket, failure } if self.opens(pool, ticket) => {
                let Failure { subject, errno, .. } = failure;
                let path = plain_text(&subject);
                let reason = std::io::Error::from_raw_os_error(errno).to_string();
                self.not_opened(ticket, Denial::MountRefused { path, reason });
            }
            // It was told before that it had failed.
            FromTemplate::Gone { .. } => {}
            // Nobody waits for it any more, or it never was this template's to answer.
            FromTemplate::Opened { .. } | FromTemplate::OpenFailed { .. } => {}
        }
        Ok(())
    }

    /// Whether this very template was told to fill the slot, and something may be left in it.
    fn ordered_of(&self, key: Key, slot: SlotKey) -> bool {
        self.pools.ordered.get(&slot).is_some_and(|ordered| ordered.parent == key)
    }

    /// Whether this pool's template was asked to open what the ticket stands for: another one's word
    /// must not put its own user's files before somebody else.
    fn opens(&self, pool: PoolKey, ticket: u64) -> bool {
        self.opening.get(&ticket).is_some_and(|opening| opening.pool == pool)
    }

    fn born(
        &mut self,
        parent: Key,
        slot: SlotKey,
        descriptors: Vec<OwnedFd>,
    ) -> Result<(), String> {
        let Ok([pidfd, channel]) = <[OwnedFd; 2]>::try_from(descriptors) else {
            return Err("a zygote comes with two descriptors".to_owned());
        };
        let ordered = self.pools.ordered.get_mut(&slot);
        let Some(ordered) = ordered.filter(|it| it.parent == parent && it.zygote.is_none()) else {
            return Err("it reports a zygote that was not ordered, or twice".to_owned());
        };
        let lifeline = ordered.lifeline.take();
        let (channel, lease) = (Some(channel), None);
        let zygote = Zygote { slot, lifeline: None, channel, pidfd, lease, told: false };
        let key = self.pools.zygotes.insert(zygote);
        ordered.zygote = Some(key);
        let Some(lifeline) = lifeline else {
            // Taken for one whose descriptors were lost.
            let reason = NO_DESCRIPTOR.to_owned();
            self.tell(Event::SetupFailed { slot, reason });
            return Ok(());
        };
        let watched = self.watch(&lifeline, Source::Zygote(key));
        if let Some(zygote) = self.pools.zygotes.get_mut(key) {
            zygote.lifeline = Some(lifeline);
        }
        if let Err(error) = watched {
            log::error!("failed to watch a zygote: {error}");
            self.tell(Event::ZygoteDied { slot });
        }
        Ok(())
    }

    fn not_born(&mut self, parent: Key, slot: SlotKey, failure: Failure) -> Result<(), String> {
        let ordered = self.pools.ordered.get(&slot);
        if ordered.is_none_or(|it| it.parent != parent || it.zygote.is_some()) {
            return Err("it failed to make a zygote that was not ordered, or made".to_owned());
        }
        self.pools.ordered.remove(&slot);
        let reason = diagnose::advice(&failure);
        log::error!("a zygote cannot be cloned: {reason}");
        self.tell(Event::SpawnFailed { slot, reason });
        Ok(())
    }

    /// Hears what init says on its lifeline: ready or unable, once, and end of file. Whatever else
    /// it says ends it.
    pub(super) fn hear_zygote(&mut self, key: Key) {
        loop {
            let Some(zygote) = self.pools.zygotes.get_mut(key) else { return };
            let slot = zygote.slot;
            let Some(lifeline) = &zygote.lifeline else { return };
            let message = match receive_bare(lifeline.as_fd(), &mut self.buffer) {
                Ok(bytes) if bytes > 0 => decode(&self.buffer[..bytes]).ok(),
                Err(Errno::EAGAIN) => return,
                Ok(_) | Err(_) => None,
            };
            let Some(message) = message.filter(|_| !zygote.told) else {
                return self.died(key);
            };
            zygote.told = true;
            match message {
                Lifeline::Ready { spawn_us } => {
                    log::debug!("slot {:#x} is warm after {spawn_us} µs", slot.0);
                    self.tell(Event::ZygoteReady { slot });
                }
                Lifeline::Unable(failure) => {
                    let reason = diagnose::advice(&failure);
                    log::error!("a zygote cannot be set up: {reason}");
                    self.tell(Event::SetupFailed { slot, reason });
                }
            }
        }
    }

    /// Init has exited; what it leaves is on its way out.
    fn died(&mut self, key: Key) {
        let Some(zygote) = self.pools.zygotes.get_mut(key) else { return };
        let (slot, lease) = (zygote.slot, zygote.lease);
        if let Some(lifeline) = zygote.lifeline.take() {
            self.unwatch(&lifeline);
        }
        if let Some(lease) = lease {
            self.end_lease(lease);
        }
        self.tell(Event::ZygoteDied { slot });
    }

    /// Nothing is left of a zygote.
    pub(super) fn gone(&mut self, slot: SlotKey) {
        let ordered = self.pools.ordered.remove(&slot);
        let zygote = ordered.as_ref().and_then(|ordered| ordered.zygote);
        if let Some(zygote) = zygote.and_then(|key| self.pools.zygotes.remove(key)) {
            match &zygote.lifeline {
                Some(lifeline) => self.unwatch(lifeline),
                // It may be watched instead; whoever sent it may still hold it.
                None => self.unwatch(&zygote.pidfd),
            }
            if let Some(lease) = zygote.lease {
                self.end_lease(lease);
            }
        } else if ordered.is_some() {
            // It ended because its descriptors did not arrive.
            self.tell(Event::SetupFailed { slot, reason: NO_DESCRIPTOR.to_owned() });
        }
        self.tell(Event::ZygoteGone { slot });
    }

    /// The rule when a template dies: what is leased goes on, the rest ends with it.
    pub(super) fn template_lost(&mut self, key: Key) {
        let Some(template) = self.pools.templates.remove(key) else { return };
        self.unwatch(template.wire.socket());
        let pool = template.pool;
        let entry = &mut self.pools[pool];
        if entry.template == Some(key) {
            entry.template = None;
        }
        let reason = entry.template_error.take().unwrap_or_else(|| {
            format!(
                "the template (process {}) died unexpectedly; see the server's log",
                template.pid
            )
        });
        log::error!(
            "lost the template of profile {} and uid {}: {reason}",
            entry.profile,
            entry.uid
        );
        self.open_no_more(pool, &reason);
        self.tell(Event::TemplateLost { pool, reason });
    }

    fn open_no_more(&mut self, pool: PoolKey, reason: &str) {
        let tickets: Vec<u64> = self
            .opening
            .iter()
            .filter(|(_, opening)| opening.pool == pool)
            .map(|(ticket, _)| *ticket)
            .collect();
        for ticket in tickets {
            self.not_opened(ticket, Denial::BuildFailing { reason: reason.to_owned() });
        }
    }

    fn heard_from(&mut self, key: Key) {
        let now = self.now();
        if let Some(template) = self.pools.templates.get_mut(key) {
            template.silent_since = now;
        }
    }

    /// When a template will have owed an answer for too long.
    pub(super) fn next_silence(&self) -> Option<Time> {
        let owing = self.pools.templates.iter().filter(|(_, template)| template.owes > 0);
        owing.map(|(_, template)| template.silent_since.after(TEMPLATE_SILENCE_MAX)).min()
    }

    /// Gives up templates that answer nothing any more: stopped, or stuck in the kernel. What they
    /// had made ends or lives on as if they had died.
    pub(super) fn give_up_silent(&mut self, now: Time) {
        let silent = |template: &Template| {
            template.owes > 0 && template.silent_since.after(TEMPLATE_SILENCE_MAX) <= now
        };
        let templates = self.pools.templates.iter().filter(|(_, template)| silent(template));
        let keys: Vec<Key> = templates.map(|(key, _)| key).collect();
        for key in keys {
            let Some(template) = self.pools.templates.get(key) else { continue };
            let (pool, pid) = (template.pool, template.pid);
            let seconds = TEMPLATE_SILENCE_MAX.as_secs();
            let reason = format!("the template (process {pid}) has not answered for {seconds} s");
            // Of another user it may not be ours to end; then it ends with the server.
            if let Err(errno) = process::kill(template.pidfd.as_fd()) {
                log::warn!("template {pid} is left as it is: {errno}");
            }
            self.pools[pool].template_error = Some(reason);
            self.template_lost(key);
        }
    }

    /// Looks again at templates that had more to say than one turn allows.
    pub(super) fn hear_the_unheard(&mut self) {
        for key in std::mem::take(&mut self.pools.unheard) {
            self.hear_template(key);
        }
    }
}
