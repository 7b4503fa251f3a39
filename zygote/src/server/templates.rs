//! Templates: started, heard, mourned.

use super::Server;
use super::logs::Log;
use super::pools::{Pools, TEMPLATE_SILENCE_MAX, Template, Zygote};
use super::tokens::{Key, Source};
use super::wire::{Wire, WireError};
use crate::diagnose;
use crate::failure::failure;
use crate::pool::{Event, PoolKey, SlotKey, Time};
use crate::sys::process;
use crate::sys::program::OwnProgram;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::Pid;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use zyg_protocol::codec::decode;
use zyg_protocol::message::{Denial, Failure, FromTemplate, Step, ToTemplate, plain_text};
use zyg_protocol::socket::{ReceiveError, pair};

/// Messages heard from one template in one turn.
const MESSAGES_PER_TURN: usize = 256;

/// Why an environment that a template has made does not get to a client.
pub(super) const NO_DESCRIPTOR: &str = "the server has no descriptor left to hand an environment \
                                        over: raise its ulimit -n or LimitNOFILE=";

impl Server {
    /// Starts a pool's template unless it has one.
    ///
    /// # Errors
    /// Why not, in words for a client.
    pub(super) fn ensure_template(&mut self, pool: PoolKey) -> Result<(), String> {
        if self.pools[pool].template.is_some() {
            return Ok(());
        }
        if self.pools.program.is_none() {
            let found = OwnProgram::find().map_err(|failure| diagnose::advice(&failure));
            self.pools.program = Some(found.inspect_err(|reason| log::error!("{reason}"))?);
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

    /// Our own binary in another role.
    fn start_template(&mut self, pool: PoolKey) -> std::io::Result<()> {
        let Some(program) = &self.pools.program else { return Ok(()) };
        let (ours, theirs) = pair()?;
        let (log, to_log) = Log::new()?;
        let mut command = Command::new(program.path());
        // It is what environments see of their process 1.
        command.arg0("zyg").arg(crate::template::ROLE).env_clear().current_dir("/");
        command.stdin(theirs).stdout(Stdio::null()).stderr(to_log);
        // How much to log, and where newuidmap(1) is.
        for name in ["ZYG_LOG", "PATH"] {
            command.envs(std::env::var_os(name).map(|value| (name, value)));
        }
        let pid = command.spawn()?.id();
        // Nobody has reaped it yet, so the number is its own.
        let pidfd = process::open(Pid::from_raw(pid as i32))?;
        let (wire, now) = (Wire::new(ours, Pools::outbox_max())?, self.now());
        let template =
            Template { pool, pid, pidfd, wire, log, ready: false, owes: 0, silent_since: now };
        let key = self.pools.templates.insert(template);
        let entry = &mut self.pools[pool];
        entry.template = Some(key);
        entry.template_error = None;
        log::info!("template {pid} starts for profile {} and uid {}", entry.profile, entry.uid);
        let order = ToTemplate::Build(Box::new(entry.recipe.clone()));
        if let Some(template) = self.pools.templates.get_mut(key) {
            template.wire.watch(self.poll.registry(), Source::Template(key).token())?;
        }
        self.watch_log(key)?;
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
        match template.wire.send(order, descriptors, self.poll.registry(), &mut self.scratch) {
            Err(WireError::Gone(_)) => return Ok(()),
            sent => sent?,
        }
        // The end of a zygote is told whether it was ordered or not.
        if !matches!(order, ToTemplate::Destroy { .. } | ToTemplate::Rename { .. }) {
            if template.owes == 0 {
                template.silent_since = now;
            }
            template.owes = template.owes.saturating_add(1);
        }
        Ok(())
    }

    /// Has a template that owes nothing answer something: what is told to end need not end for it, so
    /// that nothing else would tell of one that has been stopped.
    ///
    /// # Errors
    /// Those of the wire.
    pub(super) fn ask_for_a_sign(&mut self, pool: PoolKey) -> Result<(), WireError> {
        let template = self.pools[pool].template.and_then(|key| self.pools.templates.get(key));
        if template.is_none_or(|template| template.owes > 0) {
            return Ok(());
        }
        // To open nothing, for nobody: no ticket has that number.
        self.order(pool, &ToTemplate::Open { ticket: 0, trees: Vec::new() }, &[])
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
        let Some(parent) = self.pools[pool].template else { return Ok(()) };
        let key = self.pools.expect(Zygote {
            slot,
            pool,
            parent,
            lifeline: None,
            told: false,
            awaited: None,
            reported: None,
            lease: None,
        });
        let urgent = self.pools.policy.counts(pool).waiters > 0;
        let order = ToTemplate::Spawn { slot: slot.0, urgent };
        let watched = self.watch(&ours, Source::Zygote(key)).map_err(|error| error.to_string());
        let ordered = watched.and_then(|()| {
            self.order(pool, &order, &[theirs.as_fd()]).map_err(|error| error.to_string())
        });
        match self.pools.zygotes.get_mut(key) {
            Some(zygote) if ordered.is_ok() => zygote.lifeline = Some(ours),
            _ => drop(self.pools.forget(slot)),
        }
        ordered
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
                Err(ReceiveError::TooManyDescriptors) => {
                    // Nothing else that it says carries any.
                    self.answered(key);
                    self.descriptors_lost(pool);
                }
                Ok(_) | Err(_) => return self.template_lost(key),
            }
            self.settle();
        }
        self.pools.look_again(key);
    }

