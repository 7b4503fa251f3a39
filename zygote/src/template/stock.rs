//! Network namespaces made ahead of demand or used again, by a process of the template's that stands
//! back for everybody else.
//!
//! It has the template's user namespace and a link to the template, and nothing else; it never
//! becomes a zygote. It is pid 1 of a pid namespace that the template owns, and so may mount a procfs
//! for it. An order is one message, and so is what has been made, with the namespace as a
//! descriptor. What is made waits in the link, where no zygote is cloned with it.
//!
//! Where zygotes are used again as a whole, it is asked whether the namespace of one tells nothing. What
//! it answers comes through a link of its own, not behind what waits; and so does what has become of
//! namespaces, for the status.
//!
//! Where namespaces are recycled, it keeps a descriptor of each that it has made or adopted, is told
//! when the zygote that had it is gone, and fills an order with one that tells nothing of that (see
//! `keeper` and `account`) rather than to make one.
//!
//! The template never waits for it: what is not there yet it makes itself, and has it adopted. The
//! process is the nicest there is, in the template's session, so that it is weighed with it (see
//! `priority`): where somebody waits for zygotes, it does not stand back from the commands of others
//! while the template makes with more effort what it has not got round to.
//!
//! It is not of the policy `SCHED_IDLE` (sched(7)): one that does not get to run while it has the kernel's
//! locks over all network namespaces keeps everybody waiting who makes one. With both of two
//! processors busy that was up to 0.2 s in most runs with `SCHED_IDLE`, and at nice 19 hardly more
//! than without it, 20 ms (Linux 6.18).

use super::account::Doubt;
use super::workshop;
use crate::failure::At;
use crate::sys;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use std::collections::VecDeque;
use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};
use sys::process::{Cloned, fork_apart};
use zyg_protocol::message::{Failure, Fate, Fates, Recycle, Step};
use zyg_protocol::socket::{pair, receive, send};

/// Network namespaces in stock, 230 KiB each: what a burst takes at once. Refilling it takes 15 ms.
const STOCK_MAX: usize = 32;

/// Namespaces on their way to the process, which need not get to run. Each counts as in flight until
/// then.
pub(super) const ADOPTED_MAX: u64 = 32;

/// What may wait to be told to the process, 16 bytes each: more than can come at once. One that
/// does not hear it has been stopped.
const UNTOLD_MAX: usize = 1 << 16;

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
const DEAF: &str = "its process does not hear what it is told";

/// Bytes of a message at most. What comes back is a number and a descriptor, or a failure's words; or
/// news.
pub(super) const MESSAGE_BYTES: usize = 256;

/// Bytes of what the template says: what it is, and a number.
const SAID_BYTES: usize = 9;

/// What the template says to the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    /// A namespace is wanted, to be known under this number.
    Order(u64),
    /// Nothing is left of the zygote that had that one.
    Gone(u64),
    /// The zygote that has that one may be used again with it: does it tell nothing?
    Ask(u64),
    /// That one the template has made itself; its descriptor rides along.
    Adopt(u64),
}

impl Said {
    fn to_bytes(self) -> [u8; SAID_BYTES] {
        let (kind, number) = match self {
            Self::Order(number) => (0, number),
            Self::Gone(number) => (1, number),
            Self::Ask(number) => (2, number),
            Self::Adopt(number) => (3, number),
        };
        let mut bytes = [kind; SAID_BYTES];
        bytes[1..].copy_from_slice(&number.to_ne_bytes());
        bytes
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (kind, number) = bytes.split_first()?;
        let number = u64::from_ne_bytes(number.try_into().ok()?);
        match kind {
            0 => Some(Self::Order(number)),
            1 => Some(Self::Gone(number)),
            2 => Some(Self::Ask(number)),
            3 => Some(Self::Adopt(number)),
            _ => None,
        }
    }
}

/// What the process says beside what it makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum News {
    /// The answer to [`Said::Ask`].
    Verdict {
        /// About which namespace.
        number: u64,
        /// Whether it tells what a new one tells.
        answer: Result<(), Doubt>,
    },
    /// What has become of namespaces since this was told last.
    Became {
        /// How many came from the template.
        adopted: u64,
        fates: Fates,
    },
}

impl News {
    const DOUBTS: [Doubt; 4] = [Doubt::Sockets, Doubt::Traffic, Doubt::Other, Doubt::Unknown];

