//! The rows whose samples are taken in turn: of each round one of every row, or a few where they cost
//! little, in an order that changes from round to round, so that all rows see the same machine and
//! none always follows the same other.

use super::floors::{Floor, Role};
use super::interrupt::go_on;
use super::peers::{Failed, Peer};
use super::progress::Progress;
use super::random::Random;
use super::row::{Chosen, Row, Side, kind};
use super::server::{Server, Subject};
use anyhow::bail;
use std::path::PathBuf;
use std::process::Command;
use std::rc::Rc;
use std::time::{Duration, Instant};
use zygote_client::{Client, Lease, LeaseOptions};

/// Executed by every row that executes something: the cheapest program there is.
pub const PROGRAM: &str = "/bin/true";

/// Rounds before those that count: code and caches get warm.
const WARM_UP: usize = 10;

/// What one sample of a row may take on average over all rounds; a slower row has fewer samples.
const SAMPLE_MAX: Duration = Duration::from_millis(25);

/// Samples that every row has at least.
const SAMPLES_MIN: usize = 10;

/// Quick rows that need more samples than there are rounds, and how many of each round they have: for
/// a 99th percentile, and for a goal that is hardly more than what executing a program always takes.
const OFTEN: [&str; 4] = ["seqpacket_rtt", "acquire", "spawn_true", "exec_true"];
const TIMES: usize = 6;

const POOLS: [(&str, &str); 2] =
    [("default", "min = 4, max = 64, learn = false"), ("cold", "min = 0, max = 64, learn = false")];

type Take = Box<dyn Fn(&Scene) -> anyhow::Result<Duration>>;

/// A row to be taken.
struct Turn {
    row: Row,
    take: Take,
    /// It has a sample in every so-manieth round.
    every: usize,
}

/// What the samples are taken with.
struct Scene {
    zyg: PathBuf,
    server: Server,
    echo: Floor,
    cloner: Floor,
}

/// Takes so many rounds of the rows that are chosen.
pub fn take(
    subject: &Subject,
    chosen: &Chosen,
    (peers, failed): (&[Rc<Peer>], &Failed),
    (rounds, seed): (usize, u64),
    progress: &Progress,
) -> anyhow::Result<Vec<Row>> {
    let mut turns = turns(chosen, peers, rounds);
    if turns.is_empty() {
        return Ok(Vec::new());
    }
    let scene = Scene {
        zyg: subject.zyg.clone(),
        server: subject.server(&POOLS)?,
        echo: Floor::start(&subject.zyg, Role::Echo)?,
        cloner: Floor::start(&subject.zyg, Role::Clone)?,
    };
    scene.wake_up(chosen)?;
    let mut random = Random::new(seed);
    let times = |turn: &Turn| if OFTEN.contains(&turn.row.kind.name) { TIMES } else { 1 };
    let mut order: Vec<usize> = turns
        .iter()
        .enumerate()
        .flat_map(|(index, turn)| std::iter::repeat_n(index, times(turn)))
        .collect();
    for round in 0..WARM_UP + rounds {
        progress.show("rounds", round, WARM_UP + rounds);
        random.shuffle(&mut order);
        for index in &order {
            scene.turn(round, &mut turns[*index], failed)?;
        }
    }
    Ok(turns.into_iter().map(|turn| turn.row).collect())
}

/// The rows that are chosen and can be taken.
fn turns(chosen: &Chosen, peers: &[Rc<Peer>], rounds: usize) -> Vec<Turn> {
    type Plain = fn(&Scene) -> anyhow::Result<Duration>;
    let own: [(&str, Plain); 11] = [
        ("seqpacket_rtt", Scene::round_trip),
        ("acquire", Scene::acquire),
        ("acquire_release", Scene::acquire_release),
        ("spawn_true", |_| spawn(&mut Command::new(PROGRAM))),
        ("bare_true", |_| spawn(&mut Command::new(PROGRAM))),
        ("exec_in_lease", Scene::exec_in_lease),
        ("exec_true", Scene::exec),
        ("zyg_run_true", Scene::run),
        ("clone_exit_no_net", |scene| Ok(scene.cloner.clones(false, 1)?.wall)),
        ("clone_exit", |scene| Ok(scene.cloner.clones(true, 1)?.wall)),
        ("cold_acquire", Scene::cold_acquire),
    ];
    let turn = |name: &str, every: usize, take: Take| {
        let kind = kind(name).filter(|_| chosen.has(name))?;
        Some(Turn { row: Row { kind, samples: Vec::new() }, take, every })
    };
    let peers = peers.iter().map(|peer| {
        let every = peer.trial.as_secs_f64() / SAMPLE_MAX.as_secs_f64();
        let every = (every as usize).clamp(1, (rounds / SAMPLES_MIN).max(1));
        let run = Rc::clone(peer);
        turn(peer.name, every, Box::new(move |_| run.run()))
    });
    own.map(|(name, take)| turn(name, 1, Box::new(take)))
        .into_iter()
        .chain(peers)
        .flatten()
        .collect()
}

