//! `zyg bench --scale`: what an environment costs where many are parked, and where many clients ask.

use super::chart::{Axis, Chart, Series, Style};
use super::floors::{Floor, Role};
use super::interrupt::{Interrupted, go_on};
use super::load::park;
use super::noise::Beginning;
use super::progress::Progress;
use super::row::{Row, kind};
use super::server::{Server, Subject};
use super::stats::Sorted;
use crate::cli::Bench;
use anyhow::Context;
use serde_json::{Value, json};
use std::fmt::Write;
use std::sync::RwLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use zygote_client::{Client, LeaseOptions, Start};

/// Parked zygotes, each with a net namespace, at which it is measured.
const ZYGOTES: [u32; 5] = [10, 100, 1_000, 2_500, 5_000];

/// Clients with an open connection.
const CLIENTS: [usize; 6] = [1, 4, 16, 64, 256, 512];

/// Zygotes that are parked while the number of clients changes: one for each that asks at once.
const FOR_CLIENTS: u32 = CLIENTS[CLIENTS.len() - 1] as u32;

/// Times that all clients ask at once, at least.
const BURSTS_MIN: usize = 5;

/// Between looks at a pool: each costs the server as much as half a lease.
const PAUSE: Duration = Duration::from_millis(20);

/// What was measured at one size.
#[derive(Debug, Clone)]
struct Point {
    size: usize,
    /// Request to lease in hand, warm.
    acquire: Sorted,
    /// CPU time of the server for an acquire and its release, in microseconds.
    server: f64,
    /// Only over zygotes.
    building: Option<Building>,
    /// Only over clients: until all that ask at once have their leases, for each of them.
    at_once: Option<Sorted>,
}

/// What one more costs where so many net namespaces live.
#[derive(Debug, Clone, Default)]
struct Building {
    /// Building one on demand, and taking it down until nothing is left.
    spawn: Sorted,
    destroy: Sorted,
    /// A clone into as many fresh namespaces, and its exit: the kernel's part of both.
    floor: Sorted,
}

/// The curves, and where they stop before their last size.
#[derive(Debug, Default)]
struct Curves {
    zygotes: Vec<Point>,
    clients: Vec<Point>,
    stopped: Vec<String>,
}

/// Measures both curves; as text and as a picture.
pub fn measure(subject: &Subject, bench: &Bench) -> anyhow::Result<(String, String)> {
    let progress = Progress::new();
    let beginning = Beginning::now()?;
    let samples = bench.rounds.unwrap_or(if bench.quick { 48 } else { 192 }) as usize;
    let mut curves = Curves::default();
    let mut floor = alone(subject, samples)?;
    over_zygotes(subject, samples, &mut curves, &progress)?;
    over_clients(subject, samples, &mut curves, &progress)?;
    floor.extend(alone(subject, samples)?);
    drop(progress);
    let kind = kind("clone_exit").context("every row has its kind")?;
    let conditions = beginning.until_now(&[Row { kind, samples: floor }])?;
    let text = if bench.json {
        let whole = json!({
            "version": 1,
            "machine": conditions.json(),
            "zygotes": curves.zygotes.iter().map(Point::json).collect::<Vec<_>>(),
            "clients": curves.clients.iter().map(Point::json).collect::<Vec<_>>(),
            "stopped": curves.stopped,
        });
        format!("{whole}\n")
    } else {
        let noise = conditions.noise();
        format!("{}\n{}; {noise}.\n", curves.table(), conditions.machine())
    };
    Ok((text, curves.chart(&conditions.machine()).svg()))
}

/// Clones into fresh namespaces while nothing is parked, before all and after all: whether the machine has
/// stayed what it was.
fn alone(subject: &Subject, samples: usize) -> anyhow::Result<Vec<f64>> {
    let cloner = Floor::start(&subject.zyg, Role::Clone)?;
    let mut times = Vec::new();
    for _ in 0..samples.div_ceil(4) {
        times.push(cloner.clones(true, 1)?.wall.as_secs_f64() * 1e6);
        go_on()?;
    }
    Ok(times)
}

