//! What is known and what is looked at; keys and what is fetched change it, drawing only reads it.

use std::collections::VecDeque;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::answers::{Cluster, Failures, Number, Ports, Session, SessionPage, Shards, Status};
use crate::limits::TOP_HISTORY_SECONDS;

/// What is looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum View {
    /// Everything in brief
    #[default]
    Overview,
    /// Each port
    Ports,
    /// Each shard
    Shards,
    /// Sessions, worst first
    Sessions,
    /// Reasons why packets were not forwarded
    Drops,
    /// Reasons why sessions failed
    Failures,
    /// The nodes of a cluster
    Nodes,
}

impl View {
    /// All, in the order of their keys.
    pub const ALL: [View; 7] = [
        View::Overview,
        View::Ports,
        View::Shards,
        View::Sessions,
        View::Drops,
        View::Failures,
        View::Nodes,
    ];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            View::Overview => "Overview",
            View::Ports => "Ports",
            View::Shards => "Shards",
            View::Sessions => "Sessions",
            View::Drops => "Drops",
            View::Failures => "Failures",
            View::Nodes => "Nodes",
        }
    }
}

/// The order of sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// The worst quality first
    #[default]
    Worst,
    /// The latest first
    Newest,
}

impl Order {
    /// As the API names it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Order::Worst => "worst",
            Order::Newest => "newest",
        }
    }
}

/// What to ask for besides the three answers that are always asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wants {
    /// A page of sessions.
    pub page: Option<PageOf>,
    /// One session.
    pub session: Option<String>,
    /// The latest failures.
    pub failures: bool,
    /// The nodes of a cluster.
    pub nodes: bool,
}

/// Which page of sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PageOf {
    /// In which order.
    pub order: Order,
    /// Behind which cursor; none for the first page.
    pub after: Option<String>,
}

/// What the server said this time, or why it did not.
#[derive(Debug, Default)]
pub struct Fetched {
    /// The three answers, or the trouble with the first that failed.
    pub base: Option<(Status, Ports, Shards)>,
    /// A page, and which one it is.
    pub page: Option<(PageOf, SessionPage)>,
    /// One session.
    pub session: Option<Session>,
    /// The latest failures.
    pub failures: Option<Failures>,
    /// The nodes of a cluster.
    pub cluster: Option<Cluster>,
    /// In words.
    pub trouble: Option<String>,
}

/// Whether to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// On.
    Continue,
    /// The user has seen enough.
    Quit,
}

/// Values a second apart, the newest last.
#[derive(Debug, Default)]
pub struct Series(VecDeque<f64>);

impl Series {
    fn push(&mut self, value: Number) {
        if self.0.len() == TOP_HISTORY_SECONDS {
            self.0.pop_front();
        }
        self.0.push_back(value.unwrap_or(0.0).max(0.0));
    }

    /// The newest `count`, oldest first.
    #[must_use]
    pub fn last(&self, count: usize) -> Vec<u64> {
        self.0.iter().skip(self.0.len().saturating_sub(count)).map(|value| *value as u64).collect()
    }
}

/// Everything the screen shows.
#[derive(Debug, Default)]
pub struct Model {
    /// Where the server is.
    pub url: String,
    /// What is looked at.
    pub view: View,
    /// The last answer about the server.
    pub status: Option<Status>,
    /// The last answer about its ports.
    pub ports: Option<Ports>,
    /// The last answer about its shards.
    pub shards: Option<Shards>,
    /// The page that is looked at, once it is there.
    pub page: Option<SessionPage>,
    /// The session that is looked at.
    pub session: Option<Session>,
    /// The latest failures, in words.
    pub failures: Option<Failures>,
    /// The nodes of a cluster.
    pub cluster: Option<Cluster>,
    /// Why the last question went unanswered.
    pub trouble: Option<String>,
    /// Packets received per second.
    pub packets_in: Series,
    /// Packets sent per second.
    pub packets_out: Series,
    /// The 99th percentile of the latency, in microseconds.
    pub latency_p99: Series,
    /// The row under the bar.
    pub selected: usize,
    /// The order of sessions.
    pub order: Order,
    /// Cursors of the pages before and at this one; empty on the first.
    pub cursors: Vec<String>,
    /// The name of the session that is looked at.
    pub open: Option<String>,
}

