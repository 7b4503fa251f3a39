//! `zyg bench`: what an environment costs on this machine, beside what it is made of.
//!
//! Every sample of every row is taken in turn, round by round, so that all rows see the same
//! machine. A ratio is to a row of the same run, never to a number from elsewhere.

mod report;
mod rows;
mod stats;

use crate::cli::Bench;
use anyhow::Context;
use report::Report;
use rows::Rows;
use std::io::{IsTerminal, Write, stderr};
use std::process::ExitCode;

/// Rounds before those that count: code and caches get warm.
const WARM_UP: usize = 10;

/// Takes the samples and prints the report.
pub fn bench(bench: &Bench) -> anyhow::Result<ExitCode> {
    if bench.echo {
        return rows::echo().map(|()| ExitCode::SUCCESS);
    }
    let mut rows = Rows::set_up()?;
    let progress = stderr().is_terminal();
    for round in 0..WARM_UP + bench.rounds {
        rows.round(round >= WARM_UP)?;
        if progress {
            eprint!("\rround {} of {}", (round + 1).saturating_sub(WARM_UP), bench.rounds);
        }
    }
    if progress {
        eprint!("\r\x1b[K");
    }
    let report = Report::new(rows.into_samples());
    let text = if bench.json { report.json() } else { report.table() };
    std::io::stdout().write_all(text.as_bytes()).context("failed to print")?;
    Ok(ExitCode::SUCCESS)
}
