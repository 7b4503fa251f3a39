//! Network namespaces for zygotes: with nothing but `lo`, up, and ports that are all free to bind.
//!
//! They are owned by the template's user namespace, so no command holds a capability over the one
//! that it runs in.

use super::namespaces::own;
use super::stock::{Stock, Stocked, Verdict};
use crate::failure::At;
use crate::sys;
use nix::errno::Errno;
use nix::fcntl::AT_FDCWD;
use nix::sched::{CloneFlags, setns, unshare};
use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use zyg_protocol::message::{Failure, Fates, Network, Recipe, Recycle, Step};

/// Network namespaces that are set up through one procfs: few enough that none of them takes
/// noticeably longer than the first, and many enough that a new procfs, 100 µs, is not felt.
///
/// For the kernel the file of each is another one of the same name in the same directory, and it
/// looks through all of those that live for the right one: 2 µs for each.
const PER_PROCFS: u32 = 64;

/// The network namespaces between which the template moves.
pub(super) struct Networks {
    /// The template's own.
    own: OwnedFd,
    /// What zygotes get.
    kind: Network,
    stock: Stock,
    maker: Maker,
}

impl Networks {
    /// Enters a network namespace of the template's own, where zygotes are to have one.
    pub fn create(recipe: &Recipe) -> Result<Self, Failure> {
        let kind = recipe.network;
        if kind != Network::Host {
            unshare(CloneFlags::CLONE_NEWNET).at(Step::NetNamespace)?;
        }
        let stock = Stock::new(recipe.confinement.descriptors.1, recipe.recycle);
        Ok(Self { own: own("net")?, kind, stock, maker: Maker::new(sys::mount::new_procfs) })
    }

    /// Whether a zygote is to be born in a network namespace of its own: any other makes one later,
    /// when it locks its mounts.
    pub fn is_born_with_own(&self, recycle: Recycle) -> bool {
        self.kind == Network::Own && recycle == Recycle::Whole
    }

    /// Runs `act` in the network namespace that a zygote is to have from the template: one of which
    /// nothing tells that anybody has been in it, unless the profile says otherwise. Returns the
    /// namespace's number, too, if it is to be [`Self::gone`].
    pub fn in_zygotes<T>(
        &mut self,
        act: impl FnOnce() -> Result<T, Failure>,
    ) -> Result<(T, Option<u64>), Failure> {
        if self.kind != Network::Loopback {
            return act().map(|made| (made, None));
        }
        let (entered, number) = self.enter();
        let made = entered.and_then(|()| act());
        // Also after an error: the template must not keep a zygote's network namespace alive.
        if let Err(errno) = setns(&self.own, CloneFlags::CLONE_NEWNET) {
            // Whatever is cloned from here would share it: never go on.
            log::error!("failed to leave a zygote's network namespace: {errno}");
            std::process::exit(1);
        }
        if let (Err(_), Some(number)) = (&made, number) {
            self.gone(number);
        }
        made.map(|made| (made, number))
    }

    /// Enters one, and tells its number if it is to be [`Self::gone`].
    fn enter(&mut self) -> (Result<(), Failure>, Option<u64>) {
        if let Some(Stocked { number, namespace }) = self.stock.take() {
            let entered = setns(namespace, CloneFlags::CLONE_NEWNET).at(Step::NetNamespace);
            return (entered, Some(number));
        }
        let made = self.maker.enter_new();
        let adopted = made.as_ref().ok().and_then(|()| self.stock.adopt(|| own("net").ok()));
        (made, adopted)
    }

    /// Takes note that all processes of the zygote with the namespace of this number are gone.
    pub fn gone(&mut self, number: u64) {
        self.stock.gone(number);
    }

    /// As [`Stock::ask`].
    pub fn ask(&mut self, number: u64) {
        self.stock.ask(number);
    }

