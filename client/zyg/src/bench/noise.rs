//! Under which conditions the samples were taken: what machine, how busy, and whether the rows that
//! others are put in relation to were at the end what they were at the beginning.

use super::row::{Row, Side};
use super::stats::drift;
use anyhow::Context;
use nix::sys::resource::{UsageWho, getrusage};
use serde_json::{Value, json};
use std::fs;

/// A row that has moved by more than this share has not been the same for all samples of others.
pub const DRIFT_MAX: f64 = 0.20;

/// What is known at the beginning.
#[derive(Debug)]
pub struct Beginning {
    load: String,
    involuntary: i64,
    cpu_ticks: CpuTicks,
}

/// Of all CPUs, in ticks (proc_stat(5)).
#[derive(Debug, Clone, Copy, Default)]
struct CpuTicks {
    total: u64,
    idle: u64,
    stolen: u64,
}

/// How it was.
#[derive(Debug, Clone, Default)]
pub struct Conditions {
    pub cpus: usize,
    pub kernel: String,
    /// The load average of the last minute at the beginning and at the end.
    pub load: (String, String),
    /// How often the bench itself was made to wait for a CPU.
    pub involuntary: i64,
    /// Shares of all CPU time: not idle, and taken by the hypervisor for others.
    pub busy: f64,
    pub stolen: f64,
    /// Each floor and peer, and by which share the thirds of its samples are apart.
    pub drifts: Vec<(&'static str, f64)>,
}

impl Beginning {
    /// Looks around.
    pub fn now() -> anyhow::Result<Self> {
        Ok(Self { load: load(), involuntary: involuntary()?, cpu_ticks: cpu_ticks() })
    }

    /// Looks around again, when the rows are taken.
    pub fn until_now(self, rows: &[Row]) -> anyhow::Result<Conditions> {
        let (then, now) = (self.cpu_ticks, cpu_ticks());
        let share = |part: u64| part as f64 / now.total.saturating_sub(then.total).max(1) as f64;
        let idle = share(now.idle.saturating_sub(then.idle));
        let others = rows.iter().filter(|row| row.kind.side != Side::Zyg);
        Ok(Conditions {
            cpus: std::thread::available_parallelism().map_or(0, usize::from),
            kernel: kernel(),
            load: (self.load, load()),
            involuntary: involuntary()? - self.involuntary,
            busy: (1.0 - idle).clamp(0.0, 1.0),
            stolen: share(now.stolen.saturating_sub(then.stolen)),
            drifts: others.filter_map(|row| Some((row.kind.name, drift(&row.samples)?))).collect(),
        })
    }
}

impl Conditions {
    /// Whether it is known of a row that it has not moved too far for a verdict.
    pub fn is_steady(&self, row: &str) -> bool {
        let mut drifts = self.drifts.iter();
        drifts.any(|(name, drift)| *name == row && drift.abs() <= DRIFT_MAX)
    }

    /// Those that have moved too far for a verdict.
    pub fn drifted(&self) -> impl Iterator<Item = (&'static str, f64)> {
        self.drifts.iter().copied().filter(|(_, drift)| drift.abs() > DRIFT_MAX)
    }

    /// What machine it was.
    pub fn machine(&self) -> String {
        format!("{} CPUs, Linux {}", self.cpus, self.kernel)
    }

    /// How noisy it was.
    pub fn noise(&self) -> String {
        let farthest = self.drifts.iter().max_by(|a, b| a.1.abs().total_cmp(&b.1.abs()));
        let drift = farthest.map_or_else(
            || "too few samples to tell whether anything drifted".to_owned(),
            |(name, drift)| {
                format!("floors and peers drifted by at most {} ({name})", percent(*drift))
            },
        );
        format!(
            "{drift};\nload average {} before and {} after; CPUs {:.0} % busy, {:.0} % taken by the \
             hypervisor;\nthe bench had to yield its CPU {} times",
            self.load.0,
            self.load.1,
            self.busy * 100.0,
            self.stolen * 100.0,
            self.involuntary
        )
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let number = |text: &str| text.parse::<f64>().ok();
        let drifts = self.drifts.iter().map(|(name, drift)| ((*name).to_owned(), json!(drift)));
        json!({
            "summary": self.machine(),
            "cpus": self.cpus,
            "kernel": self.kernel,
            "load": { "before": number(&self.load.0), "after": number(&self.load.1) },
            "busy": self.busy,
            "stolen": self.stolen,
            "involuntary_switches": self.involuntary,
            "drift": Value::Object(drifts.collect()),
        })
    }
}

/// A share with its sign.
pub fn percent(share: f64) -> String {
    format!("{:+.0} %", share * 100.0)
}

fn kernel() -> String {
    nix::sys::utsname::uname()
        .map(|name| name.release().to_string_lossy().into_owned())
        .unwrap_or_default()
}

fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or_default().to_owned()
}

fn involuntary() -> anyhow::Result<i64> {
    let usage = getrusage(UsageWho::RUSAGE_SELF).context("failed to read its own usage")?;
    Ok(usage.involuntary_context_switches())
}

fn cpu_ticks() -> CpuTicks {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let ticks = text.lines().next().unwrap_or_default().split_whitespace().skip(1);
    // User, nice, system, idle, iowait, irq, softirq, steal; what guests use is in user already.
    let ticks: Vec<u64> = ticks.take(8).filter_map(|ticks| ticks.parse().ok()).collect();
    let at = |index: usize| ticks.get(index).copied().unwrap_or(0);
    CpuTicks { total: ticks.iter().sum(), idle: at(3) + at(4), stolen: at(7) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::row::kind;

    fn row(name: &str, samples: impl IntoIterator<Item = f64>) -> Row {
        Row { kind: kind(name).unwrap(), samples: samples.into_iter().collect() }
    }

    #[test]
    fn only_floors_that_moved_far_count_as_drifted() {
        let rising = (0..30).map(|sample| 100.0 + 2.0 * f64::from(sample));
        let rows = [
            row("spawn_true", rising.clone()),
            row("seqpacket_rtt", (0..30).map(|sample| 5.0 + f64::from(sample % 3))),
            row("acquire", rising),
        ];
        let conditions = Beginning::now().unwrap().until_now(&rows).unwrap();
        let drifted: Vec<_> = conditions.drifted().map(|(name, _)| name).collect();
        assert_eq!(drifted, ["spawn_true"]);
        assert_eq!(conditions.drifts.len(), 2);
        assert!(conditions.noise().contains("+37 % (spawn_true)"), "{}", conditions.noise());
    }

    #[test]
    fn the_machine_is_named() {
        let conditions = Beginning::now().unwrap().until_now(&[]).unwrap();
        assert!(conditions.cpus > 0 && !conditions.kernel.is_empty());
        assert!((0.0..=1.0).contains(&conditions.busy));
        assert!(conditions.noise().contains("too few samples"));
        assert!(conditions.json()["load"]["before"].is_number());
    }
}
