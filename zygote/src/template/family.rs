//! The template's children: cloning zygotes, ending them, and knowing when each is gone.

use super::Layout;
use super::authority::{Slice, Stock, as_slice};
use super::inspection::{Doubt, Handles, Portrait};
use super::namespaces::Namespaces;
use super::network::Networks;
use crate::failure::{At, failure};
use crate::init;
use crate::sys::process::{self, Cloned, Reaped};
use nix::errno::Errno;
use nix::unistd::{Pid, getgid, getuid};
use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};
use zyg_protocol::message::{Failure, Recipe, Step};
use zyg_protocol::socket::pair;

/// What zygotes are cloned from.
pub(super) struct Origin<'a> {
    pub namespaces: &'a Namespaces,
    pub layout: &'a Layout,
    pub recipe: &'a Recipe,
}

/// A zygote that has just been cloned.
struct Born {
    pid: Pid,
    slice: Option<Slice>,
    /// The number of its network namespace, where that may be used again.
    network: Option<u64>,
}

/// A zygote that lives.
struct Member {
    slot: u64,
    slice: Option<Slice>,
    network: Option<u64>,
    looks: Looks,
}

/// What has been seen of a zygote that may be used again.
enum Looks {
    /// Nobody has looked yet.
    None,
    /// As it was when it was looked at last.
    Seen(Box<Portrait>),
    /// It could not be looked at before anybody had had it, so that nothing can be compared.
    InVain,
}

/// What a look at a zygote shows.
pub(super) enum Look {
    /// Nobody has had it before.
    First,
    /// Nothing tells of a lease, but for what its network tells: of this number.
    AsBefore { network: u64 },
}

/// Living zygotes, and the slices that they use.
///
/// By number, which is a zygote's until it is reaped here. With a descriptor for each, every clone
/// would copy them all, and every zygote close them all.
pub(super) struct Family {
    by_slot: HashMap<u64, Pid>,
    by_pid: HashMap<Pid, Member>,
    stock: Option<Stock>,
    /// The template's own uid and gid.
    own: (u32, u32),
    /// Since when a child may have ended that nobody has looked at.
    unsure_since: Option<Instant>,
}

/// Children that are all looked at whenever one has ended: 20 ns each.
const FEW: usize = 128;

/// How long an end may stay unnoticed among more than that, where one signal stood for several.
const UNSURE_MAX: Duration = Duration::from_millis(5);

impl Family {
    /// None yet. Call with the template's final identity.
    pub fn new(recipe: &Recipe) -> Self {
        Self {
            by_slot: HashMap::new(),
            by_pid: HashMap::new(),
            stock: recipe.authority.slices.map(|_| Stock::new(&recipe.authority)),
            own: (getuid().as_raw(), getgid().as_raw()),
            unsure_since: None,
        }
    }

    /// Clones a zygote that lives on this end of a lifeline, and remembers it until it is reaped. It
    /// sets itself up while the template goes on. After an error the lifeline is still open.
    pub fn spawn(
        &mut self,
        slot: u64,
        lifeline: &OwnedFd,
        networks: &mut Networks,
        origin: &Origin<'_>,
    ) -> Result<(), Failure> {
        let born = self.bear(slot, lifeline, networks, origin)?;
        let Born { pid, slice, network } = born;
        self.by_slot.insert(slot, pid);
        self.by_pid.insert(pid, Member { slot, slice, network, looks: Looks::None });
        Ok(())
    }

    fn bear(
        &mut self,
        slot: u64,
        lifeline: &OwnedFd,
        networks: &mut Networks,
        origin: &Origin<'_>,
    ) -> Result<Born, Failure> {
        let Some(stock) = &mut self.stock else {
            return clone(self.own, None, lifeline, networks, origin);
        };
        let Some(slice) = stock.take() else {
            let subject = b"with a subordinate id of its own: all are in use (see subuid(5))";
            return Err(failure(Step::Clone, subject, Errno::EAGAIN));
        };
        let born = as_slice(slice, self.own, || {
            clone((slice.uid, slice.gid), Some(slice), lifeline, networks, origin)
        });
        if born.is_err() {
            stock.give_back(slice);
        }
        log::debug!("slot {slot:#x} runs as uid {}", slice.uid);
        born
    }

    /// How many live.
    pub fn len(&self) -> usize {
        self.by_pid.len()
    }

    /// Has a zygote known under another name. Whether there is one.
    pub fn rename(&mut self, slot: u64, next: u64) -> bool {
        let Some(pid) = self.by_slot.remove(&slot) else { return false };
        self.by_slot.insert(next, pid);
        if let Some(member) = self.by_pid.get_mut(&pid) {
            member.slot = next;
        }
        true
    }

