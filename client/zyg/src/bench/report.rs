//! The samples as a table for people and as JSON for programs.

use super::rows::Samples;
use super::stats::{Ratio, Sorted};
use serde_json::{Value, json};

/// Which row each row is put in relation to.
const FLOORS: [(&str, &str); 7] = [
    ("acquire", "seqpacket_rtt"),
    ("acquire_release", "seqpacket_rtt"),
    ("exec_true", "spawn_true"),
    ("zyg_run_true", "spawn_true"),
    ("bwrap", "spawn_true"),
    ("zyg_run_true", "bwrap"),
    ("exec_true", "bwrap"),
];

/// What was measured, in order of size.
pub struct Report {
    rows: Vec<(&'static str, Sorted)>,
}

impl Report {
    pub fn new(samples: Vec<Samples>) -> Self {
        let sorted = samples.into_iter().map(|(name, samples)| (name, Sorted::new(samples)));
        Self { rows: sorted.collect() }
    }

    fn row(&self, name: &str) -> Option<&Sorted> {
        self.rows.iter().find(|(row, _)| *row == name).map(|(_, sorted)| sorted)
    }

    fn ratios(&self) -> impl Iterator<Item = (&'static str, &'static str, Ratio)> {
        FLOORS.iter().filter_map(|(name, floor)| {
            Some((*name, *floor, Ratio::new(self.row(name)?, self.row(floor)?)))
        })
    }

    pub fn table(&self) -> String {
        let mut text =
            format!("{:<16} {:>9} {:>9} {:>9} {:>9}   µs\n", "", "p50", "p90", "p99", "max");
        for (name, row) in &self.rows {
            let [p50, p90, p99, max] = [0.5, 0.9, 0.99, 1.0].map(|share| row.quantile(share));
            text.push_str(&format!("{name:<16} {p50:>9.1} {p90:>9.1} {p99:>9.1} {max:>9.1}\n"));
        }
        text.push('\n');
        for (name, floor, ratio) in self.ratios() {
            text.push_str(&format!(
                "{name} ÷ {floor}: {:.2} ({:.2} to {:.2})\n",
                ratio.p50, ratio.low, ratio.high
            ));
        }
        let rounds = self.rows.first().map_or(0, |(_, row)| row.len());
        text.push_str(&format!(
            "\n{rounds} rounds; ratios of medians with 95 % intervals; {}\n",
            machine()
        ));
        text
    }

    pub fn json(&self) -> String {
        let rows: Vec<Value> = self
            .rows
            .iter()
            .map(|(name, row)| {
                let [p50, p90, p99, max] = [0.5, 0.9, 0.99, 1.0].map(|share| row.quantile(share));
                let us = json!({ "p50": p50, "p90": p90, "p99": p99, "max": max });
                let ratio = self.ratios().find(|(of, _, _)| of == name);
                let (floor, ratio) = ratio.map_or((None, None), |(_, floor, ratio)| {
                    let Ratio { p50, low, high } = ratio;
                    (Some(floor), Some(json!({ "p50": p50, "low": low, "high": high })))
                });
                json!({ "name": name, "us": us, "floor": floor, "ratio": ratio })
            })
            .collect();
        format!("{}\n", json!({ "version": 1, "machine": { "summary": machine() }, "rows": rows }))
    }
}

fn machine() -> String {
    let kernel = nix::sys::utsname::uname()
        .map(|name| name.release().to_string_lossy().into_owned())
        .unwrap_or_default();
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    format!("{cpus} CPUs, Linux {kernel}")
}
