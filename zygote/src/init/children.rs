//! Commands that run, and how they end. Everything else that ends here is an orphan: reaped, and
//! nobody's concern.

use super::EVERYONE;
use crate::sys::process::{Ended, Reaped, reap};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::VecDeque;
use std::time::Instant;
use zyg_protocol::message::{CommandId, FromInit};

struct Running {
    command: CommandId,
    pid: Pid,
    started: Instant,
    sweep: bool,
}

/// The commands of a lease. A handful, so a vector is searched.
#[derive(Default)]
pub(super) struct Children {
    running: Vec<Running>,
    /// Reports held back until every process here has ended.
    held: VecDeque<FromInit>,
    sweeping: bool,
}

impl Children {
    pub fn add(&mut self, command: CommandId, pid: Pid, started: Instant, sweep: bool) {
        self.running.push(Running { command, pid, started, sweep });
    }

    pub fn len(&self) -> usize {
        self.running.len()
    }

    /// Whether everything is being ended.
    pub fn sweeping(&self) -> bool {
        self.sweeping
    }

    pub fn pid_of(&self, command: CommandId) -> Option<Pid> {
        self.running.iter().find(|running| running.command == command).map(|running| running.pid)
    }

    /// Takes processes that have ended, so many at the `most`, until one is to be told of. While the
    /// environment is swept nothing is told before the last process is gone.
    pub fn reap(&mut self, most: &mut u32) -> Option<FromInit> {
        loop {
            if !self.sweeping
                && let Some(end) = self.held.pop_front()
            {
                return Some(end);
            }
            if *most == 0 {
                return None;
            }
            match reap() {
                Reaped::Ended(ended) => {
                    *most -= 1;
                    self.note(ended);
                }
                Reaped::Running => {
                    if self.sweeping {
                        // Again, for those that were forked meanwhile.
                        let _ = kill(EVERYONE, Signal::SIGKILL);
                    }
                    return None;
                }
                Reaped::None if self.held.is_empty() => {
                    self.sweeping = false;
                    return None;
                }
                Reaped::None => self.sweeping = false,
            }
        }
    }

    fn note(&mut self, ended: Ended) {
        let Some(index) = self.running.iter().position(|running| running.pid == ended.pid) else {
            return;
        };
        let running = self.running.swap_remove(index);
        let mut usage = ended.usage;
        usage.wall_us = running.started.elapsed().as_micros() as u64;
        self.sweeping |= running.sweep;
        self.held.push_back(FromInit::Exited {
            command: running.command,
            status: ended.status,
            usage,
        });
    }
}
