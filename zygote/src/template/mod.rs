//! The template: prepares a mount tree once, then clones zygotes from itself on request.
//!
//! One per profile generation and uid. It is our own binary executed again, with its link to the
//! server as standard input, so it holds nothing else of the server's. It acts with the authority
//! of the uid it serves and no other: what it opens for a lease, the kernel has allowed the client.
//!
//! It depends on neither the server nor the pool, starts no thread, and never runs a command.

mod account;
mod authority;
mod etc;
mod family;
mod inspection;
mod keeper;
mod namespaces;
mod network;
mod parts;
mod priority;
mod report;
mod returns;
mod stock;
mod tree;
mod workshop;

use crate::failure::{At, failure};
use crate::sys;
use family::{Family, Look, Origin};
use inspection::Doubt;
use namespaces::Namespaces;
use network::Networks;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::stat::{Mode, umask};
use nix::unistd::Pid;
use priority::Priority;
use report::Report;
use returns::Returns;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};
use stock::Verdict;
use zyg_protocol::codec::{decode, encode};
use zyg_protocol::limits::{HEADER_BYTES, MESSAGE_BYTES_MAX};
use zyg_protocol::message::{Bytes, Failure, Fate, FromTemplate, Recipe, Step, ToTemplate, Tree};
use zyg_protocol::socket::{ReceiveError, borrow, receive, send};

pub(crate) use authority::{write_id_maps, write_id_maps_through};
pub(crate) use namespaces::{own as own_namespace, own_through as own_namespace_through};
pub(crate) use network::{set_up as set_up_network, set_up_by as set_up_network_through};
pub(crate) use parts::{Late, cover_empty};
pub(crate) use priority::is_awaited;
pub(crate) use tree::{Layout, PrivatePath};

/// The argument that makes the binary take this role.
pub const ROLE: &str = "template";

/// The exit code of one that could not do its work.
const ENDED_BADLY: u8 = 1;

/// How long what has become of something waits to be told with more of that, on each of its two ways.
const TELL_AFTER: Duration = Duration::from_millis(50);

/// What ps(1) shows it as.
const NAME: &std::ffi::CStr = c"zyg-template";

/// Runs the role, with the link to the server as standard input, until the server hangs up. Returns the exit code.
#[must_use]
pub fn main() -> u8 {
    sys::process::reset_signals();
    sys::process::reset_scheduling();
    // Whatever the server's is: commands are to find their way through the tree.
    umask(Mode::S_IWGRP | Mode::S_IWOTH);
    sys::privilege::set_name(NAME);
    let link = sys::descriptors::take_inherited(0).and_then(|link| {
        sys::descriptors::close_stdin()?;
        Ok(Link { socket: link, buffer: vec![0; MESSAGE_BYTES_MAX] })
    });
    match link {
        Ok(link) => run(link),
        Err(errno) => {
            log::error!("failed to take over the link to the server: {errno}");
            ENDED_BADLY
        }
    }
}

fn run(mut link: Link) -> u8 {
    let Some((ToTemplate::Build(recipe), _)) = link.receive() else {
        return ENDED_BADLY;
    };
    let start = Instant::now();
    match Template::build(*recipe) {
        Ok(template) => {
            let build_us = start.elapsed().as_micros() as u64;
            let read_only = template.layout.read_only.clone();
            link.send(&FromTemplate::Ready { build_us, read_only });
            template.serve(link)
        }
        Err(failure) => {
            link.send(&FromTemplate::Unable(failure));
            ENDED_BADLY
        }
    }
}

/// The SEQPACKET link to the server. When it breaks there is nobody left to work for: exit.
struct Link {
    socket: OwnedFd,
    buffer: Vec<u8>,
}

impl Link {
    fn receive(&mut self) -> Option<(ToTemplate, Vec<OwnedFd>)> {
        match receive(self.socket.as_fd(), &mut self.buffer) {
            Ok(received) if received.bytes > 0 => match decode(&self.buffer[..received.bytes]) {
                Ok(message) => Some((message, received.descriptors)),
                Err(error) => {
                    log::error!("failed to understand the server: {error}");
                    None
                }
            },
            Ok(_) | Err(ReceiveError::WouldBlock) => None,
            // At the descriptor limit: the order itself is here, and is answered with that.
            Err(ReceiveError::TooManyDescriptors) => {
                decode(announced(&self.buffer)).ok().map(|message| (message, Vec::new()))
            }
            Err(error) => {
                log::error!("failed to hear from the server: {error}");
                None
            }
        }
    }

    fn send(&self, message: &FromTemplate) {
        if let Err(failure) = self.send_with(message, &[]) {
            log::error!("failed to tell the server: {failure}");
        }
    }

