//! Network namespaces made ahead of demand, by a process of the template's that stands back for
//! everybody else.
//!
//! It has the template's user namespace and a link to the template, and nothing else; it never
//! becomes a zygote. It is pid 1 of a pid namespace that the template owns, and so may mount a procfs
//! for it. An order is one message, and so is what has been made, with the namespace as a
//! descriptor. What is made waits in the link, where no zygote is cloned with it.
//!
//! The template never waits for it: what is not there yet it makes itself. It is the nicest there is,
//! and not of the policy `SCHED_IDLE` (sched(7)): one that does not get to run while it has the kernel's
//! locks over all network namespaces keeps everybody waiting who makes one. With both of two
//! processors busy that was up to 0.2 s in most runs with `SCHED_IDLE`, and at nice 19 hardly more
//! than without it, 20 ms (Linux 6.18).

use super::namespaces::own;
use super::network::Maker;
use crate::failure::At;
use crate::sys;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::Signal;
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::setsid;
use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};
use sys::process::{Cloned, exit_now, fork_apart};
use zyg_protocol::message::{Failure, Step};
use zyg_protocol::socket::{pair, receive, send};

/// Network namespaces in stock, 100 KiB each: what a burst takes at once. Refilling it takes 15 ms.
const STOCK_MAX: usize = 32;

/// Descriptor limits below this leave no room for a stock: what waits in the link counts as in flight
/// (unix(7)), and so against what hands leases over (`ROOM_MAX` in `init::bounds`).
const DESCRIPTORS_MIN: u64 = 4096;

/// After the process has ended, the wait before it is started again: the first, and the longest.
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(64);

/// What ps(1) shows it as.
const NAME: &CStr = c"zyg-stock";

/// Why there is none, when it is missed.
const ENDED: &str = "its process has ended";

/// Bytes of a message: an order has one, and what comes back one or a failure's words.
const MESSAGE_BYTES: usize = 256;

/// The stock, as the template sees it.
pub(super) struct Stock {
    process: Option<Process>,
    /// Namespaces that there is use for.
    wanted: usize,
    /// When the process may be started again, and how long to wait if that fails.
    retry: Option<(Instant, Duration)>,
    allowed: bool,
}

/// The process that makes namespaces.
struct Process {
    /// It is reaped with the zygotes, and its number may be somebody else's then.
    pidfd: OwnedFd,
    link: OwnedFd,
    /// Ordered and not taken.
    ordered: usize,
}

impl Stock {
    /// None yet. With this hard descriptor limit (0 where it is not known).
    pub fn new(descriptors: u64) -> Self {
        Self { process: None, wanted: 0, retry: None, allowed: descriptors >= DESCRIPTORS_MIN }
    }

    /// Sees to as many namespaces in stock as there are zygotes, within bounds: a small pool shall
    /// not pay for a large stock.
    pub fn prepare_for(&mut self, zygotes: usize, home: &OwnedFd) {
        self.wanted = if self.allowed { zygotes.min(STOCK_MAX) } else { 0 };
        if self.process.is_none() && self.wanted > 0 && self.may_start() {
            match Process::start(home) {
                Ok(process) => self.process = Some(process),
                Err(failure) => self.lost(&failure.to_string()),
            }
        }
        if let Some(process) = &mut self.process
            && let Err(errno) = process.order(self.wanted)
        {
            self.lost(if errno == Errno::EPIPE { ENDED } else { errno.desc() });
        }
    }

    /// Takes one that has been made, without waiting for any.
    pub fn take(&mut self) -> Option<OwnedFd> {
        let process = self.process.as_mut()?;
        match process.take() {
            Ok(taken) => {
                if taken.is_some() {
                    self.retry = None;
                }
                taken
            }
            Err(reason) => {
                self.lost(&reason);
                None
            }
        }
    }

    fn may_start(&self) -> bool {
        self.retry.is_none_or(|(at, _)| Instant::now() >= at)
    }

    /// Goes on without, for a while.
    fn lost(&mut self, reason: &str) {
        if let Some(process) = self.process.take() {
            process.end();
        }
        let first = self.retry.is_none();
        let wait = self.retry.map_or(RETRY_MIN, |(_, wait)| (wait * 2).min(RETRY_MAX));
        self.retry = Some((Instant::now() + wait, wait));
        if first {
            log::warn!("environments are made without a stock of network namespaces: {reason}");
        }
    }
}

