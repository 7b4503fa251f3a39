//! Line charts as SVG: two axes, each linear or logarithmic, lines with or without marks, a legend.
//! Knows nothing of what it draws.

use std::fmt::Write;

/// A chart.
#[derive(Debug, Clone)]
pub struct Chart {
    /// Above it.
    pub title: String,
    /// Below the title, smaller.
    pub subtitle: String,
    /// To the right.
    pub x: Axis,
    /// Upward.
    pub y: Axis,
    /// In the order of the legend; the last is drawn on top.
    pub series: Vec<Series>,
}

/// An axis. What lies beyond its ends is drawn at them.
#[derive(Debug, Clone)]
pub struct Axis {
    /// What it shows, with the unit.
    pub label: String,
    /// Its ends; of a logarithmic one, both are positive.
    pub range: (f64, f64),
    /// Whether equal factors are equally far apart.
    pub logarithmic: bool,
    /// Whether its values are shares, to be shown in percent.
    pub percent: bool,
}

/// Points that belong together.
#[derive(Debug, Clone)]
pub struct Series {
    /// In the legend.
    pub name: String,
    /// As CSS has it.
    pub colour: &'static str,
    /// How it is drawn.
    pub style: Style,
    /// In the order in which they are joined.
    pub points: Vec<(f64, f64)>,
}

/// How a series is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// A line and a small dot at each point.
    Dotted,
    /// A line.
    Plain,
    /// A broken line.
    Dashed,
    /// A large mark at each point and no line.
    Marks,
}

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 520.0;
const LEFT: f64 = 76.0;
const RIGHT: f64 = 650.0;
const TOP: f64 = 64.0;
const BOTTOM: f64 = 462.0;

impl Axis {
    /// Where a value lies between the ends, from 0 to 1.
    fn place(&self, value: f64) -> f64 {
        let (low, high) = self.range;
        let value = value.clamp(low, high);
        if self.logarithmic {
            (value / low).ln() / (high / low).ln()
        } else {
            (value - low) / (high - low)
        }
    }

    /// Values to be named: round ones, not more than fit.
    fn ticks(&self) -> Vec<f64> {
        let (low, high) = self.range;
        if self.logarithmic {
            let (first, last) = (low.log10().floor() as i32, high.log10().ceil() as i32);
            let steps: &[f64] = if last - first > 3 { &[1.0] } else { &[1.0, 2.0, 5.0] };
            let decades = (first..=last).map(|power| 10_f64.powi(power));
            let all = decades.flat_map(|decade| steps.iter().map(move |step| step * decade));
            return all.filter(|tick| (low * 0.999..=high * 1.001).contains(tick)).collect();
        }
        let rough = (high - low) / 8.0;
        let decade = 10_f64.powf(rough.log10().floor());
        let fits = [1.0, 2.0, 5.0, 10.0].map(|step| step * decade);
        let step = fits.into_iter().find(|step| *step >= rough).unwrap_or(rough);
        let (first, last) = ((low / step).ceil() as i64, (high / step + 1e-9).floor() as i64);
        (first..=last).map(|tick| tick as f64 * step).collect()
    }

    /// A value as it is written beside the axis.
    fn name(&self, value: f64) -> String {
        // Enough places to tell ticks apart, and no noise of binary fractions after them.
        let value = if self.percent { value * 100.0 } else { value };
        let places = if value == 0.0 { 0.0 } else { (-value.abs().log10().floor()).max(0.0) };
        let text = format!("{value:.0$}", places as usize);
        if self.percent { format!("{text} %") } else { text }
    }
}

impl Chart {
    /// The chart as a document.
    #[must_use]
    pub fn svg(&self) -> String {
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             width=\"{WIDTH}\" height=\"{HEIGHT}\" font-family=\"sans-serif\" font-size=\"13\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
        );
        text(&mut svg, (LEFT, 26.0), "font-size=\"17\" font-weight=\"bold\"", &self.title);
        text(&mut svg, (LEFT, 48.0), "fill=\"#555\"", &self.subtitle);
        self.grid(&mut svg);
        for (index, series) in self.series.iter().enumerate() {
            self.line(&mut svg, series);
            legend(&mut svg, index, series);
        }
        svg.push_str("</svg>\n");
        svg
    }

    fn grid(&self, svg: &mut String) {
        for tick in self.x.ticks() {
            let x = LEFT + self.x.place(tick) * (RIGHT - LEFT);
            rule(svg, (x, TOP), (x, BOTTOM), "#ddd");
            text(svg, (x, BOTTOM + 18.0), "text-anchor=\"middle\"", &self.x.name(tick));
        }
        for tick in self.y.ticks() {
            let y = BOTTOM - self.y.place(tick) * (BOTTOM - TOP);
            rule(svg, (LEFT, y), (RIGHT, y), "#ddd");
            text(svg, (LEFT - 8.0, y + 4.0), "text-anchor=\"end\"", &self.y.name(tick));
        }
        rule(svg, (LEFT, BOTTOM), (RIGHT, BOTTOM), "black");
        rule(svg, (LEFT, TOP), (LEFT, BOTTOM), "black");
        let (middle, centre) = (f64::midpoint(LEFT, RIGHT), f64::midpoint(TOP, BOTTOM));
        text(svg, (middle, BOTTOM + 42.0), "text-anchor=\"middle\"", &self.x.label);
        let turned = format!("text-anchor=\"middle\" transform=\"rotate(-90 18 {centre})\"");
        text(svg, (18.0, centre), &turned, &self.y.label);
    }

    fn line(&self, svg: &mut String, series: &Series) {
        let colour = series.colour;
        let place = |&(x, y): &(f64, f64)| {
            let right = LEFT + self.x.place(x) * (RIGHT - LEFT);
            (right, BOTTOM - self.y.place(y) * (BOTTOM - TOP))
        };
        let places: Vec<(f64, f64)> = series.points.iter().map(place).collect();
        if series.style != Style::Marks {
            let dashes =
                if series.style == Style::Dashed { " stroke-dasharray=\"6 4\"" } else { "" };
            let _ = write!(svg, "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"");
            let _ = write!(svg, "{dashes} points=\"");
            for (x, y) in &places {
                let _ = write!(svg, "{x:.1},{y:.1} ");
            }
            svg.push_str("\"/>\n");
        }
        for (x, y) in places {
            mark(svg, (x, y), series);
        }
    }
}

