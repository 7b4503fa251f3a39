//! `zyg bench`: what an environment costs on this machine, beside what it is made of and beside
//! what other programs take for the same.
//!
//! `rows` takes the samples of single times in turn, round by round, so that all rows see the same
//! machine; `load` those of throughput, CPU time and memory, each next to its floor. A ratio is to
//! a row of the same run, never to a number from elsewhere, and where that row was not steady there
//! is no verdict (`noise`, `goals`). `scale` is a run of its own: curves over how much there is.

mod chart;
mod floors;
mod goals;
mod interrupt;
mod load;
mod noise;
mod peers;
mod plot;
mod progress;
mod random;
mod report;
mod row;
mod rows;
mod scale;
mod server;
mod stats;
mod watch;

pub use floors::Role;

use crate::EXIT_SUCCESS;
use crate::cli::Bench;
use anyhow::Context;
use interrupt::{EXIT_INTERRUPTED, Interrupted};
use load::Amount;
use nix::libc::O_NONBLOCK;
use noise::Beginning;
use peers::{Failed, Peers};
use progress::Progress;
use report::Report;
use row::Chosen;
use server::Subject;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::Duration;

/// Rounds unless the user says how many.
const ROUNDS: u32 = 300;
const ROUNDS_QUICK: u32 = 40;

/// Parked zygotes whose memory is measured, unless the user says how many.
const ZYGOTES: u32 = 1_000;
const ZYGOTES_QUICK: u32 = 240;

/// Measures, and prints what came of it.
pub fn bench(bench: &Bench) -> anyhow::Result<u8> {
    if let Some(role) = bench.role {
        return floors::play(role).map(|()| EXIT_SUCCESS);
    }
    interrupt::listen()?;
    let zyg = std::env::current_exe().context("failed to find zyg's own program")?;
    let named = |path: &Option<PathBuf>| path.as_ref().map(std::path::absolute).transpose();
    let absolute = || Ok::<_, io::Error>((named(&bench.socket)?, named(&bench.svg)?));
    let (socket, svg_file) = absolute().context("failed to find the current directory")?;
    let picture = svg_file.map(Picture::open).transpose()?;
    // Whatever is run is run there: elsewhere `zyg run` also makes its working directory private.
    std::env::set_current_dir("/").context("failed to change to /")?;
    let subject = Subject { zyg, socket };
    let measured =
        if bench.scale { scale::measure(&subject, bench) } else { measure(&subject, bench) };
    let (text, svg) = match measured {
        Err(error) if error.is::<Interrupted>() => return Ok(EXIT_INTERRUPTED),
        measured => measured?,
    };
    std::io::stdout().write_all(text.as_bytes()).context("failed to print")?;
    if let Some(picture) = picture {
        picture.draw(&svg)?;
    }
    Ok(EXIT_SUCCESS)
}

/// Where the picture is to be.
struct Picture {
    file: PathBuf,
    /// Whether the file is there only because it was tried, so that it goes if there is no picture.
    made: bool,
}

impl Picture {
    /// Before all that is measured: a picture that cannot be written is worth no minute. What is there
    /// stays until there is another.
    fn open(file: PathBuf) -> anyhow::Result<Self> {
        let opened = |made| {
            fs::OpenOptions::new()
                .append(true)
                .create_new(made)
                .custom_flags(O_NONBLOCK)
                .open(&file)
        };
        let made = match opened(true) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                opened(false).map(|_| false)
            }
            made => made.map(|_| true),
        };
        let made = made.with_context(|| format!("failed to write {}", file.display()))?;
        Ok(Self { file, made })
    }

    fn draw(mut self, svg: &str) -> anyhow::Result<()> {
        fs::write(&self.file, svg)
            .with_context(|| format!("failed to write {}", self.file.display()))?;
        self.made = false;
        Ok(())
    }
}

impl Drop for Picture {
    fn drop(&mut self) {
        if self.made {
            let _ = fs::remove_file(&self.file);
        }
    }
}

/// The rows, as text and as a picture.
fn measure(subject: &Subject, bench: &Bench) -> anyhow::Result<(String, String)> {
    let chosen = Chosen::new(&bench.only, subject.socket.is_some())?;
    let progress = Progress::new();
    let beginning = Beginning::now()?;
    let rounds = bench.rounds.unwrap_or(if bench.quick { ROUNDS_QUICK } else { ROUNDS });
    let rows_of = |name: &str| [name.to_owned(), format!("churn_{name}")];
    let mut peers = Peers::find(
        |name| rows_of(name).iter().any(|row| chosen.has(row)),
        |name| rows_of(name).iter().any(|row| bench.only.contains(row)),
        &progress,
    )?;
    let (usable, failed) = (peers.usable.clone(), Failed::default());
    let with = (usable.as_slice(), &failed);
    let turns = (rounds as usize, bench.seed);
    let mut rows = Vec::new();
    if chosen.has("memory") {
        let zygotes = bench.zygotes.unwrap_or(if bench.quick { ZYGOTES_QUICK } else { ZYGOTES });
        rows.push(load::memory(subject, zygotes, &progress)?);
    }
    rows.extend(rows::take(subject, &chosen, with, turns, &progress)?);
    rows.extend(load::take(subject, &chosen, with, &amount(bench), &progress)?);
    drop(progress);
    // What a peer has done before it failed says nothing of it.
    rows.retain(|row| !peer_of(row.kind.name).is_some_and(|peer| failed.has(peer)));
    peers.give_up(&failed);
    let conditions = beginning.until_now(&rows)?;
    let report = Report::new(rows, conditions, &peers, bench.seed);
    let text = if bench.json { format!("{}\n", report.json()) } else { report.table() };
    Ok((text, plot::svg(report.rows(), &report.machine())))
}

/// Whose row it is, if it is a peer's.
fn peer_of(row: &str) -> Option<&str> {
    let kind = row::kind(row).filter(|kind| kind.side == row::Side::Peer)?;
    Some(kind.name.strip_prefix("churn_").unwrap_or(kind.name))
}

/// Nine of each at the least: thirds of fewer say nothing about a drift.
fn amount(bench: &Bench) -> Amount {
    let quick = bench.quick;
    let slice = Duration::from_millis(if quick { 100 } else { 600 });
    Amount { slices: (9, slice), cycles: (9, if quick { 1 } else { 5 }) }
}