    /// As [`Stock::news`].
    pub fn news(&self) -> Option<BorrowedFd<'_>> {
        self.stock.news()
    }

    /// As [`Stock::became`].
    pub fn became(&mut self) -> Fates {
        self.stock.became()
    }

    /// As [`Stock::answers`].
    pub fn answers(&mut self) -> Vec<Verdict> {
        self.stock.answers()
    }

    /// As [`Stock::is_behind`].
    pub fn is_behind(&self) -> bool {
        self.stock.is_behind()
    }

    /// As [`Stock::backlog`].
    pub fn backlog(&self) -> Option<BorrowedFd<'_>> {
        self.stock.backlog()
    }

    /// As [`Stock::tell`].
    pub fn tell(&mut self) {
        self.stock.tell();
    }

    /// Sees to network namespaces for the zygotes to come, where this many live.
    pub fn prepare_for(&mut self, zygotes: usize) {
        if self.kind == Network::Loopback {
            self.stock.prepare_for(zygotes, &self.own);
        }
    }
}

/// Makes network namespaces, at the same cost however many there are.
pub(super) struct Maker {
    /// Where new ones come from.
    procfs_source: fn() -> Result<OwnedFd, Errno>,
    /// A procfs that no zygote sees, and how many namespaces were set up through it.
    procfs: Option<(OwnedFd, u32)>,
    /// Whether the kernel has refused one.
    refused: bool,
}

impl Maker {
    /// Gets a new procfs from there whenever it needs one.
    pub fn new(procfs_source: fn() -> Result<OwnedFd, Errno>) -> Self {
        Self { procfs_source, procfs: None, refused: false }
    }

    /// Enters a new network namespace.
    pub fn enter_new(&mut self) -> Result<(), Failure> {
        self.renew();
        unshare(CloneFlags::CLONE_NEWNET).at(Step::NetNamespace)?;
        match &mut self.procfs {
            Some((procfs, used)) => {
                *used += 1;
                set_up_through(procfs.as_fd(), UNPRIVILEGED_PORTS)
            }
            None => set_up(),
        }
    }

    /// A procfs in which the settings of the caller's network namespace can be looked at as fast as in a
    /// new one.
    pub fn procfs(&mut self) -> Option<BorrowedFd<'_>> {
        self.renew();
        let (procfs, used) = self.procfs.as_mut()?;
        *used += 1;
        Some(OwnedFd::as_fd(procfs))
    }

    /// Sees to a procfs that has few files yet. What is known of them goes with the old one.
    fn renew(&mut self) {
        let usable = self.procfs.as_ref().is_some_and(|(_, used)| *used < PER_PROCFS);
        if usable || self.refused {
            return;
        }
        match (self.procfs_source)() {
            Ok(procfs) => self.procfs = Some((procfs, 0)),
            Err(errno) => {
                self.refused = true;
                let slower = "environments take longer to make the more there are";
                log::warn!("{slower}: the kernel refuses a procfs of the template's own: {errno}");
            }
        }
    }
}

/// Where the first port is told that takes no privilege (ip(7)): one file for each network
/// namespace since Linux 4.11, that of whoever opens it.
const UNPRIVILEGED_PORTS: &CStr = c"sys/net/ipv4/ip_unprivileged_port_start";

/// As [`set_up`], by the settings of the caller's network in this directory, `/proc/sys/net`.
pub(crate) fn set_up_by(settings: &OwnedFd) -> Result<(), Failure> {
    set_up_through(settings.as_fd(), c"ipv4/ip_unprivileged_port_start")
}

/// Makes a fresh network namespace, the caller's own one, fit for servers and their tests.
pub(crate) fn set_up() -> Result<(), Failure> {
    set_up_through(AT_FDCWD, c"/proc/sys/net/ipv4/ip_unprivileged_port_start")
}

fn set_up_through(procfs: BorrowedFd<'_>, ports: &CStr) -> Result<(), Failure> {
    sys::net::raise_loopback().at(Step::Loopback)?;
    sys::file::tell_at(procfs, ports, b"0").at_subject(Step::NetNamespace, ports.to_bytes())
}
