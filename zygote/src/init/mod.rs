//! Pid 1 of a zygote: sets itself up, waits for its client, runs commands, reaps everything.
//!
//! The path of a zygote's life is the order of the modules: [`setup`] from the clone to ready,
//! [`prepare`] for a lease's mounts, [`exec`] for a command, [`children`] for how commands end,
//! [`renewal`] where there is another lease.
//!
//! It never executes a program itself, so its memory stays that of the template's user namespace:
//! a command cannot trace it, even one that is uid 0 inside (ptrace(2)). It never opens a path with
//! more authority than the lease's, and it blocks nowhere but in poll(2): end of file on the
//! lifeline must be seen at once, and means exit, which takes every process here down
//! (pid_namespaces(7)).

pub(crate) mod bounds;
mod children;
mod exec;
pub(crate) mod layers;
mod lock;
mod prepare;
mod renewal;
mod setup;
mod whole;

use crate::failure::At;
use crate::sys;
use crate::sys::process::exit_now;
use crate::template::Layout;
pub(crate) use setup::inside;

use children::Children;
use layers::Layers;
use lock::Lock;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signalfd::SignalFd;
use nix::unistd::Pid;
use renewal::Ground;
use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};
use zyg_protocol::codec::{decode, encode};
use zyg_protocol::limits::{COMMANDS_MAX, MESSAGE_BYTES_MAX, PATH_BYTES_MAX};
use zyg_protocol::message::{
    Bytes, Confinement, Failure, FromInit, Lifeline, Recipe, Scope, Step, ToInit, ToZygote,
};
use zyg_protocol::socket::{ReceiveError, borrow, receive, receive_into, send};

/// What init is called (proc_pid_comm(5)).
pub(crate) const NAME: &std::ffi::CStr = c"zyg-init";

/// Processes that have ended and are reaped in one turn: commands may have them end faster than they
/// can be reaped, and the lifeline is looked at between turns.
const ENDED_PER_TURN: u32 = 64;

/// Replies that may wait for a client that does not read. Beyond, nothing more is read from it.
const OUTBOX_MAX: usize = 2 * COMMANDS_MAX;

/// Bytes of what the server says on a lifeline.
const LIFELINE_BYTES_MAX: usize = 64;

/// How long init leaves it to the server to end a lease whose client has hung up.
const SERVER_ENDS_IT_WITHIN: u16 = 20;

/// What a zygote is made from.
pub(crate) struct Setup<'a> {
    /// The template's tree.
    pub layout: &'a Layout,
    /// What the profile asks for.
    pub recipe: &'a Recipe,
    /// The uid and gid that the zygote has, as the template sees them.
    pub identity: (u32, u32),
    /// When the clone began.
    pub start: Instant,
}

