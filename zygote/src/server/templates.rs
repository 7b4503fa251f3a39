//! Templates and the zygotes that they clone: started, heard, mourned.

use super::Server;
use super::pools::{Pools, Template, Zygote};
use super::tokens::{Key, Source};
use super::wire::{Wire, WireError, receive_bare};
use crate::diagnose;
use crate::failure::failure;
use crate::pool::{Event, SlotKey};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use std::os::fd::{AsFd, OwnedFd};
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
    pub(super) fn ensure_template(&mut self, pool: usize) -> Result<(), String> {
        if self.pools.entries[pool].template.is_some() {
            return Ok(());
        }
        self.start_template(pool).map_err(|error| {
            if let Some(key) = self.pools.entries[pool].template.take() {
                self.pools.templates.remove(key);
            }
            let reason = diagnose::advice_on_start(&error);
            log::error!("{reason}");
            reason
        })
    }

    fn start_template(&mut self, pool: usize) -> std::io::Result<()> {
        let (ours, theirs) = pair()?;
        let mut command = Command::new(OWN_BINARY);
        command.arg(crate::template::ROLE).env_clear().stdin(theirs).stdout(Stdio::null());
        command.current_dir("/");
        command.envs(std::env::var_os("ZYG_LOG").map(|filter| ("ZYG_LOG", filter)));
        let pid = command.spawn()?.id();
        let wire = Wire::new(ours, Pools::outbox_max())?;
        let key = self.pools.templates.insert(Template { pool, pid, wire, ready: false });
        let entry = &mut self.pools.entries[pool];
        entry.template = Some(key);
        entry.template_error = None;
        log::info!("template {pid} starts for profile {} and uid {}", entry.profile, entry.uid);
        let order = ToTemplate::Build(Box::new(entry.recipe.clone()));
        if let Some(template) = self.pools.templates.get(key) {
            self.watch(template.wire.socket(), Source::Template(key))?;
        }
        let ordered = self.pools.order(pool, &order, Vec::new(), &mut self.scratch);
        ordered.map_err(std::io::Error::other)
    }

    /// Orders a zygote of a pool's template. Its lifeline is made here and not there, so that nobody
    /// but this thread has this end of it: with a descriptor of the same socket a template in its
    /// user's hands could make a read here wait, and everybody with it.
    ///
    /// # Errors
    /// Why not, in words for a client.
    pub(super) fn order_spawn(&mut self, pool: usize, slot: SlotKey) -> Result<(), String> {
        let made = pair().and_then(|(ours, theirs)| {
            fcntl(&ours, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map(|_| (ours, theirs))
        });
        let (ours, theirs) =
            made.map_err(|errno| diagnose::advice(&failure(Step::Sockets, b"", errno)))?;
        let order = ToTemplate::Spawn { slot: slot.0 };
        let ordered = self.pools.order(pool, &order, vec![theirs], &mut self.scratch);
        ordered.map_err(|error: WireError| error.to_string())?;
        self.pools.entries[pool].lifelines.insert(slot, ours);
        Ok(())
    }

    pub(super) fn flush_template(&mut self, key: Key) {
        let Some(template) = self.pools.templates.get_mut(key) else { return };
        let Err(error) = template.wire.flush() else { return };
        log::debug!("orders for template {} are lost: {error}", template.pid);
        // One that is gone is heard next, and may have said why.
        if !matches!(error, WireError::Gone(_)) {
            let pool = template.pool;
            self.pools.entries[pool].template_error = Some(error.to_string());
            self.template_lost(key);
        }
    }

    pub(super) fn hear_template(&mut self, key: Key) {
        for _ in 0..MESSAGES_PER_TURN {
            let Some(template) = self.pools.templates.get(key) else { return };
            let pool = template.pool;
            match template.wire.receive(&mut self.buffer) {
                Ok(received) if received.bytes > 0 => {
                    let heard = decode(&self.buffer[..received.bytes])
                        .map_err(|error| error.to_string())
                        .and_then(|message| self.template_said(key, message, received.descriptors));
                    if let Err(rule) = heard {
                        let reason = format!("the template broke the wire's rules: {rule}");
                        self.pools.entries[pool].template_error = Some(reason);
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
    fn descriptors_lost(&mut self, pool: usize) {
        log::error!("{NO_DESCRIPTOR}");
        self.pools.entries[pool].lifelines.clear();
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
        let Some(template) = self.pools.templates.get_mut(key) else { return Ok(()) };
        let pool = template.pool;
        let first = matches!(message, FromTemplate::Ready { .. } | FromTemplate::Unable(_));
        let repeated = template.ready || self.pools.entries[pool].template_error.is_some();
        if first == repeated {
            return Err("it is ready once, and before anything else".to_owned());
        }
        let carries = matches!(message, FromTemplate::Spawned { .. } | FromTemplate::Opened { .. });
        if !carries && !descriptors.is_empty() {
            return Err("descriptors ride along where none belong".to_owned());
        }
        match message {
            FromTemplate::Ready { build_us, read_only } => {
                template.ready = true;
                let entry = &mut self.pools.entries[pool];
                log::info!("template of uid {} is ready after {build_us} µs", entry.uid);
                entry.writable.layered.retain(|path| !read_only.contains(path));
            }
            FromTemplate::Unable(failure) => {
                let advice = diagnose::advice(&failure);
                log::error!("a template cannot be prepared: {advice}");
                self.pools.entries[pool].template_error = Some(advice);
            }
            FromTemplate::Spawned { slot } => {
                return self.born(key, pool, SlotKey(slot), descriptors);
            }
            FromTemplate::SpawnFailed { slot, failure } => {
                return self.not_born(key, pool, SlotKey(slot), failure);
            }
            FromTemplate::Gone { slot } if self.ordered_of(key, pool, SlotKey(slot)) => {
                self.gone(pool, SlotKey(slot));
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
    fn ordered_of(&self, key: Key, pool: usize, slot: SlotKey) -> bool {
        self.pools.entries[pool].parents.get(&slot) == Some(&key)
    }

    /// Whether this pool's template was asked to open what the ticket stands for: another one's word
    /// must not put its own user's files before somebody else.
    fn opens(&self, pool: usize, ticket: u64) -> bool {
        self.opening.get(&ticket).is_some_and(|opening| opening.pool == pool)
    }

    fn born(
        &mut self,
        key: Key,
        pool: usize,
        slot: SlotKey,
        descriptors: Vec<OwnedFd>,
    ) -> Result<(), String> {
        let Ok([pidfd, channel]) = <[OwnedFd; 2]>::try_from(descriptors) else {
            return Err("a zygote comes with two descriptors".to_owned());
        };
        let ordered = self.ordered_of(key, pool, slot);
        let entry = &mut self.pools.entries[pool];
        if !ordered || entry.zygotes.contains_key(&slot) {
            return Err("it reports a zygote that was not ordered, or twice".to_owned());
        }
        let lifeline = entry.lifelines.remove(&slot);
        let zygote = Zygote {
            pool,
            slot,
            lifeline: None,
            channel: Some(channel),
            pidfd,
            lease: None,
            told: false,
        };
        let key = self.pools.zygotes.insert(zygote);
        self.pools.entries[pool].zygotes.insert(slot, key);
        let Some(lifeline) = lifeline else {
            // Taken for one whose descriptors were lost.
            let reason = NO_DESCRIPTOR.to_owned();
            self.tell(pool, Event::SetupFailed { slot, reason });
            return Ok(());
        };
        let watched = self.watch(&lifeline, Source::Zygote(key));
        if let Some(zygote) = self.pools.zygotes.get_mut(key) {
            zygote.lifeline = Some(lifeline);
        }
        if let Err(error) = watched {
            log::error!("failed to watch a zygote: {error}");
            self.tell(pool, Event::ZygoteDied { slot });
        }
        Ok(())
    }

    fn not_born(
        &mut self,
        key: Key,
        pool: usize,
        slot: SlotKey,
        failure: Failure,
    ) -> Result<(), String> {
        let ordered = self.ordered_of(key, pool, slot);
        let entry = &mut self.pools.entries[pool];
        if !ordered || entry.zygotes.contains_key(&slot) {
            return Err("it failed to make a zygote that was not ordered, or made".to_owned());
        }
        entry.parents.remove(&slot);
        entry.lifelines.remove(&slot);
        let reason = diagnose::advice(&failure);
        log::error!("a zygote cannot be cloned: {reason}");
        self.tell(pool, Event::SpawnFailed { slot, reason });
        Ok(())
    }

    /// Hears what init says on its lifeline: ready or unable, once, and end of file. Whatever else
    /// it says ends it.
    pub(super) fn hear_zygote(&mut self, key: Key) {
        loop {
            let Some(zygote) = self.pools.zygotes.get_mut(key) else { return };
            let (pool, slot) = (zygote.pool, zygote.slot);
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
                    self.tell(pool, Event::ZygoteReady { slot });
                }
                Lifeline::Unable(failure) => {
                    let reason = diagnose::advice(&failure);
                    log::error!("a zygote cannot be set up: {reason}");
                    self.tell(pool, Event::SetupFailed { slot, reason });
                }
            }
        }
    }

    /// Init has exited; what it leaves is on its way out.
    fn died(&mut self, key: Key) {
        let Some(zygote) = self.pools.zygotes.get_mut(key) else { return };
        let (pool, slot, lease) = (zygote.pool, zygote.slot, zygote.lease);
        if let Some(lifeline) = zygote.lifeline.take() {
            self.unwatch(&lifeline);
        }
        if let Some(lease) = lease {
            self.end_lease(lease);
        }
        self.tell(pool, Event::ZygoteDied { slot });
    }

    /// Nothing is left of a zygote.
    pub(super) fn gone(&mut self, pool: usize, slot: SlotKey) {
        let was_ordered = self.pools.entries[pool].parents.remove(&slot).is_some();
        self.pools.entries[pool].lifelines.remove(&slot);
        if let Some(key) = self.pools.entries[pool].zygotes.remove(&slot)
            && let Some(zygote) = self.pools.zygotes.remove(key)
        {
            match &zygote.lifeline {
                Some(lifeline) => self.unwatch(lifeline),
                // It may be watched instead; whoever sent it may still hold it.
                None => self.unwatch(&zygote.pidfd),
            }
            if let Some(lease) = zygote.lease {
                self.end_lease(lease);
            }
        } else if was_ordered {
            // It ended because its descriptors did not arrive.
            self.tell(pool, Event::SetupFailed { slot, reason: NO_DESCRIPTOR.to_owned() });
        }
        self.tell(pool, Event::ZygoteGone { slot });
    }

    /// The rule when a template dies: what is leased goes on, the rest ends with it.
    pub(super) fn template_lost(&mut self, key: Key) {
        let Some(template) = self.pools.templates.remove(key) else { return };
        self.unwatch(template.wire.socket());
        let pool = template.pool;
        let entry = &mut self.pools.entries[pool];
        entry.template = None;
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
        self.tell(pool, Event::TemplateLost { reason });
    }

    fn open_no_more(&mut self, pool: usize, reason: &str) {
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

    /// Looks again at templates that had more to say than one turn allows.
    pub(super) fn hear_the_unheard(&mut self) {
        for key in std::mem::take(&mut self.pools.unheard) {
            self.hear_template(key);
        }
    }
}
