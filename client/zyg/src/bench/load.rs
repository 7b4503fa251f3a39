//! The rows that are not single times: throughput on all CPUs, CPU time, memory. Each sample is
//! next to one of its floor.

use super::floors::{Floor, Role};
use super::interrupt::go_on;
use super::peers::{Failed, Peer};
use super::progress::Progress;
use super::row::{Chosen, Row, Side, kind};
use super::rows::{PROGRAM, run_in, spawn};
use super::server::{Server, Subject};
use anyhow::Context;
use std::fs;
use std::process::Command;
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};
use zygote_client::Client;

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub struct Amount {
    /// Time slices of each row of the churn, and how long one is.
    pub slices: (usize, Duration),
    /// Groups of cycles, and how often [`BATCH`] of them happen in a group. The kernel shows what
    /// ended processes have used in ticks of 10 ms: a group must take many.
    pub cycles: (usize, usize),
}

/// Acquires in a row, each of which must find the pool warm.
const BATCH: u32 = 48;

/// Takes the rows that are chosen.
pub fn take(
    subject: &Subject,
    chosen: &Chosen,
    with: (&[Rc<Peer>], &Failed),
    amount: &Amount,
    progress: &Progress,
) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    if chosen.has("churn_bare") {
        rows.extend(churn(subject, chosen, with, amount.slices, progress)?);
    }
    if chosen.has_any(&["cycle", "server_cpu", "clone_exit_cpu"]) {
        rows.extend(cycles(subject, amount.cycles, progress)?);
    }
    rows.retain(|row| chosen.has(row.kind.name));
    Ok(rows)
}

fn row(name: &str, samples: Vec<f64>) -> anyhow::Result<Row> {
    Ok(Row { kind: kind(name).context("every row has its kind")?, samples })
}

/// Does it once, as this thread.
type Act<'a> = Box<dyn Fn(usize) -> anyhow::Result<()> + Sync + 'a>;

/// Slices of each row in turn, each with one thread for each CPU.
fn churn(
    subject: &Subject,
    chosen: &Chosen,
    (peers, failed): (&[Rc<Peer>], &Failed),
    (slices, slice): (usize, Duration),
    progress: &Progress,
) -> anyhow::Result<Vec<Row>> {
    let server = subject.server(&[("default", "min = 4, max = 64")])?;
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let clients: Vec<Client> =
        (0..threads).map(|_| Client::connect(&server.socket)).collect::<Result<_, _>>()?;
    let mut acts: Vec<(String, Act<'_>)> = vec![
        ("churn_bare".into(), Box::new(|_| spawn(&mut Command::new(PROGRAM)).map(drop))),
        ("churn".into(), Box::new(|thread| run_in(&clients[thread].lease()?))),
    ];
    for peer in peers {
        let peer: &Peer = peer;
        acts.push((format!("churn_{}", peer.name), Box::new(|_| peer.run().map(drop))));
    }
    acts.retain(|(name, _)| chosen.has(name));
    let mut rows =
        acts.iter().map(|(name, _)| row(name, Vec::new())).collect::<Result<Vec<_>, _>>()?;
    for index in 0..slices {
        progress.show("churn", index, slices);
        for ((_, act), row) in acts.iter().zip(&mut rows) {
            let peer = row.kind.name.strip_prefix("churn_").filter(|_| row.kind.side == Side::Peer);
            if peer.is_some_and(|peer| failed.has(peer)) {
                continue;
            }
            server.settle()?;
            let rate = per_second(threads, slice, act);
            go_on()?;
            match (rate, peer) {
                (Ok(rate), _) => row.samples.push(rate),
                (Err(error), Some(peer)) => failed.note(peer, &error),
                (Err(error), None) => return Err(error),
            }
        }
    }
    Ok(rows)
}

/// How often threads do something in a second, all of them together. What a slice begins with does
/// not count: it lives on what was ready before.
fn per_second(threads: usize, slice: Duration, act: &Act<'_>) -> anyhow::Result<f64> {
    let start = Instant::now();
    let rate = &|thread: usize| {
        let (mut first, mut count) = (None, 0_u32);
        loop {
            let done = act(thread);
            go_on()?;
            done?;
            let now = start.elapsed();
            let Some(first) = first else {
                first = (now >= slice / 2).then_some(now);
                continue;
            };
            count += 1;
            if now >= slice {
                return Ok::<_, anyhow::Error>(f64::from(count) / (now - first).as_secs_f64());
            }
        }
    };
    thread::scope(|scope| {
        let started: Vec<_> =
            (0..threads).map(|thread| scope.spawn(move || rate(thread))).collect();
        started.into_iter().map(|thread| thread.join().expect("no thread panics")).sum()
    })
}