/// Runs as init until the lease is over, with its end of the lifeline, both of the command channel, and
/// a procfs that shows it before it has its own. Call right after the clone, in the child.
pub(crate) fn main(held: [BorrowedFd<'_>; 4], setup: &Setup<'_>) -> ! {
    let Ok([lifeline, channel, clients, procfs]) = sys::descriptors::keep_only(held) else {
        exit_now(1);
    };
    let ready = setup::run(setup, procfs).and_then(|ready| {
        // A client that does not read must not keep init from seeing its lifeline end.
        fcntl(&channel, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).at(Step::Sockets)?;
        let evidence = match &ready.ground {
            Some(_) => renewal::evidence()?.into(),
            None => Vec::new(),
        };
        report_ready(&lifeline, &clients, &evidence, setup.start.elapsed()).map(|()| ready)
    });
    drop(clients);
    match ready {
        Ok(setup::Made { layers, signals, ground, lock, left }) => {
            drop(left);
            let mut init = Init {
                setup,
                lifeline,
                channel,
                signals,
                layers,
                ground,
                lock,
                children: Children::default(),
                unreaped: false,
                outbox: VecDeque::new(),
                buffer: Vec::new(),
                stack: None,
                confinement: setup.recipe.confinement.clone(),
                env: setup.recipe.env.clone(),
                prepared: Preparation::Open,
            };
            init.rehearse();
            init.serve()
        }
        Err(failure) => {
            let _ = report(&lifeline, &Lifeline::Unable(failure), &[]);
            exit_now(1)
        }
    }
}

/// Hands the server what it takes to hand this zygote over, and to have it looked at.
fn report_ready(
    lifeline: &OwnedFd,
    clients: &OwnedFd,
    evidence: &[OwnedFd],
    took: Duration,
) -> Result<(), Failure> {
    let pidfd = sys::process::open(Pid::this()).at(Step::Sockets)?;
    let ready = Lifeline::Ready { spawn_us: took.as_micros() as u64 };
    let mut descriptors = vec![clients.as_fd(), pidfd.as_fd()];
    descriptors.extend(borrow(evidence));
    match report(lifeline, &ready, &descriptors) {
        // Without a server to hear it, the end of file on the lifeline ends this process next.
        Ok(()) | Err(Errno::EPIPE) => Ok(()),
        // As where too many descriptors of this user's are on their way to somewhere (unix(7)).
        Err(errno) => Err(errno).at(Step::Sockets),
    }
}

fn report(
    lifeline: &OwnedFd,
    message: &Lifeline,
    descriptors: &[BorrowedFd<'_>],
) -> Result<(), Errno> {
    let mut bytes = Vec::with_capacity(64);
    encode(message, &mut bytes).map_err(|_| Errno::EMSGSIZE)?;
    send(lifeline.as_fd(), &bytes, descriptors)
}

/// Whether the lease can still be prepared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Preparation {
    /// Yes: nothing has run here yet.
    Open,
    /// Not any more.
    Closed,
    /// It failed, and nothing may run.
    Failed,
}

struct Init<'a> {
    setup: &'a Setup<'a>,
    lifeline: OwnedFd,
    channel: OwnedFd,
    signals: SignalFd,
    layers: Layers,
    ground: Option<Ground>,
    lock: Option<Lock>,
    children: Children,
    /// Whether processes may have ended that are not reaped yet, and of which no signal tells.
    unreaped: bool,
    /// Encoded replies that the client's socket had no room for, with what rides along.
    outbox: VecDeque<(Vec<u8>, Option<OwnedFd>)>,
    /// Made with the first message, so that a parked zygote does not pay for it.
    buffer: Vec<u8>,
    stack: Option<sys::command::Stack>,
    confinement: Confinement,
    /// Variables that every command gets.
    env: Vec<Bytes>,
    prepared: Preparation,
}