    /// What the first byte says where it is no verdict's.
    const BECAME: u8 = u8::MAX;

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let (kind, numbers) = match self {
            Self::Verdict { number, answer } => {
                let doubt = |doubt| Self::DOUBTS.iter().position(|other| *other == doubt);
                let code = answer.err().and_then(doubt).map_or(0, |place| place as u8 + 1);
                (code, vec![*number])
            }
            Self::Became { adopted, fates } => {
                let counts = Fate::ALL.map(|fate| fates.of(fate));
                (Self::BECAME, [*adopted].into_iter().chain(counts).collect())
            }
        };
        let numbers = numbers.into_iter().flat_map(u64::to_ne_bytes);
        [kind].into_iter().chain(numbers).collect()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (kind, numbers) = bytes.split_first()?;
        let (numbers, []) = numbers.as_chunks() else { return None };
        let mut numbers = numbers.iter().map(|number| u64::from_ne_bytes(*number));
        let (first, counts) = (numbers.next()?, numbers);
        if *kind == Self::BECAME && counts.len() == Fate::ALL.len() {
            let met = Fate::ALL.into_iter().zip(counts).filter(|(_, count)| *count > 0);
            return Some(Self::Became { adopted: first, fates: met.collect() });
        }
        let answer = match usize::from(*kind).checked_sub(1) {
            None => Ok(()),
            Some(place) => Err(*Self::DOUBTS.get(place)?),
        };
        (counts.len() == 0).then_some(Self::Verdict { number: first, answer })
    }
}

/// An answer to [`Stock::ask`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Verdict {
    /// About which namespace.
    pub number: u64,
    /// Whether it tells what a new one tells.
    pub answer: Result<(), Doubt>,
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
    recycle: Recycle,
    /// The number of the next order.
    next: u64,
    /// Namespaces that a process was asked about which has ended.
    unanswered: Vec<u64>,
    /// What has become of those that were lent, as far as the process has told and nobody was told.
    fates: Fates,
}

/// The process that makes namespaces.
struct Process {
    /// It is reaped with the zygotes, and its number may be somebody else's then.
    pidfd: OwnedFd,
    link: OwnedFd,
    /// What it says beside what it makes.
    news: OwnedFd,
    /// Ordered and not taken.
    ordered: usize,
    /// What it could not be told yet.
    untold: VecDeque<Said>,
    /// Namespaces that it was asked about.
    asked: Vec<u64>,
    /// Namespaces that it was sent and has not told of.
    adopting: u64,
}

impl Stock {
    /// None yet. With this hard descriptor limit (0 where it is not known).
    pub fn new(descriptors: u64, recycle: Recycle) -> Self {
        let allowed = descriptors >= DESCRIPTORS_MIN;
        let (unanswered, next, fates) = (Vec::new(), 0, Fates::default());
        Self { process: None, wanted: 0, retry: None, allowed, recycle, next, unanswered, fates }
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
        if self.recycle == Recycle::None {
            return;
        }
        if let Some(process) = &mut self.process {
            process.untold.push_back(Said::Gone(number));
        }
        self.tell();
    }

    /// Asks whether the namespace of this number tells nothing: answered by [`Self::answers`], later.
    pub fn ask(&mut self, number: u64) {
        match &mut self.process {
            Some(process) => {
                process.asked.push(number);
                process.untold.push_back(Said::Ask(number));
            }
            None => self.unanswered.push(number),
        }
        self.tell();
    }

