//! Who takes part, and what comes of it on one kind of trace.

use crate::baseline::{Apache, Baseline, Ewma, Fixed, Rule, Usap};
use crate::clairvoyant::Clairvoyant;
use crate::contestant::{Contestant, Micros};
use crate::curve::{Curve, Estimate};
use crate::host::{Outcome, ZYGOTES_MAX, play};
use crate::ours::Ours;
use crate::trace::{Kind, Trace};
use std::ops::Range;
use zygote::pool::{Pace, Settings};

/// The yardstick.
pub const FIXED: &str = "fixed size";
/// Nothing is ever warm.
pub const NO_POOL: &str = "no pool";
/// Ours as ε changes.
pub const ZYG: &str = "zyg";
/// Ours as it is by default, but for its bounds: without a minimum, so that what is measured is the
/// adaptive part alone and on every trace the same, and with the host's maximum.
pub const ADAPTIVE: &str = "zyg, default pace";
/// Ours as a profile is by default.
pub const SHIPPED: &str = "zyg, min 4 max 64";

/// A policy, as it is set to keep less or more.
pub struct Family {
    /// In tables and legends.
    pub name: &'static str,
    settings: Vec<Setting>,
}

struct Setting {
    label: String,
    make: Box<dyn Fn() -> Box<dyn Contestant>>,
}

/// How a setting did, for each seed.
pub struct Measured {
    /// What was set.
    pub label: String,
    /// One for each seed.
    pub outcomes: Vec<Outcome>,
}

/// How a family did.
pub struct Entry {
    /// In tables and legends.
    pub name: &'static str,
    /// In the order in which it keeps more.
    pub measured: Vec<Measured>,
}

/// What came of a kind of trace.
pub struct Round {
    /// The kind's name.
    pub name: &'static str,
    /// In a line, what it is.
    pub about: &'static str,
    /// Of the first seed's trace.
    pub duration: Micros,
    /// One for each family.
    pub entries: Vec<Entry>,
    /// One for each seed.
    pub bounds: Vec<Clairvoyant>,
}

/// All who take part.
#[must_use]
pub fn families() -> Vec<Family> {
    let sizes = (0..=16).chain([18, 20, 23, 26, 30, 35, 40, 47, 55, 64, 80, 110, 150, 220]);
    let factors = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 256.0];
    let spares = [1, 4, 8, 16, 32, 64, 110];
    let shares = [0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.000_5];
    let pace = |epsilon| Pace { epsilon, ..Pace::default() };
    let max = ZYGOTES_MAX as u32;
    vec![
        family(FIXED, sizes, |size| format!("{size}"), |size| baseline(Fixed(size))),
        family(NO_POOL, [()], |()| String::new(), |()| baseline(Fixed(0))),
        family("EWMA of the rate", factors, |f| format!("×{f}"), |f| baseline(Ewma::new(f))),
        family("Apache's doubling", spares, |n| format!("{n}"), |n| baseline(Apache::new(n))),
        family("USAP's thresholds", spares, |n| format!("{n}"), |n| baseline(Usap::new(n))),
        family(ZYG, shares, |e| format!("ε {e}"), move |e| ours(0, max, pace(e))),
        family(ADAPTIVE, [()], |()| String::new(), move |()| ours(0, max, Pace::default())),
        family(SHIPPED, [()], |()| String::new(), |()| ours(4, 64, Pace::default())),
    ]
}

fn family<P: Copy + 'static>(
    name: &'static str,
    parameters: impl IntoIterator<Item = P>,
    label: impl Fn(P) -> String,
    make: impl Fn(P) -> Box<dyn Contestant> + Copy + 'static,
) -> Family {
    let setting =
        |parameter| Setting { label: label(parameter), make: Box::new(move || make(parameter)) };
    Family { name, settings: parameters.into_iter().map(setting).collect() }
}

fn baseline<R: Rule + Default + 'static>(rule: R) -> Box<dyn Contestant> {
    Box::new(Baseline::new(rule))
}

fn ours(min: u32, max: u32, pace: Pace) -> Box<dyn Contestant> {
    // Nobody is turned away: all policies are to serve the same arrivals.
    let waiters_max = u32::MAX;
    Box::new(Ours::new(Settings { waiters_max, pace, ..Settings::new(min, max) }))
}