impl Init<'_> {
    fn serve(mut self) -> ! {
        loop {
            let mut interest = PollFlags::empty();
            if self.outbox.len() < OUTBOX_MAX {
                interest |= PollFlags::POLLIN;
            }
            if !self.outbox.is_empty() {
                interest |= PollFlags::POLLOUT;
            }
            let mut fds = [
                PollFd::new(self.lifeline.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.channel.as_fd(), interest),
                PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
            ];
            let timeout = if self.unreaped { PollTimeout::ZERO } else { PollTimeout::NONE };
            match poll(&mut fds, timeout) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(_) => exit_now(1),
            }
            let [lifeline, channel, signals] =
                fds.map(|fd| fd.revents().unwrap_or(PollFlags::empty()));
            if !lifeline.is_empty() {
                self.hear_server();
                continue;
            }
            if channel.intersects(PollFlags::POLLHUP | PollFlags::POLLERR) {
                self.client_is_gone();
                continue;
            }
            if !signals.is_empty() || self.unreaped {
                self.reap();
            }
            if channel.contains(PollFlags::POLLOUT) {
                self.flush();
            }
            if channel.contains(PollFlags::POLLIN) {
                self.hear();
            }
        }
    }

    /// The server has one thing to say, and to those that may be used again alone. Whatever else arrives
    /// is its end.
    fn hear_server(&mut self) {
        let mut buffer = [0; LIFELINE_BYTES_MAX];
        let Ok(received) = receive(self.lifeline.as_fd(), &mut buffer) else { exit_now(0) };
        let (bytes, descriptors) = (&buffer[..received.bytes], received.descriptors);
        match (decode(bytes), <[OwnedFd; 1]>::try_from(descriptors), &self.ground) {
            (Ok(ToZygote::Renew), Ok([channel]), Some(_)) => self.renew(channel),
            _ => exit_now(0),
        }
    }

    /// The lease is over, whatever its client may have said before it went. The server knows it, too,
    /// and ends this process, or the lease, when the client is done with what it does: to exit now would
    /// take the processor from it. A server that does not is not waited for.
    fn client_is_gone(&mut self) {
        let mut lifeline = [PollFd::new(self.lifeline.as_fd(), PollFlags::POLLIN)];
        match poll(&mut lifeline, SERVER_ENDS_IT_WITHIN) {
            Ok(told) if told > 0 => self.hear_server(),
            _ => exit_now(0),
        }
    }

    /// Takes one message. A client that breaks the wire's rules ends its lease.
    fn hear(&mut self) {
        let buffer = &mut self.buffer;
        let received = match receive_into(self.channel.as_fd(), buffer, MESSAGE_BYTES_MAX) {
            Ok(received) if received.bytes > 0 => received,
            Err(ReceiveError::WouldBlock) => return,
            Ok(_) | Err(_) => exit_now(0),
        };
        let Ok(message) = decode(buffer) else {
            exit_now(0);
        };
        match message {
            ToInit::Prepare(prepare) => self.prepare(&prepare, received.descriptors),
            ToInit::Exec(exec) => self.exec(exec, received.descriptors),
            ToInit::ExecStored { command } => self.exec_stored(command, received.descriptors),
            ToInit::Signal { command, signal, scope } => self.signal(command, signal, scope),
        }
    }

    fn signal(&self, command: u32, number: i32, scope: Scope) {
        let Some(pid) = self.children.pid_of(command) else { return };
        // A command that has just ended is still ours to reap, so its number is not reused.
        let _ = sys::process::signal(pid, number, scope == Scope::Group);
    }

    fn reap(&mut self) {
        // Pending once, however many have ended (signal(7)); again from here on for whoever ends later.
        let _ = self.signals.read_signal();
        let mut most = ENDED_PER_TURN;
        while let Some(end) = self.children.reap(&mut most) {
            self.reply(&end, None);
        }
        self.unreaped = most == 0;
    }

    fn reply(&mut self, message: &FromInit, descriptor: Option<OwnedFd>) {
        let mut bytes = Vec::with_capacity(64);
        if encode(message, &mut bytes).is_ok() {
            self.outbox.push_back((bytes, descriptor));
        }
        self.flush();
    }

    fn flush(&mut self) {
        while let Some((bytes, descriptor)) = self.outbox.front() {
            match send(self.channel.as_fd(), bytes, &borrow(descriptor.as_slice())) {
                Ok(()) => drop(self.outbox.pop_front()),
                Err(Errno::EAGAIN) => return,
                // The client is gone: the lease is over.
                Err(_) => exit_now(0),
            }
        }
    }

    fn fail(&mut self, command: u32, failure: Failure) {
        let failure = bounded(failure);
        self.reply(&FromInit::Failed { command, failure }, None);
    }
}

/// The failure with no more of its subject than a path may have: whatever a client asks for, the
/// answer fits into a message.
fn bounded(mut failure: Failure) -> Failure {
    failure.subject.truncate(PATH_BYTES_MAX);
    failure
}

/// Every process of this environment but init.
const EVERYONE: Pid = Pid::from_raw(-1);