fn over_zygotes(
    subject: &Subject,
    samples: usize,
    curves: &mut Curves,
    progress: &Progress,
) -> anyhow::Result<()> {
    let most = ZYGOTES[ZYGOTES.len() - 1];
    let pools = [
        ("default", format!("min = 0, max = {}, learn = false", most + 64)),
        ("cold", "min = 0, max = 16, learn = false".to_owned()),
    ];
    let server = subject.server(&pools.each_ref().map(|(name, pool)| (*name, pool.as_str())))?;
    drop(server.client.acquire(&cold())?);
    let cloner = Floor::start(&subject.zyg, Role::Clone)?;
    let mut parked = 0;
    for (index, size) in ZYGOTES.into_iter().enumerate() {
        progress.show("zygotes", index, ZYGOTES.len());
        if let Err(error) = park(&server, size - parked) {
            if error.is::<Interrupted>() {
                return Err(error);
            }
            let pools = server.client.status()?.profiles;
            let warm: u32 = pools.iter().map(|pool| pool.warm).sum();
            curves.stopped.push(format!("zygotes: stopped at {warm} of {size}: {error:#}"));
            return Ok(());
        }
        parked = size;
        let clients = std::slice::from_ref(&server.client);
        let mut point = at(&server, clients, size as usize, samples)?;
        point.building = Some(building(&server, &cloner, samples.div_ceil(4))?);
        curves.zygotes.push(point);
    }
    Ok(())
}

fn over_clients(
    subject: &Subject,
    samples: usize,
    curves: &mut Curves,
    progress: &Progress,
) -> anyhow::Result<()> {
    let pool = format!("min = 0, max = {}, learn = false", 2 * FOR_CLIENTS);
    let server = subject.server(&[("default", pool.as_str())])?;
    park(&server, FOR_CLIENTS)?;
    let mut clients = Vec::new();
    for (index, size) in CLIENTS.into_iter().enumerate() {
        progress.show("clients", index, CLIENTS.len());
        while clients.len() < size {
            // One answered request each: a connection counts when it is a session.
            let connected = Client::connect(&server.socket).map_err(anyhow::Error::from);
            match connected.and_then(|client| Ok(client.status().map(|_| client)?)) {
                Ok(client) => clients.push(client),
                Err(error) => {
                    let has = clients.len();
                    curves.stopped.push(format!("clients: stopped at {has} of {size}: {error:#}"));
                    return Ok(());
                }
            }
        }
        let mut point = at(&server, &clients, size, samples.max(size))?;
        point.at_once = Some(at_once(&server, &clients, samples.div_ceil(size).max(BURSTS_MIN))?);
        curves.clients.push(point);
    }
    Ok(())
}

/// Acquires and releases, one after the other, by each client in its turn.
fn at(server: &Server, clients: &[Client], size: usize, samples: usize) -> anyhow::Result<Point> {
    // In batches that find the pool warm, however small it is.
    let batch = if size < 48 && clients.len() == 1 { 8 } else { 48 };
    let options = LeaseOptions::new();
    let (mut times, mut spent, mut taken) = (Vec::new(), Duration::ZERO, 0);
    let mut turns = clients.iter().cycle();
    while taken < samples {
        server.settle_each(PAUSE, |pool| pool.warm >= pool.target)?;
        let before = server.cpu()?;
        for client in turns.by_ref().take(batch) {
            let start = Instant::now();
            let lease = client.acquire(&options)?;
            let took = start.elapsed();
            anyhow::ensure!(lease.start() == Start::Warm, "the pool was empty");
            times.push(took.as_secs_f64() * 1e6);
        }
        taken += batch;
        server.settle_each(PAUSE, |pool| pool.warm >= pool.target)?;
        spent += server.cpu()?.saturating_sub(before);
        go_on()?;
    }
    Ok(Point {
        size,
        acquire: Sorted::new(times),
        server: spent.as_secs_f64() * 1e6 / taken as f64,
        building: None,
        at_once: None,
    })
}

/// Has all clients ask at the same time, each in a thread of its own, and wait for each other.
fn at_once(server: &Server, clients: &[Client], bursts: usize) -> anyhow::Result<Sorted> {
    let options = LeaseOptions::new();
    let (gate, waiting) = (RwLock::new(()), AtomicUsize::new(0));
    let ask = &|client: &Client| {
        waiting.fetch_add(1, Ordering::Relaxed);
        drop(gate.read());
        client.acquire(&options).map(|lease| (lease, Instant::now()))
    };
    let mut times = Vec::new();
    for _ in 0..bursts {
        server.settle_each(PAUSE, |pool| pool.warm >= pool.target)?;
        waiting.store(0, Ordering::Relaxed);
        let took = thread::scope(|scope| -> anyhow::Result<Duration> {
            let closed = gate.write();
            let start_one =
                |client| thread::Builder::new().spawn_scoped(scope, move || ask(client));
            let asking = clients.iter().map(start_one).collect::<Result<Vec<_>, _>>()?;
            while waiting.load(Ordering::Relaxed) < clients.len() {
                thread::yield_now();
            }
            let start = Instant::now();
            drop(closed);
            let answers = asking.into_iter().filter_map(|thread| thread.join().ok());
            let granted = answers.collect::<Result<Vec<_>, _>>()?;
            anyhow::ensure!(granted.len() == clients.len(), "a client has ended");
            let warm = granted.iter().all(|(lease, _)| lease.start() == Start::Warm);
            anyhow::ensure!(warm, "the pool was empty");
            let last = granted.iter().map(|(_, at)| *at).max().unwrap_or(start);
            Ok(last.saturating_duration_since(start))
        })?;
        times.push(took.as_secs_f64() * 1e6 / clients.len() as f64);
        go_on()?;
    }
    Ok(Sorted::new(times))
}

