//! The screen, drawn from the model and nothing else.

mod detail;
mod overview;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Cell, Paragraph, Row, Table, TableState, Wrap};

use super::figures::{count, duration, index, text};
use super::model::{Model, Order, View};
use super::sheet::{self, Sheet};

const DIM: Style = Style::new().add_modifier(Modifier::DIM);
const BOLD: Style = Style::new().add_modifier(Modifier::BOLD).remove_modifier(Modifier::DIM);
const TROUBLE: Style = Style::new().fg(Color::Red).add_modifier(Modifier::BOLD);

/// Draws everything.
pub fn draw(frame: &mut Frame<'_>, model: &Model) {
    let trouble = model.trouble.as_ref().map_or(0, |trouble| {
        let width = usize::from(frame.area().width.max(1));
        // Lines break at words, so a line more than the letters need.
        u16::try_from(trouble.chars().count() / width + 2).unwrap_or(4).min(4)
    });
    let rows = [
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Min(1),
        Constraint::Length(trouble),
        Constraint::Length(1),
    ];
    let [title_at, tabs_at, body, trouble_at, keys_at] = Layout::vertical(rows).areas(frame.area());
    frame.render_widget(title(model), title_at);
    frame.render_widget(tabs(model), tabs_at);
    draw_body(frame, body, model);
    if let Some(trouble) = &model.trouble {
        let words = Paragraph::new(trouble.as_str()).style(TROUBLE).wrap(Wrap { trim: true });
        frame.render_widget(words, trouble_at);
    }
    frame.render_widget(keys(model), keys_at);
}

fn title(model: &Model) -> Line<'_> {
    let mut spans = vec![Span::styled("monoport ", BOLD)];
    if let Some(status) = &model.status {
        let state = text(status.state.as_deref());
        let colour = match state.as_str() {
            "ready" => Color::Green,
            "draining" => Color::Yellow,
            _ => Color::Red,
        };
        let uptime = duration(status.uptime_s);
        spans.push(Span::raw(format!("{} ", text(status.version.as_deref()))));
        spans.push(Span::styled(state, BOLD.fg(colour)));
        spans.push(Span::raw(format!(" for {uptime}  ")));
        // The server also says why it chose its cipher, which there is no room for here.
        let first_word = |words: &str| words.split(' ').next().unwrap_or_default().to_owned();
        let how = [&status.io, &status.steering, &status.cipher];
        let how = how.map(|how| first_word(&text(how.as_deref())));
        let shards = index(status.shards);
        spans.push(Span::styled(format!("{shards} shards, {}  ", how.join(", ")), DIM));
    }
    spans.push(Span::styled(model.url.as_str(), DIM));
    Line::from(spans)
}

fn tabs(model: &Model) -> Line<'static> {
    let tab = |(number, view): (usize, &View)| {
        let style = if *view == model.view { BOLD.reversed() } else { Style::new() };
        [Span::styled(format!(" {} {} ", number + 1, view.name()), style), Span::raw(" ")]
    };
    Line::from_iter(View::ALL.iter().enumerate().flat_map(tab))
}

fn keys(model: &Model) -> Line<'static> {
    let keys = match (model.view, &model.open) {
        (View::Sessions, Some(_)) => "Esc back  1-7 views  q quit",
        (View::Sessions, None) => {
            "↑↓ move  Enter open  n/p next, previous page  o order  1-7 views  q quit"
        }
        (View::Overview, _) => "1-7 or Tab views  q quit",
        _ => "↑↓ move  1-7 or Tab views  q quit",
    };
    Line::styled(keys, DIM)
}

fn draw_body(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    let waiting = model.status.is_none() && model.trouble.is_none();
    if waiting {
        return frame.render_widget(Paragraph::new(format!("asking {} …", model.url)), area);
    }
    let status = model.status.as_ref();
    match model.view {
        View::Overview => overview::draw(frame, area, model),
        View::Ports => draw_ports(frame, area, model),
        View::Shards => draw_sheet(frame, area, &sheet::shards(model.shards.as_ref()), model),
        View::Sessions => draw_sessions(frame, area, model),
        View::Drops => draw_sheet(frame, area, &sheet::drops(status), model),
        View::Failures => draw_failures(frame, area, model),
        View::Nodes => draw_nodes(frame, area, model),
    }
}

fn draw_ports(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    let notes = model.ports.as_ref().map_or_else(Vec::new, sheet::port_notes);
    let rows = [Constraint::Min(3), Constraint::Length(notes.len() as u16)];
    let [table, below] = Layout::vertical(rows).areas(area);
    draw_sheet(frame, table, &sheet::ports(model.ports.as_ref()), model);
    frame.render_widget(Paragraph::new(notes.join("\n")).style(DIM), below);
}

