//! What came of the rounds: as a table, as JSON, as charts.

use crate::contest::{ADAPTIVE, Entry, FIXED, Measured, Round, SHIPPED, Verdict, ZYG};
use crate::contestant::SECOND;
use crate::curve::Estimate;
use crate::host::{Outcome, Wait};
use crate::plot::{Axis, Chart, Series, Style};
use serde_json::{Value, json};
use std::fmt::Write;

/// A round as a table in Markdown. Of each curve it shows the setting that is nearest to ours in idle
/// zygotes, and how ours compares with the curve itself.
#[must_use]
pub fn table(round: &Round) -> String {
    let default = round.entry(ADAPTIVE).and_then(|entry| entry.measured.first());
    let acquires = default.map_or(0.0, |ours| ours.mean(|outcome| outcome.acquires as f64));
    let idle = default.map_or(0.0, |ours| ours.mean(|outcome| outcome.idle));
    let (name, about) = (round.name, round.about);
    let mut table = format!(
        "### {name}\n{about}. {acquires:.0} acquires a seed.\n\n\
         | policy | set to | idle | cold | wait p50 / p99 / max, ms | wasted | zyg's cold ÷ its, \
         equal idle | zyg's idle ÷ its, equal cold |\n|---|---|---|---|---|---|---|---|\n"
    );
    for entry in &round.entries {
        let Some(nearest) = nearest(entry, idle) else { continue };
        let cold_ratio = round.cold_ratio(entry).map_or("keeps more".into(), ratio);
        let idle_ratio = round.idle_ratio(entry).map_or("never as warm".into(), ratio);
        let _ = writeln!(table, "{} {cold_ratio} | {idle_ratio} |", columns(entry.name, nearest));
    }
    let (cold, least) = (round.bound_cold(idle) * 100.0, round.bound_idle());
    let _ = writeln!(
        table,
        "\nNobody, clairvoyant or not, is below {cold:.3} % cold with that many idle, or below \
         {least:.2} idle with that few cold.\n"
    );
    table
}

fn columns(name: &str, measured: &Measured) -> String {
    let label = &measured.label;
    let idle = measured.mean(|outcome| outcome.idle);
    let cold = measured.mean(|outcome| outcome.cold_share()) * 100.0;
    let ms = |of: fn(&Wait) -> u64| measured.mean(|outcome| of(&outcome.wait) as f64) / 1_000.0;
    let (p50, p99, max) = (ms(|wait| wait.p50), ms(|wait| wait.p99), ms(|wait| wait.max));
    let wasted = measured.mean(|outcome| outcome.wasted as f64 / outcome.built as f64) * 100.0;
    format!(
        "| {name} | {label} | {idle:.2} | {cold:.3} % | {p50:.2} / {p99:.2} / {max:.1} | \
         {wasted:.1} % |"
    )
}

fn ratio(estimate: Estimate) -> String {
    let Estimate { mean, low, high, .. } = estimate;
    format!("{mean:.2} ({low:.2}–{high:.2})")
}

fn nearest(entry: &Entry, idle: f64) -> Option<&Measured> {
    let distance = |measured: &Measured| {
        let other = measured.mean(|outcome| outcome.idle);
        ((other + 0.01) / (idle + 0.01)).ln().abs()
    };
    entry.measured.iter().min_by(|a, b| distance(a).total_cmp(&distance(b)))
}

/// The verdicts, a line each.
#[must_use]
pub fn lines(verdicts: &[Verdict]) -> String {
    let mut lines = String::from(
        "### Verdicts\nA ratio is the mean over the seeds; what has to be below the limit is the \
         upper end of its one-sided 95 % interval.\n\n| promise | ratio | seeds from–to | upper | \
         limit | verdict |\n|---|---|---|---|---|---|\n",
    );
    for verdict in verdicts {
        let (promise, limit) = (&verdict.promise, verdict.limit);
        let word = if verdict.holds() { "pass" } else { "FAIL" };
        let numbers = verdict.measured.map_or("| | cannot be compared |".into(), |measured| {
            let Estimate { mean, upper, low, high } = measured;
            format!("| {mean:.2} | {low:.2}–{high:.2} | {upper:.2} |")
        });
        let _ = writeln!(lines, "| {promise} {numbers} {limit} | {word} |");
    }
    lines
}

