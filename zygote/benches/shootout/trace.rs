//! When zygotes are asked for, and for how long: made up from a seed, or recorded.
//!
//! Rates are given as shares of what the builders can build (about 2,200 a second): a pool matters
//! only where acquires come close to that, be it for a moment, and no policy can help for long where
//! they come faster. Arrivals do not wait for the ones before them, so a policy cannot slow down what
//! it is measured by.

use crate::contestant::{Micros, SECOND};
use crate::host::{BUILD_MEAN, BUILDERS};
use crate::random::Random;

/// One acquire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// When it comes.
    pub at: Micros,
    /// How long the lease lasts.
    pub hold: Micros,
}

/// What the policies are tried with.
#[derive(Debug, Clone)]
pub struct Trace {
    /// In the order of time.
    pub arrivals: Vec<Arrival>,
    /// Idle zygotes are paid for from 0 until then.
    pub duration: Micros,
}

/// Arrivals in any order, and the trace's duration, from a source of chance and a scale.
type Make = Box<dyn Fn(&mut Random, f64) -> (Vec<Arrival>, Micros)>;

/// A kind of trace.
pub struct Kind {
    /// A word for files and tables.
    pub name: &'static str,
    /// In a line, what it is.
    pub about: &'static str,
    make: Make,
}

impl Kind {
    /// A trace of this kind. A `scale` below 1 makes a shorter one.
    #[must_use]
    pub fn make(&self, seed: u64, scale: f64) -> Trace {
        let (mut arrivals, duration) = (self.make)(&mut Random::new(seed, 1), scale);
        arrivals.retain(|arrival| arrival.at < duration);
        arrivals.sort_by_key(|arrival| arrival.at);
        Trace { arrivals, duration }
    }
}

/// Those of the shoot-out; a recording is replayed in place of the one at hand.
///
/// # Errors
/// If the recording does not look like one.
pub fn kinds(recording: Option<&str>) -> Result<Vec<Kind>, String> {
    let run = parse(recording.unwrap_or(include_str!("recorded.txt")))?;
    let kind = |name, about, make| Kind { name, about, make };
    Ok(vec![
        kind("poisson", "Poisson at half of what can be built, 60 s", Box::new(poisson)),
        kind(
            "mmpp",
            "Poisson at 90 % for 1 s and at 10 % for 4 s on average, 120 s",
            Box::new(mmpp),
        ),
        kind(
            "pareto",
            "32 sources, on for 0.1 s and off for 1 s (Pareto, shape 1.5), each at 12.5 % while on, 270 s",
            Box::new(pareto),
        ),
        kind(
            "ci",
            "CI sessions: 30 s with 5 batches of 10 a second, then 5 min of nothing, for 2 h",
            Box::new(ci_sessions),
        ),
        kind(
            "recorded",
            "the tests of a real run, 60 times with pauses of 20 s on average",
            Box::new(move |random, scale| repeat(&run, random, scale)),
        ),
    ])
}

/// Builds per microsecond.
fn build_rate() -> f64 {
    f64::from(BUILDERS) / BUILD_MEAN as f64
}

/// How long a test lasts that is short: where it lasts longer, more zygotes are leased and not one
/// more is idle.
fn hold(random: &mut Random) -> Micros {
    2_000 + random.exponential(18_000.0) as Micros
}

/// Poisson arrivals in `from..until`, at a share of the build rate.
fn ask(random: &mut Random, share: f64, from: f64, until: f64, arrivals: &mut Vec<Arrival>) {
    let mut at = from + random.exponential(1.0 / (share * build_rate()));
    while at < until {
        arrivals.push(Arrival { at: at as Micros, hold: hold(random) });
        at += random.exponential(1.0 / (share * build_rate()));
    }
}

fn poisson(random: &mut Random, scale: f64) -> (Vec<Arrival>, Micros) {
    let until = 60.0 * scale * SECOND as f64;
    let mut arrivals = Vec::new();
    ask(random, 0.5, 0.0, until, &mut arrivals);
    (arrivals, until as Micros)
}

/// A Poisson process whose rate is that of a Markov chain's state.
fn mmpp(random: &mut Random, scale: f64) -> (Vec<Arrival>, Micros) {
    let until = 120.0 * scale * SECOND as f64;
    let (mut at, mut busy, mut arrivals) = (0.0, false, Vec::new());
    while at < until {
        let (share, mean) = if busy { (0.9, 1.0) } else { (0.1, 4.0) };
        let next = at + random.exponential(mean * SECOND as f64);
        ask(random, share, at, next, &mut arrivals);
        (at, busy) = (next, !busy);
    }
    (arrivals, until as Micros)
}

/// Sources whose times of talk and of silence have no variance to speak of: bursts at every scale.
///
/// Longer than the others, since it takes as long until the rare ones have been seen: whoever sees one
/// for the first time is not ready for it, and the best fixed size in hindsight always is.
fn pareto(random: &mut Random, scale: f64) -> (Vec<Arrival>, Micros) {
    let until = 270.0 * scale * SECOND as f64;
    let mut arrivals = Vec::new();
    for _ in 0..32 {
        let mut at = random.pareto(1.5, SECOND as f64) * random.unit();
        while at < until {
            let off = (at + random.pareto(1.5, 0.1 * SECOND as f64)).min(until);
            ask(random, 0.125, at, off, &mut arrivals);
            at = off + random.pareto(1.5, SECOND as f64);
        }
    }
    (arrivals, until as Micros)
}

