//! Network namespaces made ahead of demand or used again, by a process of the template's that stands
//! back for everybody else.
//!
//! It has the template's user namespace and a link to the template, and nothing else; it never
//! becomes a zygote. It is pid 1 of a pid namespace that the template owns, and so may mount a procfs
//! for it. An order is one message, and so is what has been made, with the namespace as a
//! descriptor. What is made waits in the link, where no zygote is cloned with it.
//!
//! Where namespaces are recycled, it keeps a descriptor of each that it has made, is told when the
//! zygote that had it is gone, and fills an order with one that tells nothing of that (see `keeper` and
//! `account`) rather than to make one. What the template makes itself ends with its zygote.
//!
//! The template never waits for it: what is not there yet it makes itself. It is the nicest there is,
//! and not of the policy `SCHED_IDLE` (sched(7)): one that does not get to run while it has the kernel's
//! locks over all network namespaces keeps everybody waiting who makes one. With both of two
//! processors busy that was up to 0.2 s in most runs with `SCHED_IDLE`, and at nice 19 hardly more
//! than without it, 20 ms (Linux 6.18).

use super::account::{Account, Doubt};
use super::keeper::{Keeper, Tally};
use super::namespaces::own;
use super::network::Maker;
use crate::failure::At;
use crate::sys;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, poll};
use nix::sched::{CloneFlags, setns};
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::signal::Signal;
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::setsid;
use std::collections::VecDeque;
use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};
use sys::process::{Cloned, exit_now, fork_apart};
use zyg_protocol::message::{Failure, Step};
use zyg_protocol::socket::{pair, receive, send};

/// Network namespaces in stock, 100 KiB each: what a burst takes at once. Refilling it takes 15 ms. And
/// as many that have come back, which is 600 in a second.
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
const GARBLED: &str = "its process does not make sense";

/// Bytes of a message at most. What comes back is a number, a tally and a descriptor, or a failure's
/// words.
const MESSAGE_BYTES: usize = 256;

/// Bytes of what the template says: what it is, and a number.
const SAID_BYTES: usize = 9;

/// Descriptors that the process needs beside those of namespaces.
const OTHER_DESCRIPTORS: usize = 64;

/// How long an account of a new namespace is good for: what modules and settings of the host are like
/// may change, and with it what new ones tell.
const ACCOUNT_AGE_MAX: Duration = Duration::from_secs(10);

/// What the template says to the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    /// A namespace is wanted, to be known under this number.
    Order(u64),
    /// Nothing is left of the zygote that had that one.
    Gone(u64),
}

impl Said {
    fn to_bytes(self) -> [u8; SAID_BYTES] {
        let (kind, number) = match self {
            Self::Order(number) => (0, number),
            Self::Gone(number) => (1, number),
        };
        let mut bytes = [kind; SAID_BYTES];
        bytes[1..].copy_from_slice(&number.to_ne_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (kind, number) = bytes.split_first()?;
        let number = u64::from_ne_bytes(number.try_into().ok()?);
        match kind {
            0 => Some(Self::Order(number)),
            1 => Some(Self::Gone(number)),
            _ => None,
        }
    }
}

/// One that was in stock.
pub(super) struct Stocked {
    /// Under which it is to be [`Stock::gone`]; never used twice.
    pub number: u64,
    pub namespace: OwnedFd,
}

/// The stock, as the template sees it.
pub(super) struct Stock {
    process: Option<Process>,
    /// Namespaces that there is use for.
    wanted: usize,
    /// When the process may be started again, and how long to wait if that fails.
    retry: Option<(Instant, Duration)>,
    allowed: bool,
    recycle: bool,
    /// The number of the next order.
    next: u64,
    /// What the process has told last of those that it has had.
    tally: Tally,
}

/// The process that makes namespaces.
struct Process {
    /// It is reaped with the zygotes, and its number may be somebody else's then.
    pidfd: OwnedFd,
    link: OwnedFd,
    /// Ordered and not taken.
    ordered: usize,
    /// Those that are gone and that it could not be told of yet.
    untold: VecDeque<u64>,
}

impl Stock {
    /// None yet. With this hard descriptor limit (0 where it is not known).
    pub fn new(descriptors: u64, recycle: bool) -> Self {
        let allowed = descriptors >= DESCRIPTORS_MIN;
        let tally = Tally::default();
        Self { process: None, wanted: 0, retry: None, allowed, recycle, next: 0, tally }
    }

