//! Everything in brief: traffic, latency, sessions, quality, what is dropped, memory.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Paragraph, Sparkline};

use super::{BOLD, DIM};
use crate::top::answers::{Levels, Reason, Status};
use crate::top::figures::{bits, bytes, count, micros, millis, ratio, tenths, text};
use crate::top::model::{Model, Series};

/// Draws it; at 80 columns by 20 rows nothing is cut.
pub fn draw(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    let Some(status) = &model.status else { return };
    let rows = [Constraint::Length(5), Constraint::Length(5), Constraint::Min(4)];
    let [first, second, third] = Layout::vertical(rows).areas(area);
    let halves = [Constraint::Fill(1), Constraint::Fill(1)];
    let [incoming, outgoing] = Layout::horizontal(halves).spacing(1).areas(first);
    let traffic = |way: &str, rates: &crate::top::answers::Rates| {
        format!("{way} {} pkt/s, {}", count(rates.packets_per_s), bits(rates.bits_per_s))
    };
    graph(frame, incoming, traffic("in", &status.r#in), &model.packets_in, Color::Cyan);
    graph(frame, outgoing, traffic("out", &status.out), &model.packets_out, Color::Green);

    let [latency, people] = Layout::horizontal(halves).spacing(1).areas(second);
    let l = &status.latency_us;
    let title = format!("latency p50 {}, p99 {}", micros(l.p50), micros(l.p99));
    graph(frame, latency, title, &model.latency_p99, Color::Yellow);
    frame.render_widget(sessions(status), people);

    let [left, right] = Layout::horizontal(halves).spacing(1).areas(third);
    frame.render_widget(reasons(status), left);
    frame.render_widget(memory(status), right);
}

fn boxed(title: String) -> Block<'static> {
    Block::new().borders(Borders::TOP).border_style(DIM).title(Span::styled(title, BOLD))
}

fn graph(frame: &mut Frame<'_>, area: Rect, title: String, series: &Series, colour: Color) {
    let data = series.last(usize::from(area.width));
    // The newest value stands at the right edge, whatever the width.
    let pad = usize::from(area.width).saturating_sub(data.len());
    let data: Vec<u64> = std::iter::repeat_n(0, pad).chain(data).collect();
    let line = Sparkline::default().data(&data).style(Style::new().fg(colour));
    frame.render_widget(line.block(boxed(title)), area);
}

fn sessions(status: &Status) -> Paragraph<'static> {
    let s = &status.sessions;
    let setup = &status.setup_ms;
    let lines = vec![
        Line::raw(format!(
            "{} publishers, {} viewers, {} streams",
            count(s.publishers),
            count(s.viewers),
            count(status.streams)
        )),
        Line::raw(format!("set-up p50 {}, p99 {}", millis(setup.p50), millis(setup.p99))),
        levels("up  ", &status.quality.up),
        levels("down", &status.quality.down),
    ];
    let title = format!("{} sessions, {} connecting", count(s.total), count(s.connecting));
    Paragraph::new(lines).block(boxed(title))
}

/// A word for each level somebody is at, the good ones first.
fn levels(way: &'static str, levels: &Levels) -> Line<'static> {
    let all = [
        (levels.excellent, "excellent", Color::Green),
        (levels.good, "good", Color::Cyan),
        (levels.poor, "poor", Color::Yellow),
        (levels.lost, "lost", Color::Red),
    ];
    let mut spans = vec![Span::raw(format!("{way} "))];
    for (number, name, colour) in all {
        if number.is_some_and(|n| n > 0.0) {
            spans.push(Span::styled(format!("{} {name} ", count(number)), colour));
        }
    }
    if spans.len() == 1 {
        spans.push(Span::styled("nobody connected", DIM));
    }
    Line::from(spans)
}

fn reasons(status: &Status) -> Paragraph<'static> {
    let mut lines = Vec::new();
    let shown = |reason: &Reason| {
        let (total, per_s) = (count(reason.total), count(reason.per_s));
        Line::raw(format!("{:<24}{total:>8} {per_s:>5}/s", text(Some(&reason.reason))))
    };
    lines.extend(status.drops.iter().take(3).map(shown));
    if lines.is_empty() {
        lines.push(Line::styled("no packet was dropped", DIM));
    }
    lines.push(Line::styled("sessions that failed", BOLD));
    let failed = |reason: &Reason| {
        Line::raw(format!("{:<24}{:>8}", text(Some(&reason.reason)), count(reason.total)))
    };
    lines.extend(status.failures.iter().take(3).map(failed));
    if status.failures.is_empty() {
        lines.push(Line::styled("none", DIM));
    }
    Paragraph::new(lines).block(boxed("drops".to_owned()))
}

fn memory(status: &Status) -> Paragraph<'static> {
    let mut lines = vec![Line::raw(format!(
        "trains of {} datagrams, batches of {}",
        tenths(status.train_length_mean),
        tenths(status.batch_size_mean)
    ))];
    let term = |term: &crate::top::answers::MemoryTerm| {
        let part = term.bytes.zip(term.budget_bytes).map(|(bytes, budget)| bytes / budget.max(1.0));
        let (name, size) = (text(Some(&term.name)), bytes(term.bytes));
        Line::raw(format!("{name:<22.22}{size:>9}{:>8}", ratio(part)))
    };
    lines.extend(status.memory.terms.iter().take(6).map(term));
    Paragraph::new(lines).block(boxed(format!("memory {}", bytes(status.memory.rss_bytes))))
}
