//! What the README and the manual show, read back for tests: command lines and links.

use std::path::{Path, PathBuf};

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

/// The top of the repository.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The README and every page of the manual, each with its path from the root.
pub fn pages() -> Vec<(String, String)> {
    let mut paths = vec!["README.md".to_owned()];
    for entry in std::fs::read_dir(root().join("src/manual")).expect("the manual is there") {
        let name = entry.expect("an entry").file_name().into_string().expect("UTF-8");
        if Path::new(&name).extension().is_some_and(|extension| extension == "md") {
            paths.push(format!("src/manual/{name}"));
        }
    }
    paths.sort();
    let text = |path: &String| std::fs::read_to_string(root().join(path)).expect("it is text");
    paths.iter().map(|path| (path.clone(), text(path))).collect()
}

/// What stands as code: each line of a block for a shell or a unit, lines that go on joined; and
/// code within sentences.
pub fn code(markdown: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut block: Option<String> = None;
    for event in Parser::new_ext(markdown, Options::ENABLE_TABLES) {
        match event {
            Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(kind))) => {
                block = ["sh", "ini"].contains(&&*kind).then(String::new);
            }
            Event::Text(text) => {
                if let Some(block) = &mut block {
                    block.push_str(&text);
                }
            }
            Event::End(TagEnd::CodeBlock) => {
                let text = block.take().unwrap_or_default().replace("\\\n", " ");
                found.extend(text.lines().map(str::to_owned));
            }
            Event::Code(code) => found.push(code.into_string()),
            _ => {}
        }
    }
    found
}

/// The command lines of `program` on every page, as the words a shell would make of them, each with
/// the page's path.
pub fn command_lines(program: &str) -> Vec<(String, Vec<String>)> {
    let mut found = Vec::new();
    for (path, text) in pages() {
        for line in code(&text) {
            let words = words(&line);
            let is_program =
                |word: &String| word.rsplit(['/', '=']).next() == Some(program) && word != "-v";
            let Some(at) = words.iter().position(is_program) else { continue };
            // A name in a sentence is no command, nor is an option whose value it is.
            let is_argument = at > 0 && !words[..at].iter().all(|word| word.contains('='));
            if at + 1 == words.len() && !line.contains('/') || is_argument {
                continue;
            }
            let mut command = vec![program.to_owned()];
            // The last background process is some number.
            let rest = words[at + 1..].iter().map(|word| word.replace("$!", "1"));
            command.extend(rest.take_while(|w| !["|", "&", "#"].contains(&&**w)));
            found.push((path.clone(), command));
        }
    }
    found
}

/// A line's words, quotes taken off.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for char in line.chars() {
        match (quote, char) {
            (Some(open), close) if open == close => quote = None,
            (None, '\'' | '"') => {
                quote = Some(char);
                word.get_or_insert_default();
            }
            (None, ' ') => words.extend(word.take()),
            _ => word.get_or_insert_default().push(char),
        }
    }
    words.extend(word);
    words
}