    /// Sees to as many namespaces in stock as there are zygotes, within bounds: a small pool shall
    /// not pay for a large stock.
    pub fn prepare_for(&mut self, zygotes: usize, home: &OwnedFd) {
        self.wanted = if self.allowed { zygotes.min(STOCK_MAX) } else { 0 };
        if self.process.is_none() && self.wanted > 0 && self.may_start() {
            match Process::start(home, self.recycle) {
                Ok(process) => self.process = Some(process),
                Err(failure) => self.lost(&failure.to_string()),
            }
        }
        if let Some(process) = &mut self.process
            && let Err(errno) = process.order(self.wanted, &mut self.next)
        {
            self.lost(if errno == Errno::EPIPE { ENDED } else { errno.desc() });
        }
    }

    /// Takes note that nothing is left of the zygote that had the namespace of this number.
    pub fn gone(&mut self, number: u64) {
        if !self.recycle {
            return;
        }
        if let Some(process) = &mut self.process {
            process.untold.push_back(number);
        }
        self.tell();
    }

    /// The link, where it has no room for what is to be told: [`Self::tell`] when there is some.
    pub fn backlog(&self) -> Option<BorrowedFd<'_>> {
        let behind = self.process.as_ref().filter(|process| !process.untold.is_empty());
        behind.map(|process| process.link.as_fd())
    }

    /// Tells what is to be told, as far as there is room for it.
    pub fn tell(&mut self) {
        if let Some(process) = &mut self.process
            && let Err(errno) = process.tell()
        {
            self.lost(if errno == Errno::EPIPE { ENDED } else { errno.desc() });
        }
    }

    /// Takes one that has been made or may be used again, without waiting for any.
    pub fn take(&mut self) -> Option<Stocked> {
        let process = self.process.as_mut()?;
        match process.take(&mut self.tally) {
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
    fn start(home: &OwnedFd, recycle: bool) -> Result<Self, Failure> {
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
                make_ahead(theirs, home, recycle)
            }
            Cloned::Parent { pidfd, .. } => {
                Ok(Self { pidfd, link, ordered: 0, untold: VecDeque::new() })
            }
        }
    }

    /// Orders what is missing, after what may serve for it.
    fn order(&mut self, wanted: usize, next: &mut u64) -> Result<(), Errno> {
        self.tell()?;
        while self.ordered < wanted && self.untold.is_empty() && self.say(Said::Order(*next))? {
            self.ordered += 1;
            *next += 1;
        }
        Ok(())
    }

    fn tell(&mut self) -> Result<(), Errno> {
        while let Some(number) = self.untold.front()
            && self.say(Said::Gone(*number))?
        {
            self.untold.pop_front();
        }
        Ok(())
    }

    /// Whether there was room to say it: without any it has enough to do.
    fn say(&self, said: Said) -> Result<bool, Errno> {
        match send(self.link.as_fd(), &said.to_bytes(), &[]) {
            Ok(()) => Ok(true),
            Err(Errno::EAGAIN) => Ok(false),
            Err(errno) => Err(errno),
        }
    }