impl Model {
    /// Nothing known yet of the server at `url`; what is looked at first is `view`.
    #[must_use]
    pub fn new(url: &str, view: View) -> Model {
        Model { url: url.to_owned(), view, ..Model::default() }
    }

    /// What to ask for.
    #[must_use]
    pub fn wants(&self) -> Wants {
        let page = (self.view == View::Sessions && self.open.is_none()).then(|| self.page_of());
        let (failures, nodes) = (self.view == View::Failures, self.view == View::Nodes);
        Wants { page, session: self.open.clone(), failures, nodes }
    }

    fn page_of(&self) -> PageOf {
        PageOf { order: self.order, after: self.cursors.last().cloned() }
    }

    /// Takes in what the server said.
    pub fn update(&mut self, fetched: Fetched) {
        let Fetched { base, page, session, failures, cluster, trouble } = fetched;
        self.trouble = trouble;
        self.failures = failures.or(self.failures.take());
        self.cluster = cluster.or(self.cluster.take());
        if let Some((status, ports, shards)) = base {
            self.packets_in.push(status.r#in.packets_per_s);
            self.packets_out.push(status.out.packets_per_s);
            self.latency_p99.push(status.latency_us.p99);
            self.status = Some(status);
            self.ports = Some(ports);
            self.shards = Some(shards);
        }
        // An answer to what was asked before the last key is of no use any more.
        if let Some((of, page)) = page
            && of == self.page_of()
        {
            self.page = Some(page);
        }
        if let Some(session) = session
            && self.open.as_ref() == Some(&session.id)
        {
            self.session = Some(session);
        }
        self.selected = self.selected.min(self.rows().saturating_sub(1));
    }

    /// Rows the bar can move over.
    #[must_use]
    pub fn rows(&self) -> usize {
        let status = self.status.as_ref();
        match self.view {
            View::Overview => 0,
            View::Ports => self.ports.as_ref().map_or(0, |ports| ports.ports.len()),
            View::Shards => self.shards.as_ref().map_or(0, |shards| shards.shards.len()),
            View::Sessions => self.page.as_ref().map_or(0, |page| page.sessions.len()),
            View::Drops => status.map_or(0, |status| status.drops.len()),
            View::Failures => status.map_or(0, |status| status.failures.len()),
            View::Nodes => {
                let known = self.cluster.as_ref();
                known.map_or(0, |cluster| cluster.nodes.len() + cluster.links.len())
            }
        }
    }

    /// Carries out a key.
    pub fn press(&mut self, key: KeyEvent) -> Flow {
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c') if control => return Flow::Quit,
            KeyCode::Char('q') => return Flow::Quit,
            KeyCode::Esc | KeyCode::Backspace if self.open.is_some() => self.close(),
            KeyCode::Esc => return Flow::Quit,
            KeyCode::Char(digit @ '1'..='7') => {
                self.go(View::ALL[digit as usize - '1' as usize]);
            }
            KeyCode::Tab | KeyCode::Right => self.step(1),
            KeyCode::BackTab | KeyCode::Left => self.step(View::ALL.len() - 1),
            KeyCode::Down | KeyCode::Char('j') => self.select(self.selected.saturating_add(1)),
            KeyCode::Up | KeyCode::Char('k') => self.select(self.selected.saturating_sub(1)),
            KeyCode::Home => self.select(0),
            KeyCode::End => self.select(usize::MAX),
            KeyCode::Enter => self.enter(),
            KeyCode::PageDown | KeyCode::Char('n') => self.next_page(),
            KeyCode::PageUp | KeyCode::Char('p') => self.previous_page(),
            KeyCode::Char('o') if self.view == View::Sessions => {
                self.order = if self.order == Order::Worst { Order::Newest } else { Order::Worst };
                self.cursors.clear();
                self.turn_page();
            }
            _ => {}
        }
        Flow::Continue
    }

    fn go(&mut self, view: View) {
        self.close();
        self.view = view;
        self.selected = 0;
    }

    fn step(&mut self, by: usize) {
        let at = View::ALL.iter().position(|view| *view == self.view).unwrap_or(0);
        self.go(View::ALL[(at + by) % View::ALL.len()]);
    }

