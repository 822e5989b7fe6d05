//! A line chart as SVG, to stand in a page whose style gives the colours: two axes, a few lines, a
//! limit.

use std::fmt::Write;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 240.0;
/// Room for the labels.
const LEFT: f64 = 64.0;
const RIGHT: f64 = 28.0;
const TOP: f64 = 28.0;
const BOTTOM: f64 = 40.0;

/// Nines of the highest percentile on a [`Scale::Percentile`]: 99.999 %.
const NINES: f64 = 5.0;

/// How a value becomes a place on an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Evenly, from zero.
    Linear,
    /// A quantile by how little is above it, a tenth each: 0, 90, 99, 99.9 …, as HDR plots have it.
    Percentile,
}

/// One line.
pub struct Curve {
    pub name: &'static str,
    pub points: Vec<(f64, f64)>,
}

/// A chart.
pub struct Chart<'a> {
    pub title: &'a str,
    pub x: &'a str,
    pub y: &'a str,
    pub x_scale: Scale,
    /// At most three: the page has colours and dashes for as many.
    pub curves: Vec<Curve>,
    /// A value of y that should not be passed.
    pub limit: Option<f64>,
    /// The least that the y axis reaches to, so that noise around nothing looks like nothing.
    pub y_at_least: f64,
}

impl Chart<'_> {
    /// The chart as an `svg` element.
    #[must_use]
    pub fn svg(&self) -> String {
        let points = || self.curves.iter().flat_map(|curve| &curve.points);
        let most = |of: fn(&(f64, f64)) -> f64| points().map(of).fold(0.0, f64::max);
        let x_step = nice_step(most(|point| point.0), 6.0);
        let x_end = match self.x_scale {
            Scale::Linear => most(|point| point.0).max(x_step),
            Scale::Percentile => NINES,
        };
        let highest = most(|point| point.1).max(self.y_at_least);
        // A limit far above everything would press the lines flat: it is then left out.
        let limit = self.limit.filter(|limit| *limit <= highest * 4.0);
        let y_step = nice_step(highest.max(limit.unwrap_or(0.0)), 4.0);
        let y_end = (highest.max(limit.unwrap_or(0.0)) / y_step).ceil().max(1.0) * y_step;
        let frame = Frame { x_end, y_end, x_scale: self.x_scale };
        let mut svg = format!(
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">\n",
            escaped(self.title)
        );
        self.axes(&mut svg, &frame, x_step, y_step);
        for (number, curve) in self.curves.iter().enumerate() {
            let place = |(x, y): &(f64, f64)| format!("{:.1},{:.1}", frame.x(*x), frame.y(*y));
            let places: Vec<String> = curve.points.iter().map(place).collect();
            let places = places.join(" ");
            let _ = writeln!(svg, "<polyline class=\"line c{number}\" points=\"{places}\"/>");
        }
        if let Some(limit) = limit {
            let y = frame.y(limit);
            let _ = writeln!(
                svg,
                "<line class=\"limit\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>",
                WIDTH - RIGHT
            );
        }
        svg.push_str("</svg>\n");
        svg
    }

    fn axes(&self, svg: &mut String, frame: &Frame, x_step: f64, y_step: f64) {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        for tick in 0..=(frame.y_end / y_step).round() as u32 {
            let value = f64::from(tick) * y_step;
            let y = frame.y(value);
            let _ = write!(
                svg,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
                 <text class=\"end\" x=\"{}\" y=\"{:.1}\">{}</text>\n",
                LEFT - 6.0,
                y + 4.0,
                label(value, y_step)
            );
        }
        let ticks: Vec<(f64, String)> = match self.x_scale {
            Scale::Linear => (0..=(frame.x_end / x_step).floor() as u32)
                .map(|tick| f64::from(tick) * x_step)
                .map(|value| (frame.x(value), label(value, x_step)))
                .collect(),
            Scale::Percentile => ["0", "90", "99", "99.9", "99.99", "99.999"]
                .iter()
                .enumerate()
                .map(|(nines, name)| (frame.along(nines as f64), format!("{name} %")))
                .collect(),
        };
        for (x, name) in ticks {
            let _ = write!(
                svg,
                "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{bottom}\" y2=\"{}\"/>\
                 <text class=\"middle\" x=\"{x:.1}\" y=\"{}\">{name}</text>\n",
                bottom + 4.0,
                bottom + 17.0
            );
        }
        let _ = write!(
            svg,
            "<text class=\"middle\" x=\"{:.1}\" y=\"{}\">{}</text>\
             <text x=\"4\" y=\"11\">{}</text>\n",
            (LEFT + right) / 2.0,
            HEIGHT - 6.0,
            escaped(self.x),
            escaped(self.y)
        );
    }
}