    /// Sends what descriptors ride along with, which can fail while the rest still works: with
    /// `ETOOMANYREFS` where too many of this user's are on their way to somewhere (unix(7)).
    fn send_with(
        &self,
        message: &FromTemplate,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), Failure> {
        let mut bytes = Vec::with_capacity(128);
        encode(message, &mut bytes).map_err(|_| Errno::EMSGSIZE).at(Step::Sockets)?;
        match send(self.socket.as_fd(), &bytes, descriptors) {
            // A server that is gone is noticed by the next receive.
            Ok(()) | Err(Errno::EPIPE) => Ok(()),
            Err(errno) => Err(errno).at(Step::Sockets),
        }
    }
}

/// The message at the buffer's start, as long as its header says that it is (`codec`).
fn announced(buffer: &[u8]) -> &[u8] {
    let body = u32::from_le_bytes([buffer[8], buffer[9], buffer[10], buffer[11]]);
    buffer.get(..HEADER_BYTES + body as usize).unwrap_or_default()
}

struct Template {
    layout: Layout,
    namespaces: Namespaces,
    networks: Networks,
    family: Family,
    returns: Returns,
    report: Report,
    priority: Priority,
    children: SignalFd,
    recipe: Recipe,
}

impl Template {
    fn build(recipe: Recipe) -> Result<Self, Failure> {
        authority::enter(&recipe.authority)?;
        // The end of the link ends a template; this ends one that is stopped and does not see it.
        // After the change of identity, which resets it (PR_SET_PDEATHSIG(2const)).
        let _ = nix::sys::prctl::set_pdeathsig(Signal::SIGKILL);
        // A session of its own: no terminal, no process group shared with whoever started it.
        let _ = nix::unistd::setsid();
        let namespaces = Namespaces::create()?;
        let networks = Networks::create(&recipe)?;
        let layout = Layout::build(&recipe)?;
        namespaces.go_home()?;
        install_filters(&recipe.confinement.filters)?;
        let children =
            SignalFd::with_flags(&child_mask()?, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
                .at(Step::Events)?;
        let family = Family::new(&recipe);
        let priority = Priority::default();
        let (returns, report) = (Returns::default(), Report::default());
        Ok(Self {
            layout,
            namespaces,
            networks,
            family,
            returns,
            report,
            priority,
            children,
            recipe,
        })
    }

    fn serve(mut self, mut link: Link) -> u8 {
        loop {
            let mut fds = vec![
                PollFd::new(link.socket.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.children.as_fd(), PollFlags::POLLIN),
            ];
            let backlog = self.networks.backlog().map(|link| {
                fds.push(PollFd::new(link, PollFlags::POLLOUT));
                fds.len() - 1
            });
            let news = self.networks.news().map(|link| {
                fds.push(PollFd::new(link, PollFlags::POLLIN));
                fds.len() - 1
            });
            let wakes = [self.family.unsure_for(), self.priority.retry_in(), self.report.due_in()];
            match poll(&mut fds, timeout(wakes.into_iter().flatten().min())) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => {
                    log::error!("failed to wait for events: {errno}");
                    return ENDED_BADLY;
                }
            }
            let happened =
                |place: usize| fds[place].revents().is_some_and(|events| !events.is_empty());
            let (asked, ended) = (happened(0), happened(1));
            let (room, told) = (backlog.is_some_and(happened), news.is_some_and(happened));
            self.priority.retry();
            if room {
                self.networks.tell();
            }
            if ended {
                let told = self.ended_children();
                report_gone(&link, self.family.reap(&told, &mut self.networks));
            }
            if self.family.unsure_for().is_some_and(|left| left.is_zero()) {
                report_gone(&link, self.family.reap_all(&mut self.networks));
            }
            if asked {
                let Some((message, descriptors)) = link.receive() else {
                    return 0;
                };
                self.handle(message, descriptors, &link);
            }
            // Last, since any of it may have found that their process has ended.
            if told || self.networks.is_behind() {
                self.hear_networks(&link);
            }
            if let Some(became) = self.report.due() {
                link.send(&FromTemplate::Became(became));
            }
        }
    }

    /// The children that signals have told of since the last look.
    fn ended_children(&mut self) -> Vec<Pid> {
        let mut told = Vec::new();
        while let Ok(Some(signal)) = self.children.read_signal() {
            told.push(Pid::from_raw(signal.ssi_pid as i32));
        }
        told
    }

    fn handle(&mut self, message: ToTemplate, descriptors: Vec<OwnedFd>, link: &Link) {
        match message {
            ToTemplate::Build(_) => log::error!("the server asked for a second tree; ignored"),
            ToTemplate::Spawn { slot, urgent } => {
                self.priority.suit(urgent);
                self.spawn(slot, descriptors, link);
            }
            ToTemplate::Destroy { slot } => self.family.destroy(slot),
            ToTemplate::Open { ticket, trees } => self.open(ticket, &trees, link),
            ToTemplate::Rename { slot, next } => {
                if !self.family.rename(slot, next) {
                    link.send(&FromTemplate::Gone { slot: next });
                }
            }
            ToTemplate::Inspect { slot } => self.inspect(slot, descriptors, link),
        }
    }

