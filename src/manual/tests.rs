//! The manual can be read on a terminal, and says what is so.

use std::collections::BTreeSet;
use std::fs;

use clap::{CommandFactory, Parser};
use pulldown_cmark::{BrokenLink, Event, Parser as Markdown, Tag};

use super::render::{WIDTH, options};
use super::shown::{code, command_lines, pages, root};
use super::{TOPICS, UnknownTopic, contents, links, topic};
use crate::config::Cli;

#[test]
fn every_topic_is_listed_and_fits_a_terminal() {
    let list = contents();
    for topic in TOPICS {
        assert!(list.contains(&format!("\n  {:<10} {}", topic.name, topic.about)), "{list}");
        let page = topic.page();
        for line in page.lines() {
            let columns = line.chars().count();
            assert!(columns <= WIDTH, "{}: {columns} columns: {line}", topic.name);
        }
        for left in ["](", "**", "|---"] {
            assert!(!page.contains(left), "{}: Markdown is left: {left}", topic.name);
        }
        let words = |text: &str| text.split_whitespace().count();
        assert!(words(&page) * 10 > words(topic.text) * 8, "{}: words are missing", topic.name);
    }
    let files = pages().len() - 1;
    assert_eq!(files, TOPICS.len(), "each page in src/manual is a topic");
}

#[test]
fn a_table_stands_in_columns() {
    let page = topic("flags").expect("it is a topic").page();
    let at = page.lines().position(|line| line.starts_with("--train-us US")).expect("its row");
    let lines: Vec<&str> = page.lines().skip(at).take(2).collect();
    let column = lines[0].find("the longest a packet").expect("what it means");
    let second: String = lines[1].chars().take(column).collect();
    assert!(second.trim().is_empty() && lines[1].len() > column, "it goes on below: {lines:?}");
    assert!(page.contains("--io auto|mmsg|uring"), "a bar in a cell is not a column");
}

#[test]
fn an_unknown_topic_is_refused_with_the_nearest_one() {
    let error = topic("secruity").expect_err("there is none");
    assert_eq!(error, UnknownTopic { asked: "secruity".into(), nearest: "security" });
    assert!(error.to_string().contains("`monoport help security`"), "{error}");
    assert!(topic("").is_err());
}

#[test]
fn a_commands_name_leads_to_its_topic_and_to_its_flags() {
    for command in ["ports", "check", "top"] {
        let page = topic(command).expect("each command is explained").page();
        let line = format!("`monoport {command} --help` lists the command's flags.");
        assert!(page.starts_with(&line), "{page}");
        assert!(Cli::try_parse_from(["monoport", "help", command]).is_ok());
    }
    let help = Cli::command().render_help().to_string();
    assert!(help.contains("monoport help"), "the flags' list leads to the manual: {help}");
}

#[test]
fn every_flag_is_in_the_manual_and_every_flag_there_exists() {
    let mut known = BTreeSet::new();
    let mut commands = vec![Cli::command()];
    commands.extend(Cli::command().get_subcommands().cloned());
    for command in &mut commands {
        command.build();
        known.extend(command.get_arguments().filter_map(|arg| arg.get_long()).map(str::to_owned));
    }
    let text = topic("flags").expect("it is a topic").text;
    let first_word = |code: &String| code.split(' ').next().map(str::to_owned);
    let written: BTreeSet<String> = code(text)
        .iter()
        .filter_map(first_word)
        .filter_map(|word| word.strip_prefix("--").map(str::to_owned))
        .collect();
    let missing: Vec<_> = known.difference(&written).collect();
    assert!(missing.is_empty(), "write about them in src/manual/flags.md: {missing:?}");
    let unknown: Vec<_> = written.difference(&known).collect();
    assert!(unknown.is_empty(), "src/manual/flags.md has flags that are none: {unknown:?}");
}

#[test]
fn every_environment_variable_is_in_the_manual() {
    let text = topic("flags").expect("it is a topic").text;
    for argument in Cli::command().get_arguments() {
        let Some(variable) = argument.get_env() else { continue };
        let variable = variable.to_str().expect("ASCII");
        assert!(text.contains(&format!("`{variable}`")), "{variable}");
    }
}

#[test]
fn every_command_line_shown_is_understood() {
    let shown = command_lines("monoport");
    assert!(shown.len() > 20, "they are found: {}", shown.len());
    for (path, command) in shown {
        if let Err(error) = Cli::try_parse_from(&command) {
            let asks = matches!(
                error.kind(),
                clap::error::ErrorKind::DisplayHelp | clap::error::ErrorKind::DisplayVersion
            );
            assert!(asks, "{path}: {command:?}: {error}");
        }
        if let [_, help, name] = &command[..]
            && help == "help"
            && name != "TOPIC"
        {
            assert!(topic(name).is_ok(), "{path}: {command:?}");
        }
    }
}