/// Test runners that start what has become runnable, all at once.
fn ci_sessions(random: &mut Random, scale: f64) -> (Vec<Arrival>, Micros) {
    let sessions = (22.0 * scale).ceil() as u64;
    let mut arrivals = Vec::new();
    for session in 0..sessions {
        let begin = (30 + session * 330) * SECOND;
        let mut into = random.exponential(0.2 * SECOND as f64) as Micros;
        while into < 30 * SECOND {
            for _ in 0..random.geometric(10.0) {
                arrivals.push(Arrival { at: begin + into, hold: hold(random) });
            }
            into += random.exponential(0.2 * SECOND as f64) as Micros;
        }
    }
    (arrivals, sessions * 330 * SECOND)
}

fn repeat(run: &[Arrival], random: &mut Random, scale: f64) -> (Vec<Arrival>, Micros) {
    let (mut begin, mut arrivals) = (SECOND, Vec::new());
    let lasts = run.iter().map(|one| one.at).max().unwrap_or(0);
    for _ in 0..(60.0 * scale).ceil() as u64 {
        arrivals.extend(run.iter().map(|one| Arrival { at: begin + one.at, hold: one.hold }));
        begin += lasts + random.exponential(20.0 * SECOND as f64) as Micros;
    }
    (arrivals, begin)
}

/// Reads a recording: an arrival a line, its offset and the time that it holds the lease, both in
/// microseconds. What follows a `#` is a comment.
fn parse(text: &str) -> Result<Vec<Arrival>, String> {
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    let arrival = |line: &str| {
        let mut words = line.split_whitespace().map(str::parse);
        match (words.next(), words.next(), words.next()) {
            (Some(Ok(at)), Some(Ok(hold)), None) => Ok(Arrival { at, hold }),
            _ => Err(format!("a recording has two whole numbers a line, not {line:?}")),
        }
    };
    lines.filter(|line| !line.is_empty()).map(arrival).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(name: &str) -> Kind {
        kinds(None).unwrap().into_iter().find(|kind| kind.name == name).unwrap()
    }

    /// Arrivals per second.
    fn rate(trace: &Trace) -> f64 {
        trace.arrivals.len() as f64 / (trace.duration as f64 / SECOND as f64)
    }

    fn mean_rate(name: &str) -> f64 {
        (1..=5).map(|seed| rate(&kind(name).make(seed, 1.0))).sum::<f64>() / 5.0
    }

    #[test]
    fn rates_are_what_they_are_said_to_be() {
        let can_build = build_rate() * SECOND as f64;
        let near = |name, share: f64, tolerance: f64| {
            let off = mean_rate(name) / (share * can_build) - 1.0;
            assert!(off.abs() < tolerance, "{name} is off by {off}");
        };
        near("poisson", 0.5, 0.02);
        near("mmpp", (0.9 + 4.0 * 0.1) / 5.0, 0.15);
        // Its variance is infinite: nothing much can be said about a mean over two minutes.
        near("pareto", 32.0 * 0.125 * 0.1 / 1.1, 0.3);
        near("ci", 50.0 * 30.0 / 330.0 / can_build, 0.1);
    }

    #[test]
    fn a_trace_is_in_order_and_can_be_had_again() {
        for kind in kinds(None).unwrap() {
            let trace = kind.make(3, 0.2);
            assert!(trace.arrivals.is_sorted_by_key(|arrival| arrival.at), "{}", kind.name);
            assert!(trace.arrivals.len() > 100, "{}", kind.name);
            assert_eq!(trace.arrivals, kind.make(3, 0.2).arrivals, "{}", kind.name);
            assert_ne!(trace.arrivals, kind.make(4, 0.2).arrivals, "{}", kind.name);
        }
    }

    #[test]
    fn on_off_pareto_varies_more_than_poisson_at_every_scale() {
        // Variance over mean of arrivals in windows: 1 for Poisson.
        let dispersion = |trace: &Trace, window: Micros| {
            let mut counts = vec![0.0; trace.duration.div_ceil(window) as usize];
            for arrival in &trace.arrivals {
                counts[(arrival.at / window) as usize] += 1.0;
            }
            let mean = counts.iter().sum::<f64>() / counts.len() as f64;
            let squares = counts.iter().map(|count| (count - mean).powi(2)).sum::<f64>();
            squares / counts.len() as f64 / mean
        };
        let (poisson, pareto) = (kind("poisson").make(1, 1.0), kind("pareto").make(1, 1.0));
        for window in [10_000, 100_000, SECOND] {
            assert!(dispersion(&poisson, window) < 1.5, "{window}");
            assert!(dispersion(&pareto, window) > 2.0, "{window}");
        }
        assert!(dispersion(&pareto, SECOND) > 4.0 * dispersion(&pareto, 10_000));
    }

    #[test]
    fn a_recording_has_comments_and_two_numbers_a_line() {
        let text = "# how it was made\n0 1500\n\n20 900 # a short one\n";
        let expected = [Arrival { at: 0, hold: 1500 }, Arrival { at: 20, hold: 900 }];
        assert_eq!(parse(text).as_deref(), Ok(&expected[..]));
        assert!(parse("20").is_err() && parse("1 2 3").is_err() && parse("-1 2").is_err());
    }
}