impl Process {
    fn start(home: &OwnedFd) -> Result<Self, Failure> {
        let (link, theirs) = pair().at(Step::Sockets)?;
        fcntl(&link, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).at(Step::Sockets)?;
        let home = home.try_clone().at(Step::NetNamespace)?;
        // Born with its name, so that nobody takes it for a second template.
        sys::privilege::set_name(NAME);
        let forked = fork_apart();
        if !matches!(forked, Ok(Cloned::Child)) {
            sys::privilege::set_name(super::NAME);
        }
        match forked.at(Step::Clone)? {
            Cloned::Child => {
                // Its owner is the template, in whose memory it stays.
                std::mem::forget(link);
                make_ahead(theirs, home)
            }
            Cloned::Parent { pidfd, .. } => Ok(Self { pidfd, link, ordered: 0 }),
        }
    }

    /// Orders what is missing.
    fn order(&mut self, wanted: usize) -> Result<(), Errno> {
        while self.ordered < wanted {
            match send(self.link.as_fd(), &[1], &[]) {
                Ok(()) => self.ordered += 1,
                // It has enough to do.
                Err(Errno::EAGAIN) => break,
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }

    fn take(&mut self) -> Result<Option<OwnedFd>, String> {
        use zyg_protocol::socket::ReceiveError::{Os, TooManyDescriptors, WouldBlock};
        let mut buffer = [0; MESSAGE_BYTES];
        match receive(self.link.as_fd(), &mut buffer) {
            Ok(mut received) if received.descriptors.len() == 1 => {
                self.ordered = self.ordered.saturating_sub(1);
                Ok(received.descriptors.pop())
            }
            Ok(received) if received.bytes > 0 => {
                Err(String::from_utf8_lossy(&buffer[..received.bytes]).into_owned())
            }
            Ok(_) | Err(Os(Errno::ECONNRESET)) => Err(ENDED.to_owned()),
            Err(WouldBlock) => Ok(None),
            Err(TooManyDescriptors) => Err("the template is at its descriptor limit".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Ends it, also where it is stopped.
    fn end(&self) {
        if let Err(errno) = sys::process::kill(self.pidfd.as_fd()) {
            log::debug!("the process that makes network namespaces cannot be ended: {errno}");
        }
    }
}

impl Drop for Stock {
    /// A template that ends is survived by nothing that it has started.
    fn drop(&mut self) {
        if let Some(process) = &self.process {
            process.end();
            let wait = || waitid(Id::PIDFd(process.pidfd.as_fd()), WaitPidFlag::WEXITED);
            while wait() == Err(Errno::EINTR) {}
        }
    }
}

/// The process: makes what is ordered until the template is gone.
fn make_ahead(link: OwnedFd, home: OwnedFd) -> ! {
    let kept = sys::descriptors::keep_only([link, home]);
    // The end of the link ends it; this, one that is stopped.
    let _ = nix::sys::prctl::set_pdeathsig(Signal::SIGKILL);
    let _ = setsid();
    sys::process::stand_back();
    let Ok([link, home]) = kept else { exit_now(1) };
    let mut maker = Maker::new(sys::mount::own_procfs);
    let mut buffer = [0; MESSAGE_BYTES];
    while receive(link.as_fd(), &mut buffer).is_ok_and(|order| order.bytes > 0) {
        let sent = match make(&mut maker, &home) {
            Ok(made) => send(link.as_fd(), &[1], &[made.as_fd()]),
            Err(failure) => {
                let words = failure.to_string();
                let words = &words.as_bytes()[..words.len().min(MESSAGE_BYTES)];
                let _ = send(link.as_fd(), words, &[]);
                exit_now(1)
            }
        };
        if sent.is_err() {
            exit_now(1)
        }
    }
    exit_now(0)
}

/// Makes one, and does not stay in it: it must end with its zygote.
fn make(maker: &mut Maker, home: &OwnedFd) -> Result<OwnedFd, Failure> {
    maker.enter_new()?;
    let made = own("net");
    setns(home, CloneFlags::CLONE_NEWNET).at(Step::NetNamespace)?;
    made
}