/// Plays a trace of the kind for each seed to everybody.
///
/// # Panics
/// If anybody beats the bound: then the bound or the host is wrong.
#[must_use]
pub fn play_round(kind: &Kind, families: &[Family], seeds: &Range<u64>, scale: f64) -> Round {
    let traces: Vec<Trace> = seeds.clone().map(|seed| kind.make(seed, scale)).collect();
    let bounds: Vec<Clairvoyant> = traces.iter().map(Clairvoyant::of).collect();
    let measure = |setting: &Setting| {
        let outcome = |(trace, seed)| play(trace, seed, &mut *(setting.make)());
        let outcomes: Vec<Outcome> = traces.iter().zip(seeds.clone()).map(outcome).collect();
        for (outcome, bound) in outcomes.iter().zip(&bounds) {
            let least = bound.idle(outcome.cold);
            assert!(
                outcome.idle >= least * (1.0 - 1e-9),
                "{} of {} on {} kept {} idle, and nobody can with less than {least}",
                outcome.cold,
                setting.label,
                kind.name,
                outcome.idle
            );
        }
        Measured { label: setting.label.clone(), outcomes }
    };
    let enter = |family: &Family| Entry {
        name: family.name,
        measured: family.settings.iter().map(measure).collect(),
    };
    let entries = families.iter().map(enter).collect();
    let duration = traces.first().map_or(0, |trace| trace.duration);
    Round { name: kind.name, about: kind.about, duration, entries, bounds }
}

impl Measured {
    /// A mean over the seeds.
    #[must_use]
    pub fn mean(&self, of: impl Fn(&Outcome) -> f64) -> f64 {
        self.outcomes.iter().map(of).sum::<f64>() / self.outcomes.len() as f64
    }
}

impl Entry {
    /// The curve for one seed.
    fn curve(&self, seed: usize) -> Curve {
        let outcomes = self.measured.iter().map(|measured| &measured.outcomes[seed]);
        let points = outcomes.clone().map(|outcome| (outcome.idle, outcome.cold_share()));
        Curve::new(points.collect(), outcomes.clone().next().map_or(1, |first| first.acquires))
    }
}

impl Round {
    /// A family's entry.
    #[must_use]
    pub fn entry(&self, name: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.name == name)
    }

    /// How the default did.
    fn default(&self) -> &[Outcome] {
        let measured = self.entry(ADAPTIVE).and_then(|entry| entry.measured.first());
        measured.map_or(&[], |measured| &measured.outcomes)
    }

    /// The default's cold share as a multiple of what the family has with as many idle zygotes;
    /// `None` where it cannot keep so few.
    #[must_use]
    pub fn cold_ratio(&self, entry: &Entry) -> Option<Estimate> {
        let ratio = |(seed, ours): (usize, &Outcome)| {
            let curve = entry.curve(seed);
            Some(curve.at_least_floor(ours.cold_share()) / curve.cold_at(ours.idle)?)
        };
        let ratios: Option<Vec<f64>> = self.default().iter().enumerate().map(ratio).collect();
        Some(Estimate::of(&ratios?))
    }

    /// The default's idle zygotes as a multiple of what the family takes for the same cold share;
    /// `None` where it never gets there.
    #[must_use]
    pub fn idle_ratio(&self, entry: &Entry) -> Option<Estimate> {
        let ratio = |(seed, ours): (usize, &Outcome)| {
            let takes = entry.curve(seed).idle_at(ours.cold_share())?;
            (takes > 0.0).then(|| ours.idle / takes)
        };
        let ratios: Option<Vec<f64>> = self.default().iter().enumerate().map(ratio).collect();
        Some(Estimate::of(&ratios?))
    }

    /// The bound's cold share, averaged over the seeds, with so many idle zygotes.
    #[must_use]
    pub fn bound_cold(&self, idle: f64) -> f64 {
        let shares = self.bounds.iter().map(|bound| bound.cold_share(idle));
        shares.sum::<f64>() / self.bounds.len() as f64
    }

    /// The bound's idle zygotes, averaged over the seeds, at the default's cold share.
    #[must_use]
    pub fn bound_idle(&self) -> f64 {
        let bounds = self.bounds.iter().zip(self.default());
        bounds.map(|(bound, ours)| bound.idle(ours.cold)).sum::<f64>() / self.bounds.len() as f64
    }
}

/// Whether what was promised held.
pub struct Verdict {
    /// The promise.
    pub promise: String,
    /// What was measured.
    pub measured: Option<Estimate>,
    /// It may not be more.
    pub limit: f64,
}

impl Verdict {
    /// With confidence, not only on average.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.measured.is_some_and(|measured| measured.upper <= self.limit)
    }
}

/// What was promised of the policy, for each round.
#[must_use]
pub fn verdicts(rounds: &[Round]) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    for round in rounds {
        let Some(fixed) = round.entry(FIXED) else { continue };
        verdicts.push(Verdict {
            promise: format!("{}: cold share ÷ best fixed size's at equal idle", round.name),
            measured: round.cold_ratio(fixed),
            limit: 1.25,
        });
        if round.name == "ci" {
            verdicts.push(Verdict {
                promise: "ci: idle ÷ fixed size's at equal cold share".into(),
                measured: round.idle_ratio(fixed),
                limit: 0.5,
            });
        }
    }
    verdicts
}