fn building(server: &Server, cloner: &Floor, samples: usize) -> anyhow::Result<Building> {
    let us = |time: Duration| time.as_secs_f64() * 1e6;
    let (mut spawn, mut destroy, mut floor) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..samples {
        let start = Instant::now();
        let lease = server.client.acquire(&cold())?;
        let built = Instant::now();
        lease.release()?;
        spawn.push(us(built - start));
        destroy.push(us(built.elapsed()));
        server.settle()?;
        floor.push(us(cloner.clones(true, 1)?.wall));
        go_on()?;
    }
    let [spawn, destroy, floor] = [spawn, destroy, floor].map(Sorted::new);
    Ok(Building { spawn, destroy, floor })
}

fn cold() -> LeaseOptions {
    let mut options = LeaseOptions::new();
    options.profile("cold");
    options
}

impl Point {
    fn json(&self) -> Value {
        let us = |sorted: &Sorted| {
            let [p50, p99] = [0.5, 0.99].map(|share| sorted.quantile(share));
            let (low, high) = sorted.interval(0.5);
            json!({ "p50": p50, "p99": p99, "p50_low": low, "p50_high": high })
        };
        let building = self.building.as_ref();
        json!({
            "size": self.size,
            "acquire_us": us(&self.acquire),
            "server_cpu_us": self.server,
            "at_once_us": self.at_once.as_ref().map(us),
            "spawn_us": building.map(|building| us(&building.spawn)),
            "destroy_us": building.map(|building| us(&building.destroy)),
            "clone_exit_us": building.map(|building| us(&building.floor)),
        })
    }
}

impl Curves {
    fn table(&self) -> String {
        let mut text = format!(
            "{:>8}  {:>11} {:>11} {:>12} {:>10} {:>12} {:>15}   µs\n",
            "zygotes",
            "acquire p50",
            "acquire p99",
            "server CPU",
            "spawn p50",
            "destroy p50",
            "clone_exit p50"
        );
        for point in &self.zygotes {
            let [p50, p99] = [0.5, 0.99].map(|share| point.acquire.quantile(share));
            let (size, server) = (point.size, point.server);
            let _ = write!(text, "{size:>8}  {p50:>11.1} {p99:>11.1} {server:>12.1}");
            if let Some(Building { spawn, destroy, floor }) = &point.building {
                let [spawn, destroy, floor] = [spawn, destroy, floor].map(|of| of.quantile(0.5));
                let _ = write!(text, " {spawn:>10.1} {destroy:>12.1} {floor:>15.1}");
            }
            text.push('\n');
        }
        let _ = writeln!(
            text,
            "\n{:>8}  {:>11} {:>11} {:>12} {:>12}   µs",
            "clients", "acquire p50", "acquire p99", "server CPU", "at once p50"
        );
        for point in &self.clients {
            let [p50, p99] = [0.5, 0.99].map(|share| point.acquire.quantile(share));
            let (size, server) = (point.size, point.server);
            let _ = write!(text, "{size:>8}  {p50:>11.1} {p99:>11.1} {server:>12.1}");
            if let Some(at_once) = &point.at_once {
                let _ = write!(text, " {:>12.1}", at_once.quantile(0.5));
            }
            text.push('\n');
        }
        text.push_str(
            "\nzygotes: parked at once, each with a net namespace; spawn and destroy are of one more,\n\
             clone_exit is a bare clone into as many fresh namespaces, and its exit.\n\
             clients: with an open connection, asking in turn; at once: until all of them have what they\n\
             ask for at the same time, each in a thread of its own, for each of them.\n",
        );
        for stopped in &self.stopped {
            let _ = writeln!(text, "{stopped}");
        }
        text
    }

