//! Line charts as SVG, both axes logarithmic, with a legend. Knows nothing of what it draws.

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
    /// Its ends, both positive.
    pub range: (f64, f64),
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
    /// A broken line.
    Dashed,
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
        (value.clamp(low, high) / low).ln() / (high / low).ln()
    }

    /// Values to be named: round ones, not more than fit.
    fn ticks(&self) -> impl Iterator<Item = f64> {
        let (low, high) = self.range;
        let (first, last) = (low.log10().floor() as i32, high.log10().ceil() as i32);
        let steps: &[f64] = if last - first > 3 { &[1.0] } else { &[1.0, 2.0, 5.0] };
        let all = (first..=last)
            .flat_map(move |power| steps.iter().map(move |step| step * 10_f64.powi(power)));
        all.filter(move |tick| (low * 0.999..=high * 1.001).contains(tick))
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
            text(svg, (x, BOTTOM + 18.0), "text-anchor=\"middle\"", &tick.to_string());
        }
        for tick in self.y.ticks() {
            let y = BOTTOM - self.y.place(tick) * (BOTTOM - TOP);
            rule(svg, (LEFT, y), (RIGHT, y), "#ddd");
            text(svg, (LEFT - 8.0, y + 4.0), "text-anchor=\"end\"", &tick.to_string());
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
        let _ = write!(
            svg,
            "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"{} points=\"",
            series.style.dashes()
        );
        for (x, y) in &places {
            let _ = write!(svg, "{x:.1},{y:.1} ");
        }
        svg.push_str("\"/>\n");
        for place in places {
            mark(svg, place, series);
        }
    }
}

impl Style {
    fn dashes(self) -> &'static str {
        if self == Self::Dashed { " stroke-dasharray=\"6 4\"" } else { "" }
    }
}

fn legend(svg: &mut String, index: usize, series: &Series) {
    let (x, y) = (RIGHT + 18.0, TOP + 14.0 + 22.0 * index as f64);
    let (colour, to, dashes) = (series.colour, x + 24.0, series.style.dashes());
    let _ =
        writeln!(svg, "<path d=\"M{x} {y}H{to}\" stroke=\"{colour}\" stroke-width=\"2\"{dashes}/>");
    mark(svg, (x + 12.0, y), series);
    text(svg, (x + 32.0, y + 4.0), "", &series.name);
}

fn mark(svg: &mut String, (x, y): (f64, f64), series: &Series) {
    if series.style == Style::Dotted {
        let colour = series.colour;
        let _ = writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2.5\" fill=\"{colour}\"/>");
    }
}

pub fn rule(svg: &mut String, (x0, y0): (f64, f64), (x1, y1): (f64, f64), colour: &str) {
    let _ = writeln!(
        svg,
        "<path d=\"M{x0:.1} {y0:.1}L{x1:.1} {y1:.1}\" stroke=\"{colour}\" stroke-width=\"1\"/>"
    );
}

pub fn text(svg: &mut String, (x, y): (f64, f64), attributes: &str, text: &str) {
    let text = escaped(text);
    let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" {attributes}>{text}</text>");
}

/// Text as XML has it, between tags and in attributes.
pub fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    text.replace('"', "&quot;")
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// Every tag that is opened is closed in its turn, and what is text is escaped.
    pub fn assert_well_formed(svg: &str) {
        let mut open = Vec::new();
        for tag in svg.split('<').skip(1) {
            let (tag, text) = tag.split_once('>').unwrap_or_else(|| panic!("no end of <{tag}"));
            assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
            assert!(!text.contains('>'), "{text}");
            for entity in text.split('&').skip(1) {
                let name = entity.split(';').next();
                assert!(["amp", "lt", "gt", "quot"].contains(&name.unwrap_or("")), "{text}");
            }
            match tag.strip_prefix('/') {
                Some(name) => assert_eq!(open.pop(), Some(name), "{svg}"),
                None if tag.ends_with('/') => {}
                None => open.push(tag.split(' ').next().unwrap_or(tag)),
            }
        }
        assert!(open.is_empty(), "{open:?} are left open");
    }

    fn axis(range: (f64, f64)) -> Axis {
        Axis { label: "a < b & c".into(), range }
    }

    #[test]
    fn ticks_are_round_and_few() {
        let ticks = |range| axis(range).ticks().collect::<Vec<_>>();
        assert_eq!(ticks((0.5, 20.0)), [0.5, 1.0, 2.0, 5.0, 10.0, 20.0]);
        assert_eq!(ticks((1.0, 10_000.0)), [1.0, 10.0, 100.0, 1_000.0, 10_000.0]);
    }

    #[test]
    fn what_lies_beyond_an_axis_is_drawn_at_its_end() {
        let axis = axis((1.0, 100.0));
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
        let (x, y) = (axis((1.0, 4.0)), axis((0.01, 1.0)));
        let chart =
            Chart { title: "t".into(), subtitle: String::new(), x, y, series: vec![series] };
        let svg = chart.svg();
        assert!(svg.contains("a &lt; b &amp; c") && svg.contains("x &gt; y"));
        assert_well_formed(&svg);
        assert_eq!(svg.matches("<circle").count(), 3);
    }
}