    /// Looks at a zygote, by what it has handed out for that.
    pub fn inspect(&mut self, slot: u64, handles: Vec<OwnedFd>) -> Result<Look, Doubt> {
        let pid = self.by_slot.get(&slot).ok_or(Doubt::Unseen)?;
        let member = self.by_pid.get_mut(pid).ok_or(Doubt::Unseen)?;
        let handles = Handles::new(handles).ok_or(Doubt::Unseen);
        let seen = handles.and_then(|handles| Portrait::take(*pid, &handles));
        let looks = std::mem::replace(&mut member.looks, Looks::InVain);
        let before = match looks {
            Looks::None => {
                member.looks = seen.map_or_else(
                    |doubt| {
                        log::warn!("a zygote will not be used again: {doubt}");
                        Looks::InVain
                    },
                    |portrait| Looks::Seen(Box::new(portrait)),
                );
                return Ok(Look::First);
            }
            Looks::Seen(before) => before,
            Looks::InVain => return Err(Doubt::Unseen),
        };
        let now = seen?;
        before.compare(&now)?;
        member.looks = Looks::Seen(Box::new(now));
        // One that is not from the stock is not known there.
        let network = member.network.ok_or(Doubt::Network)?;
        Ok(Look::AsBefore { network })
    }

    /// Kills a zygote; the kernel takes the rest of its pid namespace down (pid_namespaces(7)).
    pub fn destroy(&self, slot: u64) {
        let Some(pid) = self.by_slot.get(&slot) else {
            return;
        };
        let killed = process::open(*pid).and_then(|pidfd| process::kill(pidfd.as_fd()));
        if let Err(errno) = killed {
            log::error!("failed to kill the zygote of slot {slot:#x}: {errno}");
        }
    }

    /// The slots whose zygotes are gone, with all their processes: an init is reaped only after
    /// the last process of its namespace.
    ///
    /// `told` are the children that signals have told of; there may be more, for one signal can
    /// stand for several. Among few children all are looked for at once.
    pub fn reap(&mut self, told: &[Pid], networks: &mut Networks) -> Vec<u64> {
        if self.by_pid.len() <= FEW {
            return self.reap_all(networks);
        }
        self.unsure_since.get_or_insert_with(Instant::now);
        let ended = told.iter().filter_map(|child| match process::reap_child(*child) {
            Reaped::Ended(ended) => Some(ended.pid),
            Reaped::Running | Reaped::None => None,
        });
        let ended: Vec<Pid> = ended.collect();
        ended.into_iter().filter_map(|pid| self.forget(pid, networks)).collect()
    }

    /// How long until all children are to be looked at, because one may have ended untold.
    pub fn unsure_for(&self) -> Option<Duration> {
        self.unsure_since.map(|since| UNSURE_MAX.saturating_sub(since.elapsed()))
    }

    /// As [`Self::reap`], whatever signals have told.
    pub fn reap_all(&mut self, networks: &mut Networks) -> Vec<u64> {
        self.unsure_since = None;
        let mut gone = Vec::new();
        while let Reaped::Ended(ended) = process::reap() {
            gone.extend(self.forget(ended.pid, networks));
        }
        gone
    }

    /// Lets go of what a reaped child had, and returns its slot if it was a zygote.
    fn forget(&mut self, pid: Pid, networks: &mut Networks) -> Option<u64> {
        let Member { slot, slice, network, .. } = self.by_pid.remove(&pid)?;
        self.by_slot.remove(&slot);
        if let (Some(stock), Some(slice)) = (&mut self.stock, slice) {
            stock.give_back(slice);
        }
        if let Some(number) = network {
            networks.gone(number);
        }
        Some(slot)
    }
}

/// Clones a zygote with this uid and gid, which are the caller's own now.
fn clone(
    identity: (u32, u32),
    slice: Option<Slice>,
    lifeline: &OwnedFd,
    networks: &mut Networks,
    &Origin { namespaces, layout, recipe }: &Origin<'_>,
) -> Result<Born, Failure> {
    // Here, not in the zygote's network namespace: a socket would be seen there, and outlast it.
    let (channel, clients) = pair().at(Step::Sockets)?;
    let start = Instant::now();
    let own_network = networks.is_born_with_own(recipe.recycle);
    let clone_here = || match process::clone_zygote(own_network) {
        // The child never returns from here: it is not the template any more.
        Ok(Cloned::Child) => {
            let setup = init::Setup { layout, recipe, identity, start };
            let [lifeline, channel, clients] = [lifeline, &channel, &clients].map(AsFd::as_fd);
            init::main([lifeline, channel, clients, namespaces.procfs()], &setup)
        }
        Ok(Cloned::Parent { pid, .. }) => Ok(pid),
        Err(errno) => Err(errno).at(Step::Clone),
    };
    let (pid, network) = networks.in_zygotes(|| namespaces.in_tree(clone_here))?;
    Ok(Born { pid, slice, network })
}
