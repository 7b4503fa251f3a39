//! The policy shoot-out: our pool policy against others, in simulated time, on traces from quiet to
//! hostile.
//!
//! `cargo bench -p zygote --bench shootout` writes a table to stdout, and `shootout.json` and charts
//! (SVG) to `target/shootout`. Whether what was promised of the policy holds is the end of the table,
//! and with `-- --check` the exit code as well. Traces depend on their seed alone: `--first-seed 1001`
//! tries the policy on ones that it was not developed with.
//!
//! * `trace`: when zygotes are asked for, and for how long;
//! * `host`: a machine that builds, lends and tears down, and what that cost and gave;
//! * `contestant`: what a policy is told and what it may order;
//! * `ours`, `baseline`, `clairvoyant`: the real policy, what others do, and what nobody can beat;
//! * `contest`: all of them on all traces, and the verdicts;
//! * `report`, `curve`, `plot`: what came of it.

#![cfg_attr(
    test,
    expect(
        dead_code,
        unused_imports,
        reason = "cargo builds a bench without a harness as a test, but for its tests: those are run \
                  by tests/shootout.rs"
    )
)]

mod baseline;
mod clairvoyant;
mod contest;
mod contestant;
mod curve;
mod host;
mod ours;
mod plot;
mod random;
mod report;
mod trace;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const USAGE: &str = "\
Usage: cargo bench -p zygote --bench shootout -- [OPTIONS]

  --out DIR         where JSON and charts go [target/shootout]
  --seeds N         traces of each kind [5]
  --first-seed N    the seed of the first of them; the others have those that follow [1]
  --scale X         their length, as a multiple of the usual [1]
  --only NAME       one kind of trace alone
  --recording FILE  a recording to replay in place of zygote/benches/shootout/recorded.txt: a line
                    for each acquire, with its offset and how long it holds its lease, both in
                    whole microseconds; # begins a comment
  --check           fail unless all promises hold";

struct Options {
    out: PathBuf,
    seeds: Range<u64>,
    scale: f64,
    kinds: Vec<trace::Kind>,
    check: bool,
}

fn main() -> ExitCode {
    let options = match options(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(why) => {
            eprintln!("{why}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match run(&options) {
        Ok(hold) if hold || !options.check => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("failed to write to {}: {error}", options.out.display());
            ExitCode::from(2)
        }
    }
}

fn options(mut words: impl Iterator<Item = String>) -> Result<Options, String> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("shootout");
    let (mut only, mut recording, mut first, mut seeds) = (None, None, 1, 5);
    let mut options =
        Options { out: target, seeds: 0..0, scale: 1.0, kinds: Vec::new(), check: false };
    while let Some(word) = words.next() {
        match word.as_str() {
            // What cargo says to every bench.
            "--bench" => continue,
            "--check" => {
                options.check = true;
                continue;
            }
            _ => {}
        }
        let value = words.next().ok_or_else(|| format!("{word} wants a value"))?;
        let wanted = |what: &str| format!("{word} wants {what}, not {value}");
        let whole = || value.parse::<u32>().map(u64::from).map_err(|_| wanted("a whole number"));
        match word.as_str() {
            "--out" => options.out = value.into(),
            "--seeds" => seeds = whole()?.max(1),
            "--first-seed" => first = whole()?,
            "--scale" => {
                let scale = value.parse().ok().filter(|scale| *scale > 0.0);
                options.scale = scale.ok_or_else(|| wanted("a number above 0"))?;
            }
            "--only" => only = Some(value),
            "--recording" => {
                let text = std::fs::read_to_string(&value);
                recording = Some(text.map_err(|error| format!("{value}: {error}"))?);
            }
            _ => return Err(format!("there is no {word}")),
        }
    }
    options.seeds = first..first + seeds;
    options.kinds = trace::kinds(recording.as_deref())?;
    if let Some(only) = only {
        options.kinds.retain(|kind| kind.name == only);
        if options.kinds.is_empty() {
            return Err(format!("there is no kind of trace named {only}"));
        }
    }
    Ok(options)
}

/// Returns whether all promises hold.
fn run(options: &Options) -> std::io::Result<bool> {
    std::fs::create_dir_all(&options.out)?;
    let families = contest::families();
    let mut rounds = Vec::new();
    for (nth, kind) in options.kinds.iter().enumerate() {
        let (count, seeds) = (options.kinds.len(), &options.seeds);
        eprintln!("{} of {count}: {}, seeds {seeds:?} …", nth + 1, kind.name);
        let round = contest::play_round(kind, &families, seeds, options.scale);
        println!("{}", report::table(&round));
        let write = |what: &str, chart: &plot::Chart| {
            std::fs::write(options.out.join(format!("{}-{what}.svg", kind.name)), chart.svg())
        };
        write("curves", &report::curves(&round))?;
        if let Some(chart) = report::profiles(&round) {
            write("idle", &chart)?;
        }
        rounds.push(round);
    }
    let verdicts = contest::verdicts(&rounds);
    println!("{}", report::lines(&verdicts));
    let json = report::json(&rounds, &verdicts);
    std::fs::write(options.out.join("shootout.json"), format!("{json:#}\n"))?;
    println!("JSON and charts: {}", options.out.display());
    Ok(verdicts.iter().all(contest::Verdict::holds))
}
