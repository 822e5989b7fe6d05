//! The picture of a run on a terminal, drawn over itself once a second; and the line that is
//! printed where no terminal is.

use crate::series::Point;
use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Gauge, Paragraph, Sparkline, Widget};
use std::fmt::Write;
use std::time::Duration;

const HEIGHT: u16 = 12;
const DIM: Style = Style::new().add_modifier(Modifier::DIM);
const BOLD: Style = Style::new().add_modifier(Modifier::BOLD).remove_modifier(Modifier::DIM);

/// What is drawn.
pub struct Picture<'a> {
    pub phase: &'a str,
    pub points: &'a [Point],
    pub sessions_requested: u64,
    pub duration: Duration,
}

/// One second in one line.
#[must_use]
pub fn line(phase: &str, point: &Point) -> String {
    let p99 = point.p99_us.map_or("-".to_owned(), |us| format!("{:.1}", us as f64 / 1_000.0));
    format!(
        "{phase}: {} publishers, {} viewers, {} failed, {:.0} packets/s, {:.0} Mb/s, \
         {:.2} % lost, p99 {p99} ms",
        point.publishers,
        point.viewers,
        point.failed,
        point.packets_per_s(),
        point.bits_per_s() / 1e6,
        100.0 * point.loss_ratio(),
    )
}

impl Picture<'_> {
    /// The picture as lines for a terminal of `width` columns, and how many they are.
    #[must_use]
    pub fn text(&self, width: u16) -> (String, u16) {
        let mut buffer = Buffer::empty(Rect::new(0, 0, width, HEIGHT));
        self.draw(&mut buffer);
        (ansi(&buffer), HEIGHT)
    }

    fn draw(&self, buffer: &mut Buffer) {
        let Some(last) = self.points.last() else { return };
        let rows = [1, 1, 5, 5].map(Constraint::Length);
        let [head, progress, first, second] = Layout::vertical(rows).areas(buffer.area);
        let title = vec![
            Span::styled("monoport-load ", BOLD),
            Span::raw(format!(
                "{} for {:.0} s: {} publishers, {} viewers, {} failed",
                self.phase, last.at_s, last.publishers, last.viewers, last.failed
            )),
        ];
        Line::from(title).render(head, buffer);
        self.progress(last).render(progress, buffer);
        let halves = [Constraint::Fill(1), Constraint::Fill(1)];
        let [left, right] = Layout::horizontal(halves).spacing(1).areas(first);
        let rates =
            format!("{:.0} packets/s, {:.1} Mb/s", last.packets_per_s(), last.bits_per_s() / 1e6);
        self.graph(rates, Color::Green, |point| point.packets_per_s()).render(left, buffer);
        let ms =
            |us: Option<u64>| us.map_or("–".to_owned(), |us| format!("{:.1}", us as f64 / 1e3));
        let latency = format!("latency p50 {}, p99 {} ms", ms(last.p50_us), ms(last.p99_us));
        let p99 = |point: &Point| point.p99_us.unwrap_or(0) as f64;
        self.graph(latency, Color::Yellow, p99).render(right, buffer);
        let [left, right] = Layout::horizontal(halves).spacing(1).areas(second);
        let lost = format!("lost {:.3} %", 100.0 * last.loss_ratio());
        // A sparkline takes whole numbers: millionths.
        self.graph(lost, Color::Red, |point| point.loss_ratio() * 1e6).render(left, buffer);
        self.costs(last).render(right, buffer);
    }

    /// How many sessions are up; how much of the duration has passed, once it is measured.
    fn progress(&self, last: &Point) -> Gauge<'static> {
        let measured: f64 =
            self.points.iter().filter(|point| point.measuring).map(|point| point.seconds).sum();
        let up = (last.publishers + last.viewers) as f64 / self.sessions_requested.max(1) as f64;
        let (ratio, label) = if last.measuring {
            let all = self.duration.as_secs_f64().max(f64::MIN_POSITIVE);
            (measured / all, format!("measured {measured:.0} of {all:.0} s"))
        } else {
            (up, format!("{:.0} % of {} sessions are up", up * 100.0, self.sessions_requested))
        };
        Gauge::default().ratio(ratio.clamp(0.0, 1.0)).label(label).gauge_style(Color::Blue)
    }

    fn graph(
        &self,
        title: String,
        colour: Color,
        value: impl Fn(&Point) -> f64,
    ) -> Sparkline<'static> {
        // The newest at the right; wider terminals than this have nothing to the left.
        let newest = self.points.len().saturating_sub(100);
        let data = self.points[newest..].iter().rev().map(|point| value(point) as u64);
        Sparkline::default()
            .data(data.collect::<Vec<u64>>())
            .direction(ratatui::widgets::RenderDirection::RightToLeft)
            .style(Style::new().fg(colour))
            .block(boxed(title))
    }

    fn costs(&self, last: &Point) -> Paragraph<'static> {
        let server = last.server_cpu_s.map(|cpu_s| last.percent(cpu_s));
        let server = match server {
            Some(percent) => format!("server {percent:.0} % of a core"),
            None => "server unknown: --server-pid was not given".to_owned(),
        };
        let mut lines = vec![
            Line::raw(server),
            Line::raw(format!("client {:.0} % of a core", last.percent(last.client_cpu_s))),
        ];
        if let Some(rss) = last.server_rss_bytes {
            lines.push(Line::raw(format!("server memory {:.1} MB", rss as f64 / 1e6)));
        }
        Paragraph::new(lines).block(boxed("CPU".to_owned()))
    }
}