/// All that was measured.
#[must_use]
pub fn json(rounds: &[Round], verdicts: &[Verdict]) -> Value {
    let outcome = |outcome: &Outcome| {
        let wait = outcome.wait;
        json!({
            "acquires": outcome.acquires, "cold": outcome.cold, "idle": outcome.idle,
            "wait_us": { "p50": wait.p50, "p99": wait.p99, "max": wait.max },
            "built": outcome.built, "wasted": outcome.wasted,
        })
    };
    let measured = |measured: &Measured| {
        let seeds: Vec<Value> = measured.outcomes.iter().map(outcome).collect();
        json!({ "set_to": measured.label, "seeds": seeds })
    };
    let entry = |entry: &Entry| {
        let settings: Vec<Value> = entry.measured.iter().map(measured).collect();
        json!({ "policy": entry.name, "settings": settings })
    };
    let round = |round: &Round| {
        let policies: Vec<Value> = round.entries.iter().map(entry).collect();
        json!({ "trace": round.name, "about": round.about, "policies": policies })
    };
    let verdict = |verdict: &Verdict| {
        let measured = verdict.measured;
        json!({
            "promise": verdict.promise, "ratio": measured.map(|measured| measured.mean),
            "upper": measured.map(|measured| measured.upper), "limit": verdict.limit,
            "holds": verdict.holds(),
        })
    };
    let rounds: Vec<Value> = rounds.iter().map(round).collect();
    let verdicts: Vec<Value> = verdicts.iter().map(verdict).collect();
    json!({ "version": 1, "traces": rounds, "verdicts": verdicts })
}

/// Cold share against idle zygotes.
#[must_use]
pub fn curves(round: &Round) -> Chart {
    const COLOURS: [&str; 6] = ["#555555", "#000000", "#2a7ab9", "#c0571f", "#8a4fae", "#1a9850"];
    let looks = |index: usize, name: &str| match name {
        ADAPTIVE => ("#1a9850", Style::Marks),
        SHIPPED => ("#ffd92f", Style::Marks),
        _ => (COLOURS[index % COLOURS.len()], Style::Dotted),
    };
    let series = |(index, entry): (usize, &Entry)| {
        let (colour, style) = looks(index, entry.name);
        let point = |measured: &Measured| {
            (measured.mean(|outcome| outcome.idle), measured.mean(|outcome| outcome.cold_share()))
        };
        let points = entry.measured.iter().map(point).collect();
        let name = if entry.name == ZYG { "zyg, ε varied" } else { entry.name };
        Series { name: name.into(), colour, style, points }
    };
    let (least, most): (f64, f64) = (0.1, 250.0);
    let steps = (0..=200).map(|step| least * (most / least).powf(f64::from(step) / 200.0));
    let bound = Series {
        name: "clairvoyant bound".into(),
        colour: "black",
        style: Style::Dashed,
        points: steps.map(|idle| (idle, round.bound_cold(idle))).collect(),
    };
    let mut all = vec![bound];
    all.extend(round.entries.iter().enumerate().map(series));
    Chart {
        title: format!("{}: cold acquires against idle zygotes", round.name),
        subtitle: round.about.into(),
        x: axis("idle zygotes, mean over time", (least, most), true, false),
        y: axis("acquires that found nothing warm", (1e-4, 1.0), true, true),
        series: all,
    }
}

/// Idle zygotes over time, of the first seed: ours, and the fixed size that is nearest to it in cold
/// share.
#[must_use]
pub fn profiles(round: &Round) -> Option<Chart> {
    let ours = round.entry(ADAPTIVE)?.measured.first()?;
    let cold = ours.mean(|outcome| outcome.cold_share());
    let distance = |measured: &&Measured| {
        (measured.mean(|outcome| outcome.cold_share()).max(1e-6) / cold.max(1e-6)).ln().abs()
    };
    let fixed = round.entry(FIXED)?.measured.iter();
    let fixed = fixed.min_by(|a, b| distance(a).total_cmp(&distance(b)))?;
    let series = |name: String, colour, measured: &Measured| {
        let profile = &measured.outcomes[0].profile;
        // CI sessions repeat: a few of them show more than all.
        let shown = if round.name == "ci" { profile.len() / 8 } else { profile.len() };
        let part = round.duration as f64 / SECOND as f64 / profile.len() as f64;
        let points = profile[..shown].iter().enumerate();
        let points = points.map(|(index, idle)| ((index as f64 + 0.5) * part, *idle)).collect();
        Series { name, colour, style: Style::Plain, points }
    };
    let label = &fixed.label;
    let series = vec![
        series(format!("fixed size {label}"), "#555555", fixed),
        series(ADAPTIVE.into(), "#1a9850", ours),
    ];
    let ends = |of: fn(&(f64, f64)) -> f64| {
        series.iter().flat_map(|series| &series.points).map(of).fold(1.0, f64::max)
    };
    Some(Chart {
        title: format!("{}: idle zygotes over time", round.name),
        subtitle: format!("{}; at equal cold share", round.about),
        x: axis("time, s", (0.0, ends(|point| point.0)), false, false),
        y: axis("idle zygotes", (0.0, ends(|point| point.1) * 1.05), false, false),
        series: series.clone(),
    })
}

fn axis(label: &str, range: (f64, f64), logarithmic: bool, percent: bool) -> Axis {
    Axis { label: label.into(), range, logarithmic, percent }
}