    fn inspect(&mut self, slot: u64, handles: Vec<OwnedFd>, link: &Link) {
        match self.family.inspect(slot, handles) {
            Ok(Look::First) => link.send(&FromTemplate::Inspected { slot }),
            Ok(Look::AsBefore { network }) => {
                self.returns.wait(network, slot);
                self.networks.ask(network);
            }
            Err(doubt) => self.judge(slot, Err(doubt), link),
        }
    }

    /// Hears what has become of networks, and what those tell of zygotes that are to be used again.
    fn hear_networks(&mut self, link: &Link) {
        let answers = self.networks.answers();
        self.report.add(&self.networks.became());
        for Verdict { number, answer } in answers {
            if let Some(slot) = self.returns.answered(number) {
                self.judge(slot, answer.map_err(|_| Doubt::Network), link);
            }
        }
    }

    fn judge(&mut self, slot: u64, outcome: Result<(), Doubt>, link: &Link) {
        self.report.count(outcome.err().map_or(Fate::ZygoteRecycled, Fate::from));
        match outcome {
            Ok(()) => link.send(&FromTemplate::Inspected { slot }),
            Err(doubt) => {
                log::debug!("slot {slot:#x} is not used again: {doubt}");
                link.send(&FromTemplate::InDoubt { slot });
            }
        }
    }

    fn spawn(&mut self, slot: u64, descriptors: Vec<OwnedFd>, link: &Link) {
        let Self { family, networks, namespaces, layout, recipe, .. } = self;
        let origin = Origin { namespaces, layout, recipe };
        let spawned = match &descriptors[..] {
            [lifeline] => family.spawn(slot, lifeline, networks, &origin),
            _ => Err(failure(Step::Sockets, b"whose lifeline did not arrive", Errno::EMFILE)),
        };
        match spawned {
            // It reports for itself.
            Ok(()) => networks.prepare_for(family.len()),
            // Before the lifeline is closed, which says less.
            Err(failure) => link.send(&FromTemplate::SpawnFailed { slot, failure }),
        }
    }

    fn open(&self, ticket: u64, trees: &[Tree], link: &Link) {
        let all = || trees.iter().map(parts::open).collect::<Result<Vec<OwnedFd>, Failure>>();
        let authority = &self.recipe.authority;
        let opened = parts::with_the_users_rights(authority, all)
            .and_then(|trees| link.send_with(&FromTemplate::Opened { ticket }, &borrow(&trees)));
        if let Err(failure) = opened {
            link.send(&FromTemplate::OpenFailed { ticket, failure });
        }
    }
}

fn report_gone(link: &Link, slots: Vec<u64>) {
    for slot in slots {
        link.send(&FromTemplate::Gone { slot });
    }
}

/// For poll(2), never shorter.
fn timeout(left: Option<Duration>) -> PollTimeout {
    let left = left.map(|left| left.as_micros().div_ceil(1000));
    left.map_or(PollTimeout::NONE, |ms| u16::try_from(ms).map_or(PollTimeout::MAX, Into::into))
}

/// Once here, for every zygote and command to inherit. A fresh keyring first, since the filter may
/// forbid to ask for one; closed, since a filter that lets add_key(2) through but not keyctl(2) would
/// leave it to be shared by all leases.
fn install_filters(filters: &[Bytes]) -> Result<(), Failure> {
    if filters.is_empty() {
        return Ok(());
    }
    sys::privilege::fresh_keyring()
        .and_then(|()| sys::privilege::close_keyring())
        .at(Step::DropPrivileges)?;
    nix::sys::prctl::set_no_new_privs().at(Step::DropPrivileges)?;
    filters.iter().try_for_each(|filter| sys::privilege::install_filter(filter).at(Step::Filter))
}

/// Blocks SIGCHLD, so that it can be read from a descriptor, and returns that set.
fn child_mask() -> Result<SigSet, Failure> {
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGCHLD);
    mask.thread_block().at(Step::Events)?;
    Ok(mask)
}

/// A path from the wire as the kernel wants it.
///
/// # Errors
/// `EINVAL` for one with a zero byte.
pub(crate) fn c_path(bytes: &Bytes, step: Step) -> Result<std::ffi::CString, Failure> {
    std::ffi::CString::new(bytes.as_slice()).map_err(|_| Failure {
        step,
        errno: libc::EINVAL,
        subject: bytes.clone(),
    })
}