#[test]
fn every_link_leads_somewhere() {
    for (path, text) in pages() {
        let mut unknown = Vec::new();
        let mut to_nothing = |link: BrokenLink<'_>| {
            unknown.push(link.reference.to_string());
            None
        };
        let events =
            Markdown::new_with_broken_link_callback(&text, options(), Some(&mut to_nothing));
        let links: Vec<String> = events
            .filter_map(|event| match event {
                Event::Start(Tag::Link { dest_url, .. }) => Some(dest_url.into_string()),
                _ => None,
            })
            .filter(|to| !to.starts_with("http://") && !to.starts_with("https://"))
            .collect();
        assert!(unknown.is_empty(), "{path}: no such reference: {unknown:?}");
        for link in links {
            let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let folder = root().join(&path).parent().expect("a folder").to_owned();
            let target = if file.is_empty() { root().join(&path) } else { folder.join(file) };
            let there = fs::read_to_string(&target);
            let there = there.unwrap_or_else(|error| panic!("{path}: {link}: {error}"));
            assert!(anchor.is_empty() || anchors(&there).contains(anchor), "{path}: {link}");
        }
    }
}

/// What a forge calls the headings of a page.
fn anchors(markdown: &str) -> BTreeSet<String> {
    let headings = markdown.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|line| line.trim_start_matches('#').trim().to_lowercase())
        .map(|title| {
            let kept = title.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
            kept.collect::<String>().replace(' ', "-")
        })
        .collect()
}

/// A reference of rustdoc that a page lacks would lead to a file that rustdoc does not have.
#[test]
fn every_page_names_its_links_by_labels_that_rustdoc_knows() {
    let labels = links!();
    for (path, text) in pages() {
        let definitions = text.lines().filter(|line| line.starts_with('['));
        for label in definitions.filter_map(|line| line.split_once("]: ")).map(|(label, _)| label) {
            assert!(labels.contains(&format!("{label}]: crate")), "{path}: {label}]");
        }
        let inline = text.match_indices("](").map(|(at, _)| &text[at + 2..]);
        for to in inline {
            let known = to.starts_with('#') || to.starts_with("http");
            assert!(known, "{path}: give it a label, for rustdoc: {}", &to[..to.len().min(40)]);
        }
    }
}

#[test]
fn every_file_and_every_test_that_is_named_exists() {
    for (path, text) in pages() {
        for code in code(&text) {
            let word = code.split([' ', ':']).next().unwrap_or_default();
            if ["src/", "tests/", "tools/", "benches/"].iter().any(|top| word.starts_with(top)) {
                assert!(root().join(word).exists(), "{path}: {word}");
            }
            if let Some(rest) = code.strip_prefix("cargo test --test ") {
                let mut words = rest.split(' ');
                let program = words.next().unwrap_or_default();
                let filter = words.next().filter(|word| *word != "--").unwrap_or_default();
                assert!(has_test(program, filter), "{path}: {code}");
            }
        }
    }
}

/// Whether a test program has a module or a test of this name.
fn has_test(program: &str, filter: &str) -> bool {
    let folder = root().join("tests").join(program);
    if filter.is_empty() {
        return folder.join("main.rs").exists() || folder.with_extension("rs").exists();
    }
    let (module, rest) = filter.split_once("::").unwrap_or(("", filter));
    let mut files = fs::read_dir(folder).expect("its folder").flatten().map(|entry| entry.path());
    files.any(|file| {
        let stem = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().to_owned();
        let text = fs::read_to_string(&file).unwrap_or_default();
        let has_name = |line: &str| {
            let name = line.split("fn ").nth(1).or(line.strip_prefix("mod ")).unwrap_or_default();
            name.split('(').next().is_some_and(|name| name.contains(rest))
        };
        (module.is_empty() || stem == module) && (stem.contains(rest) || text.lines().any(has_name))
    })
}

#[test]
fn the_readme_stays_short_and_leads_to_every_topic() {
    let readme = fs::read_to_string(root().join("README.md")).expect("it is there");
    assert!(readme.len() < 12 * 1024, "{} bytes: move something to src/manual", readme.len());
    for topic in TOPICS {
        let line = format!("- [{}]: ", topic.name);
        assert!(readme.contains(&line), "{line}");
    }
}