fn draw_nodes(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    let Some(cluster) = &model.cluster else {
        return frame.render_widget(Paragraph::new("asking for the nodes …"), area);
    };
    let notes = sheet::cluster_notes(cluster);
    let (nodes, links) = (sheet::nodes(cluster), sheet::links(cluster));
    // With its head; at most half of the screen for the nodes where there are links as well.
    let most = if links.rows.is_empty() { area.height } else { area.height / 2 };
    let rows = [
        Constraint::Length((nodes.rows.len().max(1) as u16).saturating_add(1).min(most)),
        Constraint::Length(1),
        Constraint::Min(2),
        Constraint::Length(2 * notes.len() as u16),
    ];
    let [table, _, links_at, below] = Layout::vertical(rows).areas(area);
    draw_rows(frame, table, &nodes, Some(model.selected));
    draw_rows(frame, links_at, &links, model.selected.checked_sub(nodes.rows.len()));
    let notes = Paragraph::new(notes.join("\n")).style(DIM).wrap(Wrap { trim: false });
    frame.render_widget(notes, below);
}

fn draw_failures(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    let sheet = sheet::failures(model.status.as_ref());
    // At most half of the screen for the reasons, the rest for the words.
    let reasons = (sheet.rows.len() as u16 + 1).min(area.height / 2);
    let rows = [Constraint::Length(reasons), Constraint::Length(1), Constraint::Min(1)];
    let [above, _, below] = Layout::vertical(rows).areas(area);
    draw_sheet(frame, above, &sheet, model);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = now.unwrap_or_default().as_secs_f64();
    let lines =
        model.failures.as_ref().map_or_else(Vec::new, |all| sheet::failures_in_words(all, now));
    frame.render_widget(Paragraph::new(lines.join("\n")).wrap(Wrap { trim: false }), below);
}

fn draw_sessions(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    if let Some(id) = &model.open {
        return detail::draw(frame, area, id, model.session.as_ref());
    }
    let [head, table] = Layout::vertical([Constraint::Length(1), Constraint::Min(1)]).areas(area);
    let order = match model.order {
        Order::Worst => "worst first",
        Order::Newest => "newest first",
    };
    let total = count(model.status.as_ref().and_then(|status| status.sessions.total));
    let more = model.page.as_ref().is_some_and(|page| page.next.is_some());
    let more = if more { ", more behind it" } else { "" };
    let page = model.cursors.len() + 1;
    frame.render_widget(
        Line::styled(format!("{total} sessions, {order}, page {page}{more}"), DIM),
        head,
    );
    match &model.page {
        Some(page) => draw_sheet(frame, table, &sheet::sessions(&page.sessions), model),
        None => frame.render_widget(Paragraph::new("asking for the sessions …"), table),
    }
}

fn draw_sheet(frame: &mut Frame<'_>, area: Rect, sheet: &Sheet, model: &Model) {
    draw_rows(frame, area, sheet, Some(model.selected));
}

/// A table with the bar at a row, unless that is in another one.
fn draw_rows(frame: &mut Frame<'_>, area: Rect, sheet: &Sheet, selected: Option<usize>) {
    if sheet.rows.is_empty() {
        return frame.render_widget(Paragraph::new(sheet.empty).style(DIM), area);
    }
    let cell = |text: &str, right: bool| {
        let line = Line::raw(text.to_owned());
        Cell::from(if right { line.right_aligned() } else { line.left_aligned() })
    };
    let head = sheet.columns.iter().map(|(name, _, right)| cell(name, *right));
    let row = |cells: &Vec<String>| {
        let cells = cells.iter().zip(sheet.columns);
        Row::new(cells.map(|(text, (_, _, right))| cell(text, *right)))
    };
    let last = sheet.columns.len() - 1;
    let widths = sheet.columns.iter().enumerate().map(|(at, (_, width, right))| {
        if at == last && !right { Constraint::Min(*width) } else { Constraint::Length(*width) }
    });
    let table = Table::new(sheet.rows.iter().map(row), widths)
        .header(Row::new(head).style(BOLD))
        .row_highlight_style(Style::new().reversed())
        .column_spacing(1);
    let selected = selected.filter(|row| *row < sheet.rows.len());
    let mut state = TableState::default().with_selected(selected);
    frame.render_stateful_widget(table, area, &mut state);
}

#[cfg(test)]
mod tests;
