//! What the kernel charges for the parts alone, by processes of the bench's own that do nothing
//! else: an echo for the round trip, one with a single thread for clones.

use super::server::{Ended, own_pidfd};
use anyhow::{Context, bail};
use clap::ValueEnum;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use zyg_protocol::codec::{Message, encode};
use zyg_protocol::message::{Acquire, Granted, LeaseId, Reply, Request, Start};
use zyg_protocol::socket;
use zygote::bench_floor::{Spent, clone_and_exit};

/// What a process of the bench's own is for; it ends when its standard input does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// Answers every message with as much as a grant is.
    Echo,
    /// Clones as many processes as it is told, and says what they cost.
    Clone,
}

/// A process in one of the roles.
#[derive(Debug)]
pub struct Floor {
    link: OwnedFd,
    request: Vec<u8>,
    _process: Ended,
}

impl Floor {
    /// Starts it.
    pub fn start(zyg: &Path, role: Role) -> anyhow::Result<Self> {
        let (link, theirs) = socket::pair().context("failed to make a socket pair")?;
        let mut command = Command::new(zyg);
        let name = if role == Role::Echo { "echo" } else { "clone" };
        command.args(["bench", "--role", name]).stdin(theirs);
        let process = Ended::start(&mut command).context("failed to start a floor's process")?;
        Ok(Self { link, request: request()?, _process: process })
    }

    /// A round trip to the echo, and the descriptors that came back.
    pub fn round_trip(&self) -> anyhow::Result<(Duration, Vec<OwnedFd>)> {
        let mut buffer = [0; 256];
        let start = Instant::now();
        socket::send(self.link.as_fd(), &self.request, &[])?;
        let received = socket::receive(self.link.as_fd(), &mut buffer)?;
        let took = start.elapsed();
        match received.descriptors.len() {
            2 => Ok((took, received.descriptors)),
            other => bail!("the echo sent {other} descriptors"),
        }
    }

    /// What so many clones in a row cost, each with exit and reap.
    pub fn clones(&self, network: bool, count: u32) -> anyhow::Result<Spent> {
        let mut order = [0; 5];
        order[0] = network.into();
        order[1..].copy_from_slice(&count.to_le_bytes());
        socket::send(self.link.as_fd(), &order, &[])?;
        let mut answer = [0; 16];
        if socket::receive(self.link.as_fd(), &mut answer)?.bytes != answer.len() {
            bail!("failed to clone into fresh namespaces (see `zyg doctor`)");
        }
        let (wall, cpu) = answer.split_at(8);
        let time = |bytes: &[u8]| {
            let bytes = bytes.try_into().expect("half of sixteen bytes");
            Duration::from_nanos(u64::from_le_bytes(bytes))
        };
        Ok(Spent { wall: time(wall), cpu: time(cpu) })
    }
}

/// Plays a role until standard input ends.
pub fn play(role: Role) -> anyhow::Result<()> {
    let link = zygote::inherited_descriptor(0).context("standard input is not open")?;
    match role {
        Role::Echo => echo(&link),
        Role::Clone => clone(&link),
    }
}

fn echo(link: &OwnedFd) -> anyhow::Result<()> {
    let answer = grant()?;
    let (channel, _other) = socket::pair().context("failed to make a socket pair")?;
    let pidfd = own_pidfd()?;
    let mut buffer = [0; 256];
    while socket::receive(link.as_fd(), &mut buffer)?.bytes > 0 {
        socket::send(link.as_fd(), &answer, &[channel.as_fd(), pidfd.as_fd()])?;
    }
    Ok(())
}

fn clone(link: &OwnedFd) -> anyhow::Result<()> {
    let mut order = [0; 5];
    while socket::receive(link.as_fd(), &mut order)?.bytes > 0 {
        let [network, count @ ..] = order;
        let spent = clone_and_exit(network != 0, u32::from_le_bytes(count))?;
        let mut answer = Vec::with_capacity(16);
        for time in [spent.wall, spent.cpu] {
            answer.extend_from_slice(&(time.as_nanos() as u64).to_le_bytes());
        }
        socket::send(link.as_fd(), &answer, &[])?;
    }
    Ok(())
}

/// The bytes of an acquire that asks for nothing in particular.
fn request() -> anyhow::Result<Vec<u8>> {
    encoded(&Request::Acquire(Acquire { request: 1000, ..Acquire::default() }))
}

/// The bytes of its grant.
fn grant() -> anyhow::Result<Vec<u8>> {
    encoded(&Reply::Granted(Granted {
        request: 1000,
        lease: LeaseId(1000),
        start: Start::Warm,
        waited_us: 20,
        time_ms: None,
        start_in: None,
        attach: Vec::new(),
    }))
}

fn encoded(message: &impl Message) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    encode(message, &mut bytes)?;
    Ok(bytes)
}