    fn select(&mut self, row: usize) {
        self.selected = row.min(self.rows().saturating_sub(1));
    }

    fn enter(&mut self) {
        if self.view != View::Sessions {
            return;
        }
        let page = self.page.as_ref().map_or(&[][..], |page| &page.sessions);
        self.open = page.get(self.selected).map(|session| session.id.clone());
    }

    fn close(&mut self) {
        self.open = None;
        self.session = None;
    }

    fn next_page(&mut self) {
        if self.view == View::Sessions
            && self.open.is_none()
            && let Some(next) = self.page.as_ref().and_then(|page| page.next.clone())
        {
            self.cursors.push(next);
            self.turn_page();
        }
    }

    fn previous_page(&mut self) {
        if self.view == View::Sessions && self.open.is_none() && self.cursors.pop().is_some() {
            self.turn_page();
        }
    }

    fn turn_page(&mut self) {
        self.page = None;
        self.selected = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pressed(model: &mut Model, codes: &[KeyCode]) -> Flow {
        let mut flow = Flow::Continue;
        for code in codes {
            flow = model.press(KeyEvent::new(*code, KeyModifiers::NONE));
        }
        flow
    }

    fn page(ids: &[&str], next: Option<&str>) -> SessionPage {
        let session = |id: &&str| Session { id: (*id).to_owned(), ..Session::default() };
        SessionPage { sessions: ids.iter().map(session).collect(), next: next.map(str::to_owned) }
    }

    #[test]
    fn pages_turn_both_ways_and_late_answers_are_dropped() {
        let mut model = Model::new("u", View::Overview);
        pressed(&mut model, &[KeyCode::Char('4')]);
        let first = model.wants().page.expect("sessions are asked for");
        assert_eq!(first, PageOf::default());
        let fetched =
            |of: &PageOf, page| Fetched { page: Some((of.clone(), page)), ..Fetched::default() };
        model.update(fetched(&first, page(&["0-1-1", "0-2-1"], Some("c"))));
        pressed(&mut model, &[KeyCode::Down, KeyCode::Down, KeyCode::PageDown]);
        let second = model.wants().page.expect("the next page is asked for");
        assert_eq!(second.after.as_deref(), Some("c"));
        model.update(fetched(&first, page(&["0-1-1"], None)));
        assert!(model.page.is_none(), "the answer is that of the page before");
        model.update(fetched(&second, page(&["1-1-1"], None)));
        assert_eq!(model.rows(), 1);
        pressed(&mut model, &[KeyCode::PageDown]);
        assert_eq!(model.wants().page, Some(second), "the last page has no next one");
        pressed(&mut model, &[KeyCode::PageUp]);
        assert_eq!(model.wants().page, Some(first));
    }

    #[test]
    fn a_session_opens_and_closes() {
        let mut model = Model::new("u", View::Overview);
        pressed(&mut model, &[KeyCode::Char('4'), KeyCode::Enter]);
        assert_eq!(model.open, None, "nothing is there to be opened");
        let fetched = (PageOf::default(), page(&["0-1-1", "0-2-1"], None));
        model.update(Fetched { page: Some(fetched), ..Fetched::default() });
        pressed(&mut model, &[KeyCode::End, KeyCode::Enter]);
        let wants = Wants { session: Some("0-2-1".to_owned()), ..Wants::default() };
        assert_eq!(model.wants(), wants);
        assert_eq!(pressed(&mut model, &[KeyCode::Esc]), Flow::Continue);
        assert_eq!(model.open, None);
        assert_eq!(pressed(&mut model, &[KeyCode::Esc]), Flow::Quit);
    }

    #[test]
    fn q_and_control_c_quit() {
        let mut model = Model::new("u", View::Overview);
        assert_eq!(pressed(&mut model, &[KeyCode::Char('c')]), Flow::Continue);
        let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(model.press(interrupt), Flow::Quit);
        assert_eq!(pressed(&mut model, &[KeyCode::Char('q')]), Flow::Quit);
    }

    #[test]
    fn the_past_is_bounded() {
        let mut series = Series::default();
        (0..1_000).for_each(|n| series.push(Some(f64::from(n))));
        assert_eq!(series.last(usize::MAX).len(), TOP_HISTORY_SECONDS);
        assert_eq!(series.last(2), [998, 999]);
    }
}
