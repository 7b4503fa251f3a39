//! The process of the stock: makes network namespaces, looks at those that were used, and says what
//! it has seen.

use super::TELL_AFTER;
use super::account::{Account, Doubt};
use super::keeper::{KEPT_MAX, Keeper};
use super::namespaces::own;
use super::network::Maker;
use super::stock::{ADOPTED_MAX, MESSAGE_BYTES, News, Said};
use crate::failure::At;
use crate::sys;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};
use nix::sched::{CloneFlags, setns};
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::signal::Signal;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};
use sys::process::exit_now;
use zyg_protocol::message::{Failure, Step};
use zyg_protocol::socket::{receive, send};

/// Descriptors that the process needs beside those of namespaces that zygotes have.
const OTHER_DESCRIPTORS: usize = 32 + KEPT_MAX;

/// How long an account of a new namespace is good for: what modules and settings of the host are like
/// may change, and with it what new ones tell.
const ACCOUNT_AGE_MAX: Duration = Duration::from_secs(10);

/// Makes what is ordered until the template is gone, and closes everything else.
pub(super) fn run(link: OwnedFd, news: OwnedFd, home: OwnedFd, recycle: bool) -> ! {
    let kept = sys::descriptors::keep_only([link.as_fd(), news.as_fd(), home.as_fd()]);
    std::mem::forget((link, news, home));
    // The end of the link ends it; this, one that is stopped.
    let _ = nix::sys::prctl::set_pdeathsig(Signal::SIGKILL);
    sys::process::stand_back();
    let Ok([link, news, home]) = kept else { exit_now(1) };
    let most = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft as usize);
    let lent_max = if recycle { most.saturating_sub(OTHER_DESCRIPTORS) } else { 0 };
    let maker = Maker::new(sys::mount::own_procfs);
    let keeper = Keeper::new(lent_max, KEPT_MAX);
    let told_at = Instant::now();
    let workshop =
        Workshop { link, news, home, maker, keeper, recycle, adopted: 0, told_at, account: None };
    exit_now(i32::from(workshop.serve().is_err()))
}

struct Workshop {
    link: OwnedFd,
    /// Where questions are answered, and what has become of namespaces is told.
    news: OwnedFd,
    /// The network namespace to be in while nothing is made.
    home: OwnedFd,
    maker: Maker,
    keeper: Keeper<OwnedFd>,
    recycle: bool,
    /// Namespaces that came from the template and of which it was not told.
    adopted: u64,
    /// When what has become of namespaces was told last.
    told_at: Instant,
    /// What a new namespace told, and when.
    account: Option<(Account, Instant)>,
}

impl Workshop {
    /// Until the template is gone.
    fn serve(mut self) -> Result<(), Errno> {
        let mut buffer = [0; MESSAGE_BYTES];
        loop {
            self.answer()?;
            let now = Instant::now();
            let left = self.keeper.let_go(now);
            let wakes = [left, self.keeper.settles_in(now), self.tell(now)?];
            let next = wakes.into_iter().flatten().min();
            let mut link = [PollFd::new(self.link.as_fd(), PollFlags::POLLIN)];
            match poll(&mut link, super::timeout(next)) {
                Ok(0) | Err(Errno::EINTR) => continue,
                Ok(_) => {}
                Err(errno) => return Err(errno),
            }
            let Ok(mut received) = receive(self.link.as_fd(), &mut buffer) else { return Ok(()) };
            match Said::from_bytes(&buffer[..received.bytes]) {
                Some(Said::Order(number)) => self.fill(number)?,
                Some(Said::Ask(number)) => self.keeper.ask(Instant::now(), number),
                Some(Said::Gone(number)) => self.keeper.come_back(Instant::now(), number),
                Some(Said::Adopt(number)) => {
                    let namespace = received.descriptors.pop().ok_or(Errno::EBADMSG)?;
                    self.adopted += 1;
                    self.keeper.lend(number, namespace);
                }
                // The end of the link.
                None => return Ok(()),
            }
        }
    }

    /// Answers what can be answered by now.
    fn answer(&mut self) -> Result<(), Errno> {
        let Self { news, keeper, maker, account, .. } = self;
        let mut looked = false;
        loop {
            let account = account.as_ref().map(|(account, _)| account);
            let look = |namespace: &OwnedFd| check(maker, account, namespace);
            let Some((number, answer)) = keeper.answer(Instant::now(), look) else { break };
            looked = true;
            send(news.as_fd(), &News::Verdict { number, answer }.to_bytes(), &[])?;
        }
        if looked { setns(&self.home, CloneFlags::CLONE_NEWNET) } else { Ok(()) }
    }

    /// Tells what has become of namespaces, if that is due, and else returns when it is.
    fn tell(&mut self, now: Instant) -> Result<Option<Duration>, Errno> {
        if self.keeper.fates.is_empty() && self.adopted == 0 {
            return Ok(None);
        }
        let left = TELL_AFTER.saturating_sub(now.duration_since(self.told_at));
        // The template has no more adopted than it has room for until it hears of these.
        if !left.is_zero() && self.adopted < ADOPTED_MAX / 2 {
            return Ok(Some(left));
        }
        let fates = std::mem::take(&mut self.keeper.fates);
        let told = News::Became { adopted: std::mem::take(&mut self.adopted), fates };
        self.told_at = now;
        send(self.news.as_fd(), &told.to_bytes(), &[]).map(|()| None)
    }

    fn fill(&mut self, number: u64) -> Result<(), Errno> {
        match self.namespace() {
            Ok(namespace) => {
                send(self.link.as_fd(), &number.to_ne_bytes(), &[namespace.as_fd()])?;
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