/// What the CPUs spend on environments in which nothing runs: each acquire takes a warm one and each
/// release has it destroyed and the next one built.
fn cycles(
    subject: &Subject,
    (groups, batches): (usize, usize),
    progress: &Progress,
) -> anyhow::Result<[Row; 3]> {
    // Warm ones for a whole batch: none waits, and none is cold.
    let server = subject.server(&[("default", "min = 64, max = 256, learn = false")])?;
    let cloner = Floor::start(&subject.zyg, Role::Clone)?;
    // Each look costs the server as much as half a lease.
    let pause = Duration::from_millis(20);
    let warm = |pool: &zygote_client::PoolStatus| pool.warm >= pool.target;
    drop(server.client.lease()?);
    server.settle_each(pause, warm)?;
    let (mut below, mut above, mut floor) = (Vec::new(), Vec::new(), Vec::new());
    for group in 0..groups {
        progress.show("cycles", group, groups);
        let (start_below, start_above) = (server.cpu_below()?, server.cpu()?);
        let mut spent = Duration::ZERO;
        for _ in 0..batches {
            for _ in 0..BATCH {
                drop(server.client.lease()?);
            }
            server.settle_each(pause, warm)?;
            spent += cloner.clones(false, BATCH)?.cpu;
        }
        let each = |time: Duration| time.as_secs_f64() * 1e6 / (batches as f64 * f64::from(BATCH));
        below.push(each(server.cpu_below()?.saturating_sub(start_below)));
        above.push(each(server.cpu()?.saturating_sub(start_above)));
        floor.push(each(spent));
    }
    Ok([row("clone_exit_cpu", floor)?, row("cycle", below)?, row("server_cpu", above)?])
}

/// What more parked zygotes take from the memory that is free, by a server that is given more and more
/// of them, and before anything else was measured: none goes meanwhile, and what the kernel keeps of
/// those that are gone would make the next ones look small.
pub fn memory(subject: &Subject, zygotes: u32, progress: &Progress) -> anyhow::Result<Row> {
    // As many as it takes for an interval that one step does not decide.
    const STEPS: u32 = 10;
    const FEW: u32 = 4;
    let step = zygotes.div_ceil(STEPS);
    let pool = format!("min = 0, max = {}, learn = false", step * STEPS + 2 * FEW);
    let server = subject.server(&[("default", pool.as_str())])?;
    // Template and server are there, whatever they keep for the first few included.
    park(&server, FEW)?;
    let mut before = steady_memory()?;
    let mut each = Vec::new();
    for index in 0..STEPS {
        progress.show("memory", index as usize, STEPS as usize);
        park(&server, step)?;
        let now = steady_memory()?;
        each.push((now - before) / f64::from(step));
        before = now;
    }
    row("memory", each)
}

/// What is in use when it does not change any more, or, where others are busy, after a while: the
/// kernel takes its time with what a namespace that is gone has held.
fn steady_memory() -> anyhow::Result<f64> {
    const PAUSE: Duration = Duration::from_millis(50);
    const LOOKS_MAX: usize = 60;
    const STEADY_KIB: f64 = 256.0;
    let mut before = memory_used()?;
    for _ in 0..LOOKS_MAX {
        go_on()?;
        thread::sleep(PAUSE);
        let now = memory_used()?;
        if (now - before).abs() <= STEADY_KIB {
            return Ok(now);
        }
        before = now;
    }
    Ok(before)
}

/// How long zygotes stay parked: longer than what is measured with them takes. The server of a bench that
/// was killed stays for no longer.
const PARKED_FOR: Duration = Duration::from_secs(300);

/// Has so many more zygotes parked.
pub fn park(server: &Server, count: u32) -> anyhow::Result<()> {
    let parked: u32 = server.client.status()?.profiles.iter().map(|pool| pool.reserved).sum();
    let fit = server.client.reserve(None, count, PARKED_FOR)?;
    anyhow::ensure!(
        fit >= parked + count,
        "no more than {fit} environments fit: the limit on descriptors (ulimit -n) bounds how many there \
         may be"
    );
    let pause = Duration::from_millis(20);
    server.settle_each(pause, |pool| pool.warm >= pool.target)
}

/// KiB that are in use, what is cached of files apart: it comes and goes with whoever else reads.
fn memory_used() -> anyhow::Result<f64> {
    let text = fs::read_to_string("/proc/meminfo").context("failed to read /proc/meminfo")?;
    let kib = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok())
            .with_context(|| format!("/proc/meminfo does not tell {name}"))
    };
    let free: f64 = ["MemFree", "Active(file)", "Inactive(file)"]
        .into_iter()
        .map(kib)
        .sum::<anyhow::Result<f64>>()?;
    Ok(kib("MemTotal")? - free)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_in_use_is_some_and_not_all() {
        assert!(memory_used().unwrap() > 1024.0);
    }

    #[test]
    fn what_threads_do_is_counted_together() {
        let slice = Duration::from_millis(50);
        let nap: Act<'_> = Box::new(|_| {
            thread::sleep(Duration::from_millis(5));
            Ok(())
        });
        let no: Act<'_> = Box::new(|_| anyhow::bail!("no"));
        let rate = per_second(2, slice, &nap).unwrap();
        assert!((20.0..=400.0).contains(&rate), "{rate}");
        assert!(per_second(2, slice, &no).is_err());
    }
}
