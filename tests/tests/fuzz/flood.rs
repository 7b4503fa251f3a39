//! Many hostile parties at once, driven by one thread that never waits for one of them.

use crate::link::Link;
use crate::mutate::Mutation;
use crate::random::Random;
use crate::tally::Tally;
use crate::watch::Pace;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::collections::VecDeque;
use std::fmt::Debug;
use std::os::fd::AsFd;
use std::path::Path;
use zyg_protocol::limits::MESSAGE_BYTES_MAX;
use zyg_protocol::message::LeaseId;
use zyg_tests::{PATIENCE, Server};

/// How often what happens: once in so many messages, or parties; 0 for never.
#[derive(Debug, Clone, Copy)]
pub struct Mix {
    /// Messages that are spoilt.
    pub mutate_one_in: usize,
    /// Messages that carry descriptors where none belong.
    pub descriptors_one_in: usize,
    /// Parties that never read.
    pub deaf_one_in: usize,
    /// Messages that a party says, at most.
    pub life: usize,
}

/// What the parties of one flood share.
pub struct World<'a> {
    pub socket: &'a Path,
    /// A directory that may be shown in environments.
    pub directory: &'a str,
    pub mix: Mix,
    pub tally: Tally,
    pub buffer: Vec<u8>,
    /// Leases that were granted lately.
    pub leases: Vec<LeaseId>,
    /// Descriptors that are on their way.
    pub flying: usize,
    spoilt: VecDeque<(Mutation, Vec<u8>)>,
}

/// What a turn came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    Moved,
    Still,
    Over,
}

/// Somebody hostile.
pub trait Party: Debug {
    fn begin(world: &mut World<'_>, random: Random) -> Self;

    /// Hears what there is to hear. Never waits.
    fn hear(&mut self, world: &mut World<'_>) -> Turn;

    /// Says something. Never waits.
    fn speak(&mut self, world: &mut World<'_>) -> Turn;

    /// Whether it never reads.
    fn is_deaf(&self) -> bool;

    /// Whether it has something to say for which there was no room.
    fn has_unsaid(&self) -> bool;

    /// Says nothing new from now on.
    fn retire(&mut self);

    fn link(&self) -> &Link;

    /// Descriptors that it has sent and that may still be on their way.
    fn flying(&self) -> usize;

    /// Hears what there is to hear, then says something.
    fn turn(&mut self, world: &mut World<'_>) -> Turn {
        let heard = if self.is_deaf() { Turn::Still } else { self.hear(world) };
        if heard == Turn::Over {
            return Turn::Over;
        }
        match self.speak(world) {
            Turn::Still => heard,
            turn => turn,
        }
    }

    /// What it cannot go on without: an answer, or room to say what it has to say.
    fn awaits(&self) -> PollFlags {
        let read = if self.is_deaf() { PollFlags::empty() } else { PollFlags::POLLIN };
        if self.has_unsaid() { read | PollFlags::POLLOUT } else { read }
    }
}

impl World<'_> {
    /// Remembers what is told when the test fails.
    pub fn remember(&mut self, mutation: Mutation, bytes: &[u8]) {
        self.spoilt.push_back((mutation, bytes[..bytes.len().min(80)].to_vec()));
        if self.spoilt.len() > 20 {
            self.spoilt.pop_front();
        }
    }

    /// Remembers a lease, so that others try to end it.
    pub fn granted(&mut self, lease: LeaseId) {
        self.leases.push(lease);
        if self.leases.len() > 64 {
            self.leases.remove(0);
        }
    }
}

impl Drop for World<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}the last that were spoilt: {:x?}", self.tally, self.spoilt);
        }
    }
}

/// Has so many parties talk to a server, or to what it grants, until so many messages are judged.
pub fn flood<P: Party>(
    server: &Server,
    parties: usize,
    mix: Mix,
    messages: u64,
    pace: &mut Pace,
    random: &mut Random,
) -> Tally {
    let directory = server.directory().join("shown");
    std::fs::create_dir(&directory).unwrap();
    let mut world = World {
        socket: server.socket(),
        directory: directory.to_str().unwrap(),
        mix,
        tally: Tally::default(),
        buffer: vec![0; MESSAGE_BYTES_MAX],
        leases: Vec::new(),
        flying: 0,
        spoilt: VecDeque::new(),
    };
    let mut talking: Vec<P> = Vec::new();
    talking.extend((0..parties).map(|_| P::begin(&mut world, random.fork())));
    let mut still = 0;
    while !talking.is_empty() {
        let at = random.below(talking.len());
        let over = world.tally.judged >= messages;
        if over {
            talking[at].retire();
        }
        still += 1;
        match talking[at].turn(&mut world) {
            Turn::Still => {}
            Turn::Moved => still = 0,
            Turn::Over => {
                still = 0;
                world.flying -= talking.swap_remove(at).flying();
                if !over {
                    talking.push(P::begin(&mut world, random.fork()));
                }
            }
        }
        // Until it is as good as certain that each had its turn.
        if still > 8 * parties {
            wait(&talking);
            still = 0;
        }
        pace.reached(world.tally.judged);
    }
    std::mem::take(&mut world.tally)
}

/// Waits until any of them can go on.
fn wait<P: Party>(parties: &[P]) {
    let polled = parties.iter().map(|one| PollFd::new(one.link().as_fd(), one.awaits()));
    let mut polled: Vec<_> = polled.collect();
    let timeout = PollTimeout::try_from(PATIENCE).unwrap();
    let ready = poll(&mut polled, timeout).unwrap();
    assert!(ready > 0, "nobody goes on: {parties:#?}");
}