fn legend(svg: &mut String, index: usize, series: &Series) {
    let (x, y) = (RIGHT + 18.0, TOP + 14.0 + 22.0 * index as f64);
    if series.style != Style::Marks {
        let dashes = if series.style == Style::Dashed { "stroke-dasharray=\"6 4\"" } else { "" };
        let (colour, to) = (series.colour, x + 24.0);
        let _ = writeln!(
            svg,
            "<path d=\"M{x} {y}H{to}\" stroke=\"{colour}\" stroke-width=\"2\" {dashes}/>"
        );
    }
    mark(svg, (x + 12.0, y), series);
    text(svg, (x + 32.0, y + 4.0), "", &series.name);
}

fn mark(svg: &mut String, (x, y): (f64, f64), series: &Series) {
    let (radius, edge) = match series.style {
        Style::Dotted => (2.5, "none"),
        Style::Marks => (6.0, "black"),
        Style::Plain | Style::Dashed => return,
    };
    let colour = series.colour;
    let _ = writeln!(
        svg,
        "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius}\" fill=\"{colour}\" stroke=\"{edge}\"/>"
    );
}

fn rule(svg: &mut String, (x0, y0): (f64, f64), (x1, y1): (f64, f64), colour: &str) {
    let _ = writeln!(
        svg,
        "<path d=\"M{x0:.1} {y0:.1}L{x1:.1} {y1:.1}\" stroke=\"{colour}\" stroke-width=\"1\"/>"
    );
}

fn text(svg: &mut String, (x, y): (f64, f64), attributes: &str, text: &str) {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" {attributes}>{text}</text>");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axis(range: (f64, f64), logarithmic: bool, percent: bool) -> Axis {
        Axis { label: "a < b & c".into(), range, logarithmic, percent }
    }

    #[test]
    fn ticks_are_round_and_few() {
        assert_eq!(axis((0.0, 80.0), false, false).ticks().len(), 9);
        assert_eq!(axis((0.0, 1.0), false, false).ticks()[1], 0.2);
        let shares = axis((1e-4, 1.0), true, true);
        let names: Vec<String> = shares.ticks().iter().map(|tick| shares.name(*tick)).collect();
        assert_eq!(names, ["0.01 %", "0.1 %", "1 %", "10 %", "100 %"]);
        assert_eq!(axis((0.5, 20.0), true, false).ticks(), [0.5, 1.0, 2.0, 5.0, 10.0, 20.0]);
    }

    #[test]
    fn what_lies_beyond_an_axis_is_drawn_at_its_end() {
        let axis = axis((1.0, 100.0), true, false);
        assert_eq!([0.0, 1.0, 10.0, 100.0, 1e9].map(|x| axis.place(x)), [0.0, 0.0, 0.5, 1.0, 1.0]);
    }

    #[test]
    fn a_chart_is_well_formed() {
        let series = Series {
            name: "x > y".into(),
            colour: "#123456",
            style: Style::Dotted,
            points: vec![(1.0, 0.5), (2.0, 0.25)],
        };
        let (x, y) = (axis((0.0, 4.0), false, false), axis((0.01, 1.0), true, true));
        let chart =
            Chart { title: "t".into(), subtitle: String::new(), x, y, series: vec![series] };
        let svg = chart.svg();
        assert!(svg.contains("a &lt; b &amp; c") && svg.contains("x &gt; y"));
        assert_eq!(svg.matches("<text").count(), svg.matches("</text>").count());
        assert_eq!(svg.matches('"').count() % 2, 0);
        assert_eq!(svg.matches("<circle").count(), 3);
    }
}
