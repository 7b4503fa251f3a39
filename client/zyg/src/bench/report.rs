//! What was measured, as a table for people and as JSON for programs.

use super::goals::{GOALS, Judged};
use super::noise::{Conditions, percent};
use super::peers::Peers;
use super::row::{KINDS, Kind, Row, Unit};
use super::stats::{Ratio, Sorted};
use serde_json::{Value, json};
use std::fmt::Write;

/// All of it.
#[derive(Debug)]
pub struct Report {
    rows: Vec<(Kind, Sorted)>,
    conditions: Conditions,
    goals: Vec<Judged>,
    /// Each peer's command line, and those that cannot be used, with the reason.
    lines: Vec<(&'static str, String)>,
    unusable: Vec<(&'static str, String)>,
    seed: u64,
}

impl Report {
    /// Sums up.
    pub fn new(rows: Vec<Row>, conditions: Conditions, peers: &Peers, seed: u64) -> Self {
        let place = |kind: &Kind| KINDS.iter().position(|other| other.name == kind.name);
        let sorted = rows.into_iter().filter(|row| !row.samples.is_empty());
        let mut rows: Vec<_> = sorted.map(|row| (row.kind, Sorted::new(row.samples))).collect();
        rows.sort_by_key(|(kind, _)| place(kind));
        let drifted = |name: &str| conditions.drifted().any(|(drifted, _)| drifted == name);
        let row = |name: &str| find(&rows, name);
        let goals = GOALS.iter().map(|goal| goal.judge(row, drifted)).collect();
        let lines = peers.usable.iter().map(|peer| (peer.name, peer.shown())).collect();
        let unusable = peers.unusable.clone();
        Self { rows, conditions, goals, lines, unusable, seed }
    }

    /// The rows, in the order in which they are shown.
    pub fn rows(&self) -> &[(Kind, Sorted)] {
        &self.rows
    }

    /// What machine it was.
    pub fn machine(&self) -> String {
        self.conditions.machine()
    }

    fn ratio(&self, (kind, of): &(Kind, Sorted)) -> Option<(&'static str, Ratio)> {
        let floor = kind.floor?;
        Some((floor, Ratio::new(of, find(&self.rows, floor)?)))
    }

    /// For people.
    pub fn table(&self) -> String {
        let mut text = String::new();
        self.write_rows(&mut text);
        self.write_goals(&mut text);
        self.write_peers(&mut text);
        let _ = writeln!(
            text,
            "\n{}; {}; seed {}.",
            self.machine(),
            self.conditions.noise(),
            self.seed
        );
        text
    }

    fn write_rows(&self, text: &mut String) {
        let heads = ["p50", "(95 % of", "medians)", "p90", "p99", "max"];
        let _ = write!(text, "{:<18}", "");
        for head in heads {
            let _ = write!(text, " {head:>9}");
        }
        let _ = writeln!(text, "  {:<7} {:>6}  ÷ floor", "unit", "n");
        for row in &self.rows {
            let (kind, samples) = row;
            let (low, high) = samples.interval(0.5);
            let [p50, p90, p99, max] = quantiles(samples);
            let _ = write!(text, "{:<18}", kind.name);
            for value in [p50, low, high, p90, p99, max] {
                let _ = write!(text, " {value:>9.1}");
            }
            let _ = write!(text, "  {:<7} {:>6}", kind.unit, samples.len());
            if let Some((floor, Ratio { p50, low, high })) = self.ratio(row) {
                let _ = write!(text, "  {p50:.2} ({low:.2} to {high:.2}) × {floor}");
            }
            text.push('\n');
        }
        text.push('\n');
        for (kind, _) in &self.rows {
            let _ = writeln!(text, "{:<18} {}", kind.name, kind.about);
        }
    }

    fn write_goals(&self, text: &mut String) {
        let measured: Vec<_> =
            self.goals.iter().filter(|judged| judged.measured.is_some()).collect();
        if measured.is_empty() {
            return;
        }
        let _ = writeln!(text, "\n{:<31} {:>8} {:>9}  (at least 95 %)", "goal", "", "measured");
        for judged in &self.goals {
            let (goal, verdict) = (&judged.goal, judged.verdict.text());
            let _ = write!(text, "{:<31} {:>8} ", goal.subject(), goal.bound());
            let _ = match judged.measured {
                Some(Ratio { p50, low, high }) => {
                    let interval = format!("({low:.2} to {high:.2})");
                    writeln!(text, "{p50:>9.2}  {interval:<20} {verdict}")
                }
                None => writeln!(text, "{:>9}  {:<20} {verdict}", "", ""),
            };
        }
        for (floor, drift) in self.conditions.drifted() {
            let _ = writeln!(
                text,
                "No verdict by {floor}: it drifted by {} from the first third of its samples to the last. \
                 Try again when the machine is quieter.",
                percent(drift)
            );
        }
    }

    fn write_peers(&self, text: &mut String) {
        if !self.lines.is_empty() || !self.unusable.is_empty() {
            text.push('\n');
        }
        for (_, line) in &self.lines {
            let _ = writeln!(text, "$ {line}");
        }
        for (name, reason) in &self.unusable {
            let _ = writeln!(text, "{name} is here and cannot be used: {reason}");
        }
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let lines =
            self.lines.iter().map(|(name, line)| ((*name).to_owned(), json!({ "line": line })));
        let reasons = self.unusable.iter();
        let unusable = reasons.map(|(name, why)| ((*name).to_owned(), json!({ "unusable": why })));
        json!({
            "version": 1,
            "seed": self.seed,
            "machine": self.conditions.json(),
            "rows": self.rows.iter().map(|row| self.row_json(row)).collect::<Vec<_>>(),
            "goals": self.goals.iter().map(Judged::json).collect::<Vec<_>>(),
            "drifted": self.conditions.drifted().map(|(name, _)| name).collect::<Vec<_>>(),
            "peers": Value::Object(lines.chain(unusable).collect()),
        })
    }

    /// Quantiles are under `us` where they are microseconds on the clock, else under `values`.
    fn row_json(&self, row: &(Kind, Sorted)) -> Value {
        let (kind, samples) = row;
        let [p50, p90, p99, max] = quantiles(samples);
        let (low, high) = samples.interval(0.5);
        let values = json!({
            "p50": p50, "p90": p90, "p99": p99, "max": max, "p50_low": low, "p50_high": high,
        });
        let ratio = self.ratio(row);
        let is_time = kind.unit == Unit::Micros;
        let mut json = json!({
            "name": kind.name,
            "unit": kind.unit.to_string(),
            "samples": samples.len(),
            "us": if is_time { values.clone() } else { Value::Null },
            "floor": ratio.map(|(floor, _)| floor),
            "ratio": ratio.map(|(_, Ratio { p50, low, high })| {
                json!({ "p50": p50, "low": low, "high": high })
            }),
        });
        if !is_time {
            json["values"] = values;
        }
        json
    }
}

fn find<'a>(rows: &'a [(Kind, Sorted)], name: &str) -> Option<&'a Sorted> {
    rows.iter().find(|(kind, _)| kind.name == name).map(|(_, samples)| samples)
}

fn quantiles(samples: &Sorted) -> [f64; 4] {
    [0.5, 0.9, 0.99, 1.0].map(|share| samples.quantile(share))
}

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;