fn boxed(title: String) -> Block<'static> {
    Block::new().borders(Borders::TOP).border_style(DIM).title(Span::styled(title, BOLD))
}

/// A buffer as text with colours (ECMA-48 SGR); each line clears what was right of it.
fn ansi(buffer: &Buffer) -> String {
    let mut text = String::new();
    for row in buffer.content().chunks(usize::from(buffer.area.width.max(1))) {
        let mut style = String::new();
        for cell in row {
            let new = sgr(cell.fg, cell.bg, cell.modifier);
            if new != style {
                let _ = write!(text, "\x1b[0{new}m");
                style = new;
            }
            text.push_str(cell.symbol());
        }
        text.push_str("\x1b[0m\x1b[K\n");
    }
    text
}

fn sgr(fg: Color, bg: Color, modifier: Modifier) -> String {
    let number = |colour| match colour {
        Color::Red => Some(31),
        Color::Green => Some(32),
        Color::Yellow => Some(33),
        Color::Blue => Some(34),
        _ => None,
    };
    let mut codes = String::new();
    for (modified, code) in [(Modifier::BOLD, 1), (Modifier::DIM, 2), (Modifier::REVERSED, 7)] {
        if modifier.contains(modified) {
            let _ = write!(codes, ";{code}");
        }
    }
    for code in [number(fg), number(bg).map(|code| code + 10)].into_iter().flatten() {
        let _ = write!(codes, ";{code}");
    }
    codes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_has_its_figures_and_its_lines() {
        let point = Point {
            at_s: 12.0,
            seconds: 1.0,
            measuring: true,
            publishers: 2,
            viewers: 50,
            packets: 17_000,
            bytes: 2_000_000,
            spanned: 1_000,
            missing: 10,
            p50_us: Some(800),
            p99_us: Some(2_800),
            server_cpu_s: Some(0.25),
            ..Point::default()
        };
        let points = [point; 3];
        let duration = Duration::from_secs(10);
        let picture =
            Picture { phase: "measure", points: &points, sessions_requested: 52, duration };
        let (text, lines) = picture.text(80);
        assert_eq!(text.matches('\n').count(), usize::from(lines));
        for words in [
            "measure for 12 s: 2 publishers, 50 viewers, 0 failed",
            "measured 3 of 10 s",
            "17000 packets/s, 16.0 Mb/s",
            "latency p50 0.8, p99 2.8 ms",
            "lost 1.000 %",
            "server 25 % of a core",
        ] {
            assert!(plain(&text).contains(words), "no {words:?} in\n{}", plain(&text));
        }
        for width in [20, 33, 200] {
            assert_eq!(picture.text(width).1, HEIGHT);
        }
        assert!(line("measure", &point).contains("17000 packets/s, 16 Mb/s, 1.00 % lost, p99 2.8"));
    }

    /// Without colours.
    fn plain(text: &str) -> String {
        let parts = text.split("\x1b[").enumerate();
        let plain = parts.map(|(at, part)| match at {
            0 => part,
            _ => part.split_once(['m', 'K']).map_or("", |(_, rest)| rest),
        });
        plain.collect()
    }
}