    fn chart(&self, machine: &str) -> Chart {
        type Of = fn(&Point) -> Option<f64>;
        let curve = |points: &[Point], name: &str, colour, style, of: Of| Series {
            name: name.to_owned(),
            colour,
            style,
            points: points
                .iter()
                .filter_map(|point| Some((point.size as f64, of(point)?)))
                .collect(),
        };
        let acquire: Of = |point| Some(point.acquire.quantile(0.5));
        let tail: Of = |point| Some(point.acquire.quantile(0.99));
        let server: Of = |point| Some(point.server);
        let (zygotes, clients) = (&self.zygotes, &self.clients);
        let series = vec![
            curve(zygotes, "clone_exit (zygotes)", "#9a9a9a", Style::Dotted, |point| {
                Some(point.building.as_ref()?.floor.quantile(0.5))
            }),
            curve(zygotes, "spawn (zygotes)", "#c0392b", Style::Dotted, |point| {
                Some(point.building.as_ref()?.spawn.quantile(0.5))
            }),
            curve(zygotes, "destroy (zygotes)", "#e08a1e", Style::Dotted, |point| {
                Some(point.building.as_ref()?.destroy.quantile(0.5))
            }),
            curve(zygotes, "acquire (zygotes)", "#1f6fb4", Style::Dotted, acquire),
            curve(zygotes, "acquire p99 (zygotes)", "#8e5bb5", Style::Dotted, tail),
            curve(zygotes, "server CPU (zygotes)", "#2a9d5c", Style::Dotted, server),
            curve(clients, "acquire (clients)", "#1f6fb4", Style::Dashed, acquire),
            curve(clients, "acquire p99 (clients)", "#8e5bb5", Style::Dashed, tail),
            curve(clients, "at once, each (clients)", "#c0392b", Style::Dashed, |point| {
                Some(point.at_once.as_ref()?.quantile(0.5))
            }),
            curve(clients, "server CPU (clients)", "#2a9d5c", Style::Dashed, server),
        ];
        let all = series.iter().flat_map(|series| &series.points).map(|(_, value)| *value);
        let (low, high) = all.fold((f64::INFINITY, 0.0), |(low, high): (f64, f64), value| {
            (low.min(value), high.max(value))
        });
        let decades = |low: f64, high: f64| {
            (10_f64.powf(low.log10().floor()), 10_f64.powf(high.log10().ceil()))
        };
        let range = if high > 0.0 { decades(low, high) } else { (1.0, 10.0) };
        let axis = |label: &str, range| Axis { label: label.to_owned(), range };
        Chart {
            title: "What one more environment costs".to_owned(),
            subtitle: format!(
                "{machine}; medians but for p99; server CPU for an acquire and its release"
            ),
            x: axis("parked zygotes, or open connections", (1.0, 10_000.0)),
            y: axis("µs", range),
            series,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::chart::tests::assert_well_formed;

    fn curves() -> Curves {
        let point = |size: usize, us: Option<f64>| Point {
            size,
            acquire: Sorted::new(vec![5.0, 6.0, 7.0]),
            server: 20.0,
            building: us.map(|us| {
                let times = || Sorted::new(vec![us]);
                Building { spawn: times(), destroy: times(), floor: times() }
            }),
            at_once: us.is_none().then(|| Sorted::new(vec![321.0])),
        };
        Curves {
            zygotes: vec![point(10, Some(400.0)), point(100, Some(410.0))],
            clients: vec![point(1, None)],
            stopped: vec!["zygotes: stopped at 200 of 1000: no room".to_owned()],
        }
    }

    #[test]
    fn the_curves_are_drawn_and_what_was_not_measured_is_left_out() {
        let svg = curves().chart("2 CPUs & more").svg();
        assert_well_formed(&svg);
        assert!(svg.contains("2 CPUs &amp; more") && !svg.contains("NaN"));
        assert_well_formed(&Curves::default().chart("").svg());
    }

    #[test]
    fn the_table_says_where_it_stopped_and_why() {
        let table = curves().table();
        assert!(table.contains("zygotes: stopped at 200 of 1000: no room"), "{table}");
        assert!(table.contains("410.0") && table.contains("321.0"), "{table}");
    }

    #[test]
    fn what_a_curve_does_not_have_is_null() {
        let json = curves().clients[0].json();
        assert!(json["spawn_us"].is_null());
        assert_eq!(json["acquire_us"]["p50"], 6.0);
        assert_eq!(json["at_once_us"]["p50"], 321.0);
    }
}
