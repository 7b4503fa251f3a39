//! The template's children: cloning zygotes, ending them, and knowing when each is gone.

use super::authority::{Slice, Stock, as_slice};
use super::{Layout, Namespaces};
use crate::failure::{At, failure};
use crate::init;
use crate::sys::process::{self, Cloned, Reaped};
use nix::errno::Errno;
use nix::unistd::{Pid, getgid, getuid};
use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;
use zyg_protocol::message::{Failure, Recipe, Step};
use zyg_protocol::socket::pair;

/// A zygote that has just been cloned, and what the server needs of it.
pub(super) struct Born {
    pub pid: Pid,
    pub pidfd: OwnedFd,
    /// The client's end of the command channel.
    pub channel: OwnedFd,
    slice: Option<Slice>,
}

/// A zygote that lives.
struct Member {
    slot: u64,
    slice: Option<Slice>,
}

/// Living zygotes, and the slices that they use.
pub(super) struct Family {
    by_slot: HashMap<u64, OwnedFd>,
    by_pid: HashMap<Pid, Member>,
    stock: Option<Stock>,
    /// The template's own uid and gid.
    own: (u32, u32),
}

impl Family {
    /// None yet. Call with the template's final identity.
    pub fn new(recipe: &Recipe) -> Self {
        Self {
            by_slot: HashMap::new(),
            by_pid: HashMap::new(),
            stock: recipe.authority.slices.map(|_| Stock::new(&recipe.authority)),
            own: (getuid().as_raw(), getgid().as_raw()),
        }
    }

    /// Clones a zygote that lives on this end of a lifeline. It sets itself up while the template
    /// goes on.
    pub fn spawn(
        &mut self,
        slot: u64,
        lifeline: OwnedFd,
        namespaces: &Namespaces,
        layout: &Layout,
        recipe: &Recipe,
    ) -> Result<Born, Failure> {
        let Some(stock) = &mut self.stock else {
            return clone(self.own, None, lifeline, namespaces, layout, recipe);
        };
        let Some(slice) = stock.take() else {
            let subject = b"with a subordinate id of its own: all are in use (see subuid(5))";
            return Err(failure(Step::Clone, subject, Errno::EAGAIN));
        };
        let born = as_slice(slice, self.own, || {
            clone((slice.uid, slice.gid), Some(slice), lifeline, namespaces, layout, recipe)
        });
        if born.is_err() {
            stock.give_back(slice);
        }
        log::debug!("slot {slot:#x} runs as uid {}", slice.uid);
        born
    }

    /// Remembers a zygote until it is reaped.
    pub fn adopt(&mut self, slot: u64, born: Born) {
        self.by_slot.insert(slot, born.pidfd);
        self.by_pid.insert(born.pid, Member { slot, slice: born.slice });
    }

    /// Kills a zygote; the kernel takes the rest of its pid namespace down (pid_namespaces(7)).
    pub fn destroy(&self, slot: u64) {
        let Some(pidfd) = self.by_slot.get(&slot) else {
            return;
        };
        if let Err(errno) = process::kill(pidfd.as_fd()) {
            log::error!("failed to kill the zygote of slot {slot:#x}: {errno}");
        }
    }

    /// The slots whose zygotes are gone, with all their processes: an init is reaped only after
    /// the last process of its namespace.
    pub fn reap(&mut self) -> Vec<u64> {
        let mut gone = Vec::new();
        while let Reaped::Ended(ended) = process::reap() {
            if let Some(Member { slot, slice }) = self.by_pid.remove(&ended.pid) {
                self.by_slot.remove(&slot);
                if let (Some(stock), Some(slice)) = (&mut self.stock, slice) {
                    stock.give_back(slice);
                }
                gone.push(slot);
            }
        }
        gone
    }
}

/// Clones a zygote with this uid and gid, which are the caller's own now.
fn clone(
    identity: (u32, u32),
    slice: Option<Slice>,
    lifeline: OwnedFd,
    namespaces: &Namespaces,
    layout: &Layout,
    recipe: &Recipe,
) -> Result<Born, Failure> {
    let (channel, init_channel) = pair().at(Step::Sockets)?;
    let start = Instant::now();
    let own_network = namespaces.zygote_owns_network();
    let (pid, pidfd) =
        namespaces.in_zygote_network(|| match process::clone_zygote(own_network) {
            // The child never returns from here: it is not the template any more.
            Ok(Cloned::Child) => {
                let setup = init::Setup { layout, recipe, identity, start };
                init::main(lifeline, init_channel, &setup)
            }
            Ok(Cloned::Parent { pid, pidfd }) => Ok((pid, pidfd)),
            Err(errno) => Err(errno).at(Step::Clone),
        })?;
    Ok(Born { pid, pidfd, channel, slice })
}