struct Frame {
    x_end: f64,
    y_end: f64,
    x_scale: Scale,
}

impl Frame {
    fn x(&self, value: f64) -> f64 {
        self.along(match self.x_scale {
            Scale::Linear => value,
            Scale::Percentile => (-(1.0 - value).max(0.0).log10()).min(NINES),
        })
    }

    fn along(&self, part: f64) -> f64 {
        LEFT + (WIDTH - LEFT - RIGHT) * (part / self.x_end.max(f64::MIN_POSITIVE)).clamp(0.0, 1.0)
    }

    fn y(&self, value: f64) -> f64 {
        let part = (value / self.y_end.max(f64::MIN_POSITIVE)).clamp(0.0, 1.0);
        HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * part
    }
}

/// A step of 1, 2 or 5 times a power of ten that goes about `count` times into `range`.
fn nice_step(range: f64, count: f64) -> f64 {
    let rough = (range / count).max(1e-9);
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().find(|step| step * power >= rough * 0.999);
    step.unwrap_or(10.0) * power
}

/// A value on an axis: as many digits as its steps need, thousands as `k`.
fn label(value: f64, step: f64) -> String {
    let (value, step, unit) = match value {
        large if large >= 1e6 => (value / 1e6, step / 1e6, " M"),
        large if large >= 1e4 => (value / 1e3, step / 1e3, " k"),
        _ => (value, step, ""),
    };
    let digits = (-step.log10().floor()).clamp(0.0, 9.0) as usize;
    format!("{value:.digits$}{unit}")
}

/// Text for markup.
#[must_use]
pub fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            // Markup can't hold these, however they are written.
            control if control.is_control() && control != '\n' => escaped.push('\u{fffd}'),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_and_labels_are_round() {
        assert_eq!(nice_step(10.0, 4.0), 5.0);
        assert_eq!(nice_step(0.35, 4.0), 0.1);
        assert_eq!(nice_step(320_000.0, 4.0), 100_000.0);
        assert_eq!(label(320_000.0, 20_000.0), "320 k");
        assert_eq!(label(0.3, 0.1), "0.3");
        assert_eq!(label(1_500_000.0, 500_000.0), "1.5 M");
    }

    #[test]
    fn lines_stay_within_the_frame() {
        let chart = |x_scale, points| Chart {
            title: "a <b>",
            x: "x",
            y: "y",
            x_scale,
            curves: vec![Curve { name: "c", points }],
            limit: Some(20.0),
            y_at_least: 1.0,
        };
        let svg = chart(Scale::Percentile, vec![(0.0, 1.0), (0.9, 2.0), (1.0, 7.0)]).svg();
        assert!(svg.contains("aria-label=\"a &lt;b&gt;\"") && svg.contains("99.999 %"));
        assert!(svg.contains("class=\"limit\""), "7 is near enough to 20: {svg}");
        let (_, places) = svg.split_once("points=\"").unwrap();
        let (places, _) = places.split_once('"').unwrap();
        let places: Vec<Vec<f64>> = places
            .split(' ')
            .map(|place| place.split(',').map(|part| part.parse().unwrap()).collect())
            .collect();
        assert_eq!(places[0][0], LEFT);
        assert_eq!(places[1][0], LEFT + (WIDTH - LEFT - RIGHT) / NINES, "90 % is a fifth along");
        assert_eq!(places[2][0], WIDTH - RIGHT);
        assert!(places.iter().all(|place| place[1] >= TOP && place[1] <= HEIGHT - BOTTOM));
        // Without points there are still axes.
        assert!(chart(Scale::Linear, Vec::new()).svg().contains("class=\"grid\""));
    }
}
