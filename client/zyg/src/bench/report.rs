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
    /// Each peer's command line, and what it lacks; and those that cannot be used, with the reason.
    lines: Vec<(&'static str, String, Option<&'static str>)>,
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
        let row = |name: &str| find(&rows, name);
        let goals =
            GOALS.iter().map(|goal| goal.judge(row, |row| conditions.is_steady(row))).collect();
        let lines = peers.usable.iter().map(|peer| (peer.name, peer.shown(), peer.lacks)).collect();
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
                let _ = write!(text, " {:>9}", number(value, 1));
            }
            let _ = write!(text, "  {:<7} {:>6}", kind.unit, samples.len());
            if let Some((floor, Ratio { p50, low, high })) = self.ratio(row) {
                let _ = write!(text, "  {p50:.2} {} × {floor}", interval(low, high, 2));
            }
            text.push('\n');
        }
        text.push('\n');
        for (kind, _) in &self.rows {
            let _ = writeln!(text, "{:<18} {}", kind.name, kind.about);
        }
    }

    fn write_goals(&self, text: &mut String) {
        let measured = self.goals.iter().any(|judged| judged.measured.is_some());
        if measured {
            let head = "\ngoal                                     measured  (at least 95 %)";
            let _ = writeln!(text, "{head}");
        }
        for judged in self.goals.iter().filter(|_| measured) {
            let (goal, verdict) = (&judged.goal, judged.verdict.text());
            let _ = write!(text, "{:<31} {:>8} ", goal.subject(), goal.bound());
            let _ = match judged.measured {
                Some(Ratio { p50, low, high }) => {
                    let interval = interval(low, high, 2);
                    writeln!(text, "{p50:>9.2}  {interval:<20} {verdict}")
                }
                None => writeln!(text, "{:>9}  {:<20} {verdict}", "", ""),
            };
        }
        for (row, drift) in self.conditions.drifted() {
            let consequence = if self.judges_by(row) {
                format!("No verdict by {row}: it")
            } else {
                row.to_owned()
            };
            let _ = writeln!(
                text,
                "{consequence} drifted by {} from one third of its samples to another. Try again when the \
                 machine is quieter.",
                percent(drift)
            );
        }
        for (kind, _) in &self.rows {
            let known = self.conditions.drifts.iter().any(|(name, _)| *name == kind.name);
            if !known && self.judges_by(kind.name) {
                let _ = writeln!(
                    text,
                    "No verdict by {}: too few samples to tell whether it drifted.",
                    kind.name
                );
            }
        }
    }

    /// Whether a goal is about what was measured in relation to this row.
    fn judges_by(&self, row: &str) -> bool {
        let measured = self.goals.iter().filter(|judged| judged.measured.is_some());
        measured.filter_map(|judged| judged.goal.relies_on()).any(|to| to == row)
    }

    fn write_peers(&self, text: &mut String) {
        if !self.lines.is_empty() || !self.unusable.is_empty() {
            text.push('\n');
        }
        for (_, line, lacks) in &self.lines {
            let lacks = lacks.map_or(String::new(), |lacks| format!("   # {lacks}"));
            let _ = writeln!(text, "$ {line}{lacks}");
        }
        for (name, reason) in &self.unusable {
            let _ = writeln!(text, "{name} cannot be used: {reason}");
        }
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let lines = self.lines.iter().map(|(name, line, lacks)| {
            ((*name).to_owned(), json!({ "line": line, "lacks": lacks }))
        });
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

    /// Quantiles are under `us` as microseconds, on the clock or of CPU time, of one after the other where
    /// they are so many in a second; and under `values` where the row has another unit.
    fn row_json(&self, row: &(Kind, Sorted)) -> Value {
        let (kind, samples) = row;
        let ratio = self.ratio(row);
        let mut json = json!({
            "name": kind.name,
            "unit": kind.unit.to_string(),
            "samples": samples.len(),
            "us": match kind.unit {
                Unit::Micros | Unit::CpuMicros => values(samples),
                Unit::PerSecond => values(&samples.map(|rate| 1e6 / rate)),
                Unit::Kib => Value::Null,
            },
            "floor": ratio.map(|(floor, _)| floor),
            "ratio": ratio.map(|(_, Ratio { p50, low, high })| {
                json!({ "p50": p50, "low": low, "high": high })
            }),
        });
        if kind.unit != Unit::Micros {
            json["values"] = values(samples);
        }
        json
    }
}

/// Quantiles with their intervals. An end that is not known is null.
fn values(samples: &Sorted) -> Value {
    let [p50, p90, p99, max] = quantiles(samples);
    let mut values = json!({ "p50": p50, "p90": p90, "p99": p99, "max": max });
    for (name, share) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99)] {
        let (low, high) = samples.interval(share);
        values[format!("{name}_low")] = json!(low);
        values[format!("{name}_high")] = json!(high);
    }
    values
}

/// With so many digits behind the point; one that too few samples do not tell has none.
fn number(value: f64, digits: usize) -> String {
    if value.is_finite() { format!("{value:.digits$}") } else { "?".to_owned() }
}

fn interval(low: f64, high: f64, digits: usize) -> String {
    format!("({} to {})", number(low, digits), number(high, digits))
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