impl Scene {
    /// The pools come into being with their first acquire.
    fn wake_up(&self, chosen: &Chosen) -> anyhow::Result<()> {
        drop(self.client().lease()?);
        if chosen.has("cold_acquire") {
            drop(self.client().acquire(&cold())?);
        }
        Ok(())
    }

    /// Takes a sample of the row if it has one in this round.
    fn turn(&self, round: usize, turn: &mut Turn, failed: &Failed) -> anyhow::Result<()> {
        let counted = round.checked_sub(WARM_UP);
        // A slow row warms up once.
        let name = turn.row.kind.name;
        if !counted.unwrap_or(round).is_multiple_of(turn.every) || failed.has(name) {
            return Ok(());
        }
        self.server.settle()?;
        let taken = (turn.take)(self);
        // What a signal to the terminal has ended is no failure of the row's.
        go_on()?;
        let us = match taken {
            Ok(took) => took.as_secs_f64() * 1e6,
            Err(error) if turn.row.kind.side == Side::Peer => {
                failed.note(name, &error);
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        if counted.is_some() {
            turn.row.samples.push(us);
        }
        Ok(())
    }

    fn client(&self) -> &Client {
        &self.server.client
    }

    /// A row of messages comes right after a message to the same process that does not count: who
    /// is asked was asked before, of the floor and of zyg alike.
    fn round_trip(&self) -> anyhow::Result<Duration> {
        self.echo.round_trip()?;
        Ok(self.echo.round_trip()?.0)
    }

    fn acquired(&self, options: &LeaseOptions) -> anyhow::Result<(Instant, Lease)> {
        self.client().status()?;
        let start = Instant::now();
        Ok((start, self.client().acquire(options)?))
    }

    fn acquire(&self) -> anyhow::Result<Duration> {
        let (start, _lease) = self.acquired(&LeaseOptions::new())?;
        Ok(start.elapsed())
    }

    fn cold_acquire(&self) -> anyhow::Result<Duration> {
        let (start, lease) = self.acquired(&cold())?;
        let took = start.elapsed();
        if lease.start() == zygote_client::Start::Warm {
            bail!("a pool that keeps nothing warm had something warm");
        }
        Ok(took)
    }

    fn acquire_release(&self) -> anyhow::Result<Duration> {
        let (start, lease) = self.acquired(&LeaseOptions::new())?;
        drop(lease);
        Ok(start.elapsed())
    }

    fn exec(&self) -> anyhow::Result<Duration> {
        let (start, lease) = self.acquired(&LeaseOptions::new())?;
        run_in(&lease)?;
        Ok(start.elapsed())
    }

    fn exec_in_lease(&self) -> anyhow::Result<Duration> {
        let (_, lease) = self.acquired(&LeaseOptions::new())?;
        let start = Instant::now();
        run_in(&lease)?;
        Ok(start.elapsed())
    }

    fn run(&self) -> anyhow::Result<Duration> {
        let mut command = Command::new(&self.zyg);
        command.args(["run", "--socket"]).arg(&self.server.socket).args(["--", PROGRAM]);
        spawn(command.env_remove("ZYG_PROFILE"))
    }
}

fn cold() -> LeaseOptions {
    let mut options = LeaseOptions::new();
    options.profile("cold");
    options
}

/// Runs the program in a lease until its exit is known.
pub fn run_in(lease: &Lease) -> anyhow::Result<()> {
    match lease.command(PROGRAM).current_dir("/").status()? {
        status if status.success() => Ok(()),
        status => bail!("{PROGRAM} ended with {status}"),
    }
}

/// Runs a command until its exit is known; how long that took.
pub fn spawn(command: &mut Command) -> anyhow::Result<Duration> {
    let start = Instant::now();
    let status = command.status()?;
    let took = start.elapsed();
    if !status.success() {
        bail!("{command:?} ended with {status}");
    }
    Ok(took)
}