    /// Where news come from.
    pub fn news(&self) -> Option<BorrowedFd<'_>> {
        self.process.as_ref().map(|process| process.news.as_fd())
    }

    /// What has been answered. Of a process that has ended nothing is known.
    pub fn answers(&mut self) -> Vec<Verdict> {
        let mut answers = Vec::new();
        if let Some(process) = &mut self.process
            && let Err(reason) = process.hear(&mut answers, &mut self.fates)
        {
            self.lost(&reason);
        }
        let unknown = |number| Verdict { number, answer: Err(Doubt::Unknown) };
        answers.extend(self.unanswered.drain(..).map(unknown));
        answers
    }

    /// What has become of namespaces that were lent, since this was asked last.
    pub fn became(&mut self) -> Fates {
        std::mem::take(&mut self.fates)
    }

    /// Whether [`Self::answers`] has something to say whatever is heard.
    pub fn is_behind(&self) -> bool {
        !self.unanswered.is_empty()
    }

    /// The link, where it has no room for what is to be told: [`Self::tell`] when there is some.
    pub fn backlog(&self) -> Option<BorrowedFd<'_>> {
        let behind = self.process.as_ref().filter(|process| !process.untold.is_empty());
        behind.map(|process| process.link.as_fd())
    }

    /// Tells what is to be told, as far as there is room for it.
    pub fn tell(&mut self) {
        let Some(process) = &mut self.process else { return };
        match process.tell() {
            Ok(()) if process.untold.len() <= UNTOLD_MAX => {}
            Ok(()) => self.lost(DEAF),
            Err(Errno::EPIPE) => self.lost(ENDED),
            Err(errno) => self.lost(errno.desc()),
        }
    }

    /// Takes one that has been made or may be used again, without waiting for any.
    pub fn take(&mut self) -> Option<Stocked> {
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

    /// Has one that the template has made itself kept like one from stock, under the number that is
    /// returned. `None` where that cannot be: it ends with its zygote.
    pub fn adopt(&mut self, namespace: impl FnOnce() -> Option<OwnedFd>) -> Option<u64> {
        let process = self.process.as_mut().filter(|_| self.recycle != Recycle::None)?;
        if process.adopting >= ADOPTED_MAX {
            return None;
        }
        let number = self.next;
        let said = Said::Adopt(number).to_bytes();
        send(process.link.as_fd(), &said, &[namespace()?.as_fd()]).ok()?;
        process.adopting += 1;
        self.next += 1;
        Some(number)
    }

    fn may_start(&self) -> bool {
        self.retry.is_none_or(|(at, _)| Instant::now() >= at)
    }

    /// Goes on without, for a while.
    fn lost(&mut self, reason: &str) {
        if let Some(mut process) = self.process.take() {
            process.end();
            self.unanswered.append(&mut process.asked);
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
    fn start(home: &OwnedFd, recycle: Recycle) -> Result<Self, Failure> {
        let (link, theirs) = pair().at(Step::Sockets)?;
        let (news, from) = pair().at(Step::Sockets)?;
        for end in [&link, &news] {
            fcntl(end, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).at(Step::Sockets)?;
        }
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
                std::mem::forget((link, news));
                workshop::run(theirs, from, home, recycle != Recycle::None)
            }
            Cloned::Parent { pidfd, .. } => {
                let (untold, asked) = (VecDeque::new(), Vec::new());
                Ok(Self { pidfd, link, news, ordered: 0, untold, asked, adopting: 0 })
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
        while let Some(said) = self.untold.front()
            && self.say(*said)?
        {
            self.untold.pop_front();
        }
        Ok(())
    }

    fn hear(&mut self, answers: &mut Vec<Verdict>, became: &mut Fates) -> Result<(), String> {
        use zyg_protocol::socket::ReceiveError::WouldBlock;
        let mut buffer = [0; MESSAGE_BYTES];
        loop {
            match receive(self.news.as_fd(), &mut buffer) {
                Ok(received) if received.bytes > 0 => {
                    match News::from_bytes(&buffer[..received.bytes]).ok_or(GARBLED)? {
                        News::Verdict { number, answer } => {
                            self.asked.retain(|asked| *asked != number);
                            answers.push(Verdict { number, answer });
                        }
                        News::Became { adopted, fates } => {
                            self.adopting = self.adopting.saturating_sub(adopted);
                            became.add_all(&fates);
                        }
                    }
                }
                Err(WouldBlock) => return Ok(()),
                Ok(_) | Err(_) => return Err(ENDED.to_owned()),
            }
        }
    }

    /// Whether there was room to say it: without any it has enough to do.
    fn say(&self, said: Said) -> Result<bool, Errno> {
        match send(self.link.as_fd(), &said.to_bytes(), &[]) {
            Ok(()) => Ok(true),
            Err(Errno::EAGAIN) => Ok(false),
            Err(errno) => Err(errno),
        }
    }

    fn take(&mut self) -> Result<Option<Stocked>, String> {
        use zyg_protocol::socket::ReceiveError::{Os, TooManyDescriptors, WouldBlock};
        let mut buffer = [0; MESSAGE_BYTES];
        match receive(self.link.as_fd(), &mut buffer) {
            Ok(mut received) if received.descriptors.len() == 1 => {
                self.ordered = self.ordered.saturating_sub(1);
                let number = buffer[..received.bytes].try_into().map(u64::from_ne_bytes);
                let number = number.map_err(|_| GARBLED)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_template_says_comes_through_a_message() {
        let said =
            [Said::Order(0), Said::Order(u64::MAX), Said::Gone(7), Said::Ask(8), Said::Adopt(9)];
        for said in said {
            assert_eq!(Said::from_bytes(&said.to_bytes()), Some(said));
        }
        for wrong in [&[][..], &[0; SAID_BYTES - 1], &[4; SAID_BYTES]] {
            assert_eq!(Said::from_bytes(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn what_the_process_says_comes_through_a_message() {
        let doubts = News::DOUBTS.map(Err);
        for answer in doubts.into_iter().chain([Ok(())]) {
            let verdict = News::Verdict { number: u64::MAX - 7, answer };
            assert_eq!(News::from_bytes(&verdict.to_bytes()), Some(verdict));
        }
        for fates in [Fates::default(), Fate::ALL.into_iter().zip(1..).collect()] {
            let became = News::Became { adopted: 3, fates };
            assert!(became.to_bytes().len() <= MESSAGE_BYTES);
            assert_eq!(News::from_bytes(&became.to_bytes()), Some(became));
        }
        for wrong in [&[][..], &[0; 8], &[0; 17], &[5; 9], &[News::BECAME; 9]] {
            assert_eq!(News::from_bytes(wrong), None, "{wrong:?}");
        }
    }
}
