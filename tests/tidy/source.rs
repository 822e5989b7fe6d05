//! Source files, read as far as the rules need it: without comments and strings, by modules named,
//! functions and lines.

use std::fs;
use std::path::{Path, PathBuf};

/// The top of the repository.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every file of Rust in the repository, build folders aside.
pub fn sources() -> Vec<Source> {
    let mut sources = Vec::new();
    for folder in ["src", "benches", "tests", "tools"] {
        collect(&root().join(folder), &mut sources);
    }
    assert!(sources.iter().any(|file| file.path == "src/lib.rs"), "run inside the repository");
    sources.sort_by(|one, other| one.path.cmp(&other.path));
    sources
}

/// One file of Rust.
pub struct Source {
    /// From the root of the repository, with `/`.
    pub path: String,
    pub text: String,
    /// The text with comments and the contents of strings blanked, line for line.
    pub code: String,
}

impl Source {
    /// The module of `src/` a file belongs to.
    pub fn module(&self) -> &str {
        let inside = self.path.trim_start_matches("src/");
        inside.split('/').next().unwrap().trim_end_matches(".rs")
    }

    /// The modules named by `crate::…`, and by `monoport::…` in the binary, each with its line.
    pub fn modules_named(&self) -> Vec<(usize, String)> {
        let prefix = if self.path == "src/main.rs" { "monoport::" } else { "crate::" };
        let mut named = Vec::new();
        for (at, _) in self.code.match_indices(prefix) {
            let line = self.line_at(at);
            let rest = &self.code[at + prefix.len()..];
            match rest.strip_prefix('{') {
                None => named.push((line, identifier(rest))),
                Some(group) => {
                    named.extend(members(group).into_iter().map(|name| (line, name)));
                }
            }
        }
        named
    }

    /// The line each function begins at and how many lines it has.
    pub fn functions(&self) -> Vec<(usize, usize)> {
        let starts = self.code.match_indices("fn ").filter(|(at, _)| {
            !self.code[..*at].ends_with(|before: char| before.is_alphanumeric() || before == '_')
        });
        let lengths = starts.filter_map(|(at, _)| {
            let length = body_end(&self.code[at..])?;
            let lines = self.code[at..at + length].matches('\n').count() + 1;
            Some((self.line_at(at), lines))
        });
        lengths.collect()
    }

    /// The inherent `impl` blocks, each with the type's name and its body.
    pub fn inherent_impls(&self) -> Vec<(String, String)> {
        let starts = self.code.match_indices("\nimpl");
        let blocks = starts.filter_map(|(at, word)| {
            let rest = &self.code[at + word.len()..];
            let (head, body) = rest.split_once('{')?;
            if head.contains(" for ") {
                return None;
            }
            let name = head.split_whitespace().next_back()?.split('<').next()?.to_owned();
            Some((name, body.split("\n}\n").next()?.to_owned()))
        });
        blocks.collect()
    }

    pub fn line_of_word(&self, word: &str) -> Option<usize> {
        let is_word = |text: &str| {
            text.split(|c: char| !c.is_alphanumeric() && c != '_').any(|part| part == word)
        };
        self.code.lines().position(is_word).map(|line| line + 1)
    }

    fn line_at(&self, at: usize) -> usize {
        self.code[..at].matches('\n').count() + 1
    }
}

fn collect(folder: &Path, sources: &mut Vec<Source>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.is_dir() && !path.ends_with("target") {
            collect(&path, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let code = blank(&text);
            let path = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
            sources.push(Source { path, text, code });
        }
    }
}

/// Where the body of the function that `code` begins with ends; `None` when it has none.
fn body_end(code: &str) -> Option<usize> {
    let (mut brackets, mut braces) = (0usize, 0usize);
    for (at, char) in code.char_indices() {
        match char {
            '(' | '[' => brackets += 1,
            ')' | ']' => brackets = brackets.saturating_sub(1),
            ';' if brackets == 0 && braces == 0 => return None,
            '{' => braces += 1,
            '}' if braces <= 1 => return (braces == 1).then_some(at + 1),
            '}' => braces -= 1,
            _ => {}
        }
    }
    None
}

fn identifier(text: &str) -> String {
    text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// The first names of a `use` group whose opening brace has been read.
fn members(group: &str) -> Vec<String> {
    let mut depth = 1;
    let mut names = vec![identifier(group)];
    for (at, char) in group.char_indices() {
        match char {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => names.push(identifier(&group[at + 1..])),
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

/// Blanks comments and the contents of strings and characters; lines stay where they are.
fn blank(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let skipped = skipped(rest, code.chars().next_back());
        let length = skipped.max(first.len_utf8());
        let (taken, after) = rest.split_at(length);
        if skipped == 0 {
            code.push_str(taken);
        } else {
            code.extend(taken.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        }
        rest = after;
    }
    code
}

/// Bytes of the comment, string or character that `text` begins with; zero when it is code.
fn skipped(text: &str, before: Option<char>) -> usize {
    let within_word = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    if text.starts_with("//") {
        return text.find('\n').unwrap_or(text.len());
    }
    if text.starts_with("/*") {
        return comment_length(text);
    }
    let raw = text.strip_prefix("br").or(text.strip_prefix('r')).filter(|_| !within_word);
    if let Some(raw) = raw {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        if raw[hashes..].starts_with('"') {
            let end = format!("\"{}", "#".repeat(hashes));
            let body = text.len() - raw.len() + hashes + 1;
            return text[body..].find(&end).map_or(text.len(), |at| body + at + end.len());
        }
    }
    match text.as_bytes()[0] {
        b'"' => quoted_length(text, '"'),
        // A lifetime has no closing quote behind its first character, escapes aside.
        b'\'' if text[1..].starts_with('\\') || text.chars().nth(2) == Some('\'') => {
            quoted_length(text, '\'')
        }
        _ => 0,
    }
}

fn comment_length(text: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < text.len() {
        let rest = &text.as_bytes()[at..];
        match rest {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn quoted_length(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, char) in text.char_indices().skip(1) {
        if !escaped && char == quote {
            return at + 1;
        }
        escaped = !escaped && char == '\\';
    }
    text.len()
}

#[test]
fn the_reader_of_code_is_not_fooled() {
    let code =
        blank("let a = \"unsafe \\\" {\"; // unsafe {\nlet b = r#\"dbg!\"\"#; let c = '\"';");
    assert_eq!(code.lines().count(), 2);
    assert!(!code.contains("unsafe") && !code.contains("dbg!") && !code.contains('{'));
    assert!(code.contains("let b =") && code.contains("let c ="));
    let code = blank("/* a /* nested */ unsafe */ fn f<'a>(x: &'a str, y: [u8; 2]) { g('}') }");
    assert_eq!(code.trim_start(), "fn f<'a>(x: &'a str, y: [u8; 2]) { g(   ) }");
    let file = Source {
        path: "src/wire/x.rs".into(),
        text: String::new(),
        code: "use crate::{net::a, id::{b, limits}, drop};\nfn f(x: [u8; 2]);\nfn g() {\n}\n"
            .into(),
    };
    let named: Vec<String> = file.modules_named().into_iter().map(|(_, name)| name).collect();
    assert_eq!(named, ["net", "id", "drop"]);
    assert_eq!(file.functions(), [(3, 2)]);
    assert_eq!(file.module(), "wire");
}
