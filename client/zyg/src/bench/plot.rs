//! The rows as a picture: one bar each on a logarithmic axis, from quantile to quantile.

use super::chart::{escaped, rule, text};
use super::row::{Kind, Side, Unit};
use super::stats::Sorted;
use std::fmt::Write;

const WIDTH: f64 = 960.0;
const LEFT: f64 = 150.0;
const RIGHT: f64 = 800.0;
const TOP: f64 = 96.0;
const EACH: f64 = 26.0;

/// The rows that are times, as a document.
pub fn svg(rows: &[(Kind, Sorted)], machine: &str) -> String {
    let times: Vec<_> = rows.iter().filter(|(kind, _)| kind.unit == Unit::Micros).collect();
    let bottom = TOP + EACH * times.len() as f64;
    let height = bottom + 56.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         width=\"{WIDTH}\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    text(&mut svg, (20.0, 28.0), "font-size=\"17\" font-weight=\"bold\"", "zyg bench");
    text(&mut svg, (20.0, 50.0), "fill=\"#555\"", machine);
    legend(&mut svg);
    let scale = Scale::over(&times);
    for decade in scale.ticks() {
        let x = scale.place(decade);
        rule(&mut svg, (x, TOP), (x, bottom), "#ddd");
        text(&mut svg, (x, bottom + 18.0), "text-anchor=\"middle\"", &named(decade));
    }
    for (index, (kind, samples)) in times.into_iter().enumerate() {
        bar(&mut svg, &scale, TOP + EACH * (index as f64 + 0.5), (kind, samples));
    }
    let explained = "bar: p10 to p90; stroke: p50; line: least to p99; dot: max; number: p50";
    text(&mut svg, (LEFT, bottom + 42.0), "fill=\"#555\"", explained);
    svg.push_str("</svg>\n");
    svg
}

/// Where times lie from left to right.
#[derive(Debug)]
struct Scale {
    /// Powers of ten.
    ends: (f64, f64),
}

impl Scale {
    /// Whole decades that hold all samples.
    fn over(rows: &[&(Kind, Sorted)]) -> Self {
        let of = |share: f64| rows.iter().map(move |(_, samples)| samples.quantile(share));
        let low = of(0.0).fold(f64::INFINITY, f64::min).max(0.1);
        let high = of(1.0).fold(low, f64::max);
        let (low, high) = if low.is_finite() { (low, high) } else { (1.0, 10.0) };
        let ends = (low.log10().floor(), high.log10().ceil());
        Self { ends: (ends.0, ends.1.max(ends.0 + 1.0)) }
    }

    fn place(&self, us: f64) -> f64 {
        let (low, high) = self.ends;
        LEFT + (us.max(1e-9).log10() - low).clamp(0.0, high - low) / (high - low) * (RIGHT - LEFT)
    }

    fn ticks(&self) -> impl Iterator<Item = f64> {
        (self.ends.0 as i32..=self.ends.1 as i32).map(|decade| 10_f64.powi(decade))
    }
}

fn legend(svg: &mut String) {
    let sides = [(Side::Floor, "floor"), (Side::Zyg, "zyg"), (Side::Peer, "others")];
    for (index, (side, name)) in sides.into_iter().enumerate() {
        let x = LEFT + 90.0 * index as f64;
        let _ = writeln!(
            svg,
            "<rect x=\"{x}\" y=\"66\" width=\"14\" height=\"14\" fill=\"{}\"/>",
            colour(side)
        );
        text(svg, (x + 20.0, 78.0), "", name);
    }
}

fn bar(svg: &mut String, scale: &Scale, y: f64, (kind, samples): (&Kind, &Sorted)) {
    let at = |share: f64| scale.place(samples.quantile(share));
    let colour = colour(kind.side);
    let _ = writeln!(svg, "<g><title>{}: {}</title>", escaped(kind.name), escaped(kind.about));
    text(svg, (LEFT - 10.0, y + 4.5), "text-anchor=\"end\"", kind.name);
    rule(svg, (at(0.0), y), (at(0.99), y), colour);
    let (left, right) = (at(0.1), at(0.9));
    let _ = writeln!(
        svg,
        "<rect x=\"{left:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"14\" fill=\"{colour}\"/>\n\
         <rect x=\"{:.1}\" y=\"{:.1}\" width=\"2\" height=\"20\" fill=\"black\"/>\n\
         <circle cx=\"{:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>",
        y - 7.0,
        (right - left).max(1.0),
        at(0.5) - 1.0,
        y - 10.0,
        at(1.0)
    );
    text(svg, (RIGHT + 14.0, y + 4.5), "", &named(samples.quantile(0.5)));
    svg.push_str("</g>\n");
}

fn colour(side: Side) -> &'static str {
    match side {
        Side::Floor => "#9a9a9a",
        Side::Zyg => "#1f6fb4",
        Side::Peer => "#e08a1e",
    }
}

/// A time with three digits and its unit.
fn named(us: f64) -> String {
    let (value, unit) = match us {
        us if us < 999.5 => (us, "µs"),
        us if us < 999_500.0 => (us / 1e3, "ms"),
        us => (us / 1e6, "s"),
    };
    let places = match value {
        value if value.fract() == 0.0 || value >= 99.95 => 0,
        value if value >= 9.995 => 1,
        _ => 2,
    };
    format!("{value:.places$} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::chart::tests::assert_well_formed;
    use crate::bench::row::kind;

    fn row(name: &str, values: &[f64]) -> (Kind, Sorted) {
        (kind(name).unwrap(), Sorted::new(values.to_vec()))
    }

    #[test]
    fn a_picture_is_well_formed_and_names_every_time() {
        let rows = [
            row("seqpacket_rtt", &[4.0, 5.0, 80.0]),
            row("exec_true", &[1200.0, 1300.0, 9000.0]),
            row("bwrap", &[5000.0, 5100.0]),
            row("churn", &[700.0]),
        ];
        let svg = svg(&rows, "2 CPUs & <Linux>");
        assert_well_formed(&svg);
        assert!(svg.contains("2 CPUs &amp; &lt;Linux&gt;"));
        for name in ["seqpacket_rtt", "exec_true", "bwrap", "1.30 ms", "5 µs"] {
            assert!(svg.contains(&format!(">{name}<")), "{name} in {svg}");
        }
        assert!(!svg.contains("churn"), "a rate is no time");
        assert!(!svg.contains("NaN"));
    }

    #[test]
    fn nothing_measured_is_an_empty_picture() {
        assert_well_formed(&svg(&[], ""));
    }

    #[test]
    fn equal_factors_are_equally_far_apart() {
        let rows = [row("acquire", &[3.0, 700.0])];
        let scale = Scale::over(&rows.iter().collect::<Vec<_>>());
        assert_eq!(scale.ticks().collect::<Vec<_>>(), [1.0, 10.0, 100.0, 1000.0]);
        let places: Vec<f64> = scale.ticks().map(|tick| scale.place(tick)).collect();
        assert!((places[1] - places[0] - (places[3] - places[2])).abs() < 1e-9);
        assert_eq!(scale.place(1e9), RIGHT);
    }

    #[test]
    fn times_have_three_digits() {
        let names = [4.123, 41.23, 412.3, 1412.0, 2_000_000.0, 10.0].map(named);
        assert_eq!(names, ["4.12 µs", "41.2 µs", "412 µs", "1.41 ms", "2 s", "10 µs"]);
    }
}
