//! Markdown as plain text for a terminal: paragraphs wrapped, tables in columns, code as it is.

use pulldown_cmark::{Event, HeadingLevel, Options, Parser, Tag, TagEnd};

use super::TOPICS;

/// Columns of a page.
pub(super) const WIDTH: usize = 100;
/// Between two columns of a table.
const GAP: usize = 2;
/// A column is not made narrower than this for the sake of others.
const NARROWEST: usize = 12;
/// Rows of more lines than this are set apart by an empty line.
const LOW_ROW: usize = 3;

/// A page as text.
pub(super) struct Page {
    pub text: String,
    /// Topics it links to, each once.
    pub topics: Vec<&'static str>,
}

/// What Markdown may hold here, beyond CommonMark.
pub(super) fn options() -> Options {
    Options::ENABLE_TABLES
}

/// Renders a page of the manual.
pub(super) fn page(markdown: &str) -> Page {
    let mut writer = Writer::default();
    for event in Parser::new_ext(markdown, options()) {
        writer.take(event);
    }
    Page { text: writer.text, topics: writer.topics }
}

#[derive(Default)]
struct Writer {
    text: String,
    topics: Vec<&'static str>,
    /// Of the block that is being read.
    inline: String,
    /// What stands behind the text of the link that is being read.
    link: Option<String>,
    /// Numbers of the lists we are in, innermost last; `None` for bullets.
    lists: Vec<Option<u64>>,
    /// What the next line of a list begins with.
    bullet: Option<String>,
    /// Cells by row.
    rows: Vec<Vec<String>>,
    /// Whether the last block was a point of a list: points stand together.
    after_point: bool,
}

impl Writer {
    fn take(&mut self, event: Event<'_>) {
        match event {
            Event::Start(tag) => self.start(tag),
            Event::End(tag) => self.end(tag),
            Event::Text(text) | Event::Html(text) | Event::InlineHtml(text) => {
                self.inline.push_str(&text);
            }
            Event::Code(code) => {
                self.inline.push('`');
                self.inline.push_str(&code);
                self.inline.push('`');
            }
            Event::SoftBreak | Event::HardBreak => self.inline.push(' '),
            _ => {}
        }
    }

    fn start(&mut self, tag: Tag<'_>) {
        match tag {
            Tag::Link { dest_url, .. } => self.link = self.behind_link(&dest_url),
            Tag::List(first) => self.lists.push(first),
            Tag::Item => {
                let bullet = match self.lists.last_mut() {
                    Some(Some(number)) => {
                        *number += 1;
                        format!("{}. ", *number - 1)
                    }
                    _ => "- ".to_owned(),
                };
                self.bullet = Some(bullet);
            }
            Tag::TableHead | Tag::TableRow => self.rows.push(Vec::new()),
            _ => {}
        }
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Heading(level) => self.heading(level),
            TagEnd::Paragraph => self.paragraph(),
            TagEnd::CodeBlock => self.code_block(),
            // A point of a list without empty lines has no paragraph.
            TagEnd::Item if !self.inline.is_empty() => self.paragraph(),
            TagEnd::List(_) => {
                self.lists.pop();
            }
            TagEnd::Link => {
                if let Some(behind) = self.link.take() {
                    self.inline.push_str(&behind);
                }
            }
            TagEnd::TableCell => {
                let cell = std::mem::take(&mut self.inline);
                let cells = self.rows.last_mut().expect("a cell is in a row");
                cells.push(plain_cell(&cell));
            }
            TagEnd::Table => {
                let rows = std::mem::take(&mut self.rows);
                self.block(&table(rows));
            }
            _ => {}
        }
    }

    /// A link to a topic is told at the end of the page, one within the page needs no words.
    fn behind_link(&mut self, to: &str) -> Option<String> {
        let page = to.split('#').next().unwrap_or_default();
        if page.is_empty() || to.starts_with("http") {
            return None;
        }
        let topic = page.strip_suffix(".md");
        match TOPICS.iter().find(|known| Some(known.name) == topic) {
            Some(topic) => {
                if !self.topics.contains(&topic.name) {
                    self.topics.push(topic.name);
                }
                None
            }
            None => Some(format!(" ({})", to.replacen("../", "src/", 1))),
        }
    }

    fn heading(&mut self, level: HeadingLevel) {
        let title = std::mem::take(&mut self.inline);
        let line = if level == HeadingLevel::H1 { "=" } else { "-" };
        self.block(&format!("{title}\n{}\n", line.repeat(title.chars().count())));
    }

    fn paragraph(&mut self) {
        let words = std::mem::take(&mut self.inline);
        let depth = self.lists.len() * 2;
        let Some(bullet) = self.bullet.take() else {
            let indented = wrap(&words, WIDTH - depth);
            let indent = " ".repeat(depth);
            let lines = indented.iter().map(|line| format!("{indent}{line}\n"));
            self.block(&lines.collect::<String>());
            return;
        };
        let hang = depth - 2 + bullet.chars().count();
        let mut text = String::new();
        for (at, line) in wrap(&words, WIDTH - hang).iter().enumerate() {
            let before = match at {
                0 => format!("{}{bullet}", " ".repeat(depth - 2)),
                _ => " ".repeat(hang),
            };
            text.push_str(&before);
            text.push_str(line);
            text.push('\n');
        }
        if self.after_point {
            self.text.push_str(&text);
        } else {
            self.block(&text);
        }
        self.after_point = true;
    }

    fn code_block(&mut self) {
        let code = std::mem::take(&mut self.inline);
        let lines = code.lines().map(|line| format!("  {line}").trim_end().to_owned() + "\n");
        self.block(&lines.collect::<String>());
    }

    fn block(&mut self, text: &str) {
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        self.text.push_str(text);
        self.after_point = false;
    }
}

