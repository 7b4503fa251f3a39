//! `cargo bench -p zygote --bench pieces`: the parts of the hand-over one by one, so that a
//! regression has an address. `zyg bench` measures the whole.
//!
//! `-- FILTER` measures the pieces whose names hold that text. `-- --count PIECE N` does a piece N
//! times and nothing else, for a counter of instructions (`instructions.sh`): times depend on the
//! machine and on who else uses it, instructions hardly.

mod codec;
mod policy;
mod template;

use std::hint::black_box;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Samples of each piece, taken in turn so that all see the same machine.
const SAMPLES: usize = 200;

/// How long a sample is at the least: the clock's own cost vanishes in it.
const SAMPLE_MIN: Duration = Duration::from_micros(100);

/// One part, ready to be done again and again.
pub struct Piece {
    name: String,
    /// Does it once, and says how long that took where it is not the whole call.
    act: Box<dyn FnMut() -> Option<Duration>>,
    /// How often in one sample.
    times: u32,
    samples: Vec<f64>,
}

impl Piece {
    /// A part whose call is measured whole.
    pub fn new(name: impl Into<String>, mut act: impl FnMut() + 'static) -> Self {
        Self::timed(name, move || {
            act();
            None
        })
    }

    /// A part that says itself how long it took.
    pub fn timed(name: impl Into<String>, act: impl FnMut() -> Option<Duration> + 'static) -> Self {
        Self { name: name.into(), act: Box::new(act), times: 1, samples: Vec::new() }
    }

    /// Finds how often it must be done for a sample.
    fn warm_up(&mut self) {
        while self.sample() * self.times < SAMPLE_MIN {
            self.times *= 2;
        }
    }

    /// How long it takes once, on the average of one sample.
    fn sample(&mut self) -> Duration {
        let (start, mut own) = (Instant::now(), None);
        for _ in 0..self.times {
            if let Some(took) = counted(&mut *self.act) {
                *own.get_or_insert(Duration::ZERO) += took;
            }
        }
        own.unwrap_or_else(|| start.elapsed()) / self.times
    }
}

/// What is within this call is what is counted.
#[inline(never)]
fn counted(act: &mut dyn FnMut() -> Option<Duration>) -> Option<Duration> {
    black_box(act())
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|role| role == zygote::template::ROLE) {
        return zygote::template::main().into();
    }
    let mut pieces = codec::pieces();
    pieces.extend(policy::pieces());
    if let [flag, name, times] = &arguments[..]
        && flag == "--count"
    {
        return count(pieces, name, times.parse().unwrap_or(1));
    }
    let filter = arguments.iter().find(|argument| !argument.starts_with('-'));
    let wanted = |name: &str| filter.is_none_or(|filter| name.contains(filter.as_str()));
    if wanted("template") {
        pieces.extend(template::pieces());
    }
    pieces.retain(|piece| wanted(&piece.name));
    measure(&mut pieces);
    print(pieces);
    ExitCode::SUCCESS
}

fn count(pieces: Vec<Piece>, name: &str, times: u32) -> ExitCode {
    let Some(mut piece) = pieces.into_iter().find(|piece| piece.name == name) else {
        eprintln!("there is no piece {name:?}");
        return ExitCode::FAILURE;
    };
    piece.times = times;
    piece.sample();
    ExitCode::SUCCESS
}

fn measure(pieces: &mut [Piece]) {
    for piece in &mut *pieces {
        piece.warm_up();
    }
    for _ in 0..SAMPLES {
        for piece in &mut *pieces {
            let ns = piece.sample().as_secs_f64() * 1e9;
            piece.samples.push(ns);
        }
    }
}

fn print(pieces: Vec<Piece>) {
    println!("{:<18} {:>10} {:>10} {:>10}   ns", "", "p50", "p90", "p99");
    for mut piece in pieces {
        piece.samples.sort_by(f64::total_cmp);
        let [p50, p90, p99] = [50, 90, 99].map(|percent| piece.samples[SAMPLES * percent / 100]);
        println!("{:<18} {p50:>10.0} {p90:>10.0} {p99:>10.0}", piece.name);
    }
}
