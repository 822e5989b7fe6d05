//! One session: what is known of it, its quality over time, what happened to it.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Sparkline, Wrap};

use super::{BOLD, DIM};
use crate::top::answers::Session;
use crate::top::sheet;

/// Draws the session named `id`, as far as it is known yet.
pub fn draw(frame: &mut Frame<'_>, area: Rect, id: &str, session: Option<&Session>) {
    let Some(session) = session else {
        return frame.render_widget(Paragraph::new(format!("asking for session {id} …")), area);
    };
    let [head, body] = Layout::vertical([Constraint::Length(1), Constraint::Min(1)]).areas(area);
    frame.render_widget(Line::styled(format!("session {id}"), BOLD), head);
    let halves = [Constraint::Fill(1), Constraint::Length(34)];
    let [left, right] = Layout::horizontal(halves).spacing(2).areas(body);
    let facts = sheet::facts(session).into_iter().map(|(name, value)| {
        Line::from(vec![Span::styled(format!("{name:<12}"), DIM), Span::raw(value)])
    });
    let facts = Paragraph::new(facts.collect::<Vec<_>>()).wrap(Wrap { trim: false });
    frame.render_widget(facts, left);

    let rows = [Constraint::Length(1), Constraint::Length(3), Constraint::Min(1)];
    let [title, graph, events] = Layout::vertical(rows).areas(right);
    frame.render_widget(Line::styled("score, 5 s each", DIM), title);
    let scores: Vec<u64> =
        session.history.iter().map(|moment| moment.score.unwrap_or(0.0) as u64).collect();
    let newest = scores.len().saturating_sub(usize::from(graph.width));
    let line = Sparkline::default().data(&scores[newest..]).max(100);
    frame.render_widget(line.style(Style::new().fg(Color::Green)), graph);
    let lines = sheet::timeline(session);
    // The latest events, when there are more than rows.
    let newest = lines.len().saturating_sub(usize::from(events.height));
    let lines: Vec<Line<'_>> =
        lines[newest..].iter().map(|line| Line::raw(line.as_str())).collect();
    frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: false }), events);
}
