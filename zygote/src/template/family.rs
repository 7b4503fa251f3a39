//! The template's children: cloning zygotes, ending them, and knowing when each is gone.

use super::{Layout, Namespaces};
use crate::failure::At;
use crate::init;
use crate::sys::process::{self, Cloned, Reaped};
use nix::unistd::Pid;
use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;
use zyg_protocol::message::{Failure, Recipe, Step};
use zyg_protocol::socket::pair;

/// A zygote that has just been cloned, and what the server needs of it.
pub(super) struct Born {
    pub pid: Pid,
    pub pidfd: OwnedFd,
    /// The server's end of the lifeline.
    pub lifeline: OwnedFd,
    /// The client's end of the command channel.
    pub channel: OwnedFd,
}

/// Living zygotes by slot.
#[derive(Default)]
pub(super) struct Family {
    by_slot: HashMap<u64, OwnedFd>,
    by_pid: HashMap<Pid, u64>,
}

impl Family {
    /// Clones a zygote. It sets itself up while the template goes on.
    pub fn spawn(
        &self,
        slot: u64,
        namespaces: &Namespaces,
        layout: &Layout,
        recipe: &Recipe,
    ) -> Result<Born, Failure> {
        let (lifeline, init_lifeline) = pair().at(Step::Sockets)?;
        let (channel, init_channel) = pair().at(Step::Sockets)?;
        let start = Instant::now();
        let (pid, pidfd) = namespaces.in_fresh_network(|| match process::clone_zygote() {
            // The child never returns from here: it is not the template any more.
            Ok(Cloned::Child) => {
                let setup = init::Setup { layout, recipe, start };
                init::main(init_lifeline, init_channel, &setup)
            }
            Ok(Cloned::Parent { pid, pidfd }) => Ok((pid, pidfd)),
            Err(errno) => Err(errno).at(Step::Clone),
        })?;
        log::debug!("slot {slot:#x} is process {pid}");
        Ok(Born { pid, pidfd, lifeline, channel })
    }

    /// Remembers a zygote until it is reaped.
    pub fn adopt(&mut self, slot: u64, pid: Pid, pidfd: OwnedFd) {
        self.by_slot.insert(slot, pidfd);
        self.by_pid.insert(pid, slot);
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
            if let Some(slot) = self.by_pid.remove(&ended.pid) {
                self.by_slot.remove(&slot);
                gone.push(slot);
            }
        }
        gone
    }
}
