//! Templates and the zygotes that they clone: started, heard, mourned.

use super::Server;
use super::pools::{Pools, Template, Zygote};
use super::tokens::{Key, Source};
use super::wire::Wire;
use crate::diagnose;
use crate::pool::{Event, SlotKey};
use nix::errno::Errno;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Command, Stdio};
use zyg_protocol::codec::decode;
use zyg_protocol::message::{Denial, Failure, FromTemplate, Lifeline, ToTemplate};
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
        let key = self.pools.templates.insert(Template { pool, pid, wire });
        let entry = &mut self.pools.entries[pool];
        entry.template = Some(key);
        entry.template_error = None;
        log::info!("template {pid} starts for profile {} and uid {}", entry.profile, entry.uid);
        let order = ToTemplate::Build(Box::new(entry.recipe.clone()));
        if let Some(template) = self.pools.templates.get(key) {
            self.watch(template.wire.socket(), Source::Template(key))?;
        }
        self.pools.order(pool, &order, &mut self.scratch).map_err(std::io::Error::other)
    }

    pub(super) fn flush_template(&mut self, key: Key) {
        let Some(template) = self.pools.templates.get_mut(key) else { return };
        if let Err(error) = template.wire.flush() {
            // It is heard next, and may have said why.
            log::debug!("orders for template {} are lost: {error}", template.pid);
        }
    }

    pub(super) fn hear_template(&mut self, key: Key) {
        for _ in 0..MESSAGES_PER_TURN {
            let Some(template) = self.pools.templates.get(key) else { return };
            let pool = template.pool;
            match template.wire.receive(&mut self.buffer) {
                Ok(received) if received.bytes > 0 => {
                    match decode(&self.buffer[..received.bytes]) {
                        Ok(message) => self.template_said(pool, message, received.descriptors),
                        Err(error) => {
                            log::error!("a template broke the wire's rules: {error}");
                            return self.template_lost(key);
                        }
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
    /// zygote whose lifeline that was ends, and [`Self::gone`] tells why. Which mount sources they
    /// were is not known any more, so that all acquires whose sources are being opened must ask
    /// again.
    fn descriptors_lost(&mut self, pool: usize) {
        log::error!("{NO_DESCRIPTOR}");
        self.open_no_more(pool, NO_DESCRIPTOR);
    }

    fn template_said(&mut self, pool: usize, message: FromTemplate, descriptors: Vec<OwnedFd>) {
        match message {
            FromTemplate::Ready { build_us, read_only } => {
                let entry = &mut self.pools.entries[pool];
                log::info!("template of uid {} is ready after {build_us} µs", entry.uid);
                entry.writable.layered.retain(|path| !read_only.contains(path));
            }
            FromTemplate::Unable(failure) => {
                let advice = diagnose::advice(&failure);
                log::error!("a template cannot be prepared: {advice}");
                self.pools.entries[pool].template_error = Some(advice);
            }
            FromTemplate::Spawned { slot } => self.born(pool, SlotKey(slot), descriptors),
            FromTemplate::SpawnFailed { slot, failure } => {
                let reason = diagnose::advice(&failure);
                log::error!("a zygote cannot be cloned: {reason}");
                self.pools.entries[pool].parents.remove(&SlotKey(slot));
                self.tell(pool, Event::SpawnFailed { slot: SlotKey(slot), reason });
            }
            FromTemplate::Gone { slot } => self.gone(pool, SlotKey(slot)),
            FromTemplate::Opened { ticket } if self.opens(pool, ticket) => {
                self.opened(ticket, descriptors);
            }
            FromTemplate::OpenFailed { ticket, failure } if self.opens(pool, ticket) => {
                let Failure { subject, errno, .. } = failure;
                let path = String::from_utf8_lossy(&subject).into_owned();
                let reason = std::io::Error::from_raw_os_error(errno).to_string();
                self.not_opened(ticket, Denial::MountRefused { path, reason });
            }
            // Nobody waits for it any more, or it never was this template's to answer.
            FromTemplate::Opened { .. } | FromTemplate::OpenFailed { .. } => {}
        }
    }

    /// Whether this pool's template was asked to open what the ticket stands for: another one's word
    /// must not put its own user's files before somebody else.
    fn opens(&self, pool: usize, ticket: u64) -> bool {
        self.opening.get(&ticket).is_some_and(|opening| opening.pool == pool)
    }

    fn born(&mut self, pool: usize, slot: SlotKey, descriptors: Vec<OwnedFd>) {
        let Ok([pidfd, lifeline, channel]) = <[OwnedFd; 3]>::try_from(descriptors) else {
            log::error!("a zygote came without its three descriptors");
            return self.tell(pool, Event::ZygoteDied { slot });
        };
        let entry = &self.pools.entries[pool];
        // A template may be in its user's hands: what was not ordered of it is not kept for it.
        if !entry.parents.contains_key(&slot) || entry.zygotes.contains_key(&slot) {
            log::error!("a template reported a zygote that was not ordered, or twice");
            return;
        }
        let zygote =
            Zygote { pool, slot, lifeline: None, channel: Some(channel), pidfd, lease: None };
        let key = self.pools.zygotes.insert(zygote);
        self.pools.entries[pool].zygotes.insert(slot, key);
        let nonblocking = nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK);
        let watched = nix::fcntl::fcntl(&lifeline, nonblocking)
            .map_err(std::io::Error::from)
            .and_then(|_| self.watch(&lifeline, Source::Zygote(key)));
        if let Some(zygote) = self.pools.zygotes.get_mut(key) {
            zygote.lifeline = Some(lifeline);
        }
        if let Err(error) = watched {
            log::error!("failed to watch a zygote: {error}");
            self.tell(pool, Event::ZygoteDied { slot });
        }
    }

    /// Hears what init says on its lifeline: ready, unable, or end of file.
    pub(super) fn hear_zygote(&mut self, key: Key) {
        loop {
            let Some(zygote) = self.pools.zygotes.get(key) else { return };
            let (pool, slot) = (zygote.pool, zygote.slot);
            let Some(lifeline) = &zygote.lifeline else { return };
            let received = zyg_protocol::socket::receive(lifeline.as_fd(), &mut self.buffer);
            let message = match received {
                Ok(received) if received.bytes > 0 => decode(&self.buffer[..received.bytes]).ok(),
                Err(ReceiveError::WouldBlock) => return,
                Ok(_) | Err(_) => None,
            };
            match message {
                Some(Lifeline::Ready { spawn_us }) => {
                    log::debug!("slot {:#x} is warm after {spawn_us} µs", slot.0);
                    self.tell(pool, Event::ZygoteReady { slot });
                }
                Some(Lifeline::Unable(failure)) => {
                    let reason = diagnose::advice(&failure);
                    log::error!("a zygote cannot be set up: {reason}");
                    self.tell(pool, Event::SetupFailed { slot, reason });
                }
                None => return self.died(key),
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
        if let Some(key) = self.pools.entries[pool].zygotes.remove(&slot)
            && let Some(zygote) = self.pools.zygotes.remove(key)
        {
            if let Some(lifeline) = &zygote.lifeline {
                self.unwatch(lifeline);
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

    /// Ends a zygote that no template can kill, and watches for its end. One that is stopped would
    /// not see the end of its lifeline, so it is killed as well, where the server may.
    pub(super) fn destroy_orphan(&mut self, key: Key) {
        let Some(zygote) = self.pools.zygotes.get_mut(key) else { return };
        // Only with authority that the template had itself: its user may have taken hold of it and
        // sent the pidfd of somebody else's process, for a server that runs as root to kill.
        if self.pools.entries[zygote.pool].uid == self.uid
            && let Err(errno) = crate::sys::process::kill(zygote.pidfd.as_fd())
        {
            log::debug!("an orphaned zygote is left to its lifeline: {errno}");
        }
        if let Some(lifeline) = zygote.lifeline.take() {
            self.unwatch(&lifeline);
        }
        let Some(zygote) = self.pools.zygotes.get(key) else { return };
        match self.watch(&zygote.pidfd, Source::Remains(key)) {
            Ok(()) => {}
            // Ordered twice: it is watched already.
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => {
                log::error!("failed to watch an orphaned zygote: {error}");
                let (pool, slot) = (zygote.pool, zygote.slot);
                self.gone(pool, slot);
            }
        }
    }

    pub(super) fn remains_gone(&mut self, key: Key) {
        let Some(zygote) = self.pools.zygotes.get(key) else { return };
        let (pool, slot) = (zygote.pool, zygote.slot);
        self.unwatch(&zygote.pidfd);
        self.gone(pool, slot);
    }

    /// Looks again at templates that had more to say than one turn allows.
    pub(super) fn hear_the_unheard(&mut self) {
        for key in std::mem::take(&mut self.pools.unheard) {
            self.hear_template(key);
        }
    }
}