/// A cell that is all code needs no marks around it.
fn plain_cell(cell: &str) -> String {
    let inside = cell.strip_prefix('`').and_then(|rest| rest.strip_suffix('`'));
    inside.filter(|code| !code.contains('`')).unwrap_or(cell).to_owned()
}

/// Rows as columns; the first row is the head.
fn table(rows: Vec<Vec<String>>) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths = widths(&rows, count);
    let lines_of = |cells: &[String]| -> Vec<String> {
        let cells = cells.iter().zip(&widths);
        let cells: Vec<Vec<String>> = cells.map(|(cell, width)| wrap(cell, *width)).collect();
        let height = cells.iter().map(Vec::len).max().unwrap_or(0);
        let line = |at: usize| {
            let parts = cells.iter().zip(&widths).map(|(lines, width)| {
                let text = lines.get(at).map_or("", String::as_str);
                format!("{text:<width$}")
            });
            parts.collect::<Vec<_>>().join(&" ".repeat(GAP)).trim_end().to_owned()
        };
        (0..height).map(line).collect()
    };
    let set: Vec<Vec<String>> = rows.iter().map(|row| lines_of(row)).collect();
    let tall = set.iter().any(|lines| lines.len() > LOW_ROW);
    let mut text = String::new();
    for (at, lines) in set.iter().enumerate() {
        let has_words = lines.iter().any(|line| !line.is_empty());
        if at == 0 && !has_words {
            continue;
        }
        if tall && at > 1 {
            text.push('\n');
        }
        for line in lines {
            text.push_str(line);
            text.push('\n');
        }
        if at == 0 {
            let rules = widths.iter().map(|width| "-".repeat(*width));
            text.push_str(&rules.collect::<Vec<_>>().join(&" ".repeat(GAP)));
            text.push('\n');
        }
    }
    text
}

/// As wide as the cells, the widest made narrower until all fit.
fn widths(rows: &[Vec<String>], count: usize) -> Vec<usize> {
    let cells = |column: usize| rows.iter().filter_map(move |row| row.get(column));
    let widest = |column| cells(column).map(|cell| cell.chars().count()).max().unwrap_or(0);
    let longest_word = |column| {
        let words = cells(column).flat_map(|cell| cell.split(' '));
        words.map(|word| word.chars().count()).max().unwrap_or(0)
    };
    let mut widths: Vec<usize> = (0..count).map(widest).collect();
    let least: Vec<usize> = (0..count).map(|column| longest_word(column).max(NARROWEST)).collect();
    let room = WIDTH - GAP * count.saturating_sub(1);
    while widths.iter().sum::<usize>() > room {
        // Words stay whole as long as there is a column that can give way otherwise.
        let spare = (0..count).filter(|column| widths[*column] > least[*column]);
        let column = spare.max_by_key(|column| widths[*column]);
        let column = column.or_else(|| (0..count).max_by_key(|column| widths[*column]));
        match column {
            Some(column) => widths[column] -= 1,
            None => break,
        }
    }
    widths
}

/// Lines of `width` characters at most; a word that is longer is cut.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut line = String::new();
    let mut length = 0;
    for word in text.split_whitespace() {
        let mut word: Vec<char> = word.chars().collect();
        if length > 0 && length + 1 + word.len() > width {
            lines.push(std::mem::take(&mut line));
            length = 0;
        }
        while word.len() > width {
            lines.push(word.drain(..width).collect());
        }
        if length > 0 {
            line.push(' ');
            length += 1;
        }
        length += word.len();
        line.extend(word);
    }
    if !line.is_empty() || lines.is_empty() {
        lines.push(line);
    }
    lines
}