    fn take(&mut self, tally: &mut Tally) -> Result<Option<Stocked>, String> {
        use zyg_protocol::socket::ReceiveError::{Os, TooManyDescriptors, WouldBlock};
        let mut buffer = [0; MESSAGE_BYTES];
        match receive(self.link.as_fd(), &mut buffer) {
            Ok(mut received) if received.descriptors.len() == 1 => {
                self.ordered = self.ordered.saturating_sub(1);
                let (number, told) = buffer[..received.bytes].split_at_checked(8).ok_or(GARBLED)?;
                let number = number.try_into().map(u64::from_ne_bytes).map_err(|_| GARBLED)?;
                *tally = Tally::from_bytes(told).ok_or(GARBLED)?;
                log::debug!("{tally}");
                Ok(received.descriptors.pop().map(|namespace| Stocked { number, namespace }))
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
fn make_ahead(link: OwnedFd, home: OwnedFd, recycle: bool) -> ! {
    let kept = sys::descriptors::keep_only([link.as_fd(), home.as_fd()]);
    std::mem::forget((link, home));
    // The end of the link ends it; this, one that is stopped.
    let _ = nix::sys::prctl::set_pdeathsig(Signal::SIGKILL);
    let _ = setsid();
    sys::process::stand_back();
    let Ok([link, home]) = kept else { exit_now(1) };
    let most = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft as usize);
    let lent_max = if recycle { most.saturating_sub(OTHER_DESCRIPTORS) } else { 0 };
    let maker = Maker::new(sys::mount::own_procfs);
    let keeper = Keeper::new(lent_max, STOCK_MAX);
    let workshop = Workshop { link, home, maker, keeper, recycle, account: None };
    exit_now(i32::from(workshop.serve().is_err()))
}

struct Workshop {
    link: OwnedFd,
    /// The network namespace to be in while nothing is made.
    home: OwnedFd,
    maker: Maker,
    keeper: Keeper<OwnedFd>,
    recycle: bool,
    /// What a new namespace told, and when.
    account: Option<(Account, Instant)>,
}

impl Workshop {
    /// Until the template is gone.
    fn serve(mut self) -> Result<(), Errno> {
        let mut buffer = [0; MESSAGE_BYTES];
        loop {
            let next = self.keeper.let_go(Instant::now());
            let mut link = [PollFd::new(self.link.as_fd(), PollFlags::POLLIN)];
            match poll(&mut link, super::timeout(next)) {
                Ok(0) | Err(Errno::EINTR) => continue,
                Ok(_) => {}
                Err(errno) => return Err(errno),
            }
            let Ok(received) = receive(self.link.as_fd(), &mut buffer) else { return Ok(()) };
            match Said::from_bytes(&buffer[..received.bytes]) {
                Some(Said::Order(number)) => self.fill(number)?,
                Some(Said::Gone(number)) => self.keeper.come_back(Instant::now(), number),
                // The end of the link.
                None => return Ok(()),
            }
        }
    }

    fn fill(&mut self, number: u64) -> Result<(), Errno> {
        match self.namespace() {
            Ok(namespace) => {
                let number_bytes = number.to_ne_bytes();
                let message = [&number_bytes[..], &self.keeper.tally.to_bytes()].concat();
                send(self.link.as_fd(), &message, &[namespace.as_fd()])?;
                if self.recycle {
                    self.keeper.lend(number, namespace);
                }
                Ok(())
            }
            Err(failure) => {
                let words = failure.to_string();
                let words = &words.as_bytes()[..words.len().min(MESSAGE_BYTES)];
                send(self.link.as_fd(), words, &[])?;
                Err(Errno::ECANCELED)
            }
        }
    }

    /// One that is used again, else a new one. Nobody stays in it: it must end with its zygote.
    fn namespace(&mut self) -> Result<OwnedFd, Failure> {
        let Self { keeper, maker, account, .. } = self;
        let account = account.as_ref().map(|(account, _)| account);
        let again = keeper.take(Instant::now(), |namespace| check(maker, account, namespace));
        let namespace = match again {
            Some(again) => Ok(again),
            None => self.make(),
        };
        setns(&self.home, CloneFlags::CLONE_NEWNET).at(Step::NetNamespace)?;
        namespace
    }

    fn make(&mut self) -> Result<OwnedFd, Failure> {
        self.maker.enter_new()?;
        self.keeper.tally.made += 1;
        let stale = self.account.as_ref().is_none_or(|(_, at)| at.elapsed() > ACCOUNT_AGE_MAX);
        if self.recycle && stale {
            let told = self.maker.procfs().and_then(|procfs| Account::of_new(procfs).ok());
            self.account = told.map(|account| (account, Instant::now()));
        }
        own("net")
    }
}

/// Enters a namespace that has come back, and looks whether it tells what a new one told.
fn check(maker: &mut Maker, account: Option<&Account>, namespace: &OwnedFd) -> Result<(), Doubt> {
    let (account, procfs) = account.zip(maker.procfs()).ok_or(Doubt::Unknown)?;
    setns(namespace, CloneFlags::CLONE_NEWNET).map_err(|_| Doubt::Unknown)?;
    account.check(procfs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_template_says_comes_through_a_message() {
        for said in [Said::Order(0), Said::Order(u64::MAX), Said::Gone(7)] {
            assert_eq!(Said::from_bytes(&said.to_bytes()), Some(said));
        }
        for wrong in [&[][..], &[0; SAID_BYTES - 1], &[2; SAID_BYTES]] {
            assert_eq!(Said::from_bytes(wrong), None, "{wrong:?}");
        }
    }
}