    /// A template's message came, and the server was at its limit: what rode along is closed. Whose
    /// it was is not known any more, so that all acquires whose mount sources are being opened must
    /// ask again.
    fn descriptors_lost(&mut self, pool: PoolKey) {
        log::error!("{NO_DESCRIPTOR}");
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
        if !matches!(message, FromTemplate::Opened { .. }) && !descriptors.is_empty() {
            return Err("descriptors ride along where none belong".to_owned());
        }
        let Some(template) = self.pools.templates.get_mut(key) else { return Ok(()) };
        if !matches!(message, FromTemplate::Gone { .. } | FromTemplate::Became(_)) {
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
            FromTemplate::SpawnFailed { slot, failure } => {
                return self.not_born(key, SlotKey(slot), failure);
            }
            FromTemplate::Gone { slot } => {
                self.hear_the_last(key, SlotKey(slot));
                // Of another one's nothing is believed, nor of what had been told to have failed.
                let zygote = self.pools.zygote(SlotKey(slot)).filter(|it| it.parent == key);
                if let Some(told) = zygote.map(|zygote| zygote.told) {
                    if !told {
                        self.answered(key);
                    }
                    self.gone(SlotKey(slot));
                }
            }
            FromTemplate::Became(fates) => self.pools[pool].fates.add_all(&fates),
            FromTemplate::Inspected { slot } => self.inspected(key, SlotKey(slot), true),
            FromTemplate::InDoubt { slot } => self.inspected(key, SlotKey(slot), false),
            FromTemplate::Opened { ticket } if self.opens(pool, ticket) => {
                self.opened(ticket, descriptors);
            }
            FromTemplate::OpenFailed { ticket, failure } if self.opens(pool, ticket) => {
                let Failure { subject, errno, .. } = failure;
                let path = plain_text(&subject);
                let mut reason = std::io::Error::from_raw_os_error(errno).to_string();
                if errno == libc::EINVAL {
                    // What is there has just been looked up (open_tree(2)).
                    reason.push_str(
                        ": it is in another mount namespace, as below /proc/PID/root, or was made \
                         unbindable (mount --make-unbindable)",
                    );
                }
                self.not_opened(ticket, Denial::MountRefused { path, reason });
            }
            // Nobody waits for it any more, or it never was this template's to answer.
            FromTemplate::Opened { .. } | FromTemplate::OpenFailed { .. } => {}
        }
        Ok(())
    }

    /// Hears what a zygote has said before its template saw it end, if that is not heard yet.
    fn hear_the_last(&mut self, parent: Key, slot: SlotKey) {
        let silent = self.pools.zygote(slot).is_some_and(|it| it.parent == parent && !it.told);
        if let Some(key) = self.pools.key_of(slot).filter(|_| silent) {
            self.hear_zygote(key, true);
        }
    }

    /// Whether this pool's template was asked to open what the ticket stands for: another one's word
    /// must not put its own user's files before somebody else.
    fn opens(&self, pool: PoolKey, ticket: u64) -> bool {
        self.opening.get(&ticket).is_some_and(|opening| opening.pool == pool)
    }

    fn not_born(&mut self, parent: Key, slot: SlotKey, failure: Failure) -> Result<(), String> {
        if self.pools.zygote(slot).is_none_or(|it| it.parent != parent || it.told) {
            return Err("it failed to make a zygote that was not ordered, or made".to_owned());
        }
        self.pools.forget(slot);
        let reason = diagnose::advice(&failure);
        log::error!("a zygote cannot be cloned: {reason}");
        self.tell(Event::SpawnFailed { slot, reason });
        Ok(())
    }

    /// The template has done what it owed, or what it has made has said so.
    pub(super) fn answered(&mut self, key: Key) {
        self.heard_from(key);
        if let Some(template) = self.pools.templates.get_mut(key) {
            template.owes = template.owes.saturating_sub(1);
        }
    }

    /// The rule when a template dies: what is leased goes on, the rest ends with it.
    pub(super) fn template_lost(&mut self, key: Key) {
        // Which may say why.
        self.hear_log(key);
        let Some(template) = self.pools.templates.remove(key) else { return };
        self.unwatch(template.wire.socket());
        self.unwatch(&template.log.pipe());
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
        let of = format!("profile {} and uid {}", entry.profile, entry.uid);
        log::error!("lost the template of {of}: {reason}");
        let in_force = self.pools.policy.in_force(pool);
        if in_force != pool && !self.pools.policy.counts(pool).retired {
            let generation = self.pools[in_force].generation;
            log::warn!("until that is mended, generation {generation} stays in force for {of}");
        }
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
            self.hear_log(key);
            self.hear_template(key);
        }
    }
}
